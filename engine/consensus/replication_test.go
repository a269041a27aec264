package consensus

import (
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

// leading returns a leader of three whose peers stream and hold everything.
func leading(t *testing.T, change func(*Config)) *lone {
	t.Helper()
	cfg := testConfig(1)
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg, logOf(codec.Vote{}, testMembership(one, 3)), 0)
	if err != nil {
		t.Fatal(err)
	}
	l := &lone{t: t, c: c, node: 1}
	l.lead(2)
	l.flush()
	for _, peer := range []codec.NodeID{2, 3} {
		l.ack(peer, codec.StatusOK, first)
		l.ack(peer, codec.StatusOK, l.last())
	}
	return l
}

func (l *lone) peer(id codec.NodeID) PeerStatus {
	for _, p := range l.c.Peers(nil) {
		if p.Node == id {
			return p
		}
	}
	l.t.Fatalf("no peer %d", id)
	return PeerStatus{}
}

// Frames flow without waiting until the window is full, by bytes or by frames; acks let more through, in order.
func TestWindow(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"frames": func(cfg *Config) { cfg.WindowFramesMax = 3 },
		"bytes":  func(cfg *Config) { cfg.WindowBytesMax = 3*500 + 499 },
	} {
		t.Run(name, func(t *testing.T) {
			l := leading(t, change)
			var sent []Send
			for range 10 {
				sent = append(sent, to(l.propose(5, 500).Now, 2, codec.MessageAppend)...)
			}
			want(t, "frames sent", len(sent), 3)
			want(t, "bytes in flight", l.peer(2).InflightBytes, 1500)
			out := l.ack(2, codec.StatusOK, sent[1].Frame.LastID()) // one ack for two frames
			sent = append(sent, to(out.Now, 2, codec.MessageAppend)...)
			want(t, "frames sent", len(sent), 5)
			for len(sent) < 10 {
				out = l.ack(2, codec.StatusOK, sent[len(sent)-1].Frame.LastID())
				sent = append(sent, to(out.Now, 2, codec.MessageAppend)...)
			}
			prev := at(1, 1, 2)
			for _, s := range sent {
				want(t, "previous log id", s.Message.Log, prev)
				prev = s.Frame.LastID()
			}
			l.ack(2, codec.StatusOK, prev)
			want(t, "bytes in flight", l.peer(2).InflightBytes, 0)
		})
	}
}

// One frame is always let through, however large.
func TestWindowLetsOneFrameThrough(t *testing.T) {
	l := leading(t, func(cfg *Config) { cfg.WindowBytesMax = 10 })
	want(t, "sent", len(to(l.propose(5, 5000).Now, 2, codec.MessageAppend)), 1)
	want(t, "sent", len(to(l.propose(5, 5000).Now, 2, codec.MessageAppend)), 0)
	want(t, "sent", len(to(l.ack(2, codec.StatusOK, at(1, 1, 7)).Now, 2, codec.MessageAppend)), 1)
}

// Answers to an older stream, to another leadership, or from nobody, move nothing; Next stays above Match.
func TestLateAnswersMoveNothing(t *testing.T) {
	l := leading(t, nil)
	l.propose(5, 500)
	old := l.c.peer(2).stream
	l.step(Input{Kind: InputPeerDown, Peer: 2})
	before := l.peer(2)
	reply := codec.Message{
		Kind: codec.MessageAppendReply, Status: codec.StatusOK, Vote: l.c.vote, Log: at(1, 1, 7), Stream: old, Stamp: int64(l.now),
	}
	answers := []codec.Message{reply, reply, reply, reply, reply}
	answers[1].Status = codec.StatusConflict
	answers[2].Vote, answers[2].Stream = won(0, 1), l.c.peer(2).stream
	answers[3].Vote, answers[3].Stream = asked(1, 1), l.c.peer(2).stream
	answers[4].Stream += 100
	for _, m := range answers {
		l.hear(2, m)
		want(t, "peer", l.peer(2), before)
	}
	reply.Stream = l.c.peer(2).stream
	l.hear(9, reply)
	lie := reply
	lie.Log = at(1, 1, 70)
	l.hear(2, lie) // an entry that this leader does not have
	want(t, "peer", l.peer(2), before)
	l.hear(2, reply)
	want(t, "match", l.peer(2).Match, 7)
	want(t, "streaming", l.peer(2).Streaming, true)
	reply.Log = first // late, out of order
	l.hear(2, reply)
	want(t, "match", l.peer(2).Match, 7)
}

// A lane that failed, a stall and a conflict each break the stream: the window is empty again and one probe is out.
func TestBrokenStreams(t *testing.T) {
	for name, breaks := range map[string]func(*lone){
		"peer down": func(l *lone) { l.step(Input{Kind: InputPeerDown, Peer: 2}) },
		"stall":     func(l *lone) { l.wait(2 * testTimeouts) },
		"conflict":  func(l *lone) { l.ack(2, codec.StatusConflict, at(1, 1, 2)) },
		"lost log": func(l *lone) {
			l.hear(2, codec.Message{Kind: codec.MessageHeartbeatReply, Status: codec.StatusConflict, Vote: l.c.vote})
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := leading(t, nil)
			l.propose(5, 500)
			l.propose(5, 500)
			stream := l.c.peer(2).stream
			breaks(l)
			p := l.peer(2)
			want(t, "streaming", p.Streaming, false)
			want(t, "in flight", p.InflightBytes, 0)
			probe := l.only(to(l.out.Now, 2, codec.MessageAppend))
			want(t, "probe", probe.Log, at(1, 1, 2))
			want(t, "new stream", probe.Stream > stream, true)
			want(t, "nothing while it probes", len(to(l.propose(1, 100).Now, 2, codec.MessageAppend)), 0)
			// The answer tells how far the peer got; the rest follows.
			out := l.ack(2, codec.StatusOK, at(1, 1, 7))
			sends := to(out.Now, 2, codec.MessageAppend)
			want(t, "frames", len(sends), 2)
			want(t, "first frame", sends[0].Frame.First, 8)
		})
	}
}

// A probe waits a heartbeat interval before it goes out again, whatever the lane says meanwhile.
func TestProbeIsPaced(t *testing.T) {
	l := leading(t, nil)
	l.propose(1, 100)
	want(t, "probe", len(to(l.step(Input{Kind: InputPeerDown, Peer: 2}).Now, 2, codec.MessageAppend)), 1)
	for range 100 {
		out := l.step(Input{Kind: InputPeerDown, Peer: 2})
		want(t, "messages", len(out.Now), 0)
	}
	l.now = l.now.Add(testHeartbeat - 1)
	want(t, "early", len(to(l.step(Input{Kind: InputTick}).Now, 2, codec.MessageAppend)), 0)
	want(t, "deadline", l.out.Deadline <= l.now.Add(1), true)
	want(t, "again", len(to(l.wait(1).Now, 2, codec.MessageAppend)), 1)
}

// The search for the match skips whole leaderships, so a follower with many short old ones is found in few steps.
func TestSearchForTheMatchIsShort(t *testing.T) {
	mine, theirs := repeat(by(1, 1), 100), repeat(by(1, 1), 99) // these match, nothing behind them does
	for term := codec.Term(2); term < 20; term += 2 {
		theirs = append(theirs, repeat(by(term, 2), 100)...)
		mine = append(mine, repeat(by(term+1, 1), 100)...)
	}
	c := newTestCluster(t, 1, 2)
	m := testMembership(one, 2)
	for i, leaders := range [][]codec.LeaderID{mine, theirs} {
		n := c.nodes[i]
		n.disk.vote = asked(20, 1)
		n.disk.entries = []testEntry{{id: first, kind: codec.EntryMembership, membership: m}}
		n.disk.starts = []codec.Index{1}
		for k, leader := range leaders {
			index := codec.Index(k + 2)
			n.disk.entries = append(n.disk.entries, testEntry{
				id: codec.LogID{Leader: leader, Index: index}, kind: codec.EntryNormal, data: uint64(leader.Term)<<32 + uint64(index),
			})
			n.disk.starts = append(n.disk.starts, index)
		}
	}
	probes := 0
	c.delay = func(p *testPacket) (time.Duration, bool) {
		if p.send.Message.Kind == codec.MessageAppend && p.send.Frame.IsZero() {
			probes++
		}
		return 0, true
	}
	for _, n := range c.nodes {
		c.start(n)
	}
	leader := c.elect()
	want(t, "leader", leader.id, 1)
	c.run(time.Second, nil)
	want(t, "log", c.nodes[1].core.log.last, leader.core.log.last)
	if probes > 12 {
		t.Fatalf("%d probes, want at most one a leadership and two more", probes)
	}
}

// A follower that matches in the middle of a frame gets the whole frame and writes what it lacks.
func TestMatchInsideAFrame(t *testing.T) {
	l := leading(t, nil)
	l.step(Input{Kind: InputPeerDown, Peer: 2})
	l.propose(8, 500) // 3..10
	l.ack(2, codec.StatusOK, at(1, 1, 6))
	s := to(l.out.Now, 2, codec.MessageAppend)
	want(t, "frames", len(s), 1)
	want(t, "first", s[0].Frame.First, 3)
	want(t, "count", s[0].Frame.Count, 8)
	want(t, "previous", s[0].Message.Log, at(1, 1, 2))
	want(t, "match", l.peer(2).Match, 6)
	want(t, "next", l.peer(2).Next, 11)
}

// A follower that loses what it had acknowledged is noticed, counts for no commit, and holds nobody up.
func TestLostLogIsNoticed(t *testing.T) {
	l := leading(t, nil)
	l.propose(5, 500) // 3..7
	l.ack(2, codec.StatusOK, at(1, 1, 7))
	// Node 2 loses its disk before anything of that is committed.
	l.hear(2, codec.Message{
		Kind: codec.MessageHeartbeatReply, Status: codec.StatusConflict, Vote: l.c.vote, Stamp: int64(l.now),
	})
	for range 5 {
		l.ack(2, codec.StatusConflict, codec.LogID{})
		p := l.peer(2)
		want(t, "lost", p.Lost, true)
		want(t, "match", p.Match, 7)
		want(t, "probes at once", len(to(l.out.Now, 2, codec.MessageAppend)), 0)
		want(t, "probes in time", len(to(l.wait(testHeartbeat).Now, 2, codec.MessageAppend)), 1)
	}
	want(t, "commit by the leader and a lost copy", l.flush().Commit, 2)
	want(t, "commit by the others", l.ack(3, codec.StatusOK, at(1, 1, 7)).Commit, 7)
	l.ack(2, codec.StatusOK, at(1, 1, 7))
	want(t, "lost", l.peer(2).Lost, false)
}

// Everybody hears the leader once an interval, with the commit and what matches there.
func TestHeartbeats(t *testing.T) {
	l := leading(t, nil)
	l.ack(2, codec.StatusOK, l.last())
	l.propose(5, 500)
	l.ack(3, codec.StatusOK, l.last())
	l.flush()
	out := l.wait(testHeartbeat)
	for _, peer := range []codec.NodeID{2, 3} {
		s := to(out.Now, peer, codec.MessageHeartbeat)
		m := l.only(s)
		want(t, "lane", s[0].Lane, codec.LaneControl)
		want(t, "commit", m.Commit, 7)
		want(t, "stamp", m.Stamp, int64(l.now))
		want(t, "matching", m.Log.Index, l.peer(peer).Match)
	}
	want(t, "deadline", out.Deadline <= l.now.Add(testHeartbeat), true)
	asked := l.now
	l.now = l.now.Add(testHeartbeat / 2)
	for range 2 { // a late answer does not turn back what a newer one said
		l.hear(2, codec.Message{Kind: codec.MessageHeartbeatReply, Status: codec.StatusOK, Vote: l.c.vote, Stamp: int64(asked)})
		want(t, "last answer", l.peer(2).LastAnswer, asked)
		l.hear(2, codec.Message{Kind: codec.MessageHeartbeatReply, Status: codec.StatusOK, Vote: l.c.vote, Stamp: int64(asked) - 1})
	}
	l.hear(2, codec.Message{Kind: codec.MessageHeartbeatReply, Status: codec.StatusOK, Vote: l.c.vote, Stamp: int64(l.now) + 1})
	want(t, "last answer after one from the future", l.peer(2).LastAnswer, asked)
}

// A batch that the follower knows already moves Next all the same.
func TestKnownBatchAdvancesNext(t *testing.T) {
	c := newTestCluster(t, 1, 3)
	c.startAll(several)
	leader := c.elect()
	c.propose(leader, 10)
	c.run(2*testHeartbeat, nil)
	for _, n := range c.nodes {
		c.step(leader, &Input{Kind: InputPeerDown, Peer: n.id})
	}
	c.settle()
	for _, p := range leader.core.Peers(nil) {
		want(t, "next", p.Next, leader.core.log.last.Index+1)
		want(t, "streaming", p.Streaming, true)
	}
}

// One follower that hangs for minutes keeps nobody from committing, and catches up when it is back.
func TestHangingFollowerHoldsNobodyUp(t *testing.T) {
	c := newTestCluster(t, 1, 3)
	c.startAll(several)
	leader := c.elect()
	slow := c.nodes[leader.id%3]
	c.isolate(slow.id)
	slow.stuck = true
	for range 200 {
		c.propose(leader, 10)
		c.settle()
		want(t, "commit", leader.core.commit, leader.core.log.last.Index)
		c.run(time.Second, nil)
	}
	c.heal()
	slow.stuck = false
	c.flushSoon(slow)
	c.run(5*time.Second, nil)
	want(t, "log", slow.core.log.last, c.leader().core.log.last)
}

// A leader counts its own copy only once its disk has it.
func TestLeaderCountsItselfAfterItsFlush(t *testing.T) {
	l := leading(t, nil)
	last := l.propose(5, 500).Write.Frame.LastID()
	want(t, "commit with one other", l.ack(2, codec.StatusOK, last).Commit, 2)
	want(t, "commit", l.flush().Commit, 7)
}
