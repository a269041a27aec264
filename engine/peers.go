package engine

import (
	"errors"
	"fmt"
	"sync"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
)

// Bounds of the node ids that are remembered, each with a record in the log: whoever reaches the port of a node could
// invent others for ever. Members are always remembered; what the cluster itself decided needs no bound here.
const (
	// knownMax bounds all ids once a node is no member, be it that no membership is known.
	knownMax = codec.MembershipNodesMax + 64
	// strangersMax bounds those that came in this life of a node and belong to no membership that it has known since.
	strangersMax = 64
)

// peerBook remembers which incarnation of each peer was seen first, durably, and refuses any other; where the membership
// names one, that counts. Until a new peer's
// incarnation is durable the loop drops its packets: otherwise this node could count a vote or an acknowledgement of a
// peer, forget in a crash which disk had given it, and later accept the same node id with an empty disk.
//
// A node that is no member is let in too: this one may lag behind the change that made it one, and could else never hear
// the leader that would tell. The Consensus Module drops what a stranger may not do.
type peerBook struct {
	self    codec.NodeID
	log     pipeline.Log
	trusted func(codec.NodeID) // called once a peer's incarnation is durable

	// mu guards what follows. No owner would do: transports ask from their own goroutines and need the answer at once.
	mu        sync.Mutex
	known     map[codec.NodeID]codec.Incarnation
	members   map[codec.NodeID]bool              // nil while no membership is known
	decided   map[codec.NodeID]codec.Incarnation // written down in the membership
	strangers map[codec.NodeID]bool              // noted in this life while a membership was known that they did not belong to
}

func newPeerBook(self codec.NodeID, log pipeline.Log, trusted func(codec.NodeID)) *peerBook {
	b := &peerBook{self: self, log: log, trusted: trusted, known: log.Peers(), strangers: map[codec.NodeID]bool{}}
	if b.known == nil {
		b.known = map[codec.NodeID]codec.Incarnation{}
	}
	return b
}

// setMembers tells who belongs to the cluster, nil for not known. It returns members that this node has taken for who they
// are not: the membership knows another incarnation.
func (b *peerBook) setMembers(m *codec.Membership) (impostors []codec.NodeID) {
	var members map[codec.NodeID]bool
	decided := map[codec.NodeID]codec.Incarnation{}
	if m != nil {
		members = make(map[codec.NodeID]bool, len(m.Nodes))
		for _, n := range m.Nodes {
			members[n.ID] = true
			if !n.Incarnation.IsZero() {
				decided[n.ID] = n.Incarnation
			}
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.members, b.decided = members, decided
	for id := range members {
		delete(b.strangers, id)
	}
	for id, want := range decided {
		if seen, ok := b.known[id]; ok && seen != want {
			impostors = append(impostors, id)
		}
	}
	return impostors
}

// complete writes into a membership the incarnations that this node knows, so that nodes which come later and have never
// met a member still know which disk goes by its id. One that was given and differs is refused.
func (b *peerBook) complete(m *codec.Membership) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range m.Nodes {
		n := &m.Nodes[i]
		have := b.known[n.ID]
		if n.ID == b.self {
			have = b.log.Incarnation()
		}
		if want, ok := b.decided[n.ID]; ok {
			have = want
		}
		switch {
		case n.Incarnation.IsZero():
			n.Incarnation = have
		case !have.IsZero() && n.Incarnation != have:
			return fmt.Errorf("%w: node %d has incarnation %v, want %v, by which it is known; or none, to keep that", ErrMembership, n.ID, n.Incarnation, have)
		}
	}
	return nil
}

// verify is the transport's question whether to accept a connection.
func (b *peerBook) verify(id codec.NodeID, incarnation codec.Incarnation) error {
	if id == b.self {
		return fmt.Errorf("peer claims to be node %d, which is this node", id)
	}
	if id == 0 || incarnation.IsZero() {
		return errors.New("peer without a node id or incarnation")
	}
	seen, ok, err := b.lookUp(id, incarnation)
	if err != nil {
		return err
	}
	if !ok {
		b.log.RememberPeer(id, incarnation, func(err error) {
			if err == nil {
				b.trusted(id)
			}
		})
		return nil
	}
	if seen != incarnation {
		return &IncarnationError{Node: id, Seen: seen, Got: incarnation}
	}
	return nil
}

// lookUp returns the incarnation that is remembered of a node, noting this one where there is none.
func (b *peerBook) lookUp(id codec.NodeID, incarnation codec.Incarnation) (seen codec.Incarnation, ok bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if want, ok := b.decided[id]; ok && want != incarnation {
		return want, true, nil
	}
	if seen, ok = b.known[id]; ok && (seen == incarnation || b.decided[id].IsZero()) {
		return seen, true, nil
	}
	switch {
	case b.members[id]:
	case len(b.known) >= knownMax:
		return seen, false, fmt.Errorf("node %d is new, and %d node ids are remembered already", id, len(b.known))
	case b.members == nil:
	case len(b.strangers) >= strangersMax:
		return seen, false, fmt.Errorf("node %d is not a member of this cluster, and %d others were let in that are not", id, strangersMax)
	default:
		b.strangers[id] = true
	}
	b.known[id] = incarnation
	return seen, false, nil
}
