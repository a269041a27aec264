package measure

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/millrace/millrace/cluster_benchmark/load"
	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/safety"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/cluster_benchmark/show"
	"github.com/millrace/millrace/cluster_benchmark/target"
)

// GCPercent is the collector's target that every run of the suite has, whatever is measured; see the command's doc.go.
const GCPercent = 400

// Bounds of what happens around the measured time.
const (
	openTimeout   = 30 * time.Second // until a leader is elected
	drainTimeout  = 30 * time.Second // until everything outstanding is answered
	settleTimeout = 30 * time.Second // until every replica has applied everything
)

// reading is what is read at the start and at the end of the measured time.
type reading struct {
	at       time.Time
	usage    result.Usage
	counters target.Counters
	stages   map[string]*hdrhistogram.Histogram // since the reading before
}

func read(t target.Target) (reading, error) {
	usage, err := result.ReadUsage()
	now := reading{time.Now(), usage, t.Counters(), nil}
	if staged, ok := t.(target.Staged); ok {
		now.stages = staged.TakeStages()
	}
	return now, err
}

// Job is one measurement: a target, a scenario, a round.
type Job struct {
	Profile          string
	Target           string // its name, for the result
	Round            int
	Scenario         setting.Scenario
	Warmup, Duration time.Duration
	// Open starts the target, ready to take puts. dir is an empty directory that it may use as long as it is open.
	Open func(ctx context.Context, s setting.Scenario, dir string) (target.Target, error)
	// Dir is that directory. Who made it removes it.
	Dir string
	// GOGC is set for this process, and stays.
	GOGC int
	// Build, Machine, Library, Configuration and WALBackend are written into the result as they are.
	Build                  result.Build
	Machine                result.Machine
	Library, Configuration string
	WALBackend             string
	// Intervals says that each interval of the result's series is to carry its histogram.
	Intervals bool
	// Progress is told where the measurement stands.
	Progress *show.Progress
}

// Run measures. The result is nil when nothing was measured. Errors: what kept the target from being opened or driven.
// When ctx ends the measurement is interrupted: what was measured until then is returned, and without anything to tell
// neither a result nor an error.
func (j *Job) Run(ctx context.Context) (*result.Result, error) {
	if ctx.Err() != nil {
		return nil, nil
	}
	j.Progress.Say(j.label() + "  starting")
	debug.SetGCPercent(j.GOGC)
	runtime.GC()
	debug.FreeOSMemory()
	result.ResetPeak()

	opening, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	t, err := j.Open(opening, j.Scenario, j.Dir)
	if err != nil {
		if ctx.Err() != nil {
			return nil, nil
		}
		return nil, err
	}
	s := j.Scenario
	if err := supports(t, s); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	one := j.newResult()
	if placed, ok := t.(target.Placed); ok {
		one.Places = placed.Places()
	}
	begun := load.Start(load.Config{
		Clients: s.Clients, Inflight: s.Inflight, Batch: s.Batch, Payload: s.Payload,
		Rate: float64(s.Rate), Arrivals: load.Arrivals(s.Arrivals), Warmup: j.Warmup, Duration: j.Duration,
		ReadRatio: s.ReadRatio, Intervals: j.Intervals, Interval: j.interval(),
	}, t)
	watch := j.Progress.Watch(j.label(), begun, j.Warmup, j.Duration)
	readErr := j.observe(ctx, begun, t, watch, one)
	j.Progress.Say(j.label() + "  checking")
	finished, err := finish(begun, t, one)
	if err != nil {
		return nil, errors.Join(readErr, err)
	}
	if one.Interrupted && one.Ops == 0 && finished && (one.Safety == nil || len(one.Safety.Reasons) == 0) {
		return nil, readErr // ended before there was anything to tell
	}
	return one, readErr
}

func (j *Job) label() string { return Label(j.Target, j.Scenario, j.Round) }

// Label says on the live line what is measured.
func Label(target string, s setting.Scenario, round int) string {
	text := fmt.Sprintf("%s  %d clients", target, s.Clients)
	if s.Inflight > 1 {
		text += fmt.Sprintf(" x %d", s.Inflight)
	}
	if s.Rate > 0 {
		text += fmt.Sprintf("  %d/s due", s.Rate)
	}
	if s.ReadRatio > 0 {
		text += fmt.Sprintf("  %g %% %s reads", 100*s.ReadRatio, s.Read)
	}
	if s.Event != "" {
		text += "  " + s.Event
	}
	if round > 1 {
		text += fmt.Sprintf("  round %d", round)
	}
	return text
}

func (j *Job) newResult() *result.Result {
	return &result.Result{
		Schema: result.Schema, Profile: j.Profile, Build: j.Build, Machine: j.Machine,
		Started: time.Now(), Round: j.Round, Key: Key(j.Target, j.Scenario, j.WALBackend),
		Warmup: j.Warmup.Seconds(), GOGC: j.GOGC, GOMAXPROCS: runtime.GOMAXPROCS(0), Library: j.Library, Configuration: j.Configuration,
	}
}

// Key returns what a result of a scenario is known by.
func Key(target string, s setting.Scenario, walBackend string) result.Key {
	return result.Key{
		Target: target, Nodes: s.Nodes, Groups: 1, Clients: s.Clients, Inflight: s.Inflight, Batch: s.Batch,
		Payload: s.Payload, Rate: float64(s.Rate), Arrivals: s.Arrivals, ReadRatio: s.ReadRatio, Read: s.Read, Event: s.Event, Store: s.Store, WALBackend: walBackend, Net: s.Net,
		Processes: s.Processes, Connect: s.Connect,
	}
}

// observe waits for the measured time to pass and reads what was used in it. When ctx ends it stops the load.
func (j *Job) observe(ctx context.Context, begun *load.Run, t target.Target, watch *show.Watch, one *result.Result) error {
	unhook := context.AfterFunc(ctx, begun.Stop)
	defer unhook()
	watch.Until(begun.Warm())
	before, err := read(t)
	if err != nil {
		begun.Stop()
		return err
	}
	playing := j.play(t)
	watch.Until(begun.Over())
	after, err := read(t)
	one.Interrupted = ctx.Err() != nil
	playing.end(one)
	if err != nil {
		return err
	}
	used, counted := after.usage.Sub(before.usage), after.counters.Sub(before.counters)
	one.Counted = after.at.Sub(before.at).Seconds()
	one.CPU = used.CPU + counted.CPU
	one.AllocPerOp = float64(used.Alloc+counted.Alloc) / max(one.Counted, 1e-9) // by puts per second once they are counted
	one.WALBytes, one.WALSyncs, one.Frames = counted.WALBytes, counted.WALSyncs, counted.Frames
	if counted.Frames > 0 {
		one.EntriesPerFrame = float64(counted.Entries) / float64(counted.Frames)
	}
	one.SetStages(after.stages)
	one.MaxRSS, err = result.Peak()
	one.MaxRSS += counted.PeakRSS
	return err
}

// finish lets everything outstanding be answered and applied, closes the target and checks it. It returns false when
// that failed in some part, which then stands in the verdict on safety, or for a ceiling in the error.
func finish(begun *load.Run, t target.Target, one *result.Result) (finished bool, err error) {
	draining, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	drained := begun.Drain(draining)
	var failures []error
	if drained {
		settling, cancel := context.WithTimeout(context.Background(), settleTimeout)
		defer cancel()
		failures = append(failures, t.Settle(settling))
	} else {
		failures = append(failures, fmt.Errorf("puts were not answered within %v after the end", drainTimeout))
	}
	failures = append([]error{t.Close()}, failures...) // what a node failed with says more than who waited for it
	if !drained {
		closing, cancel := context.WithTimeout(context.Background(), drainTimeout)
		defer cancel()
		if !begun.Drain(closing) {
			return false, errors.Join(append(failures, errors.New("closing the target did not answer them"))...)
		}
	}
	m := begun.Measurement()
	one.Duration = m.Duration.Seconds()
	one.Ops, one.Errors, one.Histogram = m.Ops, m.Errors, m.Latency
	one.Latency = result.NewLatency(m.Latency)
	for _, p := range m.Series {
		one.Series = append(one.Series, result.Interval{
			End: p.End.Seconds(), Ops: p.Ops, P50: float64(p.P50) / 1e3, P99: float64(p.P99) / 1e3, Max: float64(p.Max) / 1e3,
			Histogram: p.Histogram,
		})
	}
	one.SetStretches()
	if m.FirstError != nil {
		one.FirstError = m.FirstError.Error()
	}
	if m.Duration > 0 {
		one.PutPerS = float64(m.Ops) / m.Duration.Seconds()
	}
	if m.Ops > 0 {
		one.AllocPerOp /= one.PutPerS
	} else {
		one.AllocPerOp = 0
		one.Invalid = "no put was answered in the measured time"
	}
	generated(one, m.Generator)
	readings(one, m.Reads)
	failure := errors.Join(failures...)
	return failure == nil, judge(one, m, t, failure)
}

// shortMax is which part of the puts that were due a generator may owe, without having issued them in the measured time
// although a client was free. Whether a target keeps up is judged by one percent of what is offered; a generator that is
// short of more would be taken for the target. One that is merely late, by some microseconds, owes a few puts at the end.
const shortMax = 0.01

// generated says how the puts of an open loop were issued.
func generated(one *result.Result, g *load.Generator) {
	if g == nil {
		return
	}
	one.Generator = &result.Generator{
		Offered: g.Offered, Late99: float64(g.Late.ValueAtPercentile(99)) / 1e3, Waited: g.Waited, Unissued: g.Unissued,
		Behind: float64(g.Short) > shortMax*float64(g.Offered),
	}
	if one.Generator.Behind && one.Invalid == "" {
		one.Invalid = fmt.Sprintf("the generator fell behind: %d of %d puts that were due were not issued in the measured time although a client was free, want at most %g %%",
			g.Short, g.Offered, shortMax*100)
	}
}

// judge puts the verdict into the result. A ceiling that failed has none; its failure is returned.
func judge(one *result.Result, m load.Measurement, t target.Target, failure error) error {
	replicas := t.Replicas()
	if replicas == nil {
		return failure
	}
	var unfinished []string
	if failure != nil {
		for line := range strings.Lines(failure.Error()) { // one for each error that was joined
			unfinished = append(unfinished, "did not finish: "+strings.TrimSpace(line))
		}
	}
	v := safety.Check(m.Books, replicas, unfinished)
	one.Safety = &result.Safety{
		Acknowledged: v.Acknowledged, Unknown: v.Unknown, Applied: v.Applied, StateHash: v.Hashes,
		OK: v.OK, Reasons: v.Reasons, Unproven: v.Unproven,
	}
	stale(one.Safety, m.Reads)
	return nil
}
