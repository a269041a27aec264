package wal

import (
	"sort"

	"github.com/millrace/millrace/codec"
)

// segmentBook is a file of the log, with how much of it counts.
type segmentBook struct {
	segment
	last  uint64 // sequence of its last record
	crc   uint32 // of that record
	bytes int64  // of its records
	live  int64  // of those that count
	// ends are the bounds of the groups that it changed, as they are at its end; touched are those groups while it is the tail.
	ends    []groupEnd
	touched []*groupBook
}

type groupEnd struct {
	id codec.GroupID
	bounds
}

func (s *segmentBook) add(r *record) {
	s.last, s.crc = r.seq, r.crc
	s.bytes += int64(r.size)
}

// begin says that the next record is the first of a new segment.
func (b *book) begin(seg segment) {
	if len(b.segments) > 0 {
		old := b.tail()
		for _, g := range old.touched {
			old.ends = append(old.ends, groupEnd{g.id, bounds{g.base.ID.Index, g.index.last()}})
		}
		old.touched = nil
	}
	b.segments = append(b.segments, &segmentBook{segment: seg})
}

// unbegin takes back a segment of which no record was read.
func (b *book) unbegin() {
	b.segments = b.segments[:len(b.segments)-1]
	t := b.tail()
	for _, e := range t.ends {
		t.touched = append(t.touched, b.groups[e.id])
	}
	t.ends = nil
}

func (b *book) tail() *segmentBook { return b.segments[len(b.segments)-1] }

// touch says that the bounds of a group's log change in the tail.
func (b *book) touch(g *groupBook) {
	if t := b.tail(); g.touched != t.first {
		g.touched = t.first
		t.touched = append(t.touched, g)
	}
}

// holder returns the segment that holds a record.
func (b *book) holder(seq uint64) *segmentBook {
	if t := b.tail(); seq >= t.first {
		return t
	}
	return b.segments[sort.Search(len(b.segments), func(i int) bool { return b.segments[i].first > seq })-1]
}

// born says that the record at a spot counts from now on.
func (b *book) born(at spot) {
	b.tail().live += int64(at.bytes)
	b.live += int64(at.bytes)
}

// kill says that the record at a spot does not count any more.
func (b *book) kill(at spot) {
	if at.seq == 0 {
		return
	}
	b.holder(at.seq).live -= int64(at.bytes)
	b.live -= int64(at.bytes)
}

// dead returns how many of the oldest segments hold nothing that counts, at most max. The tail is none of them, and a record
// stands behind the last of them: tidwall/wal does not open a log of one empty file that is not the first.
func (b *book) dead(max int) (n int) {
	for n < min(max, len(b.segments)-1) && b.segments[n].live == 0 && b.segments[n].last < b.last {
		n++
	}
	return n
}

// crowded tells whether what counts in the oldest segment should be written again, to free the file: the segment holds so
// many bytes that don't count, or all segments but the tail together do.
func (b *book) crowded(percent int) bool {
	if len(b.segments) < 2 || b.segments[0].last == b.last {
		return false
	}
	over := func(bytes, live int64) bool { return (bytes-live)*100 > bytes*int64(percent) }
	oldest, tail := b.segments[0], b.tail()
	return over(oldest.bytes, oldest.live) || over(b.bytes-tail.bytes, b.live-tail.live)
}

// wants tells whether there is something to reclaim.
func (b *book) wants(percent int) bool { return b.dead(1) > 0 || b.crowded(percent) }

// drop forgets the oldest segments, which are gone.
func (b *book) drop(n int) (bytes int64) {
	for _, s := range b.segments[:n] {
		bytes += s.bytes
		for _, e := range s.ends {
			b.front[e.id] = e.bounds
		}
	}
	b.bytes -= bytes
	b.segments = append([]*segmentBook(nil), b.segments[n:]...)
	return bytes
}
