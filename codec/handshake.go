package codec

import (
	"encoding/binary"
	"fmt"
)

// ProtocolVersion is the version of the peer protocol, told in every handshake. A peer of another version is refused.
const ProtocolVersion = 1

// ClusterIDBytesMax bounds the name of a cluster.
const ClusterIDBytesMax = 64

// handshakeMagic opens every connection between peers.
const handshakeMagic = "MLRC"

// HandshakeSizeMax bounds a handshake in bytes; nothing larger is ever buffered for one.
const HandshakeSizeMax = handshakeFixedSize + ClusterIDBytesMax + AddressBytesMax

const handshakeFixedSize = 4 + 2 + 1 + 1 + 1 + 1 + 1 + 8 + 8 + 16 + 4

// Role says what the dialing side is.
type Role uint8

// RolePeer is a member of the cluster that speaks the peer protocol.
const RolePeer Role = 1

// Lane separates the traffic between two nodes, so that heartbeats never wait behind appends.
type Lane uint8

// The lanes. Each is a connection of its own per direction.
const (
	LaneControl Lane = 1 // votes, heartbeats and their answers
	LaneAppend  Lane = 2 // appends, forwarded proposals, and their answers
	// LaneSnapshot carries pieces of snapshots and their answers, so that neither appends nor heartbeats wait behind them.
	LaneSnapshot Lane = 3

	// LaneEnd is one past the last lane.
	LaneEnd Lane = 4
)

// String returns the lane's name.
func (l Lane) String() string {
	switch l {
	case LaneControl:
		return "control"
	case LaneAppend:
		return "append"
	case LaneSnapshot:
		return "snapshot"
	}
	return fmt.Sprintf("Lane(%d)", uint8(l))
}

// HandshakeStatus is the accepting side's verdict. It is 0 in the dialing side's handshake.
type HandshakeStatus uint8

// The verdicts.
const (
	HandshakeHello            HandshakeStatus = 0 // dialing side
	HandshakeAccepted         HandshakeStatus = 1
	HandshakeWrongCluster     HandshakeStatus = 2 // accepting side belongs to another cluster
	HandshakeWrongNode        HandshakeStatus = 3 // accepting side is not the node that was dialed
	HandshakeWrongIncarnation HandshakeStatus = 4 // this node id was seen before with another data directory
	HandshakeUnknownPeer      HandshakeStatus = 5 // node id, role or lane not welcome

	handshakeStatusEnd HandshakeStatus = 6
)

// String returns the verdict in words.
func (s HandshakeStatus) String() string {
	names := [...]string{"hello", "accepted", "wrong cluster", "wrong node", "wrong incarnation", "unknown peer"}
	if s < handshakeStatusEnd {
		return names[s]
	}
	return fmt.Sprintf("HandshakeStatus(%d)", uint8(s))
}

// Handshake is the first thing each side of a connection says. The dialing side tells who it is, whom it wants and
// what the connection is for; the accepting side answers with the same fields from its view and a verdict.
type Handshake struct {
	Status      HandshakeStatus
	Role        Role
	Lane        Lane
	From        NodeID // sender
	To          NodeID // node the sender believes it talks to
	Incarnation Incarnation
	ClusterID   string // 1 to ClusterIDBytesMax bytes
	// Address is where the sender listens, at most AddressBytesMax bytes; "" when nobody can reach it. A node that
	// knows no membership yet answers a candidate there.
	Address string
}

// plausible reports whether such a handshake may be sent.
func (h *Handshake) plausible() bool {
	return h.Status < handshakeStatusEnd && h.Role == RolePeer && h.Lane > 0 && h.Lane < LaneEnd &&
		h.From != 0 && h.To != 0 && len(h.ClusterID) > 0 && len(h.ClusterID) <= ClusterIDBytesMax &&
		len(h.Address) <= AddressBytesMax
}

// AppendHandshake appends the handshake's bytes: magic "MLRC", protocol version (2), status, role, lane, cluster id
// length, address length (1 each), from, to (8 each), incarnation (16), cluster id, address, CRC32C of all before. A
// handshake that no reader would accept is a bug of the caller.
func AppendHandshake(dst []byte, h *Handshake) []byte {
	if !h.plausible() {
		panic(fmt.Sprintf("BUG: handshake %+v", *h))
	}
	start := len(dst)
	le := binary.LittleEndian
	dst = append(dst, handshakeMagic...)
	dst = le.AppendUint16(dst, ProtocolVersion)
	dst = append(dst, byte(h.Status), byte(h.Role), byte(h.Lane), byte(len(h.ClusterID)), byte(len(h.Address)))
	dst = le.AppendUint64(dst, uint64(h.From))
	dst = le.AppendUint64(dst, uint64(h.To))
	dst = append(dst, h.Incarnation[:]...)
	dst = append(dst, h.ClusterID...)
	dst = append(dst, h.Address...)
	return le.AppendUint32(dst, Checksum(dst[start:]))
}

// ReadHandshake reads the handshake that starts src and returns its size. Errors: [ErrShort] as long as what is there
// could become one, [ErrVersion], and [ErrCorrupt] for another magic or checksum, or an impossible field. An empty src
// is short; one wrong byte of the magic is refused without waiting for the next.
func ReadHandshake(src []byte) (Handshake, int, error) {
	n := min(len(src), len(handshakeMagic))
	if string(src[:n]) != handshakeMagic[:n] {
		return Handshake{}, 0, fmt.Errorf("handshake starts with %q, want %q: %w", src[:n], handshakeMagic, ErrCorrupt)
	}
	if len(src) < 11 {
		return Handshake{}, 0, ErrShort
	}
	le := binary.LittleEndian
	if v := le.Uint16(src[4:]); v != ProtocolVersion {
		return Handshake{}, 0, fmt.Errorf("peer protocol version %d, want %d: %w", v, ProtocolVersion, ErrVersion)
	}
	idBytes := int(src[9])
	if idBytes == 0 || idBytes > ClusterIDBytesMax {
		return Handshake{}, 0, fmt.Errorf("cluster id of %d bytes, want 1 to %d: %w", idBytes, ClusterIDBytesMax, ErrCorrupt)
	}
	n = handshakeFixedSize + idBytes + int(src[10])
	if len(src) < n {
		return Handshake{}, 0, ErrShort
	}
	if got, want := Checksum(src[:n-4]), le.Uint32(src[n-4:]); got != want {
		return Handshake{}, 0, fmt.Errorf("handshake checksum %08x, stored %08x: %w", got, want, ErrCorrupt)
	}
	h := Handshake{
		Status:    HandshakeStatus(src[6]),
		Role:      Role(src[7]),
		Lane:      Lane(src[8]),
		From:      NodeID(le.Uint64(src[11:])),
		To:        NodeID(le.Uint64(src[19:])),
		ClusterID: string(src[43 : 43+idBytes]),
		Address:   string(src[43+idBytes : n-4]),
	}
	copy(h.Incarnation[:], src[27:43])
	if !h.plausible() {
		return Handshake{}, 0, fmt.Errorf("handshake with status %d, role %d, lane %d from node %d to node %d: %w",
			h.Status, h.Role, h.Lane, h.From, h.To, ErrCorrupt)
	}
	return h, n, nil
}
