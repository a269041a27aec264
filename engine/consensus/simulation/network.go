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

func (w *network) send(n *node, lane codec.Lane, p *codec.Packet) {
	frame := p.Frame.Bytes()
	b := codec.AppendMessage(make([]byte, 0, codec.MessageHeaderSize+len(frame)), &p.Message, len(frame))
	b = append(b, frame...)
	w.s.note(12, uint64(n.id), uint64(p.Node), uint64(lane), hashBytes(b))
	w.s.tracef("%d -> %d %v %v vote %v log %v commit %d stream %d frame %d+%d", n.id, p.Node, p.Message.Kind, p.Message.Status,
		p.Message.Vote, p.Message.Log, p.Message.Commit, p.Message.Stream, p.Frame.Meta().First, p.Frame.Meta().Count)
	l, f := w.link(n.id, p.Node), &w.s.faults
	c := &l.lanes[lane]
	if c.broken {
		return
	}
	if l.cuts > 0 || f.loses(lane) {
		if lane == codec.LaneAppend {
			w.sever(n.id, p.Node, lane)
		}
		return
	}
	at := max(w.s.now+int64(exponential(w.rng, w.s.shape.delay)+f.delay(w.s.now < l.slow)), l.clogged)
	if lane == codec.LaneAppend {
		at = max(at, c.arrives)
		c.arrives = at
	}
	from, to, number := n.id, p.Node, c.number
	if bad := f.corrupts(b); bad != nil {
		w.s.at(at, func() { w.arrive(from, to, lane, number, bad, true) })
		return
	}
	w.s.at(at, func() { w.arrive(from, to, lane, number, b, false) })
	for _, late := range f.repeats() {
		again := bytes.Clone(b)
		w.s.at(at+int64(late), func() { w.deliver(from, to, again, false) })
	}
}

// arrive is the end of a message's way on its connection.
func (w *network) arrive(from, to codec.NodeID, lane codec.Lane, number uint64, b []byte, bad bool) {
	l := w.link(from, to)
	c := &l.lanes[lane]
	if lane == codec.LaneAppend && (c.number != number || c.broken) {
		return
	}
	if l.cuts > 0 || !w.s.node(to).up {
		if lane == codec.LaneAppend {
			w.sever(from, to, lane)
		}
		return
	}
	if l.clogged > w.s.now {
		w.s.at(l.clogged, func() { w.arrive(from, to, lane, number, b, bad) })
		return
	}
	if !w.deliver(from, to, b, bad) && lane == codec.LaneAppend {
		w.sever(from, to, lane)
	}
}

// deliver decodes a message and hands it over. It returns false for bytes that no sender wrote.
func (w *network) deliver(from, to codec.NodeID, b []byte, bad bool) bool {
	n := w.s.node(to)
	if !n.up {
		return true
	}
	m, f, _, err := codec.ReadMessage(b, messageBytesMax)
	switch {
	case err != nil && bad:
		return false
	case err != nil:
		w.s.violate("message of %d bytes from node %d to %d can't be read: %v", len(b), from, to, err)
	case bad:
		w.s.violate("a damaged %v message from node %d was accepted by node %d", m.Kind, from, to)
	case m.Group != group:
		w.s.violate("message of group %d from node %d to %d", m.Group, from, to)
	default:
		n.box.packets = append(n.box.packets, codec.Packet{Node: from, Message: m, Frame: f})
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
