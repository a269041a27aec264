package netio

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

// N7: a peer that stops reading its append lane costs at most the lane's bound, its control lane works on, and when it
// reads again it finds no gap before the point where packets were refused.
func TestPeerThatStopsReading(t *testing.T) {
	const laneMax = 32 << 20 // the kernel alone takes some 5 MiB for a peer that does not read
	goOn := make(chan struct{})
	release := sync.OnceFunc(func() { close(goOn) })
	defer release()
	control, appended := newSink(), newSink()
	address := fakePeer(t, accepts(2), func(c net.Conn) { serveLane(c, control, appended, goOn) })
	up := newSink()
	cfg := testConfig(1)
	cfg.LaneBytesMax, cfg.MessageBytesMax = laneMax, 1<<20
	a := start(t, cfg, up)
	connect(t, a, 2, address)

	l := a.peer(2).lanes[codec.LaneAppend]
	sent := 0
	for a.Stats().By[DropFull] == 0 {
		if sent > 10000 {
			t.Fatal("a lane that nobody reads is never full")
		}
		a.Send(codec.LaneAppend, []codec.Packet{appendOf(t, 2, sent, 100<<10)})
		sent++
		l.mu.Lock()
		held := l.queued + l.unsent
		l.mu.Unlock()
		if held > laneMax {
			t.Fatalf("the lane holds %d bytes, limit %d", held, laneMax)
		}
	}
	kept := sent - 1
	for i := range 100 {
		a.Send(codec.LaneControl, []codec.Packet{heartbeat(2, i)})
		a.Send(codec.LaneAppend, []codec.Packet{appendOf(t, 2, kept+1+i, 10)})
	}
	control.wait(t, "heartbeats while the append lane is full", func() bool { return len(control.packets) == 100 })
	if n := a.Stats().By[DropFull]; n != 101 {
		t.Errorf("%d packets refused, want all 101 behind the full lane", n)
	}
	l.mu.Lock()
	if buffered := l.unsent; l.conn == nil || buffered > laneMax {
		t.Errorf("connected %v, %d bytes unsent", l.conn != nil, buffered)
	}
	l.mu.Unlock()
	up.mu.Lock()
	if len(up.downs) != 0 {
		t.Errorf("Down called %v while the lane has no room", up.downs)
	}
	up.mu.Unlock()

	release()
	up.wait(t, "Down", func() bool { return len(up.downs) == 1 })
	waitUp(t, a, 2, codec.LaneAppend)
	a.Send(codec.LaneAppend, []codec.Packet{appendOf(t, 2, 999999, 10)})
	appended.wait(t, "all packets", func() bool { return len(appended.packets) == kept+1 })
	got := appended.received()
	for i := range kept {
		if int(got[i].Message.Stamp) != i {
			t.Fatalf("packet %d has number %d", i, got[i].Message.Stamp)
		}
	}
	if got[kept].Message.Stamp != 999999 {
		t.Errorf("after Down came number %d", got[kept].Message.Stamp)
	}
}

// serveLane reads a connection like a peer; the append lane only once goOn is closed.
func serveLane(c net.Conn, control, appended *sink, goOn chan struct{}) {
	var first [codec.MessageHeaderSize]byte
	if _, err := io.ReadFull(c, first[:]); err != nil {
		return
	}
	lane, s := codec.LaneControl, control
	if codec.MessageKind(first[5]) == codec.MessageAppend {
		lane, s = codec.LaneAppend, appended
		<-goOn
	}
	p := &parser{from: 2, lane: lane, limit: messageBytesLimit}
	deliver := s.link().Deliver
	buf := make([]byte, 64<<10)
	for n, err := copy(buf, first[:]), error(nil); err == nil; n, err = c.Read(buf) {
		if p.feed(buf[:n], deliver) != nil {
			return
		}
	}
}

// The connection of a lane that is full ends: Down is called, and nothing stays queued.
func TestFullLaneWhoseConnectionEnds(t *testing.T) {
	stall := make(chan struct{})
	release := sync.OnceFunc(func() { close(stall) })
	defer release()
	address := fakePeer(t, accepts(2), func(net.Conn) { <-stall })
	up := newSink()
	cfg := testConfig(1)
	// The kernel alone takes some 5 MiB, so that the lane stays full; no dial comes after the first.
	cfg.LaneBytesMax, cfg.MessageBytesMax, cfg.BackoffMin, cfg.BackoffMax = 32<<20, 1<<20, time.Minute, time.Hour
	a := start(t, cfg, up)
	connect(t, a, 2, address)
	for i := 0; a.Stats().By[DropFull] == 0; i++ {
		a.Send(codec.LaneAppend, []codec.Packet{appendOf(t, 2, i, 200<<10)})
	}
	release()
	up.wait(t, "Down of all lanes", func() bool { return len(up.downs) == lanes })
	l := a.peer(2).lanes[codec.LaneAppend]
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil || l.queue != nil || l.queued+l.unsent != 0 {
		t.Errorf("after the end: connection %v, %d packets, %d bytes", l.conn != nil, len(l.queue), l.queued+l.unsent)
	}
	if a.Stats().By[DropUnsent] == 0 {
		t.Error("what was queued is not counted as dropped")
	}
}

// A message that the limits never let through is refused and said so, and the lane goes on.
func TestMessageAboveTheLimit(t *testing.T) {
	log, up, got := newLogSink(), newSink(), newSink()
	cfg := testConfig(1)
	cfg.MessageBytesMax, cfg.Logger = 10000, log.logger()
	a, b := start(t, cfg, up), start(t, testConfig(2), got)
	connect(t, a, 2, b.Addr())
	a.Send(codec.LaneAppend, []codec.Packet{appendOf(t, 2, 1, 10), appendOf(t, 2, 2, 20000), appendOf(t, 2, 3, 10)})
	up.wait(t, "Down", func() bool { return len(up.downs) == 1 })
	waitUp(t, a, 2, codec.LaneAppend)
	a.Send(codec.LaneAppend, []codec.Packet{appendOf(t, 2, 4, 10)})
	got.wait(t, "two packets", func() bool { return len(got.packets) == 2 })
	same(t, got.received(), []codec.Packet{appendOf(t, 2, 1, 10), appendOf(t, 2, 4, 10)}, 1)
	if s := a.Stats(); s.By[DropTooLarge] != 1 || s.By[DropFull] != 1 || log.count("larger than MessageBytesMax") != 1 {
		t.Errorf("stats %v, log:\n%s", s.By, log.buf.String())
	}
}

// N6: with every buffer scribbled over as soon as its callback or write is over, all frames are still what was sent.
// The receiver is slow at first, so that gnet has to keep what the socket does not take.
func TestNoSliceIsKept(t *testing.T) {
	poison := func(tr *TCP) { tr.afterTraffic, tr.afterWrite = scribble, scribble }
	got := newSink()
	gate := make(chan struct{})
	release := sync.OnceFunc(func() { close(gate) })
	defer release()
	got.deliver = func(packets []codec.Packet) {
		<-gate // a test may block here; an engine may not
		got.change(func() { got.packets = append(got.packets, packets...) })
		scribbleBatch(packets)
	}
	a, b := start(t, testConfig(1), newSink(), poison), start(t, testConfig(2), got, poison)
	connect(t, a, 2, b.Addr())
	var want []codec.Packet
	sizes := []int{0, 60, 1900, 2500, 40000, 300000}
	for i := range 600 {
		want = append(want, appendOf(t, 2, i, sizes[i%len(sizes)]))
	}
	a.Send(codec.LaneAppend, want)
	l := a.peer(2).lanes[codec.LaneAppend]
	until(t, "a full socket", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.stalled })
	release()
	got.wait(t, "all packets", func() bool { return len(got.packets) == len(want) })
	same(t, got.received(), want, 1)
}

func scribbleBatch(packets []codec.Packet) {
	for i := range packets {
		packets[i] = codec.Packet{Node: 0xdb}
	}
}

// N4 through the event loop: a byte at a time, then a hundred messages in one write.
func TestPiecesThroughTheEventLoop(t *testing.T) {
	got := newSink()
	b := start(t, testConfig(2), got, func(tr *TCP) { tr.afterTraffic = scribble })
	c, status := rawPeer(t, b.Addr(), helloFrom(1, 2, codec.LaneAppend))
	if status != codec.HandshakeAccepted {
		t.Fatal(status)
	}
	few, many := mixed(t, 3), mixed(t, 100)
	for _, one := range wire(few...) {
		write(t, c, []byte{one})
	}
	write(t, c, wire(many...))
	got.wait(t, "all messages", func() bool { return len(got.packets) == 103 })
	same(t, got.received(), append(few, many...), 1)
}
