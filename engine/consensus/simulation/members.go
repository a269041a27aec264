package simulation

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/millrace/millrace/codec"
)

// Bounds of what administrators make of a cluster.
const (
	votersMax  = 7
	membersMax = 10
	nodesMax   = 24 // ids in a run
)

// addressOf returns where a node listens that has moved so many times.
func addressOf(id codec.NodeID, moves int) string { return fmt.Sprintf("node%d:%d", id, 1000+moves) }

// newMembership returns a sound membership of one config over these voters and learners, with a quorum system that is
// drawn: half the time a majority. witnesses are among them.
func newMembership(r *rand.Rand, mode codec.VoteMode, nodes []codec.Node, voters []codec.NodeID) codec.Membership {
	m := codec.Membership{Mode: mode, Nodes: slices.Clone(nodes)}
	slices.SortFunc(m.Nodes, func(a, b codec.Node) int { return cmp.Compare(a.ID, b.ID) })
	m.Configs = []codec.VoterConfig{codec.MajorityConfig(voters...)}
	if r.IntN(2) == 0 {
		drawQuorum(r, &m)
	}
	return m
}

// drawQuorum gives the only config of a membership another quorum system, if it finds a sound one.
func drawQuorum(r *rand.Rand, m *codec.Membership) {
	before := m.Configs[0]
	voters := before.Voters
	n := uint32(len(voters))
	for range 12 {
		q := codec.QuorumSystem{Kind: codec.QuorumFlexible}
		switch r.IntN(4) {
		case 0:
			q.Election, q.Write = drawThresholds(r, n)
		case 1:
			q.Kind = codec.QuorumWeighted
			sum := uint32(0)
			for range voters {
				w := r.Uint32N(4)
				q.Weights = append(q.Weights, w)
				sum += w
			}
			q.Election, q.Write = drawThresholds(r, sum)
		case 2:
			q.Kind = codec.QuorumHierarchical
			q.Groups = drawGroups(r, voters)
			q.Election, q.Write = drawThresholds(r, uint32(len(q.Groups)))
		default:
			q.Kind = codec.QuorumMajority
		}
		m.Configs[0] = codec.VoterConfig{Voters: voters, Quorum: q}
		if m.Validate() == nil && flaw(m) == "" && promotable(m) {
			return
		}
	}
	m.Configs[0] = before
}

// promotable reports whether the marks of learners to be promoted suit the quorum system.
func promotable(m *codec.Membership) bool {
	return m.Configs[len(m.Configs)-1].Quorum.Kind == codec.QuorumMajority ||
		!slices.ContainsFunc(m.Nodes, func(n codec.Node) bool { return n.Promote })
}

// drawThresholds draws two numbers up to sum, mostly as small as can meet each other.
func drawThresholds(r *rand.Rand, sum uint32) (election, write uint32) {
	if sum == 0 {
		return 0, 0
	}
	election = 1 + r.Uint32N(sum)
	if r.IntN(4) > 0 {
		return election, sum + 1 - election
	}
	return election, 1 + r.Uint32N(sum)
}

// drawGroups parts voters into up to three groups.
func drawGroups(r *rand.Rand, voters []codec.NodeID) []codec.QuorumGroup {
	groups := make([]codec.QuorumGroup, 1+r.IntN(3))
	for _, id := range voters {
		g := &groups[r.IntN(len(groups))]
		g.Voters = append(g.Voters, id)
	}
	groups = slices.DeleteFunc(groups, func(g codec.QuorumGroup) bool { return len(g.Voters) == 0 })
	for i := range groups {
		groups[i].Election, groups[i].Write = drawThresholds(r, uint32(len(groups[i].Voters)))
	}
	return groups
}

// firstMembership draws the membership that a run begins with: voters, the last of which may be a witness, and learners.
func firstMembership(r *rand.Rand, mode codec.VoteMode, voters, learners int) codec.Membership {
	priorities := r.IntN(3) == 0
	witness := voters >= 3 && r.IntN(5) == 0
	var nodes []codec.Node
	var ids []codec.NodeID
	for i := range voters + learners {
		n := codec.Node{ID: codec.NodeID(i + 1), Address: addressOf(codec.NodeID(i+1), 0)}
		if priorities {
			n.Priority = uint8(r.IntN(4))
		}
		n.Witness = witness && i == voters-1
		if i < voters {
			ids = append(ids, n.ID)
		}
		nodes = append(nodes, n)
	}
	return newMembership(r, mode, nodes, ids)
}

// voterIDs returns the voters of any config.
func voterIDs(m *codec.Membership) []codec.NodeID {
	var ids []codec.NodeID
	for _, n := range m.Nodes {
		if m.IsVoter(n.ID) {
			ids = append(ids, n.ID)
		}
	}
	return ids
}
