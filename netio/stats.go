package netio

import (
	"fmt"
	"sync/atomic"
)

// Cause says why something was refused, dropped or ended.
type Cause uint8

// The causes. The first group counts packets that did not leave, the second connections that were not made or not
// taken, the third connections that ended for what they carried.
const (
	// DropFull: the lane held LaneBytesMax already, or a packet before it was refused and Down not yet called.
	DropFull Cause = iota
	// DropNotConnected: there was no connection to the peer.
	DropNotConnected
	// DropUnsent: queued when the connection ended.
	DropUnsent
	// DropUnknownPeer: SetPeers did not name the receiver.
	DropUnknownPeer
	// DropTooLarge: larger than MessageBytesMax.
	DropTooLarge

	// DialFailed: no TCP connection to a peer.
	DialFailed
	// DialRefused: the peer's handshake refused this node, or this node the peer's answer.
	DialRefused
	// DialNoAnswer: the peer's answer did not come in time, or was cut short.
	DialNoAnswer
	// AcceptFailed: the operating system gave an error instead of a connection (too many open files, for example).
	AcceptFailed
	// AcceptTooMany: ConnectionsMax reached.
	AcceptTooMany
	// AcceptTooManyFromAddress: ConnectionsPerAddressMax reached.
	AcceptTooManyFromAddress
	// AcceptTooManyHandshakes: HandshakesMax reached.
	AcceptTooManyHandshakes
	// HandshakeTimedOut: an accepted connection did not finish its handshake in time, or ended before.
	HandshakeTimedOut
	// HandshakeCorrupt: its first bytes were no handshake of this version, or bytes followed before the answer.
	HandshakeCorrupt
	// RefusedWrongCluster: it belongs to another cluster.
	RefusedWrongCluster
	// RefusedWrongNode: it wanted another node.
	RefusedWrongNode
	// RefusedWrongIncarnation: Verify did not accept the incarnation of a known peer.
	RefusedWrongIncarnation
	// RefusedUnknownPeer: Verify did not accept a peer that SetPeers did not name, or it claimed to be this node.
	RefusedUnknownPeer

	// StreamCorrupt: damaged or impossible bytes in a connection.
	StreamCorrupt
	// StreamTooLarge: a length beyond MessageBytesMax or codec's limits.
	StreamTooLarge
	// StreamVersion: an unknown message or frame version.
	StreamVersion
	// StreamWrongLane: a kind of message that does not belong on the lane.
	StreamWrongLane
	// StreamUnexpected: bytes from a peer on a connection that this node dialed, where it has nothing to say.
	StreamUnexpected
	// StreamReplaced: a newer connection of the same peer and lane took its place.
	StreamReplaced
	// Panicked: a callback panicked; the panic was contained.
	Panicked

	// CauseEnd is one past the last cause.
	CauseEnd
)

var causeNames = [...]string{
	"drop-full", "drop-not-connected", "drop-unsent", "drop-unknown-peer", "drop-too-large",
	"dial-failed", "dial-refused", "dial-no-answer", "accept-failed", "accept-too-many",
	"accept-too-many-from-address", "accept-too-many-handshakes", "handshake-timed-out", "handshake-corrupt",
	"refused-wrong-cluster", "refused-wrong-node", "refused-wrong-incarnation", "refused-unknown-peer",
	"stream-corrupt", "stream-too-large", "stream-version", "stream-wrong-lane", "stream-unexpected",
	"stream-replaced", "panicked",
}

// String returns the cause's name, as metrics use it.
func (c Cause) String() string {
	if c < CauseEnd {
		return causeNames[c]
	}
	return fmt.Sprintf("Cause(%d)", uint8(c))
}

// Stats are counts since Start, except where a field says "now". They are read one by one, so that they may be a few
// events apart.
type Stats struct {
	ConnectionsIn  int64 // now: accepted and past their handshake
	ConnectionsOut int64 // now: dialed and past their handshake
	Accepted       uint64
	Dialed         uint64
	Reconnected    uint64 // part of Dialed that replaced an earlier connection of the same peer and lane
	MessagesIn     uint64
	MessagesOut    uint64
	BytesIn        uint64
	BytesOut       uint64
	By             [CauseEnd]uint64 // what was refused, dropped or ended, by [Cause]
}

// counters is Stats under construction.
// Owner: shared; every field is atomic and none depends on another.
type counters struct {
	connectionsIn, connectionsOut atomic.Int64
	accepted, dialed, reconnected atomic.Uint64
	messagesIn, messagesOut       atomic.Uint64
	bytesIn, bytesOut             atomic.Uint64
	by                            [CauseEnd]atomic.Uint64
}

func (c *counters) count(cause Cause, n int) { c.by[cause].Add(uint64(n)) }

func (c *counters) snapshot() Stats {
	s := Stats{
		ConnectionsIn:  c.connectionsIn.Load(),
		ConnectionsOut: c.connectionsOut.Load(),
		Accepted:       c.accepted.Load(),
		Dialed:         c.dialed.Load(),
		Reconnected:    c.reconnected.Load(),
		MessagesIn:     c.messagesIn.Load(),
		MessagesOut:    c.messagesOut.Load(),
		BytesIn:        c.bytesIn.Load(),
		BytesOut:       c.bytesOut.Load(),
	}
	for i := range s.By {
		s.By[i] = c.by[i].Load()
	}
	return s
}
