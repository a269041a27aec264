package engine

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"
)

// Watch returns the values that value takes from a node's metrics: the present one, then each that differs from the one
// before, until ctx or the node ends; the node's last is among them. A caller who is slow misses what was in between,
// never the newest. The loop makes one copy of the metrics a round for all who watch, none where nobody is waiting for
// one, and runs nothing of the caller's: value runs where the values are read, and must not change what it is given.
//
// A value is looked at when the node has done something. One that changes by time alone, such as an age, is not seen to
// change before that.
//
//	for leader := range engine.Watch(ctx, r, func(m engine.Metrics) codec.NodeID { return m.Leader }) { ... }
func Watch[T comparable](ctx context.Context, r *Raft, value func(Metrics) T) iter.Seq[T] {
	return func(yield func(T) bool) {
		var last T
		first := true
		_ = r.follow(ctx, func(m Metrics) bool {
			now := value(m)
			if !first && now == last {
				return true
			}
			first, last = false, now
			return yield(now)
		})
	}
}

// watchHub spreads copies of the metrics to those who follow them.
type watchHub struct {
	wanted atomic.Bool // somebody waits for the next copy
	behind atomic.Bool // a round has passed since the newest copy was made

	// mu guards what follows. No owner would do: those who follow wait on their own goroutines. It is held for a few words.
	mu      sync.Mutex
	number  uint64        // of the newest copy
	newest  *Metrics      // never changed
	changed chan struct{} // closed at the next copy
}

// follow gives see the present metrics and then every newer copy that it is not too slow for, until see returns false, ctx
// ends, or the node has; see gets the node's last metrics too. It returns why it ended, nil where see said so.
func (r *Raft) follow(ctx context.Context, see func(Metrics) bool) error {
	h := &r.watch
	h.mu.Lock()
	number := h.number
	h.mu.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !see(r.Metrics()) {
		return nil
	}
	for {
		h.mu.Lock()
		newest, changed, fresh := h.newest, h.changed, h.number != number
		number = h.number
		if !fresh {
			h.wanted.Store(true)
		}
		h.mu.Unlock()
		if !fresh {
			if h.behind.Load() {
				r.box.signal() // what has happened since would else be told only when more happens
			}
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-r.done:
			}
			if !see(*r.last.Load()) {
				return nil
			}
			return r.stopped()
		}
		if !see(*newest) {
			return nil
		}
	}
}

// publish ends a round: whoever waits for news gets a copy of the metrics. What the state machine does meanwhile is news too;
// it wakes the loop once there is more.
func (l *loop) publish() {
	h := &l.raft.watch
	if !h.behind.Load() {
		h.behind.Store(true)
	}
	if !h.wanted.Load() {
		return
	}
	if l.applier.Applied() < l.fed {
		l.applier.AwaitRoom()
	}
	h.behind.Store(false)
	m := l.collect()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wanted.Store(false)
	h.number++
	h.newest = &m
	close(h.changed)
	h.changed = make(chan struct{})
}
