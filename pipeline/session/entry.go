package session

import (
	"encoding/binary"
	"fmt"

	"github.com/millrace/millrace/codec"
)

// EntryVersion is the first byte of each entry.
const EntryVersion = 1

// HeaderBytesMax bounds what a command's entry adds to its data.
const HeaderBytesMax = 2 + 3*binary.MaxVarintLen64

// ID names a session: the index of the entry that registered it. 0 names none.
type ID uint64

// Op says what an entry does.
type Op uint8

// The operations.
const (
	OpRegister Op = 1
	OpClose    Op = 2
	OpCommand  Op = 3
)

// String returns the operation's name.
func (o Op) String() string {
	switch o {
	case OpRegister:
		return "register"
	case OpClose:
		return "close"
	case OpCommand:
		return "command"
	}
	return fmt.Sprintf("Op(%d)", uint8(o))
}

// Entry is the content of a log entry of kind [codec.EntrySession]. Layout: version, operation, then as uvarints in their
// shortest form what belongs to the operation, in the order of the fields; the data is the rest.
type Entry struct {
	Op Op

	// Of a registration: how many sessions the table may hold with the new one, and how many bytes of answers it keeps for
	// it. They are the proposer's configuration, and stand here so that every node goes by the same ones.
	Capacity, BytesMax uint64

	// Of the others.
	Session ID
	// Of a command: serials start at 1, and the client has the answers to those up to Answered, or wants none any more.
	Serial, Answered uint64
	Data             []byte // aliases what it was read from
}

// AppendEntry appends the entry's bytes to dst. An entry that no reader would accept is a bug of the caller.
func AppendEntry(dst []byte, e *Entry) []byte {
	dst = append(dst, EntryVersion, byte(e.Op))
	switch e.Op {
	case OpRegister:
		if e.Capacity == 0 {
			panic("BUG: registration in a table without room")
		}
		dst = binary.AppendUvarint(dst, e.Capacity)
		return binary.AppendUvarint(dst, e.BytesMax)
	case OpClose:
		return binary.AppendUvarint(dst, uint64(e.Session))
	case OpCommand:
		dst = binary.AppendUvarint(dst, uint64(e.Session))
		dst = binary.AppendUvarint(dst, e.Serial)
		dst = binary.AppendUvarint(dst, e.Answered)
		return append(dst, e.Data...)
	}
	panic(fmt.Sprintf("BUG: session entry with operation %d", e.Op))
}

// ReadEntry reads the entry that src is, all of it. Errors wrap [codec.ErrVersion], or [codec.ErrCorrupt] for anything else.
func ReadEntry(src []byte) (Entry, error) {
	if len(src) > 0 && src[0] != EntryVersion {
		return Entry{}, fmt.Errorf("session entry of version %d, want %d: %w", src[0], EntryVersion, codec.ErrVersion)
	}
	r := reader{src: src}
	r.byte()
	e := Entry{Op: Op(r.byte())}
	switch e.Op {
	case OpRegister:
		e.Capacity, e.BytesMax = r.uvarint(), r.uvarint()
		r.failed = r.failed || e.Capacity == 0
	case OpClose:
		e.Session = ID(r.uvarint())
	case OpCommand:
		e.Session, e.Serial, e.Answered = ID(r.uvarint()), r.uvarint(), r.uvarint()
		e.Data, r.src = r.src, nil
	default:
		r.failed = true
	}
	if r.failed || len(r.src) > 0 {
		return Entry{}, fmt.Errorf("session entry of %d bytes with operation %v, want one that is known and exactly its fields: %w",
			len(src), e.Op, codec.ErrCorrupt)
	}
	return e, nil
}

// reader takes values off a buffer; after the first one that does not fit it returns zeros and failed is set.
type reader struct {
	src    []byte
	failed bool
}

func (r *reader) bytes(n uint64) []byte {
	if r.failed || n > uint64(len(r.src)) {
		r.failed = true
		return nil
	}
	b := r.src[:n:n]
	r.src = r.src[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// uvarint reads a number in its shortest form.
func (r *reader) uvarint() uint64 {
	if r.failed {
		return 0
	}
	v, n := binary.Uvarint(r.src)
	if n <= 0 || n > 1 && r.src[n-1] == 0 {
		r.failed = true
		return 0
	}
	r.src = r.src[n:]
	return v
}
