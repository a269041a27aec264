package consensus

import "github.com/millrace/millrace/codec"

// Reads by read index (thesis 6.4). A leader answers a read once a write quorum of every voter set has answered something
// that was sent after the read arrived: none of those voters had moved to a greater vote when it answered, every election
// quorum contains one of them, so when the read arrived there was no later leader, and nothing was committed that this
// leader did not know of. The read sees at least what was committed when it arrived. A leader that has not committed an
// entry of its own does not know all of that yet; but it stands before its first entry, so that the read waits for that
// to be applied.
//
// "Sent after" goes by stamps. A step knows only the instant that the caller gave it, and several steps may share one; so
// a read counts nothing that is stamped with an instant before it arrived, or with one at which anything had been sent
// before it did. Any answer counts, also one to an append: only where nothing that a quorum could answer was sent since
// the oldest read arrived are heartbeats sent for it, at once. Reads that come meanwhile wait for the next round. So
// each answer is used for the reads that wait for it and never again, and many reads share one round.
//
// A node that does not lead asks its leader, which answers by the same rule, and takes the answer for its own read.

// readsMax bounds the reads that wait, those of others included.
const readsMax = 1 << 16

// waitingRead is a read that a leader has not confirmed yet.
type waitingRead struct {
	token uint64
	index codec.Index
	after Instant      // only what is stamped later counts
	peer  codec.NodeID // who asked; 0 for this node's caller
	stamp int64        // for the answer to a peer
}

// read takes a read of this node's own caller on the leader.
func (c *Core) read(in *Input) {
	switch {
	case in.Lease && c.now < c.leaseUntil():
		c.out.Reads = append(c.out.Reads, Read{Token: in.Token, Index: c.commit, Lease: true})
	case c.reads.n == readsMax:
		c.out.Reads = append(c.out.Reads, Read{Token: in.Token, Reason: ErrTooManyReads})
	default:
		c.awaitRead(waitingRead{token: in.Token})
	}
}

// readRequest takes a read that another member asks the leader about.
func (c *Core) readRequest(in *Input) {
	if c.peer(in.Peer) == nil || c.reads.n == readsMax {
		c.refuseRead(in)
		return
	}
	c.awaitRead(waitingRead{token: in.Message.Stream, peer: in.Peer, stamp: in.Message.Stamp})
}

// awaitRead puts a read behind those that wait.
func (c *Core) awaitRead(r waitingRead) {
	r.index, r.after = max(c.commit, c.lead.first), max(c.lead.sentAt, c.now-1)
	c.reads.push(r)
}

// refuseRead tells a peer that this node can't confirm its read.
func (c *Core) refuseRead(in *Input) {
	c.replyRead(in.Peer, codec.Message{Status: codec.StatusRefused, Stream: in.Message.Stream, Stamp: in.Message.Stamp})
}

func (c *Core) replyRead(to codec.NodeID, m codec.Message) {
	m.Kind, m.Vote = codec.MessageReadReply, c.vote
	c.sendNow(to, codec.LaneControl, m, codec.FrameMeta{})
}

// confirmReads answers the reads that a quorum has confirmed, and sees to it that one will confirm the next.
func (c *Core) confirmReads() {
	if c.reads.n == 0 {
		return
	}
	heard := c.quorumHeard()
	for c.reads.n > 0 && c.reads.front().after < heard {
		r := c.reads.front()
		if r.peer == 0 {
			c.out.Reads = append(c.out.Reads, Read{Token: r.token, Index: r.index})
		} else {
			c.replyRead(r.peer, codec.Message{Status: codec.StatusOK, Commit: r.index, Stream: r.token, Stamp: r.stamp})
		}
		c.reads.popFront()
	}
	if c.reads.n > 0 && c.now > c.reads.front().after && c.quorumAsked() <= c.reads.front().after {
		c.heartbeats(true)
	}
}

// readDeadline returns when heartbeats can be sent for the oldest read: not at the instant at which something was sent
// before it arrived.
func (c *Core) readDeadline() Instant {
	if c.reads.n == 0 || c.now > c.reads.front().after {
		return Never
	}
	return c.reads.front().after + 1
}

// quorumHeard returns the latest instant such that a write quorum has answered something stamped with it or later. This
// node itself has always answered.
func (c *Core) quorumHeard() Instant {
	l := &c.lead
	for i := range l.peers {
		l.answered[i] = l.peers[i].answered
	}
	return c.quorumInstant()
}

// quorumAsked returns the latest instant such that a write quorum was sent something stamped with it or later, answered or
// not.
func (c *Core) quorumAsked() Instant {
	l := &c.lead
	for i := range l.peers {
		l.answered[i] = l.peers[i].sentAt
	}
	return c.quorumInstant()
}

func (c *Core) quorumInstant() Instant {
	if c.members.self >= 0 {
		c.lead.answered[c.members.self] = Never
	}
	return reached(&c.members, c.lead.answered, c.lead.answeredScratch)
}

// loseReads gives up what waits when a leadership ends.
func (c *Core) loseReads() {
	for ; c.reads.n > 0; c.reads.popFront() {
		r := c.reads.front()
		if r.peer == 0 {
			c.out.Reads = append(c.out.Reads, Read{Token: r.token, Reason: ErrReadLost})
		} else {
			c.replyRead(r.peer, codec.Message{Status: codec.StatusRefused, Stream: r.token, Stamp: r.stamp})
		}
	}
}

// barrier appends an entry that carries nothing: once it is applied, so is everything that was committed before.
func (c *Core) barrier(*Input) {
	if c.mayPropose() {
		c.appendBlank()
		c.streamAll()
	}
}
