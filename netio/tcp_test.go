package netio

import (
	"errors"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/panjf2000/gnet/v2"

	"github.com/millrace/millrace/codec"
)

func TestTwoNodesTalkOnAllLanesBothWays(t *testing.T) {
	sinks := []*sink{newSink(), newSink()}
	a, b := start(t, testConfig(1), sinks[0]), start(t, testConfig(2), sinks[1])
	connect(t, a, 2, b.Addr())
	connect(t, b, 1, a.Addr())

	large := appendOf(t, 2, 7, 3<<20)
	a.Send(codec.LaneControl, []codec.Packet{heartbeat(2, 1)})
	appends := []codec.Packet{appendOf(t, 2, 5, 100), forwardOf(2, 1, 300), appendOf(t, 2, 6, 5000), large, forwardOf(2, 2, 5000)}
	pieces := []codec.Packet{pieceOf(2, 1, 1), pieceOf(2, 2, 5000), pieceOf(2, 3, 3<<20)}
	a.Send(codec.LaneAppend, appends)
	a.Send(codec.LaneSnapshot, pieces)
	b.Send(codec.LaneControl, []codec.Packet{heartbeat(1, 9)})
	held := codec.Packet{Node: 1, Message: codec.Message{Kind: codec.MessageSnapshotReply, Status: codec.StatusOK, Commit: 5001}}
	b.Send(codec.LaneSnapshot, []codec.Packet{held})

	sinks[1].wait(t, "9 packets at node 2", func() bool { return len(sinks[1].packets) == 9 })
	sinks[0].wait(t, "2 packets at node 1", func() bool { return len(sinks[0].packets) == 2 })
	same(t, sinks[0].receivedOn(codec.LaneControl), []codec.Packet{heartbeat(1, 9)}, 2)
	same(t, sinks[0].receivedOn(codec.LaneSnapshot), []codec.Packet{held}, 2)
	same(t, sinks[1].receivedOn(codec.LaneControl), []codec.Packet{heartbeat(2, 1)}, 1)
	same(t, sinks[1].receivedOn(codec.LaneAppend), appends, 1)
	same(t, sinks[1].receivedOn(codec.LaneSnapshot), pieces, 1)
	until(t, "counters", func() bool { return a.Stats().MessagesOut == 9 && b.Stats().MessagesIn == 9 })
	if s := b.Stats(); int(s.ConnectionsIn) != lanes || int(s.ConnectionsOut) != lanes || int(s.Accepted) != lanes || s.BytesIn != a.Stats().BytesOut {
		t.Errorf("stats %+v, and of the sender %+v", s, a.Stats())
	}
}

// A window of packets is kept in flight so that nothing is refused, and each must come, in order.
func TestOrderUnderLoad(t *testing.T) {
	const total, window = 20000, 500
	got := newSink()
	next := 0
	var wrong string
	got.deliver = func(packets []codec.Packet) {
		got.change(func() {
			for _, p := range packets {
				if int(p.Message.Stamp) != next || int(p.Frame.Meta().First) != next+1 {
					wrong = "out of order"
				}
				next++
			}
		})
	}
	a, b := start(t, testConfig(1), newSink()), start(t, testConfig(2), got)
	connect(t, a, 2, b.Addr())
	sizes := []int{1, 200, 1500, 2100, 9000, 70000}
	var made []codec.Packet
	for i := range total {
		made = append(made[:0], appendOf(t, 2, i, sizes[i%len(sizes)]))
		a.Send(codec.LaneAppend, made)
		if i%window == 0 {
			got.wait(t, "the window", func() bool { return next > i-window || wrong != "" })
		}
	}
	got.wait(t, "all packets", func() bool { return next == total || wrong != "" })
	if wrong != "" || a.Stats().By[DropFull] != 0 {
		t.Fatalf("%s at %d, stats %+v", wrong, next, a.Stats())
	}
}

func TestPeerRestartReconnectsAndTellsDown(t *testing.T) {
	log, up := newLogSink(), newSink()
	cfg := testConfig(1)
	cfg.Logger = log.logger()
	a := start(t, cfg, up)
	first := newSink()
	b, err := NewTCP(testConfig(2))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(first.link()); err != nil {
		t.Fatal(err)
	}
	address := b.Addr()
	connect(t, a, 2, address)
	a.Send(codec.LaneControl, []codec.Packet{heartbeat(2, 1)})
	first.wait(t, "the first packet", func() bool { return len(first.packets) == 1 })
	downs := func() (n int) { return len(up.downs) }
	if downs() != 0 {
		t.Fatalf("Down called %v on a good connection", up.downs)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	up.wait(t, "Down of all lanes", func() bool { return downs() >= lanes })
	a.Send(codec.LaneControl, []codec.Packet{heartbeat(2, 2)})
	before := a.Stats().By[DropNotConnected]
	if before == 0 {
		t.Error("a packet to a dead peer was not counted as dropped")
	}
	log.wait(t, "a line about the dead peer", func() bool { return log.countLocked("no connection to peer") > 0 })

	again := newSink()
	cfg2 := testConfig(2)
	cfg2.Listen = address
	start(t, cfg2, again)
	waitAllUp(t, a, 2)
	a.Send(codec.LaneControl, []codec.Packet{heartbeat(2, 3)})
	again.wait(t, "a packet after the restart", func() bool { return len(again.packets) == 1 })
	same(t, again.received(), []codec.Packet{heartbeat(2, 3)}, 1)
	until(t, "the count of connections made again", func() bool { return int(a.Stats().Reconnected) == lanes })
	if n := log.count("no connection to peer"); n > 2*lanes {
		t.Errorf("%d lines about one dead peer:\n%s", n, log.buf.String())
	}
}

// What was refused while there was no connection is reported before the lane takes anything again.
func TestDownComesBeforeTheLaneTakesPacketsAgain(t *testing.T) {
	up := newSink()
	a := start(t, testConfig(1), up)
	b, err := NewTCP(testConfig(2))
	if err != nil {
		t.Fatal(err)
	}
	l := a.newPeer(codec.Node{ID: 2}).lanes[codec.LaneControl]
	l.send([]codec.Packet{heartbeat(2, 1)})
	l.up(&outConn{lane: l})
	l.send([]codec.Packet{heartbeat(2, 2)})
	if l.queued != 0 || !l.refusing {
		t.Fatalf("queued %d bytes behind a refused packet", l.queued)
	}
	if _, report := l.look(false, time.Time{}); !report {
		t.Fatal("Down is not due")
	}
	l.send([]codec.Packet{heartbeat(2, 3)}) // while Down is called
	if l.accept() == 0 || !l.refusing {
		t.Fatal("takes packets although one was refused during the call of Down")
	}
	if _, report := l.look(true, time.Time{}); !report {
		t.Fatal("Down is not due for what was refused during its first call")
	}
	if l.accept(); l.refusing {
		t.Fatal("refuses although Down was called")
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAddressInUse(t *testing.T) {
	a := start(t, testConfig(1), newSink())
	cfg := testConfig(2)
	cfg.Listen = a.Addr()
	b, err := NewTCP(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	err = b.Start(newSink().link())
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), a.Addr()) {
		t.Fatalf("error %v, want one that names %s", err, a.Addr())
	}
}

func TestStartTwiceAndAfterClose(t *testing.T) {
	a := start(t, testConfig(1), newSink())
	if err := a.Start(newSink().link()); !errors.Is(err, ErrStarted) {
		t.Errorf("second start: %v", err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := a.Start(newSink().link()); !errors.Is(err, ErrClosed) {
		t.Errorf("start after close: %v", err)
	}
	a.Send(codec.LaneControl, []codec.Packet{heartbeat(2, 1)}) // no effect, no panic
	a.SetPeers([]codec.Node{{ID: 2, Address: "127.0.0.1:1"}})
}

func TestPanicInDeliverIsContained(t *testing.T) {
	log, got := newLogSink(), newSink()
	first := true
	got.deliver = func(packets []codec.Packet) {
		if first {
			first = false
			panic("test: engine bug")
		}
		got.change(func() { got.packets = append(got.packets, packets...) })
	}
	cfg := testConfig(2)
	cfg.Logger = log.logger()
	up := newSink()
	a, b := start(t, testConfig(1), up), start(t, cfg, got)
	connect(t, a, 2, b.Addr())
	a.Send(codec.LaneControl, []codec.Packet{heartbeat(2, 1)})
	up.wait(t, "Down", func() bool { return len(up.downs) == 1 })
	waitUp(t, a, 2, codec.LaneControl)
	a.Send(codec.LaneControl, []codec.Packet{heartbeat(2, 2)})
	got.wait(t, "the packet after the panic", func() bool { return len(got.packets) == 1 })
	if b.Stats().By[Panicked] != 1 || log.count("test: engine bug") != 1 {
		t.Errorf("panics counted %d, log:\n%s", b.Stats().By[Panicked], log.buf.String())
	}
}

// Down may come for any lane while the transport closes, but not after.
func TestCloseWhileBusy(t *testing.T) {
	for range 5 {
		var closed [2]bool
		var mu sync.Mutex
		sinks := []*sink{newSink(), newSink()}
		for i, s := range sinks {
			s.deliver = func([]codec.Packet) {
				mu.Lock()
				defer mu.Unlock()
				if closed[i] {
					t.Error("Deliver after Close")
				}
			}
			s.onDown = func(codec.NodeID, codec.Lane) {
				mu.Lock()
				defer mu.Unlock()
				if closed[i] {
					t.Error("Down after Close")
				}
			}
		}
		nodes := []*TCP{start(t, testConfig(1), sinks[0]), start(t, testConfig(2), sinks[1])}
		connect(t, nodes[0], 2, nodes[1].Addr())
		connect(t, nodes[1], 1, nodes[0].Addr())
		stop := make(chan struct{})
		var senders sync.WaitGroup
		for i, n := range nodes {
			other := codec.NodeID(2 - i)
			packets := []codec.Packet{appendOf(t, other, 1, 100), appendOf(t, other, 2, 10000), heartbeat(9, 1)}
			senders.Add(1)
			go func() {
				defer senders.Done()
				for {
					select {
					case <-stop:
						return
					default:
						n.Send(codec.LaneAppend, packets)
						runtime.Gosched()
					}
				}
			}()
		}
		until(t, "traffic", func() bool { return nodes[1].Stats().MessagesIn > 100 && nodes[0].Stats().MessagesIn > 100 })
		var closers sync.WaitGroup
		for i, n := range nodes {
			closers.Add(1)
			go func() {
				defer closers.Done()
				if err := n.Close(); err != nil {
					t.Error(err)
				}
				mu.Lock()
				closed[i] = true
				mu.Unlock()
			}()
		}
		closers.Wait()
		close(stop)
		senders.Wait()
	}
}

// What goes as it should leaves no line, of ours or of gnet.
func TestQuietLife(t *testing.T) {
	log, up, got := newLogSink(), newSink(), newSink()
	cfg := testConfig(1)
	cfg.Logger = log.logger()
	a, b := start(t, cfg, up), start(t, testConfig(2), got)
	connect(t, a, 2, b.Addr())
	connect(t, b, 1, a.Addr())
	a.Send(codec.LaneControl, []codec.Packet{heartbeat(2, 1)})
	got.wait(t, "a packet", func() bool { return len(got.packets) == 1 })
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if log.buf.Len() > 0 {
		t.Errorf("logged:\n%s", log.buf.String())
	}
}

func TestPeerThatMovesOrLeaves(t *testing.T) {
	up, old, moved := newSink(), newSink(), newSink()
	a := start(t, testConfig(1), up)
	b1, b2 := start(t, testConfig(2), old), start(t, testConfig(2), moved)
	connect(t, a, 2, b1.Addr())
	connect(t, a, 2, b2.Addr())
	a.Send(codec.LaneControl, []codec.Packet{heartbeat(2, 1)})
	moved.wait(t, "a packet at the new address", func() bool { return len(moved.packets) == 1 })
	up.wait(t, "Down of the lanes that moved", func() bool { return len(up.downs) == lanes })
	a.SetPeers(nil)
	until(t, "the connections' end", func() bool { return b2.Stats().ConnectionsIn == 0 && b1.Stats().ConnectionsIn == 0 })
	a.Send(codec.LaneControl, []codec.Packet{heartbeat(3, 2)})
	if n := a.Stats().By[DropUnknownPeer]; n != 1 {
		t.Errorf("%d packets to an unknown peer counted, want 1", n)
	}
	if len(old.received()) != 0 {
		t.Error("the old address got a packet")
	}
}

// TestPeerIsFoundWhereItSaysItListens: a peer that has moved is dialed at the address that its handshake told while
// SetPeers has the old one, whether nobody listens there or another node; and at that of SetPeers while what it told is old.
func TestPeerIsFoundWhereItSaysItListens(t *testing.T) {
	other := start(t, testConfig(3), newSink())
	gone := start(t, testConfig(4), newSink())
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	for what, old := range map[string]string{"nobody": gone.Addr(), "another node": other.Addr()} {
		t.Run(what, func(t *testing.T) {
			got := newSink()
			a, b := start(t, testConfig(1), newSink()), start(t, testConfig(2), got)
			a.SetPeers([]codec.Node{{ID: 2, Address: old}})
			connect(t, b, 1, a.Addr())
			waitUp(t, a, 2, codec.LaneControl)
			a.Send(codec.LaneControl, []codec.Packet{heartbeat(2, 1)})
			got.wait(t, "a packet at the address that it told", func() bool { return len(got.packets) == 1 })

			// It goes, what it told stays; it comes back where SetPeers has it by now.
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			back := newSink()
			c := start(t, testConfig(2), back)
			a.SetPeers([]codec.Node{{ID: 2, Address: c.Addr()}})
			waitUp(t, a, 2, codec.LaneAppend)
			waitUp(t, a, 2, codec.LaneControl)
			a.Send(codec.LaneControl, []codec.Packet{heartbeat(2, 2)})
			back.wait(t, "a packet at the address of SetPeers", func() bool { return len(back.packets) == 1 })
		})
	}
}

// gnet's loops do not stop by themselves in practice; stopping them behind the transport's back stands for it.
func TestEventLoopsThatStopAreReported(t *testing.T) {
	log := newLogSink()
	cfg := testConfig(1)
	cfg.Logger = log.logger()
	a, b := start(t, cfg, newSink()), start(t, testConfig(2), newSink())
	connect(t, a, 2, b.Addr())
	connect(t, b, 1, a.Addr())
	until(t, "all connections", func() bool { return int(a.Stats().ConnectionsIn) == lanes })
	if err := a.client.Stop(); err != nil {
		t.Fatal(err)
	}
	log.wait(t, "the report", func() bool { return log.countLocked("event loops have stopped by themselves") == 1 })
	log.wait(t, "the failed dial", func() bool { return log.countLocked("event loops have stopped\"") >= 1 })
	// Close stops the client once more, which would close its files twice; another one stands in.
	other, err := gnet.NewClient(&events{t: a}, gnet.WithLogger(gnetLogger{cfg.Logger}))
	if err == nil {
		err = other.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	a.client = other
}

// TestNodeWithoutPeersAnswersWhoDialedIt: a node that was told no peers can send to one that shook hands with it.
func TestNodeWithoutPeersAnswersWhoDialedIt(t *testing.T) {
	asked, answered := newSink(), newSink()
	a, b := start(t, testConfig(1), answered), start(t, testConfig(2), asked)
	connect(t, a, 2, b.Addr())
	until(t, "node 1 as a peer", func() bool { return b.peer(1) != nil })
	waitUp(t, b, 1, codec.LaneControl)
	b.Send(codec.LaneControl, []codec.Packet{heartbeat(1, 1)})
	answered.wait(t, "the answer", func() bool { return len(answered.packets) == 1 })
	b.SetPeers([]codec.Node{{ID: 1, Address: a.Addr()}}) // by name now: the connection stays
	b.Send(codec.LaneControl, []codec.Packet{heartbeat(1, 2)})
	answered.wait(t, "the second answer", func() bool { return len(answered.packets) == 2 })
}

// TestLearnedPeerIsKeptWhileItIsConnected: a node that only its own handshake named is dialed until it has gone, and
// named again by SetPeers and dropped by it, once there is something to say to it.
func TestLearnedPeerIsKeptWhileItIsConnected(t *testing.T) {
	got := newSink()
	b := start(t, testConfig(2), newSink())
	a := start(t, testConfig(1), got)
	connect(t, a, 2, b.Addr())
	until(t, "node 1 as a peer", func() bool { return b.peer(1) != nil })
	b.SetPeers([]codec.Node{{ID: 1, Address: a.Addr()}})
	b.SetPeers(nil)
	if b.peer(1) != nil {
		t.Fatal("a peer that SetPeers dropped is still one")
	}
	b.Send(codec.LaneControl, []codec.Packet{heartbeat(1, 1)}) // lost: it is not connected yet
	if b.peer(1) == nil {
		t.Fatal("a connected node to which there is something to say is no peer")
	}
	waitUp(t, b, 1, codec.LaneControl)
	b.Send(codec.LaneControl, []codec.Packet{heartbeat(1, 2)})
	got.wait(t, "the answer", func() bool { return len(got.packets) == 1 })
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "node 1 to be forgotten", func() bool { return b.peer(1) == nil })
	b.Send(codec.LaneControl, []codec.Packet{heartbeat(1, 3)})
	if b.peer(1) != nil || len(b.learned) != 0 {
		t.Error("a node that is not connected was learned")
	}
}
