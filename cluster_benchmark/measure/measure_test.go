package measure

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"go.uber.org/goleak"

	"github.com/millrace/millrace/cluster_benchmark/load"
	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/safety"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/cluster_benchmark/show"
	"github.com/millrace/millrace/cluster_benchmark/target"
	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
)

// gnet's worker pool starts with the program and stays.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) }

// fakeTarget answers each put after a time, on the virtual clock of a test, or fails it when it is closed before.
type fakeTarget struct {
	takes   time.Duration
	started time.Time
	closed  chan struct{}
	settled error
	ceiling bool

	mu      sync.Mutex
	machine *safety.Machine
	next    codec.Index
}

func newFakeTarget(takes time.Duration) *fakeTarget {
	return &fakeTarget{takes: takes, started: time.Now(), closed: make(chan struct{}), machine: safety.NewMachine(1, 16)}
}

func (f *fakeTarget) Proposer() (load.Proposer, error) { return f, nil }

func (f *fakeTarget) Propose(_ context.Context, data []byte) (pipeline.Result, error) {
	timer := time.NewTimer(f.takes)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-f.closed:
		return pipeline.Result{}, &pipeline.UnknownError{Cause: pipeline.ErrStopped}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next++
	id := codec.LogID{Leader: codec.LeaderID{Term: 1, Node: 1}, Index: f.next}
	return pipeline.Result{LogID: id}, f.machine.Apply([]pipeline.Entry{{ID: id, Data: data}}, nil)
}

func (f *fakeTarget) ProposeAsync([]byte, func(pipeline.Result, error)) error {
	return errors.ErrUnsupported
}

func (f *fakeTarget) ProposeBatch(context.Context, [][]byte) ([]pipeline.Result, error) {
	return nil, errors.ErrUnsupported
}

// Counters counts a sync every millisecond.
func (f *fakeTarget) Counters() target.Counters {
	return target.Counters{WALSyncs: uint64(time.Since(f.started) / time.Millisecond)}
}

func (f *fakeTarget) Settle(context.Context) error { return f.settled }

func (f *fakeTarget) Close() error {
	close(f.closed)
	return nil
}

func (f *fakeTarget) Replicas() []*safety.Machine {
	if f.ceiling {
		return nil
	}
	return []*safety.Machine{f.machine}
}

// job measures a fake target for a second after one of warm-up.
func job(f *fakeTarget) *Job {
	return &Job{
		Profile: "quick", Target: "fake", Round: 1, Scenario: setting.Scenario{Nodes: 1, Clients: 1, Inflight: 1, Batch: 1, Payload: 16},
		Warmup: time.Second, Duration: time.Second, GOGC: GCPercent, Progress: &show.Progress{},
		Open: func(context.Context, setting.Scenario, string) (target.Target, error) { return f, nil },
	}
}

func TestMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, err := job(newFakeTarget(10 * time.Millisecond)).Run(t.Context())
		if err != nil || !one.OK() || one.Ops < 99 || one.Ops > 100 || one.Counted != 1 || one.SyncsPerS() != 1000 {
			t.Fatalf("%v, %+v, want about 100 puts and 1000 syncs in a second", err, one)
		}
		if len(one.Series) != 10 || one.Series[9].End != 1 || one.Series[4].Ops != 10 || one.Series[4].P99 < 9990 || one.Series[4].P99 > 10010 {
			t.Errorf("series is %+v, want ten intervals with 10 puts of 10 ms each", one.Series)
		}
		if h := one.Histogram; h == nil || h.TotalCount() < int64(one.Ops) {
			t.Errorf("histogram is %+v", h)
		}
	})
}

// stagedTarget tells, at each reading, of a put that took as many seconds as have passed.
type stagedTarget struct{ *fakeTarget }

func (s stagedTarget) TakeStages() map[string]*hdrhistogram.Histogram {
	h := hdrhistogram.New(1, int64(time.Hour), 3)
	_ = h.RecordValue(int64(time.Since(s.started)))
	return map[string]*hdrhistogram.Histogram{"intake": h}
}

// TestStagesAreOfTheMeasuredTime: what was told before, in the warm-up, is not in the result.
func TestStagesAreOfTheMeasuredTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeTarget(10 * time.Millisecond)
		j := job(f)
		j.Open = func(context.Context, setting.Scenario, string) (target.Target, error) { return stagedTarget{f}, nil }
		one, err := j.Run(t.Context())
		if err != nil || len(one.Stages) != 1 || one.Stages["intake"].Max < 2e6 || one.Stages["intake"].Max > 2.002e6 ||
			one.StageHistograms["intake"].TotalCount() != 1 {
			t.Errorf("%v, stages %+v, want the one of the end, of 2 s", err, one.Stages)
		}
		if one, err := job(newFakeTarget(10 * time.Millisecond)).Run(t.Context()); err != nil || one.Stages != nil || one.StageHistograms != nil {
			t.Errorf("%v, %+v: stages of a target that has none", err, one.Stages)
		}
	})
}

// TestIntervals: who asks gets the histogram of each interval, and together they hold what was answered in time.
func TestIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := job(newFakeTarget(10 * time.Millisecond))
		j.Intervals = true
		one, err := j.Run(t.Context())
		if err != nil || len(one.Series) != 10 {
			t.Fatalf("%v, %+v", err, one)
		}
		for i, p := range one.Series {
			h, err := hdrhistogram.Decode([]byte(p.Histogram))
			if err != nil || h.TotalCount() != int64(p.Ops) || h.Max() < 9_990_000 || h.Max() > 10_010_000 {
				t.Errorf("interval %d: %v, %+v, want the histogram of %d puts of 10 ms", i, err, h, p.Ops)
			}
		}
	})
}

// TestResultSaysWhatItIsOf: whatever a job says of itself stands in its result.
func TestResultSaysWhatItIsOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := job(newFakeTarget(10 * time.Millisecond))
		j.Round, j.Build, j.Machine.CPU = 3, result.Build{Version: "v1"}, "cpu"
		j.Library, j.Configuration, j.WALBackend = "example.org/raft v2", "as its experts would", "tan"
		j.Scenario.Nodes, j.Scenario.Store, j.Scenario.Net = 5, setting.StoreWAL, setting.NetTCP
		one, err := j.Run(t.Context())
		want := result.Key{Target: "fake", Nodes: 5, Groups: 1, Clients: 1, Inflight: 1, Batch: 1, Payload: 16, Store: "wal", WALBackend: "tan", Net: "tcp"}
		if err != nil || one.Key != want || one.Schema != 1 || one.Profile != "quick" || one.Round != 3 || one.GOGC != GCPercent || one.Warmup != 1 ||
			one.Version != "v1" || one.Machine.CPU != "cpu" || one.Library != j.Library || one.Configuration != j.Configuration {
			t.Errorf("%v, %+v", err, one)
		}
	})
}

// TestInterrupted: what was measured until then is returned, and nothing when there was nothing.
func TestInterrupted(t *testing.T) {
	for _, c := range []struct {
		after, measured time.Duration
	}{{0, 0}, {500 * time.Millisecond, 0}, {1500 * time.Millisecond, 500 * time.Millisecond}} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), c.after)
			defer cancel()
			one, err := job(newFakeTarget(10 * time.Millisecond)).Run(ctx)
			if c.measured == 0 {
				if one != nil || err != nil {
					t.Errorf("interrupted after %v: %+v, %v, want nothing", c.after, one, err)
				}
				return
			}
			if err != nil || one == nil || !one.Interrupted || one.Duration != c.measured.Seconds() || one.Ops < 49 || !one.Safety.OK {
				t.Errorf("interrupted after %v: %+v, %v", c.after, one, err)
			}
		})
	}
}

// TestTargetThatDoesNotOpen: its error comes out, unless it only was interrupted.
func TestTargetThatDoesNotOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("port in use")
		j := job(nil)
		j.Open = func(ctx context.Context, _ setting.Scenario, dir string) (target.Target, error) {
			<-ctx.Done()
			return nil, broken
		}
		begun := time.Now()
		if one, err := j.Run(t.Context()); one != nil || !errors.Is(err, broken) || time.Since(begun) != openTimeout {
			t.Errorf("%+v, %v after %v, want %v after %v", one, err, time.Since(begun), broken, openTimeout)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if one, err := j.Run(ctx); one != nil || err != nil {
			t.Errorf("interrupted: %+v, %v, want nothing", one, err)
		}
	})
}

// TestNoPutInTheMeasuredTime: what only answers after the end has no figures.
func TestNoPutInTheMeasuredTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, err := job(newFakeTarget(10 * time.Second)).Run(t.Context())
		if err != nil || one.OK() || one.Invalid != "no put was answered in the measured time" || one.PutPerS != 0 {
			t.Errorf("%v, %+v, want it invalid", err, one)
		}
		if s := one.Safety; !s.OK || s.Acknowledged != 1 {
			t.Errorf("safety is %+v, want the one late put found", s)
		}
	})
}

// TestStuckIsNotLost: a target that answers nothing has not finished; nothing is lost, and nothing is proven.
func TestStuckIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, err := job(newFakeTarget(time.Hour)).Run(t.Context())
		want := []string{"did not finish: puts were not answered within 30s after the end", "no put was acknowledged: nothing is proven"}
		if s := one.Safety; err != nil || s.OK || len(s.Reasons) > 0 || !slices.Equal(s.Unproven, want) || s.Unknown != 1 {
			t.Errorf("%v, safety %+v, want %q", err, s, want)
		}
	})
}

// TestNotSettledIsNotLost: each of several causes has a line of its own.
func TestNotSettledIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeTarget(10 * time.Millisecond)
		f.settled = errors.Join(errors.New("node 1: disk full"), errors.New("node 2 has applied 3 of 4 entries"))
		one, err := job(f).Run(t.Context())
		want := []string{"did not finish: node 1: disk full", "did not finish: node 2 has applied 3 of 4 entries"}
		if s := one.Safety; err != nil || s.OK || len(s.Reasons) > 0 || !slices.Equal(s.Unproven, want) {
			t.Errorf("%v, safety %+v, want %q", err, s, want)
		}
		f = newFakeTarget(10 * time.Millisecond)
		f.settled, f.ceiling = errors.New("broken"), true
		if one, err := job(f).Run(t.Context()); one != nil || !errors.Is(err, f.settled) {
			t.Errorf("a ceiling that failed: %+v, %v, want %v", one, err, f.settled)
		}
	})
}

// TestGenerator: a generator that owes more than a percent makes the figures useless, and one that is late says so.
func TestGenerator(t *testing.T) {
	late := hdrhistogram.New(1, int64(time.Hour), 3)
	for i := range int64(100) {
		_ = late.RecordValue((i + 1) * int64(time.Millisecond))
	}
	for _, c := range []struct {
		short  uint64
		before string
		behind bool
		reason string
	}{
		{0, "", false, ""},
		{100, "", false, ""},
		{101, "", true, "the generator fell behind: 101 of 10000 puts that were due were not issued in the measured time although a client was free, want at most 1 %"},
		{101, "above its ceiling", true, "above its ceiling"},
	} {
		one := &result.Result{Invalid: c.before}
		generated(one, &load.Generator{Offered: 10_000, Waited: 7, Unissued: 5, Short: c.short, Late: late})
		g := *one.Generator
		if g.Late99 < 98_900 || g.Late99 > 99_100 {
			t.Errorf("late by %v µs at 99 %%, want 99 ms", g.Late99)
		}
		g.Late99 = 0
		if want := (result.Generator{Offered: 10_000, Waited: 7, Unissued: 5, Behind: c.behind}); g != want || one.Invalid != c.reason {
			t.Errorf("%d short: %+v, %q, want %+v, %q", c.short, g, one.Invalid, want, c.reason)
		}
	}
	one := &result.Result{}
	if generated(one, nil); one.Generator != nil || one.Invalid != "" {
		t.Errorf("a closed loop has %+v", one.Generator)
	}
}
