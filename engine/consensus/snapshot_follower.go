package consensus

import (
	"fmt"

	"github.com/millrace/millrace/codec"
)

// A snapshot that came from elsewhere is given to the core when all of it is durable here. What it holds is committed. So
// one that ends at or before the commit is nothing new, one whose last entry the log holds moves the commit up and leaves
// the log as it is, and any other one takes the place of the whole log: no entry in it can be committed that does not
// stand in the snapshot. It never goes back, whatever comes late (Raft 7, thesis 5.1).

// wantsSnapshot reports whether the log begins behind a base that no snapshot of this node reaches: it was damaged or lost,
// and what must be applied next is gone. Such a node votes and takes appends, but can apply nothing. A witness applies
// nothing ever.
func (c *Core) wantsSnapshot() bool {
	return c.snapshot.Index < c.log.base.Index && !c.members.isWitness(c.members.self)
}

// install takes a snapshot that came complete from a leader, or by hand.
func (c *Core) install(in *Input) {
	if in.Base == nil {
		panic("BUG: a snapshot without a base to install")
	}
	if in.Peer == 0 {
		c.installByHand(in)
		return
	}
	if !c.admits(in) {
		return
	}
	m := &in.Message
	// The answer repeats no stamp: who sends the pieces stamps them beside the leader's core, which could not tell what was
	// sent before something else.
	reply := codec.Message{Kind: codec.MessageAppendReply, Stream: m.Stream}
	if !c.follow(m) {
		reply.Vote, reply.Status = c.vote, codec.StatusRefused
		c.sendNow(in.Peer, codec.LaneAppend, reply, codec.FrameMeta{})
		return
	}
	if c.contradicted(in, in.Base.ID) {
		return
	}
	c.take(in)
	reply.Vote = c.vote
	c.acknowledge(in.Peer, reply)
}

// installByHand takes a snapshot that nobody's leadership vouches for but its own last entry's.
func (c *Core) installByHand(in *Input) {
	if err := c.mayInstall(in); err != nil {
		c.refuse(err)
		return
	}
	c.raiseVote(in.Base.ID.Leader)
	c.take(in)
}

// mayInstall says why a snapshot that was brought by hand is not installed.
func (c *Core) mayInstall(in *Input) error {
	base := in.Base
	if err := checkBase(base); err != nil {
		return fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	m := c.members.membership
	switch {
	case base.ID.IsZero() || base.Membership.ID.IsZero():
		return fmt.Errorf("%w: it ends at %v, with a membership of %v, want one of each", ErrSnapshot, base.ID, base.Membership.ID)
	case m != nil && base.Membership.Membership.Mode != m.Mode:
		return fmt.Errorf("%w: vote mode %v, want %v as here", ErrSnapshot, base.Membership.Membership.Mode, m.Mode)
	case m != nil && m.Mode == codec.OneLeaderPerTerm && c.vote.Committed && base.ID.Leader != c.vote.Leader &&
		base.ID.Leader.Term == c.vote.Leader.Term:
		return fmt.Errorf("%w: it ends at %v, the leader of that term is node %d here", ErrSnapshot, base.ID, c.vote.Leader.Node)
	case base.ID.Index <= c.commit && !c.log.matches(base.ID):
		return fmt.Errorf("%w: it ends at %v, another entry is committed here", ErrSnapshot, base.ID)
	case base.ID.Index <= c.commit && !c.restores(in):
		return fmt.Errorf("%w: it ends at %v, entries up to %d are committed here", ErrSnapshot, base.ID, c.commit)
	case base.ID.Index > c.commit && c.role == Leader:
		return fmt.Errorf("%w: it ends at %v, this leader has committed entries up to %d; it can hand over", ErrSnapshot, base.ID, c.commit)
	}
	return nil
}

// admits reports whether a leader's snapshot is one that some correct peer could have sent, of a group with this vote mode.
func (c *Core) admits(in *Input) bool {
	m, base := &in.Message, in.Base
	if m.Group != c.cfg.Group {
		panic(fmt.Sprintf("BUG: snapshot of group %d given to group %d", m.Group, c.cfg.Group))
	}
	if !c.wellFormedSender(in) || m.Kind != codec.MessageSnapshot || !fromLeader(in) || !m.Vote.Committed ||
		base.ID != m.Log || base.ID.IsZero() || checkBase(base) != nil {
		c.malformed++
		return false
	}
	return c.agrees(in)
}

// restores reports whether a snapshot that is nothing new to the log is what this node waits for.
func (c *Core) restores(in *Input) bool {
	return c.wantsSnapshot() && in.Base.ID.Index >= c.log.base.Index && !in.MetadataOnly
}

// take installs a snapshot that contradicts nothing, as far as it is new.
func (c *Core) take(in *Input) {
	switch id := in.Base.ID; {
	case id.Index <= c.commit && !c.restores(in):
		return
	case id.Index <= c.commit:
	case c.log.holds(id):
		c.verify(id.Index, id.Index)
	default:
		c.jumpTo(cloneBase(in.Base))
	}
	if !in.MetadataOnly && !c.members.isWitness(c.members.self) {
		c.snapshot = in.Base.ID
		c.out.Install = cloneBase(in.Base)
	}
	if c.role != Leader && c.election.rank != c.priorityRank() {
		c.election.reset(c)
	}
}

// jumpTo replaces the log by the base of a snapshot. The base is kept.
func (c *Core) jumpTo(base *codec.LogBase) {
	w := c.write()
	w.Jump = base
	c.log.jump(base, w.Seq)
	c.commit, c.verified = base.ID.Index, base.ID.Index
	c.refreshMembers()
	c.updateRole()
}

// noteSnapshot takes the news of a snapshot of this node's own. One that was taken before another took its place comes late
// and is nothing new.
func (c *Core) noteSnapshot(in *Input) {
	id := in.Log
	if id.Index <= c.snapshot.Index || id.Index < c.log.base.Index {
		return
	}
	if id.Index > c.commit || !c.log.holds(id) {
		c.broken("snapshot of %v, log from %v to %v, commit %d", id, c.log.base, c.log.last, c.commit)
	}
	c.snapshot = id
}
