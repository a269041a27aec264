package consensus

import (
	"fmt"

	"github.com/millrace/millrace/codec"
)

// initialize makes the given membership the first entry of an empty log (openraft's rule: only where no log and no
// vote exist, so it can't overwrite anything). Several nodes may be given the same membership.
func (c *Core) initialize(in *Input) {
	m := in.Membership
	if !c.vote.IsZero() || !c.log.last.IsZero() {
		c.refuse(ErrInitialized)
		return
	}
	if err := c.checkFirst(m); err != nil {
		c.refuse(err)
		return
	}
	own := m.Clone()
	f := membershipFrame(&own)
	f.Group, f.First = c.cfg.Group, 1
	if in.Frame.Size > 0 {
		f.Size = in.Frame.Size
	}
	c.appendFrame(f, &own)
	c.election.soon(c)
}

// checkFirst says why a membership can't be a group's first one.
func (c *Core) checkFirst(m *codec.Membership) error {
	if m == nil {
		return fmt.Errorf("%w: none given", ErrMembership)
	}
	if err := checkMembership(m); err != nil {
		return err
	}
	if m.Transient {
		return fmt.Errorf("%w: transient, want one that stays", ErrMembership)
	}
	n, member := m.Node(c.cfg.Node)
	switch {
	case !member:
		return fmt.Errorf("%w: node %d, which is to be initialized, is none of its nodes", ErrMembership, c.cfg.Node)
	case n.Witness:
		return fmt.Errorf("%w: node %d, which is to be initialized, is a witness, which can't lead", ErrMembership, c.cfg.Node)
	}
	return nil
}

// checkMembership says what is wrong with a membership by itself: its form, quorums that miss each other, or a mark that
// nothing could come of.
func checkMembership(m *codec.Membership) error {
	if err := m.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrMembership, err)
	}
	if err := ProveQuorums(m); err != nil {
		return fmt.Errorf("%w: %w", ErrMembership, err)
	}
	last := &m.Configs[len(m.Configs)-1]
	for _, n := range m.Nodes {
		if n.Promote && last.Quorum.Kind != codec.QuorumMajority {
			return fmt.Errorf("%w: node %d is to be promoted into a %v quorum system, where its part would be unknown; want majority",
				ErrMembership, n.ID, last.Quorum.Kind)
		}
	}
	return nil
}

// membershipFrame describes the frame of a membership entry; group, leader and index are for the caller to set.
func membershipFrame(m *codec.Membership) codec.FrameMeta {
	return codec.FrameMeta{
		Count: 1,
		Kind:  codec.EntryMembership,
		Size:  codec.FrameHeaderSize + len(codec.AppendEntry(nil, codec.AppendMembership(nil, m))),
	}
}
