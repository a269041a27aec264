package consensus

import (
	"math/rand/v2"
	"testing"

	"github.com/millrace/millrace/codec"
)

// benchElectorates are memberships of each kind of quorum system, the common ones first.
func benchElectorates() []struct {
	name string
	m    *codec.Membership
} {
	hierarchical := codec.VoterConfig{Voters: votersTo(9), Quorum: codec.QuorumSystem{
		Kind: codec.QuorumHierarchical, Election: 2, Write: 2, Groups: []codec.QuorumGroup{
			{Voters: []codec.NodeID{1, 2, 3}, Election: 2, Write: 2},
			{Voters: []codec.NodeID{4, 5, 6}, Election: 2, Write: 2},
			{Voters: []codec.NodeID{7, 8, 9}, Election: 2, Write: 2},
		},
	}}
	return []struct {
		name string
		m    *codec.Membership
	}{
		{"majority-3", membershipOf(several, codec.MajorityConfig(votersTo(3)...))},
		{"majority-5", membershipOf(several, codec.MajorityConfig(votersTo(5)...))},
		{"majority-9", membershipOf(several, codec.MajorityConfig(votersTo(9)...))},
		{"flexible-5", membershipOf(several, flexible(5, 4, 2))},
		{"weighted-5", membershipOf(several, weighted(6, 4, 1, 3, 2, 1, 2))},
		{"hierarchical-9", membershipOf(several, hierarchical)},
		{"joint-3-5", membershipOf(several, codec.MajorityConfig(votersTo(3)...), codec.MajorityConfig(votersTo(5)...))},
		{"weighted-1024", membershipOf(several, weighted(2048, 1025, heavyWeights(1024, 4)...))},
		{"majority-1024", membershipOf(several, codec.MajorityConfig(votersTo(1024)...))},
	}
}

// heavyWeights returns random weights from 1 to most.
func heavyWeights(n int, most uint32) (weights []uint32) {
	r := rand.New(rand.NewPCG(3, 4))
	for range n {
		weights = append(weights, 1+r.Uint32N(most))
	}
	return weights
}

func BenchmarkReached(b *testing.B) {
	for _, c := range benchElectorates() {
		b.Run(c.name, func(b *testing.B) {
			n := len(c.m.Nodes)
			e := newElectorate(1, c.m, codec.LogID{})
			values, scratch := make([]codec.Index, n), make([]codec.Index, n)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				values[i%n] += 7
				reached(&e, values, scratch)
			}
		})
	}
}

func BenchmarkElected(b *testing.B) {
	for _, c := range benchElectorates() {
		b.Run(c.name, func(b *testing.B) {
			n := len(c.m.Nodes)
			e := newElectorate(1, c.m, codec.LogID{})
			granted := make([]bool, n)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				granted[i%n] = !granted[i%n]
				e.elected(granted)
			}
		})
	}
}

// BenchmarkProveQuorums: what a membership change costs the leader. The last one is about the worst that weights can ask:
// a thousand voters, as many sums as the proof keeps, and none that would end the search.
func BenchmarkProveQuorums(b *testing.B) {
	even, total := heavyWeights(1024, 256), uint32(0)
	for i := range even {
		even[i] *= 2
		total += even[i]
	}
	const odd = 2*weightSumsMax - 1
	for _, c := range append(benchElectorates(), struct {
		name string
		m    *codec.Membership
	}{"weighted-1024-worst", membershipOf(several, weighted(total-odd, odd, even...))}) {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if err := ProveQuorums(c.m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
