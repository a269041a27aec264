package netio

import (
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

// N7: a peer that stops reading its append or snapshot lane costs at most the lane's bound, its other lanes work on, and when
// it reads again it finds no gap before the point where packets were refused.
func TestPeerThatStopsReading(t *testing.T) {
	for lane, packet := range map[codec.Lane]func(n, size int) codec.Packet{
		codec.LaneAppend:   func(n, size int) codec.Packet { return appendOf(t, 2, n, size) },
		codec.LaneSnapshot: func(n, size int) codec.Packet { return pieceOf(2, n, size) },
	} {
		t.Run(lane.String(), func(t *testing.T) { testPeerThatStopsReading(t, lane, packet) })
	}
}

func testPeerThatStopsReading(t *testing.T, lane codec.Lane, packet func(n, size int) codec.Packet) {
	const laneMax = 32 << 20 // the kernel alone takes some 5 MiB for a peer that does not read
	goOn := make(chan struct{})
	release := sync.OnceFunc(func() { close(goOn) })
	defer release()
	got := newSink()
	address := fakePeer(t, accepts(2), func(c net.Conn) { serveLane(c, got, lane, goOn) })
	up := newSink()
	cfg := testConfig(1)
	cfg.LaneBytesMax, cfg.MessageBytesMax = laneMax, 1<<20
	a := start(t, cfg, up)
	connect(t, a, 2, address)

	l := a.peer(2).lanes[lane]
	sent := 0
	for a.Stats().By[DropFull] == 0 {
		if sent > 10000 {
			t.Fatal("a lane that nobody reads is never full")
		}
		a.Send(lane, []codec.Packet{packet(sent, 100<<10)})
		sent++
		l.mu.Lock()
		held := l.queued + l.unsent
		l.mu.Unlock()
		if held > laneMax {
			t.Fatalf("the lane holds %d bytes, limit %d", held, laneMax)
		}
	}
	kept := sent - 1
	other := codec.LaneAppend + codec.LaneSnapshot - lane
	for i := range 100 {
		a.Send(codec.LaneControl, []codec.Packet{heartbeat(2, i)})
		a.Send(other, []codec.Packet{onLane(t, other, i)})
		a.Send(lane, []codec.Packet{packet(kept+1+i, 10)})
	}
	got.wait(t, "heartbeats and the other lane's packets while this lane is full", func() bool { return len(got.packets) == 200 })
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
	waitUp(t, a, 2, lane)
	a.Send(lane, []codec.Packet{packet(999999, 10)})
	got.wait(t, "all packets", func() bool { return len(got.packets) == 200+kept+1 })
	came := got.receivedOn(lane)
	for i := range kept {
		if int(came[i].Message.Stamp) != i {
			t.Fatalf("packet %d has number %d", i, came[i].Message.Stamp)
		}
	}
	if came[kept].Message.Stamp != 999999 {
		t.Errorf("after Down came number %d", came[kept].Message.Stamp)
	}
}

// onLane is a small packet that belongs on the lane.
func onLane(t testing.TB, lane codec.Lane, n int) codec.Packet {
	switch lane {
	case codec.LaneAppend:
		return appendOf(t, 2, n, 10)
	case codec.LaneSnapshot:
		return pieceOf(2, n, 10)
	}
	return heartbeat(2, n)
}

// serveLane reads a connection like a peer; that of the lane slow only once goOn is closed.
func serveLane(c net.Conn, s *sink, slow codec.Lane, goOn chan struct{}) {
	var first [codec.MessageHeaderSize]byte
	if _, err := io.ReadFull(c, first[:]); err != nil {
		return
	}
	lane := codec.MessageKind(first[5]).Lane()
	if lane == slow {
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

// A snapshot on its way delays neither heartbeats nor appends: each of them, sent while tens of megabytes wait on the
// snapshot lane, arrives after no more of it than one loop can have in hand, whatever the machine's speed.
func TestSnapshotsGiveWay(t *testing.T) {
	const (
		size    = 1 << 20  // of one piece
		waiting = 64       // pieces that are always under way
		rounds  = 150      // packets that are to overtake them, on each lane
		most    = 16 << 20 // of a snapshot may arrive between sending a packet and its coming, at the 99th percentile
	)
	got := newSink()
	var snapshot atomic.Int64 // pieces that came
	got.deliver = func(packets []codec.Packet) {
		if packets[0].Message.Kind == codec.MessageSnapshot {
			snapshot.Add(int64(len(packets)))
			packets = nil
		}
		got.change(func() { got.packets = append(got.packets, packets...) })
	}
	a, b := start(t, testConfig(1), newSink()), start(t, testConfig(2), got)
	connect(t, a, 2, b.Addr())
	piece := []codec.Packet{pieceOf(2, 1, size)}
	sent := int64(0)
	fill := func() {
		for ; sent-snapshot.Load() < waiting; sent++ {
			a.Send(codec.LaneSnapshot, piece)
		}
	}
	for _, lane := range []codec.Lane{codec.LaneControl, codec.LaneAppend} {
		var passed []int64
		for i := range rounds {
			fill()
			before, have := snapshot.Load(), len(got.received())
			a.Send(lane, []codec.Packet{onLane(t, lane, i)})
			got.wait(t, "a packet that overtakes a snapshot", func() bool { return len(got.packets) > have })
			passed = append(passed, (snapshot.Load()-before)*size)
		}
		slices.Sort(passed)
		if p99 := passed[rounds*99/100]; p99 > most {
			t.Errorf("%v lane: at the 99th percentile %d MiB of a snapshot came first, want at most %d (median %d)",
				lane, p99>>20, most>>20, passed[rounds/2]>>20)
		}
	}
	got.wait(t, "the whole snapshot", func() bool { return snapshot.Load() == sent })
	if n := a.Stats().By[DropFull]; n != 0 {
		t.Errorf("%d packets refused", n)
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

// N6: with every buffer scribbled over as soon as its callback or write is over, all frames and data are still what was sent.
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
		p := appendOf(t, 2, i, sizes[i%len(sizes)])
		if i%4 == 3 {
			p = forwardOf(2, i, 1+sizes[i%len(sizes)])
		}
		want = append(want, p)
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
