package engine

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
)

// View is what a function that runs inside a node's loop can see; see [Raft.Inspect]. It shows one moment: nothing changes
// while the function runs. It must not be used afterwards.
type View struct{ l *loop }

// Inspect runs fn inside the node's loop, between two steps of the Consensus Module, and returns when it has run.
// Everything of the node waits meanwhile, so fn must be short and must not block, nor call the node. A panic in fn goes
// on in the caller. Errors, after which fn does not run: the context's; what wraps [ErrStopped].
func (r *Raft) Inspect(ctx context.Context, fn func(*View)) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var claimed atomic.Bool // by the loop, which runs fn, or by the caller, who waits no longer
	ended := make(chan any, 1)
	ask := func(l *loop) {
		if claimed.CompareAndSwap(false, true) {
			ended <- l.inspect(fn)
		}
	}
	if !r.box.post(func(m *mail) { m.asks = append(m.asks, ask) }) {
		return r.stopped()
	}
	var panicked any
	select {
	case panicked = <-ended:
	case <-ctx.Done():
		if claimed.CompareAndSwap(false, true) {
			return context.Cause(ctx)
		}
		panicked = <-ended
	case <-r.done:
		if claimed.CompareAndSwap(false, true) {
			return r.stopped()
		}
		panicked = <-ended
	}
	if panicked != nil {
		panic(fmt.Sprintf("BUG: the function given to Inspect panicked: %v", panicked))
	}
	return nil
}

// inspect runs fn and returns what it panicked with.
func (l *loop) inspect(fn func(*View)) (panicked any) {
	v := &View{l}
	began := time.Now()
	defer func() {
		panicked = recover()
		v.l = nil
		if took := time.Since(began); took > l.cfg.HeartbeatInterval {
			l.logs.api.Warn("a function given to Inspect held the node up", "for", took)
		}
	}()
	fn(v)
	return nil
}

func (v *View) loop() *loop {
	if v.l == nil {
		panic("BUG: a View is used after its function has returned")
	}
	return v.l
}

// Metrics returns the node's metrics.
func (v *View) Metrics() Metrics { return v.loop().collect() }

// Status returns what the Consensus Module says of itself.
func (v *View) Status() consensus.Status { return v.loop().core.Status() }

// Holds reports whether the log has exactly this entry, durable or not.
func (v *View) Holds(id codec.LogID) bool { return v.loop().core.Holds(id) }

// LogIDAt returns the log id at an index, false where the log does not reach.
func (v *View) LogIDAt(index codec.Index) (codec.LogID, bool) { return v.loop().core.LogIDAt(index) }

// FrameAt describes the frame that holds the entry at an index, false where the log does not reach.
func (v *View) FrameAt(index codec.Index) (codec.FrameMeta, bool) {
	return v.loop().core.FrameAt(index)
}
