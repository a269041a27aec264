package simulation

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/millrace/millrace/codec"
)

// draw returns the membership that a change of a class wants after the one in force at a leader. It returns false where
// there is nothing to change, or a change is under way.
func (a *admin) draw(c Class, r *rand.Rand, l *node, have *codec.Membership) (want codec.Membership, ok bool) {
	if have.Transient {
		return want, false
	}
	want = have.Clone()
	single := want.Clone()
	single.Configs = single.Configs[r.IntN(len(single.Configs)):][:1]
	switch c {
	case ClassLearner:
		ok = a.addLearner(r, &want)
	case ClassPromote, ClassDemote, ClassRemove, ClassReplace:
		want = single
		ok = a.exchange(c, r, l, &want)
	case ClassQuorum:
		want = single
		before := want.Configs[0].Clone()
		drawQuorum(r, &want)
		ok = !want.Configs[0].Equal(&before)
	case ClassJoint:
		want, ok = a.both(r, single)
	case ClassPriority:
		for i := range want.Nodes {
			want.Nodes[i].Priority = uint8(r.IntN(4))
		}
		ok = true
	case ClassAddress:
		n := &want.Nodes[r.IntN(len(want.Nodes))]
		moves := 0
		if _, err := fmt.Sscanf(n.Address, fmt.Sprintf("node%d:%%d", n.ID), &moves); err == nil {
			n.Address = addressOf(n.ID, moves-1000+1)
			ok = true
		}
	case ClassRefusable:
		want, ok = a.refusable(r, want)
		return want, ok && (len(want.Configs) < 2 || want.Transient || !sharedConfig(have, &want))
	}
	return want, ok && flaw(&want) == "" && a.s.survives(&want, nil)
}

// addLearner adds a node that is no member yet, as a learner or a witness to be.
func (a *admin) addLearner(r *rand.Rand, m *codec.Membership) bool {
	n := a.newcomer()
	if n == nil || len(m.Nodes) >= membersMax {
		return false
	}
	o := codec.Node{ID: n.id, Address: n.address, Priority: uint8(r.IntN(2))}
	o.Witness = r.IntN(6) == 0 && !slices.ContainsFunc(m.Nodes, func(o codec.Node) bool { return o.Witness })
	o.Promote = r.IntN(3) == 0 && m.Configs[len(m.Configs)-1].Quorum.Kind == codec.QuorumMajority &&
		len(m.Configs[len(m.Configs)-1].Voters) < votersMax
	insert(m, o)
	return true
}

func insert(m *codec.Membership, o codec.Node) {
	m.Nodes = append(m.Nodes, o)
	slices.SortFunc(m.Nodes, func(a, b codec.Node) int { return cmp.Compare(a.ID, b.ID) })
}

// newcomer returns a running node that was never a member, nil when there are enough of them.
func (a *admin) newcomer() *node {
	a.fresh = slices.DeleteFunc(a.fresh, func(n *node) bool { return n.lost() })
	if len(a.fresh) > 0 {
		return a.fresh[0]
	}
	if len(a.s.nodes) >= nodesMax {
		return nil
	}
	n := a.s.join()
	n.start()
	a.fresh = append(a.fresh, n)
	return n
}

// exchange makes voters of learners, learners of voters, or removes members, one to three at once. Lost ones go first.
func (a *admin) exchange(c Class, r *rand.Rand, l *node, m *codec.Membership) bool {
	voters := m.Configs[0].Voters
	var learners []codec.NodeID
	for _, n := range m.Nodes {
		if !slices.Contains(voters, n.ID) && !a.s.node(n.ID).lost() {
			learners = append(learners, n.ID)
		}
	}
	in, out, keep := 0, 0, r.IntN(2) == 0
	switch count := 1 + r.IntN(3); c {
	case ClassPromote:
		in = max(0, min(count, votersMax-len(voters)))
	case ClassReplace:
		in, out = count, count
	default:
		out, keep = (count+1)/2, c == ClassDemote
	}
	leaves := a.pick(r, voters, out, l)
	if c == ClassRemove && r.IntN(2) == 0 {
		leaves = a.pick(r, idsOf(m), out, l)
	}
	enters := a.pick(r, learners, in, nil)
	if len(leaves)+len(enters) == 0 || c == ClassReplace && len(enters) == 0 {
		return false
	}
	voters = slices.DeleteFunc(slices.Clone(voters), func(id codec.NodeID) bool { return slices.Contains(leaves, id) })
	voters = append(voters, enters...)
	slices.Sort(voters)
	if !keep {
		m.Nodes = slices.DeleteFunc(m.Nodes, func(n codec.Node) bool { return slices.Contains(leaves, n.ID) })
	}
	if len(voters) == 0 || len(voters) > votersMax {
		return false
	}
	for i := range m.Nodes {
		if slices.Contains(voters, m.Nodes[i].ID) {
			m.Nodes[i].Promote = false
		}
	}
	m.Configs = []codec.VoterConfig{codec.MajorityConfig(voters...)}
	if r.IntN(2) == 0 {
		drawQuorum(r, m)
	}
	return true
}

func idsOf(m *codec.Membership) []codec.NodeID {
	var ids []codec.NodeID
	for _, n := range m.Nodes {
		ids = append(ids, n.ID)
	}
	return ids
}

// pick draws some of the given nodes: lost ones first, then, now and then, the leader.
func (a *admin) pick(r *rand.Rand, from []codec.NodeID, count int, leader *node) []codec.NodeID {
	rank := func(id codec.NodeID) int {
		switch n := a.s.node(id); {
		case n.lost():
			return 0
		case n == leader && r.IntN(3) == 0:
			return 1
		}
		return 2 + r.IntN(8)
	}
	ranks := map[codec.NodeID]int{}
	for _, id := range from {
		ranks[id] = rank(id)
	}
	from = slices.Clone(from)
	slices.SortFunc(from, func(x, y codec.NodeID) int { return cmp.Or(cmp.Compare(ranks[x], ranks[y]), cmp.Compare(x, y)) })
	return from[:min(count, len(from))]
}

// both returns a membership of two configs, to stay in: the one in force and another.
func (a *admin) both(r *rand.Rand, m codec.Membership) (codec.Membership, bool) {
	other := m.Clone()
	voters := other.Configs[0].Voters
	if len(voters) > 1 && r.IntN(2) == 0 {
		drop := voters[r.IntN(len(voters))]
		voters = slices.DeleteFunc(slices.Clone(voters), func(id codec.NodeID) bool { return id == drop })
		other.Configs[0] = codec.MajorityConfig(voters...)
		if i := slices.IndexFunc(m.Nodes, func(n codec.Node) bool { return n.ID == drop }); m.Nodes[i].Promote {
			return m, false
		}
	}
	drawQuorum(r, &other)
	if other.Configs[0].Equal(&m.Configs[0]) {
		return m, false
	}
	m.Configs = append(m.Configs, other.Configs[0])
	return m, promotable(&m)
}

// refusable returns a membership that must be refused, whoever leads.
func (a *admin) refusable(r *rand.Rand, m codec.Membership) (codec.Membership, bool) {
	c := &m.Configs[len(m.Configs)-1]
	switch r.IntN(7) {
	case 0:
		m.Mode = codec.SeveralLeadersPerTerm + codec.OneLeaderPerTerm - m.Mode
	case 1:
		n := &m.Nodes[r.IntN(len(m.Nodes))]
		n.Witness = !n.Witness
	case 2:
		m.Configs = append(m.Configs, m.Configs[0].Clone())
		m.Transient = true
	case 3:
		n := uint32(len(c.Voters))
		if n == 1 {
			return m, false
		}
		c.Quorum = codec.QuorumSystem{Kind: codec.QuorumFlexible, Election: 1 + r.Uint32N(n-1)}
		c.Quorum.Write = 1 + r.Uint32N(n-c.Quorum.Election)
		for i := range m.Nodes {
			m.Nodes[i].Promote = false
		}
	case 4:
		c.Voters = nil
	case 5:
		one, two := m.Configs[0].Voters[0], voterIDs(&m)[len(voterIDs(&m))-1]
		m.Configs = []codec.VoterConfig{codec.MajorityConfig(one), codec.MajorityConfig(two)}
		m.Configs[0].Quorum = codec.QuorumSystem{Kind: codec.QuorumFlexible, Election: 1, Write: 1}
		m.Configs[1].Quorum = codec.QuorumSystem{Kind: codec.QuorumFlexible, Election: 1, Write: 1}
	default:
		n := a.newcomer() // which holds nothing yet
		if n == nil || len(m.Nodes) >= membersMax {
			return m, false
		}
		insert(&m, codec.Node{ID: n.id, Address: n.address})
		voters := append(slices.Clone(c.Voters), n.id)
		slices.Sort(voters)
		*c = codec.MajorityConfig(voters...)
	}
	return m, true
}
