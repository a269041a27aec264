package codec

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// SnapshotChunkVersion is the version byte of the chunk format.
const SnapshotChunkVersion = 1

const (
	// SnapshotChunkBytesMax bounds the bytes of a snapshot that one message brings.
	SnapshotChunkBytesMax = 1 << 20
	// SnapshotChunkHeaderSize is the size in bytes of a chunk before what it brings.
	SnapshotChunkHeaderSize = 50
)

// flagChunkBase marks a chunk that brings a base instead of bytes.
const flagChunkBase = 1 << 0

// SnapshotHash is the SHA-256 that the footer of a snapshot states.
type SnapshotHash [32]byte

// String returns 64 hexadecimal digits.
func (h SnapshotHash) String() string { return hex.EncodeToString(h[:]) }

// SnapshotID tells one snapshot from every other: the log id of the last entry in it, the size of its file in bytes and
// its hash. Two nodes may hold different snapshots of one log id.
type SnapshotID struct {
	Log  LogID
	Size int64
	Hash SnapshotHash
}

// SnapshotChunk is what the [Data] of a [MessageSnapshot] brings: bytes of the snapshot's file from Offset on, none to ask
// how many the receiver holds; or, for a witness, which has no state, the base alone.
type SnapshotChunk struct {
	ID     SnapshotID // its Log is the message's
	Offset int64
	Bytes  []byte
	Base   *LogBase // when not nil, nothing else but ID.Log is set
}

// validate says what is wrong with a chunk of bytes.
func (c *SnapshotChunk) validate() error {
	switch n := int64(len(c.Bytes)); {
	case c.ID.Size <= 0:
		return fmt.Errorf("chunk of a snapshot of %d bytes, want more than 0", c.ID.Size)
	case n > SnapshotChunkBytesMax:
		return fmt.Errorf("chunk of %d bytes, limit %d", n, SnapshotChunkBytesMax)
	case c.Offset < 0 || c.Offset > c.ID.Size || n > c.ID.Size-c.Offset:
		return fmt.Errorf("chunk of %d bytes at offset %d of a snapshot of %d", n, c.Offset, c.ID.Size)
	}
	return nil
}

// AppendSnapshotChunk appends the encoding of a chunk: version, flags, size (8 bytes), hash, offset (8), and what it brings.
// A sender that reads the bytes straight from a file leaves Bytes empty and appends them itself. A chunk
// that no receiver would accept, or whose base is of another log id than the snapshot, is a bug of the caller and panics.
func AppendSnapshotChunk(dst []byte, c *SnapshotChunk) []byte {
	le := binary.LittleEndian
	if c.Base != nil {
		if c.Base.ID != c.ID.Log || c.ID != (SnapshotID{Log: c.ID.Log}) || c.Offset != 0 || len(c.Bytes) > 0 {
			panic(fmt.Sprintf("BUG: chunk of snapshot %v with the base %v, offset %d and %d bytes", c.ID, c.Base.ID,
				c.Offset, len(c.Bytes)))
		}
		dst = append(dst, SnapshotChunkVersion, flagChunkBase)
		return AppendLogBase(append(dst, make([]byte, SnapshotChunkHeaderSize-2)...), c.Base)
	}
	if err := c.validate(); err != nil {
		panic("BUG: " + err.Error())
	}
	dst = append(dst, SnapshotChunkVersion, 0)
	dst = le.AppendUint64(dst, uint64(c.ID.Size))
	dst = append(dst, c.ID.Hash[:]...)
	dst = le.AppendUint64(dst, uint64(c.Offset))
	return append(dst, c.Bytes...)
}

// ReadSnapshotChunk reads src, all of it, for a chunk of the snapshot whose last log id its message states. Bytes alias
// src. Errors wrap [ErrVersion], [ErrTooLarge] for more bytes than [SnapshotChunkBytesMax], or [ErrCorrupt].
func ReadSnapshotChunk(src []byte, log LogID) (SnapshotChunk, error) {
	if len(src) > 0 && src[0] != SnapshotChunkVersion {
		return SnapshotChunk{}, fmt.Errorf("snapshot chunk version %d, want %d: %w", src[0], SnapshotChunkVersion, ErrVersion)
	}
	if len(src) < SnapshotChunkHeaderSize || src[1]&^flagChunkBase != 0 {
		return SnapshotChunk{}, fmt.Errorf("snapshot chunk of %d bytes, or with a flag that is unknown: %w", len(src), ErrCorrupt)
	}
	head, body := src[:SnapshotChunkHeaderSize], src[SnapshotChunkHeaderSize:]
	if len(body) > max(SnapshotChunkBytesMax, LogBaseBytesMax) {
		return SnapshotChunk{}, fmt.Errorf("snapshot chunk of %d bytes, limit %d: %w", len(body), SnapshotChunkBytesMax,
			ErrTooLarge)
	}
	if src[1] != 0 {
		return readBaseChunk(head, body, log)
	}
	le := binary.LittleEndian
	c := SnapshotChunk{ID: SnapshotID{Log: log, Size: int64(le.Uint64(src[2:]))}, Offset: int64(le.Uint64(src[42:]))}
	copy(c.ID.Hash[:], src[10:])
	if len(body) > 0 {
		c.Bytes = body[:len(body):len(body)]
	}
	if err := c.validate(); err != nil {
		return SnapshotChunk{}, fmt.Errorf("%w: %w", err, ErrCorrupt)
	}
	return c, nil
}

func readBaseChunk(head, body []byte, log LogID) (SnapshotChunk, error) {
	for _, b := range head[2:] {
		if b != 0 {
			return SnapshotChunk{}, fmt.Errorf("snapshot chunk with a base, and with a size, hash or offset: %w", ErrCorrupt)
		}
	}
	base, n, err := ReadLogBase(body)
	if err != nil {
		return SnapshotChunk{}, fmt.Errorf("snapshot chunk: %w", err)
	}
	if n != len(body) || base.ID != log {
		return SnapshotChunk{}, fmt.Errorf("snapshot chunk of %d bytes with a base of %d at %v in a message about %v: %w",
			len(body), n, base.ID, log, ErrCorrupt)
	}
	return SnapshotChunk{ID: SnapshotID{Log: log}, Base: &base}, nil
}
