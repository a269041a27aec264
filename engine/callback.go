package engine

import (
	"context"
	"slices"
	"sync"

	"github.com/millrace/millrace/codec"
)

// office is who leads, as this node knows it.
type office struct {
	leads  bool       // this node does
	leader codec.Node // the zero Node for nobody
	vote   codec.Vote
}

// callbackHub holds the functions that callers registered.
type callbackHub struct {
	// mu guards what follows. No owner would do: callers register from their own goroutines, and the loop cancels contexts
	// without waiting for anybody.
	mu    sync.Mutex
	list  []*callback
	ended bool
	end   chan struct{} // closed when the node ends
}

// callback is one registration. Its functions are called by its own goroutine.
type callback struct {
	hub   *callbackHub
	raft  *Raft
	start func(context.Context, codec.Vote)
	stop  func(codec.Vote)
	told  func(codec.Node, codec.Vote) // instead of start and stop
	quit  chan struct{}
	once  sync.Once
	done  chan struct{}

	vote   codec.Vote         // of the leadership that was started
	cancel context.CancelFunc // of its context; guarded by the hub's lock, as vote is where both are set
}

// OnLeader lets the program run something only while this node leads. start is called when this node was elected, or leads
// already, stop when that is over. They alternate strictly, start first, and are called one after the other on a goroutine of
// their own: stop is called for each start, also by [Raft.Close], which waits for it, and the next start comes after it. A
// leadership that has come and gone while a function was running is left out. The context of start ends as soon as the
// leadership does, also while start is running; the vote tells leaderships apart.
//
// That this node was elected does not say that it has applied what its predecessors committed: [Raft.EnsureLinearizable]
// waits for that. And that it leads it knows only of the past: who must be sure at a later moment lets his action pass
// through the log.
//
// The returned function ends the registration, after a last stop if one is due, for which it waits. Neither it nor Close may
// be called by start or stop, nor may stop wait for something of the node, its end included, without a context that ends:
// Close waits for stop. Errors: an [ArgumentError]; what wraps [ErrStopped].
func (r *Raft) OnLeader(start func(ctx context.Context, vote codec.Vote), stop func(vote codec.Vote)) (end func(), err error) {
	if start == nil || stop == nil {
		return nil, &ArgumentError{"OnLeader", "a nil function", "two functions"}
	}
	return r.register(&callback{start: start, stop: stop})
}

// OnLeaderChange calls fn with the leader that this node knows of, the zero Node for none, and then after each change, on a
// goroutine of its own, one call after the other. What has changed while fn was running is told once, by the newest state;
// the last one is that the node has ended and knows of none. The returned function ends the registration and waits for a
// running call; neither it nor [Raft.Close] may be called by fn. Errors: an [ArgumentError]; what wraps [ErrStopped].
func (r *Raft) OnLeaderChange(fn func(leader codec.Node, vote codec.Vote)) (end func(), err error) {
	if fn == nil {
		return nil, &ArgumentError{"OnLeaderChange", "a nil function", "a function"}
	}
	return r.register(&callback{told: fn})
}

func (r *Raft) register(c *callback) (end func(), err error) {
	h := &r.callbacks
	c.hub, c.raft, c.quit, c.done = h, r, make(chan struct{}), make(chan struct{})
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return nil, r.stopped()
	}
	h.list = append(h.list, c)
	if c.told != nil {
		go c.runTold()
	} else {
		go c.runLeader()
	}
	return func() {
		c.once.Do(func() { close(c.quit) })
		<-c.done
	}, nil
}

// runLeader calls start and stop.
func (c *callback) runLeader() {
	defer c.leave()
	for {
		changed := c.raft.changes()
		now := c.raft.office.Load()
		over := c.over()
		switch {
		case c.cancel != nil && (over || !now.leads || now.vote != c.vote):
			c.cancel()
			c.stop(c.vote)
			c.hub.mu.Lock()
			c.cancel = nil
			c.hub.mu.Unlock()
		case over:
			return
		case c.cancel == nil && now.leads:
			c.start(c.begin(now.vote), now.vote)
		default:
			select {
			case <-changed:
			case <-c.quit:
			case <-c.hub.end:
			}
		}
	}
}

// begin makes the context of a leadership. If that is over by now it has ended.
func (c *callback) begin(vote codec.Vote) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	c.vote, c.cancel = vote, cancel
	if now := c.raft.office.Load(); !now.leads || now.vote != vote {
		cancel()
	}
	return ctx
}

// runTold calls told.
func (c *callback) runTold() {
	defer c.leave()
	var last *office
	for {
		changed := c.raft.changes()
		now := c.raft.office.Load()
		over := c.over()
		select {
		case <-c.quit:
			return
		default:
		}
		switch {
		case last == nil || now.leader.ID != last.leader.ID || now.leader.ID != 0 && now.vote != last.vote:
			last = now
			c.told(now.leader, now.vote)
		case over:
			return
		default:
			select {
			case <-changed:
			case <-c.quit:
			case <-c.hub.end:
			}
		}
	}
}

// over reports whether the registration or the node has ended.
func (c *callback) over() bool {
	select {
	case <-c.quit:
		return true
	case <-c.hub.end:
		return true
	default:
		return false
	}
}

// leave ends the goroutine.
func (c *callback) leave() {
	c.hub.mu.Lock()
	c.hub.list = slices.DeleteFunc(c.hub.list, func(x *callback) bool { return x == c })
	c.hub.mu.Unlock()
	close(c.done)
}

// tell ends the contexts of leaderships that are over.
func (h *callbackHub) tell(now *office) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.list {
		if c.cancel != nil && (!now.leads || now.vote != c.vote) {
			c.cancel()
		}
	}
}

// close lets every registration come to its end and waits for that. The node leads no more.
func (h *callbackHub) close() {
	h.mu.Lock()
	h.ended = true
	close(h.end)
	list := slices.Clone(h.list)
	h.mu.Unlock()
	for _, c := range list {
		<-c.done
	}
}

// changes returns what is closed at the next change of leader.
func (r *Raft) changes() <-chan struct{} {
	r.changedMu.Lock()
	defer r.changedMu.Unlock()
	return r.changed
}
