package consensus

import (
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

// A leader asked a peer to campaign, gave that up, and removed the peer, which may obey the request still: nothing that
// this leader hears shows any more that it will not.
func TestLeaseLentToARemovedPeerIsGone(t *testing.T) {
	l := leading(t, nil)
	change := func(m *codec.Membership) {
		t.Helper()
		if out := l.step(Input{Kind: InputChange, Membership: m}); out.Refused {
			t.Fatal(out.Reason)
		}
		l.flush()
		for range 2 { // the joint membership, and the one that takes its place
			l.ack(3, codec.StatusOK, l.last())
			l.flush()
		}
	}
	want(t, "lease to begin with", l.c.leaseRuns(2), true)
	l.step(Input{Kind: InputTransfer, Peer: 2})
	want(t, "lent to the target", l.c.leaseLent(), true)
	l.wait(testTimeout - 1) // the target is silent; the other one is heard
	l.ack(3, codec.StatusOK, l.last())
	l.wait(1)
	want(t, "transfer", l.c.Status().Transferee, 0)
	l.flush()
	l.ack(3, codec.StatusOK, l.last())
	change(configsAmong(3, codec.MajorityConfig(1, 3)))
	gone := configsAmong(3, codec.MajorityConfig(1, 3))
	gone.Nodes = append(gone.Nodes[:1:1], gone.Nodes[2])
	change(gone)
	want(t, "peers", len(l.c.Peers(nil)), 1)
	want(t, "lent to one that is no member", l.c.leaseLent(), true)
	want(t, "lease", l.c.leaseRuns(3), false)
}

// A change makes a voter's answers necessary that was not needed before: it has a timeout to give one.
func TestNewQuorumHasATimeoutToAnswer(t *testing.T) {
	l := leading(t, nil)
	for range 20 { // node 3 is silent for long
		l.wait(testTimeout / 2)
		l.ack(2, codec.StatusOK, l.last())
	}
	m := testMembership(one, 3)
	m.Configs[0].Quorum = codec.QuorumSystem{Kind: codec.QuorumFlexible, Election: 2, Write: 3}
	if out := l.step(Input{Kind: InputChange, Membership: m}); out.Refused {
		t.Fatal(out.Reason)
	}
	changed := l.now
	for l.now < changed.Add(testTimeout-time.Millisecond) {
		if l.wait(time.Millisecond); l.c.role != Leader {
			t.Fatalf("it steps down %v after the change, want %v", time.Duration(l.now-changed), testTimeout)
		}
		l.ack(2, codec.StatusOK, l.last())
	}
	l.wait(testHeartbeat)
	want(t, "still leading", l.c.role == Leader, false)
}
