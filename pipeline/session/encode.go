package session

import (
	"encoding/binary"
	"fmt"

	"github.com/millrace/millrace/codec"
)

// TableVersion is the first byte of an encoded table.
const TableVersion = 1

// AppendTo appends the table's encoding to dst: version, number of sessions; of each session, from the one that was not
// heard of for longest on, id, bound on answers in bytes, serial acknowledged, number of commands; of each command serial,
// its entry's term, node and index, what is known of its answer (1 nothing, 2 it follows: bytes, data). All numbers but the
// version and that one are uvarints in their shortest form, so equal tables have equal encodings. No answer may be pending.
func (t *Table) AppendTo(dst []byte) []byte {
	if t.pending > 0 {
		panic(fmt.Sprintf("BUG: %d answers are pending in a session table that is to be encoded", t.pending))
	}
	dst = append(dst, TableVersion)
	dst = binary.AppendUvarint(dst, uint64(len(t.sessions)))
	for s := t.root.next; s != &t.root; s = s.next {
		for _, v := range [...]uint64{uint64(s.id), s.bytesMax, s.answered, uint64(len(s.records))} {
			dst = binary.AppendUvarint(dst, v)
		}
		for i := range s.records {
			r := &s.records[i]
			for _, v := range [...]uint64{r.serial, uint64(r.at.Leader.Term), uint64(r.at.Leader.Node), uint64(r.at.Index)} {
				dst = binary.AppendUvarint(dst, v)
			}
			dst = append(dst, byte(r.answer))
			if r.answer == kept {
				dst = binary.AppendUvarint(dst, uint64(len(r.data)))
				dst = append(dst, r.data...)
			}
		}
	}
	return dst
}

// ReadTable reads the table that src is, all of it; they share nothing. Errors wrap [codec.ErrVersion], or
// [codec.ErrCorrupt] for anything else that no table encodes to.
func ReadTable(src []byte) (*Table, error) {
	if len(src) > 0 && src[0] != TableVersion {
		return nil, fmt.Errorf("session table of version %d, want %d: %w", src[0], TableVersion, codec.ErrVersion)
	}
	r := reader{src: src}
	r.byte()
	t := NewTable()
	for n := r.uvarint(); n > 0 && !r.failed; n-- {
		s := readSession(&r)
		r.failed = r.failed || t.sessions[s.id] != nil
		if !r.failed {
			t.add(s)
		}
	}
	if r.failed || len(r.src) > 0 {
		return nil, fmt.Errorf("session table of %d bytes can't be read behind session %d, byte %d: %w",
			len(src), t.root.prev.id, len(src)-len(r.src), codec.ErrCorrupt)
	}
	return t, nil
}

func readSession(r *reader) *session {
	s := &session{id: ID(r.uvarint()), bytesMax: r.uvarint(), answered: r.uvarint()}
	count := r.uvarint()
	r.failed = r.failed || s.id == 0 || count > WindowMax
	last := s.answered
	for ; count > 0 && !r.failed; count-- {
		c := record{serial: r.uvarint()}
		c.at.Leader = codec.LeaderID{Term: codec.Term(r.uvarint()), Node: codec.NodeID(r.uvarint())}
		c.at.Index = codec.Index(r.uvarint())
		c.answer = answer(r.byte())
		if c.answer == kept {
			c.data = append(c.data, r.bytes(r.uvarint())...)
			s.bytes += uint64(len(c.data))
		}
		r.failed = r.failed || c.serial <= last || c.serial-s.answered > WindowMax ||
			c.answer == pending || c.answer >= answerEnd || s.bytes > s.bytesMax
		last = c.serial
		s.records = append(s.records, c)
	}
	return s
}
