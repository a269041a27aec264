package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

// readRequest asks for the frame that ref describes, as the group's log stood at epoch.
type readRequest struct {
	group *Group
	ref   frameRef
	epoch uint64
	done  func(codec.Frame, error)
}

// Bounds of the reader. The segments it keeps open cost a file handle and four bytes a record each.
const (
	openSegmentsMax = 8
	scanChunkBytes  = 64 << 10
)

// reader serves frames that are no longer in memory, from the files, one request after the other. Between requests its
// goroutine reclaims: it alone unlinks, so that no file is gone while it is looked for.
//
// Owner: the reader goroutine owns open and chunk. mu guards the rest, because the groups' loops ask while the reader waits
// for the disk.
type reader struct {
	log      *Log
	mu       sync.Mutex
	requests []readRequest
	stopped  bool
	wake     chan struct{}

	open  []*openSegment // most recently used first
	chunk []byte
}

// openSegment is a segment being read, with where its records start as far as that is known.
type openSegment struct {
	segment
	file    vfs.File
	offsets []uint32 // of its first records
	end     uint32   // where the last of them ends
}

// ask queues a request.
func (r *reader) ask(q readRequest) {
	r.mu.Lock()
	stopped := r.stopped
	if !stopped {
		r.requests = append(r.requests, q)
	}
	r.mu.Unlock()
	if stopped {
		q.done(codec.Frame{}, fmt.Errorf("wal: group %d: read of index %d: %w", q.group.id, q.ref.meta.First, ErrClosed))
		return
	}
	r.signal()
}

func (r *reader) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// readsPerStep is how many reads are served before reclaiming gets its turn.
const readsPerStep = 16

// loop is the reader goroutine. It ends after stop.
func (r *reader) loop() {
	defer close(r.log.readerDone)
	for range r.wake {
		for more := true; more; {
			more = r.serveSome(readsPerStep)
			more = r.log.reclaimer.step() || more
		}
		if r.finished() {
			return
		}
	}
}

func (r *reader) finished() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stopped && len(r.requests) == 0
}

// stop makes the reader refuse what waits and what comes.
func (r *reader) stop() {
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	r.signal()
}

// close frees the files, after the reader has ended.
func (r *reader) close() {
	for _, s := range r.open {
		_ = s.file.Close() // only read from: nothing can be lost
	}
	r.open = nil
}

// serve answers everything asked so far and tells whether there was anything.
func (r *reader) serve() (worked bool) {
	for r.serveSome(readsPerStep) {
		worked = true
	}
	return worked
}

// serveSome answers up to max of what was asked so far and tells whether there was anything.
func (r *reader) serveSome(max int) (worked bool) {
	for range max {
		r.mu.Lock()
		if len(r.requests) == 0 {
			r.requests = nil
			r.mu.Unlock()
			break
		}
		q, stopped := r.requests[0], r.stopped
		r.requests[0] = readRequest{}
		r.requests = r.requests[1:]
		r.mu.Unlock()
		worked = true
		r.answer(&q, stopped)
	}
	return worked
}

func (r *reader) answer(q *readRequest, stopped bool) {
	if stopped {
		q.done(codec.Frame{}, fmt.Errorf("wal: group %d: read of index %d: %w", q.group.id, q.ref.meta.First, ErrClosed))
		return
	}
	f, err := r.read(q.group.id, &q.ref)
	if now := q.group.epoch.Load(); now != q.epoch {
		f, err = codec.Frame{}, fmt.Errorf("wal: group %d: read of index %d: %w", q.group.id, q.ref.meta.First, ErrStale)
	}
	q.done(f, err)
}

// read returns the frame that ref describes, from where it stands now.
func (r *reader) read(id codec.GroupID, ref *frameRef) (codec.Frame, error) {
	r.log.counters.coldReads.Add(1)
	seq, ok := r.log.book.find(id, ref.meta)
	if !ok {
		return codec.Frame{}, fmt.Errorf("wal: group %d: read of index %d, which was purged meanwhile: %w", id, ref.meta.First, ErrStale)
	}
	s, err := r.segment(seq)
	if err != nil {
		return codec.Frame{}, err
	}
	f, err := s.frame(ref, seq, r.log.fingerprint, r.chunk)
	if err != nil {
		r.forget(s)
	}
	return f, err
}

// segment returns the open segment that holds a record.
func (r *reader) segment(seq uint64) (*openSegment, error) {
	r.log.book.mu.Lock()
	seg := r.log.book.holder(seq).segment
	r.log.book.mu.Unlock()
	for i, s := range r.open {
		if s.first == seg.first {
			copy(r.open[1:i+1], r.open[:i])
			r.open[0] = s
			return s, nil
		}
	}
	f, err := r.log.fsys.OpenFile(seg.name, os.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	s := &openSegment{segment: seg, file: f}
	if len(r.open) == openSegmentsMax {
		r.forget(r.open[openSegmentsMax-1])
	}
	r.open = append([]*openSegment{s}, r.open...)
	return s, nil
}

func (r *reader) forget(s *openSegment) {
	for i := range r.open {
		if r.open[i] == s {
			_ = s.file.Close() // only read from: nothing can be lost
			r.open = append(r.open[:i], r.open[i+1:]...)
			return
		}
	}
}

// forgetBefore closes the files of segments that are gone, so that their space is free.
func (r *reader) forgetBefore(first uint64) {
	for i := len(r.open) - 1; i >= 0; i-- {
		if r.open[i].first < first {
			r.forget(r.open[i])
		}
	}
}

// frame reads and verifies the frame that ref describes, from the record of a sequence. The result has bytes of its own.
func (s *openSegment) frame(ref *frameRef, seq uint64, log uint32, chunk []byte) (codec.Frame, error) {
	if err := s.locate(seq, chunk); err != nil {
		return codec.Frame{}, err
	}
	n := int(seq - s.first)
	start, end := s.offsets[n], s.end
	if n+1 < len(s.offsets) {
		end = s.offsets[n+1]
	}
	b := make([]byte, end-start)
	if n, err := s.file.ReadAt(b, int64(start)); n < len(b) {
		return codec.Frame{}, s.short(int64(start), err)
	}
	rec, err := readRecord(b, log)
	if err == nil && (rec.seq != seq || !rec.kind.framed()) {
		err = fmt.Errorf("%v record %d, want frame record %d: %w", rec.kind, rec.seq, seq, codec.ErrCorrupt)
	}
	var f codec.Frame
	if err == nil {
		f, err = ref.part(rec.frame)
	}
	if err != nil {
		return codec.Frame{}, damaged(s.name, int64(start), err)
	}
	return f, nil
}

// locate extends the offsets so that they cover a record, by the records' lengths.
func (s *openSegment) locate(seq uint64, chunk []byte) error {
	for want := int(seq-s.first) + 1; len(s.offsets) < want; {
		n, err := s.file.ReadAt(chunk, int64(s.end))
		if n == 0 {
			return s.short(int64(s.end), err)
		}
		for b := chunk[:n]; len(s.offsets) < want; {
			length, prefix := binary.Uvarint(b)
			if prefix == 0 && len(b) < n {
				break // the length starts in this chunk and ends in the next
			}
			if prefix <= 0 || length < headerSize || length > recordDataMax {
				return damaged(s.name, int64(s.end), fmt.Errorf("record of %d bytes: %w", length, codec.ErrCorrupt))
			}
			s.offsets = append(s.offsets, s.end)
			s.end += uint32(prefix) + uint32(length)
			if uint64(prefix)+length >= uint64(len(b)) {
				break
			}
			b = b[uint64(prefix)+length:]
		}
	}
	return nil
}

// short is the error of a read that got too few bytes.
func (s *openSegment) short(offset int64, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return damaged(s.name, offset, fmt.Errorf("file ends where a record should be: %w", codec.ErrCorrupt))
	}
	return fmt.Errorf("wal: read %s at offset %d: %w", s.name, offset, err)
}
