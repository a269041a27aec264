package consensus

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/millrace/millrace/codec"
)

// QuorumUse says what a quorum decides: the two may need different sets of voters.
type QuorumUse uint8

const (
	// ElectionQuorum: those who granted a vote; enough of them make a leader.
	ElectionQuorum QuorumUse = iota
	// WriteQuorum: those who hold an entry or answered a leader; enough of them commit, and keep a lease.
	WriteQuorum

	quorumUses
)

// String returns the use's name.
func (u QuorumUse) String() string {
	switch u {
	case ElectionQuorum:
		return "election"
	case WriteQuorum:
		return "write"
	}
	return fmt.Sprintf("QuorumUse(%d)", uint8(u))
}

// voterSet is one config of the effective membership in the form in which it is counted. There are two forms, from
// which the kinds of quorum system follow:
//
//	groups    enough groups, in each of which enough members agree: hierarchical; majority and flexible are one group
//	weights   members of enough weight together: weighted; the members are those of the only group
//
// Members are positions in the membership's list of nodes, which are also the positions in the leader's list of peers.
type voterSet struct {
	groups []voterGroup
	need   [quorumUses]uint64 // groups, or weights together
	// weights are those of the members, nil unless the system is weighted.
	weights []uint64
	// ranks lists the members, by their place in the group, from the least value to the greatest of the latest count. The
	// next count starts from it, since values change little between two.
	ranks []int
}

// voterGroup is a group of members with the number of them that must agree. A weighted set's group has no such numbers.
type voterGroup struct {
	members []int
	need    [quorumUses]int
}

// electorate is the effective membership in the form in which votes and matches are counted.
//
// Owner: the [Core] it is part of.
type electorate struct {
	membership *codec.Membership // nil before initialization
	at         codec.LogID       // log id of its entry
	sets       []voterSet
	voter      []bool  // by position: a voter of any set
	witness    []bool  // by position: keeps headers of frames only
	priority   []uint8 // by position: who should lead, a greater one first
	self       int     // this node's position, -1 when it is no member
}

func newElectorate(self codec.NodeID, m *codec.Membership, at codec.LogID) electorate {
	e := electorate{membership: m, at: at, self: -1}
	if m == nil {
		return e
	}
	e.voter = make([]bool, len(m.Nodes))
	e.witness = make([]bool, len(m.Nodes))
	e.priority = make([]uint8, len(m.Nodes))
	for i, n := range m.Nodes {
		e.witness[i], e.priority[i] = n.Witness, n.Priority
	}
	for i := range m.Configs {
		set := e.newSet(&m.Configs[i])
		for _, g := range set.groups {
			for _, position := range g.members {
				e.voter[position] = true
			}
		}
		e.sets = append(e.sets, set)
	}
	e.self = e.position(self)
	return e
}

// newSet returns the form in which a config of the membership is counted.
func (e *electorate) newSet(config *codec.VoterConfig) voterSet {
	q := &config.Quorum
	one := voterGroup{members: e.positions(config.Voters)}
	set := voterSet{need: [quorumUses]uint64{1, 1}}
	switch q.Kind {
	case codec.QuorumMajority:
		one.need = [quorumUses]int{len(one.members)/2 + 1, len(one.members)/2 + 1}
	case codec.QuorumFlexible:
		one.need = [quorumUses]int{int(q.Election), int(q.Write)}
	case codec.QuorumWeighted:
		set.need = [quorumUses]uint64{uint64(q.Election), uint64(q.Write)}
		for i, w := range q.Weights {
			set.weights = append(set.weights, uint64(w))
			set.ranks = append(set.ranks, i)
		}
	case codec.QuorumHierarchical:
		set.need = [quorumUses]uint64{uint64(q.Election), uint64(q.Write)}
		for _, g := range q.Groups {
			set.groups = append(set.groups, voterGroup{
				members: e.positions(g.Voters),
				need:    [quorumUses]int{int(g.Election), int(g.Write)},
			})
		}
		return set
	default:
		panic(fmt.Sprintf("BUG: quorum system %v, which Validate does not know", q.Kind))
	}
	set.groups = []voterGroup{one}
	return set
}

// position returns where a node stands in the list of nodes, -1 when it is no member.
func (e *electorate) position(id codec.NodeID) int {
	if e.membership == nil {
		return -1
	}
	i, ok := slices.BinarySearchFunc(e.membership.Nodes, id, func(n codec.Node, id codec.NodeID) int {
		return cmp.Compare(n.ID, id)
	})
	if !ok {
		return -1
	}
	return i
}

func (e *electorate) positions(ids []codec.NodeID) []int {
	positions := make([]int, len(ids))
	for i, id := range ids {
		positions[i] = e.position(id)
	}
	return positions
}

// isVoter reports whether a node is a voter of any set.
func (e *electorate) isVoter(id codec.NodeID) bool {
	i := e.position(id)
	return i >= 0 && e.voter[i]
}

// isWitness reports whether the node at a position is a witness; -1 is none.
func (e *electorate) isWitness(position int) bool { return position >= 0 && e.witness[position] }

// elected reports whether the granted votes, by position, hold an election quorum of every set.
func (e *electorate) elected(granted []bool) bool {
	for i := range e.sets {
		if !e.sets[i].holds(granted, ElectionQuorum) {
			return false
		}
	}
	return len(e.sets) > 0
}

// holds reports whether the positions marked in has hold a quorum of the set.
func (s *voterSet) holds(has []bool, use QuorumUse) bool {
	if s.weights != nil {
		return s.weightOf(has) >= s.need[use]
	}
	groups := uint64(0)
	for i := range s.groups {
		count := 0
		for _, position := range s.groups[i].members {
			if has[position] {
				count++
			}
		}
		if count >= s.groups[i].need[use] {
			groups++
		}
	}
	return groups >= s.need[use]
}

// weightOf returns what the members marked in has weigh together.
func (s *voterSet) weightOf(has []bool) uint64 {
	sum := uint64(0)
	for i, position := range s.groups[0].members {
		if has[position] {
			sum += s.weights[i]
		}
	}
	return sum
}

// reached returns the greatest value that a write quorum of every set has reached: the least of what each set has.
// values are given by position; scratch has room for all positions. The zero value where there is no set.
func reached[T cmp.Ordered](e *electorate, values, scratch []T) T {
	var least T
	for i := range e.sets {
		if v := reachedBy(&e.sets[i], values, scratch); i == 0 || v < least {
			least = v
		}
	}
	return least
}

// reachedBy returns the greatest value that a write quorum of one set has reached. In a group that is the k-th largest,
// where k members must agree; over groups again the k-th largest of what each has, where k groups must agree.
func reachedBy[T cmp.Ordered](s *voterSet, values, scratch []T) T {
	switch {
	case s.weights != nil:
		return reachedByWeight(s, values)
	case len(s.groups) == 1:
		g := &s.groups[0]
		return greatest(gather(values, g.members, scratch), g.need[WriteQuorum])
	}
	// What the i-th group has replaces scratch[i]; no group being empty, the members of the groups still to come fit
	// behind it.
	for i := range s.groups {
		g := &s.groups[i]
		scratch[i] = greatest(gather(values, g.members, scratch[i:]), g.need[WriteQuorum])
	}
	return greatest(scratch[:len(s.groups)], int(s.need[WriteQuorum]))
}

// reachedByWeight walks from the greatest value down until the members passed weigh enough.
func reachedByWeight[T cmp.Ordered](s *voterSet, values []T) T {
	members := s.groups[0].members
	slices.SortFunc(s.ranks, func(a, b int) int { return cmp.Compare(values[members[a]], values[members[b]]) })
	sum := uint64(0)
	for _, i := range slices.Backward(s.ranks) {
		if sum += s.weights[i]; sum >= s.need[WriteQuorum] {
			return values[members[i]]
		}
	}
	panic(fmt.Sprintf("BUG: all weights are %d together, a write needs %d", sum, s.need[WriteQuorum]))
}

// gather copies the values at some positions to the start of scratch.
func gather[T any](values []T, positions []int, scratch []T) []T {
	scratch = scratch[:len(positions)]
	for i, position := range positions {
		scratch[i] = values[position]
	}
	return scratch
}

// greatest returns the k-th largest of some values, counted from 1, and brings them out of order.
func greatest[T cmp.Ordered](values []T, k int) T {
	slices.Sort(values)
	return values[len(values)-k]
}
