package engine

import (
	"errors"
	"fmt"
	"sync"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
)

// knownMax bounds the node ids that are remembered, each with a record in the log: whoever reaches the port could invent
// others for ever.
const knownMax = codec.MembershipNodesMax + 64

// peerBook remembers which incarnation of each peer was seen first, durably, and refuses any other. Until a new peer's
// incarnation is durable the loop drops its packets: otherwise this node could count a vote or an acknowledgement of a
// peer, forget in a crash which disk had given it, and later accept the same node id with an empty disk.
type peerBook struct {
	self    codec.NodeID
	log     pipeline.Log
	trusted func(codec.NodeID) // called once a peer's incarnation is durable

	// mu guards known. No owner would do: transports ask from their own goroutines and need the answer at once.
	mu    sync.Mutex
	known map[codec.NodeID]codec.Incarnation
}

func newPeerBook(self codec.NodeID, log pipeline.Log, trusted func(codec.NodeID)) *peerBook {
	b := &peerBook{self: self, log: log, trusted: trusted, known: log.Peers()}
	if b.known == nil {
		b.known = map[codec.NodeID]codec.Incarnation{}
	}
	return b
}

// verify is the transport's question whether to accept a connection.
func (b *peerBook) verify(id codec.NodeID, incarnation codec.Incarnation) error {
	if id == b.self {
		return fmt.Errorf("peer claims to be node %d, which is this node", id)
	}
	if id == 0 || incarnation.IsZero() {
		return errors.New("peer without a node id or incarnation")
	}
	b.mu.Lock()
	seen, ok := b.known[id]
	full := !ok && len(b.known) >= knownMax
	if !ok && !full {
		b.known[id] = incarnation
	}
	b.mu.Unlock()
	if full {
		return fmt.Errorf("node %d is new, and %d node ids are remembered already", id, knownMax)
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
