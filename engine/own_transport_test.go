package engine_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/netio"
)

// TestOwnTransportSpeaksForItsLog: a cluster on a transport of the program's own works on once its leader has written down
// which disk goes by each id, whoever leads then. A transport that names anything but its log's incarnation cuts its node off
// at that moment, and what is proposed there ends with the caller's context alone.
func TestOwnTransportSpeaksForItsLog(t *testing.T) {
	net := &wire{nodes: map[codec.NodeID]*port{}}
	var nodes []*engine.Raft
	var members []codec.Node
	for id := codec.NodeID(1); id <= 3; id++ {
		node, err := engine.Open(engine.Config{
			NodeID: id, ClusterID: "own", Log: newSliceLog(), Transport: &port{net: net, id: id},
		}, counter{})
		if err != nil {
			t.Fatal(err)
		}
		defer node.Close()
		nodes, members = append(nodes, node), append(members, codec.Node{ID: id})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := nodes[0].Initialize(ctx, codec.NewMembership(codec.OneLeaderPerTerm, members...)); err != nil {
		t.Fatal(err)
	}
	for _, node := range nodes {
		for named := false; !named; {
			// Each forwarded proposal brings the next commit.
			if _, err := node.Submit(ctx, engine.Proposal{Forward: true}); ctx.Err() != nil {
				t.Fatalf("before the disks are named: %v", err)
			}
			m := node.Membership()
			named = len(m.Nodes) == 3 && !slices.ContainsFunc(m.Nodes, func(n codec.Node) bool { return n.Incarnation.IsZero() })
		}
	}
	for _, node := range nodes {
		session, err := node.OpenSession(ctx, engine.Forwarding())
		for err != nil && ctx.Err() == nil { // the leader may change
			session, err = node.OpenSession(ctx, engine.Forwarding())
		}
		if err != nil {
			t.Fatalf("opening a session at node %d: %v", node.NodeID(), err)
		}
		if _, err := session.Do(ctx, []byte("x")); err != nil {
			t.Fatalf("at node %d: %v", node.NodeID(), err)
		}
	}
}

// TestTransportOfAnotherLogIsRefused: it would be cut off by its peers later on, where nobody knows why.
func TestTransportOfAnotherLogIsRefused(t *testing.T) {
	log, other := engine.MemoryLog(), engine.MemoryLog()
	defer other.Close()
	transport := netio.NewNetwork().Transport(1, "own", other.Incarnation())
	r, err := engine.Open(engine.Config{NodeID: 1, ClusterID: "own", Log: log, Transport: transport}, counter{})
	if err == nil {
		r.Close()
	}
	if !errors.Is(err, netio.ErrConfig) {
		t.Fatalf("got %v", err)
	}
}
