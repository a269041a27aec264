package simulation

import (
	"slices"

	"github.com/millrace/millrace/codec"
)

// standsFor returns what a snapshot stands for that takes the place of a node's log, after checking that it may: all of
// it is committed, it names the membership in force there, and the node goes forward by it.
func (k *checker) standsFor(n *node, jump *codec.LogBase) []ghostEntry {
	if jump == nil {
		return nil
	}
	i := jump.ID.Index
	switch {
	case i == 0 || i > codec.Index(len(k.committed)) || k.committed[i-1].id != jump.ID:
		k.s.violate("node %d replaces its log by a snapshot up to %v, which is not committed", n.id, jump.ID)
		return k.heldBy(jump.ID)
	case i <= k.seen[n.id].commit:
		k.s.violate("node %d replaces its log by a snapshot up to %v, having committed %d", n.id, jump.ID, k.seen[n.id].commit)
	case n.ghost.mem.holds(jump.ID):
		k.s.violate("node %d replaces its log by a snapshot up to %v, which the log holds", n.id, jump.ID)
	}
	k.names(n, jump)
	k.s.jumps++
	return k.committed[:i]
}

// heldBy returns what a node holds up to an entry, where data was lost on purpose and it stands for nothing that counts.
func (k *checker) heldBy(id codec.LogID) []ghostEntry {
	for _, o := range k.s.nodes {
		if o.ghost.mem.holds(id) {
			return o.ghost.mem.entries[:id.Index]
		}
	}
	made := make([]ghostEntry, id.Index)
	made[id.Index-1].id = id
	return made
}

// purges checks that what a node removes from its log is in a snapshot of its own that is durable.
func (k *checker) purges(n *node, purge *codec.LogBase) {
	if purge == nil {
		return
	}
	i := purge.ID.Index
	switch {
	case !n.ghost.mem.holds(purge.ID) || i <= n.ghost.mem.base:
		k.s.violate("node %d purges its log up to %v, which it does not hold; it begins behind %d", n.id, purge.ID, n.ghost.mem.base)
		return
	case i > n.kept():
		k.s.violate("node %d purges its log up to %v, its newest snapshot ends at %d", n.id, purge.ID, n.kept())
	}
	k.names(n, purge)
	k.s.purges++
}

// memberUpTo returns the log id of the newest committed membership up to an index, zero where there is none.
func (k *checker) memberUpTo(i codec.Index) codec.LogID {
	if at, _ := slices.BinarySearch(k.memberships, i+1); at > 0 {
		return k.committed[k.memberships[at-1]-1].id
	}
	return codec.LogID{}
}

// restored checks the state that a node has from a snapshot.
func (k *checker) restored(n *node, id codec.LogID) {
	i := id.Index
	if i > codec.Index(len(k.committed)) || k.committed[i-1].id != id {
		k.s.violate("node %d has a snapshot up to %v, which is not committed", n.id, id)
		return
	}
	if want := k.stateAt(i); want != (effect{n.machine.index, n.machine.hash}) {
		k.s.violate("node %d has from a snapshot up to %v the state behind %d, want that behind %d, or the two differ", n.id, id, n.machine.index, want.index)
	}
}

// names checks the membership of a base: the newest one up to it, as it was proposed.
func (k *checker) names(n *node, b *codec.LogBase) {
	want := k.memberUpTo(b.ID.Index)
	switch {
	case b.Membership.ID != want:
		k.s.violate("node %d: the log begins behind %v with the membership of %v, want that of %v", n.id, b.ID, b.Membership.ID, want)
	case !want.IsZero() && describe(&b.Membership.Membership) != describe(k.pasts[want].membership):
		k.s.violate("node %d: the log begins behind %v with the membership %v, that of %v is %v", n.id, b.ID,
			describe(&b.Membership.Membership), want, describe(k.pasts[want].membership))
	}
}
