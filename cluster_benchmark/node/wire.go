package node

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/millrace/millrace/codec"
)

// ProtocolVersion is the version of the suite's client protocol. Both ends must have the same.
const ProtocolVersion = 1

// greeting is how each end begins: magic, version (2 bytes), 2 bytes of 0. That of every version is as long.
const (
	magic         = "MLRB"
	greetingBytes = 8
)

func appendGreeting(dst []byte, version uint16) []byte {
	dst = append(dst, magic...)
	dst = binary.LittleEndian.AppendUint16(dst, version)
	return append(dst, 0, 0)
}

// readGreeting returns the version that the other end speaks. Errors: [codec.ErrCorrupt] for what is no greeting; those of r.
func readGreeting(r io.Reader) (uint16, error) {
	var b [greetingBytes]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, err
	}
	if string(b[:len(magic)]) != magic {
		return 0, fmt.Errorf("greeting begins with %q, want %q: %w", b[:len(magic)], magic, codec.ErrCorrupt)
	}
	return binary.LittleEndian.Uint16(b[len(magic):]), nil
}

// kind says what a message is.
type kind uint8

const (
	kindAsk    kind = 1 // client: a question, as JSON
	kindPut    kind = 2 // client: a frame of puts
	kindReply  kind = 3 // node: the reply to a question
	kindAnswer kind = 4 // node: what became of a frame

	kindEnd kind = 5
)

// headerBytes is the size of what stands before a message's body, little endian:
//
//	0   4  size of the body in bytes
//	4   1  kind
//	5   3  0
//	8   8  number, the asking end's; the other end repeats it
//	16  4  CRC32C of all before, continued over the body
const headerBytes = 20

// Bounds of a body. A frame of puts holds at most one put of the greatest payload beyond the size at which it is closed; a
// reply may hold what a state machine knows of 65,536 clients.
const (
	askBytesMax   = 20 << 20
	replyBytesMax = 256 << 20
)

// appendHeader appends the header of a message with this body.
func appendHeader(dst []byte, k kind, number uint64, body []byte) []byte {
	start := len(dst)
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, uint32(len(body)))
	dst = append(dst, byte(k), 0, 0, 0)
	dst = le.AppendUint64(dst, number)
	return le.AppendUint32(dst, codec.UpdateChecksum(codec.Checksum(dst[start:]), body))
}

// appendMessage appends a whole message.
func appendMessage(dst []byte, k kind, number uint64, body []byte) []byte {
	return append(appendHeader(dst, k, number, body), body...)
}

// message is what was read. Its body is valid until the next one is read.
type message struct {
	kind   kind
	number uint64
	body   []byte
}

// reader reads messages whose bodies have at most max bytes.
type reader struct {
	from   io.Reader
	max    int
	header [headerBytes]byte
	buffer []byte
}

// bufferKeptMax is how large a buffer is kept for the next message.
const bufferKeptMax = 2 << 20

// read returns the next message. Errors: [codec.ErrTooLarge], before anything is allocated; [codec.ErrCorrupt]; those of the
// connection, io.EOF at its end between two messages.
func (r *reader) read() (message, error) {
	if _, err := io.ReadFull(r.from, r.header[:]); err != nil {
		return message{}, err
	}
	le := binary.LittleEndian
	size, m := int(le.Uint32(r.header[:])), message{kind: kind(r.header[4]), number: le.Uint64(r.header[8:])}
	if size > r.max {
		return m, fmt.Errorf("message of %d bytes, limit %d: %w", size, r.max, codec.ErrTooLarge)
	}
	if cap(r.buffer) < size || cap(r.buffer) > bufferKeptMax && size <= bufferKeptMax {
		r.buffer = make([]byte, size)
	}
	m.body = r.buffer[:size]
	if _, err := io.ReadFull(r.from, m.body); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return m, err
	}
	want := le.Uint32(r.header[headerBytes-4:])
	if got := codec.UpdateChecksum(codec.Checksum(r.header[:headerBytes-4]), m.body); got != want {
		return m, fmt.Errorf("message with checksum %08x, stored %08x: %w", got, want, codec.ErrCorrupt)
	}
	if m.kind == 0 || m.kind >= kindEnd {
		return m, fmt.Errorf("message of kind %d: %w", m.kind, codec.ErrCorrupt)
	}
	return m, nil
}
