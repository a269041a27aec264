package simulation

import (
	"slices"

	"github.com/millrace/millrace/codec"
)

// What a quorum is, from the words of its definition alone: the checks must not rest on how the core counts.

// among is a set of nodes.
type among func(codec.NodeID) bool

func oneOf(ids ...codec.NodeID) among {
	return func(id codec.NodeID) bool { return slices.Contains(ids, id) }
}

func countOf(ids []codec.NodeID, has among) (n uint32) {
	for _, id := range ids {
		if has(id) {
			n++
		}
	}
	return n
}

// quorumOf reports whether a set holds a quorum of one config, for an election or for a write.
func quorumOf(c *codec.VoterConfig, has among, election bool) bool {
	q := &c.Quorum
	least := func(election uint32, write uint32, forElection bool) uint32 {
		if forElection {
			return election
		}
		return write
	}
	need := least(q.Election, q.Write, election)
	switch q.Kind {
	case codec.QuorumMajority:
		return 2*countOf(c.Voters, has) > uint32(len(c.Voters))
	case codec.QuorumFlexible:
		return countOf(c.Voters, has) >= need
	case codec.QuorumWeighted:
		sum := uint32(0)
		for i, id := range c.Voters {
			if has(id) {
				sum += q.Weights[i]
			}
		}
		return sum >= need
	case codec.QuorumHierarchical:
		groups := uint32(0)
		for i := range q.Groups {
			g := &q.Groups[i]
			if countOf(g.Voters, has) >= least(g.Election, g.Write, election) {
				groups++
			}
		}
		return groups >= need
	}
	return false
}

// elects reports whether a set holds an election quorum of every config of a membership, writes whether a write quorum.
func elects(m *codec.Membership, has among) bool { return quorumsOf(m, has, true) }
func writes(m *codec.Membership, has among) bool { return quorumsOf(m, has, false) }

func quorumsOf(m *codec.Membership, has among, election bool) bool {
	for i := range m.Configs {
		if !quorumOf(&m.Configs[i], has, election) {
			return false
		}
	}
	return true
}

// flaw says which two quorums of a membership miss each other, or that witnesses alone could commit, trying every set of
// voters; "" if there is nothing wrong. Sets grow, so it is enough to look at a set and what it leaves.
func flaw(m *codec.Membership) string {
	for i := range m.Configs {
		c := &m.Configs[i]
		if quorumOf(c, func(id codec.NodeID) bool { return isWitness(m, id) }, false) {
			return "witnesses alone hold a write quorum"
		}
		for bits := range 1 << len(c.Voters) {
			in := func(id codec.NodeID) bool {
				at, ok := slices.BinarySearch(c.Voters, id)
				return ok && bits>>at&1 != 0
			}
			out := func(id codec.NodeID) bool { return !in(id) }
			switch {
			case !quorumOf(c, in, true):
			case quorumOf(c, out, false):
				return "an election quorum and a write quorum miss each other"
			case m.Mode == codec.OneLeaderPerTerm && quorumOf(c, out, true):
				return "two election quorums miss each other"
			}
		}
	}
	return ""
}

func isWitness(m *codec.Membership, id codec.NodeID) bool {
	n, ok := m.Node(id)
	return ok && n.Witness
}

// ordinaryVoter reports whether a node is a voter of a membership that may lead.
func ordinaryVoter(m *codec.Membership, id codec.NodeID) bool {
	return m.IsVoter(id) && !isWitness(m, id)
}

// sharedConfig reports whether two memberships have an identical config.
func sharedConfig(a, b *codec.Membership) bool {
	for i := range a.Configs {
		for j := range b.Configs {
			if a.Configs[i].Equal(&b.Configs[j]) {
				return true
			}
		}
	}
	return false
}
