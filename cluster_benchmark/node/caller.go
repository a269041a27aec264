package node

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/millrace/millrace/codec"
)

// askTimeout bounds a question whose context has no earlier end.
const askTimeout = 10 * time.Second

// dial connects to a node and exchanges versions.
func dial(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect to a node: %w", err)
	}
	deadline, _ := ctx.Deadline()
	if err := greetNode(conn, address, deadline); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

func greetNode(conn net.Conn, address string, deadline time.Time) error {
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	if _, err := conn.Write(appendGreeting(nil, ProtocolVersion)); err != nil {
		return fmt.Errorf("%s: %w", address, err)
	}
	version, err := readGreeting(conn)
	switch {
	case errors.Is(err, codec.ErrCorrupt), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s is not where a node listens for clients (the port for its peers takes peers only): %w", address, err)
	case err != nil:
		return fmt.Errorf("%s: %w", address, err)
	case version != ProtocolVersion:
		return &VersionError{address, version}
	}
	return conn.SetDeadline(time.Time{})
}

// caller asks a node, one question at a time. It connects when it has to, and again after an error.
type caller struct {
	address string

	// mu guards what follows, for the time of a question. No owner would do: questions come from the run and from the
	// goroutine that looks for the leader.
	mu     sync.Mutex
	conn   net.Conn // nil while there is none
	in     *reader
	number uint64
	run    string // claimed on each new connection; "" before the run has begun
	closed bool
}

// ask asks and returns what was given, valid for good. Errors: a [RefusedError]; those of connecting; the context's.
func (c *caller) ask(ctx context.Context, q question) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, fmt.Errorf("%s: %w", c.address, net.ErrClosed)
	}
	if c.conn == nil {
		if err := c.connect(ctx); err != nil {
			return nil, err
		}
	}
	given, err := c.exchange(ctx, q)
	if err == nil && q.Ask == askClaim {
		c.run = q.Run
	}
	return given, err
}

// connect is called with the lock held.
func (c *caller) connect(ctx context.Context) error {
	conn, err := dial(ctx, c.address)
	if err != nil {
		return err
	}
	c.conn, c.in = conn, &reader{from: bufio.NewReader(conn), max: replyBytesMax}
	if c.run == "" {
		return nil
	}
	_, err = c.exchange(ctx, question{Ask: askClaim, Run: c.run})
	return err
}

// exchange is called with the lock held.
func (c *caller) exchange(ctx context.Context, q question) ([]byte, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	given, err := c.roundTrip(ctx, body)
	var refused *RefusedError
	if err != nil && !errors.As(err, &refused) {
		err = fmt.Errorf("%s: %w", c.address, errors.Join(err, c.drop()))
	}
	return given, err
}

func (c *caller) roundTrip(ctx context.Context, body []byte) ([]byte, error) {
	deadline := time.Now().Add(askTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := c.conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	// A context that is cancelled ends the question at once.
	unhook := context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })
	defer unhook()
	c.number++
	if _, err := c.conn.Write(appendMessage(nil, kindAsk, c.number, body)); err != nil {
		return nil, err
	}
	m, err := c.in.read()
	if err != nil {
		return nil, err
	}
	if m.kind != kindReply || m.number != c.number || len(m.body) == 0 || m.body[0] > replyRefused {
		return nil, fmt.Errorf("message %d of kind %d, want the reply %d: %w", m.number, m.kind, c.number, codec.ErrCorrupt)
	}
	if m.body[0] == replyRefused {
		return nil, &RefusedError{c.address, string(m.body[1:])}
	}
	return append([]byte(nil), m.body[1:]...), nil
}

// drop ends the connection. The lock is held.
func (c *caller) drop() error {
	if c.conn == nil {
		return nil
	}
	err := c.conn.Close()
	c.conn, c.in = nil, nil
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// close ends the connection, and with it the claim. Later questions fail.
func (c *caller) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return c.drop()
}

// askFor asks and reads the JSON that is given.
func askFor[T any](ctx context.Context, c *caller, q question) (T, error) {
	var value T
	given, err := c.ask(ctx, q)
	if err != nil {
		return value, err
	}
	if err := json.Unmarshal(given, &value); err != nil {
		return value, fmt.Errorf("%s: %s: %w: %w", c.address, q.Ask, codec.ErrCorrupt, err)
	}
	return value, nil
}
