package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

// segment is a file of the log.
type segment struct {
	name  string // path
	first uint64 // sequence of its first record, as its name says
}

func segmentName(folder string, first uint64) string {
	return filepath.Join(folder, fmt.Sprintf("%020d", first))
}

// listing is what lies in the folder of segments.
type listing struct {
	segments []segment // ascending
	temps    []string  // unfinished files, to be swept
	brokens  map[string]bool
}

// listSegments reads the folder; a missing one is empty. tidwall/wal deletes files when it meets one of its own that
// end in .START or .END; this package makes none, so such a file is refused.
func listSegments(fsys vfs.FS, folder string) (listing, error) {
	l := listing{brokens: map[string]bool{}}
	names, err := fsys.ReadDir(folder)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return l, nil
		}
		return l, fmt.Errorf("wal: %w", err)
	}
	for _, name := range names {
		switch ext := filepath.Ext(name); {
		case ext == tempSuffix:
			l.temps = append(l.temps, filepath.Join(folder, name))
		case ext == brokenSuffix:
			l.brokens[filepath.Join(folder, name)] = true
		case ext == ".START" || ext == ".END":
			return l, fmt.Errorf("wal: file %s was not made by this log: %w", filepath.Join(folder, name), codec.ErrCorrupt)
		case len(name) == 20:
			first, err := strconv.ParseUint(name, 10, 64)
			if err == nil && first > 0 {
				l.segments = append(l.segments, segment{filepath.Join(folder, name), first})
			}
		}
	}
	return l, nil
}

// badSpot is where the chain of records ends other than at the end of the last file.
type badSpot struct {
	segment int // position in the listing
	offset  int64
	seq     uint64 // sequence of the record that should be there
	err     error  // what is wrong with it
}

// scan is the result of reading a log from its first record.
//
// Owner: the goroutine that calls Open.
type scan struct {
	fsys     vfs.FS
	dir      string // of the log
	log      uint32
	list     listing
	front    *front
	book     *book
	buf      []byte // of the file being read
	returned []int  // positions of segments that were reclaimed: left behind by a lost unlink
	accepted []int  // positions of the segments that hold the chain, ascending
	stale    []int  // positions of segments whose records the chain has already: left behind by a lost rename
	tail     tailState
	last     uint64 // sequence of the last record
	crc      uint32 // its CRC
	durable  uint64 // highest sequence that any record proves durable
	bad      *badSpot
}

// tailState is what repair must know of the last accepted segment.
type tailState struct {
	size     int64    // bytes of the chain in it
	doubtful []placed // its records that no record proves durable
}

type placed struct {
	seq    uint64
	offset int64
}

// add takes the next record, which ends at size and proves everything up to durable.
func (t *tailState) add(r *record) {
	n := 0
	for n < len(t.doubtful) && t.doubtful[n].seq <= r.durable {
		n++
	}
	t.doubtful = append(t.doubtful[n:], placed{r.seq, t.size})
	t.size += int64(r.size)
}

// settled returns how many bytes at the start of the segment are proven durable.
func (t *tailState) settled() int64 {
	if len(t.doubtful) == 0 {
		return t.size
	}
	return t.doubtful[0].offset
}

// scanLog reads and verifies every record of the log in a directory. An error means that the log is damaged, or not ours; a
// bad spot that may be a torn tail is reported in the result, with the decision in [scan.judge].
func scanLog(fsys vfs.FS, dir string, log uint32) (*scan, error) {
	f, err := readFront(fsys, dir, log)
	if err != nil {
		return nil, err
	}
	list, err := listSegments(fsys, filepath.Join(dir, segmentFolder))
	if err != nil {
		return nil, err
	}
	s := &scan{fsys: fsys, dir: dir, log: log, list: list, front: f, book: newBook(), last: f.last, crc: f.crc}
	s.book.owe(f)
	for i, seg := range list.segments {
		switch {
		case seg.first <= f.last:
			s.returned = append(s.returned, i)
			err = s.foreign(seg)
		case len(s.accepted) == 0 && seg.first != f.last+1:
			err = s.firstMissing()
		case s.bad == nil && seg.first == s.last+1:
			err = s.segment(i)
		default:
			err = s.outside(i)
		}
		if err != nil {
			return nil, err
		}
	}
	if len(s.accepted) == 0 {
		return nil, s.firstMissing()
	}
	if err := s.judge(); err != nil {
		return nil, err
	}
	if err := s.book.finish(); err != nil {
		return nil, damaged(filepath.Join(dir, frontName), 0, err)
	}
	return s, nil
}

func (s *scan) firstMissing() error {
	err := fmt.Errorf("first segment is missing: %w", codec.ErrCorrupt)
	if s.front.last > 0 {
		err = fmt.Errorf("first segment behind record %d, up to which all is reclaimed, is missing: %w", s.front.last, codec.ErrCorrupt)
	}
	return damaged(segmentName(filepath.Join(s.dir, segmentFolder), s.front.last+1), 0, err)
}

// outside sorts a segment that does not start where the chain ends.
func (s *scan) outside(i int) error {
	seg := s.list.segments[i]
	if s.bad == nil && seg.first > s.last {
		s.bad = &badSpot{segment: i, seq: s.last + 1,
			err: fmt.Errorf("records %d to %d are missing before this file: %w", s.last+1, seg.first-1, codec.ErrCorrupt)}
	} else if s.bad == nil {
		s.stale = append(s.stale, i)
	}
	return s.foreign(seg)
}

// foreign returns an error if a segment that is no part of the chain begins with a record of another log.
func (s *scan) foreign(seg segment) error {
	b, err := s.load(seg)
	if err != nil {
		return err
	}
	if _, err := readRecord(b, s.log); errors.Is(err, errForeign) {
		return damaged(seg.name, 0, err)
	}
	return nil
}

func (s *scan) load(seg segment) ([]byte, error) {
	b, err := vfs.ReadFile(s.fsys, seg.name, s.buf)
	if err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	s.buf = b[:0]
	return b, nil
}

// segment reads the records of one file until its end or the first bad one.
func (s *scan) segment(i int) error {
	seg := s.list.segments[i]
	b, err := s.load(seg)
	if err != nil {
		return err
	}
	before := s.tail
	s.accepted, s.tail = append(s.accepted, i), tailState{}
	s.book.begin(seg)
	for int(s.tail.size) < len(b) {
		offset := s.tail.size
		r, err := readRecord(b[offset:], s.log)
		if err == nil {
			err = s.follows(&r)
		}
		if errors.Is(err, codec.ErrVersion) || errors.Is(err, errForeign) {
			return damaged(seg.name, offset, err)
		}
		if err != nil {
			s.bad = &badSpot{segment: i, offset: offset, seq: s.last + 1, err: err}
			if offset == 0 && len(s.accepted) > 1 { // nothing of it is ours: the tail is the segment before
				s.accepted, s.tail = s.accepted[:len(s.accepted)-1], before
				s.book.unbegin()
			}
			return nil
		}
		if err := s.book.replay(&r); err != nil {
			return damaged(seg.name, offset, err)
		}
		s.last, s.crc, s.durable = r.seq, r.crc, r.durable
		s.tail.add(&r)
	}
	return nil
}

// follows checks that a whole record stands where it belongs.
func (s *scan) follows(r *record) error {
	switch {
	case r.seq != s.last+1:
		return fmt.Errorf("record %d where %d belongs: %w", r.seq, s.last+1, codec.ErrCorrupt)
	case r.previous != s.crc:
		return fmt.Errorf("record %d follows checksum %08x, the one before has %08x: %w", r.seq, r.previous, s.crc, codec.ErrCorrupt)
	case r.durable < s.durable:
		return fmt.Errorf("record %d says %d was durable, the one before said %d: %w", r.seq, r.durable, s.durable, codec.ErrCorrupt)
	}
	return nil
}

func damaged(name string, offset int64, err error) error {
	return fmt.Errorf("wal: damaged: file %s at offset %d: %w", name, offset, err)
}

// judge decides whether the bad spot, if there is one, is a torn tail: it is, unless the mark of what was reclaimed, or a
// record behind the spot, in its file or a later one, says that the missing record was durable when it was written itself. The
// search resynchronises at every byte, since a wrong length shifts all that follows.
func (s *scan) judge() error {
	if s.last < s.front.durable {
		bad := s.bad
		if bad == nil {
			bad = &badSpot{segment: s.accepted[len(s.accepted)-1], offset: s.tail.size,
				err: fmt.Errorf("the log ends with record %d: %w", s.last, codec.ErrCorrupt)}
		}
		return fmt.Errorf("%w; record %d was durable when %s was written", damaged(s.list.segments[bad.segment].name, bad.offset, bad.err),
			s.front.durable, filepath.Join(s.dir, frontName))
	}
	if s.bad == nil {
		return nil
	}
	for i := s.bad.segment; i < len(s.list.segments); i++ {
		b, err := s.load(s.list.segments[i])
		if err != nil {
			return err
		}
		from := 0
		if i == s.bad.segment {
			from = int(s.bad.offset)
		}
		if witness, offset := s.witness(b, from); witness != 0 {
			return fmt.Errorf("%w; it was durable when record %d was written (file %s at offset %d)",
				damaged(s.list.segments[s.bad.segment].name, s.bad.offset, s.bad.err), witness, s.list.segments[i].name, offset)
		}
	}
	return nil
}

// witness returns the sequence and place of a record in b that proves the bad one durable, or 0.
func (s *scan) witness(b []byte, from int) (seq uint64, offset int) {
	for ; from+headerSize <= len(b); from++ {
		if b[from] != recordVersion || b[from+2] != 0 || b[from+3] != 0 {
			continue
		}
		if h := getHeader(b[from:]); h.log != s.log || h.durable < s.bad.seq || h.seq <= h.durable {
			continue
		}
		if h, ok := authentic(b[from:]); ok {
			return h.seq, from
		}
	}
	return 0, 0
}
