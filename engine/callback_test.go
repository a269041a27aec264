package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

// officeBook notes the calls of one node's callbacks and that they alternate.
type officeBook struct {
	t       *testing.T
	mu      sync.Mutex
	running bool       // a call is running
	vote    codec.Vote // started and not stopped
	ctx     context.Context
	starts  int
	started chan codec.Vote // one for each start
	stopped chan codec.Vote
}

func newOfficeBook(t *testing.T) *officeBook {
	return &officeBook{t: t, started: make(chan codec.Vote, 100), stopped: make(chan codec.Vote, 100)}
}

func (b *officeBook) call(fn func()) {
	b.mu.Lock()
	if b.running {
		b.t.Error("two calls overlap")
	}
	b.running = true
	b.mu.Unlock()
	fn()
	b.mu.Lock()
	b.running = false
	b.mu.Unlock()
}

func (b *officeBook) start(ctx context.Context, vote codec.Vote) {
	b.call(func() {
		if b.vote != (codec.Vote{}) {
			b.t.Errorf("start of %v, %v was not stopped", vote, b.vote)
		}
		b.vote, b.ctx = vote, ctx
		b.starts++
		b.started <- vote
	})
}

func (b *officeBook) stop(vote codec.Vote) {
	b.call(func() {
		if b.vote != vote {
			b.t.Errorf("stop of %v, %v was started", vote, b.vote)
		}
		if b.ctx.Err() == nil {
			b.t.Errorf("stop of %v, and its context has not ended", vote)
		}
		b.vote = codec.Vote{}
		b.stopped <- vote
	})
}

// TestLeaderCallbacksAlternate moves the leadership around and looks at the calls on every node.
func TestLeaderCallbacksAlternate(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.adjust = calm
		c := startCluster(t, o)
		books := map[codec.NodeID]*officeBook{}
		for id, n := range c.nodes {
			books[id] = newOfficeBook(t)
			if _, err := n.OnLeader(books[id].start, books[id].stop); err != nil {
				t.Fatal(err)
			}
		}
		for range 5 {
			leader := c.leader()
			vote := <-books[leader.NodeID()].started
			if vote.Leader.Node != leader.NodeID() {
				t.Fatalf("node %d starts under %v", leader.NodeID(), vote)
			}
			if err := leader.TransferLeadership(t.Context(), leader.NodeID()%3+1); err != nil {
				t.Fatal(err)
			}
			if got := <-books[leader.NodeID()].stopped; got != vote {
				t.Errorf("node %d stops %v, it had started %v", leader.NodeID(), got, vote)
			}
		}
		last := c.leader()
		<-books[last.NodeID()].started
		c.close(last.NodeID())
		select {
		case <-books[last.NodeID()].stopped:
		default:
			t.Error("Close returned before stop was called")
		}
	})
}

// TestLeadershipEndsWhileStartRuns: its context ends at once, stop comes after start has returned.
func TestLeadershipEndsWhileStartRuns(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true, adjust: calm})
	leader := c.leader()
	started, stopped := make(chan struct{}), make(chan struct{})
	var returned bool
	end, err := leader.OnLeader(func(ctx context.Context, _ codec.Vote) {
		close(started)
		<-ctx.Done()
		returned = true
	}, func(codec.Vote) {
		if !returned {
			t.Error("stop is called before start has returned")
		}
		close(stopped)
	})
	if err != nil {
		t.Fatal(err)
	}
	<-started
	if err := leader.TransferLeadership(t.Context(), leader.NodeID()%3+1); err != nil {
		t.Fatal(err)
	}
	within(t, "stop", stopped)
	end()
	end()
}

// TestLeadershipThatCameAndWentIsLeftOut while a function was running.
func TestLeadershipThatCameAndWentIsLeftOut(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true, adjust: calm})
	first := c.leader()
	book := newOfficeBook(t)
	hold := make(chan struct{})
	end, err := first.OnLeader(book.start, func(vote codec.Vote) {
		<-hold
		book.stop(vote)
	})
	if err != nil {
		t.Fatal(err)
	}
	var changes []codec.NodeID
	told := make(chan struct{}, 100)
	endChange, err := first.OnLeaderChange(func(leader codec.Node, vote codec.Vote) {
		if leader.ID != 0 && vote.Leader.Node != leader.ID {
			t.Errorf("node %d leads by %v", leader.ID, vote)
		}
		changes = append(changes, leader.ID)
		told <- struct{}{}
	})
	if err != nil {
		t.Fatal(err)
	}
	<-told
	votes := []codec.Vote{<-book.started}
	for range 2 { // away, back, away, back
		if err := first.TransferLeadership(t.Context(), first.NodeID()%3+1); err != nil {
			t.Fatal(err)
		}
		if err := c.leader().TransferLeadership(t.Context(), first.NodeID()); err != nil {
			t.Fatal(err)
		}
	}
	now := first.Metrics().Vote
	close(hold)
	if got := <-book.stopped; got != votes[0] {
		t.Errorf("%v is stopped first, want %v", got, votes[0])
	}
	if got := <-book.started; got != now {
		t.Errorf("%v is started next, want the newest, %v", got, now)
	}
	end()
	if got := <-book.stopped; got != now || book.starts != 2 {
		t.Errorf("the end of the registration stops %v after %d starts, want %v and 2", got, book.starts, now)
	}
	c.close(first.NodeID())
	endChange()
	if n := len(changes); n < 3 || changes[0] != first.NodeID() || changes[n-1] != 0 {
		t.Errorf("leaders told: %v, want the first, changes, and none at the end", changes)
	}
}

// TestCallbackRefusals of what can't be registered.
func TestCallbackRefusals(t *testing.T) {
	r := openAlone(t, newRegister(), func(*Config) {})
	var argument *ArgumentError
	if _, err := r.OnLeader(nil, func(codec.Vote) {}); !errors.As(err, &argument) {
		t.Errorf("without start: %v", err)
	}
	if _, err := r.OnLeaderChange(nil); !errors.As(err, &argument) || fmt.Sprint(err) != "OnLeaderChange with a nil function, want a function" {
		t.Errorf("without a function: %v", err)
	}
	calls := 0
	end, err := r.OnLeaderChange(func(codec.Node, codec.Vote) { calls++ })
	if err != nil {
		t.Fatal(err)
	}
	end()
	before := calls
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if calls != before {
		t.Error("a call after the end of the registration")
	}
	if _, err := r.OnLeader(func(context.Context, codec.Vote) {}, func(codec.Vote) {}); !errors.Is(err, ErrStopped) {
		t.Errorf("on a closed node: %v", err)
	}
}

// TestCallbacksMayUseTheNode in every way but closing it.
func TestCallbacksMayUseTheNode(t *testing.T) {
	r := openAlone(t, newRegister(), func(cfg *Config) { cfg.CloseTimeout = 10 * time.Millisecond })
	done := make(chan struct{})
	_, err := r.OnLeader(func(ctx context.Context, _ codec.Vote) {
		defer close(done)
		if _, err := r.Propose(ctx, []byte("x")); err != nil {
			t.Error(err)
		}
	}, func(codec.Vote) {
		if _, err := r.Propose(t.Context(), []byte("y")); err == nil {
			t.Error("a node that closes takes a proposal")
		}
		if m := r.Metrics(); m.Entries != 1 {
			t.Errorf("metrics while closing: %d entries", m.Entries)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	<-done
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}
