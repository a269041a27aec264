package consensus

import (
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

// lone drives one core by hand.
type lone struct {
	t    *testing.T
	c    *Core
	now  Instant
	out  Output
	node codec.NodeID
}

// by returns the id of a leadership of the given term and node.
func by(term codec.Term, node codec.NodeID) codec.LeaderID {
	return codec.LeaderID{Term: term, Node: node}
}

func asked(term codec.Term, node codec.NodeID) codec.Vote { return codec.Vote{Leader: by(term, node)} }

func won(term codec.Term, node codec.NodeID) codec.Vote {
	return codec.Vote{Leader: by(term, node), Committed: true}
}

func at(term codec.Term, node codec.NodeID, index codec.Index) codec.LogID {
	return codec.LogID{Leader: by(term, node), Index: index}
}

// first is the log id of the membership entry that every initialized log of the tests starts with.
var first = codec.LogID{Index: 1}

// logOf returns the state of a log: the membership, then one entry a frame for each leadership given.
func logOf(vote codec.Vote, m *codec.Membership, leaders ...codec.LeaderID) codec.LogState {
	st := codec.LogState{Vote: vote}
	if m == nil {
		return st
	}
	add := func(leader codec.LeaderID, kind codec.EntryKind) {
		st.Frames = append(st.Frames, codec.FrameMeta{
			Group: testGroup, Leader: leader, First: codec.Index(len(st.Frames) + 1), Count: 1, Kind: kind, Size: 100,
		})
	}
	add(codec.LeaderID{}, codec.EntryMembership)
	st.Memberships = []codec.MembershipRecord{{ID: first, Membership: *m}}
	for _, leader := range leaders {
		add(leader, codec.EntryNormal)
	}
	return st
}

// repeat returns n entries of one leadership.
func repeat(leader codec.LeaderID, n int) []codec.LeaderID {
	var out []codec.LeaderID
	for range n {
		out = append(out, leader)
	}
	return out
}

func open(t *testing.T, node codec.NodeID, st codec.LogState) *lone {
	t.Helper()
	c, err := New(testConfig(node), st, 0)
	if err != nil {
		t.Fatal(err)
	}
	return &lone{t: t, c: c, node: node}
}

// openOf opens a node of a three-voter group.
func openOf(t *testing.T, node codec.NodeID, mode codec.VoteMode, vote codec.Vote, leaders ...codec.LeaderID) *lone {
	t.Helper()
	return open(t, node, logOf(vote, testMembership(mode, 3), leaders...))
}

func (l *lone) step(in Input) *Output {
	l.c.Step(l.now, &in, &l.out)
	return &l.out
}

// wait lets d pass.
func (l *lone) wait(d time.Duration) *Output {
	l.now = l.now.Add(d)
	return l.step(Input{Kind: InputTick})
}

// flush completes every write and returns what leaves: what waited for it is in neither list any more.
func (l *lone) flush() *Output { return l.step(Input{Kind: InputFlushed, Seq: l.c.seq}) }

// hear delivers a message without a frame.
func (l *lone) hear(from codec.NodeID, m codec.Message) *Output {
	m.Group = testGroup
	return l.step(Input{Kind: InputMessage, Peer: from, Message: m})
}

// frame delivers an append with a frame of count normal entries of a leadership behind prev.
func (l *lone) frame(vote codec.Vote, prev codec.LogID, leader codec.LeaderID, count uint32, commit codec.Index) *Output {
	return l.step(Input{
		Kind: InputMessage,
		Peer: vote.Leader.Node,
		Message: codec.Message{
			Kind: codec.MessageAppend, Group: testGroup, Vote: vote, Log: prev, Commit: commit, Stream: 1, Stamp: int64(l.now),
		},
		Frame: codec.FrameMeta{
			Group: testGroup, Leader: leader, First: prev.Index + 1, Count: count, Kind: codec.EntryNormal, Size: 200,
		},
	})
}

func (l *lone) heartbeat(vote codec.Vote, match codec.LogID, commit codec.Index) *Output {
	return l.hear(vote.Leader.Node, codec.Message{
		Kind: codec.MessageHeartbeat, Vote: vote, Log: match, Commit: commit, Stamp: int64(l.now),
	})
}

func (l *lone) voteRequest(vote codec.Vote, last codec.LogID) *Output {
	return l.hear(vote.Leader.Node, codec.Message{Kind: codec.MessageVote, Vote: vote, Log: last, Stamp: 5})
}

func (l *lone) grant(from codec.NodeID, vote codec.Vote) *Output {
	return l.hear(from, codec.Message{Kind: codec.MessageVoteReply, Status: codec.StatusOK, Vote: vote})
}

// ack delivers an append reply to the present stream of a peer.
func (l *lone) ack(from codec.NodeID, status codec.Status, id codec.LogID) *Output {
	return l.hear(from, codec.Message{
		Kind: codec.MessageAppendReply, Status: status, Vote: l.c.vote, Log: id,
		Stream: l.c.peer(from).stream, Stamp: int64(l.now),
	})
}

func (l *lone) propose(count uint32, size int) *Output {
	return l.step(Input{Kind: InputPropose, Frame: codec.FrameMeta{Count: count, Size: size}})
}

// campaign waits until the node asks for votes and completes its write.
func (l *lone) campaign() codec.Vote {
	l.t.Helper()
	l.now = l.out.Deadline
	if l.out.Deadline == 0 {
		l.now = l.c.election.deadline
	}
	l.step(Input{Kind: InputTick})
	if l.c.role != Candidate {
		l.t.Fatalf("role %v at the deadline, want candidate", l.c.role)
	}
	vote := l.c.vote
	l.flush()
	return vote
}

// lead makes a node of three the leader by the vote of the given peers.
func (l *lone) lead(peers ...codec.NodeID) {
	l.t.Helper()
	vote := l.campaign()
	for _, peer := range peers {
		l.grant(peer, vote)
	}
	if l.c.role != Leader {
		l.t.Fatalf("role %v after grants of %v, want leader", l.c.role, peers)
	}
}

// last returns the log id of the last entry.
func (l *lone) last() codec.LogID { return l.c.log.last }

// only returns the single message of a list.
func (l *lone) only(sends []Send) codec.Message {
	l.t.Helper()
	if len(sends) != 1 {
		l.t.Fatalf("%d messages, want 1: %+v", len(sends), sends)
	}
	return sends[0].Message
}

// to returns the messages of a kind for a peer.
func to(sends []Send, peer codec.NodeID, kind codec.MessageKind) []Send {
	var out []Send
	for _, s := range sends {
		if s.To == peer && s.Message.Kind == kind {
			out = append(out, s)
		}
	}
	return out
}

// want fails the test when got is not want.
func want[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
}
