package netio

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/millrace/millrace/codec"
)

// Config holds the settings of a [TCP] transport. It is copied and validated once by [NewTCP]; in each field with a
// default the zero value means that default.
type Config struct {
	// Node is this node's id, not 0. No default.
	Node codec.NodeID
	// ClusterID names the cluster, 1 to [codec.ClusterIDBytesMax] bytes; peers of another one are refused. No default.
	ClusterID string
	// Incarnation is this node's identity beyond its id, not zero: a peer that knows another one refuses. No default.
	Incarnation codec.Incarnation
	// Listen is the host:port to listen on; port 0 takes a free one. No default. A host that is not loopback is
	// refused unless Insecure is set.
	Listen string

	// LaneBytesMax bounds what is queued and unsent for one peer on one lane, in bytes on the wire. Default 128 MiB:
	// two of the largest messages. What is queued are references to frames that the log holds anyway, or to pieces of a
	// snapshot; the engine's own windows per peer are the bounds that matter in normal work, this one holds where they
	// fail. Want at least MessageBytesMax, or the largest message would never leave.
	LaneBytesMax int
	// MessageBytesMax bounds one message with its frame or data, in bytes, both ways. Default and maximum: the largest frame
	// that codec allows. It must be the same on all nodes, or a larger message of one ends the connection at another.
	MessageBytesMax int
	// EventLoops is the number of gnet event loops. Default 1: on one connection all work is done by one loop anyway,
	// nodes of one process share its cores, and a loop that is woken for nothing costs the others. A node with many
	// peers and idle cores may want more. Want 1 to 64.
	EventLoops int

	// HandshakeTimeout is how long a connection may take from its start to the end of its handshake, either side.
	// Default 2 s: two round trips of the slowest sane link, and short enough that silent connections do not pile up.
	HandshakeTimeout time.Duration
	// DialTimeout is how long making a TCP connection may take. Default 2 s.
	DialTimeout time.Duration
	// BackoffMin and BackoffMax bound the wait between two attempts to reach a peer. It doubles from min to max and
	// half of it is random, so that peers do not come back in step. Defaults 20 ms and 1 s: a restarted peer is back
	// within about a second, and a dead one costs three dials a second (one a lane).
	BackoffMin, BackoffMax time.Duration
	// PeerTimeout is how long sent bytes may stay unacknowledged, or an idle peer may not answer TCP's keep-alive
	// probes, before the connection is given up. Default 5 s, at least 1 s. A peer that lost power sends no FIN;
	// without this its connections would stand for minutes. The engine notices a silent leader by itself, earlier.
	PeerTimeout time.Duration

	// ConnectionsMax bounds accepted connections, those in handshake included. Default 1024.
	ConnectionsMax int
	// ConnectionsPerAddressMax bounds those of one remote IP address. Default 96: three lanes each of 32 nodes on one
	// machine. It is smaller than HandshakesMax so that one address alone can't use up the handshakes.
	ConnectionsPerAddressMax int
	// HandshakesMax bounds accepted connections in handshake. Default 128.
	HandshakesMax int

	// Insecure allows a listen address that other machines can reach. There is no TLS yet: whoever reaches the port
	// and knows the cluster id and a node's incarnation can speak as that node. Logged each minute while it is so.
	Insecure bool
	// Logger gets what an operator should know: refusals (once per cause and peer a minute), bad streams, panics that
	// were contained. Nil: nothing is logged.
	Logger *slog.Logger
}

const messageBytesLimit = codec.MessageHeaderSize + codec.FrameHeaderSize + codec.FrameBodyMax

// withDefaults returns c with its zero values replaced.
func (c Config) withDefaults() Config {
	setInt := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	setTime := func(field *time.Duration, value time.Duration) {
		if *field == 0 {
			*field = value
		}
	}
	setInt(&c.MessageBytesMax, messageBytesLimit)
	setInt(&c.LaneBytesMax, max(128<<20, 2*c.MessageBytesMax))
	setInt(&c.EventLoops, 1)
	setTime(&c.HandshakeTimeout, 2*time.Second)
	setTime(&c.DialTimeout, 2*time.Second)
	setTime(&c.BackoffMin, min(20*time.Millisecond, max(c.BackoffMax, 0)))
	if c.BackoffMin == 0 {
		c.BackoffMin = 20 * time.Millisecond
	}
	setTime(&c.BackoffMax, max(time.Second, c.BackoffMin))
	setTime(&c.PeerTimeout, 5*time.Second)
	setInt(&c.ConnectionsMax, 1024)
	setInt(&c.ConnectionsPerAddressMax, min(96, max(c.ConnectionsMax, 0)))
	setInt(&c.HandshakesMax, min(128, max(c.ConnectionsMax, 0)))
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// validate checks c after its defaults were filled in. Errors wrap [ErrConfig].
func (c *Config) validate() error {
	switch {
	case c.Node == 0:
		return fmt.Errorf("setting Node is 0, want a node id: %w", ErrConfig)
	case len(c.ClusterID) == 0 || len(c.ClusterID) > codec.ClusterIDBytesMax:
		return fmt.Errorf("setting ClusterID %q has %d bytes, want 1 to %d: %w",
			c.ClusterID, len(c.ClusterID), codec.ClusterIDBytesMax, ErrConfig)
	case c.Incarnation.IsZero():
		return fmt.Errorf("setting Incarnation is zero, want random bits: %w", ErrConfig)
	}
	ranges := []struct {
		name             string
		value, from, end int
	}{
		{"MessageBytesMax", c.MessageBytesMax, codec.MessageHeaderSize + codec.FrameHeaderSize, messageBytesLimit},
		{"LaneBytesMax", c.LaneBytesMax, c.MessageBytesMax, 1 << 40},
		{"EventLoops", c.EventLoops, 1, 64},
		{"ConnectionsMax", c.ConnectionsMax, 1, 1 << 20},
		{"ConnectionsPerAddressMax", c.ConnectionsPerAddressMax, 1, c.ConnectionsMax},
		{"HandshakesMax", c.HandshakesMax, 1, c.ConnectionsMax},
	}
	for _, r := range ranges {
		if r.value < r.from || r.value > r.end {
			return fmt.Errorf("setting %s is %d, want %d to %d: %w", r.name, r.value, r.from, r.end, ErrConfig)
		}
	}
	times := []struct {
		name             string
		value, from, end time.Duration
	}{
		{"HandshakeTimeout", c.HandshakeTimeout, time.Millisecond, time.Minute},
		{"DialTimeout", c.DialTimeout, time.Millisecond, time.Minute},
		{"BackoffMin", c.BackoffMin, time.Millisecond, time.Minute},
		{"BackoffMax", c.BackoffMax, c.BackoffMin, time.Hour},
		{"PeerTimeout", c.PeerTimeout, time.Second, time.Hour},
	}
	for _, r := range times {
		if r.value < r.from || r.value > r.end {
			return fmt.Errorf("setting %s is %v, want %v to %v: %w", r.name, r.value, r.from, r.end, ErrConfig)
		}
	}
	return nil
}

// listenAddress resolves c.Listen, so that what was checked is what will be bound, and reports whether only this
// machine can reach it.
func (c *Config) listenAddress() (addr *net.TCPAddr, loopback bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.DialTimeout)
	defer cancel()
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return nil, false, fmt.Errorf("setting Listen %q, want host:port: %v: %w", c.Listen, err, ErrConfig)
	}
	number, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
	if err != nil {
		return nil, false, fmt.Errorf("setting Listen %q: port: %v: %w", c.Listen, err, ErrConfig)
	}
	if host == "" {
		return &net.TCPAddr{Port: number}, false, nil
	}
	found, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return nil, false, fmt.Errorf("setting Listen %q: host: %v: %w", c.Listen, err, ErrConfig)
	}
	addr = &net.TCPAddr{IP: found[0].IP, Port: number, Zone: found[0].Zone}
	return addr, addr.IP.IsLoopback(), nil
}

// checkIncarnation returns why a transport of the given incarnation can't speak for who starts it. Where that is not said
// anything goes.
func checkIncarnation(node codec.NodeID, have codec.Incarnation, link *codec.Link) error {
	if want := link.Incarnation; !want.IsZero() && have != want {
		return fmt.Errorf("transport of node %d has the Incarnation %v, want %v, that of the node's log: %w", node, have, want, ErrConfig)
	}
	return nil
}
