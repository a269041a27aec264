package netio

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

const (
	testCluster = "test"
	patience    = 20 * time.Second // how long a test waits for an event that must come
)

// incarnation returns an incarnation that is a function of n.
func incarnation(n int) codec.Incarnation { return codec.Incarnation{byte(n), 1} }

type downCall struct {
	peer codec.NodeID
	lane codec.Lane
}

// sink is a Link that remembers what it is told and lets tests wait for it.
type sink struct {
	mu       sync.Mutex
	changed  chan struct{}
	packets  []codec.Packet
	bytes    int
	downs    []downCall
	verified []codec.NodeID

	verify  func(codec.NodeID, codec.Incarnation) error // nil: accept
	deliver func([]codec.Packet)                        // nil: remember
	onDown  func(codec.NodeID, codec.Lane)
}

func newSink() *sink { return &sink{changed: make(chan struct{})} }

// change runs f under the sink's lock and wakes who waits.
func (s *sink) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *sink) link() codec.Link {
	return codec.Link{
		Verify: func(id codec.NodeID, i codec.Incarnation) error {
			s.change(func() { s.verified = append(s.verified, id) })
			if s.verify != nil {
				return s.verify(id, i)
			}
			return nil
		},
		Deliver: func(packets []codec.Packet) {
			if s.deliver != nil {
				s.deliver(packets)
				return
			}
			s.change(func() {
				for _, p := range packets {
					s.packets = append(s.packets, p)
					s.bytes += wireSize(&p)
				}
			})
		},
		Down: func(id codec.NodeID, lane codec.Lane) {
			s.change(func() { s.downs = append(s.downs, downCall{id, lane}) })
			if s.onDown != nil {
				s.onDown(id, lane)
			}
		},
	}
}

// wait returns once ok, called under the sink's lock, says so.
func (s *sink) wait(t testing.TB, what string, ok func() bool) {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timer(timeout)
	for {
		s.mu.Lock()
		done, changed := ok(), s.changed
		s.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-timeout.C:
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

func timer(t *time.Timer) { t.Stop() }

func (s *sink) received() []codec.Packet {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]codec.Packet(nil), s.packets...)
}

// receivedOn returns what came on one lane: the order between lanes is nobody's.
func (s *sink) receivedOn(lane codec.Lane) []codec.Packet {
	return slices.DeleteFunc(s.received(), func(p codec.Packet) bool { return p.Message.Kind.Lane() != lane })
}

// logSink collects log lines.
type logSink struct {
	*sink
	buf bytes.Buffer
}

func newLogSink() *logSink { return &logSink{sink: newSink()} }

func (l *logSink) Write(b []byte) (int, error) {
	l.change(func() { l.buf.Write(b) })
	return len(b), nil
}

func (l *logSink) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// count returns the number of lines that hold text. Under wait use countLocked.
func (l *logSink) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.countLocked(text)
}

func (l *logSink) countLocked(text string) int {
	n := 0
	for line := range strings.Lines(l.buf.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

func testConfig(id codec.NodeID) Config {
	return Config{
		Node: id, ClusterID: testCluster, Incarnation: incarnation(int(id)), Listen: "127.0.0.1:0",
		BackoffMin: 2 * time.Millisecond, BackoffMax: 20 * time.Millisecond,
	}
}

// start starts a transport that ends with the test.
func start(t testing.TB, cfg Config, s *sink, change ...func(*TCP)) *TCP {
	t.Helper()
	tr, err := NewTCP(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(tr)
	}
	if err := tr.Start(s.link()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return tr
}

// lanes is the number of connections between two nodes, each way.
const lanes = int(codec.LaneEnd - 1)

// connect makes b a peer of a and waits until a has all lanes to it.
func connect(t testing.TB, a *TCP, b codec.NodeID, address string) {
	t.Helper()
	a.SetPeers([]codec.Node{{ID: b, Address: address}})
	waitAllUp(t, a, b)
}

// waitAllUp waits until all lanes to a peer take packets.
func waitAllUp(t testing.TB, a *TCP, b codec.NodeID) {
	t.Helper()
	for id := codec.LaneControl; id < codec.LaneEnd; id++ {
		waitUp(t, a, b, id)
	}
}

// waitUp waits until a lane takes packets: it has a connection and refuses nothing. A lane tells nobody when it comes
// up (the engine learns of it by Down or not at all), so this looks again and again.
func waitUp(t testing.TB, a *TCP, b codec.NodeID, id codec.Lane) {
	t.Helper()
	l := a.peer(b).lanes[id]
	until(t, fmt.Sprintf("%v lane to node %d", id, b), func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.conn != nil && !l.refusing
	})
}

// until polls state that has no event of its own.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
		<-tick.C
	}
}

// heartbeat is a message that carries a number.
func heartbeat(to codec.NodeID, n int) codec.Packet {
	return codec.Packet{Node: to, Message: codec.Message{Kind: codec.MessageHeartbeat, Stamp: int64(n)}}
}

// appendOf is an append with a frame of one entry of size bytes; n is in the message and in the frame.
func appendOf(t testing.TB, to codec.NodeID, n, size int) codec.Packet {
	t.Helper()
	data := bytes.Repeat([]byte{byte(n)}, size)
	buf := codec.AppendEntry(make([]byte, codec.FrameHeaderSize, codec.FrameHeaderSize+size+8), data)
	frame, err := codec.SealFrame(buf, codec.FrameMeta{
		Group: 1, Leader: codec.LeaderID{Term: 1, Node: 1}, First: codec.Index(n + 1), Count: 1, Kind: codec.EntryNormal,
	}, codec.CompressionNone)
	if err != nil {
		t.Fatal(err)
	}
	return codec.Packet{Node: to, Frame: frame, Message: codec.Message{
		Kind: codec.MessageAppend, Group: 1, Stamp: int64(n),
		Log: codec.LogID{Leader: codec.LeaderID{Term: 1, Node: 1}, Index: codec.Index(n)},
	}}
}

// pieceOf is a piece of a snapshot of size bytes, at least one; n is in the message and in the data.
func pieceOf(to codec.NodeID, n, size int) codec.Packet {
	payload := bytes.Repeat([]byte{byte(n)}, size)
	return codec.Packet{
		Node:    to,
		Message: codec.Message{Kind: codec.MessageSnapshot, Group: 1, Stream: 1, Stamp: int64(n)},
		Data:    codec.SealData(append(make([]byte, codec.DataHeaderSize), payload...)),
	}
}

// forwardOf is a forwarded proposal of size bytes, at least one; n is in the message and in the data.
func forwardOf(to codec.NodeID, n, size int) codec.Packet {
	p := pieceOf(to, n, size)
	p.Message.Kind = codec.MessageForward
	return p
}

// wire returns the packets' bytes.
func wire(packets ...codec.Packet) []byte {
	var b []byte
	for i := range packets {
		p := &packets[i]
		b = codec.AppendMessage(b, &p.Message, len(p.Body()))
		b = append(b, p.Body()...)
	}
	return b
}

// same fails the test unless got holds want's messages, frames and data, from node.
func same(t testing.TB, got, want []codec.Packet, from codec.NodeID) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d packets, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i].Node != from || got[i].Message != want[i].Message ||
			!bytes.Equal(got[i].Frame.Bytes(), want[i].Frame.Bytes()) || !bytes.Equal(got[i].Data.Bytes(), want[i].Data.Bytes()) {
			t.Fatalf("packet %d is %+v from node %d, want %+v from node %d",
				i, got[i].Message, got[i].Node, want[i].Message, from)
		}
	}
}

func helloFrom(from, to codec.NodeID, lane codec.Lane) codec.Handshake {
	return codec.Handshake{
		Role: codec.RolePeer, Lane: lane, From: from, To: to, Incarnation: incarnation(int(from)), ClusterID: testCluster,
	}
}

// rawDial opens a plain connection to a transport.
func rawDial(t testing.TB, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

// rawPeer opens a plain connection and shakes hands; it returns the connection and the verdict.
func rawPeer(t testing.TB, address string, h codec.Handshake) (net.Conn, codec.HandshakeStatus) {
	t.Helper()
	c := rawDial(t, address)
	write(t, c, codec.AppendHandshake(nil, &h))
	answer, err := readHandshake(c)
	if err != nil {
		t.Fatalf("answer: %v", err)
	}
	return c, answer.Status
}

func write(t testing.TB, c net.Conn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

// wantEnd fails the test unless the other side closes the connection without another byte.
func wantEnd(t testing.TB, c net.Conn) {
	t.Helper()
	n, err := c.Read(make([]byte, 1))
	var timeout net.Error
	if n != 0 || err == nil || (asTimeout(err, &timeout) && timeout.Timeout()) {
		t.Fatalf("read %d bytes, error %v, want the end of the connection", n, err)
	}
}

func asTimeout(err error, target *net.Error) bool {
	ne, ok := err.(net.Error)
	*target = ne
	return ok
}

// fakePeer listens like a peer of the given id and hands each connection that shook hands to serve.
func fakePeer(t testing.TB, answer func(codec.Handshake) *codec.Handshake, serve func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	running.Add(1)
	go func() {
		defer running.Done()
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			running.Add(1)
			go func() {
				defer running.Done()
				defer closeOnEnd(ctx, c)()
				defer c.Close()
				h, err := readHandshake(c)
				if err != nil {
					return
				}
				if a := answer(h); a != nil {
					if _, err := c.Write(codec.AppendHandshake(nil, a)); err != nil {
						return
					}
				}
				serve(c)
			}()
		}
	}()
	t.Cleanup(func() {
		cancel()
		_ = listener.Close()
		running.Wait()
	})
	return listener.Addr().String()
}

// accepts answers as node id would.
func accepts(id codec.NodeID) func(codec.Handshake) *codec.Handshake {
	return func(h codec.Handshake) *codec.Handshake {
		return &codec.Handshake{
			Status: codec.HandshakeAccepted, Role: codec.RolePeer, Lane: h.Lane, From: id, To: h.From,
			Incarnation: incarnation(int(id)), ClusterID: testCluster,
		}
	}
}

// untilEnd keeps a connection open and reads nothing until the other side is gone.
func readAll(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
