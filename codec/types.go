package codec

import (
	"cmp"
	"encoding/hex"
	"fmt"
)

// Term is a logical period of leadership (Raft 5.1). Terms start at 1; 0 means "none yet".
type Term uint64

// Index is the position of an entry in a group's log. The first entry has index 1; 0 means "none".
type Index uint64

// NodeID names a node of a cluster. 0 is not a node.
type NodeID uint64

// GroupID names one Raft group among those that share a node's log and transport.
type GroupID uint64

// LeaderID names one leadership: a term and the node that led in it. With several leaders per term the node is part of
// the order, so that a second candidate of the same term may follow the first.
type LeaderID struct {
	Term Term
	Node NodeID
}

// Compare orders leader ids by term, then node: -1, 0 or +1.
func (l LeaderID) Compare(o LeaderID) int {
	if c := cmp.Compare(l.Term, o.Term); c != 0 {
		return c
	}
	return cmp.Compare(l.Node, o.Node)
}

// IsZero reports whether l names no leadership.
func (l LeaderID) IsZero() bool { return l == LeaderID{} }

// String returns "T5-N2" for term 5, node 2.
func (l LeaderID) String() string { return fmt.Sprintf("T%d-N%d", l.Term, l.Node) }

// LogID identifies an entry: who led when it was proposed, and where it stands. Two entries with equal log ids are the
// same entry (log matching, Raft 5.3). The zero value stands before the first entry.
type LogID struct {
	Leader LeaderID
	Index  Index
}

// Compare orders log ids by leader id, then index. A candidate's log is up to date when its last log id is not less
// than the voter's (Raft 5.4.1).
func (l LogID) Compare(o LogID) int {
	if c := l.Leader.Compare(o.Leader); c != 0 {
		return c
	}
	return cmp.Compare(l.Index, o.Index)
}

// IsZero reports whether l stands before the first entry.
func (l LogID) IsZero() bool { return l == LogID{} }

// String returns "T5-N2-17" for index 17.
func (l LogID) String() string { return fmt.Sprintf("%v-%d", l.Leader, l.Index) }

// Vote is what a node has promised: the greatest leadership it voted for or follows. Committed says that a quorum
// granted it, so that it is the vote of an established leader.
type Vote struct {
	Leader    LeaderID
	Committed bool
}

// IsZero reports whether no vote was ever given.
func (v Vote) IsZero() bool { return v == Vote{} }

// Compare orders votes by (term, node, committed): the total order of the mode with several leaders per term.
func (v Vote) Compare(o Vote) int {
	if c := v.Leader.Compare(o.Leader); c != 0 {
		return c
	}
	switch {
	case v.Committed == o.Committed:
		return 0
	case v.Committed:
		return 1
	default:
		return -1
	}
}

// Covers reports whether a node that holds o may move to v (or already stands there) in the given mode. With several
// leaders per term that is the total order; with one leader per term two uncommitted votes of one term exclude each
// other, and a committed vote of a term beats any uncommitted one of it.
func (v Vote) Covers(o Vote, mode VoteMode) bool {
	if v.Leader.Term != o.Leader.Term || mode == SeveralLeadersPerTerm {
		return v.Compare(o) >= 0
	}
	if v.Leader.Node == o.Leader.Node {
		return v.Committed || !o.Committed
	}
	return v.Committed && !o.Committed || o.Leader.IsZero()
}

// String returns "T5-N2+" for a committed vote and "T5-N2" for an uncommitted one.
func (v Vote) String() string {
	if v.Committed {
		return v.Leader.String() + "+"
	}
	return v.Leader.String()
}

// VoteMode says how many leaders one term may see. It is fixed when a cluster is initialized.
type VoteMode uint8

const (
	// SeveralLeadersPerTerm orders votes by (term, node): a split vote needs no new term.
	SeveralLeadersPerTerm VoteMode = 1
	// OneLeaderPerTerm is the rule of the Raft paper: a node votes once per term.
	OneLeaderPerTerm VoteMode = 2
)

// String returns the mode's name.
func (m VoteMode) String() string {
	switch m {
	case SeveralLeadersPerTerm:
		return "several-leaders-per-term"
	case OneLeaderPerTerm:
		return "one-leader-per-term"
	}
	return fmt.Sprintf("VoteMode(%d)", uint8(m))
}

// EntryKind says what an entry is for.
type EntryKind uint8

const (
	// EntryNormal carries a caller's bytes to the state machine.
	EntryNormal EntryKind = 1
	// EntryBlank opens a leadership (Raft 8); it carries nothing.
	EntryBlank EntryKind = 2
	// EntryMembership carries an encoded [Membership].
	EntryMembership EntryKind = 3
	// EntrySession carries a client session's command (thesis 6.3): opening, closing, or a caller's bytes that are applied
	// once.
	EntrySession EntryKind = 4
	// EntryRestore carries a part of a state that replaces the state machine's.
	EntryRestore EntryKind = 5
)

// String returns the kind's name.
func (k EntryKind) String() string {
	switch k {
	case EntryNormal:
		return "normal"
	case EntryBlank:
		return "blank"
	case EntryMembership:
		return "membership"
	case EntrySession:
		return "session"
	case EntryRestore:
		return "restore"
	}
	return fmt.Sprintf("EntryKind(%d)", uint8(k))
}

// Commands reports whether entries of this kind carry what callers proposed: they come many to a frame, and a witness
// keeps such frames without them.
func (k EntryKind) Commands() bool { return k == EntryNormal || k == EntrySession || k == EntryRestore }

// Entry is one decoded log entry. Data aliases the frame it was decoded from and must not be changed.
type Entry struct {
	ID   LogID
	Kind EntryKind
	Data []byte
}

// Incarnation tells two lives of one node id apart: 128 random bits made together with the data directory, or at each
// start for a node that keeps nothing.
type Incarnation [16]byte

// IsZero reports whether i was never set.
func (i Incarnation) IsZero() bool { return i == Incarnation{} }

// String returns 32 hexadecimal digits.
func (i Incarnation) String() string { return hex.EncodeToString(i[:]) }
