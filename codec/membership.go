package codec

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// MembershipVersion is the version byte of the membership format.
const MembershipVersion = 1

// Limits of a membership, checked before anything is allocated.
const (
	// MembershipNodesMax bounds voters and learners together.
	MembershipNodesMax = 1024
	// MembershipConfigsMax bounds the voter configs that decide together.
	MembershipConfigsMax = 16
	// AddressBytesMax bounds one node's address.
	AddressBytesMax = 255
)

// Node is a member with the address its peers dial, and what it is in the group beside a voter or learner.
type Node struct {
	ID      NodeID
	Address string
	// Priority says who should lead: a voter with a greater one campaigns earlier and is handed the leadership once its
	// log is complete. It never decides a vote.
	Priority uint8
	// Witness marks a member that keeps the headers of frames without the entries: it votes and counts for commits, but
	// never campaigns and has no state. It can't become an ordinary member again under the same id.
	Witness bool
	// Promote marks a learner that the leader makes a voter once it has caught up.
	Promote bool
	// Leaving marks a member of a transient membership that is none of the one after it.
	Leaving bool
	// Incarnation is the one disk that goes by this id, zero while nobody has written it down. It lets a member refuse the
	// id with another disk although it has never met the first.
	Incarnation Incarnation
}

// Membership says who belongs to a group. A decision needs a quorum of every config in the list: one in steady state,
// more while joint. Learners are the nodes that are a voter in none. A membership takes effect when it is appended.
type Membership struct {
	Mode VoteMode
	// Transient marks a joint membership that the leader replaces, once it is committed, by its last config alone.
	Transient bool
	Configs   []VoterConfig
	Nodes     []Node // every voter and learner, sorted by id
}

// NewMembership returns the membership of one majority config whose voters are all the given nodes.
func NewMembership(mode VoteMode, nodes ...Node) Membership {
	nodes = slices.Clone(nodes)
	slices.SortFunc(nodes, func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	voters := make([]NodeID, len(nodes))
	for i, n := range nodes {
		voters[i] = n.ID
	}
	return Membership{
		Mode:    mode,
		Configs: []VoterConfig{{Voters: voters, Quorum: QuorumSystem{Kind: QuorumMajority}}},
		Nodes:   nodes,
	}
}

// IsVoter reports whether the node is a voter in any config.
func (m *Membership) IsVoter(id NodeID) bool {
	for _, c := range m.Configs {
		if slices.Contains(c.Voters, id) {
			return true
		}
	}
	return false
}

// Stays reports whether the node is a voter of the last config, the only one that outlasts a transient membership.
func (m *Membership) Stays(id NodeID) bool {
	return slices.Contains(m.Configs[len(m.Configs)-1].Voters, id)
}

// Node returns the member of that id.
func (m *Membership) Node(id NodeID) (Node, bool) {
	i, ok := slices.BinarySearchFunc(m.Nodes, id, func(n Node, id NodeID) int { return cmp.Compare(n.ID, id) })
	if !ok {
		return Node{}, false
	}
	return m.Nodes[i], true
}

// Validate says what is wrong with a membership: an unknown mode or quorum system, too many nodes, no voters, ids that
// are 0, repeated or out of order, a voter without a node, an address too long, a transient membership of one config, a
// node marked for what it can't become. An empty address is fine here: what an address looks like is the transport's
// affair.
func (m *Membership) Validate() error {
	if m.Mode != SeveralLeadersPerTerm && m.Mode != OneLeaderPerTerm {
		return fmt.Errorf("membership: vote mode %d, want %d (%v) or %d (%v)", uint8(m.Mode),
			uint8(SeveralLeadersPerTerm), SeveralLeadersPerTerm, uint8(OneLeaderPerTerm), OneLeaderPerTerm)
	}
	if len(m.Nodes) > MembershipNodesMax {
		return fmt.Errorf("membership: %d nodes, limit %d", len(m.Nodes), MembershipNodesMax)
	}
	last := NodeID(0)
	for _, n := range m.Nodes {
		if n.ID <= last {
			return fmt.Errorf("membership: node %d after node %d, want ids above 0, sorted and unique", n.ID, last)
		}
		if err := m.validateFuture(n); err != nil {
			return err
		}
		if len(n.Address) > AddressBytesMax {
			return fmt.Errorf("membership: address of node %d has %d bytes, limit %d", n.ID, len(n.Address), AddressBytesMax)
		}
		last = n.ID
	}
	if len(m.Configs) == 0 || len(m.Configs) > MembershipConfigsMax {
		return fmt.Errorf("membership: %d voter configs, want 1 to %d", len(m.Configs), MembershipConfigsMax)
	}
	if m.Transient && len(m.Configs) == 1 {
		return fmt.Errorf("membership: transient with one voter config, want at least 2")
	}
	for i, c := range m.Configs {
		if err := m.validateConfig(c); err != nil {
			return fmt.Errorf("membership: config %d: %w", i, err)
		}
	}
	return nil
}

// validateFuture says what is wrong with what a node is marked to become.
func (m *Membership) validateFuture(n Node) error {
	stays := len(m.Configs) > 0 && slices.Contains(m.Configs[len(m.Configs)-1].Voters, n.ID)
	switch {
	case n.Promote && stays:
		return fmt.Errorf("membership: voter %d is to be promoted, want a learner", n.ID)
	case n.Leaving && (stays || !m.Transient):
		return fmt.Errorf("membership: node %d is leaving, want that in a transient membership only, of no voter of its last config", n.ID)
	}
	return nil
}

func (m *Membership) validateConfig(c VoterConfig) error {
	if len(c.Voters) == 0 {
		return fmt.Errorf("no voters")
	}
	last := NodeID(0)
	for _, v := range c.Voters {
		if v <= last {
			return fmt.Errorf("voter %d after voter %d, want ids above 0, sorted and unique", v, last)
		}
		if _, ok := m.Node(v); !ok {
			return fmt.Errorf("voter %d is not among the nodes", v)
		}
		last = v
	}
	return c.Quorum.validate(c.Voters)
}

// Clone returns a copy that shares nothing with m.
func (m *Membership) Clone() Membership {
	out := *m
	out.Nodes, out.Configs = slices.Clone(m.Nodes), slices.Clone(m.Configs)
	for i := range out.Configs {
		out.Configs[i] = out.Configs[i].Clone()
	}
	return out
}

// Flags of a membership and of a node.
const (
	flagTransient = 1 << 0
	flagWitness   = 1 << 0
	flagPromote   = 1 << 1
	flagLeaving   = 1 << 2
	flagIncarnate = 1 << 3 // an incarnation follows
)

// bit returns mask for true, else 0.
func bit(on bool, mask byte) byte {
	if on {
		return mask
	}
	return 0
}

// AppendMembership appends the encoding of a valid membership: version, mode, flags, configs (voters, quorum system),
// nodes (id, priority, flags, incarnation where known, address); counts, ids and thresholds as uvarints. It has no checksum of its own: it lives
// in a frame.
func AppendMembership(dst []byte, m *Membership) []byte {
	dst = append(dst, MembershipVersion, byte(m.Mode), bit(m.Transient, flagTransient))
	dst = binary.AppendUvarint(dst, uint64(len(m.Configs)))
	for i := range m.Configs {
		dst = appendIDs(dst, m.Configs[i].Voters)
		dst = appendQuorum(dst, &m.Configs[i].Quorum)
	}
	dst = binary.AppendUvarint(dst, uint64(len(m.Nodes)))
	for _, n := range m.Nodes {
		dst = binary.AppendUvarint(dst, uint64(n.ID))
		dst = append(dst, n.Priority, bit(n.Witness, flagWitness)|bit(n.Promote, flagPromote)|
			bit(n.Leaving, flagLeaving)|bit(!n.Incarnation.IsZero(), flagIncarnate))
		if !n.Incarnation.IsZero() {
			dst = append(dst, n.Incarnation[:]...)
		}
		dst = binary.AppendUvarint(dst, uint64(len(n.Address)))
		dst = append(dst, n.Address...)
	}
	return dst
}

// ReadMembership reads the membership that starts src and returns its size. The result shares nothing with src and is
// valid. Errors wrap [ErrVersion], or [ErrCorrupt] for anything else.
func ReadMembership(src []byte) (Membership, int, error) {
	if len(src) > 0 && src[0] != MembershipVersion {
		return Membership{}, 0, fmt.Errorf("membership version %d, want %d: %w", src[0], MembershipVersion, ErrVersion)
	}
	r := reader{src: src}
	r.byte()
	m := Membership{Mode: VoteMode(r.byte())}
	m.Transient = r.flags(flagTransient) != 0
	for range r.count(MembershipConfigsMax) {
		m.Configs = append(m.Configs, VoterConfig{Voters: readIDs(&r), Quorum: readQuorum(&r)})
	}
	for range r.count(MembershipNodesMax) {
		n := Node{ID: NodeID(r.uvarint()), Priority: r.byte()}
		flags := r.flags(flagWitness | flagPromote | flagLeaving | flagIncarnate)
		n.Witness, n.Promote, n.Leaving = flags&flagWitness != 0, flags&flagPromote != 0, flags&flagLeaving != 0
		if flags&flagIncarnate != 0 {
			copy(n.Incarnation[:], r.bytes(len(n.Incarnation)))
			r.failed = r.failed || n.Incarnation.IsZero()
		}
		n.Address = string(r.bytes(r.count(AddressBytesMax)))
		m.Nodes = append(m.Nodes, n)
	}
	if r.failed {
		return Membership{}, 0, fmt.Errorf("membership cut short, or a count or flag beyond its limit, at byte %d of %d: %w",
			r.pos, len(src), ErrCorrupt)
	}
	if err := m.Validate(); err != nil {
		return Membership{}, 0, fmt.Errorf("%w: %w", err, ErrCorrupt)
	}
	return m, r.pos, nil
}
