package codec

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
)

func vote(term Term, node NodeID, committed bool) Vote {
	return Vote{Leader: LeaderID{term, node}, Committed: committed}
}

// TestVoteCovers is the truth table: may a node that holds the row's vote move to the column's? Votes are written as
// (term)(node), "+" when committed; "none" is the zero vote.
func TestVoteCovers(t *testing.T) {
	votes := []Vote{{}, vote(1, 1, false), vote(1, 1, true), vote(1, 2, false), vote(1, 2, true), vote(2, 1, false), vote(2, 1, true)}
	tables := map[VoteMode][]string{
		// to:                                       none 11 11+ 12 12+ 21 21+
		SeveralLeadersPerTerm: {
			"none yes yes yes yes yes yes yes",
			"11   no  yes yes yes yes yes yes",
			"11+  no  no  yes yes yes yes yes",
			"12   no  no  no  yes yes yes yes",
			"12+  no  no  no  no  yes yes yes",
			"21   no  no  no  no  no  yes yes",
			"21+  no  no  no  no  no  no  yes",
		},
		OneLeaderPerTerm: {
			"none yes yes yes yes yes yes yes",
			"11   no  yes yes no  yes yes yes", // a second candidate of the term is refused, its elected leader is followed
			"11+  no  no  yes no  no  yes yes",
			"12   no  no  yes yes yes yes yes",
			"12+  no  no  no  no  yes yes yes",
			"21   no  no  no  no  no  yes yes",
			"21+  no  no  no  no  no  no  yes",
		},
	}
	for mode, table := range tables {
		for row, line := range table {
			var name string
			want := make([]string, len(votes))
			if _, err := fmt.Sscan(line, &name, &want[0], &want[1], &want[2], &want[3], &want[4], &want[5], &want[6]); err != nil {
				t.Fatal(err)
			}
			for column, to := range votes {
				if got := to.Covers(votes[row], mode); got != (want[column] == "yes") {
					t.Errorf("%v: from %v (%s) to %v: %v, want %s", mode, votes[row], name, to, got, want[column])
				}
			}
		}
	}
}

// TestVoteCoversIsAnOrder: in both modes reflexive, antisymmetric and transitive, so that a vote never goes in a circle;
// total with several leaders per term.
func TestVoteCoversIsAnOrder(t *testing.T) {
	votes := []Vote{{}}
	for term := range Term(3) {
		for node := range NodeID(3) {
			votes = append(votes, vote(term+1, node+1, false), vote(term+1, node+1, true))
		}
	}
	for _, mode := range []VoteMode{SeveralLeadersPerTerm, OneLeaderPerTerm} {
		for _, a := range votes {
			for _, b := range votes {
				ab, ba := a.Covers(b, mode), b.Covers(a, mode)
				if ab && ba != (a == b) {
					t.Errorf("%v: %v and %v: covers %v, covered %v", mode, a, b, ab, ba)
				}
				if mode == SeveralLeadersPerTerm && (ab != (a.Compare(b) >= 0) || !ab && !ba) {
					t.Errorf("%v: %v and %v: covers %v, covered %v, Compare %d", mode, a, b, ab, ba, a.Compare(b))
				}
				for _, c := range votes {
					if ab && b.Covers(c, mode) && !a.Covers(c, mode) {
						t.Errorf("%v: %v covers %v covers %v, but not the last", mode, a, b, c)
					}
				}
			}
		}
	}
}

func TestOrders(t *testing.T) {
	votes := []Vote{{}, vote(1, 1, false), vote(1, 1, true), vote(1, 2, false), vote(2, 1, false), vote(2, 1, true)}
	checkAscending(t, votes, Vote.Compare)
	checkAscending(t, []LeaderID{{}, {1, 1}, {1, 2}, {2, 1}, {3, 0}}, LeaderID.Compare)
	checkAscending(t, []LogID{{}, {LeaderID{1, 1}, 5}, {LeaderID{1, 1}, 6}, {LeaderID{1, 2}, 1}, {LeaderID{2, 1}, 1}}, LogID.Compare)
}

// checkAscending fails unless compare orders every two of values as their positions do.
func checkAscending[T any](t *testing.T, values []T, compare func(a, b T) int) {
	t.Helper()
	if !slices.IsSortedFunc(values, compare) {
		t.Errorf("%v is not in order", values)
	}
	for i, a := range values {
		for j, b := range values {
			if got := compare(a, b); got != cmp.Compare(i, j) {
				t.Errorf("compare(%v, %v) = %d, want %d", a, b, got, cmp.Compare(i, j))
			}
		}
	}
}

func TestNames(t *testing.T) {
	incarnation := Incarnation{0xde, 0xad, 15: 0x0f}
	for _, c := range []struct {
		value fmt.Stringer
		want  string
	}{
		{LeaderID{5, 2}, "T5-N2"},
		{LogID{LeaderID{5, 2}, 17}, "T5-N2-17"},
		{vote(5, 2, false), "T5-N2"},
		{vote(5, 2, true), "T5-N2+"},
		{SeveralLeadersPerTerm, "several-leaders-per-term"},
		{OneLeaderPerTerm, "one-leader-per-term"},
		{VoteMode(3), "VoteMode(3)"},
		{EntryNormal, "normal"},
		{EntryBlank, "blank"},
		{EntryMembership, "membership"},
		{EntrySession, "session"},
		{EntryRestore, "restore"},
		{EntryKind(6), "EntryKind(6)"},
		{incarnation, "dead000000000000000000000000000f"},
	} {
		if c.value.String() != c.want {
			t.Errorf("%#v prints as %q, want %q", c.value, c.value, c.want)
		}
	}
}

func TestZeroValues(t *testing.T) {
	if !(LeaderID{}).IsZero() || !(LogID{}).IsZero() || !(Vote{}).IsZero() || !(Incarnation{}).IsZero() {
		t.Error("a zero value is not zero")
	}
	if (LeaderID{0, 1}).IsZero() || (LogID{LeaderID{}, 1}).IsZero() || vote(0, 0, true).IsZero() || (Incarnation{15: 1}).IsZero() {
		t.Error("a value that is set counts as zero")
	}
}

// What a witness keeps without its entries, and what comes many to a frame: what callers proposed, and nothing else.
func TestKindsOfCommands(t *testing.T) {
	want := map[EntryKind]bool{EntryNormal: true, EntrySession: true, EntryRestore: true}
	for kind := range EntryRestore + 2 {
		if kind.Commands() != want[kind] {
			t.Errorf("%v holds commands: %v, want %v", kind, kind.Commands(), want[kind])
		}
		for count := range uint32(3) {
			m := FrameMeta{First: 1, Count: count, Kind: kind}
			known := kind >= EntryNormal && kind <= EntryRestore
			if got := m.plausible(); got != (known && (count == 1 || count == 2 && want[kind])) {
				t.Errorf("%d %v entries in a frame: %v", count, kind, got)
			}
			m.HeaderOnly = true
			if got := m.plausible(); got != (want[kind] && count > 0) {
				t.Errorf("%d %v entries left out of a frame: %v", count, kind, got)
			}
		}
	}
}
