//go:build invariants

package consensus

// checkCostly walks the whole state after each step.
func (c *Core) checkCostly() {
	c.checkRole()
	c.checkLog()
	c.checkPending()
	for i := range c.reads.n {
		if r := c.reads.at(i); r.after > c.now || i > 0 && r.after < c.reads.at(i-1).after {
			c.broken("read %d of %d counts what is sent after %d, at %d", i, c.reads.n, r.after, c.now)
		}
	}
	for i := range c.lead.peers {
		p := &c.lead.peers[i]
		sum, last := 0, p.match
		for k := range p.inflight.n {
			f := p.inflight.at(k)
			if f.last <= last {
				c.broken("peer %d: frame up to %d in flight behind %d", p.node, f.last, last)
			}
			sum, last = sum+f.size, f.last
		}
		if sum != p.inflightBytes {
			c.broken("peer %d: %d bytes in flight, counted as %d", p.node, sum, p.inflightBytes)
		}
	}
}

func (c *Core) checkRole() {
	role := c.role
	if c.updateRole(); c.role != role {
		c.broken("role %v, vote, membership and spent %v say %v", role, c.spent, c.role)
	}
	if m, at := c.log.membership(); m != c.members.membership || at != c.members.at {
		c.broken("effective membership of %v, newest in the log %v", c.members.at, at)
	}
}

func (c *Core) checkLog() {
	l := &c.log
	next, run := l.base.Index+1, 0
	leader := l.base.Leader
	for i, m := range l.memberships {
		if i > 0 && m.id.Index <= max(l.memberships[i-1].id.Index, l.base.Index) || m.id.Index > l.last.Index {
			c.broken("membership %d of entry %v, log from %v to %v", i, m.id, l.base, l.last)
		}
	}
	for i := range l.frames.n {
		ref := l.frames.at(i)
		if i == 0 && ref.first != l.base.Index+1 || i > 0 && ref.first <= l.frames.at(i-1).first || ref.first > l.last.Index {
			c.broken("frame %d starts at %d, last entry %v", i, ref.first, l.last)
		}
		if run < len(l.runs) && l.runs[run].first == ref.first {
			if order := l.runs[run].leader.Compare(leader); order < 0 || order == 0 && run > 0 {
				c.broken("run of %v after %v", l.runs[run].leader, leader)
			}
			leader = l.runs[run].leader
			run++
		}
		f := l.frameAt(ref.first)
		if f.First != next || f.Leader != leader {
			c.broken("frame %v from %d, want %v from %d", f.LastID(), f.First, leader, next)
		}
		next = f.Last() + 1
	}
	if run != len(l.runs) || next != l.last.Index+1 || leader != l.last.Leader {
		c.broken("%d of %d runs start a frame, entries end at %d of %v, last entry %v", run, len(l.runs), next-1, leader, l.last)
	}
}

func (c *Core) checkPending() {
	l := &c.log
	before := pendingWrite{seq: c.flushedSeq, last: l.flushed}
	for i := range l.pending.n {
		w := *l.pending.at(i)
		if w.seq <= before.seq || w.last <= before.last || w.seq > c.seq || w.last > l.last.Index {
			c.broken("pending write %d up to %d behind %d up to %d, last entry %v", w.seq, w.last, before.seq, before.last, l.last)
		}
		before = w
	}
	if before.last != l.last.Index {
		c.broken("entries up to %d written, last entry %v", before.last, l.last)
	}
}
