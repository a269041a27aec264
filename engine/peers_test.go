package engine

import (
	"errors"
	"strings"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal"
)

// slowPeers is a log that makes peers durable when it is told to.
type slowPeers struct {
	Log
	known map[codec.NodeID]codec.Incarnation
	done  []func(error)
}

func (l *slowPeers) Peers() map[codec.NodeID]codec.Incarnation { return l.known }

func (l *slowPeers) RememberPeer(_ codec.NodeID, _ codec.Incarnation, done func(error)) {
	l.done = append(l.done, done)
}

func TestPeersAreKnownByTheirFirstIncarnation(t *testing.T) {
	var trusted []codec.NodeID
	log := &slowPeers{}
	book := newPeerBook(1, log, func(id codec.NodeID) { trusted = append(trusted, id) })
	first, second := codec.Incarnation{1}, codec.Incarnation{2}

	if err := book.verify(2, first); err != nil || len(trusted) != 0 {
		t.Fatalf("a new peer: %v; trusted %v before it is durable", err, trusted)
	}
	if err := book.verify(2, first); err != nil || len(log.done) != 1 {
		t.Fatalf("the same peer again: %v; remembered %d times", err, len(log.done))
	}
	log.done[0](nil)
	if len(trusted) != 1 || trusted[0] != 2 {
		t.Fatalf("trusted %v once it is durable, want node 2", trusted)
	}
	var other *IncarnationError
	if err := book.verify(2, second); !errors.As(err, &other) || *other != (IncarnationError{2, first, second}) {
		t.Errorf("another incarnation: %v", err)
	}
	if err := book.verify(3, second); err != nil {
		t.Fatal(err)
	}
	log.done[1](wal.ErrPoisoned)
	if len(trusted) != 1 {
		t.Errorf("trusted %v, though the log failed to remember node 3", trusted)
	}
	for id, says := range map[codec.NodeID]string{1: "peer claims to be node 1, which is this node", 0: "without a node id"} {
		if err := book.verify(id, first); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("node %d: %v, want an error that says %q", id, err, says)
		}
	}
	if err := book.verify(4, codec.Incarnation{}); err == nil {
		t.Error("a peer without an incarnation was accepted")
	}
	for id := codec.NodeID(10); len(book.known) < knownMax; id++ {
		if err := book.verify(id, first); err != nil {
			t.Fatal(err)
		}
	}
	if err := book.verify(1<<40, first); err == nil || !strings.Contains(err.Error(), "1088 node ids are remembered already") {
		t.Errorf("one id too many: %v", err)
	}
	m := codec.NewMembership(codec.OneLeaderPerTerm, codec.Node{ID: 1}, codec.Node{ID: 2}, codec.Node{ID: 1 << 40})
	book.setMembers(&m)
	if err := book.verify(1<<40, first); err != nil {
		t.Errorf("a member, though the bound of others is reached: %v", err)
	}
	if err := book.verify(2, first); err != nil {
		t.Errorf("a member: %v", err)
	}
	again := newPeerBook(1, &slowPeers{known: map[codec.NodeID]codec.Incarnation{2: first}}, nil)
	if err := again.verify(2, second); !errors.As(err, &other) {
		t.Errorf("another incarnation after a restart: %v", err)
	}
}

// TestStrangersAreLetInUpToABound: a node that is no member may be one that this node does not know of yet. Those that
// turn out to be members count for none.
func TestStrangersAreLetInUpToABound(t *testing.T) {
	book := newPeerBook(1, &slowPeers{}, nil)
	m := codec.NewMembership(codec.OneLeaderPerTerm, codec.Node{ID: 1}, codec.Node{ID: 2})
	book.setMembers(&m)
	for id := codec.NodeID(100); id < 100+strangersMax; id++ {
		if err := book.verify(id, codec.Incarnation{1}); err != nil {
			t.Fatalf("stranger %d: %v", id, err)
		}
	}
	var other *IncarnationError
	if err := book.verify(100, codec.Incarnation{2}); !errors.As(err, &other) {
		t.Errorf("a stranger with another incarnation: %v", err)
	}
	const want = "node 5 is not a member of this cluster, and 64 others were let in that are not"
	if err := book.verify(5, codec.Incarnation{1}); err == nil || err.Error() != want {
		t.Errorf("one stranger too many: %v", err)
	}
	if err := book.verify(2, codec.Incarnation{1}); err != nil {
		t.Errorf("a member behind the strangers: %v", err)
	}
	m = codec.NewMembership(codec.OneLeaderPerTerm, codec.Node{ID: 1}, codec.Node{ID: 2}, codec.Node{ID: 100})
	book.setMembers(&m)
	if err := book.verify(5, codec.Incarnation{1}); err != nil {
		t.Errorf("a stranger after another one became a member: %v", err)
	}
}

// TestMembershipNamesIncarnations: what it says of a peer's disk counts for nodes that have never met it, and more than
// what they have met.
func TestMembershipNamesIncarnations(t *testing.T) {
	first, second := codec.Incarnation{1}, codec.Incarnation{2}
	var trusted []codec.NodeID
	log := &slowPeers{known: map[codec.NodeID]codec.Incarnation{3: second}}
	book := newPeerBook(1, log, func(id codec.NodeID) { trusted = append(trusted, id) })
	m := codec.NewMembership(codec.OneLeaderPerTerm, codec.Node{ID: 1}, codec.Node{ID: 2, Incarnation: first}, codec.Node{ID: 3, Incarnation: first})
	if impostors := book.setMembers(&m); len(impostors) != 1 || impostors[0] != 3 {
		t.Fatalf("impostors %v, want node 3, which was known by another incarnation", impostors)
	}
	for id := codec.NodeID(2); id <= 3; id++ {
		var other *IncarnationError
		if err := book.verify(id, second); !errors.As(err, &other) || *other != (IncarnationError{id, first, second}) {
			t.Errorf("node %d with another disk: %v", id, err)
		}
		if err := book.verify(id, first); err != nil {
			t.Errorf("node %d with its own disk: %v", id, err)
		}
	}
	for _, done := range log.done {
		done(nil)
	}
	if len(trusted) != 2 {
		t.Errorf("trusted %v, want both once they are durable", trusted)
	}
}
