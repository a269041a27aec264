package safety

import (
	"encoding/binary"
	"fmt"

	"github.com/millrace/millrace/codec"
)

// encodingVersion is the first byte of an encoded [Machine].
const encodingVersion = 1

// encodedFixed is the size of what an encoding begins with: version, whether puts are identified, applied, sum, hash, last.
const encodedFixed = 2 + 4*8

// Append appends what [Check] needs to know of a machine, so that a replica in another process can be checked here. All is
// little endian: version, identified (1 byte each), applied, sum, hash, last (8 each), the violation with its length, the
// number of clients, and for each the number of its spans of serials and these, as distance from the end of the one before
// and length. Lengths and spans are uvarints.
func (m *Machine) Append(dst []byte) []byte {
	identified := byte(0)
	if m.identified {
		identified = 1
	}
	dst = append(dst, encodingVersion, identified)
	for _, v := range []uint64{m.applied, m.sum, m.hash, uint64(m.last)} {
		dst = binary.LittleEndian.AppendUint64(dst, v)
	}
	dst = binary.AppendUvarint(dst, uint64(len(m.violation)))
	dst = append(dst, m.violation...)
	dst = binary.AppendUvarint(dst, uint64(len(m.clients)))
	for _, c := range m.clients {
		dst = binary.AppendUvarint(dst, uint64(len(c.spans)))
		end := uint64(0)
		for _, s := range c.spans {
			dst = binary.AppendUvarint(dst, s.from-end)
			dst = binary.AppendUvarint(dst, s.to-s.from)
			end = s.to
		}
	}
	return dst
}

// ReadMachine reads what [Machine.Append] has written, the whole of src. Errors wrap [codec.ErrVersion] or
// [codec.ErrCorrupt]; nothing is allocated that src does not hold.
func ReadMachine(src []byte) (*Machine, error) {
	if len(src) > 0 && src[0] != encodingVersion {
		return nil, fmt.Errorf("state of version %d, want %d: %w", src[0], encodingVersion, codec.ErrVersion)
	}
	if len(src) < encodedFixed || src[1] > 1 {
		return nil, fmt.Errorf("state of %d bytes: %w", len(src), codec.ErrCorrupt)
	}
	le := binary.LittleEndian
	m := &Machine{
		identified: src[1] == 1,
		applied:    le.Uint64(src[2:]), sum: le.Uint64(src[10:]), hash: le.Uint64(src[18:]), last: codec.Index(le.Uint64(src[26:])),
	}
	r := &cursor{src: src[encodedFixed:]}
	m.violation = string(r.take(r.count()))
	if n := r.count(); n > 0 {
		m.clients = make([]Serials, n)
	}
	for i := range m.clients {
		m.clients[i].spans = r.spans()
	}
	if r.failed || len(r.src) > 0 {
		return nil, fmt.Errorf("state of %d bytes does not hold what it says: %w", len(src), codec.ErrCorrupt)
	}
	m.published.Store(uint64(m.last))
	return m, nil
}

// cursor takes values off a buffer; after the first one that does not fit it returns zeros and failed is set.
type cursor struct {
	src    []byte
	failed bool
}

func (r *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(r.src)
	if n <= 0 || r.failed {
		r.failed = true
		return 0
	}
	r.src = r.src[n:]
	return v
}

// count reads a number of things to follow, each of at least one byte.
func (r *cursor) count() int {
	v := r.uvarint()
	if v > uint64(len(r.src)) {
		r.failed = true
		return 0
	}
	return int(v)
}

func (r *cursor) take(n int) []byte {
	taken := r.src[:n]
	r.src = r.src[n:]
	return taken
}

// spans reads a client's, which ascend with a gap between each two.
func (r *cursor) spans() []span {
	n := r.count()
	if n == 0 {
		return nil
	}
	all := make([]span, 0, n)
	end := uint64(0)
	for i := range n {
		gap, length := r.uvarint(), r.uvarint()
		from := end + gap
		to := from + length
		if r.failed || length == 0 || gap == 0 && i > 0 || from < end || to < from {
			r.failed = true
			return nil
		}
		all = append(all, span{from, to})
		end = to
	}
	return all
}
