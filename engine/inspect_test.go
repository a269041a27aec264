package engine

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/millrace/millrace/codec"
)

// TestInspect looks into the loop of a node and finds one consistent moment there.
func TestInspect(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		c := startCluster(t, o)
		at := c.propose("x").LogID
		leader := c.leader()
		var kept *View
		if err := leader.Inspect(t.Context(), func(v *View) {
			kept = v
			m, s := v.Metrics(), v.Status()
			if m.Last != s.LastLog || m.Commit != s.Commit || m.Vote != s.Vote {
				t.Errorf("metrics %+v and status %+v are of two moments", m.LogPointers, s)
			}
			id, ok := v.LogIDAt(at.Index)
			frame, held := v.FrameAt(at.Index)
			if !ok || id != at || !v.Holds(at) || !held || frame.First > at.Index || frame.Last() < at.Index {
				t.Errorf("the entry %v is %v, %v in the frame %+v, %v", at, id, ok, frame, held)
			}
			if _, ok := v.LogIDAt(m.Last.Index + 1); ok || v.Holds(codec.LogID{Index: at.Index}) {
				t.Error("the log has what it does not have")
			}
		}); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if p := recover(); fmt.Sprint(p) != "BUG: a View is used after its function has returned" {
				t.Errorf("a view that is kept: %v", p)
			}
		}()
		kept.Status()
	})
}

// TestInspectThatEndsEarly: a function whose caller waits no longer never runs, and one that panics stops its caller alone.
func TestInspectThatEndsEarly(t *testing.T) {
	r := openAlone(t, newRegister(), func(*Config) {})
	ctx, cancel := context.WithCancel(t.Context())
	hold, held := make(chan struct{}), make(chan struct{})
	var ran atomic.Bool
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- r.Inspect(t.Context(), func(*View) { close(held); <-hold }) }()
	<-held
	go func() { second <- r.Inspect(ctx, func(*View) { ran.Store(true) }) }()
	cancel()
	if err := <-second; err != context.Canceled {
		t.Errorf("a caller whose context ends: %v", err)
	}
	close(hold)
	if err := <-first; err != nil {
		t.Error(err)
	}
	func() {
		defer func() {
			if p := recover(); fmt.Sprint(p) != "BUG: the function given to Inspect panicked: oops" {
				t.Errorf("the caller of a function that panics: %v", p)
			}
		}()
		_ = r.Inspect(t.Context(), func(*View) { panic("oops") })
	}()
	if _, err := r.Propose(t.Context(), []byte("x")); err != nil || ran.Load() {
		t.Errorf("after that: %v, the function of a caller who had gone ran: %v", err, ran.Load())
	}
	if err := r.Inspect(ctx, func(*View) { t.Error("runs") }); err != context.Canceled {
		t.Errorf("with a context that ended before: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Inspect(t.Context(), func(*View) { t.Error("runs") }); !errors.Is(err, ErrStopped) {
		t.Errorf("on a closed node: %v", err)
	}
}
