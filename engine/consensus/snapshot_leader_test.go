package consensus

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

// leadPurged makes node 1 of three the leader of a log whose entries up to 10 are purged, with some more behind.
func leadPurged(t *testing.T) *lone {
	t.Helper()
	l := open(t, 1, logFrom(won(3, 2), baseOf(at(2, 2, 10), testMembership(one, 3)), by(2, 2), by(3, 2)))
	l.now = l.now.Add(testTimeouts)
	l.lead(2)
	l.flush()
	return l
}

// peerStatus returns the leader's view of a peer.
func (l *lone) peerStatus(id codec.NodeID) PeerStatus {
	for _, p := range l.c.Peers(nil) {
		if p.Node == id {
			return p
		}
	}
	l.t.Fatalf("no peer %d", id)
	return PeerStatus{}
}

// beat delivers an answer to a heartbeat that was sent just now.
func (l *lone) beat(from codec.NodeID, m codec.Message) *Output {
	m.Kind, m.Vote, m.Stream, m.Stamp = codec.MessageHeartbeatReply, l.c.vote, l.c.lead.base, int64(l.now)
	if m.Status == codec.StatusNone {
		m.Status = codec.StatusOK
	}
	return l.hear(from, m)
}

// asks returns the single snapshot that a step asks for.
func (l *lone) asks(out *Output) SnapshotSend {
	l.t.Helper()
	if len(out.Snapshots) != 1 {
		l.t.Fatalf("asks for %+v, want one snapshot", out.Snapshots)
	}
	return out.Snapshots[0]
}

// A peer that denies everything behind the base is to be sent a snapshot; it gets nothing else until it has it, and then
// what follows it.
func TestSnapshotForAnEmptyPeer(t *testing.T) {
	l := leadPurged(t)
	out := l.ack(3, codec.StatusConflict, codec.LogID{})
	s := l.asks(out)
	want(t, "snapshot", s, SnapshotSend{To: 3, Stream: l.c.peer(3).stream, AtLeast: 10})
	want(t, "messages", len(to(out.Now, 3, codec.MessageAppend)), 0)
	p := l.peerStatus(3)
	want(t, "to be sent one", p.Snapshot, true)
	want(t, "streaming", p.Streaming, false)
	want(t, "proposals to it", len(to(l.propose(1, 100).Now, 3, codec.MessageAppend)), 0)
	l.now = l.now.Add(testHeartbeat)
	beat := to(l.step(Input{Kind: InputTick}).Now, 3, codec.MessageHeartbeat)
	want(t, "heartbeats name", beat[0].Message.Log, codec.LogID{})

	want(t, "conflict", len(l.ack(3, codec.StatusConflict, codec.LogID{}).Snapshots), 0)
	out = l.ack(3, codec.StatusOK, at(2, 2, 10))
	sent := to(out.Now, 3, codec.MessageAppend)
	want(t, "behind it", sent[0].Frame.First, 11)
	want(t, "all", sent[len(sent)-1].Frame.LastID(), l.last())
	p = l.peerStatus(3)
	want(t, "to be sent one", p.Snapshot, false)
	want(t, "streaming", p.Streaming, true)
	want(t, "match", p.Match, 10)
	want(t, "caught up", l.c.caughtUp(l.c.peer(3)), true)
}

// A peer that holds the base, or more, needs no snapshot, wherever its log ends.
func TestNoSnapshotForWhoHoldsTheBase(t *testing.T) {
	for _, hint := range []codec.LogID{at(2, 2, 10), at(2, 2, 11), at(1, 1, 12)} {
		l := leadPurged(t)
		out := l.ack(3, codec.StatusConflict, hint)
		want(t, "snapshots", len(out.Snapshots), 0)
		probe := l.only(to(out.Now, 3, codec.MessageAppend)[:1]).Log
		if probe.Index < 10 {
			t.Fatalf("probes at %v after hint %v", probe, hint)
		}
		out = l.ack(3, codec.StatusOK, probe)
		want(t, "streams on", to(out.Now, 3, codec.MessageAppend)[0].Frame.First, probe.Index+1)
	}
}

// A peer that denies the base needs one, although its log may be longer: everything it holds behind is another leader's.
func TestSnapshotForWhoDeniesTheBase(t *testing.T) {
	l := leadPurged(t)
	out := l.ack(3, codec.StatusConflict, at(1, 1, 12))
	want(t, "probe at the base", l.only(to(out.Now, 3, codec.MessageAppend)).Log, at(2, 2, 10))
	want(t, "asks", l.asks(l.ack(3, codec.StatusConflict, at(1, 1, 9))).To, 3)
}

// A purge overtakes a peer that is streamed to, or probed.
func TestPurgeOvertakesPeers(t *testing.T) {
	l := openOf(t, 1, one, won(1, 2))
	l.c.cfg.WindowFramesMax = 2
	l.lead(2)
	l.flush()
	l.ack(2, codec.StatusOK, l.last())
	l.ack(3, codec.StatusOK, first) // streams with two frames in flight, then the window is full
	for range 8 {
		l.propose(1, 100)
		l.flush()
		l.ack(2, codec.StatusOK, l.last())
	}
	want(t, "next", l.peerStatus(3).Next, 4)
	l.purge(3)
	want(t, "snapshot", l.peerStatus(3).Snapshot, false)
	out := l.purge(4)
	want(t, "asks", l.asks(out).AtLeast, 4)
	want(t, "in flight", l.peerStatus(3).InflightBytes, 0)
	want(t, "caught up peer", l.peerStatus(2).Streaming, true)

	// One that is probed before the base is probed at the base; an old answer still counts for what it says.
	l = openOf(t, 1, one, won(1, 2))
	l.lead(2)
	l.flush()
	l.ack(2, codec.StatusOK, l.last())
	for range 4 {
		l.propose(1, 100)
		l.flush()
		l.ack(2, codec.StatusOK, l.last())
	}
	want(t, "probed at", l.peerStatus(3).Next, 2)
	l.purge(4)
	want(t, "probed at", l.peerStatus(3).Next, 5)
	l.now = l.now.Add(testHeartbeat)
	want(t, "probe", l.only(to(l.step(Input{Kind: InputTick}).Now, 3, codec.MessageAppend)).Log, at(2, 1, 4))
	out = l.ack(3, codec.StatusOK, first)
	want(t, "asks", l.asks(out).To, 3)
}

// R6: after a purge right up to what a peer is known to hold it is probed, and heard, by the base, which still has a name.
func TestProbeAtTheBase(t *testing.T) {
	l := openOf(t, 1, one, won(1, 2))
	l.c.cfg.WindowFramesMax = 1
	l.lead(2)
	l.flush()
	l.ack(2, codec.StatusOK, l.last())
	l.ack(3, codec.StatusOK, l.last())
	base := l.last()
	for range 4 {
		l.propose(1, 100)
		l.flush()
		l.ack(2, codec.StatusOK, l.last())
	}
	l.purge(base.Index)
	want(t, "in flight", l.peerStatus(3).InflightBytes, 100)
	out := l.step(Input{Kind: InputPeerDown, Peer: 3})
	want(t, "probe", l.only(to(out.Now, 3, codec.MessageAppend)).Log, base)
	want(t, "in flight", l.peerStatus(3).InflightBytes, 0)
	want(t, "heartbeat", l.only(to(l.step(Input{Kind: InputHeartbeat}).Now, 3, codec.MessageHeartbeat)).Log, base)
	out = l.ack(3, codec.StatusOK, base)
	want(t, "streams on", to(out.Now, 3, codec.MessageAppend)[0].Frame.First, base.Index+1)
}

// R7: an idle leader whose log is purged to its end brings a fresh learner up without a new entry.
func TestFreshLearnerOfAnIdlePurgedLeader(t *testing.T) {
	l := open(t, 1, logFrom(won(3, 2), baseOf(at(3, 2, 10), testMembership(one, 3))))
	l.now = l.now.Add(testTimeouts)
	l.lead(2)
	l.flush()
	l.ack(2, codec.StatusOK, l.last())
	l.purge(l.last().Index)
	m := testMembership(one, 3)
	m.Nodes = append(m.Nodes, codec.Node{ID: 4, Address: "node4"})
	l.step(Input{Kind: InputChange, Membership: m})
	l.flush()
	l.ack(2, codec.StatusOK, l.last())
	l.purge(l.last().Index)
	want(t, "asks", l.asks(l.ack(4, codec.StatusConflict, codec.LogID{})).AtLeast, l.last().Index)
	out := l.ack(4, codec.StatusOK, l.last())
	want(t, "nothing to send", len(to(out.Now, 4, codec.MessageAppend)), 0)
	want(t, "caught up", l.peerStatus(4).CaughtUp, true)
}

// A snapshot that nothing comes of is asked for again: later after each loss, and not of a peer that is dead.
func TestSnapshotIsAskedForAgain(t *testing.T) {
	l := leadPurged(t)
	keepOffice := func() {
		l.ack(2, codec.StatusOK, l.last())
		l.beat(2, codec.Message{Log: l.last()})
	}
	// after counts the time until the snapshot is asked for again, while node 3 answers or not.
	after := func(answers bool, limit time.Duration) time.Duration {
		start := l.now
		for l.now < start.Add(limit) {
			l.now = l.now.Add(10 * ms)
			out := l.step(Input{Kind: InputTick})
			if len(out.Snapshots) > 0 {
				want(t, "at least", out.Snapshots[0].AtLeast, 10)
				want(t, "stream", out.Snapshots[0].Stream, l.c.peer(3).stream)
				return time.Duration(l.now - start)
			}
			keepOffice()
			if answers {
				l.beat(3, codec.Message{})
			}
		}
		return limit
	}
	keepOffice()
	l.ack(3, codec.StatusConflict, codec.LogID{})
	want(t, "a transfer that runs", after(true, 3*testTimeouts), 2*testTimeouts)
	for _, d := range []time.Duration{testHeartbeat, 2 * testHeartbeat, 4 * testHeartbeat, 8 * testHeartbeat, 2 * testTimeouts} {
		l.step(Input{Kind: InputSnapshotLost, Peer: 3})
		want(t, "after a loss", after(true, 3*testTimeouts), d)
	}
	l.step(Input{Kind: InputSnapshotLost, Peer: 3})
	want(t, "a dead peer", after(false, 10*testTimeouts), 10*testTimeouts)
	if d := after(true, 2*testTimeouts); d > testTimeouts+20*ms {
		t.Errorf("a peer that is back is asked about after %v", d)
	}

	// The append lane fails: the answer may have been lost, so the snapshot is asked for under a new number.
	before := l.c.peer(3).stream
	l.step(Input{Kind: InputPeerDown, Peer: 3})
	want(t, "after a break", after(true, 3*testTimeouts), testHeartbeat)
	if l.c.peer(3).stream == before {
		t.Error("the stream has its old number")
	}
	l.step(Input{Kind: InputSnapshotLost, Peer: 2}) // it needs none
	l.step(Input{Kind: InputSnapshotLost, Peer: 9}) // who?
	want(t, "snapshot for node 2", l.peerStatus(2).Snapshot, false)
}

// Entries behind a snapshot under way are kept while its receiver answers, and until it has caught up; not for one that
// is dead, nor for one whose transfers are lost again and again (S8).
func TestEntriesKeptForASnapshotUnderWay(t *testing.T) {
	start := func() *lone {
		l := leadPurged(t)
		l.ack(2, codec.StatusOK, l.last())
		l.ack(3, codec.StatusConflict, codec.LogID{})
		for range 5 {
			l.propose(1, 100)
			l.flush()
			l.ack(2, codec.StatusOK, l.last())
		}
		l.step(Input{Kind: InputSnapshot, Log: l.last()})
		return l
	}
	l := start()
	out := l.step(Input{Kind: InputPurge, Index: 100})
	if !errors.Is(out.Reason, ErrNothingToPurge) || !strings.Contains(out.Reason.Error(), "node 3") {
		t.Fatalf("purge while a snapshot is under way: %v", out.Reason)
	}
	l.c.cfg.WindowFramesMax = 1
	l.ack(3, codec.StatusOK, at(2, 2, 10)) // has it; one frame is in flight
	want(t, "purge while it catches up", l.step(Input{Kind: InputPurge, Index: 100}).Refused, true)
	l.ack(3, codec.StatusOK, at(2, 2, 11))
	want(t, "purge up to its match", l.step(Input{Kind: InputPurge, Index: 100}).Write.Purge.ID.Index, 11)
	l.flush()
	for l.peerStatus(3).Match < l.last().Index {
		next, _ := l.c.LogIDAt(l.peerStatus(3).Next - 1)
		l.ack(3, codec.StatusOK, next)
	}
	want(t, "purge once it has caught up", l.step(Input{Kind: InputPurge, Index: 100}).Write.Purge.ID, l.last())

	l = start()
	l.now = l.now.Add(testHeartbeat)
	for range snapshotLossesMax {
		l.step(Input{Kind: InputSnapshotLost, Peer: 3})
	}
	want(t, "purge after many losses", l.step(Input{Kind: InputPurge, Index: 100}).Write.Purge.ID, l.last())
	l.flush()
	want(t, "an ack of the snapshot that is of no use any more", len(l.ack(3, codec.StatusOK, at(2, 2, 10)).Snapshots), 0)
	want(t, "waits on", l.peerStatus(3).Snapshot, true)
	l.beat(2, codec.Message{Log: l.last()})
	l.beat(3, codec.Message{})
	l.now = l.now.Add(testHeartbeat)
	want(t, "a newer one", l.asks(l.step(Input{Kind: InputTick})).AtLeast, l.last().Index)

	l = start()
	for range 8 {
		l.now = l.now.Add(testHeartbeat)
		l.beat(2, codec.Message{Log: l.last()})
	}
	want(t, "purge past a dead peer", l.step(Input{Kind: InputPurge, Index: 100}).Write.Purge.ID, l.last())
}

// A peer that was helped by somebody else shows it in its answers to heartbeats, and is streamed to.
func TestPeerThatWasHelpedByOthers(t *testing.T) {
	l := leadPurged(t)
	l.ack(3, codec.StatusConflict, codec.LogID{})
	want(t, "still behind", len(l.beat(3, codec.Message{Log: at(2, 2, 9)}).Now), 0)
	out := l.beat(3, codec.Message{Log: at(2, 2, 11)})
	want(t, "probe", l.only(to(out.Now, 3, codec.MessageAppend)).Log, at(2, 2, 11))
	want(t, "to be sent one", l.peerStatus(3).Snapshot, false)
}

// A peer that lost its snapshot, not its log, asks for one: it is streamed to meanwhile, is handed no leadership, and has
// not caught up.
func TestPeerThatWantsASnapshot(t *testing.T) {
	l := leadPurged(t)
	l.ack(3, codec.StatusOK, l.last())
	l.ack(2, codec.StatusOK, l.last())
	l.now++
	wants := codec.Message{WantSnapshot: true, Commit: 12, Log: l.last()}
	want(t, "asks", l.asks(l.beat(3, wants)).AtLeast, 12)
	want(t, "once", len(l.beat(3, wants).Snapshots), 0)
	p := l.peerStatus(3)
	want(t, "to be sent one", p.Snapshot, true)
	want(t, "streaming", p.Streaming, true)
	want(t, "caught up", p.CaughtUp, false)
	want(t, "gets proposals", len(to(l.propose(1, 100).Now, 3, codec.MessageAppend)), 1)
	l.flush()
	l.ack(3, codec.StatusOK, l.last())
	want(t, "commits with it", l.c.commit, l.last().Index)
	want(t, "purge is not held", l.purge(l.last().Index).Refused, false)
	l.flush()
	if out := l.step(Input{Kind: InputTransfer, Peer: 3}); !errors.Is(out.Reason, ErrTransferTarget) {
		t.Errorf("transfer to it: %v, want %v", out.Reason, ErrTransferTarget)
	}
	l.now++
	stale := int64(l.now)
	l.now++
	l.beat(3, codec.Message{Log: l.last()})
	want(t, "to be sent one", l.peerStatus(3).Snapshot, false)
	out := l.hear(3, codec.Message{
		Kind: codec.MessageHeartbeatReply, Status: codec.StatusOK, Vote: l.c.vote, Stream: l.c.lead.base, Stamp: stale,
		Log: l.last(), WantSnapshot: true,
	})
	want(t, "an old answer", len(out.Snapshots), 0)
}

// A leader that waits for a snapshot itself hands over to any voter that has caught up.
func TestLeaderThatWantsASnapshotHandsOver(t *testing.T) {
	st := logFrom(won(3, 2), baseOf(at(2, 2, 10), testMembership(one, 3)), by(2, 2))
	st.Snapshot = codec.LogBase{}
	l := open(t, 1, st)
	want(t, "it lets others go first", l.c.election.rank, priorityRanksMax)
	l.now = l.now.Add(10 * testTimeouts)
	l.lead(2)
	l.flush()
	for range 20 {
		l.now = l.now.Add(testHeartbeat)
		l.step(Input{Kind: InputTick})
		l.ack(2, codec.StatusOK, l.last())
		l.beat(2, codec.Message{Log: l.last()})
		if l.c.Status().Transferee == 2 {
			return
		}
	}
	t.Fatal("it goes on leading")
}

// A witness gets the base alone, and a log that is reverted is filled up by a snapshot only where that is allowed.
func TestSnapshotsOfWitnessesAndLostLogs(t *testing.T) {
	m := testMembership(one, 3)
	m.Nodes[2].Witness = true
	l := open(t, 1, logFrom(won(3, 2), baseOf(at(2, 2, 10), m), by(2, 2)))
	l.now = l.now.Add(testTimeouts)
	l.lead(2)
	l.flush()
	s := l.asks(l.ack(3, codec.StatusConflict, codec.LogID{}))
	want(t, "metadata only", s.MetadataOnly, true)
	want(t, "base", s.Base.ID, at(2, 2, 10))
	want(t, "membership", s.Base.Membership.ID, first)
	want(t, "it never wants a state", len(l.beat(3, codec.Message{WantSnapshot: true}).Snapshots), 0)
	want(t, "headers behind it", to(l.ack(3, codec.StatusOK, at(2, 2, 10)).Now, 3, codec.MessageAppend)[0].Frame.HeaderOnly, true)

	for _, allowed := range []bool{false, true} {
		l := leadPurged(t)
		l.c.cfg.AllowLogReversion = allowed
		l.ack(2, codec.StatusOK, l.last())
		l.ack(3, codec.StatusOK, l.last())
		l.step(Input{Kind: InputPeerDown, Peer: 3})
		out := l.ack(3, codec.StatusConflict, codec.LogID{})
		want(t, "lost", l.peerStatus(3).Lost, !allowed)
		want(t, "snapshots", len(out.Snapshots) > 0, allowed)
	}

	// The same where the purge went past what it had acknowledged: it is asked at the base.
	l = leadPurged(t)
	l.ack(2, codec.StatusOK, l.last())
	l.ack(3, codec.StatusOK, l.last())
	for range 3 {
		l.propose(1, 100)
		l.flush()
		l.ack(2, codec.StatusOK, l.last())
	}
	l.purge(l.last().Index)
	out := l.ack(3, codec.StatusConflict, codec.LogID{}) // a gap in the stream
	want(t, "probe", l.only(to(out.Now, 3, codec.MessageAppend)).Log, l.last())
	want(t, "snapshots", len(l.ack(3, codec.StatusConflict, codec.LogID{}).Snapshots), 0)
	want(t, "lost", l.peerStatus(3).Lost, true)
	l.step(Input{Kind: InputAllowReversion, Peer: 3})
	want(t, "snapshots", l.asks(l.ack(3, codec.StatusConflict, codec.LogID{})).To, 3)
}
