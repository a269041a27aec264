package measure

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/cluster_benchmark/target"
)

// eventTarget tells of an event that it began in the measured time, and ends it half a second after that is over.
type eventTarget struct {
	*fakeTarget
	failure error
}

func (e eventTarget) Play(ctx context.Context, duration time.Duration) ([]result.Event, error) {
	begun := time.Since(e.started)
	<-ctx.Done()
	timer := time.NewTimer(duration / 2)
	defer timer.Stop()
	<-timer.C
	return []result.Event{{Kind: setting.EventSnapshot, At: begun.Seconds() - 1, Took: 300, Rejoined: time.Since(e.started).Seconds()}}, e.failure
}

func eventJob(t target.Target, f *fakeTarget) *Job {
	j := job(f)
	j.Scenario.Event = setting.EventSnapshot
	j.Open = func(context.Context, setting.Scenario, string) (target.Target, error) { return t, nil }
	return j
}

// TestEvent: it begins with the measured time, is ended when that is over, and waited for before anything is closed. One that
// did not happen makes the figures useless.
func TestEvent(t *testing.T) {
	for _, failure := range []error{nil, errors.New("nobody leads")} {
		synctest.Test(t, func(t *testing.T) {
			f := newFakeTarget(10 * time.Millisecond)
			one, err := eventJob(eventTarget{f, failure}, f).Run(t.Context())
			if err != nil || one.Event != "snapshot" || len(one.Events) != 1 || one.Events[0].At != 0 || one.Events[0].Rejoined != 2.5 {
				t.Fatalf("%v, %+v", err, one)
			}
			if e := one.Events[0]; e.During == nil || e.During.PutPerS == 0 {
				t.Errorf("nothing was answered during %+v", e)
			}
			want := ""
			if failure != nil {
				want = "event snapshot: nobody leads"
			}
			if one.Invalid != want || one.OK() != (failure == nil) {
				t.Errorf("invalid %q, want %q", one.Invalid, want)
			}
		})
	}
}

// TestEventOfAnInterruptedRun: that something had no time to happen is no fault then, any other failure is.
func TestEventOfAnInterruptedRun(t *testing.T) {
	for _, failure := range []error{fmt.Errorf("nothing: %w", target.ErrOver), errors.New("nobody leads")} {
		synctest.Test(t, func(t *testing.T) {
			f := newFakeTarget(10 * time.Millisecond)
			ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
			defer cancel()
			one, err := eventJob(eventTarget{f, failure}, f).Run(ctx)
			if err != nil || one == nil || !one.Interrupted {
				t.Fatalf("%v, %+v", err, one)
			}
			if one.OK() != errors.Is(failure, target.ErrOver) {
				t.Errorf("%v: invalid %q", failure, one.Invalid)
			}
		})
	}
}

// TestIntervalsBesideAnEvent are so short that some lie before, in and after it, and no longer than others are.
func TestIntervalsBesideAnEvent(t *testing.T) {
	for _, c := range []struct {
		event          string
		duration, want time.Duration
	}{
		{"", 20 * time.Second, 0},
		{setting.EventSnapshot, 8 * time.Second, 100 * time.Millisecond},
		{setting.EventSnapshot, 20 * time.Second, 200 * time.Millisecond},
		{setting.EventSnapshot, time.Hour, time.Second},
	} {
		j := Job{Duration: c.duration, Scenario: setting.Scenario{Event: c.event}}
		if got := j.interval(); got != c.want {
			t.Errorf("event %q in %v: intervals of %v, want %v", c.event, c.duration, got, c.want)
		}
	}
}

// TestTargetWithoutEvents is closed and left out.
func TestTargetWithoutEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeTarget(10 * time.Millisecond)
		one, err := eventJob(f, f).Run(t.Context())
		if one != nil || !errors.Is(err, target.ErrUnsupported) || err.Error() != "event snapshot: not supported" {
			t.Errorf("%+v, %v", one, err)
		}
		<-f.closed
	})
}
