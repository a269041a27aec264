package netio

import "errors"

// ErrClosed is returned by Start of a transport that was closed before. The caller makes a new transport.
var ErrClosed = errors.New("transport is closed")

// ErrStarted is returned by Start of a transport that already runs. It is a mistake of the caller's order of calls.
var ErrStarted = errors.New("transport is already started")

// ErrConfig is wrapped by what [NewTCP] returns for a setting out of its range, and Start for an incarnation that is not that
// of the node's log; the message names the field, its value and what was expected. The caller corrects the setting.
var ErrConfig = errors.New("invalid netio setting")

// ErrInsecure is wrapped by what [NewTCP] returns for a listen address that other machines can reach while
// [Config.Insecure] is not set. The caller listens on loopback, or sets it where the network itself is trusted.
var ErrInsecure = errors.New("peer traffic is neither authenticated nor encrypted")

// ErrRefused is wrapped by the error a dial ends with when one of the two sides did not want the other: another
// cluster, another node, another incarnation, an unknown peer. It appears in the log; the dial is repeated, since the
// cause may be mended on either side.
var ErrRefused = errors.New("handshake refused")

// errWrongLane is what a message of a kind that does not belong on its connection's lane ends the connection with.
var errWrongLane = errors.New("message kind does not belong on this lane")

// errNotTaken is wrapped where an event loop did not take an established connection, for want of a file number for
// example; it was closed.
var errNotTaken = errors.New("event loop did not take the connection")

// errEngineStopped ends a dial or an accept once gnet's event loops have stopped by themselves.
var errEngineStopped = errors.New("event loops have stopped")
