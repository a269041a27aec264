package consensus

import (
	"errors"
	"testing"

	"github.com/millrace/millrace/codec"
)

// Old and repeated appends never cut entries that match, wherever they overlap the log.
func TestOldAppendsNeverCut(t *testing.T) {
	vote := won(2, 2)
	l := openOf(t, 1, one, vote, repeat(by(2, 2), 9)...) // last entry T2-N2-10
	for from := codec.Index(1); from <= 10; from++ {
		for count := uint32(1); from+codec.Index(count) <= 10; count++ {
			prev, _ := l.c.LogIDAt(from)
			out := l.frame(vote, prev, by(2, 2), count, 0)
			want(t, "truncates", out.Write.HasTruncate, false)
			want(t, "writes", out.Write.Seq, 0)
			want(t, "status", l.only(out.Now).Status, codec.StatusOK)
		}
	}
	want(t, "last", l.last(), at(2, 2, 10))
}

// Where a frame overlaps the log's end only what is new of it is written.
func TestHeldPrefixIsSkipped(t *testing.T) {
	vote := won(2, 2)
	l := openOf(t, 1, one, vote, repeat(by(2, 2), 4)...) // last entry T2-N2-5
	out := l.frame(vote, at(2, 2, 3), by(2, 2), 6, 0)    // 4..9
	want(t, "truncates", out.Write.HasTruncate, false)
	want(t, "frame", out.Write.Frame, codec.FrameMeta{
		Group: testGroup, Leader: by(2, 2), First: 6, Count: 4, Kind: codec.EntryNormal, Size: 200,
	})
	want(t, "ack", l.only(out.AfterFlush).Log, at(2, 2, 9))
}

// The first entry that differs, and everything behind it, goes; a long old tail too.
func TestConflictCutsTheWholeTail(t *testing.T) {
	leaders := append(repeat(by(1, 3), 3), repeat(by(2, 3), 50)...) // 2..4 of T1-N3, 5..54 of T2-N3
	l := openOf(t, 1, one, asked(3, 2), leaders...)
	out := l.frame(won(3, 2), at(1, 3, 3), by(1, 3), 1, 0) // 4 matches
	want(t, "truncates", out.Write.HasTruncate, false)
	l.flush()
	out = l.frame(won(3, 2), at(1, 3, 4), by(3, 2), 2, 0) // 5 and 6 differ
	want(t, "truncates", out.Write.HasTruncate, true)
	want(t, "truncates to", out.Write.Truncate, 4)
	want(t, "last", l.last(), at(3, 2, 6))
	want(t, "flushed", l.c.Status().Flushed, at(1, 3, 4))
	want(t, "ack", l.only(out.AfterFlush).Log, at(3, 2, 6))
	l.flush()
	want(t, "flushed", l.c.Status().Flushed, at(3, 2, 6))
}

// A conflict inside a frame's range cuts a frame of the log in two.
func TestConflictInsideAFrame(t *testing.T) {
	l := openOf(t, 1, one, codec.Vote{})
	l.frame(won(1, 3), first, by(1, 3), 8, 0) // 2..9
	l.frame(won(2, 2), at(1, 3, 5), by(2, 2), 2, 0)
	f, _ := l.c.FrameAt(4)
	want(t, "first frame", f, codec.FrameMeta{
		Group: testGroup, Leader: by(1, 3), First: 2, Count: 4, Kind: codec.EntryNormal, Size: 200,
	})
	f, _ = l.c.FrameAt(7)
	want(t, "second frame", f.First, 6)
	_, ok := l.c.FrameAt(8)
	want(t, "frame beyond the end", ok, false)
}

// A late completion of writes whose entries were overwritten credits nothing, and what is left of them is not lost.
func TestLateCompletionOfOverwrittenEntries(t *testing.T) {
	l := openOf(t, 1, one, codec.Vote{})
	l.frame(won(2, 3), first, by(2, 3), 4, 0)       // write 1: 2..5
	l.frame(won(2, 3), at(2, 3, 5), by(2, 3), 4, 0) // write 2: 6..9
	l.frame(won(2, 3), at(2, 3, 9), by(2, 3), 4, 0) // write 3: 10..13
	l.frame(won(3, 2), at(2, 3, 7), by(3, 2), 1, 0) // write 4 overwrites 8 and cuts the rest
	flushed := func(seq uint64) codec.LogID {
		l.step(Input{Kind: InputFlushed, Seq: seq})
		return l.c.Status().Flushed
	}
	want(t, "after write 1", flushed(1), at(2, 3, 5))
	want(t, "after write 3", flushed(3), at(2, 3, 7))
	want(t, "after write 2, late", flushed(2), at(2, 3, 7))
	want(t, "after write 4", flushed(4), at(3, 2, 8))
}

// A heartbeat's commit covers only what this leader has verified here: an old entry that it knows nothing of may stand
// at that index.
func TestCommitIsBoundedByWhatIsVerified(t *testing.T) {
	l := openOf(t, 1, one, won(1, 3), repeat(by(1, 3), 9)...) // 2..10, none verified by the next leader
	vote := won(2, 2)
	want(t, "unverified", l.heartbeat(vote, codec.LogID{}, 11).Commit, 0)
	want(t, "verified by the heartbeat", l.heartbeat(vote, at(1, 3, 4), 11).Commit, 4)
	l.hear(2, codec.Message{Kind: codec.MessageAppend, Vote: vote, Log: at(1, 3, 6), Commit: 11, Stream: 1})
	want(t, "verified by a probe", l.out.Commit, 6)
	want(t, "verified by a frame", l.frame(vote, at(1, 3, 7), by(1, 3), 1, 11).Commit, 8)
	// Another leader starts from what is committed.
	l.hear(3, codec.Message{Kind: codec.MessageHeartbeat, Vote: won(3, 3), Commit: 11})
	want(t, "new leader", l.out.Commit, 8)
	want(t, "acks of the new leader", l.c.verified, 8)
}

// What one leader has verified says nothing about the next one's log.
func TestVerifiedEndsWithTheLeader(t *testing.T) {
	l := openOf(t, 1, one, codec.Vote{})
	want(t, "commit", l.frame(won(1, 3), first, by(1, 3), 5, 2).Commit, 2)
	want(t, "commit", l.heartbeat(won(2, 2), first, 6).Commit, 2)
	want(t, "commit", l.heartbeat(won(2, 2), at(1, 3, 4), 6).Commit, 4)
}

// An ack names at most what was verified under this vote, even if more is held.
func TestAckIsBoundedByWhatIsVerified(t *testing.T) {
	l := openOf(t, 1, one, won(1, 3), repeat(by(1, 3), 9)...)
	out := l.hear(2, codec.Message{Kind: codec.MessageAppend, Vote: won(2, 2), Log: at(1, 3, 4), Stream: 9, Stamp: 77})
	m := l.only(out.AfterFlush)
	want(t, "ack", m.Log, at(1, 3, 4))
	want(t, "stream", m.Stream, 9)
	want(t, "stamp", m.Stamp, 77)
	want(t, "vote", m.Vote, won(2, 2))
}

// A promise that rests on an earlier, still running write leaves with its completion, once, newest first.
func TestPromisesWaitForEarlierWrites(t *testing.T) {
	l := openOf(t, 1, one, won(2, 2))
	l.frame(won(2, 2), first, by(2, 2), 3, 0)
	for range 3 { // repeated while the write runs
		out := l.frame(won(2, 2), first, by(2, 2), 3, 0)
		want(t, "now", len(out.Now), 0)
		want(t, "after the flush", len(out.AfterFlush), 0)
	}
	out := l.flush()
	want(t, "ack", l.only(out.Now).Log, at(2, 2, 4))
	want(t, "again", len(l.flush().Now), 0)
	// A vote that is durable already is repeated at once.
	l.now = l.now.Add(testTimeout)
	l.voteRequest(asked(3, 3), at(2, 2, 9))
	want(t, "repeated grant", len(l.voteRequest(asked(3, 3), at(2, 2, 9)).Now), 0)
	want(t, "grant", l.only(l.flush().Now).Vote, asked(3, 3))
	want(t, "repeated grant", l.only(l.voteRequest(asked(3, 3), at(2, 2, 9)).Now).Vote, asked(3, 3))
}

// A follower's answers say what it follows only once that is durable, conflicts and heartbeats too.
func TestAnswersWaitForTheVote(t *testing.T) {
	l := openOf(t, 1, one, codec.Vote{})
	out := l.heartbeat(won(2, 2), first, 0)
	want(t, "now", len(out.Now), 0)
	want(t, "status", l.only(out.AfterFlush).Status, codec.StatusOK)
	out = l.frame(won(2, 2), at(2, 2, 5), by(2, 2), 1, 0)
	want(t, "now", len(out.Now), 0)
	want(t, "status", l.only(to(l.flush().Now, 2, codec.MessageAppendReply)).Status, codec.StatusConflict)
	want(t, "status", l.only(l.heartbeat(won(2, 2), first, 0).Now).Status, codec.StatusOK)
}

// The hint of a conflict is the greatest entry that could still match.
func TestConflictHint(t *testing.T) {
	// 2..4 of T1-N3, 5..8 of T3-N3, 9..10 of T5-N3
	leaders := append(append(repeat(by(1, 3), 3), repeat(by(3, 3), 4)...), repeat(by(5, 3), 2)...)
	for _, test := range []struct{ prev, hint codec.LogID }{
		{at(6, 2, 30), at(5, 3, 10)}, // too short
		{at(6, 2, 9), at(5, 3, 9)},
		{at(4, 2, 10), at(3, 3, 8)}, // everything of T5 can't be in that log
		{at(2, 2, 7), at(1, 3, 4)},
		{at(3, 2, 7), at(1, 3, 4)}, // T3-N3 comes after T3-N2
	} {
		l := openOf(t, 1, one, won(5, 3), leaders...)
		out := l.hear(2, codec.Message{Kind: codec.MessageAppend, Vote: won(7, 2), Log: test.prev, Stream: 1})
		m := l.only(out.AfterFlush)
		want(t, test.prev.String(), m.Status, codec.StatusConflict)
		want(t, test.prev.String(), m.Log, test.hint)
	}
	l := open(t, 1, codec.LogState{})
	l.hear(2, codec.Message{Kind: codec.MessageAppend, Vote: won(7, 2), Log: at(6, 2, 30), Stream: 1})
	want(t, "hint of an empty log", l.only(l.out.AfterFlush).Log, codec.LogID{})
}

// A saved commit beyond the log's end is cut to it; nothing is invented and nothing stops.
func TestSavedCommitBeyondTheLog(t *testing.T) {
	st := logOf(won(2, 2), testMembership(one, 3), repeat(by(2, 2), 9)...)
	st.Commit = 100
	want(t, "commit", open(t, 1, st).c.Status().Commit, 10)
	st.Commit = 4
	want(t, "commit", open(t, 1, st).c.Status().Commit, 4)
	want(t, "commit of an empty log", open(t, 1, codec.LogState{Commit: 3}).c.Status().Commit, 0)
}

// A leader that contradicts a committed entry stops the node with an error, and nothing of it is done.
func TestCommittedEntriesAreNeverCut(t *testing.T) {
	st := logOf(won(2, 2), testMembership(one, 3), repeat(by(2, 2), 9)...)
	st.Commit = 6
	for name, contradict := range map[string]func(*lone){
		"frame":     func(l *lone) { l.frame(won(3, 3), at(2, 2, 4), by(3, 3), 2, 0) },
		"probe":     func(l *lone) { l.hear(3, codec.Message{Kind: codec.MessageAppend, Vote: won(3, 3), Log: at(3, 3, 5)}) },
		"heartbeat": func(l *lone) { l.heartbeat(won(3, 3), at(3, 3, 6), 0) },
	} {
		t.Run(name, func(t *testing.T) {
			l := open(t, 1, st)
			contradict(l)
			if !errors.Is(l.out.Fatal, ErrCommittedConflict) {
				t.Fatalf("fatal: %v, want %v", l.out.Fatal, ErrCommittedConflict)
			}
			want(t, "write", l.out.Write, Write{})
			want(t, "messages", len(l.out.Now)+len(l.out.AfterFlush), 0)
			want(t, "commit", l.out.Commit, 6)
			want(t, "deadline", l.out.Deadline, Never)
			contradict(l)
			if !errors.Is(l.out.Fatal, ErrCommittedConflict) {
				t.Fatalf("fatal of a later step: %v, want %v", l.out.Fatal, ErrCommittedConflict)
			}
		})
	}
	l := open(t, 1, st) // right behind the commit everything may go
	want(t, "truncates to", l.frame(won(3, 3), at(2, 2, 6), by(3, 3), 2, 0).Write.Truncate, 6)
}

// demoted returns a follower whose log ends in a membership by which it is a voter no more.
func demoted(t *testing.T) *lone {
	l := openOf(t, 1, one, won(1, 2), by(1, 2))
	next := testMembership(one, 2)
	next.Configs[0].Voters = []codec.NodeID{2}
	l.step(Input{
		Kind: InputMessage, Peer: 2,
		Message:    codec.Message{Kind: codec.MessageAppend, Group: testGroup, Vote: won(1, 2), Log: at(1, 2, 2), Stream: 1},
		Frame:      codec.FrameMeta{Group: testGroup, Leader: by(1, 2), First: 3, Count: 1, Kind: codec.EntryMembership, Size: 99},
		Membership: next,
	})
	want(t, "membership at", l.c.Status().MemberAt, at(1, 2, 3))
	want(t, "voter", l.c.Status().Voter, false)
	return l
}

// A membership takes effect when it is appended, and falls back when it is cut off.
func TestMembershipFollowsTheLog(t *testing.T) {
	l := demoted(t)
	l.frame(won(2, 3), at(1, 2, 2), by(2, 3), 1, 0)
	want(t, "membership at", l.c.Status().MemberAt, first)
	want(t, "voter", l.c.Status().Voter, true)
	want(t, "voters", len(l.c.Membership().Configs[0].Voters), 3)
}

// What no correct peer sends is dropped, counted, and answered by nobody.
func TestMalformedMessagesAreDropped(t *testing.T) {
	frame := codec.FrameMeta{Group: testGroup, Leader: by(2, 2), First: 2, Count: 1, Kind: codec.EntryNormal, Size: 90}
	with := func(change func(*Input)) Input {
		in := Input{Kind: InputMessage, Peer: 2, Frame: frame, Message: codec.Message{
			Kind: codec.MessageAppend, Group: testGroup, Vote: won(2, 2), Log: first, Stream: 1,
		}}
		change(&in)
		return in
	}
	ok := openOf(t, 1, one, codec.Vote{})
	ok.step(with(func(*Input) {}))
	want(t, "last entry after a good one", ok.last(), at(2, 2, 2))
	for name, in := range map[string]Input{
		"from nobody":          with(func(in *Input) { in.Peer = 0 }),
		"from itself":          with(func(in *Input) { in.Peer = 1 }),
		"for somebody else":    with(func(in *Input) { in.Peer = 3 }),
		"kind":                 with(func(in *Input) { in.Message.Kind = codec.MessageKindEnd }),
		"status":               with(func(in *Input) { in.Message.Status = codec.StatusOK }),
		"append of candidate":  with(func(in *Input) { in.Message.Vote.Committed = false }),
		"vote of leader":       with(func(in *Input) { in.Message.Kind, in.Frame = codec.MessageVote, codec.FrameMeta{} }),
		"vote with frame":      with(func(in *Input) { in.Message.Kind, in.Message.Vote = codec.MessageVote, asked(2, 2) }),
		"heartbeat with frame": with(func(in *Input) { in.Message.Kind = codec.MessageHeartbeat }),
		"reply without status": with(func(in *Input) { in.Message.Kind, in.Frame = codec.MessageAppendReply, codec.FrameMeta{} }),
		"huge term":            with(func(in *Input) { in.Message.Vote.Leader.Term = termMax + 1 }),
		"huge index":           with(func(in *Input) { in.Message.Log.Index, in.Frame.First = 1<<63, 1<<63+1 }),
		"younger prev":         with(func(in *Input) { in.Message.Log.Leader = by(3, 3) }),
		"zero index":           with(func(in *Input) { in.Message.Log = at(1, 1, 0) }),
		"gap":                  with(func(in *Input) { in.Frame.First = 3 }),
		"younger entries":      with(func(in *Input) { in.Frame.Leader = by(2, 3) }),
		"entries go back":      with(func(in *Input) { in.Message.Log, in.Frame.Leader = at(2, 2, 1), by(1, 2) }),
		"other group's frame":  with(func(in *Input) { in.Frame.Group = 8 }),
		"kind of entry":        with(func(in *Input) { in.Frame.Kind = 9 }),
		"many blanks":          with(func(in *Input) { in.Frame.Kind, in.Frame.Count = codec.EntryBlank, 2 }),
		"too many entries":     with(func(in *Input) { in.Frame.Count = codec.FrameEntriesMax + 1 }),
		"size":                 with(func(in *Input) { in.Frame.Size = -1 }),
		"nobody's entry":       with(func(in *Input) { in.Frame.Leader = codec.LeaderID{} }),
		"no membership":        with(func(in *Input) { in.Frame.Kind = codec.EntryMembership }),
		"bad membership": with(func(in *Input) {
			in.Frame.Kind, in.Membership = codec.EntryMembership, &codec.Membership{}
		}),
		"membership beside": with(func(in *Input) { in.Membership = testMembership(one, 3) }),
	} {
		l := openOf(t, 1, one, codec.Vote{})
		out := l.step(in)
		want(t, name+": counted", l.c.Status().Malformed, 1)
		want(t, name+": write", out.Write.Seq, 0)
		want(t, name+": answers", len(out.Now)+len(out.AfterFlush), 0)
		want(t, name+": vote", l.c.vote, codec.Vote{})
	}
}
