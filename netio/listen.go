package netio

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/millrace/millrace/codec"
)

// The listener is a plain one and not gnet's: gnet's whole engine stops at the first error of accept, such as too many
// open files, and has no limits. Here such an error costs a pause.

const acceptPauseMax = time.Second

// acceptLoop takes connections until the listener is closed.
func (t *TCP) acceptLoop(ctx context.Context) {
	wait := 5 * time.Millisecond
	for {
		c, err := t.listener.Accept()
		switch {
		case err == nil:
			wait = 5 * time.Millisecond
			t.admit(ctx, c.(*net.TCPConn))
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return
		default:
			t.counters.count(AcceptFailed, 1)
			t.report.report(slog.LevelError, "accept "+causeOf(err), "can't accept connections",
				"listen", t.Addr(), "error", err)
			pause(ctx, wait)
			wait = min(2*wait, acceptPauseMax)
		}
	}
}

// admit starts the handshake of an accepted connection where the limits allow it.
func (t *TCP) admit(ctx context.Context, c *net.TCPConn) {
	remote := c.RemoteAddr().(*net.TCPAddr).IP.String()
	cause, ok := t.guests.enter(&t.cfg, remote)
	if !ok {
		t.counters.count(cause, 1)
		t.report.report(slog.LevelWarn, cause.String()+" "+remote, "connection refused at a limit",
			"remote", remote, "limit", cause)
		_ = c.Close() // nothing was said on it
		return
	}
	t.running.Add(1)
	go func() {
		defer t.running.Done()
		if !t.welcome(ctx, c, remote) {
			t.guests.leave(remote)
		}
	}()
}

// welcome does the accepting side's handshake and gives the connection to an event loop. It reports whether the loop
// has it; otherwise the connection is closed.
func (t *TCP) welcome(ctx context.Context, c *net.TCPConn, remote string) bool {
	release := closeOnEnd(ctx, c)
	in, status, cause, err := t.greet(c, remote)
	release()
	t.guests.shaken()
	if err != nil {
		if ctx.Err() == nil {
			t.counters.count(cause, 1)
			t.report.report(slog.LevelWarn, cause.String()+" "+remote, "peer connection refused",
				"remote", remote, "verdict", status, "cause", cause, "error", err)
		}
		_ = c.Close() // the error that matters was reported
		return false
	}
	if err := t.enroll(c, in); err != nil || !in.opened {
		t.counters.count(AcceptFailed, 1)
		t.report.report(slog.LevelError, "enroll", "peer connection lost", "remote", remote, "error", cmp.Or(err, errNotTaken))
		t.leaveSlot(in)
		return false
	}
	t.counters.accepted.Add(1)
	return true
}

// greet reads the hello, judges it and answers. When it returns no error the connection is the newest of its peer and
// lane, and nothing more of an older one will be delivered: only then does the peer learn that it may send.
func (t *TCP) greet(c *net.TCPConn, remote string) (*inConn, codec.HandshakeStatus, Cause, error) {
	if err := c.SetDeadline(time.Now().Add(t.cfg.HandshakeTimeout)); err != nil {
		return nil, 0, HandshakeTimedOut, err
	}
	if err := setUserTimeout(c, t.cfg.PeerTimeout); err != nil {
		return nil, 0, HandshakeTimedOut, err
	}
	hello, err := readHandshake(c)
	switch {
	case errors.Is(err, codec.ErrCorrupt) || errors.Is(err, codec.ErrVersion):
		return nil, 0, HandshakeCorrupt, err
	case err != nil:
		return nil, 0, HandshakeTimedOut, err
	}
	status, cause, err := t.judge(&hello)
	if err != nil {
		_ = t.answer(c, &hello, status) // it is refused whether or not it hears why
		return nil, status, cause, err
	}
	in := &inConn{
		t:       t,
		remote:  remote,
		address: reachable(hello.Address, remote),
		slot:    t.takeSlot(hello.From, hello.Lane),
		parser:  parser{from: hello.From, lane: hello.Lane, limit: t.cfg.MessageBytesMax},
	}
	in.slot.replace(in)
	if err := t.answer(c, &hello, status); err != nil {
		t.leaveSlot(in)
		return nil, status, HandshakeTimedOut, err
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		t.leaveSlot(in)
		return nil, status, HandshakeTimedOut, err
	}
	t.learn(hello.From, in.address)
	return in, status, 0, nil
}

// reachable returns the address a peer told, with the host its connection came from where it listens on all of its
// addresses, or "" when it is no address.
func reachable(address, remote string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = remote
	}
	return net.JoinHostPort(host, port)
}

// guests counts accepted connections against their limits.
// Owner: shared. The lock stands for an owner because connections come on the accept goroutine, leave on any event
// loop and pass on their handshake's goroutine, each only to count.
type guests struct {
	mu         sync.Mutex
	total      int
	handshakes int
	byAddress  map[string]int
}

func (g *guests) enter(cfg *Config, remote string) (Cause, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.total >= cfg.ConnectionsMax:
		return AcceptTooMany, false
	case g.byAddress[remote] >= cfg.ConnectionsPerAddressMax:
		return AcceptTooManyFromAddress, false
	case g.handshakes >= cfg.HandshakesMax:
		return AcceptTooManyHandshakes, false
	}
	g.total++
	g.handshakes++
	g.byAddress[remote]++
	return 0, true
}

// shaken ends a handshake, whatever came of it.
func (g *guests) shaken() {
	g.mu.Lock()
	g.handshakes--
	g.mu.Unlock()
}

func (g *guests) leave(remote string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	if g.byAddress[remote]--; g.byAddress[remote] == 0 {
		delete(g.byAddress, remote)
	}
}

// slotKey names where a peer's packets come in.
type slotKey struct {
	peer codec.NodeID
	lane codec.Lane
}

// slot holds the newest accepted connection of one peer and lane.
// Owner: shared. The lock stands for an owner because the old and the new connection may live on different event
// loops; it is held during Link.Deliver, so that what the old one delivers comes before anything of the new one, or
// not at all.
type slot struct {
	mu      sync.Mutex
	current *inConn
}

// replace makes in the slot's connection and ends the one before it.
func (s *slot) replace(in *inConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.current; old != nil {
		in.t.counters.count(StreamReplaced, 1)
		old.ending.Store(true)
		if old.conn != nil {
			_ = old.conn.Close() // it delivers nothing any more, whether or not its loop hears this
		}
	}
	s.current = in
}

func (t *TCP) takeSlot(peer codec.NodeID, lane codec.Lane) *slot {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := slotKey{peer, lane}
	s := t.slots[key]
	if s == nil {
		s = new(slot)
		t.slots[key] = s
	}
	return s
}

// leaveSlot takes in out of its slot, if it still is in there.
func (t *TCP) leaveSlot(in *inConn) {
	if in.slot.leave(in) {
		t.unlearn(in.parser.from)
	}
}

// leave empties the slot where in is still in it, and reports whether it was.
func (s *slot) leave(in *inConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != in {
		return false
	}
	s.current = nil
	return true
}

// address returns where the peer behind the slot's connection listens, "" for none.
func (s *slot) address() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return ""
	}
	return s.current.address
}
