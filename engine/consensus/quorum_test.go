package consensus

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/millrace/millrace/codec"
)

// randomElectorate returns a membership of 1 to 3 configs over up to nine nodes, learners among them.
func randomElectorate(r *rand.Rand) (electorate, codec.Membership) {
	nodes := make([]codec.Node, 1+r.IntN(9))
	for i := range nodes {
		nodes[i].ID = codec.NodeID(10 * (i + 1))
	}
	m := codec.NewMembership(several, nodes...)
	m.Configs = nil
	for range 1 + r.IntN(3) {
		config := codec.VoterConfig{Quorum: codec.QuorumSystem{Kind: codec.QuorumMajority}}
		for len(config.Voters) == 0 {
			for _, node := range nodes {
				if r.IntN(3) > 0 {
					config.Voters = append(config.Voters, node.ID)
				}
			}
		}
		m.Configs = append(m.Configs, config)
	}
	return newElectorate(nodes[r.IntN(len(nodes))].ID, &m, first), m
}

// What a quorum has reached, and who is elected, equals what counting by hand says: majorities and joint memberships,
// even and odd sizes, equal and different matches.
func TestQuorumAgainstCounting(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 100_000 {
		e, m := randomElectorate(r)
		if err := m.Validate(); err != nil {
			t.Fatal(err)
		}
		values, scratch, granted := make([]codec.Index, len(m.Nodes)), make([]codec.Index, len(m.Nodes)), make([]bool, len(m.Nodes))
		for i := range values {
			values[i], granted[i] = codec.Index(r.IntN(12)), r.IntN(2) > 0
		}
		// The greatest value that more than half of each config has reached, by trying all.
		most := func(has func(position int) bool) bool {
			for _, config := range m.Configs {
				count := 0
				for _, voter := range config.Voters {
					if has(int(voter)/10 - 1) {
						count++
					}
				}
				if 2*count <= len(config.Voters) {
					return false
				}
			}
			return true
		}
		best := codec.Index(0)
		for v := codec.Index(1); v < 12; v++ {
			if most(func(i int) bool { return values[i] >= v }) {
				best = v
			}
		}
		before := slices.Clone(values)
		if got := reached(&e, values, scratch); got != best {
			t.Fatalf("%+v with %v reached %d, want %d", m.Configs, values, got, best)
		}
		if !slices.Equal(before, values) {
			t.Fatalf("counting changed %v to %v", before, values)
		}
		if got, want := e.elected(granted), most(func(i int) bool { return granted[i] }); got != want {
			t.Fatalf("%+v with %v elected: %v, want %v", m.Configs, granted, got, want)
		}
	}
}

// Without a membership nobody is elected and nobody is a voter.
func TestNoMembership(t *testing.T) {
	e := newElectorate(1, nil, codec.LogID{})
	if e.elected(nil) || e.isVoter(1) || e.self != -1 {
		t.Fatalf("electorate without membership: %+v", e)
	}
}
