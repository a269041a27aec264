package simulation

import (
	"github.com/millrace/millrace/codec"
)

// What a node knows of the others beside what the core does: which disks they have, and where they listen.

// trusts reports what a node thinks of a peer with a certain disk: it is the one that is known, or must be refused, or is
// to be remembered first.
func (n *node) trusts(peer codec.NodeID, incarnation codec.Incarnation) (trusted, refused bool) {
	decided, known := n.decided(peer), n.known[peer]
	switch {
	case !decided.IsZero() && decided != incarnation:
		return false, true
	case known == incarnation:
		return true, false
	}
	return false, decided.IsZero() && !known.IsZero()
}

// decided returns the incarnation that a node's membership names for another, zero for none.
func (n *node) decided(peer codec.NodeID) codec.Incarnation {
	if m := n.s.check.seen[n.id].member; m != nil {
		o, _ := m.Node(peer)
		return o.Incarnation
	}
	return codec.Incarnation{}
}

func (n *node) remember(peer codec.NodeID, incarnation codec.Incarnation) {
	if _, asking := n.asking[peer]; asking {
		return
	}
	n.asking[peer] = incarnation
	life := n.life
	n.log.RememberPeer(peer, incarnation, func(err error) {
		if err == nil && life == n.life && !n.dying {
			n.known[peer] = incarnation
		}
	})
	n.pump()
}

// complete writes into a membership the incarnations that a node knows, as package engine does.
func (n *node) complete(m *codec.Membership) {
	for i := range m.Nodes {
		switch o := &m.Nodes[i]; {
		case !o.Incarnation.IsZero():
		case o.ID == n.id:
			o.Incarnation = n.incarnation
		default:
			o.Incarnation = n.known[o.ID]
		}
	}
}

// setPeers tells a node where its membership has its peers.
func (n *node) setPeers(m *codec.Membership) {
	if m == nil {
		return
	}
	for i := range m.Nodes {
		n.named[m.Nodes[i].ID] = m.Nodes[i].Address
	}
}

// finds reports whether a node can shake hands with another: whether it knows where that listens, from the membership or
// from what it said itself when it was heard last (whoever dials tries both, for either may be the newer one), and whether
// that has the right disk. When the faults have ended, operators let a node listen wherever any membership has it.
func (n *node) finds(peer codec.NodeID) bool {
	o := n.s.node(peer)
	if _, refused := n.trusts(peer, o.incarnation); refused && !o.incarnation.IsZero() {
		n.s.strangers++
		n.s.tracef("node %d does not talk to node %d: its disk is another one than before", n.id, peer)
		return false
	}
	return n.s.healing || n.named[peer] == o.address || n.heard[peer] == o.address
}
