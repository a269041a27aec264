package crash

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
)

// takeAll is a state machine that takes anything.
type takeAll struct{}

// Apply implements [engine.StateMachine].
func (takeAll) Apply([]engine.Entry, []engine.Result) error { return nil }

func leadAlone(t *testing.T, n *engine.Raft) error {
	t.Helper()
	err := n.Initialize(t.Context(), codec.NewMembership(codec.SeveralLeadersPerTerm, codec.Node{ID: n.NodeID(), Address: n.Addr()}))
	if err == nil {
		_, err = n.WaitLeader(t.Context())
	}
	return err
}

// stranger is what somebody who is no node sends to a node's port.
type stranger struct {
	name    string
	hello   *codec.Handshake // nil: none
	verdict codec.HandshakeStatus
	sends   []byte // behind the handshake, once it was accepted; nil: nothing
	// silent: it sends less than it should and then keeps still. The node ends a handshake that does not come; behind
	// a handshake it has to bear silence.
	silent bool
}

// hello is the handshake of a node that nobody knows, at node 1 to 3.
func hello(from, to codec.NodeID, cluster string, lane codec.Lane) *codec.Handshake {
	h := &codec.Handshake{Status: codec.HandshakeHello, Role: codec.RolePeer, Lane: lane, From: from, To: to, ClusterID: cluster}
	rand.Read(h.Incarnation[:])
	return h
}

// strangers returns all kinds for one node. Who is no member is let in, as one that the node does not know of yet, and can
// do nothing; who wants to be heard has stolen the identity of the node after it.
func strangers(to codec.NodeID, stolen codec.Incarnation) []stranger {
	garbage := make([]byte, 10_000)
	rand.Read(garbage)
	heartbeat := codec.AppendMessage(nil, &codec.Message{Kind: codec.MessageHeartbeat, Group: group}, 0)
	huge := append([]byte(nil), heartbeat...)
	binary.LittleEndian.PutUint32(huge, 0xffff_ffff)
	appendHeader := codec.AppendMessage(nil, &codec.Message{Kind: codec.MessageAppend, Group: group}, codec.FrameHeaderSize+1000)
	broken := append(appendHeader, garbage[:codec.FrameHeaderSize+1000]...)
	flipped := append([]byte(nil), heartbeat...)
	flipped[20] ^= 1
	good := codec.AppendHandshake(nil, hello(89, to, clusterID, codec.LaneControl))
	newer := append([]byte(nil), good...)
	newer[4]++
	candidate := codec.AppendMessage(nil, &codec.Message{
		Kind: codec.MessageVote, Group: group, Vote: codec.Vote{Leader: codec.LeaderID{Term: 1 << 40, Node: 90}}, Transfer: true,
	}, 0)
	letIn := func(lane codec.Lane) *codec.Handshake {
		h := hello(to%3+1, to, clusterID, lane)
		h.Incarnation = stolen
		return h
	}
	return []stranger{
		{name: "is no member and sends garbage", hello: hello(87, to, clusterID, codec.LaneAppend), verdict: codec.HandshakeAccepted, sends: garbage},
		{name: "is no member and campaigns in a great term", hello: hello(90, to, clusterID, codec.LaneControl),
			verdict: codec.HandshakeAccepted, sends: append(candidate, garbage...)},
		{name: "sends garbage", sends: garbage},
		{name: "sends zeros", sends: make([]byte, 10_000)},
		{name: "sends nothing", silent: true},
		{name: "sends half a handshake", sends: good[:len(good)/2], silent: true},
		{name: "sends a handshake of a newer version", sends: newer},
		{name: "is of another cluster", hello: hello(2, to, "orders", codec.LaneControl), verdict: codec.HandshakeWrongCluster},
		{name: "wants another node", hello: hello(99, 98, clusterID, codec.LaneControl), verdict: codec.HandshakeWrongNode},
		{name: "claims to be this node", hello: hello(to, to, clusterID, codec.LaneControl), verdict: codec.HandshakeUnknownPeer},
		{name: "claims to be another member", hello: hello(to%3+1, to, clusterID, codec.LaneAppend), verdict: codec.HandshakeWrongIncarnation},
		{name: "sends garbage as a message", hello: letIn(codec.LaneControl), verdict: codec.HandshakeAccepted, sends: garbage},
		{name: "sends a huge length", hello: letIn(codec.LaneControl), verdict: codec.HandshakeAccepted, sends: huge},
		{name: "sends a damaged message", hello: letIn(codec.LaneControl), verdict: codec.HandshakeAccepted, sends: flipped},
		{name: "sends an append on the control lane", hello: letIn(codec.LaneControl), verdict: codec.HandshakeAccepted, sends: appendHeader},
		{name: "sends a frame of garbage", hello: letIn(codec.LaneAppend), verdict: codec.HandshakeAccepted, sends: broken},
	}
}

// steal returns the incarnation of the node at an address, which it tells whoever asks.
func steal(address string, node codec.NodeID) (codec.Incarnation, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return codec.Incarnation{}, err
	}
	defer c.Close()
	if _, err := c.Write(codec.AppendHandshake(nil, hello(88, node, clusterID, codec.LaneControl))); err != nil {
		return codec.Incarnation{}, err
	}
	answer := make([]byte, codec.HandshakeSizeMax)
	n, err := c.Read(answer) // it comes in one piece: the node writes it with one call
	if err != nil {
		return codec.Incarnation{}, err
	}
	h, _, err := codec.ReadHandshake(answer[:n])
	return h.Incarnation, err
}

// visit plays one stranger and returns when the node has ended the connection.
func (s *stranger) visit(address string) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if s.hello != nil {
		if _, err := c.Write(codec.AppendHandshake(nil, s.hello)); err != nil {
			return err
		}
		answer := make([]byte, codec.HandshakeSizeMax)
		n, err := c.Read(answer) // it comes in one piece: the node writes it with one call
		if err != nil {
			return fmt.Errorf("no answer: %w", err)
		}
		h, _, err := codec.ReadHandshake(answer[:n])
		if err != nil {
			return err
		}
		if h.Status != s.verdict {
			return fmt.Errorf("the node answers %q, want %q", h.Status, s.verdict)
		}
	}
	if _, err := c.Write(s.sends); err != nil && !ended(err) {
		return err
	}
	if _, err := io.Copy(io.Discard, c); err != nil && !ended(err) {
		return fmt.Errorf("the node has not ended the connection: %w", err)
	}
	return nil
}

// ended reports whether the error says that the other side ended the connection.
func ended(err error) bool { return !errors.Is(err, os.ErrDeadlineExceeded) }

// TestStrangers lets strangers of all kinds loose on the peer ports of a cluster under load. It goes on committing, and
// no node stops.
func TestStrangers(t *testing.T) {
	t.Parallel()
	r := mathrand.New(mathrand.NewPCG(newSeed(t), 0))
	l := newLife(nodeDirs(t.TempDir()), freeAddresses(t, r), 0, r)
	b := newBook()
	s, machines, err := openNodes(&l, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(errors.Join(err, s.close()))
	}
	ctx, cancel := context.WithCancel(t.Context())
	clients := load{seats: s, record: b, closed: 2, windowed: 1, window: 4, first: 1, failed: func(err error) { t.Error(err) }, pause: time.Millisecond}
	var running, visitors sync.WaitGroup
	running.Go(func() { clients.run(ctx) })
	before := promisedAfter(t, b, 1)
	var identities [3]codec.Incarnation
	for i, address := range l.Addresses {
		var err error
		if identities[i], err = steal(address, codec.NodeID(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	for i, address := range l.Addresses {
		visit := func(v *stranger) {
			if err := v.visit(address); err != nil {
				t.Errorf("node %d, a stranger who %s: %v", i+1, v.name, err)
			}
		}
		var thieves []stranger
		for _, v := range strangers(codec.NodeID(i+1), identities[(i+1)%3]) {
			if v.verdict == codec.HandshakeAccepted {
				thieves = append(thieves, v)
			} else {
				visitors.Go(func() { visit(&v) })
			}
		}
		visitors.Go(func() { // one after the other: each drives out whoever has the same identity, also the real node
			for i := range thieves {
				visit(&thieves[i])
			}
		})
	}
	// One who was let in and then says nothing must be borne, until the node it claims to be comes back.
	for i, address := range l.Addresses {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		h := hello(codec.NodeID((i+1)%3+1), codec.NodeID(i+1), clusterID, codec.LaneAppend)
		h.Incarnation = identities[(i+1)%3]
		if _, err := c.Write(codec.AppendHandshake(nil, h)); err != nil {
			t.Fatal(err)
		}
	}
	visitors.Wait()
	promisedAfter(t, b, before+20)
	cancel()
	running.Wait()
	if err := finish(t.Context(), s, machines, b, 2000); err != nil {
		t.Error(err)
	}
	for i := range s {
		n := s[i].Load()
		if err := n.Err(); err != nil {
			t.Errorf("node %d: %v", i+1, err)
		}
		if term := n.Metrics().Vote.Leader.Term; term >= 1<<40 {
			t.Errorf("node %d took the term %d from a stranger", i+1, term)
		}
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

// promisedAfter waits until so many puts are acknowledged, and returns how many are.
func promisedAfter(t *testing.T, b *book, want int) int {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		b.mu.Lock()
		changed, have := b.changed, len(b.ack)
		b.mu.Unlock()
		if have >= want {
			return have
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("%d puts acknowledged after 20 s, want %d", have, want)
		}
	}
}
