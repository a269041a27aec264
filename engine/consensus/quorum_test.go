package consensus

import (
	"errors"
	"flag"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/millrace/millrace/codec"
)

// A case that fails names its number; -quorum.first with -quorum.cases 1 runs it alone. Ten million cases:
//
//	go test -timeout 0 ./engine/consensus -run Quorum -quorum.cases 10000000
var (
	quorumCases = flag.Uint64("quorum.cases", 100_000, "random quorum systems that are held against counting by hand")
	quorumFirst = flag.Uint64("quorum.first", 0, "number of the first of them")
)

// quorumNodesMax bounds the members of a random membership: all subsets of them are looked at.
const quorumNodesMax = 8

// randomMembership returns a membership of 1 to 3 configs of any kind over up to eight nodes, learners and witnesses
// among them. Thresholds are drawn so that about half of the systems are safe.
func randomMembership(r *rand.Rand) codec.Membership {
	m := codec.Membership{Mode: several, Nodes: make([]codec.Node, 1+r.IntN(quorumNodesMax))}
	if r.IntN(2) > 0 {
		m.Mode = one
	}
	id := codec.NodeID(0)
	for i := range m.Nodes {
		id += codec.NodeID(1 + r.IntN(3))
		m.Nodes[i] = codec.Node{ID: id, Witness: r.IntN(4) == 0}
	}
	for range 1 + r.IntN(3)*r.IntN(2) {
		config := codec.VoterConfig{}
		for len(config.Voters) == 0 {
			for _, n := range m.Nodes {
				if r.IntN(5) > 0 {
					config.Voters = append(config.Voters, n.ID)
				}
			}
		}
		config.Quorum = randomSystem(r, config.Voters)
		m.Configs = append(m.Configs, config)
	}
	if r.IntN(8) == 0 && len(m.Configs) > 1 {
		m.Configs[1] = m.Configs[0].Clone()
	}
	return m
}

func randomSystem(r *rand.Rand, voters []codec.NodeID) codec.QuorumSystem {
	q := codec.QuorumSystem{Kind: codec.QuorumMajority + codec.QuorumKind(r.IntN(4))}
	switch q.Kind {
	case codec.QuorumFlexible:
		q.Election, q.Write = randomThresholds(r, uint64(len(voters)))
	case codec.QuorumWeighted:
		limit, sum := []uint64{1, 3, 6, 1<<32 - 1}[r.IntN(4)], uint64(0)
		for range voters {
			w := r.Uint64N(limit + 1)
			if limit == 3 {
				w *= 4 // sums with gaps between them
			}
			q.Weights = append(q.Weights, uint32(w))
			sum += w
		}
		if sum == 0 {
			q.Weights[0], sum = 1, 1
		}
		q.Election, q.Write = randomThresholds(r, sum)
	case codec.QuorumHierarchical:
		q.Groups = make([]codec.QuorumGroup, 1+r.IntN(len(voters)))
		for _, v := range voters {
			g := &q.Groups[r.IntN(len(q.Groups))]
			g.Voters = append(g.Voters, v)
		}
		q.Groups = slices.DeleteFunc(q.Groups, func(g codec.QuorumGroup) bool { return g.Voters == nil })
		for i := range q.Groups {
			g := &q.Groups[i]
			g.Election, g.Write = randomThresholds(r, uint64(len(g.Voters)))
		}
		q.Election, q.Write = randomThresholds(r, uint64(len(q.Groups)))
	}
	return q
}

// randomThresholds returns two thresholds from 1 to most whose sum is mostly near most, where safe and unsafe meet.
func randomThresholds(r *rand.Rand, most uint64) (election, write uint32) {
	const greatest = 1<<32 - 1
	a := 1 + r.Uint64N(min(most, greatest))
	b := 1 + r.Uint64N(min(most, greatest))
	if r.IntN(4) > 0 {
		b = min(max(most+r.Uint64N(4), a+2)-a-1, most, greatest)
	}
	return uint32(a), uint32(b)
}

// subset is a set of members: bit i stands for the i-th node.
type subset uint32

// quorumTable says of each subset of the members whether it is a quorum for each use.
type quorumTable [quorumUses][1 << quorumNodesMax]bool

// rule is a config in the form in which subsets are held against its definition.
type rule struct {
	voters subset
	system *codec.QuorumSystem
	groups []subset
	weight [quorumNodesMax]uint64 // by node
}

func newRule(m *codec.Membership, c *codec.VoterConfig) rule {
	of := func(ids []codec.NodeID) (s subset) {
		for i, n := range m.Nodes {
			if slices.Contains(ids, n.ID) {
				s |= 1 << i
			}
		}
		return s
	}
	r := rule{voters: of(c.Voters), system: &c.Quorum}
	for i, w := range c.Quorum.Weights {
		r.weight[bits.TrailingZeros32(uint32(of(c.Voters[i:i+1])))] = uint64(w)
	}
	for _, g := range c.Quorum.Groups {
		r.groups = append(r.groups, of(g.Voters))
	}
	return r
}

// quorum reports whether these members form a quorum by the definition of the system's kind.
func (r *rule) quorum(s subset, use QuorumUse) bool {
	count := func(of subset) int { return bits.OnesCount32(uint32(s & of)) }
	threshold := func(election, write uint32) uint64 { return uint64([...]uint32{election, write}[use]) }
	have := uint64(0)
	switch r.system.Kind {
	case codec.QuorumMajority:
		return 2*count(r.voters) > bits.OnesCount32(uint32(r.voters))
	case codec.QuorumFlexible:
		have = uint64(count(r.voters))
	case codec.QuorumWeighted:
		for left := s; left != 0; left &= left - 1 {
			have += r.weight[bits.TrailingZeros32(uint32(left))]
		}
	case codec.QuorumHierarchical:
		for i, g := range r.system.Groups {
			if uint64(count(r.groups[i])) >= threshold(g.Election, g.Write) {
				have++
			}
		}
	}
	return have >= threshold(r.system.Election, r.system.Write)
}

// quorumWorld is a random membership with all that counting by hand says of it.
type quorumWorld struct {
	m      codec.Membership
	all    subset
	tables []quorumTable // by config
	joint  quorumTable
}

func (w *quorumWorld) fill(m codec.Membership) {
	w.m, w.all = m, 1<<len(m.Nodes)-1
	w.tables = slices.Grow(w.tables[:0], len(m.Configs))[:len(m.Configs)]
	for use := range quorumUses {
		for s := range w.all + 1 {
			w.joint[use][s] = true
		}
		for i := range m.Configs {
			r := newRule(&m, &m.Configs[i])
			for s := range w.all + 1 {
				q := r.quorum(s, use)
				w.tables[i][use][s] = q
				w.joint[use][s] = w.joint[use][s] && q
			}
		}
	}
}

// miss reports whether two quorums for these uses have no member in common. A superset of a quorum is one too, so a
// subset is only held against all other members.
func (w *quorumWorld) miss(t *quorumTable, first, second QuorumUse) bool {
	for s := range w.all + 1 {
		if t[first][s] && t[second][w.all&^s] {
			return true
		}
	}
	return false
}

// witnesses reports whether some write quorum holds witnesses only.
func (w *quorumWorld) witnesses(t *quorumTable) bool {
	ordinary := w.ordinary()
	for s := range w.all + 1 {
		if t[WriteQuorum][s] && s&ordinary == 0 {
			return true
		}
	}
	return false
}

func (w *quorumWorld) subsetOf(ids ...codec.NodeID) (s subset) {
	for _, id := range ids {
		s |= 1 << slices.IndexFunc(w.m.Nodes, func(n codec.Node) bool { return n.ID == id })
	}
	return s
}

// Who is elected, what a quorum has reached, and whether quorums meet equals what looking at all subsets says: majority,
// flexible, weighted, hierarchical, and joint over any of them, with learners, witnesses, weights of zero, even sizes,
// equal values and equal configs.
func TestQuorumAgainstAllSubsets(t *testing.T) {
	var w quorumWorld
	refused := map[bool]int{}
	for number := range *quorumCases {
		number += *quorumFirst
		r := rand.New(rand.NewPCG(5, number))
		w.fill(randomMembership(r))
		if err := w.m.Validate(); err != nil {
			t.Fatalf("case %d: %v", number, err)
		}
		err := ProveQuorums(&w.m)
		refused[err != nil]++
		if problem := w.checkCounting(r); problem != "" {
			t.Fatalf("case %d: %v: %s", number, w.m.Configs, problem)
		}
		if problem := w.checkProof(err); problem != "" {
			t.Fatalf("case %d: %v in mode %v of nodes %+v: %s", number, w.m.Configs, w.m.Mode, w.m.Nodes, problem)
		}
	}
	if total := *quorumCases; total >= 1000 && uint64(min(refused[true], refused[false])) < total/5 {
		t.Errorf("%d memberships refused, %d not: too few of one sort to mean much", refused[true], refused[false])
	}
}

// checkCounting holds elected and reached against the tables, for random votes and values.
func (w *quorumWorld) checkCounting(r *rand.Rand) string {
	n := len(w.m.Nodes)
	e := newElectorate(w.m.Nodes[r.IntN(n)].ID, &w.m, first)
	values, scratch, granted := make([]codec.Index, n), make([]codec.Index, n), make([]bool, n)
	limit, grants := 1+r.IntN(12), subset(r.Uint32())&w.all
	for i := range values {
		values[i], granted[i] = codec.Index(r.IntN(limit)), grants>>i&1 > 0
	}
	if got, want := e.elected(granted), w.joint[ElectionQuorum][grants]; got != want {
		return fmt.Sprintf("elected %v with votes %v, want %v", got, granted, want)
	}
	// What a subset has reached is its least value; what is reached is the greatest of all write quorums.
	best := codec.Index(0)
	var least [1 << quorumNodesMax]codec.Index
	least[0] = codec.Index(limit)
	for s := subset(1); s <= w.all; s++ {
		least[s] = min(least[s&(s-1)], values[bits.TrailingZeros32(uint32(s))])
		if w.joint[WriteQuorum][s] {
			best = max(best, least[s])
		}
	}
	before := slices.Clone(values)
	for range 2 { // the second time with what the first one left behind
		if got := reached(&e, values, scratch); got != best {
			return fmt.Sprintf("reached %d with %v, want %d", got, values, best)
		}
	}
	if !slices.Equal(before, values) {
		return fmt.Sprintf("counting changed %v to %v", before, values)
	}
	return ""
}

// checkProof holds the verdict on a membership against the tables: refused exactly if some config has quorums that show
// why, and with such quorums.
func (w *quorumWorld) checkProof(err error) string {
	safe := true
	for i := range w.tables {
		safe = safe && !w.miss(&w.tables[i], ElectionQuorum, WriteQuorum) && !w.witnesses(&w.tables[i]) &&
			(w.m.Mode != one || !w.miss(&w.tables[i], ElectionQuorum, ElectionQuorum))
	}
	var apart *IntersectionError
	var witnesses *WitnessQuorumError
	switch {
	case err == nil && !safe:
		return "taken, but there are quorums that miss each other or witnesses that commit alone"
	case err == nil:
		if w.miss(&w.joint, ElectionQuorum, WriteQuorum) || w.m.Mode == one && w.miss(&w.joint, ElectionQuorum, ElectionQuorum) {
			return "each config was proved, but joint quorums miss each other"
		}
		return ""
	case safe:
		return fmt.Sprintf("safe, but refused: %v", err)
	case errors.As(err, &apart):
		return w.checkApart(apart)
	case errors.As(err, &witnesses):
		if w.subsetOf(witnesses.Quorum...)&w.ordinary() != 0 {
			return fmt.Sprintf("%v: not all are witnesses", err)
		}
		return w.checkQuorum(err, witnesses.Position, witnesses.Config, WriteQuorum, witnesses.Quorum)
	}
	return fmt.Sprintf("refused with %T: %v", err, err)
}

func (w *quorumWorld) ordinary() (s subset) {
	for i, n := range w.m.Nodes {
		if !n.Witness {
			s |= 1 << i
		}
	}
	return s
}

// checkApart: the quorums of the error are quorums, for uses that have to meet, and have no member in common.
func (w *quorumWorld) checkApart(e *IntersectionError) string {
	switch {
	case e.Uses != [2]QuorumUse{ElectionQuorum, WriteQuorum} && (e.Uses != [2]QuorumUse{ElectionQuorum, ElectionQuorum} || w.m.Mode != one):
		return fmt.Sprintf("%v: such quorums may miss each other", e)
	case w.subsetOf(e.Quorums[0]...)&w.subsetOf(e.Quorums[1]...) != 0:
		return fmt.Sprintf("%v: they meet", e)
	}
	for i, use := range e.Uses {
		if problem := w.checkQuorum(e, e.Position, e.Config, use, e.Quorums[i]); problem != "" {
			return problem
		}
	}
	return ""
}

// checkQuorum: these members are a quorum of the config, sorted, and can spare none of them.
func (w *quorumWorld) checkQuorum(err error, position int, config codec.VoterConfig, use QuorumUse, quorum []codec.NodeID) string {
	s := w.subsetOf(quorum...)
	switch {
	case position >= len(w.m.Configs) || !config.Equal(&w.m.Configs[position]):
		return fmt.Sprintf("%v: names %v at position %d", err, config, position)
	case !w.tables[position][use][s]:
		return fmt.Sprintf("%v: %v is no %v quorum", err, quorum, use)
	case !slices.IsSorted(quorum) || bits.OnesCount32(uint32(s)) != len(quorum):
		return fmt.Sprintf("%v: %v is not sorted, or names a node twice", err, quorum)
	}
	for left := s; left != 0; left &= left - 1 {
		if spared := s &^ (left & -left); w.tables[position][use][spared] {
			return fmt.Sprintf("%v: %v can spare a voter", err, quorum)
		}
	}
	return ""
}

// Without a membership nobody is elected and nobody is a voter or witness.
func TestQuorumNoMembership(t *testing.T) {
	e := newElectorate(1, nil, codec.LogID{})
	if e.elected(nil) || e.isVoter(1) || e.isWitness(e.position(1)) || e.self != -1 || reached(&e, []codec.Index{}, nil) != 0 {
		t.Fatalf("electorate without membership: %+v", e)
	}
}

// Voters of any config, witnesses and priorities are known by position.
func TestQuorumElectorate(t *testing.T) {
	m := codec.NewMembership(several, codec.Node{ID: 10, Priority: 3}, codec.Node{ID: 20, Witness: true}, codec.Node{ID: 30}, codec.Node{ID: 40, Priority: 255})
	m.Configs = []codec.VoterConfig{codec.MajorityConfig(10, 20), {
		Voters: []codec.NodeID{20, 40},
		Quorum: codec.QuorumSystem{Kind: codec.QuorumHierarchical, Election: 1, Write: 2, Groups: []codec.QuorumGroup{
			{Voters: []codec.NodeID{40}, Election: 1, Write: 1}, {Voters: []codec.NodeID{20}, Election: 1, Write: 1},
		}},
	}}
	e := newElectorate(30, &m, first)
	want(t, "self", e.self, 2)
	for id, position := range map[codec.NodeID]int{5: -1, 10: 0, 20: 1, 30: 2, 35: -1, 40: 3, 50: -1} {
		want(t, "position", e.position(id), position)
		want(t, "voter", e.isVoter(id), id == 10 || id == 20 || id == 40)
		want(t, "witness", e.isWitness(position), id == 20)
	}
	if !slices.Equal(e.voter, []bool{true, true, false, true}) || !slices.Equal(e.witness, []bool{false, true, false, false}) ||
		!slices.Equal(e.priority, []uint8{3, 0, 0, 255}) {
		t.Errorf("voters %v, witnesses %v, priorities %v", e.voter, e.witness, e.priority)
	}
}

// Counting allocates nothing, whatever the system.
func TestQuorumCountingAllocatesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for kinds := map[codec.QuorumKind]int{}; len(kinds) < 4; {
		m := randomMembership(r)
		for _, c := range m.Configs {
			kinds[c.Quorum.Kind]++
		}
		e := newElectorate(0, &m, first)
		n := len(m.Nodes)
		values, scratch, granted := make([]Instant, n), make([]Instant, n), make([]bool, n)
		if allocs := testing.AllocsPerRun(100, func() {
			values[r.IntN(n)] += 5
			reached(&e, values, scratch)
			e.elected(granted)
		}); allocs != 0 {
			t.Errorf("%v: %v allocations, want 0", m.Configs, allocs)
		}
	}
}
