package measure

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/millrace/millrace/cluster_benchmark/load"
	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/target"
)

// playing is an event of a scenario that happens in the measured time.
type playing struct {
	event  string
	cancel context.CancelFunc
	done   chan struct{}
	// Owner: the goroutine that plays, until done is closed.
	events []result.Event
	err    error
}

// play begins what the scenario wants to happen; nil where that is nothing.
func (j *Job) play(t target.Target) *playing {
	if j.Scenario.Event == "" {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &playing{event: j.Scenario.Event, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.events, p.err = t.(target.Eventful).Play(ctx, j.Duration)
	}()
	return p
}

// Beside an event the measured time is looked at in so many intervals, of at least that length: many of them lie wholly
// before, in and after it.
const (
	eventIntervals     = 100
	eventIntervalLeast = 100 * time.Millisecond
)

// interval returns the length of the series' intervals, 0 for the usual one.
func (j *Job) interval() time.Duration {
	if j.Scenario.Event == "" {
		return 0
	}
	return min(load.Interval(j.Duration), max(j.Duration/eventIntervals, eventIntervalLeast))
}

// end is called when the measured time is over, and returns when the target is as it was before. Of a run that was ended
// early it is no fault that something had not happened yet.
func (p *playing) end(one *result.Result) {
	if p == nil {
		return
	}
	p.cancel()
	<-p.done
	one.Events = p.events
	if p.err != nil && one.Invalid == "" && !(one.Interrupted && errors.Is(p.err, target.ErrOver)) {
		one.Invalid = fmt.Sprintf("event %s: %v", p.event, p.err)
	}
}
