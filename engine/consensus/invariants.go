package consensus

import (
	"fmt"

	"github.com/millrace/millrace/codec"
)

// stateBefore is what the invariants compare a step with.
type stateBefore struct {
	vote       codec.Vote
	commit     codec.Index
	flushedSeq uint64
	seq        uint64
	base       codec.Index
	snapshot   codec.Index
}

func (s *stateBefore) take(c *Core) {
	*s = stateBefore{
		vote: c.vote, commit: c.commit, flushedSeq: c.flushedSeq, seq: c.seq, base: c.log.base.Index, snapshot: c.snapshot.Index,
	}
}

// checkInvariants panics where a step left a state that no input, however odd, may lead to. The checks here cost a few
// comparisons a peer and always run; with the build tag "invariants" the whole state is checked too.
func (c *Core) checkInvariants() {
	b := &c.before
	last := c.log.last.Index
	switch {
	case c.vote.Leader.Term < b.vote.Leader.Term:
		c.broken("term went back from %v to %v", b.vote, c.vote)
	case c.vote.Leader == b.vote.Leader && b.vote.Committed && !c.vote.Committed:
		c.broken("vote went back from %v to %v", b.vote, c.vote)
	case c.commit < b.commit:
		c.broken("commit went back from %d to %d", b.commit, c.commit)
	case c.commit > last || c.commit < c.log.base.Index:
		c.broken("commit %d, log from %v to %v", c.commit, c.log.base, c.log.last)
	case c.log.base.Index < b.base || c.snapshot.Index < b.snapshot:
		c.broken("log begins behind %v after %d, snapshot of %v after %d", c.log.base, b.base, c.snapshot, b.snapshot)
	case c.snapshot.Index > c.commit:
		c.broken("snapshot of %v, commit %d", c.snapshot, c.commit)
	case c.flushedSeq < b.flushedSeq || c.flushedSeq > c.seq || c.seq < b.seq || c.seq > b.seq+1:
		c.broken("writes %d flushed of %d after %d of %d", c.flushedSeq, c.seq, b.flushedSeq, b.seq)
	case c.log.flushed > last || c.log.flushed < c.log.base.Index && c.log.flushed > 0:
		c.broken("flushed %d, log from %v to %v", c.log.flushed, c.log.base, c.log.last)
	case c.verified < c.commit || c.verified > last:
		c.broken("verified %d, commit %d, last entry %v", c.verified, c.commit, c.log.last)
	case c.log.last.Leader.Compare(c.vote.Leader) > 0:
		c.broken("last entry %v above vote %v", c.log.last, c.vote)
	case len(c.out.AfterFlush) > 0 && c.out.Write.Seq == 0:
		c.broken("promises without a write")
	case c.out.Deadline <= c.now:
		c.broken("deadline %d at %d", c.out.Deadline, c.now)
	case c.role != Leader && c.reads.n > 0:
		c.broken("%d reads wait for %v", c.reads.n, c.role)
	case (c.role == Leader) != (len(c.lead.peers) > 0):
		c.broken("role %v with %d peers", c.role, len(c.lead.peers))
	}
	for i := range c.lead.peers {
		if i != c.members.self {
			c.checkPeer(&c.lead.peers[i])
		}
	}
	c.checkCostly()
	b.take(c)
}

func (c *Core) checkPeer(p *progress) {
	switch {
	case p.match >= p.next || p.next > c.log.last.Index+1:
		c.broken("peer %d: match %d, next %d, last entry %v", p.node, p.match, p.next, c.log.last)
	case p.next <= c.log.base.Index:
		c.broken("peer %d: next %d, log from %v to %v", p.node, p.next, c.log.base, c.log.last)
	case p.state == stateSnapshot && (p.inflight.n > 0 || p.probeOut || !p.snapshot.active):
		c.broken("peer %d waits for a snapshot: active %v, %d frames in flight, probe out %v",
			p.node, p.snapshot.active, p.inflight.n, p.probeOut)
	case p.snapshot.wanted && !p.snapshot.active, p.snapshot.active && p.snapshot.at <= c.now:
		c.broken("peer %d: snapshot active %v, wanted %v, asked for again at %d", p.node, p.snapshot.active, p.snapshot.wanted, p.snapshot.at)
	case p.state == stateProbe && (p.inflight.n > 0 || !p.probeOut):
		c.broken("peer %d probes with %d frames in flight, probe out %v", p.node, p.inflight.n, p.probeOut)
	case (p.inflight.n == 0) != (p.inflightBytes == 0):
		c.broken("peer %d: %d frames and %d bytes in flight", p.node, p.inflight.n, p.inflightBytes)
	case p.inflight.n > 0 && (p.inflight.front().last <= p.match || p.inflight.back().last >= p.next):
		c.broken("peer %d: frames up to %d and %d in flight, match %d, next %d",
			p.node, p.inflight.front().last, p.inflight.back().last, p.match, p.next)
	case p.window.bytes < windowMin(&c.cfg) || p.window.bytes > c.cfg.WindowBytesMax:
		c.broken("peer %d: window of %d bytes, want %d to %d", p.node, p.window.bytes, windowMin(&c.cfg), c.cfg.WindowBytesMax)
	case p.inflight.n > 1 && (p.inflight.n > c.cfg.WindowFramesMax || p.inflightBytes > c.cfg.WindowBytesMax):
		c.broken("peer %d: %d frames and %d bytes in flight", p.node, p.inflight.n, p.inflightBytes)
	}
}

func (c *Core) broken(format string, args ...any) {
	panic(fmt.Sprintf("BUG: node %d of group %d: ", c.cfg.Node, c.cfg.Group) + fmt.Sprintf(format, args...))
}
