package consensus

import (
	"math/rand/v2"

	"github.com/millrace/millrace/codec"
)

// askedRead is a read that a node which does not lead asks its leader about.
type askedRead struct {
	token    uint64 // the caller's
	deadline Instant
	done     bool // answered, and waiting for those before it
}

// askedReads are the reads that the leader was asked about, in the order in which it was. They are asked about once; one
// whose answer does not come in time, or not before the leader changes, is given up.
//
// On the wire a read is named by a number that no other read of this node has had, in any life: an answer to an
// earlier life may come late, and confirms nothing that is asked now (the same read asked again, across a
// pause and two leaders, was answered with what was true the first time).
//
// Owner: the [Core] it is part of.
type askedReads struct {
	list ring[askedRead]
	// first is the number of the oldest one on the wire; they are consecutive from a random start on.
	first uint64
	// vote is that of the leader who was asked.
	vote codec.Vote
}

func (a *askedReads) start(cfg *Config, now Instant) {
	a.first = rand.New(rand.NewPCG(cfg.Seed^cfg.Life^uint64(now), ^uint64(cfg.Node))).Uint64()
}

// askRead passes a read on to the leader.
func (c *Core) askRead(in *Input) {
	a := &c.asked
	leader := c.knownLeader()
	switch {
	case leader == 0:
		c.out.Reads = append(c.out.Reads, Read{Token: in.Token, Reason: ErrNoLeader})
		return
	case a.list.n == readsMax:
		c.out.Reads = append(c.out.Reads, Read{Token: in.Token, Reason: ErrTooManyReads})
		return
	}
	number := a.first + uint64(a.list.n)
	a.list.push(askedRead{token: in.Token, deadline: c.now.Add(c.cfg.ElectionTimeoutMax)})
	a.vote = c.vote
	c.sendNow(leader, codec.LaneControl, codec.Message{
		Kind: codec.MessageRead, Vote: c.vote, Stream: number, Stamp: int64(c.now),
	}, codec.FrameMeta{})
}

// knownLeader returns the leader that this node follows, or itself where it leads; 0 for none.
func (c *Core) knownLeader() codec.NodeID {
	if c.vote.Committed && !c.spent && !c.election.forgot {
		return c.vote.Leader.Node
	}
	return 0
}

// readReply takes the leader's answer to a read.
func (c *Core) readReply(in *Input) {
	m, a := &in.Message, &c.asked
	i := m.Stream - a.first
	if i >= uint64(a.list.n) || in.Peer != a.vote.Leader.Node {
		return
	}
	r := a.list.at(int(i))
	switch {
	case r.done:
	case m.Status == codec.StatusOK && m.Vote == a.vote:
		r.done = true
		c.out.Reads = append(c.out.Reads, Read{Token: r.token, Index: m.Commit})
	default:
		r.done = true
		c.out.Reads = append(c.out.Reads, Read{Token: r.token, Reason: ErrReadLost})
	}
}

// giveUpAsked ends the reads that nobody will answer any more.
func (c *Core) giveUpAsked() {
	a := &c.asked
	for a.list.n > 0 {
		r := a.list.front()
		if !r.done {
			if c.vote == a.vote && c.now < r.deadline {
				return
			}
			c.out.Reads = append(c.out.Reads, Read{Token: r.token, Reason: ErrReadLost})
		}
		a.list.popFront()
		a.first++
	}
}

// askedDeadline returns when the oldest read that was passed on is given up.
func (c *Core) askedDeadline() Instant {
	if c.asked.list.n == 0 {
		return Never
	}
	return c.asked.list.front().deadline
}
