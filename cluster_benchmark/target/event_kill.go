package target

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/pipeline"
)

// killFrom is the part of the measured time at which the leader is killed.
const killFrom = 0.25

// killTimeout is how long a node that is killed goes on: it neither answers what it has taken nor hands its office over.
const killTimeout = time.Nanosecond

// kill is the end of a leader, and whether a put was acknowledged since.
type kill struct {
	leader *engine.Raft
	at     time.Time
	seen   atomic.Bool
	next   chan float64 // capacity 1; milliseconds to the next acknowledged put
}

// acknowledged notes that a node has acknowledged a put. What the killed one still answered does not count.
func (k *kill) acknowledged(node *engine.Raft) {
	if k != nil && k.leader != node && !k.seen.Load() && k.seen.CompareAndSwap(false, true) {
		k.next <- milliseconds(k.at)
	}
}

// watched is a leader that tells when it acknowledges.
type watched struct {
	*engine.Raft
	c *cluster
}

// Propose implements [load.Proposer].
func (w watched) Propose(ctx context.Context, data []byte) (pipeline.Result, error) {
	r, err := w.Raft.Propose(ctx, data)
	if err == nil {
		w.c.killed.Load().acknowledged(w.Raft)
	}
	return r, err
}

// ProposeAsync implements [load.Proposer].
func (w watched) ProposeAsync(data []byte, fn func(pipeline.Result, error)) error {
	return w.Raft.ProposeAsync(data, func(r pipeline.Result, err error) {
		if err == nil {
			w.c.killed.Load().acknowledged(w.Raft)
		}
		fn(r, err)
	})
}

// ProposeBatch implements [load.Proposer].
func (w watched) ProposeBatch(ctx context.Context, datas [][]byte) ([]pipeline.Result, error) {
	r, err := w.Raft.ProposeBatch(ctx, datas)
	if err == nil {
		w.c.killed.Load().acknowledged(w.Raft)
	}
	return r, err
}

// playLeaderKill kills the leader, waits for the next acknowledged put, and starts the node again.
func (c *cluster) playLeaderKill(s *stage) ([]result.Event, error) {
	if !s.until(killFrom) {
		return nil, fmt.Errorf("the leader was not killed: %w", ErrOver)
	}
	leader := c.leading()
	if leader.node == nil {
		return nil, errNoLeader
	}
	id := leader.node.NodeID()
	e := result.Event{Kind: setting.EventLeaderKill, At: s.now(), Node: uint64(id)}
	k := &kill{leader: leader.node, at: time.Now(), next: make(chan float64, 1)}
	c.killed.Store(k)
	if err := leader.node.Close(); err != nil {
		return []result.Event{e}, fmt.Errorf("kill node %d: %w", id, err)
	}
	var failure error
	select {
	case e.Recovery = <-k.next:
		e.Took = milliseconds(k.at)
	case <-s.ctx.Done():
		failure = fmt.Errorf("no put was acknowledged after node %d was killed: %w", id, ErrOver)
	}
	restarted, err := c.restart(leader)
	if err != nil {
		return []result.Event{e}, fmt.Errorf("start node %d again: %w", id, err)
	}
	if now := c.leading(); now.node != nil && failure == nil {
		if rejoined, ok := caughtUp(s.ctx, restarted, now.node.Metrics().Commit); ok {
			e.Rejoined = rejoined
		}
	}
	return []result.Event{e}, failure
}

// restart opens a node that was killed again, where it listened before, with nothing but its log.
func (c *cluster) restart(killed member) (*engine.Raft, error) {
	id := killed.node.NodeID()
	m, err := c.open(id, killed.node.Addr())
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members[id-1] = m
	c.former = append(c.former, killed)
	return m.node, nil
}
