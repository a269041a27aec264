package netio

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/millrace/millrace/codec"
)

// mustPanic fails unless f panics with a message that starts with "BUG: " and names what is wrong.
func mustPanic(t *testing.T, names string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if s, ok := recover().(string); !ok || !strings.HasPrefix(s, "BUG: ") || !strings.Contains(s, names) {
			t.Errorf("recovered %q, want a panic that starts with %q and names %q", s, "BUG: ", names)
		}
	}()
	f()
}

// What only a bug of the caller does is said at once, by both transports.
func TestBugsOfTheCaller(t *testing.T) {
	tcp, err := NewTCP(testConfig(1))
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	inproc := NewNetwork().Transport(1, testCluster, incarnation(1))
	defer inproc.Close()
	for _, tr := range []interface {
		Start(codec.Link) error
		Send(codec.Lane, []codec.Packet)
	}{tcp, inproc} {
		mustPanic(t, "Verify, Deliver and Down", func() { _ = tr.Start(codec.Link{}) })
		strange := newSink().link()
		strange.Incarnation = codec.Incarnation{0xab}
		if err := tr.Start(strange); !errors.Is(err, ErrConfig) ||
			!strings.Contains(err.Error(), fmt.Sprintf("Incarnation %v, want %v", incarnation(1), strange.Incarnation)) {
			t.Errorf("started for a log of another incarnation: %v", err)
		}
		for _, lane := range []codec.Lane{0, codec.LaneEnd} {
			mustPanic(t, lane.String(), func() { tr.Send(lane, []codec.Packet{heartbeat(2, 1)}) })
		}
	}
	mustPanic(t, "node id 0", func() { NewNetwork().Transport(0, testCluster, incarnation(1)) })
}

// A transport that was not started sends nothing, calls nobody, and says where it is to listen.
func TestTransportThatWasNotStarted(t *testing.T) {
	tcp, err := NewTCP(testConfig(1))
	if err != nil {
		t.Fatal(err)
	}
	tcp.Send(codec.LaneControl, []codec.Packet{heartbeat(2, 1)})
	if tcp.Addr() != "127.0.0.1:0" || tcp.Stats().By[DropUnknownPeer] != 1 {
		t.Errorf("address %q, counted %v", tcp.Addr(), tcp.Stats().By)
	}
	for range 2 {
		if err := tcp.Close(); err != nil {
			t.Error(err)
		}
	}
	inproc := NewNetwork().Transport(1, testCluster, incarnation(1))
	inproc.Send(codec.LaneControl, []codec.Packet{heartbeat(2, 1)})
	if s := inproc.Stats(); s != (Stats{}) {
		t.Errorf("counted %+v", s)
	}
}

func TestCheckAddress(t *testing.T) {
	tcp, err := NewTCP(testConfig(1))
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	for address, good := range map[string]bool{
		"10.0.0.1:7000": true, "db-3.example:7000": true, "[::1]:7000": true, "db-3:peers": true,
		"": false, "10.0.0.1": false, ":7000": false, "10.0.0.1:": false, "10.0.0.1:0": false, "::1:7000": false,
	} {
		err := tcp.CheckAddress(address)
		if (err == nil) != good || err != nil && !strings.Contains(err.Error(), fmt.Sprintf("%q, want host:port", address)) {
			t.Errorf("%q: %v, want accepted: %v", address, err, good)
		}
	}
}

// Where a peer says it listens becomes where to dial it: all its addresses are that which it came from.
func TestReachable(t *testing.T) {
	for told, want := range map[string]string{
		"10.0.0.1:7000": "10.0.0.1:7000", "db-3.example:7000": "db-3.example:7000",
		":7000": "192.0.2.9:7000", "0.0.0.0:7000": "192.0.2.9:7000", "[::]:7000": "192.0.2.9:7000",
		"": "", "10.0.0.1": "", "nonsense": "",
	} {
		if got := reachable(told, "192.0.2.9"); got != want {
			t.Errorf("told %q, dials %q, want %q", told, got, want)
		}
	}
}

// A panic of Verify refuses the peer and nothing else.
func TestPanicInVerifyIsContained(t *testing.T) {
	log, got := newLogSink(), newSink()
	got.verify = func(id codec.NodeID, _ codec.Incarnation) error {
		if id == 1 {
			panic("test: engine bug")
		}
		return nil
	}
	cfg := testConfig(2)
	cfg.Logger = log.logger()
	b := start(t, cfg, got)
	c, status := rawPeer(t, b.Addr(), helloFrom(1, 2, codec.LaneControl))
	if status != codec.HandshakeUnknownPeer {
		t.Errorf("answered %v, want %v", status, codec.HandshakeUnknownPeer)
	}
	wantEnd(t, c)
	if _, status := rawPeer(t, b.Addr(), helloFrom(3, 2, codec.LaneControl)); status != codec.HandshakeAccepted {
		t.Errorf("another peer is answered %v", status)
	}
	if b.Stats().By[Panicked] != 1 || log.count("test: engine bug") != 1 {
		t.Errorf("panics counted %d, log:\n%s", b.Stats().By[Panicked], log.buf.String())
	}
}

// The first side that does not want the other ends it, also where the other one would take it.
func TestInprocDialingSideRefuses(t *testing.T) {
	n := NewNetwork()
	up, got := newSink(), newSink()
	up.verify = func(codec.NodeID, codec.Incarnation) error { return errors.New("not the one I know") }
	a := join(t, n, 1, up)
	join(t, n, 2, got)
	a.Send(codec.LaneSnapshot, []codec.Packet{pieceOf(2, 1, 10)})
	if len(got.received()) != 0 || len(up.downs) != 1 || a.Stats().By[DialRefused] == 0 {
		t.Errorf("delivered %d, downs %v, counted %v", len(got.received()), up.downs, a.Stats().By)
	}
}

// What gnet says is for somebody who debugs; only what it calls errors is shown to others.
func TestLinesOfGnet(t *testing.T) {
	log := newLogSink()
	g := gnetLogger{slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	g.Debugf("line %d", 1)
	g.Infof("line %d", 2)
	g.Warnf("line %d", 3)
	g.Errorf("line %d", 4)
	g.Fatalf("line %d", 5)
	for text, want := range map[string]int{"level=DEBUG": 3, "level=WARN": 1, "level=ERROR": 1, "gnet: line": 5} {
		if got := log.count(text); got != want {
			t.Errorf("%d lines with %q, want %d:\n%s", got, text, want, log.buf.String())
		}
	}
}
