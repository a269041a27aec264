package consensus

import (
	"errors"
	"testing"

	"github.com/millrace/millrace/codec"
)

// read asks the node for a read and returns what comes of it at once.
func (l *lone) read(token uint64) *Output { return l.step(Input{Kind: InputRead, Token: token}) }

// answered returns the single read that a step answers.
func (l *lone) answered(out *Output) Read {
	l.t.Helper()
	if len(out.Reads) != 1 {
		l.t.Fatalf("%d reads answered, want 1: %+v", len(out.Reads), out.Reads)
	}
	return out.Reads[0]
}

// beatAt delivers an answer to a heartbeat that was sent at an instant.
func (l *lone) beatAt(from codec.NodeID, stamp Instant) *Output {
	return l.hear(from, codec.Message{
		Kind: codec.MessageHeartbeatReply, Status: codec.StatusOK, Vote: l.c.vote, Stream: l.c.lead.base, Stamp: int64(stamp), Log: l.last(),
	})
}

// leadQuietly makes node 1 of five the leader, with everything committed and some time gone since the last message.
func leadQuietly(t *testing.T, m *codec.Membership) *lone {
	t.Helper()
	l := open(t, 1, logOf(won(1, 2), m))
	l.lead(2, 3)
	l.flush()
	for _, n := range m.Nodes[1:] {
		l.ack(n.ID, codec.StatusOK, l.last())
	}
	want(t, "commit", l.c.commit, l.last().Index)
	l.now = l.now.Add(10 * ms)
	return l
}

// A read is answered once a quorum has answered something that was sent after it arrived, not by what was answered or
// under way before (Q3).
func TestReadIndex(t *testing.T) {
	l := leadQuietly(t, testMembership(one, 5))
	before := l.now
	l.propose(1, 100) // sent before the read
	l.flush()
	l.now = l.now.Add(ms)
	out := l.read(7)
	want(t, "answers at once", len(out.Reads), 0)
	for id := codec.NodeID(2); id <= 5; id++ {
		want(t, "heartbeats", len(to(out.Now, id, codec.MessageHeartbeat)), 1)
	}
	for id := codec.NodeID(2); id <= 5; id++ {
		want(t, "by an old answer", len(l.beatAt(id, before).Reads), 0)
	}
	want(t, "by one answer", len(l.beatAt(2, l.now).Reads), 0)
	want(t, "by the same again", len(l.beatAt(2, l.now).Reads), 0)
	want(t, "by two", l.answered(l.beatAt(3, l.now)), Read{Token: 7, Index: l.last().Index - 1})
	want(t, "once", len(l.beatAt(4, l.now).Reads), 0)
}

// An answer to an append counts as well, so that a busy leader sends no heartbeats for reads.
func TestReadsOnABusyLeader(t *testing.T) {
	l := leadQuietly(t, testMembership(one, 3))
	l.now++
	l.c.reads.push(waitingRead{token: 1, index: l.c.commit, after: l.now - 1}) // one that arrives with the batch
	out := l.propose(1, 100)
	want(t, "appends", len(to(out.Now, 2, codec.MessageAppend)), 1)
	want(t, "heartbeats", len(to(out.Now, 2, codec.MessageHeartbeat)), 0)
	l.flush()
	want(t, "answered", l.answered(l.ack(2, codec.StatusOK, l.last())).Token, 1)
}

// Many reads share a round: those that arrive while one is under way wait for the next, which starts when that ends.
func TestReadsShareRounds(t *testing.T) {
	l := leadQuietly(t, testMembership(one, 3))
	rounds := 0
	count := func(out *Output) { rounds += len(to(out.Now, 2, codec.MessageHeartbeat)) }
	count(l.read(1))
	first := l.now
	for token := uint64(2); token <= 100; token++ {
		l.now++
		count(l.read(token))
	}
	want(t, "rounds for the first", rounds, 1)
	l.now++
	out := l.beatAt(2, first)
	want(t, "answered by the first round", l.answered(out).Token, 1)
	count(out)
	want(t, "rounds for the others", rounds, 2)
	want(t, "answered by the second", len(l.beatAt(2, l.now).Reads), 99)
	want(t, "waiting", l.c.reads.n, 0)
}

// Steps may share an instant. What was sent earlier at it was sent before the read arrived, and does not count; the
// leader sends again at the next instant there is.
func TestReadsAtTheInstantOfWhatWasSentBefore(t *testing.T) {
	l := leadQuietly(t, testMembership(one, 3))
	l.step(Input{Kind: InputHeartbeat})
	out := l.read(1)
	want(t, "heartbeats", len(out.Now), 0)
	want(t, "deadline", out.Deadline, l.now+1)
	for id := codec.NodeID(2); id <= 3; id++ {
		want(t, "answered by what was sent before", len(l.beatAt(id, l.now).Reads), 0)
	}
	l.now++
	out = l.step(Input{Kind: InputTick})
	want(t, "heartbeats", len(to(out.Now, 2, codec.MessageHeartbeat)), 1)
	l.read(2) // again at the instant of a message
	want(t, "the first", l.answered(l.beatAt(2, l.now)).Token, 1)
	want(t, "deadline for the second", l.out.Deadline, l.now+1)
}

// Q1: a fresh leader does not know what is committed; its reads wait for its first entry to be applied.
func TestReadOnAFreshLeader(t *testing.T) {
	l := openOf(t, 1, one, won(1, 2), by(1, 2), by(1, 2))
	l.lead(2)
	l.now++
	l.read(1)
	want(t, "commit", l.c.commit, 0)
	want(t, "index", l.answered(l.beatAt(2, l.now)).Index, 4)
}

// Q3: in a joint membership both quorums must answer, and learners and witnesses' votes count for what they are.
func TestReadQuorums(t *testing.T) {
	m := testMembership(one, 6)
	m.Configs = []codec.VoterConfig{codec.MajorityConfig(1, 2, 3), codec.MajorityConfig(3, 4, 5)}
	l := open(t, 1, logOf(won(1, 2), m))
	vote := l.campaign()
	for id := codec.NodeID(2); id <= 5; id++ {
		l.grant(id, vote)
	}
	want(t, "role", l.c.role, Leader)
	l.now++
	l.read(1)
	for _, id := range []codec.NodeID{6, 2, 5} {
		want(t, "by too few", len(l.beatAt(id, l.now).Reads), 0)
	}
	want(t, "by both", l.answered(l.beatAt(4, l.now)).Token, 1)

	m = testMembership(one, 3)
	m.Configs[0].Quorum = codec.QuorumSystem{Kind: codec.QuorumFlexible, Election: 2, Write: 3}
	l = open(t, 1, logOf(won(1, 2), m))
	l.lead(2)
	l.now++
	l.read(1)
	want(t, "by less than a write quorum", len(l.beatAt(2, l.now).Reads), 0)
	want(t, "by a write quorum", l.answered(l.beatAt(3, l.now)).Token, 1)
}

// A node alone answers at once.
func TestReadOnASingleNode(t *testing.T) {
	l := open(t, 1, logOf(won(1, 2), testMembership(one, 1)))
	l.now = l.c.election.deadline
	l.step(Input{Kind: InputTick})
	l.flush()
	want(t, "role", l.c.role, Leader)
	want(t, "before its entry is durable", l.answered(l.read(1)).Index, 2)
	l.flush()
	l.propose(1, 100)
	l.flush()
	want(t, "index", l.answered(l.read(2)).Index, 3)
}

// A leadership that ends gives its reads up, those of others too; none is confirmed by an answer that comes later.
func TestReadsAreLostWithTheLeadership(t *testing.T) {
	l := leadQuietly(t, testMembership(one, 3))
	l.read(1)
	l.hear(2, codec.Message{Kind: codec.MessageRead, Vote: l.c.vote, Stream: 33, Stamp: 44})
	stamp := l.now
	l.now = l.now.Add(ms)
	out := l.heartbeat(won(9, 3), codec.LogID{}, 0)
	want(t, "role", l.c.role, Follower)
	want(t, "reason", l.answered(out).Reason, ErrReadLost)
	reply := l.only(to(out.Now, 2, codec.MessageReadReply))
	want(t, "status", reply.Status, codec.StatusRefused)
	want(t, "stream", reply.Stream, 33)
	want(t, "stamp", reply.Stamp, 44)
	want(t, "a late answer", len(l.beatAt(2, stamp).Reads), 0)

	l = leadQuietly(t, testMembership(one, 3))
	l.read(1)
	for l.c.role == Leader { // nobody answers
		l.now = l.out.Deadline
		l.step(Input{Kind: InputTick})
	}
	want(t, "reason", l.answered(&l.out).Reason, ErrReadLost)
}

// A leader confirms the reads of other members as its own, and refuses those of strangers; a node that does not lead
// refuses all.
func TestReadsOfPeers(t *testing.T) {
	l := leadQuietly(t, testMembership(one, 3))
	ask := codec.Message{Kind: codec.MessageRead, Vote: l.c.vote, Stream: 5, Stamp: 6}
	out := l.hear(3, ask)
	want(t, "answers at once", len(to(out.Now, 3, codec.MessageReadReply)), 0)
	out = l.beatAt(2, l.now)
	want(t, "own reads", len(out.Reads), 0)
	sent := to(out.Now, 3, codec.MessageReadReply)
	want(t, "reply", l.only(sent), codec.Message{
		Kind: codec.MessageReadReply, Status: codec.StatusOK, Group: testGroup, Mode: one, Vote: l.c.vote, Commit: l.c.commit, Stream: 5, Stamp: 6,
	})
	want(t, "lane", sent[0].Lane, codec.LaneControl)
	want(t, "a stranger", l.only(l.hear(9, ask).Now).Status, codec.StatusRefused)
	for name, l := range map[string]*lone{"follower": openOf(t, 1, one, won(1, 2)), "learner": open(t, 9, codec.LogState{})} {
		want(t, name, l.only(l.hear(3, ask).Now).Status, codec.StatusRefused)
	}
	c := openOf(t, 1, one, won(1, 2))
	c.campaign()
	want(t, "candidate", l.only(c.hear(3, ask).Now).Status, codec.StatusRefused)
}

// followQuietly returns a follower of node 2 and the read that it has passed on.
func followQuietly(t *testing.T) (*lone, codec.Message) {
	t.Helper()
	l := openOf(t, 1, one, won(1, 2))
	l.now = 5
	l.heartbeat(won(1, 2), first, 1)
	sent := l.read(7).Now
	m := l.only(sent)
	want(t, "to", sent[0].To, 2)
	want(t, "kind", m.Kind, codec.MessageRead)
	want(t, "vote", m.Vote, won(1, 2))
	return l, m
}

func readReply(m codec.Message, index codec.Index) codec.Message {
	return codec.Message{Kind: codec.MessageReadReply, Status: codec.StatusOK, Vote: m.Vote, Commit: index, Stream: m.Stream, Stamp: m.Stamp}
}

// A follower passes a read on to its leader, once, and takes the answer for its own.
func TestReadOnAFollower(t *testing.T) {
	l, m := followQuietly(t)
	second := l.only(l.read(8).Now)
	want(t, "by somebody else", len(l.hear(3, readReply(m, 9)).Reads), 0)
	want(t, "the second first", l.answered(l.hear(2, readReply(second, 10))), Read{Token: 8, Index: 10})
	want(t, "the first", l.answered(l.hear(2, readReply(m, 9))), Read{Token: 7, Index: 9})
	want(t, "again", len(l.hear(2, readReply(m, 9)).Reads), 0)
	want(t, "waiting", l.c.asked.list.n, 0)

	l, m = followQuietly(t)
	refusal := readReply(m, 0)
	refusal.Status = codec.StatusRefused
	want(t, "refused", l.answered(l.hear(2, refusal)).Reason, ErrReadLost)
	want(t, "late", len(l.hear(2, readReply(m, 9)).Reads), 0)
}

// Q2, Q7: a read that is not answered in time, or before the leader changes, is given up; an answer that comes later, or
// belongs to an earlier life, confirms nothing.
func TestReadOnAFollowerIsGivenUp(t *testing.T) {
	l, m := followQuietly(t)
	l.step(Input{Kind: InputSwitch, Switches: Switches{NoElections: true}})
	want(t, "deadline", l.out.Deadline, Instant(5).Add(testTimeouts))
	l.now = l.out.Deadline
	want(t, "in time", l.answered(l.step(Input{Kind: InputTick})).Reason, ErrReadLost)
	want(t, "late", len(l.hear(2, readReply(m, 9)).Reads), 0)
	want(t, "deadline", l.out.Deadline, Never)

	l, m = followQuietly(t)
	want(t, "another leader", l.answered(l.heartbeat(won(2, 3), first, 1)).Reason, ErrReadLost)
	want(t, "late", len(l.hear(2, readReply(m, 9)).Reads), 0)

	l, m = followQuietly(t)
	l.now = l.now.Add(testTimeouts)
	want(t, "its own campaign", l.answered(l.step(Input{Kind: InputTick})).Reason, ErrReadLost)

	cfg := testConfig(1)
	cfg.Seed = 2 // another life
	c, err := New(cfg, logOf(won(1, 2), testMembership(one, 3)), 0)
	if err != nil {
		t.Fatal(err)
	}
	again := &lone{t: t, c: c, node: 1, now: 5}
	again.heartbeat(won(1, 2), first, 1)
	again.read(7)
	want(t, "an earlier life's", len(again.hear(2, readReply(m, 9)).Reads), 0)
}

// Q7: without a leader a read fails at once.
func TestReadWithoutALeader(t *testing.T) {
	for name, l := range map[string]*lone{
		"a fresh node":                open(t, 1, codec.LogState{}),
		"a voter that granted a vote": openOf(t, 1, one, asked(1, 2)),
		"a spent leader":              openOf(t, 1, one, won(1, 1)),
	} {
		want(t, name, l.answered(l.read(1)).Reason, ErrNoLeader)
	}
	l := openOf(t, 1, one, won(1, 2))
	l.step(Input{Kind: InputForgetLeader})
	want(t, "a leader that was forgotten", l.answered(l.read(1)).Reason, ErrNoLeader)
	l = openOf(t, 1, one, won(1, 2))
	l.campaign()
	want(t, "a candidate", l.answered(l.read(1)).Reason, ErrNoLeader)
}

// The reads that wait are bounded.
func TestReadsAreBounded(t *testing.T) {
	l := leadQuietly(t, testMembership(one, 3))
	for l.read(1); l.c.reads.n < readsMax; {
		l.c.reads.push(*l.c.reads.front())
	}
	want(t, "one more", l.answered(l.read(2)).Reason, ErrTooManyReads)
	want(t, "one more of a peer", l.only(l.hear(2, codec.Message{Kind: codec.MessageRead, Vote: l.c.vote}).Now).Status, codec.StatusRefused)
	f, _ := followQuietly(t)
	for f.c.asked.list.n < readsMax {
		f.c.asked.list.push(*f.c.asked.list.front())
	}
	want(t, "one more to ask about", f.answered(f.read(2)).Reason, ErrTooManyReads)
}

// Reads are answered while a leader hands over, and make the target look no more alive than it is (Q7).
func TestReadsDuringATransfer(t *testing.T) {
	l := leadQuietly(t, testMembership(one, 3))
	l.propose(1, 100)
	l.flush()
	l.step(Input{Kind: InputTransfer, Peer: 3, Timeout: 10 * testTimeouts})
	want(t, "hands over", l.c.Status().Transferee, 3)
	l.now++
	l.read(1)
	want(t, "answered", l.answered(l.beatAt(2, l.now)).Token, 1)
	end := l.now.Add(testTimeout)
	for token := uint64(2); l.c.Status().Transferee == 3; token++ {
		if l.now > end.Add(2*testHeartbeat) {
			t.Fatal("the transfer to a dead node goes on")
		}
		l.now = l.now.Add(10 * ms)
		l.read(token)
		l.beatAt(2, l.now)
	}
}

// A barrier is an entry that carries nothing, which only a leader appends that takes proposals.
func TestBarrier(t *testing.T) {
	l := leadQuietly(t, testMembership(one, 3))
	out := l.step(Input{Kind: InputBarrier})
	want(t, "frame", out.Write.Frame.Kind, codec.EntryBlank)
	want(t, "sent", len(to(out.Now, 2, codec.MessageAppend)), 1)
	l.flush()
	l.step(Input{Kind: InputTransfer, Peer: 3})
	out = l.step(Input{Kind: InputBarrier})
	want(t, "while it hands over", errors.Is(out.Reason, ErrTransferInProgress), true)
	out = openOf(t, 1, one, won(1, 2)).step(Input{Kind: InputBarrier})
	want(t, "elsewhere", out.Reason, ErrNotLeader)
	want(t, "write", out.Write.Seq, 0)
}

// Commands of every kind are proposed alike, under the kind that the caller says.
func TestProposalsOfOtherKinds(t *testing.T) {
	l := leadQuietly(t, testMembership(one, 3))
	for kind, frame := range map[codec.EntryKind]codec.EntryKind{
		0: codec.EntryNormal, codec.EntryNormal: codec.EntryNormal, codec.EntrySession: codec.EntrySession,
		codec.EntryRestore: codec.EntryRestore, codec.EntryMembership: codec.EntryNormal,
	} {
		out := l.step(Input{Kind: InputPropose, Frame: codec.FrameMeta{Kind: kind, Count: 2, Size: 200}})
		want(t, "kind", out.Write.Frame.Kind, frame)
		l.flush()
	}
}
