package pipeline

import (
	"slices"

	"github.com/millrace/millrace/codec"
)

// ColdFrame is a frame that a [StreamStage] asked the log to read.
type ColdFrame struct {
	Peer   codec.NodeID
	Ticket uint64
	Frame  codec.Frame
	Err    error

	truncations uint64 // seen when the log held it
}

// StreamStage puts packets on the lanes to the peers. A packet whose frame has left the log's memory waits for it to be
// read, and everything behind it on that peer's append lane waits too, so that a lane stays in order.
//
// Owner: the group's loop.
type StreamStage struct {
	log       GroupLog
	transport Transport
	loaded    func(ColdFrame) // called by the log, from any goroutine
	out       [codec.LaneEnd][]codec.Packet
	waiting   map[codec.NodeID]*coldStream
	lost      []codec.NodeID
	tickets   uint64 // one for each frame that was asked for

	truncations uint64
}

// coldStream is one peer's append lane behind a frame that is being read.
type coldStream struct {
	ticket  uint64
	packets []streamPacket // the first one waits for the ticket
	data    int            // bytes of their [codec.Data]; frames are not read yet
}

// streamPacket is a packet that waits, with the truncations seen when the log held its frame.
type streamPacket struct {
	packet      codec.Packet
	meta        codec.FrameMeta
	truncations uint64
}

// NewStreamStage returns a stage that takes frames from log. loaded is called once for each frame it asked for; the
// loop passes it on to [StreamStage.Loaded].
func NewStreamStage(log GroupLog, transport Transport, loaded func(ColdFrame)) *StreamStage {
	return &StreamStage{log: log, transport: transport, loaded: loaded, waiting: map[codec.NodeID]*coldStream{}}
}

// Send queues a packet that carries no frame yet. meta describes the frame it shall carry, if any; one for a witness is
// made from its description alone and never read from the log. Nothing leaves before [StreamStage.Flush].
func (s *StreamStage) Send(lane codec.Lane, p codec.Packet, meta codec.FrameMeta) {
	if lane != codec.LaneAppend {
		s.out[lane] = append(s.out[lane], p)
		return
	}
	sp := streamPacket{p, meta, s.truncations}
	if c := s.waiting[p.Node]; c != nil {
		c.packets = append(c.packets, sp)
		c.data += len(p.Data.Bytes())
		return
	}
	s.sendAppend(sp)
}

// sendAppend queues the packet with its frame and reports whether the lane may go on: not when the frame must be read
// first, nor when it is gone.
func (s *StreamStage) sendAppend(sp streamPacket) bool {
	switch p, meta := &sp.packet, sp.meta; {
	case meta.IsZero():
	case meta.HeaderOnly:
		p.Frame = codec.HeaderFrame(meta)
	default:
		f, ok := s.log.Frame(meta.First)
		if !ok {
			s.awaitCold(sp)
			return false
		}
		if !describes(meta, f) {
			s.lose(p.Node)
			return false
		}
		p.Frame = f
	}
	s.out[codec.LaneAppend] = append(s.out[codec.LaneAppend], sp.packet)
	return true
}

// describes reports whether f is the frame that meta describes. It is not where a later step overwrote that one.
func describes(meta codec.FrameMeta, f codec.Frame) bool {
	m := f.Meta()
	return m.Leader == meta.Leader && m.First == meta.First && m.Count == meta.Count
}

func (s *StreamStage) awaitCold(sp streamPacket) {
	s.tickets++
	c := s.waiting[sp.packet.Node]
	if c == nil {
		c = &coldStream{packets: []streamPacket{sp}}
		s.waiting[sp.packet.Node] = c
	}
	c.ticket = s.tickets
	cold := ColdFrame{Peer: sp.packet.Node, Ticket: s.tickets, truncations: sp.truncations}
	s.log.ReadFrame(sp.meta.First, func(f codec.Frame, err error) {
		cold.Frame, cold.Err = f, err
		s.loaded(cold)
	})
}

// HeldData returns the bytes of [codec.Data] that wait for a peer behind a frame that is being read.
func (s *StreamStage) HeldData(peer codec.NodeID) int {
	if c := s.waiting[peer]; c != nil {
		return c.data
	}
	return 0
}

// Truncated notes that the log was truncated, at either end: what is being read, or waits to be, may be gone.
func (s *StreamStage) Truncated() { s.truncations++ }

// Truncations returns how often the log was truncated.
func (s *StreamStage) Truncations() uint64 { return s.truncations }

// Loaded continues the lane that waited for the frame. One that nobody waits for any more is dropped. It returns the
// error of a read that should have succeeded: the log can't give back what it holds.
func (s *StreamStage) Loaded(cold ColdFrame) error {
	if cold.Err != nil && cold.truncations == s.truncations {
		return cold.Err
	}
	c := s.waiting[cold.Peer]
	if c == nil || c.ticket != cold.Ticket {
		return nil
	}
	first := c.packets[0]
	if cold.Err != nil || !describes(first.meta, cold.Frame) {
		s.lose(cold.Peer)
		return nil
	}
	first.packet.Frame = cold.Frame
	s.out[codec.LaneAppend] = append(s.out[codec.LaneAppend], first.packet)
	c.packets = c.packets[1:]
	for len(c.packets) > 0 {
		next := c.packets[0]
		if !s.sendAppend(next) {
			return nil
		}
		c.data -= len(next.packet.Data.Bytes())
		c.packets = c.packets[1:]
	}
	delete(s.waiting, cold.Peer)
	return nil
}

// lose ends a peer's stream: what waits is dropped, and the loss is reported by [StreamStage.Lost].
func (s *StreamStage) lose(peer codec.NodeID) {
	delete(s.waiting, peer)
	if !slices.Contains(s.lost, peer) {
		s.lost = append(s.lost, peer)
	}
}

// Reset drops what waits for a peer whose lane broke; the sender probes anew.
func (s *StreamStage) Reset(peer codec.NodeID) { delete(s.waiting, peer) }

// Lost appends the peers whose streams ended since the last call because a frame could not be had.
func (s *StreamStage) Lost(dst []codec.NodeID) []codec.NodeID {
	dst = append(dst, s.lost...)
	s.lost = s.lost[:0]
	return dst
}

// ColdReads returns how many frames had to be read back from the log.
func (s *StreamStage) ColdReads() uint64 { return s.tickets }

// Flush hands everything queued to the transport.
func (s *StreamStage) Flush() {
	for lane := codec.LaneControl; lane < codec.LaneEnd; lane++ {
		if len(s.out[lane]) == 0 {
			continue
		}
		s.transport.Send(lane, s.out[lane])
		clear(s.out[lane])
		s.out[lane] = s.out[lane][:0]
	}
}
