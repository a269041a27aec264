package codec

import (
	"encoding/binary"
	"math"
)

// reader takes values off a buffer; after the first one that does not fit it returns zeros and failed is set. For
// structures read seldom: those of the hot path have fixed offsets.
type reader struct {
	src    []byte
	pos    int
	failed bool
}

func (r *reader) bytes(n int) []byte {
	if r.failed || n > len(r.src)-r.pos {
		r.failed = true
		return nil
	}
	b := r.src[r.pos : r.pos+n]
	r.pos += n
	return b
}

func (r *reader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	if r.failed {
		return 0
	}
	v, n := readUvarint(r.src[r.pos:])
	if n <= 0 {
		r.failed = true
		return 0
	}
	r.pos += n
	return v
}

// count reads a number of things to follow, each of at least one byte. More than limit, or more than there are bytes
// left, fails before anything is allocated for them.
func (r *reader) count(limit uint64) int {
	v := r.uvarint()
	if v > min(limit, uint64(len(r.src)-r.pos)) {
		r.failed = true
		return 0
	}
	return int(v)
}

// uvarint32 reads a number that fits 32 bits.
func (r *reader) uvarint32() uint32 {
	v := r.uvarint()
	if v > math.MaxUint32 {
		r.failed = true
		return 0
	}
	return uint32(v)
}

// flags reads a byte of which only the known bits may be set.
func (r *reader) flags(known byte) byte {
	b := r.byte()
	if b&^known != 0 {
		r.failed = true
	}
	return b & known
}

// logID reads a log id of fixed size.
func (r *reader) logID() LogID {
	b := r.bytes(logIDSize)
	if b == nil {
		return LogID{}
	}
	return LogID{readLeaderID(b), Index(binary.LittleEndian.Uint64(b[16:]))}
}
