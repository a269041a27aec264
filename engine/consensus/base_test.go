package consensus

import (
	"errors"
	"testing"

	"github.com/millrace/millrace/codec"
)

// baseOf describes a log that begins behind an entry, with the membership of the first one.
func baseOf(id codec.LogID, m *codec.Membership) codec.LogBase {
	return codec.LogBase{ID: id, Membership: codec.MembershipRecord{ID: first, Membership: *m}}
}

// logFrom returns the state of a log that begins behind base: one entry a frame for each leadership given.
func logFrom(vote codec.Vote, base codec.LogBase, leaders ...codec.LeaderID) codec.LogState {
	st := codec.LogState{Vote: vote, Base: base, Snapshot: base}
	for i, leader := range leaders {
		st.Frames = append(st.Frames, codec.FrameMeta{
			Group: testGroup, Leader: leader, First: base.ID.Index + 1 + codec.Index(i), Count: 1, Kind: codec.EntryNormal, Size: 100,
		})
	}
	return st
}

// purge gives the node a snapshot of everything up to an entry and removes that from its log.
func (l *lone) purge(to codec.Index) *Output {
	l.t.Helper()
	id, _ := l.c.LogIDAt(to)
	l.step(Input{Kind: InputSnapshot, Log: id})
	out := l.step(Input{Kind: InputPurge, Index: to})
	if out.Refused {
		l.t.Fatalf("purge up to %d: %v", to, out.Reason)
	}
	return out
}

// A node starts with a log that begins behind a base as with one that it purged itself: what is before the base is
// committed, the membership is the base's.
func TestStartBehindABase(t *testing.T) {
	l := open(t, 1, logFrom(won(3, 2), baseOf(at(2, 2, 10), testMembership(one, 3)), by(2, 2), by(3, 2)))
	st := l.c.Status()
	want(t, "commit", st.Commit, 10)
	want(t, "last", st.LastLog, at(3, 2, 12))
	want(t, "flushed", st.Flushed, at(3, 2, 12))
	want(t, "purged", st.Purged, at(2, 2, 10))
	want(t, "snapshot", st.Snapshot, at(2, 2, 10))
	want(t, "wants a snapshot", st.WantsSnapshot, false)
	want(t, "member at", st.MemberAt, first)
	want(t, "voter", st.Voter, true)
	for index, known := range map[codec.Index]bool{0: true, 9: false, 10: true, 12: true, 13: false} {
		_, ok := l.c.LogIDAt(index)
		want(t, "known", ok, known)
	}
	_, ok := l.c.FrameAt(10)
	want(t, "frame at the base", ok, false)
	_, ok = l.c.FrameAt(11)
	want(t, "frame behind the base", ok, true)
	want(t, "holds the base", l.c.Holds(at(2, 2, 10)), true)
	want(t, "holds what is before", l.c.Holds(at(2, 2, 9)), false)

	// The log may hold nothing at all behind its base.
	l = open(t, 1, logFrom(won(3, 2), baseOf(at(2, 2, 10), testMembership(one, 3))))
	want(t, "last of an empty log", l.last(), at(2, 2, 10))
	out := l.frame(won(3, 2), at(2, 2, 10), by(3, 2), 2, 12)
	want(t, "first frame", out.Write.Frame.First, 11)
	want(t, "acknowledged", l.only(out.AfterFlush).Log, at(3, 2, 12))
}

// New says what is wrong with a log that begins behind a base, or with the snapshot beside it.
func TestNewErrorsOfBases(t *testing.T) {
	m := testMembership(one, 3)
	good := func() codec.LogState {
		st := logFrom(won(3, 2), baseOf(at(2, 2, 10), m), by(2, 2), by(3, 2))
		st.Snapshot = baseOf(at(2, 2, 11), m)
		return st
	}
	if _, err := New(testConfig(1), good(), 0); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*codec.LogState){
		"a frame too early":             func(st *codec.LogState) { st.Frames[0].First = 10 },
		"a frame too late":              func(st *codec.LogState) { st.Frames = st.Frames[1:] },
		"a frame of an older leader":    func(st *codec.LogState) { st.Frames[0].Leader = by(1, 2) },
		"a base above the vote":         func(st *codec.LogState) { st.Vote, st.Frames = won(1, 2), nil },
		"a base without index":          func(st *codec.LogState) { st.Base.ID.Index = 0 },
		"a base of nobody":              func(st *codec.LogState) { st.Base.ID.Leader = codec.LeaderID{} },
		"a base beyond all indexes":     func(st *codec.LogState) { st.Base.ID.Index = indexMax + 1 },
		"a membership behind the base":  func(st *codec.LogState) { st.Base.Membership.ID.Index = 11 },
		"an invalid membership":         func(st *codec.LogState) { st.Base.Membership.Membership.Configs = nil },
		"a snapshot before the base":    func(st *codec.LogState) { st.Snapshot.ID.Index = 9 },
		"another snapshot at the base":  func(st *codec.LogState) { st.Snapshot.ID = at(1, 2, 10) },
		"an invalid snapshot":           func(st *codec.LogState) { st.Snapshot.ID.Index = 0 },
		"a snapshot against the commit": func(st *codec.LogState) { st.Snapshot.ID, st.Commit = at(3, 1, 11), 11 },
	} {
		st := good()
		st.Base.Membership.Membership, st.Snapshot.Membership.Membership = m.Clone(), m.Clone()
		change(&st)
		if _, err := New(testConfig(1), st, 0); !errors.Is(err, ErrLogState) {
			t.Errorf("%s: %v, want %v", name, err, ErrLogState)
		}
	}
}

// The saved commit may lie beyond the log; it counts as far as the log goes, and what the snapshot holds is committed in
// any case.
func TestCommitAtStart(t *testing.T) {
	m := testMembership(one, 3)
	for _, test := range []struct {
		saved    codec.Index
		snapshot codec.LogID
		want     codec.Index
	}{
		{0, codec.LogID{}, 10}, {11, codec.LogID{}, 11}, {100, codec.LogID{}, 12}, {11, at(3, 2, 12), 12}, {100, at(2, 2, 10), 12},
	} {
		st := logFrom(won(3, 2), baseOf(at(2, 2, 10), m), by(2, 2), by(3, 2))
		st.Commit, st.Snapshot = test.saved, baseOf(test.snapshot, m)
		if test.snapshot.IsZero() {
			st.Snapshot = codec.LogBase{}
		}
		l := open(t, 1, st)
		want(t, "commit", l.c.Status().Commit, test.want)
		want(t, "wants a snapshot", l.c.Status().WantsSnapshot, test.snapshot.IsZero())
	}
}

// A node that crashed between a snapshot's last byte and the mark in its log starts from the snapshot: the log gives way,
// unless it holds the snapshot's last entry.
func TestJumpAtStart(t *testing.T) {
	m, wider := testMembership(several, 3), testMembership(several, 5)
	newer := codec.LogBase{ID: at(3, 2, 20), Membership: codec.MembershipRecord{ID: at(3, 2, 15), Membership: *wider}}
	for name, st := range map[string]codec.LogState{
		"an empty log":           {},
		"a log that ends before": logOf(won(2, 2), m, by(1, 1), by(2, 2)),
		"a log that conflicts":   logFrom(won(2, 2), baseOf(at(2, 2, 18), m), by(2, 2), by(2, 2), by(2, 2)),
	} {
		st.Snapshot = newer
		l := open(t, 1, st)
		want(t, name+": due at once", l.c.deadline(), 1)
		l.now = 1
		out := l.step(Input{Kind: InputTick})
		want(t, name+": jump", out.Write.Jump.ID, newer.ID)
		want(t, name+": jump's membership", out.Write.Jump.Membership.ID, newer.Membership.ID)
		want(t, name+": vote", out.Write.Vote, won(3, 2))
		want(t, name+": commit", out.Commit, 20)
		want(t, name+": install", out.Install, nil)
		s := l.c.Status()
		want(t, name+": last", s.LastLog, newer.ID)
		want(t, name+": member at", s.MemberAt, newer.Membership.ID)
		want(t, name+": leader", s.Leader, 0)
		want(t, name+": flushed before the flush", s.Flushed, codec.LogID{})
		l.flush()
		want(t, name+": flushed", l.c.Status().Flushed, newer.ID)
	}

	st := logFrom(won(4, 2), baseOf(at(2, 2, 18), m), by(3, 2), by(3, 2), by(4, 2))
	st.Snapshot = newer
	l := open(t, 1, st)
	want(t, "held: commit", l.c.Status().Commit, 20)
	want(t, "held: write", l.step(Input{Kind: InputTick}).Write.Seq, 0)
	want(t, "held: last", l.last(), at(4, 2, 21))
}

// What comes in the first step waits for the jump too, and finds the log as the snapshot leaves it.
func TestFirstMessageAfterAJump(t *testing.T) {
	st := logOf(won(2, 2), testMembership(one, 3), by(1, 1), by(2, 2), by(2, 2))
	st.Snapshot = baseOf(at(3, 2, 4), testMembership(one, 3))
	l := open(t, 1, st)
	out := l.frame(won(4, 3), at(3, 2, 4), by(4, 3), 2, 0)
	want(t, "jump", out.Write.Jump.ID, at(3, 2, 4))
	want(t, "vote", out.Write.Vote, won(4, 3))
	want(t, "frame", out.Write.Frame.First, 5)
	want(t, "ack", l.only(out.AfterFlush).Log, at(4, 3, 6))
}

// A node whose own leadership's entry ends a snapshot that its log lacks does not lead under that id again: what it had
// proposed there is lost here, and a second entry with the same log id would pass for it.
func TestOwnLeadershipOfASnapshotIsSpent(t *testing.T) {
	st := logOf(won(2, 2), testMembership(one, 3), by(1, 1))
	st.Snapshot = baseOf(at(3, 1, 20), testMembership(one, 3))
	l := open(t, 1, st)
	out := l.step(Input{Kind: InputTick})
	want(t, "vote", out.Write.Vote, won(3, 1))
	want(t, "role", l.c.role, Follower)
	l.flush()
	l.now = 1
	want(t, "next campaign", l.campaign(), asked(4, 1))
}

// R3: a previous log id before the base matches; what the frame brings up to the base is skipped.
func TestAppendBelowTheBase(t *testing.T) {
	start := func() *lone {
		return open(t, 1, logFrom(won(3, 2), baseOf(at(2, 2, 10), testMembership(one, 3)), by(2, 2)))
	}
	for _, test := range []struct {
		prev   codec.LogID
		leader codec.LeaderID
		count  uint32
		writes codec.Index // first index written, 0 for nothing
		acks   codec.LogID
	}{
		{at(1, 1, 3), by(2, 2), 4, 0, at(2, 2, 10)},   // all before the base
		{at(1, 1, 3), by(2, 2), 7, 0, at(2, 2, 10)},   // up to the base
		{at(2, 2, 8), by(2, 2), 3, 0, at(2, 2, 11)},   // up to what is held
		{at(2, 2, 8), by(2, 2), 6, 12, at(2, 2, 14)},  // beyond
		{at(2, 2, 10), by(2, 2), 4, 12, at(2, 2, 14)}, // from the base on
		{codec.LogID{}, by(2, 2), 20, 12, at(2, 2, 20)},
	} {
		l := start()
		out := l.frame(won(3, 2), test.prev, test.leader, test.count, 0)
		want(t, "first written", out.Write.Frame.First, test.writes)
		want(t, "cuts", out.Write.HasTruncate, false)
		ack := l.only(append(out.Now, out.AfterFlush...))
		want(t, "status", ack.Status, codec.StatusOK)
		want(t, "acknowledged", ack.Log, test.acks)
		want(t, "commit", out.Commit, 10)
	}

	l := start()
	want(t, "heartbeat", l.only(l.heartbeat(won(3, 2), at(1, 1, 3), 10).Now).Status, codec.StatusOK)
	out := l.frame(won(3, 2), at(2, 2, 10), by(3, 2), 1, 0) // another entry than the one behind the base
	want(t, "cut", out.Write.Truncate, 10)
	want(t, "last", l.last(), at(3, 2, 11))
}

// What can't have stood before the base contradicts what is committed.
func TestAppendAgainstTheBase(t *testing.T) {
	for name, bad := range map[string]func(l *lone) *Output{
		"a previous entry of a later leader": func(l *lone) *Output { return l.heartbeat(won(3, 2), at(3, 2, 9), 0) },
		"the base of another leader":         func(l *lone) *Output { return l.frame(won(3, 2), at(1, 1, 8), by(1, 1), 3, 0) },
		"a later leader before the base":     func(l *lone) *Output { return l.frame(won(3, 2), at(1, 1, 5), by(3, 2), 3, 0) },
		"another entry at the base":          func(l *lone) *Output { return l.heartbeat(won(3, 2), at(1, 1, 10), 0) },
	} {
		l := open(t, 1, logFrom(won(3, 2), baseOf(at(2, 2, 10), testMembership(one, 3)), by(2, 2)))
		if out := bad(l); !errors.Is(out.Fatal, ErrCommittedConflict) {
			t.Errorf("%s: %v, want %v", name, out.Fatal, ErrCommittedConflict)
		}
	}
}

// A follower whose log is too short, or differs everywhere behind its base, names its base as the hint.
func TestConflictHintIsTheBaseAtTheLowest(t *testing.T) {
	l := open(t, 1, logFrom(won(4, 2), baseOf(at(2, 2, 10), testMembership(one, 3)), by(3, 3), by(3, 3)))
	out := l.hear(2, codec.Message{Kind: codec.MessageAppend, Vote: won(4, 2), Log: at(2, 2, 12), Stream: 1})
	reply := l.only(out.Now)
	want(t, "status", reply.Status, codec.StatusConflict)
	want(t, "hint", reply.Log, at(2, 2, 10))
}

// M3: a membership that came behind the base and is cut gives way to the base's.
func TestTruncatedMembershipGoesBackToTheBase(t *testing.T) {
	l := open(t, 1, logFrom(won(2, 2), baseOf(at(2, 2, 10), testMembership(one, 3))))
	l.step(Input{
		Kind: InputMessage, Peer: 2, Membership: testMembership(one, 4),
		Message: codec.Message{Kind: codec.MessageAppend, Group: testGroup, Vote: won(2, 2), Log: at(2, 2, 10), Stream: 1},
		Frame:   codec.FrameMeta{Group: testGroup, Leader: by(2, 2), First: 11, Count: 1, Kind: codec.EntryMembership, Size: 100},
	})
	want(t, "member at", l.c.Status().MemberAt, at(2, 2, 11))
	l.frame(won(3, 3), at(2, 2, 10), by(3, 3), 1, 0)
	want(t, "member at", l.c.Status().MemberAt, first)
	want(t, "nodes", len(l.c.Membership().Nodes), 3)
}
