package codec

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// QuorumKind says by which rule a voter set decides.
type QuorumKind uint8

// The kinds of quorum system.
const (
	// QuorumMajority: more than half of the voters, for elections and for writes.
	QuorumMajority QuorumKind = 1
	// QuorumFlexible: at least Election voters elect, at least Write voters commit.
	QuorumFlexible QuorumKind = 2
	// QuorumWeighted: as flexible, with each voter counting for its weight.
	QuorumWeighted QuorumKind = 3
	// QuorumHierarchical: at least Election or Write groups, in each of which enough of its voters agree, so that a
	// decision spans failure domains.
	QuorumHierarchical QuorumKind = 4
)

// String returns the kind's name.
func (k QuorumKind) String() string {
	switch k {
	case QuorumMajority:
		return "majority"
	case QuorumFlexible:
		return "flexible"
	case QuorumWeighted:
		return "weighted"
	case QuorumHierarchical:
		return "hierarchical"
	}
	return fmt.Sprintf("QuorumKind(%d)", uint8(k))
}

// QuorumSystem is the rule by which a voter set decides. That every election quorum meets every write quorum is not
// said by its form; engine/consensus proves it before a membership is proposed.
type QuorumSystem struct {
	Kind QuorumKind
	// Election and Write are the thresholds: voters for a flexible system, sums of weights for a weighted one, groups
	// for a hierarchical one; 0 for majority.
	Election, Write uint32
	// Weights are those of the voters, in their order; weighted only. A weight may be 0, not all of them.
	Weights []uint32
	// Groups part the voters; hierarchical only.
	Groups []QuorumGroup
}

// QuorumGroup is one failure domain of a hierarchical quorum system with its own thresholds, in voters. Voters are
// sorted and unique.
type QuorumGroup struct {
	Voters          []NodeID
	Election, Write uint32
}

// VoterConfig is one voter set with its quorum system. Voters are sorted and unique.
type VoterConfig struct {
	Voters []NodeID
	Quorum QuorumSystem
}

// MajorityConfig returns the config of these voters under the majority rule.
func MajorityConfig(voters ...NodeID) VoterConfig {
	voters = slices.Clone(voters)
	slices.Sort(voters)
	return VoterConfig{Voters: voters, Quorum: QuorumSystem{Kind: QuorumMajority}}
}

// String returns the rule and its voters, such as "majority of [1 2 3]", "flexible of [1 2 3 4], election 3, write 2",
// "weighted of [1 2 3] by [4 4 5], election 5, write 9" or "hierarchical of [1 2] (election 1, write 2) and [3 4]
// (election 1, write 2), election 2, write 1".
func (c VoterConfig) String() string {
	q := &c.Quorum
	var sb strings.Builder
	fmt.Fprintf(&sb, "%v of ", q.Kind)
	for i, g := range q.Groups {
		if i > 0 {
			sb.WriteString(" and ")
		}
		fmt.Fprintf(&sb, "%v (election %d, write %d)", g.Voters, g.Election, g.Write)
	}
	if len(q.Groups) == 0 {
		fmt.Fprintf(&sb, "%v", c.Voters)
	}
	if q.Kind == QuorumWeighted {
		fmt.Fprintf(&sb, " by %v", q.Weights)
	}
	if q.Kind != QuorumMajority {
		fmt.Fprintf(&sb, ", election %d, write %d", q.Election, q.Write)
	}
	return sb.String()
}

// Equal reports whether two configs have the same voters and the same quorum system.
func (c *VoterConfig) Equal(o *VoterConfig) bool {
	return slices.Equal(c.Voters, o.Voters) && c.Quorum.equal(&o.Quorum)
}

func (q *QuorumSystem) equal(o *QuorumSystem) bool {
	return q.Kind == o.Kind && q.Election == o.Election && q.Write == o.Write && slices.Equal(q.Weights, o.Weights) &&
		slices.EqualFunc(q.Groups, o.Groups, func(a, b QuorumGroup) bool {
			return a.Election == b.Election && a.Write == b.Write && slices.Equal(a.Voters, b.Voters)
		})
}

// Clone returns a copy that shares nothing with c.
func (c *VoterConfig) Clone() VoterConfig {
	out := *c
	out.Voters = slices.Clone(c.Voters)
	out.Quorum.Weights = slices.Clone(c.Quorum.Weights)
	out.Quorum.Groups = slices.Clone(c.Quorum.Groups)
	for i := range out.Quorum.Groups {
		out.Quorum.Groups[i].Voters = slices.Clone(out.Quorum.Groups[i].Voters)
	}
	return out
}

// validate says what is wrong with the form of a quorum system over these voters: an unknown kind, fields of another
// kind, a threshold of 0 or above what there is, weights that don't match the voters, groups that don't part them.
func (q *QuorumSystem) validate(voters []NodeID) error {
	switch {
	case q.Kind != QuorumWeighted && len(q.Weights) > 0:
		return fmt.Errorf("%v quorum with %d weights, want none", q.Kind, len(q.Weights))
	case q.Kind != QuorumHierarchical && len(q.Groups) > 0:
		return fmt.Errorf("%v quorum with %d groups, want none", q.Kind, len(q.Groups))
	}
	switch q.Kind {
	case QuorumMajority:
		if q.Election != 0 || q.Write != 0 {
			return fmt.Errorf("majority quorum with thresholds %d and %d, want none", q.Election, q.Write)
		}
		return nil
	case QuorumFlexible:
		return thresholds(q.Election, q.Write, uint64(len(voters)), "voters")
	case QuorumWeighted:
		if len(q.Weights) != len(voters) {
			return fmt.Errorf("%d weights for %d voters", len(q.Weights), len(voters))
		}
		sum := uint64(0)
		for _, w := range q.Weights {
			sum += uint64(w)
		}
		return thresholds(q.Election, q.Write, sum, "weights together")
	case QuorumHierarchical:
		return q.validateGroups(voters)
	}
	return fmt.Errorf("unknown quorum system %v", q.Kind)
}

func (q *QuorumSystem) validateGroups(voters []NodeID) error {
	groupOf := make([]int, len(voters)) // of each voter, counted from 1; 0 for none
	for i, g := range q.Groups {
		if err := thresholds(g.Election, g.Write, uint64(len(g.Voters)), "voters"); err != nil {
			return fmt.Errorf("group %d: %w", i, err)
		}
		for j, v := range g.Voters {
			at, ok := slices.BinarySearch(voters, v)
			switch {
			case j > 0 && v <= g.Voters[j-1]:
				return fmt.Errorf("group %d: voter %d after voter %d, want ids sorted and unique", i, v, g.Voters[j-1])
			case !ok:
				return fmt.Errorf("group %d: %d is no voter", i, v)
			case groupOf[at] != 0:
				return fmt.Errorf("group %d: voter %d is in group %d too", i, v, groupOf[at]-1)
			}
			groupOf[at] = i + 1
		}
	}
	if at := slices.Index(groupOf, 0); at >= 0 {
		return fmt.Errorf("voter %d is in no group", voters[at])
	}
	return thresholds(q.Election, q.Write, uint64(len(q.Groups)), "groups")
}

func thresholds(election, write uint32, most uint64, of string) error {
	if election == 0 || write == 0 || uint64(election) > most || uint64(write) > most {
		return fmt.Errorf("thresholds %d for elections and %d for writes, want 1 to %d (%s)", election, write, most, of)
	}
	return nil
}

func appendIDs(dst []byte, ids []NodeID) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(ids)))
	for _, id := range ids {
		dst = binary.AppendUvarint(dst, uint64(id))
	}
	return dst
}

func readIDs(r *reader) (ids []NodeID) {
	for range r.count(MembershipNodesMax) {
		ids = append(ids, NodeID(r.uvarint()))
	}
	return ids
}

// appendQuorum appends a quorum system: kind, then, unless majority, both thresholds, then weights or groups (voters and
// both thresholds each).
func appendQuorum(dst []byte, q *QuorumSystem) []byte {
	dst = append(dst, byte(q.Kind))
	if q.Kind == QuorumMajority {
		return dst
	}
	dst = appendThresholds(dst, q.Election, q.Write)
	switch q.Kind {
	case QuorumWeighted:
		dst = binary.AppendUvarint(dst, uint64(len(q.Weights)))
		for _, w := range q.Weights {
			dst = binary.AppendUvarint(dst, uint64(w))
		}
	case QuorumHierarchical:
		dst = binary.AppendUvarint(dst, uint64(len(q.Groups)))
		for i := range q.Groups {
			dst = appendIDs(dst, q.Groups[i].Voters)
			dst = appendThresholds(dst, q.Groups[i].Election, q.Groups[i].Write)
		}
	}
	return dst
}

func appendThresholds(dst []byte, election, write uint32) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(dst, uint64(election)), uint64(write))
}

func readQuorum(r *reader) QuorumSystem {
	q := QuorumSystem{Kind: QuorumKind(r.byte())}
	if q.Kind == QuorumMajority {
		return q
	}
	q.Election, q.Write = r.uvarint32(), r.uvarint32()
	switch q.Kind {
	case QuorumWeighted:
		for range r.count(MembershipNodesMax) {
			q.Weights = append(q.Weights, r.uvarint32())
		}
	case QuorumHierarchical:
		for range r.count(MembershipNodesMax) {
			g := QuorumGroup{Voters: readIDs(r)}
			g.Election, g.Write = r.uvarint32(), r.uvarint32()
			q.Groups = append(q.Groups, g)
		}
	}
	return q
}
