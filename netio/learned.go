package netio

import (
	"maps"

	"github.com/millrace/millrace/codec"
)

// A node that knows no membership yet must be able to answer a candidate, and one that lags behind a membership change a
// leader that it does not know. So a node that SetPeers does not name is dialed too when it has shaken hands, at the
// address that it told, for as long as it keeps a connection to this node. SetPeers ends that for a node that it named
// before, or two nodes that were removed would keep each other for ever.
//
// One that SetPeers names may listen elsewhere: it has moved, and the membership here says so later, or said so before it
// moved back. What its newest handshake told is tried whenever the address of SetPeers does not answer as that node.

// learnedMax bounds the peers that only their own handshakes named.
const learnedMax = 64

// learn makes a node that has shaken hands a peer, where SetPeers has not named it, or else keeps the address that it told
// beside the one that SetPeers named.
func (t *TCP) learn(id codec.NodeID, address string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := *t.peers.Load()
	p := old[id]
	switch {
	case t.closed != nil || address == "":
		return
	case p != nil && !t.learned[id]:
		p.told.Store(&address)
		return
	case p != nil && p.address == address:
		return
	case p == nil && len(t.learned) >= learnedMax:
		return
	}
	peers := maps.Clone(old)
	fresh := t.newPeer(codec.Node{ID: id, Address: address})
	peers[id] = fresh
	t.learned[id] = true
	t.peers.Store(&peers)
	if p != nil {
		p.stop()
	}
	t.startLanes(fresh)
}

// learnAgain makes a node a peer to which this one has something to say, where it is connected to this one. SetPeers drops
// a member that was removed; one that was added again, and leads before this node knows it, needs an answer.
func (t *TCP) learnAgain(id codec.NodeID) {
	t.mu.Lock()
	address := t.connectedFrom(id)
	t.mu.Unlock()
	t.learn(id, address)
}

// keepLearned adds the peers that were learned to those that SetPeers was given. t.mu is held.
func (t *TCP) keepLearned(old, peers map[codec.NodeID]*peer) {
	for id := range t.learned {
		if peers[id] != nil {
			delete(t.learned, id)
		} else {
			peers[id] = old[id]
		}
	}
}

// unlearn drops a peer that only its own handshake named once its last connection has ended.
func (t *TCP) unlearn(id codec.NodeID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed != nil || !t.learned[id] || t.connectedFrom(id) != "" {
		return
	}
	delete(t.learned, id)
	peers := maps.Clone(*t.peers.Load())
	p := peers[id]
	delete(peers, id)
	t.peers.Store(&peers)
	p.stop()
}

// connectedFrom returns the address told by a node that is connected to this one, "" when it is not, or told none. t.mu
// is held; the locks of slots are taken inside it, never the other way round.
func (t *TCP) connectedFrom(id codec.NodeID) string {
	for lane := codec.LaneControl; lane < codec.LaneEnd; lane++ {
		if s := t.slots[slotKey{id, lane}]; s != nil {
			if address := s.address(); address != "" {
				return address
			}
		}
	}
	return ""
}
