package consensus

import (
	"cmp"
	"slices"

	"github.com/millrace/millrace/codec"
)

// electionQuorum is how many of n voters must grant a vote. Every election quorum meets every write quorum.
func electionQuorum(q codec.QuorumSystem, n int) int {
	if q.Kind != codec.QuorumMajority {
		panic("BUG: a quorum system that Validate does not know")
	}
	return n/2 + 1
}

// writeQuorum is how many of n voters must hold an entry before it is committed.
func writeQuorum(q codec.QuorumSystem, n int) int { return electionQuorum(q, n) }

// voterSet is one config of the effective membership. Members are positions in the membership's list of nodes, which
// are also the positions in the leader's list of peers.
type voterSet struct {
	members []int
	quorum  codec.QuorumSystem
}

// electorate is the effective membership in the form in which votes and matches are counted.
//
// Owner: the [Core] it is part of.
type electorate struct {
	membership *codec.Membership // nil before initialization
	at         codec.LogID       // log id of its entry
	sets       []voterSet
	voter      []bool // by position: a voter of any set
	witness    []bool
	priority   []uint8
	self       int // this node's position, -1 when it is no member
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
	for _, config := range m.Configs {
		set := voterSet{quorum: config.Quorum}
		for _, id := range config.Voters {
			position := e.position(id)
			e.voter[position] = true
			set.members = append(set.members, position)
		}
		e.sets = append(e.sets, set)
	}
	e.self = e.position(self)
	return e
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

// isVoter reports whether a node is a voter of any set.
func (e *electorate) isVoter(id codec.NodeID) bool {
	i := e.position(id)
	return i >= 0 && e.voter[i]
}

// elected reports whether the granted votes, by position, hold an election quorum of every set.
func (e *electorate) elected(granted []bool) bool {
	for i := range e.sets {
		count := 0
		for _, position := range e.sets[i].members {
			if granted[position] {
				count++
			}
		}
		if count < electionQuorum(e.sets[i].quorum, len(e.sets[i].members)) {
			return false
		}
	}
	return len(e.sets) > 0
}

// reached returns the greatest value that a write quorum of every set has reached: in each set the quorum-th largest of
// values, which are given by position, and of these the least. scratch has room for all positions.
func reached[T cmp.Ordered](e *electorate, values, scratch []T) T {
	var least T
	for i := range e.sets {
		set := scratch[:0]
		for _, position := range e.sets[i].members {
			set = append(set, values[position])
		}
		slices.Sort(set)
		v := set[len(set)-writeQuorum(e.sets[i].quorum, len(set))]
		if i == 0 || v < least {
			least = v
		}
	}
	return least
}
