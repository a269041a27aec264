package engine

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/millrace/millrace/codec"
)

// Change is one edit of a membership, for [Raft.ChangeMembership].
type Change func(*edit) error

// edit is a membership on its way to another one.
type edit struct {
	membership codec.Membership
	expected   *codec.LogID // of the entry that the change is to replace; nil for any
	// voted says that the voters changed since the quorum system was given, which names its voters.
	voted bool
}

// applyChanges makes the edits, one after the other. Errors wrap [ErrMembership] or [ErrNotMember].
func applyChanges(m *codec.Membership, changes []Change) (*edit, error) {
	e := &edit{membership: m.Clone()}
	for i, change := range changes {
		if change == nil {
			return nil, fmt.Errorf("%w: change %d of %d is nil", ErrMembership, i+1, len(changes))
		}
		if err := change(e); err != nil {
			return nil, err
		}
	}
	if !e.voted {
		return e, nil
	}
	for _, c := range e.membership.Configs {
		if c.Quorum.Kind == codec.QuorumWeighted || c.Quorum.Kind == codec.QuorumHierarchical {
			return nil, fmt.Errorf("%w: the voters become %v, but the %v quorum system is that of others; want a SetQuorum behind it in the same call",
				ErrMembership, c.Voters, c.Quorum.Kind)
		}
	}
	return e, nil
}

func sameMembership(a, b *codec.Membership) bool {
	return bytes.Equal(codec.AppendMembership(nil, a), codec.AppendMembership(nil, b))
}

// AddLearner adds a node that gets every entry and decides nothing. For a learner that is a member already it sets what
// the membership says of it. With Promote set the leader makes it a voter as soon as it has caught up, which only a
// majority system allows; [Raft.WaitCaughtUp] waits for that moment.
func AddLearner(n codec.Node) Change {
	return func(e *edit) error {
		if e.membership.IsVoter(n.ID) {
			return fmt.Errorf("%w: node %d is a voter, want Demote to make it a learner", ErrMembership, n.ID)
		}
		e.put(n)
		return nil
	}
}

// AddVoter adds a voter, or makes one of a learner, and sets what the membership says of it. A node that has not caught
// up is first added as a learner; see [Raft.ChangeMembership]. Promote is cleared: there is nothing left to promote to.
func AddVoter(n codec.Node) Change {
	n.Promote = false
	return func(e *edit) error {
		e.put(n)
		return e.addVoter(n.ID)
	}
}

// Promote makes a voter of a learner.
func Promote(id codec.NodeID) Change {
	return func(e *edit) error {
		n, ok := e.membership.Node(id)
		if !ok {
			return fmt.Errorf("promote node %d: %w", id, ErrNotMember)
		}
		n.Promote = false
		e.put(n)
		return e.addVoter(id)
	}
}

// Demote makes a learner of a voter.
func Demote(id codec.NodeID) Change {
	return func(e *edit) error {
		if _, ok := e.membership.Node(id); !ok {
			return fmt.Errorf("demote node %d: %w", id, ErrNotMember)
		}
		e.dropVoter(id)
		return nil
	}
}

// Remove takes a node out of the membership, voter or learner. A leader may remove itself: it leads until that is
// committed, hands over and steps down. The id must never be given to another data directory.
func Remove(id codec.NodeID) Change {
	return func(e *edit) error {
		if _, ok := e.membership.Node(id); !ok {
			return fmt.Errorf("remove node %d: %w", id, ErrNotMember)
		}
		e.dropVoter(id)
		e.membership.Nodes = slices.DeleteFunc(e.membership.Nodes, func(n codec.Node) bool { return n.ID == id })
		return nil
	}
}

// ReplaceVoters makes exactly these members the voters of a single config, under the quorum system in force. Those that
// were voters before stay as learners unless they are removed too; those that are no members yet are added by AddLearner
// in the same call.
func ReplaceVoters(ids ...codec.NodeID) Change {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	return func(e *edit) error {
		for _, id := range ids {
			n, ok := e.membership.Node(id)
			if !ok {
				return fmt.Errorf("voter %d: %w", id, ErrNotMember)
			}
			n.Promote = false
			e.put(n)
		}
		c := e.membership.Configs[0]
		if len(e.membership.Configs) > 1 {
			return e.severalConfigs("ReplaceVoters")
		}
		e.voted = e.voted || !slices.Equal(c.Voters, ids)
		e.membership.Configs = []codec.VoterConfig{{Voters: slices.Clone(ids), Quorum: c.Quorum}}
		return nil
	}
}

// SetQuorum sets the quorum system of the voters, those of this call included if it stands behind them. A weighted or
// hierarchical system names its voters, so one must be given with every change of them.
func SetQuorum(q codec.QuorumSystem) Change {
	given := codec.VoterConfig{Quorum: q}
	q = given.Clone().Quorum // the caller may reuse its slices; the change is made later, perhaps twice
	return func(e *edit) error {
		if len(e.membership.Configs) > 1 {
			return e.severalConfigs("SetQuorum")
		}
		c := codec.VoterConfig{Voters: e.membership.Configs[0].Voters, Quorum: q}
		e.membership.Configs[0] = c.Clone()
		e.voted = false
		return nil
	}
}

// SetNode sets what the membership says of a member: address, priority, whether it is to be promoted; an empty address is
// the one it has. Peers dial a new address at once. Whether a node is a witness can't change while it is a member.
func SetNode(n codec.Node) Change {
	return func(e *edit) error {
		if _, ok := e.membership.Node(n.ID); !ok {
			return fmt.Errorf("set node %d: %w", n.ID, ErrNotMember)
		}
		e.put(n)
		return nil
	}
}

// SetConfigs sets the whole list of voter configs. Of several, each decision needs a quorum of each, until another call
// changes that; such a list must share a config with the one in force, so that it takes two calls to replace all.
func SetConfigs(configs ...codec.VoterConfig) Change {
	own := make([]codec.VoterConfig, len(configs))
	for i := range configs {
		own[i] = configs[i].Clone()
	}
	return func(e *edit) error {
		if len(own) == 0 {
			return fmt.Errorf("%w: no voter configs, want at least one", ErrMembership)
		}
		m := codec.Membership{Configs: own}
		e.membership.Configs = m.Clone().Configs
		e.voted = false
		return nil
	}
}

// IfMembership lets the call change the membership only if that is still the one of this log id, as [Raft.Membership]
// returned it; else it is refused with a [ChangedError].
func IfMembership(id codec.LogID) Change {
	return func(e *edit) error {
		e.expected = &id
		return nil
	}
}

// put sets or adds a node.
func (e *edit) put(n codec.Node) {
	nodes := e.membership.Nodes
	i, found := slices.BinarySearchFunc(nodes, n.ID, func(n codec.Node, id codec.NodeID) int { return cmp.Compare(n.ID, id) })
	if found {
		if n.Incarnation.IsZero() {
			n.Incarnation = nodes[i].Incarnation
		}
		if n.Address == "" {
			n.Address = nodes[i].Address
		}
		nodes[i] = n
	} else {
		e.membership.Nodes = slices.Insert(nodes, i, n)
	}
}

func (e *edit) addVoter(id codec.NodeID) error {
	c := &e.membership.Configs[0]
	at, found := slices.BinarySearch(c.Voters, id)
	switch {
	case len(e.membership.Configs) > 1:
		return e.severalConfigs("a new voter")
	case !found:
		c.Voters = slices.Insert(c.Voters, at, id)
		e.voted = true
	}
	return nil
}

// dropVoter takes a node out of every config.
func (e *edit) dropVoter(id codec.NodeID) {
	for i := range e.membership.Configs {
		c := &e.membership.Configs[i]
		if at, found := slices.BinarySearch(c.Voters, id); found {
			c.Voters = slices.Delete(c.Voters, at, at+1)
			e.voted = true
		}
	}
}

func (e *edit) severalConfigs(what string) error {
	return fmt.Errorf("%w: %s has no one place among %d voter configs, want SetConfigs", ErrMembership, what, len(e.membership.Configs))
}
