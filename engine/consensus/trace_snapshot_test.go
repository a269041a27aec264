package consensus

import (
	"slices"

	"github.com/millrace/millrace/codec"
)

// Commands about snapshots and reads. Snapshots that a leader asks for wait until they are carried.

func (s *stage) barrier(a *arguments) { s.c.step(s.running(a), &Input{Kind: InputBarrier}) }

func (s *stage) read(a *arguments) {
	lease := a.has("lease")
	s.c.read(s.running(a), lease)
}

// snapshot lets nodes take a snapshot of what they have applied.
func (s *stage) snapshot(a *arguments) {
	for _, n := range s.some(a) {
		s.c.takeSnapshot(n)
	}
}

// purge removes entries from a node's log: to=10.
func (s *stage) purge(a *arguments) {
	s.c.step(s.running(a), &Input{Kind: InputPurge, Index: codec.Index(a.number("to", 0))})
}

// carry takes the snapshot that a leader, from=1, has asked for to the node that is named. With crash=on that node crashes
// when the snapshot is durable there, before its core hears of it.
func (s *stage) carry(a *arguments) {
	to, from := s.running(a), s.node(codec.NodeID(a.number("from", 0)))
	if from.moves[to.id] == nil {
		mistake("no snapshot waits at node %d for node %d", from.id, to.id)
	}
	if !s.c.finishMove(from, to.id) {
		mistake("node %d does not lead any more", from.id)
	}
	if a.isOn("crash", false) {
		s.c.crash(to, 0)
	}
}

// late lets a snapshot arrive that another node, from=1, sent at some time of its leadership, vote=T1-N1+: the one that it has
// of=6.
func (s *stage) late(a *arguments) {
	n, from := s.running(a), s.node(codec.NodeID(a.number("from", 0)))
	index := codec.Index(a.number("of", 0))
	i := slices.IndexFunc(from.snapshots, func(s testSnapshot) bool { return s.base.ID.Index == index })
	if i < 0 {
		mistake("node %d has no snapshot of %d", from.id, index)
	}
	snapshot := from.snapshots[i]
	n.keepSnapshot(snapshot)
	s.say("%d: has a snapshot of %v from node %d, late", n.id, snapshot.base.ID, from.id)
	s.c.step(n, &Input{Kind: InputInstall, Peer: from.id, Base: &snapshot.base, Message: codec.Message{
		Kind: codec.MessageSnapshot, Group: testGroup, Vote: parseVote(a.text("vote")), Log: snapshot.base.ID, Mode: s.mode, Stream: 1,
	}})
}

// dropOff ends the transfer of a snapshot: peer=3.
func (s *stage) dropOff(a *arguments) {
	s.c.loseMove(s.running(a), codec.NodeID(a.number("peer", 0)))
}

// bring gives a node the newest snapshot of another by hand: from=2.
func (s *stage) bring(a *arguments) {
	n, from := s.running(a), s.node(codec.NodeID(a.number("from", 0)))
	snapshot := *from.newest()
	n.keepSnapshot(snapshot)
	s.c.step(n, &Input{Kind: InputInstall, Base: &snapshot.base})
}

// damage loses the snapshots of nodes that do not run.
func (s *stage) damage(a *arguments) {
	for _, n := range s.some(a) {
		if n.up() {
			mistake("node %d runs", n.id)
		}
		n.snapshots = nil
	}
}
