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
	m := codec.NewMembership(codec.OneLeaderPerTerm, codec.Node{ID: 1}, codec.Node{ID: 2})
	book.setMembers(&m)
	if err := book.verify(3, second); err == nil || err.Error() != "node 3 is not a member of this cluster" {
		t.Errorf("a stranger: %v", err)
	}
	if err := book.verify(2, first); err != nil {
		t.Errorf("a member: %v", err)
	}
	again := newPeerBook(1, &slowPeers{known: map[codec.NodeID]codec.Incarnation{2: first}}, nil)
	if err := again.verify(2, second); !errors.As(err, &other) {
		t.Errorf("another incarnation after a restart: %v", err)
	}
}
