package codec

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
)

// FrameVersion is the version byte of the frame format.
const FrameVersion = 1

// FrameHeaderSize is the number of bytes before a frame's body. A buffer that is to become a frame starts with that
// much room (see [SealFrame]).
const FrameHeaderSize = 56

// Limits of one frame. Both are checked before anything is allocated.
const (
	// FrameBodyMax bounds the body in bytes, raw and as stored.
	FrameBodyMax = 64 << 20
	// FrameEntriesMax bounds the number of entries.
	FrameEntriesMax = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum returns the CRC32C (Castagnoli) of data.
func Checksum(data []byte) uint32 { return crc32.Checksum(data, castagnoli) }

// UpdateChecksum returns the CRC32C of the bytes behind crc followed by data.
func UpdateChecksum(crc uint32, data []byte) uint32 { return crc32.Update(crc, castagnoli, data) }

// FrameMeta describes a frame without its bytes: all that the Consensus Module needs to know of it.
type FrameMeta struct {
	Group  GroupID
	Leader LeaderID  // leader that proposed every entry of the frame
	First  Index     // index of the first entry
	Count  uint32    // number of entries, at least 1
	Kind   EntryKind // of every entry; blank and membership frames hold exactly one
	Size   int       // bytes of the whole frame as stored
	// HeaderOnly says that the frame's entries are left out: the form in which a witness gets and keeps frames of commands
	// (see [EntryKind.Commands]).
	HeaderOnly bool
}

// IsZero reports whether m describes no frame.
func (m FrameMeta) IsZero() bool { return m.Count == 0 }

// Last returns the index of the last entry. m must not be zero.
func (m FrameMeta) Last() Index { return m.First + Index(m.Count) - 1 }

// LastID returns the log id of the last entry.
func (m FrameMeta) LastID() LogID { return LogID{Leader: m.Leader, Index: m.Last()} }

// plausible reports whether a frame may be so described: a known kind, at least one entry, exactly one unless of commands,
// indexes from 1 that do not run over, and entries unless of commands.
func (m FrameMeta) plausible() bool {
	return m.Kind >= EntryNormal && m.Kind <= EntryRestore && m.Count > 0 && m.Count <= FrameEntriesMax &&
		(m.Kind.Commands() || m.Count == 1 && !m.HeaderOnly) && m.First > 0 && m.Last() >= m.First
}

// Frame is the immutable encoding of a batch of entries of one leader: the unit that is written to every log and sent
// to every peer unchanged. Layout, little endian:
//
//	 0  1  version
//	 1  1  kind of all entries
//	 2  1  compression of the body
//	 3  1  1 for a frame without its entries (see [HeaderFrame]), else 0
//	 4  4  bytes of the body as stored
//	 8  4  bytes of the body unpacked
//	12  4  number of entries
//	16  8  group
//	24  8  leader's term
//	32  8  leader's node
//	40  8  index of the first entry
//	48  4  CRC32C of bytes 0..48 and the body
//	52  4  reserved, zero, outside the checksum: keeps the body aligned to 8
//	56     body: for each entry its length (uvarint, shortest form) and bytes
//
// Entries carry neither index nor term: their position gives them. Every batch has exactly one uncompressed encoding.
// The zero Frame holds nothing; only Bytes, IsZero and Meta may be called on it.
type Frame struct{ b []byte }

// Bytes returns the whole frame, nil for the zero Frame. The caller must not change it.
func (f Frame) Bytes() []byte { return f.b }

// IsZero reports whether f holds nothing.
func (f Frame) IsZero() bool { return len(f.b) == 0 }

// Checksum returns the frame's stored CRC32C.
func (f Frame) Checksum() uint32 { return binary.LittleEndian.Uint32(f.b[48:]) }

// Compression returns how the body is stored.
func (f Frame) Compression() Compression { return Compression(f.b[2]) }

// BodySize returns the size in bytes of the frame's entries, decompressed.
func (f Frame) BodySize() int {
	if f.IsZero() {
		return 0
	}
	return int(binary.LittleEndian.Uint32(f.b[8:]))
}

// Meta returns the frame's description, the zero one for the zero Frame.
func (f Frame) Meta() FrameMeta {
	if f.IsZero() {
		return FrameMeta{}
	}
	le := binary.LittleEndian
	return FrameMeta{
		Kind:   EntryKind(f.b[1]),
		Count:  le.Uint32(f.b[12:]),
		Group:  GroupID(le.Uint64(f.b[16:])),
		Leader: LeaderID{Term: Term(le.Uint64(f.b[24:])), Node: NodeID(le.Uint64(f.b[32:]))},
		First:  Index(le.Uint64(f.b[40:])),
		Size:   len(f.b),

		HeaderOnly: f.b[3] == headerOnly,
	}
}

// headerOnly marks a frame without its entries.
const headerOnly = 1

// HeaderFrame returns the frame that m describes without its entries: [FrameHeaderSize] bytes that say whose entries
// stood where. m.Size is ignored. Only frames of commands have this form; another is a bug of the caller.
func HeaderFrame(m FrameMeta) Frame {
	if m.HeaderOnly = true; !m.plausible() {
		panic(fmt.Sprintf("BUG: header of a frame of %d %v entries from index %d", m.Count, m.Kind, m.First))
	}
	return sealHeader(make([]byte, FrameHeaderSize), m, CompressionNone, 0)
}

// AppendEntry appends one entry's encoding (length, bytes) to a frame's body under construction.
func AppendEntry(dst, data []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(data)))
	return append(dst, data...)
}

// SealFrame makes a frame of buf: [FrameHeaderSize] bytes of room, then m.Count entries as [AppendEntry] wrote them.
// The header is written into that room; buf belongs to the frame from then on. With compression other than
// [CompressionNone] the body is replaced where that makes it smaller, in a buffer of its own. m.Size is ignored.
// Errors: [ErrTooLarge] beyond [FrameBodyMax] or [FrameEntriesMax]. A description that no reader would accept is a bug
// of the caller; that the body holds exactly m.Count entries is not checked here.
func SealFrame(buf []byte, m FrameMeta, compression Compression) (Frame, error) {
	raw := len(buf) - FrameHeaderSize
	switch {
	case raw > FrameBodyMax:
		return Frame{}, fmt.Errorf("frame body of %d bytes, limit %d: %w", raw, FrameBodyMax, ErrTooLarge)
	case m.Count > FrameEntriesMax:
		return Frame{}, fmt.Errorf("frame of %d entries, limit %d: %w", m.Count, FrameEntriesMax, ErrTooLarge)
	case raw < int(m.Count) || m.HeaderOnly || !m.plausible():
		panic(fmt.Sprintf("BUG: frame of %d %v entries from index %d in a buffer of %d bytes", m.Count, m.Kind, m.First, len(buf)))
	}
	if compression != CompressionNone {
		buf, compression = compressBody(buf, compression)
	}
	return sealHeader(buf, m, compression, raw), nil
}

// sealHeader writes the header of a frame whose body, raw bytes unpacked, stands in buf already.
func sealHeader(buf []byte, m FrameMeta, compression Compression, raw int) Frame {
	le := binary.LittleEndian
	buf[0], buf[1], buf[2], buf[3] = FrameVersion, byte(m.Kind), byte(compression), 0
	if m.HeaderOnly {
		buf[3] = headerOnly
	}
	le.PutUint32(buf[4:], uint32(len(buf)-FrameHeaderSize))
	le.PutUint32(buf[8:], uint32(raw))
	le.PutUint32(buf[12:], m.Count)
	le.PutUint64(buf[16:], uint64(m.Group))
	le.PutUint64(buf[24:], uint64(m.Leader.Term))
	le.PutUint64(buf[32:], uint64(m.Leader.Node))
	le.PutUint64(buf[40:], uint64(m.First))
	le.PutUint32(buf[48:], frameChecksum(buf))
	le.PutUint32(buf[52:], 0)
	return Frame{buf}
}

func frameChecksum(b []byte) uint32 {
	return UpdateChecksum(Checksum(b[:48]), b[FrameHeaderSize:])
}

// FrameSize returns the size in bytes of the frame that starts src, from its header alone. Errors: [ErrShort] while
// the header is incomplete, [ErrVersion], [ErrTooLarge].
func FrameSize(src []byte) (int, error) {
	if len(src) < FrameHeaderSize {
		return 0, ErrShort
	}
	if src[0] != FrameVersion {
		return 0, fmt.Errorf("frame version %d, want %d: %w", src[0], FrameVersion, ErrVersion)
	}
	body := binary.LittleEndian.Uint32(src[4:])
	if body > FrameBodyMax {
		return 0, fmt.Errorf("frame body of %d bytes, limit %d: %w", body, FrameBodyMax, ErrTooLarge)
	}
	return FrameHeaderSize + int(body), nil
}

// ReadFrame reads the frame that starts src and returns it with its size. The frame aliases src. Errors: [ErrShort],
// [ErrVersion], [ErrTooLarge], and [ErrCorrupt] for a wrong checksum, an unknown kind or compression, or entries that
// do not fill the body exactly (checked here for uncompressed bodies, on decoding for compressed ones).
func ReadFrame(src []byte) (Frame, int, error) {
	n, err := FrameSize(src)
	if err != nil {
		return Frame{}, 0, err
	}
	if len(src) < n {
		return Frame{}, 0, ErrShort
	}
	b := src[:n:n]
	if err := checkFrame(b); err != nil {
		return Frame{}, 0, err
	}
	return Frame{b}, n, nil
}

func checkFrame(b []byte) error {
	le := binary.LittleEndian
	if got, want := frameChecksum(b), le.Uint32(b[48:]); got != want {
		return fmt.Errorf("frame checksum %08x, stored %08x: %w", got, want, ErrCorrupt)
	}
	m, compression := Frame{b}.Meta(), Compression(b[2])
	stored, raw := len(b)-FrameHeaderSize, le.Uint32(b[8:])
	switch {
	case !m.plausible():
		return fmt.Errorf("frame of %d %v entries from index %d: %w", m.Count, m.Kind, m.First, ErrCorrupt)
	case compression >= compressionEnd:
		return fmt.Errorf("frame of unknown compression %d: %w", uint8(compression), ErrCorrupt)
	case b[3] > headerOnly || le.Uint32(b[52:]) != 0:
		return fmt.Errorf("frame with form %d and reserved bytes %08x, want 0 or %d, and zero: %w",
			b[3], le.Uint32(b[52:]), headerOnly, ErrCorrupt)
	case m.HeaderOnly && (stored != 0 || raw != 0 || compression != CompressionNone):
		return fmt.Errorf("frame without entries, but %d bytes (%v), unpacked %d: %w", stored, compression, raw, ErrCorrupt)
	case m.HeaderOnly:
		return nil
	case raw > FrameBodyMax:
		return fmt.Errorf("frame body of %d unpacked bytes, limit %d: %w", raw, FrameBodyMax, ErrTooLarge)
	case raw < m.Count:
		return fmt.Errorf("frame of %d entries in %d unpacked bytes: %w", m.Count, raw, ErrCorrupt)
	case m.Kind == EntryBlank && raw != 1:
		return fmt.Errorf("blank frame of %d bytes, want 1: %w", raw, ErrCorrupt)
	case compression != CompressionNone && stored < int(raw):
		return nil
	case compression != CompressionNone || stored != int(raw):
		return fmt.Errorf("frame body (%v) of %d bytes, unpacked %d: %w", compression, stored, raw, ErrCorrupt)
	}
	return checkBody(b[FrameHeaderSize:], m.Count)
}

func checkBody(body []byte, count uint32) error {
	for i := range count {
		_, rest, ok := cutEntry(body)
		if !ok {
			return fmt.Errorf("entry %d of %d does not fit the frame: %w", i, count, ErrCorrupt)
		}
		body = rest
	}
	if len(body) != 0 {
		return fmt.Errorf("%d bytes after the last of %d entries: %w", len(body), count, ErrCorrupt)
	}
	return nil
}

// cutEntry splits the first entry's bytes off a frame's body.
func cutEntry(body []byte) (data, rest []byte, ok bool) {
	size, n := readUvarint(body)
	if n <= 0 || size > uint64(len(body)-n) {
		return nil, nil, false
	}
	end := n + int(size)
	return body[n:end:end], body[end:], true
}

// readUvarint is binary.Uvarint that takes the shortest form only, so that each value has one encoding; n is 0 or
// negative where src does not start with one.
func readUvarint(src []byte) (v uint64, n int) {
	v, n = binary.Uvarint(src)
	if n > 1 && src[n-1] == 0 {
		return 0, 0
	}
	return v, n
}

// AppendEntries appends the frame's decoded entries to dst. Their data aliases the frame (or, for a compressed one, a
// buffer made for this call). Errors wrap [ErrCorrupt], or [ErrHeaderOnly] for a frame without its entries; dst is then
// returned unchanged.
func (f Frame) AppendEntries(dst []Entry) ([]Entry, error) {
	m := f.Meta()
	if m.HeaderOnly {
		return dst, fmt.Errorf("%d entries up to %v: %w", m.Count, m.LastID(), ErrHeaderOnly)
	}
	body, err := f.body()
	if err != nil {
		return dst, err
	}
	out := slices.Grow(dst, int(m.Count))
	for i := range m.Count {
		data, rest, ok := cutEntry(body)
		if !ok {
			return dst, fmt.Errorf("entry %d of %d of frame %v does not fit it: %w", i, m.Count, m.LastID(), ErrCorrupt)
		}
		out = append(out, Entry{ID: LogID{Leader: m.Leader, Index: m.First + Index(i)}, Kind: m.Kind, Data: data})
		body = rest
	}
	if len(body) != 0 {
		return dst, fmt.Errorf("%d bytes after the %d entries of frame %v: %w", len(body), m.Count, m.LastID(), ErrCorrupt)
	}
	return out, nil
}

// CutFrame re-encodes the entries from..to of f (both included) as a frame of their own, uncompressed. It is needed
// only where a log was cut inside a frame. A frame without its entries stays one. Errors wrap [ErrCorrupt]. A range
// outside the frame is a bug of the caller.
func CutFrame(f Frame, from, to Index) (Frame, error) {
	m := f.Meta()
	if from < m.First || to > m.Last() || from > to {
		panic(fmt.Sprintf("BUG: cut %d..%d of frame %d..%d", from, to, m.First, m.Last()))
	}
	first := m.First
	m.First, m.Count = from, uint32(to-from)+1
	if m.HeaderOnly {
		return HeaderFrame(m), nil
	}
	entries, err := f.AppendEntries(nil)
	if err != nil {
		return Frame{}, err
	}
	buf := make([]byte, FrameHeaderSize, len(f.b))
	for _, e := range entries[from-first : to-first+1] {
		buf = AppendEntry(buf, e.Data)
	}
	return SealFrame(buf, m, CompressionNone)
}
