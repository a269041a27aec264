package consensus

import (
	"errors"
	"math"
	"testing"

	"github.com/millrace/millrace/codec"
)

// Initialization writes the first entry, of nobody's leadership, and the node campaigns soon.
func TestInitialize(t *testing.T) {
	l := open(t, 2, codec.LogState{})
	want(t, "deadline before", l.step(Input{Kind: InputTick}).Deadline, Never)
	want(t, "membership before", l.c.Membership(), nil)
	m := testMembership(several, 3)
	out := l.step(Input{Kind: InputInitialize, Membership: m})
	want(t, "refused", out.Refused, false)
	encoded := codec.AppendEntry(nil, codec.AppendMembership(nil, m))
	want(t, "frame", out.Write.Frame, codec.FrameMeta{
		Group: testGroup, First: 1, Count: 1, Kind: codec.EntryMembership, Size: codec.FrameHeaderSize + len(encoded),
	})
	want(t, "membership at", l.c.Status().MemberAt, first)
	want(t, "role", l.c.role, Follower)
	if out.Deadline <= l.now || out.Deadline > l.now.Add(testTimeout) {
		t.Fatalf("deadline %v, want one in (0, %v]", out.Deadline, testTimeout)
	}
	m.Configs[0].Voters[0] = 99 // the core keeps its own copy
	want(t, "voter", l.c.Membership().Configs[0].Voters[0], 1)
	want(t, "again", l.step(Input{Kind: InputInitialize, Membership: testMembership(several, 3)}).Refused, true)
}

// Initialization is refused wherever it could overwrite something, and for memberships that make no sense here.
func TestInitializeIsRefused(t *testing.T) {
	valid := testMembership(several, 3)
	invalid := testMembership(several, 3)
	invalid.Configs = nil
	for name, test := range map[string]struct {
		node codec.NodeID
		st   codec.LogState
		m    *codec.Membership
	}{
		"a vote exists":      {1, codec.LogState{Vote: asked(1, 2)}, valid},
		"a log exists":       {1, logOf(asked(1, 2), valid), valid},
		"no membership":      {1, codec.LogState{}, nil},
		"invalid membership": {1, codec.LogState{}, invalid},
		"not a member":       {9, codec.LogState{}, valid},
	} {
		l := open(t, test.node, test.st)
		out := l.step(Input{Kind: InputInitialize, Membership: test.m})
		want(t, name, out.Refused, true)
		want(t, name+": write", out.Write.Seq, 0)
	}
}

// Only a leader takes proposals.
func TestProposalsAreRefusedElsewhere(t *testing.T) {
	for name, l := range map[string]*lone{
		"learner":  open(t, 1, codec.LogState{}),
		"follower": openOf(t, 1, one, won(1, 2)),
	} {
		want(t, name, l.propose(1, 100).Refused, true)
	}
	l := openOf(t, 1, one, codec.Vote{})
	l.campaign()
	want(t, "candidate", l.propose(1, 100).Refused, true)
	l.grant(2, l.c.vote)
	want(t, "leader", l.propose(1, 100).Refused, false)
}

// New says what is wrong with a configuration or a log.
func TestNewErrors(t *testing.T) {
	good := logOf(won(2, 2), testMembership(one, 3), by(1, 1), by(2, 2))
	damage := func(change func(*codec.LogState)) codec.LogState {
		st := logOf(won(2, 2), testMembership(one, 3), by(1, 1), by(2, 2))
		change(&st)
		return st
	}
	for name, st := range map[string]codec.LogState{
		"gap":                  damage(func(st *codec.LogState) { st.Frames[2].First = 4 }),
		"overlap":              damage(func(st *codec.LogState) { st.Frames[2].First = 2 }),
		"other group":          damage(func(st *codec.LogState) { st.Frames[1].Group = 8 }),
		"leaders go back":      damage(func(st *codec.LogState) { st.Frames[1].Leader = by(3, 3) }),
		"empty frame":          damage(func(st *codec.LogState) { st.Frames[2].Count = 0 }),
		"nobody's entry":       damage(func(st *codec.LogState) { st.Frames[1].Leader = codec.LeaderID{} }),
		"vote too low":         damage(func(st *codec.LogState) { st.Vote = won(1, 1) }),
		"no membership":        damage(func(st *codec.LogState) { st.Memberships = nil }),
		"membership elsewhere": damage(func(st *codec.LogState) { st.Memberships[0].ID.Index = 2 }),
		"invalid membership":   damage(func(st *codec.LogState) { st.Memberships[0].Membership.Configs = nil }),
		"membership of no frame": damage(func(st *codec.LogState) {
			st.Memberships = append(st.Memberships, codec.MembershipRecord{ID: at(2, 2, 3), Membership: *testMembership(one, 1)})
		}),
	} {
		if _, err := New(testConfig(1), st, 0); !errors.Is(err, ErrLogState) {
			t.Errorf("%s: %v, want %v", name, err, ErrLogState)
		}
	}
	for name, change := range map[string]func(*Config){
		"node":         func(cfg *Config) { cfg.Node = 0 },
		"no minimum":   func(cfg *Config) { cfg.ElectionTimeoutMin = 0 },
		"min is max":   func(cfg *Config) { cfg.ElectionTimeoutMax = cfg.ElectionTimeoutMin },
		"days":         func(cfg *Config) { cfg.ElectionTimeoutMax = 1e18 },
		"no heartbeat": func(cfg *Config) { cfg.HeartbeatInterval = 0 },
		"slow":         func(cfg *Config) { cfg.HeartbeatInterval = cfg.ElectionTimeoutMin/2 + 1 },
		"for ever":     func(cfg *Config) { cfg.HeartbeatInterval = math.MaxInt64 },
		"no bytes":     func(cfg *Config) { cfg.WindowBytesMax = 0 },
		"no frames":    func(cfg *Config) { cfg.WindowFramesMax = 0 },
	} {
		cfg := testConfig(1)
		change(&cfg)
		if _, err := New(cfg, good, 0); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v, want %v", name, err, ErrConfig)
		}
	}
	if _, err := New(testConfig(1), good, 0); err != nil {
		t.Errorf("good log: %v", err)
	}
}

// The cells of the dispatch tables that are empty are these and no others.
func TestDispatchTables(t *testing.T) {
	type cell struct {
		role Role
		kind uint8
	}
	emptyInputs := map[cell]bool{
		{Learner, uint8(InputTick)}: true, {Follower, uint8(InputTick)}: true,
		{Candidate, uint8(InputTick)}: true, {Leader, uint8(InputTick)}: true,
		{Learner, uint8(InputPeerDown)}: true, {Follower, uint8(InputPeerDown)}: true,
		{Candidate, uint8(InputPeerDown)}:   true,
		{Learner, uint8(InputSnapshotLost)}: true, {Follower, uint8(InputSnapshotLost)}: true,
		{Candidate, uint8(InputSnapshotLost)}: true,
	}
	emptyMessages := map[cell]bool{
		{Learner, uint8(codec.MessageVoteReply)}: true, {Leader, uint8(codec.MessageVoteReply)}: true,
		{Learner, uint8(codec.MessageAppendReply)}: true, {Follower, uint8(codec.MessageAppendReply)}: true,
		{Candidate, uint8(codec.MessageAppendReply)}:  true,
		{Learner, uint8(codec.MessageHeartbeatReply)}: true, {Follower, uint8(codec.MessageHeartbeatReply)}: true,
		{Candidate, uint8(codec.MessageHeartbeatReply)}: true,
		{Learner, uint8(codec.MessageTransferReply)}:    true, {Follower, uint8(codec.MessageTransferReply)}: true,
		{Candidate, uint8(codec.MessageTransferReply)}: true,
		{Candidate, uint8(codec.MessageReadReply)}:     true, {Leader, uint8(codec.MessageReadReply)}: true,
	}
	for role := range roleEnd { // the engine's business; a snapshot that is complete comes as an input
		for _, kind := range []codec.MessageKind{
			codec.MessageSnapshot, codec.MessageSnapshotReply, codec.MessageForward, codec.MessageForwardReply,
		} {
			emptyMessages[cell{role, uint8(kind)}] = true
		}
	}
	for role := range roleEnd {
		for kind := range inputKindEnd {
			if got, want := inputTable[role][kind] == nil, emptyInputs[cell{role, uint8(kind)}]; got != want {
				t.Errorf("%v, input %d: empty %v, want %v", role, kind, got, want)
			}
		}
		for kind := codec.MessageVote; kind < codec.MessageKindEnd; kind++ {
			if got, want := messageTable[role][kind] == nil, emptyMessages[cell{role, uint8(kind)}]; got != want {
				t.Errorf("%v, %v: empty %v, want %v", role, kind, got, want)
			}
		}
		if messageTable[role][0] != nil {
			t.Errorf("%v takes messages of kind 0", role)
		}
		if timerTable[role] == nil {
			t.Errorf("%v has no timer cell", role)
		}
	}
}

// A node that knows no membership follows the second leader of a term that it hears of: where there may be only one,
// it would hear of none. It still grants nothing that either mode forbids, and never goes back.
func TestSecondLeaderOfATermWithoutMembership(t *testing.T) {
	l := open(t, 4, codec.LogState{})
	l.heartbeat(won(2, 1), codec.LogID{}, 0)
	l.flush()
	want(t, "refuses a candidate of the term", l.only(l.voteRequest(asked(2, 3), first).Now).Status, codec.StatusRefused)
	out := l.heartbeat(won(2, 3), codec.LogID{}, 0)
	want(t, "follows", l.only(out.AfterFlush).Status, codec.StatusOK)
	want(t, "vote", l.c.Status().Vote, won(2, 3))
	l.flush()
	want(t, "goes back", l.only(l.heartbeat(won(2, 1), codec.LogID{}, 0).Now).Status, codec.StatusRefused)
}
