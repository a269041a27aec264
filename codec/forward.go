package codec

import (
	"encoding/binary"
	"fmt"
)

// ForwardVersion is the version byte of forwarded proposals and of refusals.
const ForwardVersion = 1

const (
	// ForwardHeaderSize is the size in bytes of a [Forward] before its data.
	ForwardHeaderSize = 18
	// RefusalTextMax bounds the text of a [Refusal] in bytes.
	RefusalTextMax = 1024

	refusalHeaderSize = 26
)

// Forward is what the [Data] of a [MessageForward] brings: a proposal for the leader to append. Layout, little endian:
//
//	 0  1  version
//	 1  1  kind of the entry
//	 2 16  leadership under which alone it may be appended: term, node; zero for any
//	18     the entry's bytes
type Forward struct {
	Kind     EntryKind // normal or session
	IfLeader LeaderID
	Data     []byte
}

// forwardable reports whether entries of this kind may be proposed through another node.
func (k EntryKind) forwardable() bool { return k == EntryNormal || k == EntrySession }

// AppendForward appends the encoding of f. One that no receiver would accept is a bug of the caller and panics.
func AppendForward(dst []byte, f *Forward) []byte {
	if !f.Kind.forwardable() {
		panic(fmt.Sprintf("BUG: forwarded %v entry", f.Kind))
	}
	dst = append(dst, ForwardVersion, byte(f.Kind))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(f.IfLeader.Term))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(f.IfLeader.Node))
	return append(dst, f.Data...)
}

// ReadForward reads src, all of it; the data aliases it. The size of the data is bounded by that of the message. Errors wrap
// [ErrVersion] or [ErrCorrupt].
func ReadForward(src []byte) (Forward, error) {
	if len(src) > 0 && src[0] != ForwardVersion {
		return Forward{}, fmt.Errorf("forwarded proposal of version %d, want %d: %w", src[0], ForwardVersion, ErrVersion)
	}
	if len(src) < ForwardHeaderSize {
		return Forward{}, fmt.Errorf("forwarded proposal of %d bytes, want at least %d: %w", len(src), ForwardHeaderSize, ErrCorrupt)
	}
	f := Forward{Kind: EntryKind(src[1]), IfLeader: readLeaderID(src[2:]), Data: src[ForwardHeaderSize:len(src):len(src)]}
	if !f.Kind.forwardable() {
		return Forward{}, fmt.Errorf("forwarded proposal of a %v entry, want normal or session: %w", f.Kind, ErrCorrupt)
	}
	return f, nil
}

// RefusalReason says why a [MessageForwardReply] brings no answer.
type RefusalReason uint8

// The reasons, with what their numbers mean. After each but RefusalUnknown the proposal certainly did not happen, or, for a
// command of a session, did not happen by this entry.
const (
	RefusalNotLeader  RefusalReason = 1 // leader's id, 0 for none; the text is its address
	RefusalLeadership RefusalReason = 2 // receiver's vote: term, node, 1 where it is committed
	RefusalBusy       RefusalReason = 3 // bytes, limit; the text says what is full
	RefusalTooLarge   RefusalReason = 4
	RefusalUnknown    RefusalReason = 5 // the message's log id is where the entry stood, zero when that is not known
	RefusalExpired    RefusalReason = 6 // session
	RefusalApplied    RefusalReason = 7 // session, serial; the message's log id is that of the entry that took effect
	RefusalAnswered   RefusalReason = 8 // session, serial, acknowledged
	RefusalOther      RefusalReason = 9

	refusalReasonEnd = 10
)

// Refusal is what the [Data] of a refusing [MessageForwardReply] brings. Layout, little endian:
//
//	 0  1  version
//	 1  1  reason
//	 2 24  three numbers, by reason
//	26     text
type Refusal struct {
	Reason  RefusalReason
	Numbers [3]uint64
	Text    string // for people, or by reason; at most [RefusalTextMax] bytes
}

// AppendRefusal appends the encoding of r, its text cut where it is too long. A reason that does not exist is a bug of the
// caller and panics.
func AppendRefusal(dst []byte, r *Refusal) []byte {
	if r.Reason == 0 || r.Reason >= refusalReasonEnd {
		panic(fmt.Sprintf("BUG: refusal for reason %d", r.Reason))
	}
	dst = append(dst, ForwardVersion, byte(r.Reason))
	for _, n := range r.Numbers {
		dst = binary.LittleEndian.AppendUint64(dst, n)
	}
	return append(dst, r.Text[:min(len(r.Text), RefusalTextMax)]...)
}

// ReadRefusal reads src, all of it. Errors wrap [ErrVersion], [ErrTooLarge] for a longer text, or [ErrCorrupt].
func ReadRefusal(src []byte) (Refusal, error) {
	if len(src) > 0 && src[0] != ForwardVersion {
		return Refusal{}, fmt.Errorf("refusal of version %d, want %d: %w", src[0], ForwardVersion, ErrVersion)
	}
	switch {
	case len(src) > refusalHeaderSize+RefusalTextMax:
		return Refusal{}, fmt.Errorf("refusal of %d bytes, limit %d: %w", len(src), refusalHeaderSize+RefusalTextMax, ErrTooLarge)
	case len(src) < refusalHeaderSize || src[1] == 0 || src[1] >= refusalReasonEnd:
		return Refusal{}, fmt.Errorf("refusal of %d bytes, or for a reason that is unknown: %w", len(src), ErrCorrupt)
	}
	r := Refusal{Reason: RefusalReason(src[1]), Text: string(src[refusalHeaderSize:])}
	for i := range r.Numbers {
		r.Numbers[i] = binary.LittleEndian.Uint64(src[2+8*i:])
	}
	return r, nil
}
