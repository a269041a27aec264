package codec

import (
	"encoding/binary"
	"fmt"
)

// LogBaseVersion is the version byte of the format of a log's base.
const LogBaseVersion = 1

// LogBaseBytesMax bounds the encoding of a base in bytes: every membership that is valid fits.
const LogBaseBytesMax = 1 << 20

const (
	flagBaseMembership = 1 << 0 // a membership follows

	logIDSize = 24
)

// Validate says what is wrong with a base: an index without entries before it that names a leader, or a membership that is
// invalid or stands behind the base. The zero base is valid: a log that begins with the first entry.
func (b *LogBase) Validate() error {
	switch m := b.Membership.ID; {
	case b.ID.Index == 0 && !b.ID.IsZero():
		return fmt.Errorf("log base %v has index 0, want the zero log id or an index above 0", b.ID)
	case m.IsZero() && len(b.Membership.Membership.Configs) > 0:
		return fmt.Errorf("log base %v has a membership without a log id", b.ID)
	case m.IsZero():
		return nil
	case m.Index == 0 || m.Index > b.ID.Index || m.Leader.Compare(b.ID.Leader) > 0 || m.Index == b.ID.Index && m != b.ID:
		return fmt.Errorf("log base %v has a membership at %v, want one at an index from 1 up to the base", b.ID, m)
	}
	return b.Membership.Membership.Validate()
}

// AppendLogBase appends the encoding of a valid base: version, flags, log id (term, node, index of 8 bytes each) and, where
// there is one, its membership's log id and the membership. It has no checksum of its own: it lives in a record, in the
// header of a snapshot or in a frame. An invalid base is a bug of the caller and panics.
func AppendLogBase(dst []byte, b *LogBase) []byte {
	if err := b.Validate(); err != nil {
		panic("BUG: " + err.Error())
	}
	held := !b.Membership.ID.IsZero()
	dst = append(dst, LogBaseVersion, bit(held, flagBaseMembership))
	dst = appendLogID(dst, b.ID)
	if held {
		dst = appendLogID(dst, b.Membership.ID)
		dst = AppendMembership(dst, &b.Membership.Membership)
	}
	return dst
}

// ReadLogBase reads the base that starts src and returns its size. The result shares nothing with src and is valid.
// Errors wrap [ErrVersion], or [ErrCorrupt] for anything else.
func ReadLogBase(src []byte) (LogBase, int, error) {
	if len(src) > 0 && src[0] != LogBaseVersion {
		return LogBase{}, 0, fmt.Errorf("log base version %d, want %d: %w", src[0], LogBaseVersion, ErrVersion)
	}
	r := reader{src: src}
	r.byte()
	held := r.flags(flagBaseMembership) != 0
	b := LogBase{ID: r.logID()}
	if held {
		b.Membership.ID = r.logID()
		r.failed = r.failed || b.Membership.ID.IsZero()
	}
	if r.failed {
		return LogBase{}, 0, fmt.Errorf("log base cut short, or with a flag that is unknown, at byte %d of %d: %w", r.pos,
			len(src), ErrCorrupt)
	}
	n := r.pos
	if held {
		m, size, err := ReadMembership(src[n:])
		if err != nil {
			return LogBase{}, 0, fmt.Errorf("log base %v: %w", b.ID, err)
		}
		b.Membership.Membership = m
		n += size
	}
	if err := b.Validate(); err != nil {
		return LogBase{}, 0, fmt.Errorf("%w: %w", err, ErrCorrupt)
	}
	return b, n, nil
}

func appendLogID(dst []byte, id LogID) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint64(dst, uint64(id.Leader.Term))
	dst = le.AppendUint64(dst, uint64(id.Leader.Node))
	return le.AppendUint64(dst, uint64(id.Index))
}
