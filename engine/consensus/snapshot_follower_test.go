package consensus

import (
	"errors"
	"strings"
	"testing"

	"github.com/millrace/millrace/codec"
)

// install delivers the last piece of a leader's snapshot.
func (l *lone) install(vote codec.Vote, base codec.LogBase) *Output {
	return l.step(Input{
		Kind: InputInstall, Peer: vote.Leader.Node, Base: &base, Message: codec.Message{
			Kind: codec.MessageSnapshot, Group: testGroup, Vote: vote, Log: base.ID, Stream: 9, Stamp: 77,
		},
	})
}

// The snapshots that a follower is given, on a log of entries 2 and 3 of T1-N2, 4 of T3-N2, committed up to 3.
func TestInstall(t *testing.T) {
	m, wider := testMembership(one, 3), testMembership(one, 5)
	for _, test := range []struct {
		name    string
		base    codec.LogID
		jumps   bool
		install bool
		last    codec.LogID // afterwards
		commit  codec.Index
		acks    codec.LogID
	}{
		{"beyond the log", at(3, 2, 20), true, true, at(3, 2, 20), 20, at(3, 2, 20)},
		{"S4: into a tail that conflicts", at(2, 3, 4), true, true, at(2, 3, 4), 4, at(2, 3, 4)},
		{"S4: into a tail that it holds", at(3, 2, 4), false, true, at(3, 2, 5), 4, at(3, 2, 4)},
		{"S5: at the commit", at(1, 2, 3), false, false, at(3, 2, 5), 3, at(1, 2, 3)},
		{"S5: an older one", at(1, 2, 2), false, false, at(3, 2, 5), 3, at(1, 2, 3)},
	} {
		st := logOf(won(3, 2), m, by(1, 2), by(1, 2), by(3, 2), by(3, 2))
		st.Commit = 3
		l := open(t, 1, st)
		base := codec.LogBase{ID: test.base, Membership: codec.MembershipRecord{ID: test.base, Membership: *wider}}
		out := l.install(won(3, 2), base)
		want(t, test.name+": jump", out.Write.Jump != nil, test.jumps)
		want(t, test.name+": install", out.Install != nil, test.install)
		want(t, test.name+": last", l.last(), test.last)
		want(t, test.name+": commit", out.Commit, test.commit)
		if test.install {
			want(t, test.name+": installed", out.Install.ID, test.base)
			want(t, test.name+": snapshot", l.c.Status().Snapshot, test.base)
		}
		sends := out.Now
		if test.jumps {
			want(t, test.name+": said before the flush", len(out.Now), 0)
			want(t, test.name+": membership", l.c.Status().MemberAt, test.base)
			sends = out.AfterFlush
		}
		ack := l.only(sends)
		want(t, test.name+": ack", ack, codec.Message{
			Kind: codec.MessageAppendReply, Status: codec.StatusOK, Group: testGroup, Mode: one, Vote: won(3, 2), Log: test.acks, Stream: 9,
		})
		want(t, test.name+": lane", sends[0].Lane, codec.LaneAppend)
	}
}

// S3: what follows the snapshot is appended behind it, and all of it is there after a restart.
func TestAppendBehindAnInstalledSnapshot(t *testing.T) {
	l := openOf(t, 1, one, won(3, 2), repeat(by(1, 2), 49)...)
	base := baseOf(at(3, 2, 10_001), testMembership(one, 3))
	l.install(won(3, 2), base)
	want(t, "flushed before the jump is", l.c.Status().Flushed, codec.LogID{})
	out := l.frame(won(3, 2), at(3, 2, 10_001), by(3, 2), 3, 10_002)
	want(t, "first", out.Write.Frame.First, 10_002)
	want(t, "ack", l.only(out.AfterFlush).Log, at(3, 2, 10_004))
	l.flush()
	want(t, "flushed", l.c.Status().Flushed, at(3, 2, 10_004))

	again := open(t, 1, logFrom(won(3, 2), base, repeat(by(3, 2), 3)...))
	want(t, "last after a restart", again.last(), at(3, 2, 10_004))
}

// Completions of what the jump has replaced prove nothing about what stands there now.
func TestLateCompletionBehindAJump(t *testing.T) {
	l := openOf(t, 1, one, won(3, 2))
	l.frame(won(3, 2), first, by(3, 2), 5, 0)
	l.install(won(3, 2), baseOf(at(3, 2, 20), testMembership(one, 3)))
	out := l.step(Input{Kind: InputFlushed, Seq: 1})
	want(t, "flushed", l.c.Status().Flushed, codec.LogID{})
	for _, s := range out.Now {
		if s.Message.Log.Index > 6 {
			t.Fatalf("acknowledges %v before it is durable", s.Message.Log)
		}
	}
	l.flush()
	want(t, "flushed", l.c.Status().Flushed, at(3, 2, 20))
}

// A snapshot follows the vote of its leader as an append does: a greater one is taken, a lower one refused.
func TestInstallFollowsTheVote(t *testing.T) {
	l := openOf(t, 1, one, won(3, 2))
	base := baseOf(at(2, 3, 20), testMembership(one, 3))
	reply := l.only(l.install(won(2, 3), base).Now)
	want(t, "an old leader", reply.Status, codec.StatusRefused)
	want(t, "answered with", reply.Vote, won(3, 2))
	want(t, "kind", reply.Kind, codec.MessageAppendReply)
	out := l.install(won(4, 3), base)
	want(t, "vote", out.Write.Vote, won(4, 3))
	want(t, "jump", out.Write.Jump.ID, base.ID)
	want(t, "leader", l.c.Status().Leader, 3)
	want(t, "refuses others for a while", l.only(l.voteRequest(asked(5, 2), at(4, 3, 30)).Now).Status, codec.StatusRefused)

	leader := openOf(t, 1, one, won(1, 2))
	leader.lead(2)
	leader.install(won(9, 3), base)
	want(t, "a leader that is told of a greater one", leader.c.role, Follower)
}

// S5: a snapshot that contradicts what is committed can't come from a correct leader.
func TestInstallAgainstTheCommit(t *testing.T) {
	for name, id := range map[string]codec.LogID{"at the commit": at(2, 3, 3), "before it": at(2, 3, 2)} {
		st := logOf(won(3, 2), testMembership(one, 3), by(1, 2), by(1, 2), by(3, 2))
		st.Commit = 3
		l := open(t, 1, st)
		if out := l.install(won(3, 2), baseOf(id, testMembership(one, 3))); !errors.Is(out.Fatal, ErrCommittedConflict) {
			t.Errorf("%s: %v, want %v", name, out.Fatal, ErrCommittedConflict)
		}
	}
}

// A node whose snapshot is lost says so, and takes the first one that reaches its log's base, which stays as it is.
func TestInstallWhereASnapshotIsWanted(t *testing.T) {
	m := testMembership(one, 3)
	st := logFrom(won(3, 2), baseOf(at(2, 2, 10), m), by(2, 2), by(3, 2))
	st.Snapshot, st.Commit = codec.LogBase{}, 12
	l := open(t, 1, st)
	want(t, "wants one", l.c.Status().WantsSnapshot, true)
	reply := l.only(l.heartbeat(won(3, 2), at(3, 2, 12), 12).Now)
	want(t, "says so", reply.WantSnapshot, true)
	want(t, "its base", reply.Commit, 10)
	want(t, "takes appends", l.frame(won(3, 2), at(3, 2, 12), by(3, 2), 1, 13).Write.Frame.First, 13)
	l.flush()
	out := l.install(won(3, 2), baseOf(at(1, 1, 9), m))
	want(t, "one that ends before the base", out.Install, nil)
	out = l.install(won(3, 2), baseOf(at(2, 2, 11), m))
	want(t, "one that does not", out.Install.ID, at(2, 2, 11))
	want(t, "jump", out.Write.Jump, nil)
	want(t, "last", l.last(), at(3, 2, 13))
	want(t, "commit", out.Commit, 13)
	want(t, "wants one", l.c.Status().WantsSnapshot, false)
	want(t, "says so", l.only(l.heartbeat(won(3, 2), at(3, 2, 13), 13).Now).WantSnapshot, false)
	want(t, "another", l.install(won(3, 2), baseOf(at(3, 2, 12), m)).Install, nil)
}

// A witness takes the base of a snapshot without a state, and has none afterwards.
func TestInstallOfAWitness(t *testing.T) {
	m := testMembership(one, 3)
	m.Nodes[0].Witness = true
	st := logOf(won(3, 2), m, by(1, 2))
	st.Frames[1].HeaderOnly, st.Frames[1].Size = true, codec.FrameHeaderSize
	for name, st := range map[string]codec.LogState{"a log of headers": st, "an empty log": {}} {
		l := open(t, 1, st)
		base := baseOf(at(3, 2, 20), m)
		out := l.step(Input{
			Kind: InputInstall, Peer: 2, Base: &base, MetadataOnly: true, Message: codec.Message{
				Kind: codec.MessageSnapshot, Group: testGroup, Vote: won(3, 2), Log: base.ID, Stream: 1,
			},
		})
		want(t, name+": jump", out.Write.Jump.ID, base.ID)
		want(t, name+": install", out.Install, nil)
		want(t, name+": ack", l.only(out.AfterFlush).Log, base.ID)
		s := l.c.Status()
		want(t, name+": snapshot", s.Snapshot, codec.LogID{})
		want(t, name+": wants one", s.WantsSnapshot, false)
		want(t, name+": voter", s.Voter, true)
	}
}

// A base that came without a state leaves a node that is no witness waiting for one.
func TestMetadataAloneIsNoSnapshot(t *testing.T) {
	l := openOf(t, 1, one, won(3, 2))
	base := baseOf(at(3, 2, 20), testMembership(one, 3))
	in := Input{Kind: InputInstall, Peer: 2, Base: &base, MetadataOnly: true, Message: codec.Message{
		Kind: codec.MessageSnapshot, Group: testGroup, Vote: won(3, 2), Log: base.ID, Stream: 1,
	}}
	want(t, "install", l.step(in).Install, nil)
	want(t, "wants one", l.c.Status().WantsSnapshot, true)
	want(t, "the same again", l.step(in).Install, nil)
	want(t, "with a state", l.install(won(3, 2), base).Install.ID, base.ID)
}

// Snapshots that no correct leader sends are dropped and counted.
func TestMalformedInstalls(t *testing.T) {
	good := baseOf(at(3, 2, 20), testMembership(one, 3))
	for name, change := range map[string]func(in *Input){
		"from oneself":              func(in *Input) { in.Peer = 1 },
		"of another's leadership":   func(in *Input) { in.Peer = 3 },
		"of a candidate":            func(in *Input) { in.Message.Vote.Committed = false },
		"of a younger entry":        func(in *Input) { in.Message.Vote = won(2, 2) },
		"with a verdict":            func(in *Input) { in.Message.Status = codec.StatusOK },
		"that names another entry":  func(in *Input) { in.Message.Log.Index++ },
		"of another kind":           func(in *Input) { in.Message.Kind = codec.MessageAppend },
		"of nothing":                func(in *Input) { in.Base.ID, in.Message.Log = codec.LogID{}, codec.LogID{} },
		"of nobody's entry":         func(in *Input) { in.Base.ID.Leader, in.Message.Log.Leader = by(0, 0), by(0, 0) },
		"beyond all indexes":        func(in *Input) { in.Base.ID.Index, in.Message.Log.Index = indexMax+1, indexMax+1 },
		"with a later membership":   func(in *Input) { in.Base.Membership.ID.Index = 21 },
		"with a damaged membership": func(in *Input) { in.Base.Membership.Membership.Configs = nil },
	} {
		l := openOf(t, 1, one, won(3, 2))
		base := good
		base.Membership.Membership = good.Membership.Membership.Clone()
		in := Input{Kind: InputInstall, Peer: 2, Base: &base, Message: codec.Message{
			Kind: codec.MessageSnapshot, Group: testGroup, Vote: won(3, 2), Log: base.ID, Stream: 1,
		}}
		change(&in)
		out := l.step(in)
		want(t, name+": malformed", l.c.Status().Malformed, 1)
		want(t, name+": write", out.Write.Seq, 0)
		want(t, name+": answers", len(out.Now), 0)
	}
	l := openOf(t, 1, one, won(3, 2))
	l.step(Input{Kind: InputInstall, Peer: 2, Base: &good, Message: codec.Message{
		Kind: codec.MessageSnapshot, Group: testGroup, Vote: won(3, 2), Log: good.ID, Stream: 1, Mode: several,
	}})
	want(t, "of another mode", l.c.Status().Disagreed, 1)
}

// A snapshot brought by hand is taken where it is new, and refused with the reason where it could do harm.
func TestInstallByHand(t *testing.T) {
	m := testMembership(one, 3)
	base := codec.LogBase{ID: at(5, 3, 20), Membership: codec.MembershipRecord{ID: at(5, 3, 12), Membership: *testMembership(one, 5)}}
	l := openOf(t, 1, one, won(3, 2), by(1, 2))
	out := l.step(Input{Kind: InputInstall, Base: &base})
	want(t, "jump", out.Write.Jump.ID, base.ID)
	want(t, "install", out.Install.ID, base.ID)
	want(t, "vote", out.Write.Vote, won(5, 3))
	want(t, "leader", l.c.Status().Leader, 0)
	want(t, "voters", len(l.c.Membership().Nodes), 5)
	want(t, "messages", len(out.Now)+len(out.AfterFlush), 0)

	empty := open(t, 1, codec.LogState{})
	want(t, "into an empty node", empty.step(Input{Kind: InputInstall, Base: &base}).Install.ID, base.ID)
	base.ID.Leader.Node, base.Membership.ID.Leader.Node = 1, 1
	own := open(t, 1, codec.LogState{})
	own.step(Input{Kind: InputInstall, Base: &base})
	want(t, "of an own leadership", own.c.role, Follower)

	refused := func(name string, l *lone, base codec.LogBase, why string) {
		t.Helper()
		before := l.c.Status()
		out := l.step(Input{Kind: InputInstall, Base: &base})
		if !out.Refused || !errors.Is(out.Reason, ErrSnapshot) || !strings.Contains(out.Reason.Error(), why) {
			t.Errorf("%s: refused %v, %v, want it for %q", name, out.Refused, out.Reason, why)
		}
		want(t, name+": write", out.Write.Seq, 0)
		want(t, name+": status", l.c.Status(), before)
	}
	start := func() *lone {
		st := logOf(won(3, 2), m, by(1, 2), by(1, 2), by(3, 2))
		st.Commit = 3
		return open(t, 1, st)
	}
	refused("older", start(), baseOf(at(1, 2, 2), m), "entries up to 3 are committed")
	refused("contradicting", start(), baseOf(at(2, 2, 3), m), "another entry is committed")
	refused("of nothing", start(), codec.LogBase{}, "want one of each")
	refused("without a membership", start(), codec.LogBase{ID: at(3, 2, 9)}, "want one of each")
	refused("of another mode", start(), baseOf(at(3, 2, 9), testMembership(several, 3)), "vote mode")
	refused("of a second leader of the term", start(), baseOf(at(3, 3, 9), m), "the leader of that term is node 2")
	refused("damaged", start(), baseOf(codec.LogID{Index: 9}, m), "no leader")
	leader := openOf(t, 1, one, won(3, 2))
	leader.lead(2)
	refused("on a leader", leader, baseOf(at(3, 2, 9), m), "hand over")
}

// A leader that has lost its snapshot takes one by hand that reaches its log's base.
func TestInstallByHandOnALeaderThatWantsOne(t *testing.T) {
	m := testMembership(one, 1)
	st := logFrom(won(3, 1), baseOf(at(2, 1, 10), m), by(2, 1), by(3, 1))
	st.Snapshot, st.Commit = codec.LogBase{}, 12
	l := open(t, 1, st)
	l.now = l.now.Add(10 * testTimeouts)
	l.step(Input{Kind: InputTick})
	l.flush()
	l.flush()
	want(t, "role", l.c.role, Leader)
	base := baseOf(at(2, 1, 11), m)
	out := l.step(Input{Kind: InputInstall, Base: &base})
	want(t, "install", out.Install.ID, base.ID)
	want(t, "role", l.c.role, Leader)
	want(t, "wants one", l.c.Status().WantsSnapshot, false)
}
