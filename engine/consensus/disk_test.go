package consensus

import (
	"fmt"
	"slices"

	"github.com/millrace/millrace/codec"
)

// testEntry is an entry with the little content the tests need: equal data means equal bytes.
type testEntry struct {
	id         codec.LogID
	kind       codec.EntryKind
	data       uint64
	membership *codec.Membership
	header     bool // the entry itself is left out, as a witness keeps it
}

// testLog is a node's log with contents, in memory or on its disk.
type testLog struct {
	vote    codec.Vote
	commit  codec.Index
	base    codec.LogBase
	entries []testEntry   // behind base
	starts  []codec.Index // first index of each frame
	// sealed says that the last life ended with a clean close; crashed that one in which the vote was already written did
	// not.
	sealed, crashed bool
}

func (l *testLog) clone() testLog {
	return testLog{l.vote, l.commit, l.base, slices.Clone(l.entries), slices.Clone(l.starts), l.sealed, l.crashed}
}

func (l *testLog) lastID() codec.LogID {
	if len(l.entries) == 0 {
		return l.base.ID
	}
	return l.entries[len(l.entries)-1].id
}

// at returns the entry at an index, which the log holds.
func (l *testLog) at(index codec.Index) *testEntry { return &l.entries[index-l.base.ID.Index-1] }

// upTo returns how many of the entries stand up to index.
func (l *testLog) upTo(index codec.Index) int { return int(index - l.base.ID.Index) }

// holds reports whether the log holds an entry. Nobody knows what stood before its base; that was committed.
func (l *testLog) holds(id codec.LogID) bool {
	switch {
	case id.Index < l.base.ID.Index, id == l.base.ID:
		return true
	}
	return id.Index > l.base.ID.Index && id.Index <= l.lastID().Index && l.at(id.Index).id == id
}

// testWrite is a write with the contents of its frame.
type testWrite struct {
	Write
	entries []testEntry
}

func (l *testLog) apply(w *testWrite) {
	if w.HasVote {
		l.vote, l.crashed = w.Vote, false
	}
	if w.Jump != nil {
		*l = testLog{vote: l.vote, commit: l.commit, base: *w.Jump, sealed: l.sealed, crashed: l.crashed}
	}
	if w.HasTruncate {
		l.entries = l.entries[:l.upTo(w.Truncate)]
		for len(l.starts) > 0 && l.starts[len(l.starts)-1] > w.Truncate {
			l.starts = l.starts[:len(l.starts)-1]
		}
	}
	if !w.Frame.IsZero() {
		if w.Frame.First != l.lastID().Index+1 || len(w.entries) != int(w.Frame.Count) {
			panic(fmt.Sprintf("write of %d entries from %d behind %v", len(w.entries), w.Frame.First, l.lastID()))
		}
		l.starts = append(l.starts, w.Frame.First)
		l.entries = append(l.entries, w.entries...)
	}
	if w.Purge != nil {
		gone := l.upTo(w.Purge.ID.Index)
		if gone <= 0 || l.entries[gone-1].id != w.Purge.ID {
			panic(fmt.Sprintf("purge up to %v of a log from %v to %v", w.Purge.ID, l.base.ID, l.lastID()))
		}
		l.base, l.entries = *w.Purge, slices.Clone(l.entries[gone:])
		l.starts = slices.DeleteFunc(slices.Clone(l.starts), func(s codec.Index) bool { return s <= w.Purge.ID.Index })
	}
	l.commit = max(l.commit, w.Commit)
}

// open begins a life on the log and returns what its node finds there.
func (l *testLog) open() codec.LogState {
	st := l.state()
	l.crashed = l.crashed || !l.sealed
	l.sealed = false
	return st
}

// state returns what a node would find when it opens this log.
func (l *testLog) state() codec.LogState {
	st := codec.LogState{Vote: l.vote, Base: l.base, Commit: l.commit, CleanClose: l.sealed && !l.crashed}
	for i, first := range l.starts {
		end := l.lastID().Index
		if i+1 < len(l.starts) {
			end = l.starts[i+1] - 1
		}
		e := l.at(first)
		f := codec.FrameMeta{
			Group: testGroup, Leader: e.id.Leader, First: first, Count: uint32(end - first + 1), Kind: e.kind, Size: 100,
		}
		if e.header {
			f.HeaderOnly, f.Size = true, codec.FrameHeaderSize
		}
		st.Frames = append(st.Frames, f)
		if e.membership != nil {
			st.Memberships = append(st.Memberships, codec.MembershipRecord{ID: e.id, Membership: *e.membership})
		}
	}
	return st
}

// indexes names the entries of a frame: "T1-N1-3" or "T1-N1-3..5".
func indexes(f *codec.FrameMeta) string {
	s := codec.LogID{Leader: f.Leader, Index: f.First}.String()
	if f.Count > 1 {
		s += fmt.Sprintf("..%d", f.Last())
	}
	return s
}

// writeString describes a write in one line.
func writeString(w *testWrite) string {
	s := fmt.Sprintf("writes #%d", w.Seq)
	if w.HasVote {
		s += fmt.Sprintf(" vote %v", w.Vote)
	}
	if w.Jump != nil {
		s += fmt.Sprintf(" jump to %v", w.Jump.ID)
	}
	if w.HasTruncate {
		s += fmt.Sprintf(" truncate to %d", w.Truncate)
	}
	if f := &w.Frame; !f.IsZero() {
		s += fmt.Sprintf(" %v %v", f.Kind, indexes(f))
		if f.HeaderOnly {
			s += " headers"
		}
	}
	if w.Purge != nil {
		s += fmt.Sprintf(" purge up to %v", w.Purge.ID)
	}
	return s
}
