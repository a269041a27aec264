package netio

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/millrace/millrace/codec"
)

// The handshake runs on the plain connection, before gnet sees it: it needs a deadline, which gnet has not, and what
// was not let in then never touches an event loop.

// dialHandshake says hello to the peer of a lane and checks the answer. Errors: [ErrRefused], codec's for bad bytes,
// and those of the connection.
func (t *TCP) dialHandshake(c net.Conn, peer codec.NodeID, id codec.Lane) error {
	if err := c.SetDeadline(time.Now().Add(t.cfg.HandshakeTimeout)); err != nil {
		return err
	}
	hello := codec.Handshake{
		Status: codec.HandshakeHello, Role: codec.RolePeer, Lane: id, From: t.cfg.Node, To: peer,
		Incarnation: t.cfg.Incarnation, ClusterID: t.cfg.ClusterID, Address: t.Addr(),
	}
	if _, err := c.Write(codec.AppendHandshake(nil, &hello)); err != nil {
		return err
	}
	answer, err := readHandshake(c)
	if err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	switch {
	case answer.Status != codec.HandshakeAccepted:
		return fmt.Errorf("peer answers %q (it is node %d of cluster %q): %w",
			answer.Status, answer.From, answer.ClusterID, ErrRefused)
	case answer.ClusterID != t.cfg.ClusterID:
		return fmt.Errorf("peer belongs to cluster %q, want %q: %w", answer.ClusterID, t.cfg.ClusterID, ErrRefused)
	case answer.From != peer:
		return fmt.Errorf("peer is node %d, want %d: %w", answer.From, peer, ErrRefused)
	case answer.To != t.cfg.Node || answer.Lane != id:
		return fmt.Errorf("peer answers node %d on the %v lane, want node %d on the %v lane: %w",
			answer.To, answer.Lane, t.cfg.Node, id, ErrRefused)
	}
	if err := t.verify(answer.From, answer.Incarnation); err != nil {
		return fmt.Errorf("incarnation %v of node %d: %w: %w", answer.Incarnation, answer.From, err, ErrRefused)
	}
	return c.SetDeadline(time.Time{})
}

// verify asks the engine about a peer. A panic there refuses the peer.
func (t *TCP) verify(id codec.NodeID, incarnation codec.Incarnation) (err error) {
	defer t.contain("Verify", func() { err = errors.New("verification panicked") })
	return t.link.Verify(id, incarnation)
}

// readHandshake reads one handshake and nothing else: a peer that sends more before it got its answer, or more than a
// handshake can have, is not one of ours.
func readHandshake(c net.Conn) (codec.Handshake, error) {
	var buf [codec.HandshakeSizeMax + 1]byte
	for n := 0; ; {
		read, err := c.Read(buf[n:])
		n += read
		if n > 0 {
			h, size, parse := codec.ReadHandshake(buf[:n])
			switch {
			case parse == nil && size == n:
				return h, nil
			case parse == nil:
				return codec.Handshake{}, fmt.Errorf("%d bytes behind the handshake: %w", n-size, codec.ErrCorrupt)
			case !errors.Is(parse, codec.ErrShort):
				return codec.Handshake{}, parse
			}
		}
		if err != nil {
			return codec.Handshake{}, fmt.Errorf("after %d bytes of the handshake: %w", n, err)
		}
	}
}

// judge decides about a peer that dialed this node.
func (t *TCP) judge(h *codec.Handshake) (codec.HandshakeStatus, Cause, error) {
	switch {
	case h.Status != codec.HandshakeHello:
		return codec.HandshakeUnknownPeer, HandshakeCorrupt,
			fmt.Errorf("status %q, want %q", h.Status, codec.HandshakeHello)
	case h.ClusterID != t.cfg.ClusterID:
		return codec.HandshakeWrongCluster, RefusedWrongCluster,
			fmt.Errorf("cluster %q, want %q", h.ClusterID, t.cfg.ClusterID)
	case h.To != t.cfg.Node:
		return codec.HandshakeWrongNode, RefusedWrongNode, fmt.Errorf("wants node %d, this is %d", h.To, t.cfg.Node)
	case h.From == t.cfg.Node:
		return codec.HandshakeUnknownPeer, RefusedUnknownPeer, fmt.Errorf("claims to be this node, %d", h.From)
	}
	err := t.verify(h.From, h.Incarnation)
	if err == nil {
		return codec.HandshakeAccepted, 0, nil
	}
	err = fmt.Errorf("incarnation %v: %w", h.Incarnation, err)
	if t.peer(h.From) == nil {
		return codec.HandshakeUnknownPeer, RefusedUnknownPeer, err
	}
	return codec.HandshakeWrongIncarnation, RefusedWrongIncarnation, err
}

// answer tells the dialing side the verdict. All fields are this node's own view.
func (t *TCP) answer(c net.Conn, h *codec.Handshake, status codec.HandshakeStatus) error {
	a := codec.Handshake{
		Status: status, Role: codec.RolePeer, Lane: h.Lane, From: t.cfg.Node, To: h.From,
		Incarnation: t.cfg.Incarnation, ClusterID: t.cfg.ClusterID, Address: t.Addr(),
	}
	_, err := c.Write(codec.AppendHandshake(nil, &a))
	return err
}
