package simulation

import (
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

// The atlas of damage: which nodes may be lost for good, so that those that remain are enough to elect a leader, who
// holds everything, and to commit. The simulator knows it, the nodes don't.

// lost reports whether a node will never be a member again that counts, or whether its disk may be damaged any moment.
func (n *node) lost() bool { return n.gone || n.wiped || n.disk.damaged || n.disk.lose || n.disk.stray }

// mayLose reports whether the group survives without a node.
func (s *run) mayLose(n *node) bool {
	if n.lost() || n.ailing || s.check.newest() == nil || s.healing {
		return false
	}
	for _, m := range s.inForce() {
		if !s.survives(m, n) {
			return false
		}
	}
	return true
}

// survives reports whether the ordinary members that are not lost, but for one (or nil), hold both quorums of a
// membership, and of what it becomes where learners are promoted without being asked for. Witnesses don't count: where
// the only other copy was lost, a witness knows of entries that nobody has.
func (s *run) survives(m *codec.Membership, without *node) bool {
	for ; m != nil; m = s.promoted(m, without) {
		left := func(id codec.NodeID) bool {
			n := s.node(id)
			return n != without && !isWitness(m, id) && !n.lost() && !n.ailing
		}
		if !elects(m, left) || !writes(m, left) {
			return false
		}
	}
	return true
}

// inForce returns the memberships that may decide now or soon: the newest committed one, later ones that were ever written,
// since a message may bring them into a log again, and those that administrators have asked for.
func (s *run) inForce() []*codec.Membership {
	k := &s.check
	out := append([]*codec.Membership{k.newest()}, s.admin.wanted...)
	k.open = slices.DeleteFunc(k.open, func(id codec.LogID) bool { return id.Index <= codec.Index(len(k.committed)) })
	for _, id := range k.open {
		out = append(out, k.pasts[id].membership)
	}
	return out
}

// promoted returns the membership after the promotion of learners that is the hardest to survive: of those that don't count
// then, since they are lost or witnesses; nil where there are none.
func (s *run) promoted(m *codec.Membership, without *node) *codec.Membership {
	next := m.Clone()
	next.Configs = next.Configs[len(next.Configs)-1:]
	c := &next.Configs[0]
	before := len(c.Voters)
	for i := range next.Nodes {
		if n := &next.Nodes[i]; n.Promote && (n.Witness || s.node(n.ID).lost() || s.node(n.ID) == without) {
			n.Promote = false
			c.Voters = append(c.Voters, n.ID)
		}
	}
	if len(c.Voters) == before {
		return nil
	}
	slices.Sort(c.Voters)
	return &next
}

// strikeDisk lets one fault happen that costs a node its disk, or may, and reports whether it is to be counted now.
func (f *faults) strikeDisk(c Class, r *rand.Rand, n *node) bool {
	switch {
	case c == ClassReversion:
		return f.revert(r, n)
	case c == ClassWipe:
		return f.wipe(r, n)
	case !n.up || !f.s.mayLose(n):
		return false
	}
	switch c {
	case ClassSnapshotRot:
		return n.rotSnapshot(r)
	case ClassRot:
		if !n.disk.rot(r) {
			return false
		}
	case ClassLostWrite:
		n.disk.lose = true
	case ClassStrayWrite:
		n.disk.stray = true
	}
	f.s.after(exponential(r, 2*time.Second), func() { f.findOut(r, n) })
	return c == ClassRot // others are counted when they happen
}

// findOut lets a node start again whose disk is damaged: only then it reads all of it.
func (f *faults) findOut(r *rand.Rand, n *node) {
	if n.up && n.disk.damaged && !f.s.healing {
		n.crash(r, true)
		n.startLater()
	}
}

// wipe takes a node's disk, of the given one or of the next that qualifies, and lets it come back with an empty one under
// its id: everybody must refuse it. That takes that everybody knows the old one.
func (f *faults) wipe(r *rand.Rand, n *node) bool {
	for range f.s.nodes {
		if n.up && f.s.mayLose(n) && f.s.allKnow(n) {
			break
		}
		n = f.s.nodes[int(n.id)%len(f.s.nodes)]
	}
	if !n.up || !f.s.mayLose(n) || !f.s.allKnow(n) {
		return false
	}
	n.crash(r, false)
	buried := n.ghost.disk.clone()
	n.buried, n.ghost = &buried, ghost{}
	n.disk.mem, n.incarnation, n.closing, n.wiped = vfs.NewMem(), codec.Incarnation{}, between, true
	n.snaps.durable, n.ailing = 0, false
	clear(n.known)
	delete(f.s.check.seen, n.id)
	n.startLater()
	return true
}

// allKnow reports whether every node knows which disk a node has: from its membership, or because it has met it and
// remembers that durably. One that joined later and has no membership yet hears of it with the first one in which it can
// decide anything; a founder could decide by the first membership, which names no disks.
func (s *run) allKnow(n *node) bool {
	return !slices.ContainsFunc(s.nodes, func(o *node) bool {
		at := o.ghost.mem.memberAt()
		_, founder := s.shape.membership.Node(o.id)
		if o == n || o.gone || at.IsZero() && !founder {
			return false
		}
		named := codec.Node{}
		if !at.IsZero() {
			named, _ = s.check.pasts[at].membership.Node(n.id)
		}
		return named.Incarnation != n.incarnation && (o.known[n.id] != n.incarnation || !named.Incarnation.IsZero())
	})
}

// promised reports whether a node has ever promised, and not taken back by a truncation, to hold an entry durably.
func (n *node) promised(id codec.LogID) bool {
	return n.ghost.disk.holds(id) || n.buried != nil && n.buried.holds(id)
}

// allHold reports whether every node but one holds durably all that is committed.
func (s *run) allHold(but *node) bool {
	last := len(s.check.committed)
	for _, n := range s.nodes {
		if n != but && !n.lost() && (last == 0 || !n.ghost.disk.holds(s.check.committed[last-1].id)) {
			return false
		}
	}
	return true
}

// image is a node's disk as it once was.
type image struct {
	mem    *vfs.Mem
	ghost  ghost
	kept   codec.Index
	ailing bool
	known  map[codec.NodeID]codec.Incarnation
}

// revert takes images of disks, or brings an older one back. That loses what the node had promised, so a run in which it
// happens is judged by its liveness alone.
func (f *faults) revert(r *rand.Rand, n *node) bool {
	for range f.s.nodes {
		if f.revertible(n) {
			break
		}
		n.photograph()
		n = f.s.nodes[int(n.id)%len(f.s.nodes)]
	}
	if !f.revertible(n) {
		return false
	}
	n.crash(r, false)
	n.disk.mem, n.ghost, n.known = n.image.mem.Crash(vfs.KeepAll()), n.image.ghost.clone(), maps.Clone(n.image.known)
	n.closing, n.snaps.durable, n.ailing, n.image = between, n.image.kept, n.image.ailing, nil
	delete(f.s.check.seen, n.id)
	n.startLater()
	f.s.admin.allowReversion()
	return true
}

// photograph takes an image of a node's disk, if there is none of the present membership.
func (n *node) photograph() {
	if n.up && !n.disk.busy && !n.lost() && (n.image == nil || n.image.ghost.mem.memberAt() != n.ghost.mem.memberAt()) {
		n.image = &image{n.disk.mem.Crash(vfs.KeepAll()), n.ghost.clone(), n.snaps.durable, n.ailing, maps.Clone(n.known)}
	}
}

// revertible reports whether a node may go back to its image: everybody else holds what is committed, and sees that the
// node is behind.
func (f *faults) revertible(n *node) bool {
	l := f.s.leader()
	if !n.up || n.lost() || l == nil || l == n || n.image == nil || !f.s.allHold(n) {
		return false
	}
	m := f.s.check.seen[n.id].member
	return m != nil && n.image.ghost.mem.memberAt() == n.ghost.mem.memberAt() && !elects(m, oneOf(n.id)) &&
		n.image.ghost.mem.last() != n.ghost.mem.last()
}
