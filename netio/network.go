package netio

import (
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/millrace/millrace/codec"
)

// Network connects transports inside one process. Packets are handed over directly: the sender's goroutine calls the
// receiver's Link.Deliver, frames and data are shared and not copied, nothing is encoded and nothing waits. Links can be cut,
// one direction at a time; that is for tests and for programs that show what a partition does.
// Owner: shared. The lock stands for an owner because each sender's goroutine reads the routes it guards, and no
// goroutine belongs to a network.
type Network struct {
	mu    sync.RWMutex
	nodes map[codec.NodeID]*Inproc // started ones
	cut   map[route]bool
	// lost holds the lanes whose last packets were refused; true where more was refused after Down had been called.
	lost map[routeLane]bool
	// known holds the pairs of started nodes, the smaller id first, that accepted each other, and their incarnations then.
	known map[route]identities
}

type route struct{ from, to codec.NodeID }

type routeLane struct {
	route
	lane codec.Lane
}

type identities struct{ from, to codec.Incarnation }

// pair returns the key and the value of two nodes in known.
func pair(a, b *Inproc) (route, identities) {
	if a.node > b.node {
		a, b = b, a
	}
	return route{a.node, b.node}, identities{a.incarnation, b.incarnation}
}

// NewNetwork returns a network without nodes.
func NewNetwork() *Network {
	return &Network{
		nodes: make(map[codec.NodeID]*Inproc),
		cut:   make(map[route]bool),
		lost:  make(map[routeLane]bool),
		known: make(map[route]identities),
	}
}

// Transport returns a new transport of a node. It takes part in the network from its Start to its Close. A node that
// restarts gets a new one, which meets its peers anew: both sides are asked to verify each other again.
func (n *Network) Transport(node codec.NodeID, clusterID string, incarnation codec.Incarnation) *Inproc {
	if node == 0 {
		panic("BUG: node id 0")
	}
	return &Inproc{network: n, node: node, clusterID: clusterID, incarnation: incarnation}
}

// Cut makes packets from one node to another be lost, as of the next Send. The other direction stays.
func (n *Network) Cut(from, to codec.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[route{from, to}] = true
}

// Partition cuts all links, both ways, between nodes of one side and nodes of the other.
func (n *Network) Partition(one, other []codec.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range one {
		for _, b := range other {
			n.cut[route{a, b}], n.cut[route{b, a}] = true, true
		}
	}
}

// Heal mends one link. Where packets were lost on it the sender's Link.Down is called, from inside Heal, so that it may
// try again.
func (n *Network) Heal(from, to codec.NodeID) {
	n.mu.Lock()
	delete(n.cut, route{from, to})
	n.mu.Unlock()
	n.retell(func(r route) bool { return r == route{from, to} })
}

// HealAll mends all links, as [Network.Heal] does one.
func (n *Network) HealAll() {
	n.mu.Lock()
	clear(n.cut)
	n.mu.Unlock()
	n.retell(func(route) bool { return true })
}

// retell calls Down again for lanes that lost packets and work again now: whatever the sender tried meanwhile is lost
// too, and it may try once more.
func (n *Network) retell(which func(route) bool) {
	type call struct {
		from *Inproc
		to   codec.NodeID
		lane codec.Lane
	}
	var calls []call
	n.mu.Lock()
	for l := range n.lost {
		if from := n.nodes[l.from]; which(l.route) && !n.cut[l.route] && from != nil && n.nodes[l.to] != nil {
			delete(n.lost, l)
			calls = append(calls, call{from, l.to, l.lane})
		}
	}
	n.mu.Unlock()
	for _, c := range calls {
		if c.from.gate.TryRLock() {
			if c.from.up {
				c.from.link.Down(c.to, c.lane)
			}
			c.from.gate.RUnlock()
		}
	}
}

// leave takes a node out, with its connections. Its next life may have forgotten whom it met: a crash can take what it
// had noted of a peer. It must meet everybody anew, as over TCP, or it would never trust one that knows it already. And it
// has sent nothing, so that nothing of its own is lost.
func (n *Network) leave(node codec.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.nodes, node)
	maps.DeleteFunc(n.known, func(pair route, _ identities) bool { return pair.from == node || pair.to == node })
	maps.DeleteFunc(n.lost, func(l routeLane, _ bool) bool { return l.from == node })
}

// find returns the receiver of a lane that works, or nil; whether both sides have accepted each other before; and
// whether the lane's last packets were lost, and more after Down was called for that.
func (n *Network) find(from *Inproc, l routeLane) (to *Inproc, known, lost, more bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	to = n.nodes[l.to]
	if to == nil || n.cut[l.route] {
		return nil, false, false, false
	}
	key, ids := pair(from, to)
	met, ok := n.known[key]
	more, lost = n.lost[l]
	return to, ok && met == ids, lost, more
}

// lose notes that packets of a lane were refused and reports whether Down is due for it.
func (n *Network) lose(l routeLane) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, told := n.lost[l]
	n.lost[l] = told
	return !told
}

// settle notes that all that was lost on a lane is known to its sender.
func (n *Network) settle(l routeLane) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.lost, l)
}

// Inproc is one node's transport in a [Network].
// Owner: shared. gate is held for reading during each call of Link, also by the goroutines of other senders, and for
// writing by Start and Close: so nothing is called after Close. No owner could wait for calls on others' goroutines.
// Senders only try to get it, so that two nodes that close while they send to each other do not wait for each other.
type Inproc struct {
	network     *Network
	node        codec.NodeID
	clusterID   string
	incarnation codec.Incarnation
	counters    counters
	batches     sync.Pool // of *[]codec.Packet

	gate   sync.RWMutex
	link   codec.Link
	up     bool
	closed bool

	peers atomic.Pointer[map[codec.NodeID]bool] // replaced by SetPeers, never changed
}

// Start makes the node reachable and lets it send. Errors: [ErrClosed], [ErrStarted], [ErrConfig] where the link is that of
// another incarnation, and one that names the node when its id is already in use in this network.
func (p *Inproc) Start(link codec.Link) error {
	if link.Verify == nil || link.Deliver == nil || link.Down == nil {
		panic("BUG: a link needs Verify, Deliver and Down")
	}
	if err := p.join(link); err != nil {
		return err
	}
	p.network.retell(func(r route) bool { return r.to == p.node })
	return nil
}

func (p *Inproc) join(link codec.Link) error {
	p.gate.Lock()
	defer p.gate.Unlock()
	switch {
	case p.closed:
		return ErrClosed
	case p.up:
		return ErrStarted
	}
	if err := checkIncarnation(p.node, p.incarnation, &link); err != nil {
		return err
	}
	p.network.mu.Lock()
	defer p.network.mu.Unlock()
	if p.network.nodes[p.node] != nil {
		return fmt.Errorf("address %q is already in use", p.Addr())
	}
	p.network.nodes[p.node] = p
	p.link, p.up = link, true
	return nil
}

// SetPeers tells which nodes packets may go to, beside those that sent some here: a node that knows no membership yet
// must be able to answer a candidate. As over TCP, those that are there shake hands at once and not when the first packet
// comes, which the other side might drop until it knows this one. Addresses do not matter here.
func (p *Inproc) SetPeers(nodes []codec.Node) {
	peers := make(map[codec.NodeID]bool, len(nodes))
	for _, n := range nodes {
		peers[n.ID] = n.ID != p.node
	}
	p.peers.Store(&peers)
	if !p.gate.TryRLock() {
		return // it is starting or closing
	}
	defer p.gate.RUnlock()
	for _, n := range nodes {
		to, known, _, _ := p.network.find(p, routeLane{route{p.node, n.ID}, codec.LaneControl})
		if n.ID != p.node && to != nil && !known {
			p.greet(to)
		}
	}
}

// greet shakes hands with a node that is there. p.gate is held for reading.
func (p *Inproc) greet(to *Inproc) {
	if !p.up || !to.gate.TryRLock() {
		return // one of them is starting or closing; the first packet does it
	}
	defer to.gate.RUnlock()
	if to.up {
		p.meet(to)
	}
}

func (p *Inproc) isPeer(id codec.NodeID) bool {
	peers := p.peers.Load()
	return peers != nil && (*peers)[id]
}

// Send hands packets to the nodes they name, on the caller's goroutine. A link that is cut, a node that is not there
// or not a peer, or one that refuses this node, loses them: then Link.Down is called before Send returns, once, and
// once more when the link works again if more was lost meanwhile.
func (p *Inproc) Send(lane codec.Lane, packets []codec.Packet) {
	if lane == 0 || lane >= codec.LaneEnd {
		panic(fmt.Sprintf("BUG: send on %v", lane))
	}
	if !p.gate.TryRLock() {
		return // it is starting or closing
	}
	defer p.gate.RUnlock()
	if !p.up {
		return
	}
	for len(packets) > 0 {
		node, n := packets[0].Node, 1
		for n < len(packets) && packets[n].Node == node {
			n++
		}
		p.deliver(lane, node, packets[:n])
		packets = packets[n:]
	}
}

// deliver hands over packets for one node. p.gate is held for reading.
func (p *Inproc) deliver(lane codec.Lane, node codec.NodeID, packets []codec.Packet) {
	l := routeLane{route{p.node, node}, lane}
	cause := DropUnknownPeer
	to, known, lost, more := p.network.find(p, l)
	if known || p.isPeer(node) {
		cause = DropNotConnected
		switch {
		case to == nil:
		case more: // the sender does not know yet of all that is missing before these packets
			p.network.settle(l)
		case p.hand(to, known, packets):
			if lost {
				p.network.settle(l)
			}
			return
		}
	}
	p.counters.count(cause, len(packets))
	if p.network.lose(l) {
		p.link.Down(node, lane)
	}
}

// hand gives packets to a node that is there, and reports whether it took them.
func (p *Inproc) hand(to *Inproc, known bool, packets []codec.Packet) bool {
	if !to.gate.TryRLock() {
		return false // it is starting or closing
	}
	defer to.gate.RUnlock()
	if !to.up || !known && !p.meet(to) {
		return false
	}
	batch, _ := p.batches.Get().(*[]codec.Packet)
	if batch == nil {
		batch = new([]codec.Packet)
	}
	bytes := 0
	for _, packet := range packets {
		bytes += wireSize(&packet)
		packet.Node = p.node
		*batch = append(*batch, packet)
	}
	to.link.Deliver(*batch)
	clear(*batch)
	*batch = (*batch)[:0]
	p.batches.Put(batch)

	p.counters.messagesOut.Add(uint64(len(packets)))
	p.counters.bytesOut.Add(uint64(bytes))
	to.counters.messagesIn.Add(uint64(len(packets)))
	to.counters.bytesIn.Add(uint64(bytes))
	return true
}

// meet is the handshake: each side must belong to the same cluster and accept the other's incarnation. Both gates are
// held for reading.
func (p *Inproc) meet(to *Inproc) bool {
	switch {
	case p.clusterID != to.clusterID:
		to.counters.count(RefusedWrongCluster, 1)
	case to.link.Verify(p.node, p.incarnation) != nil:
		if to.isPeer(p.node) {
			to.counters.count(RefusedWrongIncarnation, 1)
		} else {
			to.counters.count(RefusedUnknownPeer, 1)
		}
	case p.link.Verify(to.node, to.incarnation) != nil:
	default:
		p.counters.dialed.Add(1)
		to.counters.accepted.Add(1)
		p.network.mu.Lock()
		defer p.network.mu.Unlock()
		key, ids := pair(p, to)
		p.network.known[key] = ids
		return true
	}
	p.counters.count(DialRefused, 1)
	return false
}

// Addr returns "inproc:" and the node's id.
func (p *Inproc) Addr() string { return fmt.Sprint("inproc:", p.node) }

// Stats returns the counters. Bytes are what the packets would have on a wire.
func (p *Inproc) Stats() Stats { return p.counters.snapshot() }

// Close takes the node out of the network and returns when no function of its Link runs any more. It must not be
// called from inside one.
func (p *Inproc) Close() error {
	p.gate.Lock()
	defer p.gate.Unlock()
	if p.up {
		p.network.leave(p.node)
	}
	p.up, p.closed = false, true
	return nil
}
