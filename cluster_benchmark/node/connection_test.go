package node

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/codec"
)

// wire is a client that says what a test wants it to.
type wire struct {
	t    *testing.T
	conn net.Conn
	in   *reader
}

func dialWire(t *testing.T, address string) *wire {
	t.Helper()
	conn, err := dial(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &wire{t, conn, &reader{from: bufio.NewReader(conn), max: replyBytesMax}}
}

func (w *wire) say(bytes []byte) {
	w.t.Helper()
	if _, err := w.conn.Write(bytes); err != nil {
		w.t.Fatal(err)
	}
}

// ask returns what is given, or why it is refused.
func (w *wire) ask(q question) (given, refused string) {
	w.t.Helper()
	body, err := json.Marshal(q)
	if err != nil {
		w.t.Fatal(err)
	}
	w.say(appendMessage(nil, kindAsk, 77, body))
	m, err := w.in.read()
	if err != nil || m.kind != kindReply || m.number != 77 {
		w.t.Fatalf("%s: %+v, %v", q.Ask, m, err)
	}
	if m.body[0] == replyGiven {
		return string(m.body[1:]), ""
	}
	return "", string(m.body[1:])
}

// frame returns the message of a frame of puts.
func frame(kind codec.EntryKind, payloads ...string) []byte {
	buf := make([]byte, codec.FrameHeaderSize)
	for _, p := range payloads {
		buf = codec.AppendEntry(buf, []byte(p))
	}
	f, err := codec.SealFrame(buf, codec.FrameMeta{Group: 1, Leader: codec.LeaderID{Term: 1, Node: 1}, First: 1, Count: uint32(len(payloads)), Kind: kind}, codec.CompressionNone)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return appendMessage(nil, kindPut, 5, f.Bytes())
}

var runA, runB = strings.Repeat("a1", runBytes), strings.Repeat("b2", runBytes)

// TestBrokenProtocol: whoever breaks it is hung up on, and the node serves others as before.
func TestBrokenProtocol(t *testing.T) {
	_, addresses := startNodes(t, 1, setting.StoreMemory)
	good := frame(codec.EntryNormal, "put")
	altered := append([]byte(nil), good...)
	altered[len(altered)-1]++
	for name, bytes := range map[string][]byte{
		"not a question":        appendMessage(nil, kindAsk, 1, []byte("{")),
		"a node's message":      appendMessage(nil, kindReply, 1, []byte("x")),
		"an altered message":    altered,
		"a frame that is none":  appendMessage(nil, kindPut, 1, []byte("no frame")),
		"a frame and more":      appendMessage(nil, kindPut, 1, append(good[headerBytes:len(good):len(good)], 0)),
		"a session's entries":   frame(codec.EntrySession, "put"),
		"puts without a claim":  good,
		"more than is taken":    appendHeader(nil, kindPut, 1, make([]byte, askBytesMax+1)),
		"the begin of a run":    frame(codec.EntryNormal, string(appendBegin(nil, runID{}, 1, 1))),
		"bytes of another kind": []byte(strings.Repeat("GET / HTTP/1.1\r\n", 10)),
	} {
		w := dialWire(t, addresses[0])
		if name == "the begin of a run" {
			w.ask(question{Ask: askClaim, Run: runA})
		}
		w.say(bytes)
		if m, err := w.in.read(); !errors.Is(err, io.EOF) && !isReset(err) {
			t.Errorf("%s: %+v, %v, want the end of the connection", name, m, err)
		}
	}
	if given, refused := dialWire(t, addresses[0]).ask(question{Ask: askAbout}); !strings.Contains(given, `"node":1`) {
		t.Errorf("afterwards: %s, %s", given, refused)
	}
}

func isReset(err error) bool { return err != nil && strings.Contains(err.Error(), "reset") }

func TestRefusedQuestions(t *testing.T) {
	_, addresses := startNodes(t, 1, setting.StoreMemory)
	w := dialWire(t, addresses[0])
	for _, c := range []struct {
		q    question
		want string
	}{
		{question{Ask: "weather", Run: runA}, `unknown question "weather"`},
		{question{Ask: askClaim, Run: "a"}, `run "a", want 32 hexadecimal digits`},
		{question{Ask: askClaim, Run: strings.Repeat("x", 32)}, `want 32 hexadecimal digits`},
		{question{Ask: askBegin, Run: runA}, "begin of a run that has not claimed this node"},
		{question{Ask: askState, Run: runA}, "node 1 has not applied the begin of the run"},
		{question{Ask: askFound, Members: map[codec.NodeID]string{1: "127.0.0.1:1"}}, "node 1 was given its members at its start"},
	} {
		if given, refused := w.ask(c.q); given != "" || !strings.Contains(refused, c.want) {
			t.Errorf("%s: %q, %q, want %q", c.q.Ask, given, refused, c.want)
		}
	}
	w.ask(question{Ask: askClaim, Run: runA})
	if _, refused := w.ask(question{Ask: askBegin, Run: runA, Clients: clientsMax + 1}); !strings.Contains(refused, "want up to") {
		t.Errorf("begin with too many clients: %q", refused)
	}
}

// TestOneRunAtATime: a node is one run's as long as any of its connections lasts.
func TestOneRunAtATime(t *testing.T) {
	_, addresses := startNodes(t, 1, setting.StoreMemory)
	first, second, other := dialWire(t, addresses[0]), dialWire(t, addresses[0]), dialWire(t, addresses[0])
	for _, w := range []*wire{first, second} {
		if _, refused := w.ask(question{Ask: askClaim, Run: runA}); refused != "" {
			t.Error(refused)
		}
	}
	claim := func() string {
		_, refused := other.ask(question{Ask: askClaim, Run: runB})
		return refused
	}
	if refused := claim(); !strings.Contains(refused, "node 1 is in use by another run, from 127.0.0.1:") {
		t.Errorf("another run: %q", refused)
	}
	_ = first.conn.Close()
	_ = second.conn.Close()
	await(t, "the node is free", func() bool { return claim() == "" })
}

// TestVersions: each end says what it speaks, and who is of another version is told so in words.
func TestVersions(t *testing.T) {
	nodes, addresses := startNodes(t, 1, setting.StoreMemory)
	conn, err := net.Dial("tcp", addresses[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(appendGreeting(nil, ProtocolVersion+1)); err != nil {
		t.Fatal(err)
	}
	if v, err := readGreeting(conn); v != ProtocolVersion || err != nil {
		t.Errorf("the node answers %d, %v", v, err)
	}
	if _, err := readGreeting(conn); !errors.Is(err, io.EOF) {
		t.Errorf("and then %v, want the end", err)
	}

	future, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		c, err := future.Accept()
		if err == nil {
			_, _ = readGreeting(c)
			_, _ = c.Write(appendGreeting(nil, 9))
			_ = c.Close()
		}
	}()
	_, err = Describe(t.Context(), []string{future.Addr().String()})
	var version *VersionError
	if !errors.As(err, &version) || version.Version != 9 || !strings.Contains(err.Error(), "want the same build on all machines") {
		t.Errorf("a node of version 9: %v", err)
	}
	<-answered
	_ = future.Close()

	_, err = Describe(t.Context(), []string{nodes[0].About().Peers})
	if err == nil || !strings.Contains(err.Error(), "is not where a node listens for clients (the port for its peers takes peers only)") {
		t.Errorf("the peers' port: %v", err)
	}
}
