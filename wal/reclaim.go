package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

// Bounds of one step of reclaiming.
const (
	// moveBytesMin is how many bytes a batch may write again, if its own are not more: with as many as its own, what is written
	// again keeps up with what is written, and a commit takes at most about twice as long. moveBytesIdle is how many it may
	// when nobody waits for it.
	moveBytesMin  = 16 << 10
	moveBytesIdle = 256 << 10
	// unlinkMax is how many files go with one mark.
	unlinkMax = 16
	// walkBytes is how much of a segment is read at once.
	walkBytes = 256 << 10
)

// reclaimer brings space back, in steps beside the writer:
//
//	oldest segments without anything that counts:  mark what is gone, durably --> unlink --> sync the folder
//	the oldest segment is crowded:                 read what counts in it --> the writer's next batch writes it again
//
// Nothing is unlinked before the batch that wrote its last live record again was durable: only then does the book count
// nothing in the file.
//
// Owner: the reader goroutine; in a simulation, the caller of [Log.Pump].
type reclaimer struct {
	log    *Log
	walker *walker
	failed bool // a read failed, and nobody needs to be told again

	moving   atomic.Bool  // moves are on their way: set here, cleared by the writer
	ownBytes atomic.Int64 // of the newest batch, without what it wrote again
}

// step does a bounded part of what there is to reclaim and tells whether it did anything.
func (r *reclaimer) step() (worked bool) {
	l := r.log
	if l.queue.ends() {
		return false
	}
	b := l.book
	b.mu.Lock()
	n := b.dead(unlinkMax)
	oldest, bytes := b.segments[0].segment, b.segments[0].bytes
	gone := slices.Clone(b.segments[:n])
	crowded := n == 0 && b.crowded(l.cfg.ReclaimPercent)
	var mark *front
	if n > 0 {
		mark = b.frontBehind(n)
	}
	b.mu.Unlock()
	var err error
	switch {
	case n > 0:
		worked, err = true, r.unlink(gone, mark)
	case crowded && !r.moving.Load():
		worked, err = r.collect(oldest, bytes)
	}
	if err != nil {
		l.queue.fail(fmt.Errorf("reclaim: %w", err))
	}
	return worked
}

// unlink removes the oldest segments.
func (r *reclaimer) unlink(gone []*segmentBook, mark *front) error {
	l := r.log
	if err := mark.write(l.fsys, l.cfg.Dir, l.fingerprint); err != nil {
		return err
	}
	r.close()
	l.reader.forgetBefore(mark.last)
	if err := l.remove(gone); err != nil {
		return err
	}
	folder := segmentFolderOf(&l.cfg)
	if err := l.fsys.SyncDir(folder); err != nil {
		return fmt.Errorf("sync directory %s: %w", folder, err)
	}
	l.book.mu.Lock()
	bytes := l.book.drop(len(gone))
	l.book.mu.Unlock()
	l.counters.reclaimed.Add(int64(len(gone)))
	l.counters.reclaimedBytes.Add(bytes)
	return nil
}

// remove unlinks segments, the oldest first.
func (l *Log) remove(gone []*segmentBook) error {
	l.unlinking.Lock()
	defer l.unlinking.Unlock()
	for _, s := range gone {
		if err := l.fsys.Remove(s.name); err != nil {
			return fmt.Errorf("remove: %w", err)
		}
	}
	return nil
}

// collect hands what counts next in the oldest segment, a file of that many bytes, to the writer.
func (r *reclaimer) collect(oldest segment, bytes int64) (worked bool, err error) {
	if r.walker == nil {
		f, err := r.log.fsys.OpenFile(oldest.name, os.O_RDONLY, 0)
		if err != nil {
			return false, r.unread(err)
		}
		r.walker = &walker{segment: oldest, file: f, size: bytes}
	}
	budget := max(moveBytesMin, r.ownBytes.Load())
	if r.ownBytes.Load() == 0 {
		budget = moveBytesIdle
	}
	var moves []move
	for budget > 0 {
		rec, ok, err := r.walker.next(r.log.fingerprint)
		if err != nil {
			return false, r.unread(err)
		}
		if !ok {
			break
		}
		r.log.book.mu.Lock()
		m, counts := r.log.book.move(&rec)
		r.log.book.mu.Unlock()
		if counts {
			moves = append(moves, m)
			budget -= int64(m.bytes)
		}
	}
	r.failed = false
	if len(moves) == 0 {
		return true, r.exhausted()
	}
	r.moving.Store(true)
	return r.log.queue.putMoves(moves), nil
}

// exhausted checks that at the end of a segment nothing counts in it any more.
func (r *reclaimer) exhausted() error {
	b := r.log.book
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.segments[0]; s.live != 0 {
		panic(fmt.Sprintf("BUG: %d bytes count in segment %s, and none of its records does", s.live, s.name))
	}
	return nil
}

// unread ends a walk that met an error. Damage ends the log; an error of the system harms nothing, and the next batch that
// is written gives another try.
func (r *reclaimer) unread(err error) error {
	r.close()
	if errors.Is(err, codec.ErrCorrupt) {
		return err
	}
	if !r.failed {
		r.failed = true
		r.log.cfg.Logger.Warn("wal: can't read what is to be moved", "error", err)
	}
	return nil
}

// written is told of each batch: whether it took the moves that were asked for, and its bytes without them. The writer calls
// it.
func (r *reclaimer) written(took bool, ownBytes int64) {
	r.ownBytes.Store(ownBytes)
	if took {
		r.moving.Store(false)
	}
	b := r.log.book
	b.mu.Lock()
	wants := b.wants(r.log.cfg.ReclaimPercent)
	b.mu.Unlock()
	if wants {
		r.log.reader.signal()
	}
}

// close ends the walk.
func (r *reclaimer) close() {
	if r.walker != nil {
		_ = r.walker.file.Close() // only read from: nothing can be lost
		r.walker = nil
	}
}

// walker reads the records of a segment one after the other, and verifies each.
type walker struct {
	segment
	file   vfs.File
	size   int64 // bytes of the records
	offset int64 // of the next record
	buf    []byte
}

// next returns the next record, false at the end. The record has a part of a buffer that is not used again.
func (w *walker) next(log uint32) (r record, ok bool, err error) {
	for w.offset < w.size {
		length, n := binary.Uvarint(w.buf)
		if n > 0 && length <= uint64(len(w.buf)-n) {
			if r, err = readRecord(w.buf[:n+int(length)], log); err != nil {
				return r, false, damaged(w.name, w.offset, err)
			}
			w.offset, w.buf = w.offset+int64(r.size), w.buf[r.size:]
			return r, true, nil
		}
		want := min(w.size-w.offset, max(walkBytes, int64(min(length, recordDataMax))+int64(n)))
		if n < 0 || length > recordDataMax || want <= int64(len(w.buf)) {
			return r, false, damaged(w.name, w.offset, fmt.Errorf("record of %d bytes, %d are there: %w", length, w.size-w.offset, codec.ErrCorrupt))
		}
		w.buf = make([]byte, want)
		if got, err := w.file.ReadAt(w.buf, w.offset); got < len(w.buf) {
			s := openSegment{segment: w.segment}
			return r, false, s.short(w.offset, err)
		}
	}
	return r, false, nil
}
