package netio

import (
	"bytes"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

// oneWay is a connection that can only be read.
type oneWay struct {
	net.Conn
	in *bytes.Reader
}

func (o *oneWay) Read(b []byte) (int, error) { return o.in.Read(b) }

// Z3, Z4: what the accepting side refuses, with which verdict, logged once however often it is tried.
func TestAcceptingSideRefuses(t *testing.T) {
	log, got := newLogSink(), newSink()
	got.verify = func(id codec.NodeID, i codec.Incarnation) error {
		if i != incarnation(int(id)) || id == 77 {
			return errors.New("not the one I know")
		}
		return nil
	}
	cfg := testConfig(2)
	cfg.Logger = log.logger()
	b := start(t, cfg, got)
	b.SetPeers([]codec.Node{{ID: 1, Address: fakePeer(t, accepts(1), readAll)}})
	for _, c := range []struct {
		name   string
		change func(*codec.Handshake)
		want   codec.HandshakeStatus
		cause  Cause
	}{
		{"other cluster", func(h *codec.Handshake) { h.ClusterID = "prod" }, codec.HandshakeWrongCluster, RefusedWrongCluster},
		{"other node", func(h *codec.Handshake) { h.To = 3 }, codec.HandshakeWrongNode, RefusedWrongNode},
		{"other incarnation", func(h *codec.Handshake) { h.Incarnation[5] = 9 }, codec.HandshakeWrongIncarnation, RefusedWrongIncarnation},
		{"unknown node", func(h *codec.Handshake) { h.From = 77 }, codec.HandshakeUnknownPeer, RefusedUnknownPeer},
		{"own id", func(h *codec.Handshake) { h.From = 2 }, codec.HandshakeUnknownPeer, RefusedUnknownPeer},
		{"an answer", func(h *codec.Handshake) { h.Status = codec.HandshakeAccepted }, codec.HandshakeUnknownPeer, HandshakeCorrupt},
	} {
		before := b.Stats().By[c.cause]
		for range 3 {
			h := helloFrom(1, 2, codec.LaneControl)
			c.change(&h)
			conn, status := rawPeer(t, b.Addr(), h)
			if status != c.want {
				t.Errorf("%s: answered %v, want %v", c.name, status, c.want)
			}
			wantEnd(t, conn)
		}
		if n := b.Stats().By[c.cause] - before; n != 3 {
			t.Errorf("%s: counted %d times as %v, want 3", c.name, n, c.cause)
		}
	}
	for _, cause := range []Cause{RefusedWrongCluster, RefusedWrongNode, RefusedWrongIncarnation, HandshakeCorrupt} {
		if n := log.count("cause=" + cause.String()); n != 1 {
			t.Errorf("%d lines about %v, want 1:\n%s", n, cause, log.buf.String())
		}
	}
	if len(got.received()) != 0 || b.Stats().ConnectionsIn != 0 {
		t.Error("a refused peer was let in")
	}
}

// Z4: what the dialing side refuses, although the other one accepts.
func TestDialingSideRefuses(t *testing.T) {
	for _, c := range []struct {
		name, say string
		change    func(*codec.Handshake)
	}{
		{"other cluster", `cluster \"prod\", want \"test\"`, func(h *codec.Handshake) { h.ClusterID = "prod" }},
		{"other node", "node 5, want 2", func(h *codec.Handshake) { h.From = 5 }},
		{"other incarnation", "not the one I know", func(h *codec.Handshake) { h.Incarnation[5] = 9 }},
		{"answer to another", "answers node 8", func(h *codec.Handshake) { h.To = 8 }},
		{"a refusal", "wrong node", func(h *codec.Handshake) { h.Status = codec.HandshakeWrongNode }},
		{"a hello", "hello", func(h *codec.Handshake) { h.Status = codec.HandshakeHello }},
	} {
		log, up := newLogSink(), newSink()
		up.verify = func(id codec.NodeID, i codec.Incarnation) error {
			if i != incarnation(int(id)) {
				return errors.New("not the one I know")
			}
			return nil
		}
		address := fakePeer(t, func(h codec.Handshake) *codec.Handshake {
			a := accepts(2)(h)
			c.change(a)
			return a
		}, readAll)
		cfg := testConfig(1)
		cfg.Logger = log.logger()
		a := start(t, cfg, up)
		a.SetPeers([]codec.Node{{ID: 2, Address: address}})
		until(t, c.name, func() bool { return int(a.Stats().By[DialRefused]) >= 3*lanes })
		log.wait(t, c.name+": the lines", func() bool { return log.countLocked(c.say) >= lanes })
		if n := log.count("no connection to peer"); n != lanes {
			t.Errorf("%s: %d lines for %d lanes:\n%s", c.name, n, lanes, log.buf.String())
		}
		up.wait(t, "Down", func() bool { return len(up.downs) >= lanes })
		if s := a.Stats(); s.Dialed != 0 || s.ConnectionsOut != 0 {
			t.Errorf("%s: %d connections made", c.name, s.Dialed)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Z2, Z3: no Raft byte is looked at before the handshake.
func TestGarbageOnThePeerPort(t *testing.T) {
	got := newSink()
	b := start(t, testConfig(2), got)
	hello := helloFrom(1, 2, codec.LaneControl)
	frames := wire(codec.Packet{Message: codec.Message{
		Kind: codec.MessageVote, Vote: codec.Vote{Leader: codec.LeaderID{Term: 1 << 63, Node: 1}},
	}})
	damaged := codec.AppendHandshake(nil, &hello)
	damaged[20] ^= 1
	old := codec.AppendHandshake(nil, &hello)
	old[4] = 9
	for name, bytes := range map[string][]byte{
		"no handshake":    frames,
		"http":            []byte("GET / HTTP/1.1\r\n\r\n"),
		"zeros":           make([]byte, 1000),
		"too eager":       append(codec.AppendHandshake(nil, &hello), frames...),
		"damaged":         damaged,
		"unknown version": old,
	} {
		before := b.Stats().By[HandshakeCorrupt]
		c := rawDial(t, b.Addr())
		write(t, c, bytes)
		wantEnd(t, c)
		if b.Stats().By[HandshakeCorrupt] != before+1 {
			t.Errorf("%s: not counted", name)
		}
	}
	if len(got.received()) != 0 || len(got.verified) != 0 {
		t.Errorf("delivered %v, verified %v", got.packets, got.verified)
	}
}

// Bad bytes after a good handshake end that connection and nothing else.
func TestBadBytesEndTheConnection(t *testing.T) {
	log, got := newLogSink(), newSink()
	cfg := testConfig(2)
	cfg.Logger = log.logger()
	b := start(t, cfg, got)
	good, status := rawPeer(t, b.Addr(), helloFrom(1, 2, codec.LaneAppend))
	if status != codec.HandshakeAccepted {
		t.Fatal(status)
	}
	huge := wire(heartbeat(0, 1))
	copy(huge, "\xff\xff\xff\xff")
	damaged := wire(heartbeat(0, 1))
	damaged[30] ^= 1
	version := wire(heartbeat(0, 1))
	version[4] = 9
	for cause, bytes := range map[Cause][]byte{
		StreamTooLarge: huge, StreamCorrupt: damaged, StreamVersion: version,
		StreamWrongLane: wire(appendOf(t, 0, 1, 10)),
	} {
		for range 2 {
			c, status := rawPeer(t, b.Addr(), helloFrom(1, 2, codec.LaneControl))
			if status != codec.HandshakeAccepted {
				t.Fatal(status)
			}
			write(t, c, bytes)
			wantEnd(t, c)
		}
		if n := b.Stats().By[cause]; n != 2 {
			t.Errorf("%v counted %d times, want 2", cause, n)
		}
		if n := log.count("cause=" + cause.String()); n != 1 {
			t.Errorf("%d lines about %v, want 1", n, cause)
		}
	}
	want := appendOf(t, 0, 4, 100)
	write(t, good, wire(want))
	got.wait(t, "the good connection's packet", func() bool { return len(got.packets) == 1 })
	same(t, got.received(), []codec.Packet{want}, 1)
}

// A peer has nothing to say on a connection that this node dialed, but its answer.
func TestBytesOnADialedConnectionEndIt(t *testing.T) {
	up := newSink()
	talk := make(chan struct{}) // after the handshake: its own bytes are another matter
	address := fakePeer(t, accepts(2), func(c net.Conn) {
		<-talk
		_, _ = c.Write([]byte("x")) // the other side may have closed already
		readAll(c)
	})
	log := newLogSink()
	cfg := testConfig(1)
	cfg.Logger = log.logger()
	a := start(t, cfg, up)
	connect(t, a, 2, address)
	close(talk)
	up.wait(t, "Down", func() bool { return len(up.downs) >= lanes })
	if n := a.Stats().By[StreamUnexpected]; int(n) < lanes || log.count("nothing to say") != lanes {
		t.Errorf("counted %d times, logged:\n%s", n, log.buf.String())
	}
}

// Z6: silence, half a handshake and one byte at a time end at the deadline, which counts from the start.
func TestSlowHandshakesEnd(t *testing.T) {
	cfg := testConfig(2)
	cfg.HandshakeTimeout = 100 * time.Millisecond
	b := start(t, cfg, newSink())
	hello := helloFrom(1, 2, codec.LaneControl)
	bytes := codec.AppendHandshake(nil, &hello)

	silent, half, slow := rawDial(t, b.Addr()), rawDial(t, b.Addr()), rawDial(t, b.Addr())
	write(t, half, bytes[:20])
	slowDone := make(chan int)
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		n := 0
		for ; n < len(bytes)-1; n++ {
			<-tick.C
			if _, err := slow.Write(bytes[n : n+1]); err != nil {
				break
			}
		}
		slowDone <- n
	}()
	for _, c := range []net.Conn{silent, half} {
		wantEnd(t, c)
	}
	if n := <-slowDone; n > 40 {
		t.Errorf("a slow peer was listened to for %d bytes", n)
	}
	if n := b.Stats().By[HandshakeTimedOut]; n != 3 {
		t.Errorf("%d handshakes timed out, want 3", n)
	}
	if _, status := rawPeer(t, b.Addr(), hello); status != codec.HandshakeAccepted {
		t.Errorf("a good peer is answered %v", status)
	}
}

func TestLimitsOfAcceptedConnections(t *testing.T) {
	for _, c := range []struct {
		cause  Cause
		change func(*Config)
	}{
		{AcceptTooMany, func(c *Config) { c.ConnectionsMax = 3 }},
		{AcceptTooManyFromAddress, func(c *Config) { c.ConnectionsPerAddressMax = 3 }},
		{AcceptTooManyHandshakes, func(c *Config) { c.HandshakesMax = 3 }},
	} {
		log := newLogSink()
		cfg := testConfig(2)
		cfg.Logger = log.logger()
		c.change(&cfg)
		b := start(t, cfg, newSink())
		var open []net.Conn
		for range 3 {
			open = append(open, rawDial(t, b.Addr()))
		}
		until(t, "three handshakes", func() bool {
			b.guests.mu.Lock()
			defer b.guests.mu.Unlock()
			return b.guests.total == 3
		})
		for range 5 {
			wantEnd(t, rawDial(t, b.Addr()))
		}
		if n := b.Stats().By[c.cause]; n != 5 {
			t.Errorf("%v counted %d times, want 5", c.cause, n)
		}
		if n := log.count("limit=" + c.cause.String()); n != 1 {
			t.Errorf("%d lines about %v, want 1", n, c.cause)
		}
		for _, o := range open {
			_ = o.Close()
		}
		until(t, "room again", func() bool {
			b.guests.mu.Lock()
			defer b.guests.mu.Unlock()
			return b.guests.total == 0 && b.guests.handshakes == 0 && len(b.guests.byAddress) == 0
		})
		conn, status := rawPeer(t, b.Addr(), helloFrom(1, 2, codec.LaneControl))
		if status != codec.HandshakeAccepted {
			t.Errorf("after the storm a good peer is answered %v", status)
		}
		_ = conn.Close()
		until(t, "the guest's leaving", func() bool {
			b.guests.mu.Lock()
			defer b.guests.mu.Unlock()
			return b.guests.total == 0
		})
	}
}

// flakyListener fails as a process without free file numbers does, a few times.
type flakyListener struct {
	net.Listener
	failures int
}

func (f *flakyListener) Accept() (net.Conn, error) {
	if f.failures > 0 {
		f.failures--
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: syscall.EMFILE}
	}
	return f.Listener.Accept()
}

func TestTooManyOpenFilesDoesNotStopTheNode(t *testing.T) {
	cfg := testConfig(2)
	log := newLogSink()
	cfg.Logger = log.logger()
	b, err := NewTCP(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.wrapListener = func(l net.Listener) net.Listener { return &flakyListener{l, 3} }
	if err := b.Start(newSink().link()); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, status := rawPeer(t, b.Addr(), helloFrom(1, 2, codec.LaneControl)); status != codec.HandshakeAccepted {
		t.Errorf("answered %v", status)
	}
	if n := b.Stats().By[AcceptFailed]; n != 3 || log.count("too many open files") != 1 {
		t.Errorf("counted %d, log:\n%s", n, log.buf.String())
	}
}

// N5: once a newer connection of the same peer and lane is up, nothing of the old one is delivered.
func TestNewerConnectionReplacesTheOlder(t *testing.T) {
	got := newSink()
	b := start(t, testConfig(2), got)
	hello := helloFrom(1, 2, codec.LaneControl)
	old, _ := rawPeer(t, b.Addr(), hello)
	write(t, old, wire(heartbeat(0, 1)))
	got.wait(t, "the old one's packet", func() bool { return len(got.packets) == 1 })
	half := wire(heartbeat(0, 2))
	write(t, old, half[:50])

	newer, status := rawPeer(t, b.Addr(), hello)
	if status != codec.HandshakeAccepted {
		t.Fatal(status)
	}
	_, _ = old.Write(append(half[50:], wire(heartbeat(0, 3))...)) // it may be closed already
	write(t, newer, wire(heartbeat(0, 4)))
	got.wait(t, "the newer one's packet", func() bool { return len(got.packets) >= 2 })
	_, err := old.Read(make([]byte, 1))
	if err == nil {
		t.Error("the old connection is still open")
	}
	same(t, got.received(), []codec.Packet{heartbeat(0, 1), heartbeat(0, 4)}, 1)
	if n := b.Stats().By[StreamReplaced]; n != 1 {
		t.Errorf("%d replaced, want 1", n)
	}
}

// A connection of one lane takes no other lane's place, and what is not of its lane ends it alone.
func TestLanesAreConnectionsOfTheirOwn(t *testing.T) {
	got := newSink()
	b := start(t, testConfig(2), got)
	open := map[codec.Lane]net.Conn{}
	for lane := codec.LaneControl; lane < codec.LaneEnd; lane++ {
		c, status := rawPeer(t, b.Addr(), helloFrom(1, 2, lane))
		if status != codec.HandshakeAccepted {
			t.Fatalf("%v lane: answered %v", lane, status)
		}
		open[lane] = c
	}
	for lane, c := range open {
		write(t, c, wire(onLane(t, lane, 1)))
		got.wait(t, "a packet of the "+lane.String()+" lane", func() bool { return got.packets != nil })
		got.change(func() { same(t, got.packets, []codec.Packet{onLane(t, lane, 1)}, 1); got.packets = nil })
	}
	for lane := codec.LaneControl; lane < codec.LaneEnd; lane++ {
		for other := codec.LaneControl; other < codec.LaneEnd; other++ {
			if other == lane {
				continue
			}
			before := b.Stats().By[StreamWrongLane]
			c, _ := rawPeer(t, b.Addr(), helloFrom(3, 2, lane))
			write(t, c, wire(onLane(t, other, 2)))
			wantEnd(t, c)
			if n := b.Stats().By[StreamWrongLane] - before; n != 1 {
				t.Errorf("a message of the %v lane on the %v lane counted %d times, want 1", other, lane, n)
			}
		}
	}
	until(t, "the end of the bad connections", func() bool { return int(b.Stats().ConnectionsIn) == lanes })
	if n := len(got.received()); n != 0 || b.Stats().By[StreamReplaced] != 0 {
		t.Errorf("%d packets of wrong lanes delivered, %d connections replaced", n, b.Stats().By[StreamReplaced])
	}
}

// 32 nodes on one machine may connect all their lanes under the default limits, and no more.
func TestDefaultLimitHoldsManyNodesOfOneMachine(t *testing.T) {
	b := start(t, testConfig(2), newSink())
	for node := codec.NodeID(10); node < 10+32; node++ {
		for lane := codec.LaneControl; lane < codec.LaneEnd; lane++ {
			if _, status := rawPeer(t, b.Addr(), helloFrom(node, 2, lane)); status != codec.HandshakeAccepted {
				t.Fatalf("node %d, %v lane: answered %v", node, lane, status)
			}
		}
	}
	wantEnd(t, rawDial(t, b.Addr()))
	if n := b.Stats().By[AcceptTooManyFromAddress]; n != 1 {
		t.Errorf("%d refused for the limit of one address, want 1", n)
	}
}

// The same at the slot itself: what the old connection's loop has in hand when it is replaced is not delivered.
func TestReplacedConnectionDeliversNothing(t *testing.T) {
	got := newSink()
	b := start(t, testConfig(2), got)
	s := b.takeSlot(1, codec.LaneControl)
	old := &inConn{t: b, slot: s, parser: parser{from: 1, lane: codec.LaneControl, limit: 1000}}
	newer := &inConn{t: b, slot: s, parser: parser{from: 1, lane: codec.LaneControl, limit: 1000}}
	s.replace(old)
	old.receive(wire(heartbeat(0, 1)))
	s.replace(newer)
	old.receive(wire(heartbeat(0, 2)))
	newer.receive(wire(heartbeat(0, 3)))
	same(t, got.received(), []codec.Packet{heartbeat(0, 1), heartbeat(0, 3)}, 1)
	b.leaveSlot(old)
	if s.current != newer {
		t.Error("the old connection's end took the newer one out")
	}
}

func TestListenAddressNeedsInsecure(t *testing.T) {
	for _, listen := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:7000"} {
		cfg := testConfig(1)
		cfg.Listen = listen
		if _, err := NewTCP(cfg); !errors.Is(err, ErrInsecure) || !strings.Contains(err.Error(), listen) {
			t.Errorf("%q: error %v, want one about security that names it", listen, err)
		}
		cfg.Insecure = true
		if tr, err := NewTCP(cfg); err != nil {
			t.Errorf("%q with Insecure: %v", listen, err)
		} else {
			_ = tr.Close()
		}
	}
	log := newLogSink()
	cfg := testConfig(1)
	cfg.Listen, cfg.Insecure, cfg.Logger = "0.0.0.0:0", true, log.logger()
	start(t, cfg, newSink())
	log.wait(t, "the warning", func() bool { return log.countLocked("neither authenticated nor encrypted") == 1 })
}

func TestConfigIsChecked(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"Node":                     func(c *Config) { c.Node = 0 },
		"ClusterID":                func(c *Config) { c.ClusterID = strings.Repeat("x", 65) },
		"Incarnation":              func(c *Config) { c.Incarnation = codec.Incarnation{} },
		"Listen":                   func(c *Config) { c.Listen = "nowhere" },
		"LaneBytesMax":             func(c *Config) { c.LaneBytesMax = 10 },
		"MessageBytesMax":          func(c *Config) { c.MessageBytesMax = 1 << 40 },
		"EventLoops":               func(c *Config) { c.EventLoops = -1 },
		"HandshakeTimeout":         func(c *Config) { c.HandshakeTimeout = -1 },
		"DialTimeout":              func(c *Config) { c.DialTimeout = time.Hour },
		"BackoffMin":               func(c *Config) { c.BackoffMin = 1 },
		"BackoffMax":               func(c *Config) { c.BackoffMax = time.Millisecond },
		"PeerTimeout":              func(c *Config) { c.PeerTimeout = time.Millisecond },
		"ConnectionsMax":           func(c *Config) { c.ConnectionsMax = -5 },
		"ConnectionsPerAddressMax": func(c *Config) { c.ConnectionsPerAddressMax = 1 << 30 },
		"HandshakesMax":            func(c *Config) { c.HandshakesMax = -1 },
	} {
		cfg := testConfig(1)
		change(&cfg)
		if _, err := NewTCP(cfg); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v, want one that names it", name, err)
		}
	}
}
