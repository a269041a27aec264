package consensus

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/millrace/millrace/codec"
)

// membershipOf returns a membership of these configs over their voters.
func membershipOf(mode codec.VoteMode, configs ...codec.VoterConfig) *codec.Membership {
	m := codec.Membership{Mode: mode, Configs: configs}
	for id := codec.NodeID(1); id <= codec.MembershipNodesMax; id++ {
		if m.IsVoter(id) {
			m.Nodes = append(m.Nodes, codec.Node{ID: id})
		}
	}
	return &m
}

func votersTo(n int) (voters []codec.NodeID) {
	for id := range n {
		voters = append(voters, codec.NodeID(id+1))
	}
	return voters
}

func flexible(voters int, election, write uint32) codec.VoterConfig {
	return codec.VoterConfig{
		Voters: votersTo(voters),
		Quorum: codec.QuorumSystem{Kind: codec.QuorumFlexible, Election: election, Write: write},
	}
}

func weighted(election, write uint32, weights ...uint32) codec.VoterConfig {
	return codec.VoterConfig{
		Voters: votersTo(len(weights)),
		Quorum: codec.QuorumSystem{Kind: codec.QuorumWeighted, Election: election, Write: write, Weights: weights},
	}
}

// Clusters of even size work with unequal quorums; how far they may be unequal depends on the mode.
func TestQuorumProofEvenSizes(t *testing.T) {
	for _, c := range []struct {
		config  codec.VoterConfig
		several bool // safe with several leaders per term
		one     bool // safe with one leader per term
	}{
		{flexible(4, 3, 2), true, true},
		{flexible(4, 2, 3), true, false},
		{flexible(4, 2, 2), false, false},
		{flexible(4, 4, 1), true, true},
		{flexible(4, 1, 4), true, false},
		{flexible(6, 4, 3), true, true},
		{flexible(6, 3, 4), true, false},
		{flexible(6, 3, 3), false, false},
		{flexible(2, 2, 1), true, true},
		{flexible(1, 1, 1), true, true},
		{codec.MajorityConfig(1, 2), true, true},
		{codec.MajorityConfig(1, 2, 3, 4), true, true},
		{weighted(5, 7, 4, 4, 4), true, true},
		{weighted(4, 8, 4, 4, 4), false, false},
		{weighted(4, 9, 4, 4, 4), true, false},
		{weighted(9, 1, 4, 4, 4), true, true},
		{weighted(6, 2, 0, 3, 0, 3), true, true},
	} {
		for mode, safe := range map[codec.VoteMode]bool{several: c.several, one: c.one} {
			if err := ProveQuorums(membershipOf(mode, c.config)); (err == nil) != safe {
				t.Errorf("%v, %v: %v, want safe: %v", c.config, mode, err, safe)
			}
		}
	}
}

// The errors name the config, the rule, what the quorums are for, and the quorums.
func TestQuorumProofErrors(t *testing.T) {
	witnesses := membershipOf(several, codec.MajorityConfig(1, 2, 3))
	witnesses.Nodes[0].Witness, witnesses.Nodes[2].Witness = true, true
	hierarchical := codec.VoterConfig{Voters: votersTo(6), Quorum: codec.QuorumSystem{
		Kind: codec.QuorumHierarchical, Election: 1, Write: 1, Groups: []codec.QuorumGroup{
			{Voters: []codec.NodeID{1, 3, 5}, Election: 2, Write: 2}, {Voters: []codec.NodeID{2, 4, 6}, Election: 2, Write: 2},
		},
	}}
	unknown := membershipOf(several, codec.MajorityConfig(1, 2))
	unknown.Configs[0].Quorum.Kind = 9
	for _, c := range []struct {
		m    *codec.Membership
		want string
	}{
		{membershipOf(several, codec.MajorityConfig(1, 2, 3), flexible(4, 2, 2)),
			"config 1 (flexible of [1 2 3 4], election 2, write 2): election quorum [1 2] and write quorum [3 4] have no voter in common, want one in all of both"},
		{membershipOf(one, flexible(4, 2, 3)),
			"config 0 (flexible of [1 2 3 4], election 2, write 3): election quorum [1 2] and election quorum [3 4] have no voter in common, want one in all of both"},
		{membershipOf(several, hierarchical),
			"config 0 (hierarchical of [1 3 5] (election 2, write 2) and [2 4 6] (election 2, write 2), election 1, write 1): " +
				"election quorum [1 3] and write quorum [2 4] have no voter in common, want one in all of both"},
		{membershipOf(several, weighted(4, 8, 3, 9, 1)),
			"config 0 (weighted of [1 2 3] by [3 9 1], election 4, write 8): election quorum [1 3] and write quorum [2] have no voter in common, want one in all of both"},
		{witnesses,
			"config 0 (majority of [1 2 3]): write quorum [1 3] holds witnesses only, want an ordinary member in each"},
		{unknown, "membership: config 0: unknown quorum system QuorumKind(9)"},
	} {
		if err := ProveQuorums(c.m); err == nil || err.Error() != c.want {
			t.Errorf("%v\n got %v\nwant %s", c.m.Configs, err, c.want)
		}
	}
	want(t, "uses", ElectionQuorum.String()+" "+WriteQuorum.String()+" "+quorumUses.String(), "election write QuorumUse(2)")
}

// What an error carries is a copy: the caller may go on with the membership.
func TestQuorumProofErrorKeepsNothing(t *testing.T) {
	m := membershipOf(several, weighted(1, 1, 1, 1))
	var e *IntersectionError
	if err := ProveQuorums(m); !errors.As(err, &e) {
		t.Fatal(err)
	}
	before := e.Error()
	m.Configs[0].Voters[0], m.Configs[0].Quorum.Weights[0], m.Nodes[0].ID = 9, 9, 9
	want(t, "message", e.Error(), before)
}

// Subsets of weights between two bounds, against trying all: up to twelve weights small and great, with repetitions and
// zeros, windows narrow and wide.
func TestQuorumWeightsAgainstAllSubsets(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	found := 0
	for number := range 20_000 {
		weights := make([]uint64, 1+r.IntN(12))
		limit, factor, total := []uint64{2, 10, 100, 1<<32 - 1}[r.IntN(4)], 1+r.Uint64N(3), uint64(0)
		for i := range weights {
			weights[i] = r.Uint64N(limit+1) / factor * factor
			total += weights[i]
		}
		low := 1 + r.Uint64N(total+1)
		high := low + r.Uint64N(1+total/[]uint64{1, 20, 1000, 1 << 40}[r.IntN(4)])
		chosen, undecided := subsetBetween(weights, low, high)
		exists := subsetExists(weights, low, high)
		if undecided || exists != (chosen != nil) || chosen != nil && !sumsBetween(weights, chosen, low, high) {
			t.Fatalf("case %d: %v between %d and %d: chose %v (undecided %v), exists: %v", number, weights, low, high, chosen, undecided, exists)
		}
		if exists {
			found++
		}
	}
	if found < 5000 || found > 15_000 {
		t.Errorf("%d of 20000 cases had such a subset: too few of one sort to mean much", found)
	}
}

func subsetExists(weights []uint64, low, high uint64) bool {
	for s := range 1 << len(weights) {
		sum := uint64(0)
		for i, w := range weights {
			sum += w * uint64(s>>i&1)
		}
		if sum >= low && sum <= high {
			return true
		}
	}
	return false
}

// sumsBetween reports whether the places are distinct and their weights add up to a sum between low and high.
func sumsBetween(weights []uint64, places []int, low, high uint64) bool {
	sum, seen := uint64(0), map[int]bool{}
	for _, i := range places {
		sum += weights[i]
		seen[i] = true
	}
	return sum >= low && sum <= high && len(seen) == len(places)
}

// Up to 16 voters of any weight are always decided, and any number of voters where the lesser threshold is at most
// weightSumsMax, as the comment on ProveQuorums says.
func TestQuorumWeightsDecided(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for range 30 {
		weights, total := make([]uint64, 16), uint64(0)
		for i := range weights {
			weights[i] = 2 * (1<<30 + r.Uint64N(1<<30))
			total += weights[i]
		}
		// All sums are even: none is hit, and all must be looked at.
		odd := total/2 | 1
		if chosen, undecided := subsetBetween(weights, odd, odd); chosen != nil || undecided {
			t.Fatalf("%v at %d: chose %v, undecided %v", weights, odd, chosen, undecided)
		}
	}
	weights := make([]uint64, codec.MembershipNodesMax)
	for i := range weights {
		weights[i] = 2 * (1 + r.Uint64N(1000))
	}
	if chosen, undecided := subsetBetween(weights, weightSumsMax-1, weightSumsMax-1); chosen != nil || undecided {
		t.Fatalf("even weights, odd window: chose %v, undecided %v", chosen, undecided)
	}
}

// Where the weights add up to too many sums, a system is refused without quorums that show why; thresholds above the sum of
// the weights are always taken, and quorums that are easy to find are found.
func TestQuorumProofUndecided(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	var weights []uint32
	total := uint32(0)
	for range 60 {
		w := 2 * (1<<24 + r.Uint32N(1<<20))
		weights, total = append(weights, w), total+w
	}
	election := total/2 | 1
	write := total - election
	var e *IntersectionError
	err := ProveQuorums(membershipOf(several, weighted(election, write, weights...)))
	if !errors.As(err, &e) || e.Quorums[0] != nil || e.Quorums[1] != nil || !strings.Contains(err.Error(),
		"no proof that each election quorum meets each write quorum, the weights having too many different sums; want both thresholds together above the sum of all weights") {
		t.Errorf("even weights, odd thresholds: %v", err)
	}
	if err := ProveQuorums(membershipOf(several, weighted(election, write+1, weights...))); err != nil {
		t.Errorf("thresholds above the sum: %v", err)
	}
	err = ProveQuorums(membershipOf(several, weighted(election-1<<26, write, weights...)))
	if !errors.As(err, &e) || e.Quorums[0] == nil || e.Quorums[1] == nil {
		t.Errorf("thresholds far below the sum: %v", err)
	}
}
