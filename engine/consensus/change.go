package consensus

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/millrace/millrace/codec"
)

// Changes of membership follow the extended joint consensus of openraft, on lists of (voter set, quorum system) pairs. Any
// decision needs a quorum of each pair in the list. Four rules make every step safe:
//
//   - a membership takes effect when it is appended, and loses it when it is truncated (log.go);
//   - it is proposed only when the one before it is committed;
//   - the two share an identical pair, so that any quorum of the one meets any quorum of the other;
//   - a leader first commits an entry of its own leadership (its blank one), so that it knows what is committed
//     (Ongaro's correction of 2015).
//
// A change between memberships that share no pair goes through a transient one that holds the pairs of both (the
// dissertation's 4.3); the leader that commits it, be it another one, goes on to the last pair alone.

// change makes the wanted membership the next one, or the joint one on the way to it.
func (c *Core) change(in *Input) {
	if err := c.mayChange(in.If); err != nil {
		c.refuse(err)
		return
	}
	if in.Membership == nil {
		c.refuse(fmt.Errorf("%w: none given", ErrMembership))
		return
	}
	if err := c.proposeMembership(in.Membership); err != nil {
		c.refuse(err)
	}
}

// mayChange says why no membership may be proposed now.
func (c *Core) mayChange(expected *codec.LogID) error {
	switch {
	case expected != nil && *expected != c.members.at:
		return &ChangedError{Want: *expected, Have: c.members.at}
	case c.commit < c.lead.first:
		return ErrTermNotCommitted
	case c.commit < c.members.at.Index || c.members.membership.Transient:
		return fmt.Errorf("%w: that of entry %v", ErrChangeInProgress, c.members.at)
	case c.leaving():
		return ErrLeaderLeaves
	case c.blocked():
		return ErrTransferInProgress
	}
	return nil
}

// proposeMembership appends the membership that leads to the wanted one.
func (c *Core) proposeMembership(want *codec.Membership) error {
	have := c.members.membership
	if err := checkMembership(want); err != nil {
		return err
	}
	if err := compatible(have, want); err != nil {
		return err
	}
	next := want.Clone()
	for i := range next.Nodes {
		if n := &next.Nodes[i]; n.Incarnation.IsZero() {
			old, _ := have.Node(n.ID)
			n.Incarnation = old.Incarnation
		}
	}
	if !sharesConfig(have, want) {
		if len(want.Configs) > 1 {
			return fmt.Errorf("%w: none of its %d configs is one of the %d in force; want one of them, or a single config",
				ErrMembership, len(want.Configs), len(have.Configs))
		}
		next = joint(have, &next)
		if err := next.Validate(); err != nil {
			return fmt.Errorf("%w: on the way to it: %w", ErrMembership, err)
		}
	}
	if err := c.checkCaughtUp(&next); err != nil {
		return err
	}
	c.appendMembership(&next)
	return nil
}

// compatible says what of a membership may not follow the one in force.
func compatible(have, want *codec.Membership) error {
	switch {
	case want.Mode != have.Mode:
		return fmt.Errorf("%w: vote mode %v, want %v, which was fixed when the group was initialized", ErrMembership, want.Mode, have.Mode)
	case want.Transient:
		return fmt.Errorf("%w: transient, want one to stay in", ErrMembership)
	}
	for _, n := range want.Nodes {
		old, ok := have.Node(n.ID)
		if ok && !old.Incarnation.IsZero() && !n.Incarnation.IsZero() && old.Incarnation != n.Incarnation {
			return fmt.Errorf("%w: node %d has incarnation %v, want %v as before; another disk needs another id",
				ErrMembership, n.ID, n.Incarnation, old.Incarnation)
		}
		if ok && old.Witness != n.Witness {
			return fmt.Errorf("%w: node %d is a witness: %t, want %t as before; its log can't change, a new id can take its place",
				ErrMembership, n.ID, n.Witness, old.Witness)
		}
	}
	return nil
}

// sharesConfig reports whether two memberships have an identical config.
func sharesConfig(a, b *codec.Membership) bool {
	return slices.ContainsFunc(a.Configs, func(x codec.VoterConfig) bool {
		return slices.ContainsFunc(b.Configs, func(y codec.VoterConfig) bool { return x.Equal(&y) })
	})
}

// joint returns the transient membership on the way from have to want: the configs and nodes of both, with those marked
// that end with it.
func joint(have, want *codec.Membership) codec.Membership {
	next := want.Clone()
	next.Transient = true
	old := have.Clone()
	next.Configs = append(old.Configs, next.Configs...)
	for _, n := range old.Nodes {
		if _, stays := want.Node(n.ID); !stays {
			n.Leaving, n.Promote = true, false
			next.Nodes = append(next.Nodes, n)
		}
	}
	slices.SortFunc(next.Nodes, func(a, b codec.Node) int { return cmp.Compare(a.ID, b.ID) })
	return next
}

// settled returns the membership that follows a transient one: its last config alone, without those who leave.
func settled(m *codec.Membership) codec.Membership {
	next := m.Clone()
	next.Transient = false
	next.Configs = next.Configs[len(next.Configs)-1:]
	next.Nodes = slices.DeleteFunc(next.Nodes, func(n codec.Node) bool { return n.Leaving })
	return next
}

// checkCaughtUp says which new voter still lacks entries (thesis 4.2.1).
func (c *Core) checkCaughtUp(next *codec.Membership) error {
	for _, n := range next.Nodes {
		if c.members.isVoter(n.ID) || !next.IsVoter(n.ID) || n.ID == c.cfg.Node {
			continue
		}
		p := c.peer(n.ID)
		switch {
		case p == nil:
			return &BehindError{Node: n.ID, Last: c.log.last.Index}
		case !c.caughtUp(p):
			return &BehindError{Node: n.ID, Match: p.match, Last: c.log.last.Index, Silent: time.Duration(c.now - p.answered)}
		}
	}
	return nil
}

// caughtUp reports whether a peer that lately answered holds the log but for what is in its window.
func (c *Core) caughtUp(p *progress) bool {
	sendable := c.log.last.Index
	if p.witness {
		sendable = c.log.flushed
	}
	return p.state == stateStream && !p.lost && !p.snapshot.wanted && p.match > 0 && p.next > sendable &&
		p.answered > c.now.Add(-c.cfg.ElectionTimeoutMax)
}

// appendMembership proposes a membership and sends it on. next belongs to the core from then on.
func (c *Core) appendMembership(next *codec.Membership) {
	f := membershipFrame(next)
	f.Group, f.Leader, f.First = c.cfg.Group, c.vote.Leader, c.log.last.Index+1
	c.appendFrame(f, next)
	c.streamAll()
}

// advanceMembership takes the steps that no caller asks for: the end of a joint membership, the end of a leader that is
// none of its voters, the promotion of learners. It returns false when the leadership has ended.
func (c *Core) advanceMembership() bool {
	m := c.members.membership
	if c.commit < c.members.at.Index || c.commit < c.lead.first || !c.out.Write.Frame.IsZero() {
		return true
	}
	switch {
	case m.Transient:
		next := settled(m)
		c.appendMembership(&next)
	case c.leaving():
		c.leave()
		return false
	}
	return true
}

// leaving reports whether this leader is no voter of the membership that is to stay.
func (c *Core) leaving() bool {
	return !c.members.membership.Transient && (c.members.self < 0 || !c.members.voter[c.members.self])
}

// leave ends the leadership of a node that is no voter any more, once that is committed (thesis 4.2.2): it tells the
// others what is committed, lets the best of them campaign at once, and steps down.
func (c *Core) leave() {
	c.heartbeats(true)
	if p := c.bestPeer(); p != nil && c.complete(p) {
		c.askToCampaign(p)
	}
	c.stepDown()
}

// promote makes voters of the learners that were marked for it and have caught up: of all together, or, where the proof
// refuses that, of the first one that it takes. Other configs of a membership that is to stay joint remain as they are.
func (c *Core) promote() {
	m := c.members.membership
	last := &m.Configs[len(m.Configs)-1]
	if last.Quorum.Kind != codec.QuorumMajority || !c.out.Write.Frame.IsZero() || c.mayChange(nil) != nil {
		return
	}
	var ready []codec.NodeID
	for i := range m.Nodes {
		if p := &c.lead.peers[i]; m.Nodes[i].Promote && i != c.members.self && c.caughtUp(p) {
			ready = append(ready, p.node)
		}
	}
	if len(ready) == 0 || c.proposeMembership(promoted(m, ready...)) == nil {
		return
	}
	for _, id := range ready {
		if c.proposeMembership(promoted(m, id)) == nil {
			return
		}
	}
}

// promoted returns a membership with more voters in its last config.
func promoted(m *codec.Membership, ids ...codec.NodeID) *codec.Membership {
	out := m.Clone()
	last := &out.Configs[len(out.Configs)-1]
	last.Voters = append(last.Voters, ids...)
	slices.Sort(last.Voters)
	for i := range out.Nodes {
		if slices.Contains(ids, out.Nodes[i].ID) {
			out.Nodes[i].Promote = false
		}
	}
	return &out
}
