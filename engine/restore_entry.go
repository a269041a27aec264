package engine

import (
	"encoding/binary"
	"fmt"

	"github.com/millrace/millrace/codec"
)

// restoreVersion is the version byte of the data of an [codec.EntryRestore].
const restoreVersion = 1

// restoreStep says what such an entry is.
type restoreStep uint8

const (
	restoreBegin restoreStep = 1 // a state comes; it ends one that is not complete
	restorePart  restoreStep = 2 // its next bytes
	restoreEnd   restoreStep = 3 // it is complete, and replaces the state machine's
	restoreDrop  restoreStep = 4 // it does not come after all
)

// restoreToken tells the parts of one call of [Raft.Restore] from those of others.
type restoreToken [16]byte

// restoreEntry is the data of an entry of kind restore. Layout, little endian: version (1), step (1), token (16); a part has
// its number, from 0 on (8), and its bytes; an end has the number of parts (8), the size of the state (8) and its
// SHA-256 (32).
type restoreEntry struct {
	step  restoreStep
	token restoreToken
	part  uint64 // number of this one, or, at the end, of all
	bytes []byte // of a part; they alias the entry
	size  uint64 // of an end
	hash  codec.SnapshotHash
}

const (
	restoreHeaderSize = 18
	// restorePartOverhead is what a part has beside its bytes.
	restorePartOverhead = restoreHeaderSize + 8
	restoreEndSize      = restoreHeaderSize + 8 + 8 + 32
)

func (e *restoreEntry) append(dst []byte) []byte {
	le := binary.LittleEndian
	dst = append(dst, restoreVersion, byte(e.step))
	dst = append(dst, e.token[:]...)
	switch e.step {
	case restorePart:
		dst = le.AppendUint64(dst, e.part)
		dst = append(dst, e.bytes...)
	case restoreEnd:
		dst = le.AppendUint64(dst, e.part)
		dst = le.AppendUint64(dst, e.size)
		dst = append(dst, e.hash[:]...)
	}
	return dst
}

// readRestoreEntry reads src, all of it. Errors wrap [codec.ErrVersion] or [codec.ErrCorrupt].
func readRestoreEntry(src []byte) (e restoreEntry, err error) {
	if len(src) > 0 && src[0] != restoreVersion {
		return e, fmt.Errorf("restore entry of version %d, want %d: %w", src[0], restoreVersion, codec.ErrVersion)
	}
	if len(src) < restoreHeaderSize {
		return e, fmt.Errorf("restore entry of %d bytes, want at least %d: %w", len(src), restoreHeaderSize, codec.ErrCorrupt)
	}
	le, body := binary.LittleEndian, src[restoreHeaderSize:]
	e.step = restoreStep(src[1])
	copy(e.token[:], src[2:])
	switch {
	case e.step == restorePart && len(src) > restorePartOverhead:
		e.part, e.bytes = le.Uint64(body), body[8:]
	case e.step == restoreEnd && len(src) == restoreEndSize:
		e.part, e.size = le.Uint64(body), le.Uint64(body[8:])
		copy(e.hash[:], body[16:])
	case (e.step == restoreBegin || e.step == restoreDrop) && len(body) == 0:
	default:
		return e, fmt.Errorf("restore entry of step %d with %d bytes: %w", e.step, len(src), codec.ErrCorrupt)
	}
	return e, nil
}
