package consensus

import (
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/millrace/millrace/codec"
)

// testSnapshot is a complete snapshot in a node's store. Those of witnesses have no state.
type testSnapshot struct {
	base     codec.LogBase
	state    uint64
	metadata bool
}

// testMove is a snapshot on its way to a peer.
type testMove struct {
	snapshot testSnapshot
	stream   uint64
}

// witness reports whether a node is a witness by its own membership, and so applies nothing.
func (n *testNode) witness() bool { return n.core.members.isWitness(n.core.members.self) }

// newest returns a node's newest snapshot with a state.
func (n *testNode) newest() *testSnapshot {
	if len(n.snapshots) == 0 {
		return &testSnapshot{}
	}
	return &n.snapshots[len(n.snapshots)-1]
}

// restore gives a node's state machine the newest snapshot, if the log covers what follows it.
func (n *testNode) restore(st *codec.LogState) {
	n.applied, n.state, n.moves = 0, 0, map[codec.NodeID]*testMove{}
	if s := n.newest(); s.base.ID.Index >= st.Base.ID.Index {
		st.Snapshot = s.base
		n.applied, n.state = s.base.ID.Index, s.state
	}
}

// machine lets a node's state machine take a snapshot that a step installs, and apply what it commits.
func (c *testCluster) machine(n *testNode) {
	if base := n.out.Install; base != nil {
		i := slices.IndexFunc(n.snapshots, func(s testSnapshot) bool { return s.base.ID == base.ID && !s.metadata })
		switch {
		case i < 0:
			c.check.failf("node %d installs a snapshot of %v, which it does not have", n.id, base.ID)
		case base.ID.Index < n.applied:
			c.check.failf("node %d goes back to a snapshot of %v, has applied %d", n.id, base.ID, n.applied)
		}
		c.note("%d: restores its state from a snapshot of %v", n.id, base.ID)
		n.applied, n.state = base.ID.Index, n.snapshots[i].state
		c.check.applied(n)
		c.check.counts.installs++
	}
	if n.core.Status().WantsSnapshot {
		return
	}
	for n.applied < n.out.Commit && n.applied >= n.mem.base.ID.Index {
		e := n.mem.at(n.applied + 1)
		if e.header || n.witness() {
			return
		}
		h := fnv.New64a()
		fmt.Fprint(h, n.state, e.id, e.kind, e.data)
		n.applied, n.state = e.id.Index, h.Sum64()
		c.check.applied(n)
	}
}

// takeSnapshot takes a snapshot of what a node has applied, and tells its core once it is durable.
func (c *testCluster) takeSnapshot(n *testNode) {
	base, ok := n.core.BaseAt(n.applied)
	if !ok || n.witness() || n.core.Status().WantsSnapshot || base.ID.Index <= n.newest().base.ID.Index {
		return
	}
	n.keepSnapshot(testSnapshot{base: *base, state: n.state})
	c.note("%d: takes a snapshot of %v", n.id, base.ID)
	c.step(n, &Input{Kind: InputSnapshot, Log: base.ID})
	c.check.counts.snapshots++
}

// keepSnapshot stores a snapshot; two stay.
func (n *testNode) keepSnapshot(s testSnapshot) {
	n.snapshots = append(slices.Clone(n.snapshots[max(0, len(n.snapshots)-1):]), s)
	slices.SortFunc(n.snapshots, func(a, b testSnapshot) int { return int(a.base.ID.Index) - int(b.base.ID.Index) })
}

// moveSnapshot carries a snapshot to a peer, as a leader's core asks for it. One that is under way goes on, with the new
// number of the stream.
func (c *testCluster) moveSnapshot(n *testNode, s SnapshotSend) {
	c.note("%d: asks for a snapshot for node %d, of entry %d at least, stream %d", n.id, s.To, s.AtLeast, s.Stream)
	if m := n.moves[s.To]; m != nil && m.snapshot.base.ID.Index >= s.AtLeast {
		m.stream = s.Stream
		return
	}
	m := &testMove{stream: s.Stream}
	switch {
	case s.MetadataOnly:
		m.snapshot = testSnapshot{base: *s.Base, metadata: true}
	case n.newest().base.ID.Index >= s.AtLeast && s.AtLeast > 0:
		m.snapshot = *n.newest()
	default:
		m = nil
	}
	n.moves[s.To] = m
	if c.snapshotDelay == nil {
		return
	}
	life := n.life
	d, arrives := c.snapshotDelay()
	c.after(d, func() {
		if !n.up() || n.life != life {
			return
		}
		if m == nil {
			c.takeSnapshot(n)
		}
		if m == nil || !arrives || !c.finishMove(n, s.To) {
			c.loseMove(n, s.To)
		}
	})
}

// loseMove ends the transfer of a snapshot before its end.
func (c *testCluster) loseMove(n *testNode, to codec.NodeID) {
	delete(n.moves, to)
	if n.up() {
		c.note("%d: loses the snapshot on its way to node %d", n.id, to)
		c.step(n, &Input{Kind: InputSnapshotLost, Peer: to})
	}
}

// finishMove lets a snapshot arrive whole, if its sender still leads and the receiver runs.
func (c *testCluster) finishMove(n *testNode, to codec.NodeID) bool {
	m, peer, vote := n.moves[to], c.node(to), n.core.vote
	if m == nil || peer == nil || !peer.up() || n.core.role != Leader {
		return false
	}
	piece := codec.Message{
		Kind: codec.MessageSnapshot, Group: testGroup, Vote: vote, Log: m.snapshot.base.ID, Stream: m.stream, Stamp: int64(n.clock(c.now)),
		Mode: n.core.members.membership.Mode,
	}
	p := testPacket{from: n.id, to: to, send: Send{To: to, Lane: codec.LaneSnapshot, Message: piece}}
	if c.delay != nil {
		if _, arrives := c.delay(&p); !arrives {
			return false
		}
	}
	delete(n.moves, to)
	if !m.snapshot.metadata {
		peer.keepSnapshot(m.snapshot)
	}
	life := peer.life
	d := time.Duration(0)
	if c.snapshotDelay != nil {
		d, _ = c.snapshotDelay()
	}
	c.after(d, func() { // a crash in between leaves the snapshot, and the log as it was
		kept := slices.ContainsFunc(peer.snapshots, func(s testSnapshot) bool { return s.base.ID == piece.Log })
		if peer.up() && peer.life == life && (kept || m.snapshot.metadata) {
			c.note("%d: has a snapshot of %v from node %d", to, m.snapshot.base.ID, n.id)
			base := m.snapshot.base
			c.step(peer, &Input{Kind: InputInstall, Peer: n.id, Message: piece, Base: &base, MetadataOnly: m.snapshot.metadata})
		}
	})
	return true
}
