package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

// events subscribes until the test ends.
func events(t *testing.T, r *Raft, kinds ...EventKind) *EventStream {
	t.Helper()
	s, err := r.Events(kinds...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// awaitEvent reads on until an event of the type that ok accepts.
func awaitEvent[E Event](t *testing.T, s *EventStream, ok func(E) bool) E {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		e, err := s.Next(ctx)
		if err != nil {
			t.Fatalf("waiting for %T: %v", *new(E), err)
		}
		if e, is := e.(E); is && ok(e) {
			return e
		}
	}
}

func anyEvent[E Event](E) bool { return true }

// TestEventsOfATransfer: the leader hands over; every node tells its side of it.
func TestEventsOfATransfer(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.adjust = calm
		c := startCluster(t, o)
		c.propose("x")
		leader := c.leader()
		target := c.nodes[leader.NodeID()%3+1]
		there, here := events(t, target), events(t, leader)
		members := events(t, target, EventMembershipChanged)
		if err := leader.TransferLeadership(t.Context(), target.NodeID()); err != nil {
			t.Fatal(err)
		}
		if e := awaitEvent(t, here, anyEvent[TransferStarted]); e.Target != target.NodeID() {
			t.Errorf("%+v", e)
		}
		if e := awaitEvent(t, here, anyEvent[RoleChanged]); e.Before != RoleLeader || e.Now != RoleFollower || e.Cause != nil {
			t.Errorf("%+v", e)
		}
		if e := awaitEvent(t, here, anyEvent[TransferEnded]); e.Target != target.NodeID() || e.Leading {
			t.Errorf("%+v", e)
		}
		awaitEvent(t, here, func(e LeaderChanged) bool {
			return e.Leader.ID == target.NodeID() && e.Vote.Leader.Node == target.NodeID()
		})
		vote := awaitEvent(t, there, anyEvent[ElectionStarted]).Vote
		won := awaitEvent(t, there, anyEvent[ElectionWon])
		if won.Vote.Leader != vote.Leader || !won.Vote.Committed {
			t.Errorf("won with %v what was begun with %v", won.Vote, vote)
		}
		awaitEvent(t, there, func(e RoleChanged) bool { return e.Now == RoleLeader && e.Before == RoleCandidate })
		awaitEvent(t, there, func(e LeaderChanged) bool { return e.Leader.ID == target.NodeID() })
		c.change(Demote(leader.NodeID()))
		// The commit of an earlier membership may have been news to this node when it began to listen.
		awaitEvent(t, members, func(e MembershipChanged) bool {
			return e.Membership.Committed && !e.Membership.Transient && !e.Membership.IsVoter(leader.NodeID())
		})
	})
}

// TestEventsOfALeaderThatIsCutOff: it steps down for want of a quorum and says so, also to those whose proposals it had; its
// peers fail and come back.
func TestEventsOfALeaderThatIsCutOff(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.cables = true
		c := startCluster(t, o)
		c.propose("x")
		c.agree(1)
		leader := c.leader()
		s := events(t, leader)
		other := c.others(leader.NodeID())
		c.cable.part([]codec.NodeID{leader.NodeID()}, other)
		_, err := leader.Propose(t.Context(), []byte("y"))
		var unknown *UnknownError
		var quorum *QuorumError
		if !errors.As(err, &unknown) || !errors.As(err, &quorum) || quorum.Node != leader.NodeID() || quorum.Cause != nil {
			t.Errorf("a proposal whose leader steps down for want of a quorum: %v", err)
		}
		awaitEvent(t, s, anyEvent[PeerFailed])
		e := awaitEvent(t, s, func(e RoleChanged) bool { return e.Before == RoleLeader })
		if !errors.As(e.Cause, &quorum) || quorum.Waited != 250*time.Millisecond {
			t.Errorf("it stepped down because of %v, want a QuorumError", e.Cause)
		}
		awaitEvent(t, s, func(e LeaderChanged) bool { return e.Leader.ID == 0 })
		c.cable.heal()
		back := awaitEvent(t, s, anyEvent[PeerConnected])
		if !slices.Contains(other, back.Peer) {
			t.Errorf("%+v", back)
		}
		awaitEvent(t, s, func(e LeaderChanged) bool { return e.Leader.ID != 0 })
	})
}

// TestElectionLost: a candidate that gets no votes.
func TestElectionLost(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true, cables: true})
	c.propose("x")
	c.agree(1)
	alone := c.nodes[c.others(c.leader().NodeID())[0]]
	if err := alone.SetSwitches(Switches{NoPreVote: true}); err != nil {
		t.Fatal(err)
	}
	s := events(t, alone, EventElectionStarted, EventElectionLost)
	c.cable.part([]codec.NodeID{alone.NodeID()}, c.others(alone.NodeID()))
	first := awaitEvent(t, s, anyEvent[ElectionStarted])
	if lost := awaitEvent(t, s, anyEvent[ElectionLost]); lost.Vote != first.Vote {
		t.Errorf("lost %v, had begun %v", lost.Vote, first.Vote)
	}
}

// TestEventsOfADisk that hangs, comes back, hangs until the leader steps down, and fails.
func TestEventsOfADisk(t *testing.T) {
	o, logs := stalling(clusterOptions{nodes: 3, adjust: func(cfg *Config) { cfg.DiskStallTimeout = 500 * time.Millisecond }})
	c := startCluster(t, o)
	c.propose("x")
	leader := c.leader()
	s := events(t, leader, EventDiskStalled, EventDiskRecovered, EventRoleChanged, EventNodeFailed)
	log := logs[leader.NodeID()]
	log.stall(true)
	if _, err := leader.Propose(t.Context(), []byte("a")); err != nil {
		t.Fatal(err)
	}
	if e := awaitEvent(t, s, anyEvent[DiskStalled]); e.Waits < 250*time.Millisecond {
		t.Errorf("%+v, want what it waits for to be an election timeout old", e)
	}
	if m := leader.Metrics(); m.DiskWaits < 250*time.Millisecond || m.UnflushedBytes == 0 || m.UnflushedEntries == 0 {
		t.Errorf("%+v %+v, want both to show a disk that is behind", m.Lags, m.Queues)
	}
	log.stall(false)
	if e := awaitEvent(t, s, anyEvent[DiskRecovered]); e.Stalled < 250*time.Millisecond {
		t.Errorf("%+v", e)
	}
	leader = c.leader()
	log, s = logs[leader.NodeID()], events(t, leader, EventRoleChanged, EventNodeFailed)
	log.stall(true)
	if _, err := leader.Propose(t.Context(), []byte("b")); err != nil {
		t.Fatal(err)
	}
	e := awaitEvent(t, s, func(e RoleChanged) bool { return e.Before == RoleLeader })
	var stall *DiskStallError
	if !errors.As(e.Cause, &stall) || stall.Node != leader.NodeID() || stall.Waits < 500*time.Millisecond {
		t.Errorf("stepped down because of %v, want a DiskStallError", e.Cause)
	}
	failure := errors.New("no disk any more")
	log.report(0, failure)
	if e := awaitEvent(t, s, anyEvent[NodeFailed]); !errors.Is(e.Cause, failure) {
		t.Errorf("%+v", e)
	}
	if _, err := s.Next(t.Context()); !errors.Is(err, ErrStopped) {
		t.Errorf("behind the last event: %v", err)
	}
	delete(c.nodes, leader.NodeID())
	if err := leader.Close(); !errors.Is(err, failure) {
		t.Errorf("closing: %v", err)
	}
}

// TestEventsAreBounded: what nobody reads is dropped from its beginning, and counted.
func TestEventsAreBounded(t *testing.T) {
	r := openAlone(t, newRegister(), func(*Config) {})
	s, other := events(t, r, EventPeerRefused), events(t, r, EventRoleChanged)
	refuse := func(id codec.NodeID) {
		r.events.emit(PeerRefused{Peer: id, Cause: ErrStopped})
	}
	for id := range codec.NodeID(eventsMax + 10) {
		refuse(id)
	}
	if n := s.Dropped(); n != 10 {
		t.Errorf("%d dropped, want 10", n)
	}
	next := codec.NodeID(10)
	for e := range s.All(t.Context()) {
		if got := e.(PeerRefused).Peer; got != next {
			t.Fatalf("event %d, want %d", got, next)
		}
		if next++; next == eventsMax+10 {
			break
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if e, err := s.Next(ctx); err != context.Canceled {
		t.Errorf("%v, %v, want the context's error", e, err)
	}
	refuse(1)
	s.Close()
	s.Close()
	if e, err := s.Next(t.Context()); !errors.Is(err, ErrStopped) {
		t.Errorf("a closed stream: %v, %v", e, err)
	}
	if n := r.events.live.Load(); n != 1 {
		t.Errorf("%d streams are left, want 1", n)
	}
	waits := make(chan error, 2)
	for range cap(waits) {
		go func() {
			_, err := other.Next(t.Context())
			waits <- err
		}()
	}
	other.Close()
	for range cap(waits) {
		if err := <-waits; !errors.Is(err, ErrStopped) {
			t.Errorf("whoever waited for a stream that is closed: %v", err)
		}
	}
}

// TestEventKinds have names of their own, and others are refused.
func TestEventKinds(t *testing.T) {
	names := map[string]bool{}
	for k := range eventKindEnd {
		names[k.String()] = true
	}
	if len(names) != int(eventKindEnd) || names[""] {
		t.Errorf("%d names for %d kinds: %v", len(names), eventKindEnd, names)
	}
	r := openAlone(t, newRegister(), func(*Config) {})
	_, err := r.Events(EventKind(200))
	if want := fmt.Sprintf("Events with EventKind(200), want a kind below %d", eventKindEnd); fmt.Sprint(err) != want {
		t.Errorf("%v, want %s", err, want)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := r.Events()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Next(t.Context()); !errors.Is(err, ErrStopped) {
		t.Errorf("on a closed node: %v", err)
	}
}
