package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// MessageVersion is the version byte of the message format.
const MessageVersion = 1

// MessageHeaderSize is the size in bytes of a message without its body: the frame that an append may carry, or the [Data]
// that a piece of a snapshot and forwarded proposals carry and the answer to the latter may.
const MessageHeaderSize = 88

// MessageKind says what a message is. The order is that of the dispatch table in engine/consensus.
type MessageKind uint8

// The kinds of message. A request's answer is the kind after it.
const (
	MessageVote MessageKind = 1 + iota
	MessageVoteReply
	MessageAppend
	MessageAppendReply
	MessageHeartbeat
	MessageHeartbeatReply
	// MessageTransfer asks a peer that holds everything to campaign at once (thesis 3.10, TimeoutNow).
	MessageTransfer
	MessageTransferReply
	// MessageSnapshot brings a piece of a snapshot to a peer that lacks entries which the leader has purged.
	MessageSnapshot
	MessageSnapshotReply
	// MessageRead asks the leader for an index up to which the sender must have applied to read linearizably.
	MessageRead
	MessageReadReply
	// MessageForward brings proposals of a node that does not lead to the one it takes for the leader.
	MessageForward
	MessageForwardReply

	// MessageKindEnd is one past the last kind.
	MessageKindEnd
)

// String returns the kind's name.
func (k MessageKind) String() string {
	names := [...]string{"", "vote", "vote-reply", "append", "append-reply", "heartbeat", "heartbeat-reply",
		"transfer", "transfer-reply", "snapshot", "snapshot-reply", "read", "read-reply", "forward", "forward-reply"}
	if k == 0 || k >= MessageKindEnd {
		return fmt.Sprintf("MessageKind(%d)", uint8(k))
	}
	return names[k]
}

// Status is the verdict of an answer.
type Status uint8

// The verdicts. StatusNone stands in requests.
const (
	StatusNone Status = 0
	// StatusOK: the vote is granted, or the log matches up to and including Log.
	StatusOK Status = 1
	// StatusConflict: the log does not hold the previous log id; Log is the hint where to look next.
	StatusConflict Status = 2
	// StatusRefused: the sender holds a greater vote (see Vote), or a leader's lease still runs there.
	StatusRefused Status = 3
)

// String returns the verdict's name.
func (s Status) String() string {
	switch s {
	case StatusNone:
		return "none"
	case StatusOK:
		return "ok"
	case StatusConflict:
		return "conflict"
	case StatusRefused:
		return "refused"
	}
	return fmt.Sprintf("Status(%d)", uint8(s))
}

// Lane returns the lane that messages of this kind travel on.
func (k MessageKind) Lane() Lane {
	switch k {
	case MessageAppend, MessageAppendReply, MessageForward, MessageForwardReply:
		return LaneAppend
	case MessageSnapshot, MessageSnapshotReply:
		return LaneSnapshot
	}
	return LaneControl
}

// takes reports whether a body of that many bytes may follow the header of a message of this kind: a frame's or none
// behind an append, data's behind a piece of a snapshot and forwarded proposals, data's or none behind the answer to those.
func (k MessageKind) takes(bodySize int) bool {
	switch k {
	case MessageAppend:
		return bodySize == 0 || bodySize >= FrameHeaderSize
	case MessageSnapshot, MessageForward:
		return bodySize > DataHeaderSize
	case MessageForwardReply:
		return bodySize == 0 || bodySize > DataHeaderSize
	}
	return bodySize == 0
}

// Message is one protocol message without the frame or data it may carry. Who sent it is known from the connection's
// handshake, not from the message. What each field means in each kind:
//
//	            Vote            Log                          Commit      Stream  Stamp
//	vote        candidate's     candidate's last log id      -           -       sent
//	   reply    voter's, now    voter's last log id          -           -       echoed
//	append      leader's        log id before the frame      leader's    stream  sent
//	   reply    follower's      matched and flushed (ok),    -           echoed  echoed
//	                            or where to look (conflict)
//	heartbeat   leader's        last id known to match       leader's    -       sent
//	   reply    follower's      follower's last log id       -           -       echoed
//	transfer    leader's        leader's last log id         leader's    -       sent
//	   reply    target's        target's last log id         -           -       echoed
//	snapshot    leader's        last id in the snapshot      -           stream  sent
//	   reply    follower's      echoed                       bytes held  echoed  echoed
//	read        asker's         -                            -           token   sent
//	   reply    leader's        -                            read index  echoed  echoed
//	forward     sender's        -                            -           token   sent
//	   reply    receiver's      first entry's id             -           echoed  echoed
//
// A field with "-" says nothing. What the data of a snapshot, a forward and its reply holds is said where the engine writes
// it.
//
// A granted vote's reply carries exactly the candidate's vote, so it can't be taken for an answer to another campaign.
// PreVote marks a vote request that only asks whether the vote would be granted (thesis 9.6), and its reply; Transfer a
// vote request made because the leader asked for it, which is heard although that leader's lease still runs.
// WantSnapshot, in heartbeat replies, asks the leader for its snapshot, the follower's own being damaged or lost; Commit is
// then the index that the follower's log begins behind, which the snapshot must reach. Mode is the sender's vote mode, 0
// while it knows none. Layout, little endian:
//
//	 0  4  bytes of the whole message, frame or data included
//	 4  1  version
//	 5  1  kind
//	 6  1  status
//	 7  1  flags, by bit: 0 the vote is committed, 1 pre-vote, 2 transfer, 3 and 4 the vote mode, 5 wants a snapshot
//	 8  8  group
//	16 16  vote: term, node
//	32 24  log: term, node, index
//	56  8  commit
//	64  8  stream
//	72  8  stamp
//	80  4  CRC32C of bytes 0..80
//	84  4  reserved, zero
//	88     frame or data
type Message struct {
	Kind   MessageKind
	Status Status
	Group  GroupID
	Vote   Vote
	Log    LogID
	Commit Index
	// PreVote and Transfer may be set in vote requests, PreVote in vote replies too.
	PreVote, Transfer bool
	// WantSnapshot may be set in heartbeat replies.
	WantSnapshot bool
	// Mode is the vote mode of the sender's membership, 0 for none.
	Mode   VoteMode
	Stream uint64 // which stream of appends to this peer, a new one after each break; or the asker's name for what it asks
	Stamp  int64  // sender's clock at sending, in ns since its own origin; answers echo it
}

// Flags of a message.
const (
	flagVoteCommitted = 1 << 0
	flagPreVote       = 1 << 1
	flagTransfer      = 1 << 2
	flagModeShift     = 3
	flagWantSnapshot  = 1 << 5
	flagsKnown        = 1<<6 - 1

	modeMask = 3
)

func (m *Message) flags() byte {
	flags := byte(m.Mode) << flagModeShift
	if m.Vote.Committed {
		flags |= flagVoteCommitted
	}
	if m.PreVote {
		flags |= flagPreVote
	}
	if m.Transfer {
		flags |= flagTransfer
	}
	if m.WantSnapshot {
		flags |= flagWantSnapshot
	}
	return flags
}

// AppendMessage appends the message's bytes to dst, without its body: bodySize is the number of bytes of the frame or data
// that the caller sends right behind them (see [Packet.Body]), or 0. A message that no reader would accept is a bug of the
// caller; that the body is of the form its kind asks for is not checked here.
func AppendMessage(dst []byte, m *Message, bodySize int) []byte {
	if !m.plausible() || !m.Kind.takes(bodySize) {
		panic(fmt.Sprintf("BUG: %v message with status %v, flags %02x and a body of %d bytes", m.Kind, m.Status, m.flags(), bodySize))
	}
	start := len(dst)
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, uint32(MessageHeaderSize+bodySize))
	dst = append(dst, MessageVersion, byte(m.Kind), byte(m.Status), m.flags())
	dst = le.AppendUint64(dst, uint64(m.Group))
	dst = le.AppendUint64(dst, uint64(m.Vote.Leader.Term))
	dst = le.AppendUint64(dst, uint64(m.Vote.Leader.Node))
	dst = le.AppendUint64(dst, uint64(m.Log.Leader.Term))
	dst = le.AppendUint64(dst, uint64(m.Log.Leader.Node))
	dst = le.AppendUint64(dst, uint64(m.Log.Index))
	dst = le.AppendUint64(dst, uint64(m.Commit))
	dst = le.AppendUint64(dst, m.Stream)
	dst = le.AppendUint64(dst, uint64(m.Stamp))
	dst = le.AppendUint32(dst, Checksum(dst[start:start+80]))
	return le.AppendUint32(dst, 0)
}

// plausible reports whether such a message may be sent: a known kind and mode, flags of votes in votes alone, a verdict in
// answers alone, and no conflict in the answer to a vote or transfer request, which asks about no entry.
func (m *Message) plausible() bool {
	switch {
	case m.Mode > OneLeaderPerTerm,
		m.PreVote && (m.Transfer || m.Kind != MessageVote && m.Kind != MessageVoteReply),
		m.Transfer && m.Kind != MessageVote,
		m.WantSnapshot && m.Kind != MessageHeartbeatReply:
		return false
	}
	switch m.Kind {
	case MessageVote, MessageAppend, MessageHeartbeat, MessageTransfer, MessageSnapshot, MessageRead, MessageForward:
		return m.Status == StatusNone
	case MessageVoteReply, MessageSnapshotReply, MessageReadReply, MessageForwardReply:
		return m.Status == StatusOK || m.Status == StatusRefused
	case MessageTransferReply: // the vote requests that follow are the answer of one that obeys
		return m.Status == StatusRefused
	case MessageAppendReply, MessageHeartbeatReply:
		return m.Status >= StatusOK && m.Status <= StatusRefused
	}
	return false
}

// MessageSize returns the size in bytes of the message that starts src, body included, checking only what is needed to wait
// for the rest: [ErrShort] below 6 bytes, [ErrVersion], [ErrTooLarge] beyond limit, [ErrCorrupt] for an unknown kind, a size
// below the header's, and one that no message of that kind has. Nothing vouches for the size yet: [ReadMessage] checks it
// as soon as the header is complete.
func MessageSize(src []byte, limit int) (int, error) {
	if len(src) < 6 {
		return 0, ErrShort
	}
	size, kind := binary.LittleEndian.Uint32(src), MessageKind(src[5])
	switch {
	case src[4] != MessageVersion:
		return 0, fmt.Errorf("message version %d, want %d: %w", src[4], MessageVersion, ErrVersion)
	case kind == 0 || kind >= MessageKindEnd:
		return 0, fmt.Errorf("message of unknown kind %d: %w", uint8(kind), ErrCorrupt)
	case size < MessageHeaderSize:
		return 0, fmt.Errorf("%v message of %d bytes, header alone has %d: %w", kind, size, MessageHeaderSize, ErrCorrupt)
	case int64(size) > int64(limit):
		return 0, fmt.Errorf("%v message of %d bytes, limit %d: %w", kind, size, limit, ErrTooLarge)
	case !kind.takes(int(size) - MessageHeaderSize):
		return 0, fmt.Errorf("%v message with a body of %d bytes: %w", kind, size-MessageHeaderSize, ErrCorrupt)
	}
	return int(size), nil
}

// ReadMessage reads the message that starts src, with the frame or data it carries, and returns its size. The body aliases
// src; the packet names no node. limit bounds the whole in bytes. The header is checked before the rest is waited for, so
// a damaged size never makes a reader wait. Errors as [MessageSize], [ReadFrame] and [ReadData]; [ErrCorrupt] too for a
// wrong checksum, reserved bits, a status or flag that does not belong to the kind, and a frame that does not continue the
// append's log id.
func ReadMessage(src []byte, limit int) (Packet, int, error) {
	n, err := MessageSize(src, limit)
	if err != nil {
		return Packet{}, 0, err
	}
	if len(src) < MessageHeaderSize {
		return Packet{}, 0, ErrShort
	}
	m, err := readMessageHeader(src)
	if err != nil {
		return Packet{}, 0, err
	}
	if len(src) < n {
		return Packet{}, 0, ErrShort
	}
	p := Packet{Message: m}
	switch body := src[MessageHeaderSize:n:n]; {
	case len(body) == 0:
	case m.Kind == MessageAppend:
		p.Frame, err = readBodyFrame(&m, body)
	default:
		p.Data, err = ReadData(body)
	}
	if err != nil {
		return Packet{}, 0, err
	}
	return p, n, nil
}

// readBodyFrame reads the frame that makes up the body of an append.
func readBodyFrame(m *Message, body []byte) (Frame, error) {
	f, size, err := ReadFrame(body)
	switch {
	case errors.Is(err, ErrShort) || err == nil && size != len(body):
		return Frame{}, fmt.Errorf("append message and its frame of %d bytes disagree: %w", len(body), ErrCorrupt)
	case err != nil:
		return Frame{}, err
	}
	if fm := f.Meta(); fm.Group != m.Group || fm.First != m.Log.Index+1 {
		return Frame{}, fmt.Errorf("frame of group %d at index %d in an append of group %d after %v: %w",
			fm.Group, fm.First, m.Group, m.Log, ErrCorrupt)
	}
	return f, nil
}

// readMessageHeader reads the [MessageHeaderSize] bytes that start src, the size excepted.
func readMessageHeader(src []byte) (Message, error) {
	le := binary.LittleEndian
	if got, want := Checksum(src[:80]), le.Uint32(src[80:]); got != want {
		return Message{}, fmt.Errorf("message checksum %08x, stored %08x: %w", got, want, ErrCorrupt)
	}
	if src[7]&^flagsKnown != 0 || le.Uint32(src[84:]) != 0 {
		return Message{}, fmt.Errorf("message with flags %02x and reserved bytes %08x, want at most bits 0 to 5 set: %w",
			src[7], le.Uint32(src[84:]), ErrCorrupt)
	}
	m := Message{
		Kind:   MessageKind(src[5]),
		Status: Status(src[6]),
		Group:  GroupID(le.Uint64(src[8:])),
		Vote:   Vote{readLeaderID(src[16:]), src[7]&flagVoteCommitted != 0},

		PreVote:  src[7]&flagPreVote != 0,
		Transfer: src[7]&flagTransfer != 0,
		Mode:     VoteMode(src[7] >> flagModeShift & modeMask),

		WantSnapshot: src[7]&flagWantSnapshot != 0,

		Log:    LogID{readLeaderID(src[32:]), Index(le.Uint64(src[48:]))},
		Commit: Index(le.Uint64(src[56:])),
		Stream: le.Uint64(src[64:]),
		Stamp:  int64(le.Uint64(src[72:])),
	}
	if !m.plausible() {
		return Message{}, fmt.Errorf("%v message with status %v and flags %02x: %w", m.Kind, m.Status, src[7], ErrCorrupt)
	}
	return m, nil
}

func readLeaderID(b []byte) LeaderID {
	return LeaderID{Term(binary.LittleEndian.Uint64(b)), NodeID(binary.LittleEndian.Uint64(b[8:]))}
}
