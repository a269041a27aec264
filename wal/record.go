package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/millrace/millrace/codec"
)

// recordVersion is the version byte of the envelope. 0 is never a version, so that zeros are never a record.
const recordVersion = 1

// headerSize is the size in bytes of the envelope around each payload.
const headerSize = 36

// recordDataMax bounds a record without its length prefix.
const recordDataMax = headerSize + codec.FrameHeaderSize + codec.FrameBodyMax

// kind says what a record is.
type kind uint8

// The kinds. A kind that this build does not know is refused, never skipped.
const (
	kindOpen     kind = 1 // the log was opened: a seal before it no longer counts
	kindFrame    kind = 2 // a frame follows the group's log
	kindVote     kind = 3
	kindTruncate kind = 4 // every entry of the group above an index goes
	kindCommit   kind = 5
	kindPeer     kind = 6 // incarnation of a peer
	kindSeal     kind = 7 // clean close: everything submitted is durable
	kindPurge    kind = 8 // every entry of the group up to a log id, which it holds, goes
	kindJump     kind = 9 // every entry of the group goes; the next one stands behind a log id

	// What the log holds already, written again so that the file with the old record can go. None changes what it holds.
	kindMovedFrame kind = 10
	kindMovedVote  kind = 11
	kindMovedBase  kind = 12 // where a group's log begins, by a purge or a jump

	kindEnd kind = 13
)

// String returns the kind's name.
func (k kind) String() string {
	names := [...]string{"", "open", "frame", "vote", "truncate", "commit", "peer", "seal", "purge", "jump",
		"moved-frame", "moved-vote", "moved-base"}
	if k == 0 || k >= kindEnd {
		return fmt.Sprintf("kind(%d)", uint8(k))
	}
	return names[k]
}

// payloadSizes are the exact sizes of payloads; a frame's is in the frame, and a base says by itself where it ends.
var payloadSizes = [kindEnd]int{kindOpen: 0, kindVote: 25, kindTruncate: 16, kindCommit: 16, kindPeer: 24, kindSeal: 0,
	kindPurge: -1, kindJump: -1, kindMovedVote: 26, kindMovedBase: -1}

// framed says that the payload of a kind is a frame.
func (k kind) framed() bool { return k == kindFrame || k == kindMovedFrame }

// header is the envelope of a record. In a file a record is its length (uvarint, as tidwall/wal writes it), the
// header, the payload. Layout of the header, little endian:
//
//	 0  1  version
//	 1  1  kind
//	 2  2  reserved, zero
//	 4  4  bytes of the payload
//	 8  4  log: CRC32C of the identity of the log this record was written to
//	12  4  CRC of the record before; of the first record, the same as log
//	16  8  sequence: 1, 2, 3, ... through all segments
//	24  8  durable: highest sequence that was known durable when this record was written, below its own
//	32  4  CRC32C of bytes 0..32 and the payload's CRC32C, which for a frame is the one the frame stores
//
// The CRCs chain: a record that is whole proves nothing unless it follows the right one.
type header struct {
	kind     kind
	payload  int
	log      uint32
	previous uint32
	seq      uint64
	durable  uint64
	crc      uint32
}

// put writes the header and its CRC into the first bytes of b and keeps the CRC in h.
func (h *header) put(b []byte, payloadCRC uint32) {
	le := binary.LittleEndian
	b[0], b[1], b[2], b[3] = recordVersion, byte(h.kind), 0, 0
	le.PutUint32(b[4:], uint32(h.payload))
	le.PutUint32(b[8:], h.log)
	le.PutUint32(b[12:], h.previous)
	le.PutUint64(b[16:], h.seq)
	le.PutUint64(b[24:], h.durable)
	h.crc = headerCRC(b, payloadCRC)
	le.PutUint32(b[32:], h.crc)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// headerCRC is the CRC32C of 32 bytes of b and four of payloadCRC, which go in by hand: a slice of them would be an
// allocation for each record.
func headerCRC(b []byte, payloadCRC uint32) uint32 {
	crc := ^codec.Checksum(b[:32])
	for range 4 {
		crc = castagnoli[byte(crc)^byte(payloadCRC)] ^ crc>>8
		payloadCRC >>= 8
	}
	return ^crc
}

func getHeader(b []byte) header {
	le := binary.LittleEndian
	return header{
		kind:     kind(b[1]),
		payload:  int(le.Uint32(b[4:])),
		log:      le.Uint32(b[8:]),
		previous: le.Uint32(b[12:]),
		seq:      le.Uint64(b[16:]),
		durable:  le.Uint64(b[24:]),
		crc:      le.Uint32(b[32:]),
	}
}

// frameCRCOffset is where a frame stores its CRC; reading it there needs no valid frame.
const frameCRCOffset = 48

// authentic reports whether b starts with the header of a record, whole and covered by its own CRC, and returns it.
// The payload of a frame need not be whole: its header still tells the truth about what was durable.
func authentic(b []byte) (header, bool) {
	if len(b) < headerSize || b[2] != 0 || b[3] != 0 {
		return header{}, false
	}
	h := getHeader(b)
	if h.durable >= h.seq {
		return header{}, false
	}
	var crc uint32
	if h.kind.framed() {
		if len(b) < headerSize+codec.FrameHeaderSize {
			return header{}, false
		}
		crc = binary.LittleEndian.Uint32(b[headerSize+frameCRCOffset:])
	} else {
		if h.payload > maxSmallPayload || len(b) < headerSize+h.payload {
			return header{}, false
		}
		crc = codec.Checksum(b[headerSize : headerSize+h.payload])
	}
	return h, headerCRC(b, crc) == h.crc
}

// maxSmallPayload bounds the payload of records that hold no frame. Beyond the largest base it leaves room for kinds to come,
// so that one of them is told apart from damage.
const maxSmallPayload = 2 * codec.LogBaseBytesMax

// record is a decoded record. Its payload aliases the bytes it was read from.
type record struct {
	header
	frame   codec.Frame // of a framed kind
	payload []byte
	size    int // bytes in the file, the length prefix included
}

// readRecord reads the record that starts b, which extends to the end of the file, and checks it by itself: length,
// envelope, CRC, payload. Whether it follows the record before is the caller's to check. Errors wrap
// [codec.ErrVersion] for a whole record of a kind or version this build does not know, errForeign for one of another
// log, and [codec.ErrCorrupt] for anything else.
func readRecord(b []byte, log uint32) (record, error) {
	length, n := binary.Uvarint(b)
	switch {
	case n <= 0:
		return record{}, fmt.Errorf("no record length in %d bytes: %w", len(b), codec.ErrCorrupt)
	case length < headerSize || length > recordDataMax:
		return record{}, fmt.Errorf("record of %d bytes, want %d to %d: %w", length, headerSize, recordDataMax, codec.ErrCorrupt)
	case n != uvarintSize(length):
		return record{}, fmt.Errorf("record length %d in %d bytes, want %d: %w", length, n, uvarintSize(length), codec.ErrCorrupt)
	case length > uint64(len(b)-n):
		return record{}, fmt.Errorf("record of %d bytes, %d are there: %w", length, len(b)-n, codec.ErrCorrupt)
	}
	data := b[n : n+int(length) : n+int(length)]
	h, ok := authentic(data)
	switch {
	case !ok || h.payload != len(data)-headerSize:
		return record{}, fmt.Errorf("record fails its checksum: %w", codec.ErrCorrupt)
	case h.log != log:
		return record{}, fmt.Errorf("record %d of log %08x, want log %08x: %w: %w", h.seq, h.log, log, errForeign, codec.ErrCorrupt)
	case data[0] != recordVersion:
		return record{}, fmt.Errorf("record %d has version %d, want %d: %w", h.seq, data[0], recordVersion, codec.ErrVersion)
	case h.kind == 0 || h.kind >= kindEnd:
		return record{}, fmt.Errorf("record %d is of unknown kind %d: %w", h.seq, uint8(h.kind), codec.ErrVersion)
	}
	r := record{header: h, payload: data[headerSize:], size: n + int(length)}
	if !h.kind.framed() {
		if want := payloadSizes[h.kind]; want >= 0 && len(r.payload) != want {
			return record{}, fmt.Errorf("%v record %d has %d bytes, want %d: %w", h.kind, h.seq, len(r.payload), want, codec.ErrCorrupt)
		}
		return r, nil
	}
	f, size, err := codec.ReadFrame(r.payload)
	if err != nil && !errors.Is(err, codec.ErrCorrupt) {
		err = fmt.Errorf("%v: %w", err, codec.ErrCorrupt) // the envelope is of this build, so must the frame be
	}
	if err == nil && size != len(r.payload) {
		err = fmt.Errorf("frame of %d bytes in a record of %d: %w", size, len(r.payload), codec.ErrCorrupt)
	}
	if err != nil {
		return record{}, fmt.Errorf("%v record %d: %w", h.kind, h.seq, err)
	}
	r.frame = f
	return r, nil
}

func uvarintSize(v uint64) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}
