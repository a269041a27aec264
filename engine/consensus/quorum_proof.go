package consensus

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/millrace/millrace/codec"
)

// ProveQuorums says why a membership's quorum systems are not safe, nil when they are. Every config must hold by itself,
// for each decides alone before or after a joint membership:
//
//   - every election quorum meets every write quorum, so that a leader is elected with what was committed;
//   - with one leader per term, any two election quorums meet, so that a term elects one (with several leaders per term
//     the votes themselves are ordered);
//   - no write quorum consists of witnesses only, so that somebody holds what was committed.
//
// The first two are [IntersectionError]s, the third a [WitnessQuorumError]; each shows quorums that prove it. A
// membership that [codec.Membership.Validate] refuses is refused with its error.
//
// The proof goes by thresholds. It is exact but for one case: where the thresholds of a weighted system don't exceed the
// sum of its weights, quorums may meet all the same (weights 4 4 4, thresholds 5 and 7). Whether they do is the subset
// sum problem. It is decided as long as the weights add up to at most [weightSumsMax] different sums below the lesser
// threshold: always with up to 16 voters of any weight, or with a threshold of up to that number. Beyond that, a system
// may be refused although it is safe, unless its thresholds exceed the sum.
func ProveQuorums(m *codec.Membership) error {
	if err := m.Validate(); err != nil {
		return err
	}
	e := newElectorate(0, m, codec.LogID{})
	for i := range e.sets {
		if err := e.proveMeeting(i, ElectionQuorum, WriteQuorum); err != nil {
			return err
		}
		if m.Mode == codec.OneLeaderPerTerm {
			if err := e.proveMeeting(i, ElectionQuorum, ElectionQuorum); err != nil {
				return err
			}
		}
		if s := &e.sets[i]; s.holds(e.witness, WriteQuorum) {
			quorum := s.smallest(slices.Clone(e.witness), WriteQuorum)
			return &WitnessQuorumError{Position: i, Config: m.Configs[i].Clone(), Quorum: e.ids(quorum)}
		}
	}
	return nil
}

// proveMeeting shows that in a set any two quorums for these uses meet. Quorums only grow by adding voters, so that two
// miss each other exactly if the voters can be split into one for each use.
func (e *electorate) proveMeeting(set int, first, second QuorumUse) error {
	s := &e.sets[set]
	split, undecided := s.split(first, second)
	if split == nil && !undecided {
		return nil
	}
	err := &IntersectionError{Position: set, Config: e.membership.Configs[set].Clone(), Uses: [2]QuorumUse{first, second}}
	if undecided {
		return err
	}
	halves := [2][]bool{make([]bool, len(e.voter)), make([]bool, len(e.voter))}
	for i := range s.groups {
		for _, position := range s.groups[i].members {
			halves[1][position] = true
		}
	}
	for _, position := range split {
		halves[0][position], halves[1][position] = true, false
	}
	for i, half := range halves {
		if !s.holds(half, err.Uses[i]) {
			panic(fmt.Sprintf("BUG: %v is no %v quorum of %v", e.ids(half), err.Uses[i], err.Config))
		}
		err.Quorums[i] = e.ids(s.smallest(half, err.Uses[i]))
	}
	return err
}

// smallest takes from a quorum every voter that it can spare, the last ones first.
func (s *voterSet) smallest(quorum []bool, use QuorumUse) []bool {
	for i := len(quorum) - 1; i >= 0; i-- {
		if quorum[i] {
			quorum[i] = false
			quorum[i] = !s.holds(quorum, use)
		}
	}
	return quorum
}

// ids returns the nodes at the marked positions, sorted.
func (e *electorate) ids(marked []bool) []codec.NodeID {
	var ids []codec.NodeID
	for i, n := range e.membership.Nodes {
		if marked[i] {
			ids = append(ids, n.ID)
		}
	}
	return ids
}

// split returns members that form a quorum for the first use while the others form one for the second, nil if there are
// none. undecided says that neither was found out.
func (s *voterSet) split(first, second QuorumUse) (members []int, undecided bool) {
	if s.weights == nil {
		return s.splitGroups(first, second), false
	}
	return s.splitWeights(first, second)
}

// splitWeights looks for members that weigh enough for the lesser threshold and leave enough for the greater one.
func (s *voterSet) splitWeights(first, second QuorumUse) (members []int, undecided bool) {
	total := uint64(0)
	for _, w := range s.weights {
		total += w
	}
	lesser, greater := min(s.need[first], s.need[second]), max(s.need[first], s.need[second])
	if lesser+greater > total {
		return nil, false
	}
	chosen, undecided := subsetBetween(s.weights, lesser, total-greater)
	if chosen == nil {
		return nil, undecided
	}
	for i, member := range s.groups[0].members {
		if slices.Contains(chosen, i) == (s.need[first] == lesser) {
			members = append(members, member)
		}
	}
	return members, false
}

// splitGroups goes level by level. A group with room for enough members for each use side by side counts for both; any
// other can be given to one of the two. Groups share no voter, so each is split by itself.
func (s *voterSet) splitGroups(first, second QuorumUse) (members []int) {
	room := func(g *voterGroup) bool { return g.need[first]+g.need[second] <= len(g.members) }
	both := 0
	for i := range s.groups {
		if room(&s.groups[i]) {
			both++
		}
	}
	more := func(use QuorumUse) int { return max(0, int(s.need[use])-both) }
	given := more(first)
	if given+more(second) > len(s.groups)-both {
		return nil
	}
	for i := range s.groups {
		g := &s.groups[i]
		if !room(g) {
			if given == 0 {
				continue
			}
			given--
		}
		members = append(members, g.members[:g.need[first]]...)
	}
	return members
}

// weightSumsMax bounds the sums of weights that the proof keeps: a few megabytes, and for a thousand voters a fraction of a
// second.
const weightSumsMax = 1 << 16

// weightSum is a sum of weights: that of before, another such sum, with the weight at last added.
type weightSum struct {
	sum          uint64
	last, before int32
}

// subsetBetween returns the places of weights whose sum is at least low and at most high, nil if there are none, low
// being above 0. undecided says that there were too many sums to find out.
func subsetBetween(weights []uint64, low, high uint64) (chosen []int, undecided bool) {
	order, rest := make([]int, len(weights)), uint64(0)
	for i, w := range weights {
		order[i], rest = i, rest+w
	}
	// The heaviest first: fewer sums stay in question.
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(weights[b], weights[a]) })
	if chosen := subsetGreedy(weights, order, low, high); chosen != nil {
		return chosen, false
	}
	sums := []weightSum{{}}
	live, next := []int32{0}, []int32{} // places in sums, by rising sum
	for _, i := range order {
		rest -= weights[i]
		next = next[:0]
		// Two rising runs are merged: the sums so far, and the same with this weight added.
		for kept, added := 0, 0; added < len(live); {
			sum := sums[live[added]].sum + weights[i]
			if kept < len(live) && sums[live[kept]].sum <= sum {
				if sums[live[kept]].sum == sum {
					added++
				}
				if sums[live[kept]].sum+rest >= low {
					next = append(next, live[kept])
				}
				kept++
				continue
			}
			switch {
			case sum >= low && sum <= high:
				return chain(sums, weightSum{sum: sum, last: int32(i), before: live[added]}), false
			case sum < low && sum+rest >= low:
				if len(sums) == weightSumsMax {
					return nil, true
				}
				next = append(next, int32(len(sums)))
				sums = append(sums, weightSum{sum: sum, last: int32(i), before: live[added]})
			}
			added++
		}
		live, next = next, live
	}
	return nil, false
}

// subsetGreedy takes each weight that keeps the sum at high or below, the heaviest first. It finds most subsets that are
// easy to find, also where there are too many sums to look at all.
func subsetGreedy(weights []uint64, order []int, low, high uint64) (chosen []int) {
	sum := uint64(0)
	for _, i := range order {
		if sum+weights[i] > high {
			continue
		}
		chosen = append(chosen, i)
		if sum += weights[i]; sum >= low {
			return chosen
		}
	}
	return nil
}

// chain returns the places of the weights that make a sum.
func chain(sums []weightSum, s weightSum) (places []int) {
	for ; s.sum > 0; s = sums[s.before] {
		places = append(places, int(s.last))
	}
	return places
}
