package consensus

import "github.com/millrace/millrace/codec"

// wantsSnapshot reports whether the log begins behind a base that no snapshot of this node reaches: it was damaged or lost,
// and what must be applied next is gone. Such a node votes and takes appends, but can apply nothing. A witness applies
// nothing ever.
func (c *Core) wantsSnapshot() bool {
	return c.snapshot.Index < c.log.base.Index && !c.members.isWitness(c.members.self)
}

// jumpTo replaces the log by the base of a snapshot. The base is kept.
func (c *Core) jumpTo(base *codec.LogBase) {
	w := c.write()
	w.Jump = base
	c.log.jump(base, w.Seq)
	c.snapshot = base.ID
	c.commit, c.verified = base.ID.Index, base.ID.Index
	c.refreshMembers()
}

// noteSnapshot takes the news of a snapshot of this node's own. One that was taken before another took its place comes late
// and is nothing new.
func (c *Core) noteSnapshot(in *Input) {
	id := in.Log
	if id.Index <= c.snapshot.Index {
		return
	}
	if id.Index > c.commit || !c.log.holds(id) {
		c.broken("snapshot of %v, log from %v to %v, commit %d", id, c.log.base, c.log.last, c.commit)
	}
	c.snapshot = id
}
