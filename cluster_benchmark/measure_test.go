package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/cluster_benchmark/load"
	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/safety"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/cluster_benchmark/show"
	"github.com/millrace/millrace/cluster_benchmark/target"
	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
)

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

// measureFake measures a fake target for a second after one of warm-up.
func measureFake(t *testing.T, ctx context.Context, f *fakeTarget) (one *result.Result, finished bool, err error) {
	t.Helper()
	one = &result.Result{Key: result.Key{Target: "fake", Clients: 1, Payload: 16}}
	begun := load.Start(load.Config{Clients: 1, Inflight: 1, Batch: 1, Payload: 16, Warmup: time.Second, Duration: time.Second}, f)
	watch := (&show.Progress{}).Watch("", begun, time.Second, time.Second)
	if err := observe(ctx, begun, f, watch, one); err != nil {
		t.Fatal(err)
	}
	finished, err = finish(begun, f, one)
	return one, finished, err
}

func TestMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, finished, err := measureFake(t, t.Context(), newFakeTarget(10*time.Millisecond))
		if err != nil || !finished || !one.OK() || one.Ops < 99 || one.Ops > 100 || one.Counted != 1 || one.SyncsPerS() != 1000 {
			t.Errorf("finished %v, %v, %+v, want about 100 puts and 1000 syncs in a second", finished, err, one)
		}
	})
}

// TestNoPutInTheMeasuredTime: what only answers after the end has no figures.
func TestNoPutInTheMeasuredTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, finished, err := measureFake(t, t.Context(), newFakeTarget(10*time.Second))
		if err != nil || !finished || one.OK() || one.Invalid != "no put was answered in the measured time" || one.PutPerS != 0 {
			t.Errorf("finished %v, %v, %+v, want it invalid", finished, err, one)
		}
		if s := one.Safety; !s.OK || s.Acknowledged != 1 {
			t.Errorf("safety is %+v, want the one late put found", s)
		}
	})
}

// TestStuckIsNotLost: a target that answers nothing has not finished; nothing is lost, and nothing is proven.
func TestStuckIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, finished, err := measureFake(t, t.Context(), newFakeTarget(time.Hour))
		want := []string{"did not finish: puts were not answered within 30s after the end", "no put was acknowledged: nothing is proven"}
		if s := one.Safety; err != nil || finished || s.OK || len(s.Reasons) > 0 || !slices.Equal(s.Unproven, want) || s.Unknown != 1 {
			t.Errorf("finished %v, %v, safety %+v, want %q", finished, err, s, want)
		}
	})
}

// TestNotSettledIsNotLost: each of several causes has a line of its own.
func TestNotSettledIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeTarget(10 * time.Millisecond)
		f.settled = errors.Join(errors.New("node 1: disk full"), errors.New("node 2 has applied 3 of 4 entries"))
		one, finished, err := measureFake(t, t.Context(), f)
		want := []string{"did not finish: node 1: disk full", "did not finish: node 2 has applied 3 of 4 entries"}
		if s := one.Safety; err != nil || finished || s.OK || len(s.Reasons) > 0 || !slices.Equal(s.Unproven, want) {
			t.Errorf("finished %v, %v, safety %+v, want %q", finished, err, s, want)
		}
		f = newFakeTarget(10 * time.Millisecond)
		f.settled, f.ceiling = errors.New("broken"), true
		if one, _, err := measureFake(t, t.Context(), f); err == nil || one.Safety != nil {
			t.Errorf("a ceiling that failed: %v, %+v, want its error", err, one.Safety)
		}
	})
}

// TestUnusableOutranksInterrupted: ctrl-C does not hide that something was lost.
func TestUnusableOutranksInterrupted(t *testing.T) {
	out := &output{dir: t.TempDir()}
	plan := setting.Defaults()
	plan.Profile = "quick"
	if err := out.open(&plan, nil); err != nil {
		t.Fatal(err)
	}
	defer out.close()
	fine := result.Result{Key: result.Key{Target: "millrace"}, Safety: &result.Safety{OK: true}}
	bad := fine
	bad.Safety = &result.Safety{Reasons: []string{"node 2: put 7 of client 3 was acknowledged and is not applied"}}
	broken := errors.New("no space left on device")
	for _, c := range []struct {
		results     []result.Result
		interrupted bool
		failure     error
		code        int
		says        []string
	}{
		{[]result.Result{fine}, false, nil, exitOK, nil},
		{[]result.Result{fine}, true, nil, exitInterrupted, []string{"interrupted"}},
		{nil, true, nil, exitInterrupted, nil},
		{[]result.Result{fine}, true, broken, exitFailed, []string{"no space left"}},
		{[]result.Result{fine, bad}, false, nil, exitFailed, []string{"SAFETY CHECK FAILED: millrace", "put 7 of client 3", out.file.Name()}},
		{[]result.Result{bad}, true, nil, exitFailed, []string{"put 7 of client 3"}},
		{[]result.Result{bad}, true, broken, exitFailed, []string{"put 7 of client 3", "no space left"}},
	} {
		r := &runner{out: out, results: c.results, interrupted: c.interrupted}
		err := r.outcome(c.failure)
		if got := exitCode(err); got != c.code {
			t.Errorf("%+v: exit code %d, want %d", c, got, c.code)
		}
		for _, words := range c.says {
			if !strings.Contains(err.Error(), words) {
				t.Errorf("%+v: %q says nothing of %q", c, err, words)
			}
		}
	}
}
