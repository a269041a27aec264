package simulation

import (
	"bytes"
	"math/rand/v2"
	"time"

	"github.com/millrace/millrace/codec"
)

// messageBytesMax bounds a message, as a receiver does.
const messageBytesMax = 1 << 20

// network carries messages as bytes. What one connection carries arrives in order or the connection ends, and the sender
// hears of that later; the control lane may also lose, and reorder, single messages. Repetitions and late replays come
// on either lane outside of the connection.
//
// Owner: the run.
type network struct {
	s     *run
	rng   *rand.Rand // delays
	disk  *rand.Rand // latencies of disks
	links map[[2]codec.NodeID]*link
}

// link is one direction between two nodes.
type link struct {
	cuts    int   // partitions that hold it
	clogged int64 // nothing arrives until then
	slow    int64 // everything is slow until then
	lanes   [codec.LaneEnd]connection
	// Some of what it carried, and requests to campaign, see [network.keep].
	old, requests []*envelope
}

// connection is one lane of a link.
type connection struct {
	number  uint64 // counts the connections; what an older one carried is gone
	arrives int64  // when its newest message arrives
	broken  bool   // the sender does not know yet
}

func (w *network) init(s *run) {
	w.s, w.rng, w.disk = s, stream(s.opts.Seed, streamNetwork), stream(s.opts.Seed, streamDisk)
	w.links = map[[2]codec.NodeID]*link{}
}

func (w *network) link(from, to codec.NodeID) *link {
	l := w.links[[2]codec.NodeID{from, to}]
	if l == nil {
		l = &link{}
		w.links[[2]codec.NodeID{from, to}] = l
	}
	return l
}

// lanes is the transport that a node's stages see.
type lanes node

// Start, SetPeers, Addr and Close implement [pipeline.Transport]; the run itself does what they are for.
func (t *lanes) Start(codec.Link) error { return nil }

// SetPeers implements [pipeline.Transport].
func (t *lanes) SetPeers([]codec.Node) {}

// Addr implements [pipeline.Transport].
func (t *lanes) Addr() string { return "" }

// Close implements [pipeline.Transport].
func (t *lanes) Close() error { return nil }

// Send implements [pipeline.Transport].
func (t *lanes) Send(lane codec.Lane, packets []codec.Packet) {
	for i := range packets {
		n := (*node)(t)
		n.s.check.leaves(n, &packets[i])
		n.s.net.send(n, lane, &packets[i])
	}
}

// envelope is a message on its way, with what the handshake of its connection says of the sender, and where that dialed.
type envelope struct {
	from, to    codec.NodeID
	lane        codec.Lane
	number      uint64 // of the connection
	incarnation codec.Incarnation
	address     string
	dialed      string
	meant       codec.Incarnation // for whom it is
	bytes       []byte
	bad         bool // nobody may take it for what was sent
	kind        codec.MessageKind
}

func (w *network) send(n *node, lane codec.Lane, p *codec.Packet) {
	body := p.Body()
	b := codec.AppendMessage(make([]byte, 0, codec.MessageHeaderSize+len(body)), &p.Message, len(body))
	b = append(b, body...)
	w.s.note(12, uint64(n.id), uint64(p.Node), uint64(lane), hashBytes(b))
	if w.s.opts.Trace != nil {
		m := &p.Message
		w.s.tracef("%d -> %d %v%s %v vote %v log %v commit %d stream %d stamp %d frame %d+%d", n.id, p.Node, m.Kind, flagsOf(m), m.Status,
			m.Vote, m.Log, m.Commit, m.Stream, m.Stamp, p.Frame.Meta().First, p.Frame.Meta().Count)
	}
	l, f := w.link(n.id, p.Node), &w.s.faults
	c := &l.lanes[lane]
	if c.broken {
		return
	}
	e := &envelope{from: n.id, to: p.Node, lane: lane, number: c.number, incarnation: n.incarnation, address: n.address,
		dialed: w.s.node(p.Node).address, meant: w.s.node(p.Node).incarnation, bytes: b, kind: p.Message.Kind}
	if l.cuts > 0 || f.loses(lane) || !n.finds(p.Node) {
		if lane == codec.LaneAppend {
			w.sever(n.id, p.Node, lane)
		}
		return
	}
	at := max(w.s.now+int64(exponential(w.rng, w.s.shape.delay)+f.delay(w.s.now < l.slow)), l.clogged)
	if lane == codec.LaneAppend {
		at = max(at, c.arrives)
		c.arrives = at
	} else if e.kind == codec.MessageTransfer {
		at += int64(f.lingers())
	}
	bad := f.corrupts(b)
	if bad == nil {
		bad = f.forges(b, p.Frame.Meta())
	}
	if bad != nil {
		e.bytes, e.bad = bad, true
		w.s.at(at, func() { w.arrive(e) })
		return
	}
	w.s.at(at, func() { w.arrive(e) })
	if late, again := f.repeats(); again {
		w.s.at(at+int64(late), func() { w.again(e) })
	}
	w.keep(l, e)
}

// flagsOf says which flags a message carries.
func flagsOf(m *codec.Message) string {
	switch {
	case m.PreVote:
		return " (pre)"
	case m.Transfer:
		return " (transfer)"
	}
	return ""
}

// arrive is the end of a message's way on its connection.
func (w *network) arrive(e *envelope) {
	l := w.link(e.from, e.to)
	c := &l.lanes[e.lane]
	if e.lane == codec.LaneAppend && (c.number != e.number || c.broken) {
		return
	}
	n := w.s.node(e.to)
	if l.cuts > 0 || !n.up || n.address != e.dialed {
		if e.lane == codec.LaneAppend {
			w.sever(e.from, e.to, e.lane)
		}
		return
	}
	if l.clogged > w.s.now {
		w.s.at(l.clogged, func() { w.arrive(e) })
		return
	}
	if !w.deliver(e) && e.lane == codec.LaneAppend {
		w.sever(e.from, e.to, e.lane)
	}
}

// again delivers a copy of a message outside of its connection.
func (w *network) again(e *envelope) {
	again := *e
	again.bytes = bytes.Clone(e.bytes)
	w.deliver(&again)
}

// deliver decodes a message and hands it over. It returns false for bytes that no sender wrote.
func (w *network) deliver(e *envelope) bool {
	n := w.s.node(e.to)
	if !n.up || n.incarnation != e.meant && !e.meant.IsZero() {
		return true // a connection ends with the disk at its other end
	}
	p, _, err := codec.ReadMessage(e.bytes, messageBytesMax)
	m := &p.Message
	switch {
	case err != nil && e.bad:
		return false
	case err != nil:
		w.s.violate("message of %d bytes from node %d to %d can't be read: %v", len(e.bytes), e.from, e.to, err)
	case e.bad:
		w.s.violate("a damaged %v message from node %d was accepted by node %d", m.Kind, e.from, e.to)
	case m.Group != group:
		w.s.violate("message of group %d from node %d to %d", m.Group, e.from, e.to)
	default:
		p.Node = e.from
		n.box.packets = append(n.box.packets, packet{p, e.incarnation, e.address})
		n.wake()
	}
	return true
}

// sever ends a connection. Its sender learns it later; until then it sends into nothing.
func (w *network) sever(from, to codec.NodeID, lane codec.Lane) {
	c := &w.link(from, to).lanes[lane]
	if c.broken {
		return
	}
	c.broken = true
	c.number++
	w.s.note(13, uint64(from), uint64(to))
	w.s.after(time.Millisecond+exponential(w.rng, 30*time.Millisecond), func() {
		c.broken, c.arrives = false, w.s.now
		if n := w.s.node(from); n.up {
			n.box.downs = append(n.box.downs, to)
			n.wake()
		}
	})
}

// moves lets a node listen elsewhere.
func (w *network) moves(n *node, address string) {
	w.s.tracef("node %d moves from %s to %s", n.id, n.address, address)
	n.address = address
	w.died(n.id)
}

// died ends every connection of a node.
func (w *network) died(id codec.NodeID) {
	for _, n := range w.s.nodes {
		if n.id == id {
			continue
		}
		w.sever(n.id, id, codec.LaneAppend)
		w.sever(id, n.id, codec.LaneAppend)
	}
}
