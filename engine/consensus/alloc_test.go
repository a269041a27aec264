package consensus

import (
	"testing"

	"github.com/millrace/millrace/codec"
)

// steadyLeader returns a leader of three that streams to both peers, and a function that puts one batch through it:
// proposal, both acks, its own flush. With reads it confirms one of its own and one of a peer beside it.
func steadyLeader(tb testing.TB, reads bool) (*Core, func()) {
	c, err := New(testConfig(1), logOf(codec.Vote{}, testMembership(several, 3)), 0)
	if err != nil {
		tb.Fatal(err)
	}
	var in Input
	var out Output
	now := c.election.deadline
	step := func() { c.Step(now, &in, &out) }
	flush := func() { in = Input{Kind: InputFlushed, Seq: c.seq}; step() }
	ack := func(peer codec.NodeID) {
		in = Input{Kind: InputMessage, Peer: peer, Message: codec.Message{
			Kind: codec.MessageAppendReply, Status: codec.StatusOK, Group: testGroup, Vote: c.vote, Log: c.log.last,
			Stream: c.peer(peer).stream, Stamp: int64(now),
		}}
		step()
	}
	step()
	flush()
	in = Input{Kind: InputMessage, Peer: 2, Message: codec.Message{
		Kind: codec.MessageVoteReply, Status: codec.StatusOK, Group: testGroup, Vote: c.vote,
	}}
	step()
	put := func() {
		now++
		if reads {
			in = Input{Kind: InputRead, Token: uint64(now)}
			step()
			in = Input{Kind: InputMessage, Peer: 2, Message: codec.Message{
				Kind: codec.MessageRead, Group: testGroup, Vote: c.vote, Stream: uint64(now), Stamp: int64(now),
			}}
			step()
			now++
		}
		in = Input{Kind: InputPropose, Frame: codec.FrameMeta{Count: 100, Size: 12800}}
		step()
		ack(2)
		if reads && len(out.Reads) != 1 || c.reads.n > 0 {
			tb.Fatalf("%d reads answered, %d wait", len(out.Reads), c.reads.n)
		}
		ack(3)
		flush()
	}
	put()
	if c.commit != c.log.last.Index {
		tb.Fatalf("commit %d, last entry %v", c.commit, c.log.last)
	}
	return c, put
}

// steadyFollower returns a follower and a function that puts one frame through it: append, flush, heartbeat;
// with reads it asks its leader about one.
func steadyFollower(tb testing.TB, reads bool) (*Core, func()) {
	c, err := New(testConfig(1), logOf(won(2, 2), testMembership(several, 3)), 0)
	if err != nil {
		tb.Fatal(err)
	}
	var in Input
	var out Output
	now, stamp := Instant(0), int64(0)
	step := func() { c.Step(now, &in, &out) }
	return c, func() {
		now++
		stamp++
		last := c.log.last
		in = Input{
			Kind: InputMessage, Peer: 2,
			Message: codec.Message{
				Kind: codec.MessageAppend, Group: testGroup, Vote: c.vote, Log: last, Commit: last.Index, Stream: 1, Stamp: stamp,
			},
			Frame: codec.FrameMeta{
				Group: testGroup, Leader: c.vote.Leader, First: last.Index + 1, Count: 100, Kind: codec.EntryNormal, Size: 12800,
			},
		}
		step()
		in = Input{Kind: InputFlushed, Seq: c.seq}
		step()
		in = Input{Kind: InputMessage, Peer: 2, Message: codec.Message{
			Kind: codec.MessageHeartbeat, Group: testGroup, Vote: c.vote, Log: c.log.last, Commit: c.log.last.Index, Stamp: stamp,
		}}
		step()
		if !reads {
			return
		}
		in = Input{Kind: InputRead, Token: uint64(stamp)}
		step()
		in = Input{Kind: InputMessage, Peer: 2, Message: codec.Message{
			Kind: codec.MessageReadReply, Status: codec.StatusOK, Group: testGroup, Vote: c.vote, Stream: c.asked.first, Commit: c.commit,
		}}
		step()
		if len(out.Reads) != 1 || out.Reads[0].Reason != nil {
			tb.Fatalf("read answered by %+v", out.Reads)
		}
	}
}

// Nothing is allocated for a batch, or a read, on its way through a leader or a follower. (One block of frame descriptors per
// thousand frames is; the average rounds it away.)
func TestSteadyStateAllocatesNothing(t *testing.T) {
	for name, steady := range map[string]func(testing.TB, bool) (*Core, func()){
		"leader": steadyLeader, "follower": steadyFollower,
	} {
		c, put := steady(t, true)
		for range 100 {
			put()
		}
		if n := testing.AllocsPerRun(5000, put); n != 0 {
			t.Errorf("%s: %v allocations a batch, want 0", name, n)
		}
		if n := testing.AllocsPerRun(100, func() { _ = c.Status() }); n != 0 {
			t.Errorf("%s: %v allocations a status, want 0", name, n)
		}
		if c.commit != c.log.last.Index {
			t.Errorf("%s: commit %d, last entry %v", name, c.commit, c.log.last)
		}
	}
}
