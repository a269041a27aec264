package wal

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/millrace/millrace/codec"
)

// writer turns what is queued into records, makes a batch of them durable with one sync, and reports.
//
// Owner: the writer goroutine; before it starts, Open; in a simulation, the caller of [Log.Pump].
type writer struct {
	log      *Log
	appender appender
	items    []item   // taken, not yet reported
	touched  []*Group // groups with writes among them
	commits  []*Group // groups whose saved commit rides along
	moves    []move   // records to be written again
	failed   error    // the reclaimer can't go on
	took     bool     // moves were asked for, and those that still count are taken
	batch    batch
	number   uint64 // of the batch
	seq      uint64 // sequence of the next record
	crc      uint32 // CRC of the record before
	durable  uint64 // sequence up to which everything is durable
	scratch  []byte
	begun    int       // segments, since the appender was renewed
	timed    bool      // somebody wants to know how long the batch takes
	written  time.Time // when the appender had it, where timed
}

// writeLoop is the writer goroutine. It ends when the log closes or a write fails.
func (l *Log) writeLoop() {
	defer close(l.writerDone)
	for range l.queue.wake {
		if closing := l.writer.take(); !l.writer.write() {
			return
		} else if closing {
			l.writer.seal()
			return
		}
	}
}

// take takes everything queued, adds the saved commits that ride along and what is to be written again, and tells whether the
// log is closing, so that nothing will be queued any more.
func (w *writer) take() (closing bool) {
	q := &w.log.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	w.items, q.items = q.items, w.items[:0]
	w.number++
	w.touched, w.commits = w.touched[:0], w.commits[:0]
	for i := range w.items {
		it := &w.items[i]
		if it.group == nil {
			continue
		}
		g := &it.group.writer
		if g.batch != w.number {
			g.batch, g.records, g.ends = w.number, false, endings{}
			w.touched = append(w.touched, it.group)
		}
		g.records = g.records || it.records > 0
		g.seq = max(g.seq, it.write.Seq)
		g.commit = max(g.commit, it.write.Commit)
		g.ends.add(&it.write)
	}
	for _, g := range w.touched {
		if g.writer.records {
			w.rideAlong(g)
		}
	}
	w.takeMoves()
	return q.closing
}

// rideAlong gives a group's newest commit a record in this batch, if it changed. The queue is locked.
func (w *writer) rideAlong(g *Group) {
	if g.writer.commit != g.writer.commitSaved && g.writer.rides != w.number {
		g.writer.rides = w.number
		w.commits = append(w.commits, g)
		w.log.queue.next++
	}
}

// write makes what was taken durable and reports it. It returns false when that failed and the log is poisoned.
func (w *writer) write() bool {
	w.batch.reset(w.seq)
	w.timed = false
	if w.failed != nil {
		w.poison(w.failed)
		return false
	}
	for i := range w.items {
		w.encode(&w.items[i])
	}
	w.encodeCommits()
	err := w.encodeMoves()
	if err == nil {
		err = w.flush()
	}
	if err != nil {
		w.poison(err)
		return false
	}
	w.report()
	w.reportMoves()
	return true
}

func (w *writer) encode(it *item) {
	if it.records > 0 && it.seq != w.seq {
		panic(fmt.Sprintf("BUG: item of sequence %d taken when %d is next", it.seq, w.seq))
	}
	switch {
	case it.mark != 0:
		w.add(it.mark, nil)
	case it.peer != nil:
		w.scratch = appendPeer(w.scratch[:0], it.peer.id, it.peer.incarnation)
		w.add(kindPeer, w.scratch)
	}
	w.timed = w.timed || it.write.Timed != nil
	if it.write.HasVote {
		w.scratch = appendVote(w.scratch[:0], it.group.id, it.write.Vote)
		w.add(kindVote, w.scratch)
	}
	if base := it.write.Jump; base != nil {
		w.scratch = appendBase(w.scratch[:0], it.group.id, base)
		w.add(kindJump, w.scratch)
	}
	if it.write.HasTruncate {
		w.scratch = appendIndex(w.scratch[:0], it.group.id, it.write.Truncate)
		w.add(kindTruncate, w.scratch)
	}
	if f := it.write.Frame; !f.IsZero() {
		w.addFrame(kindFrame, f)
	}
	if base := it.write.Purge; base != nil {
		w.scratch = appendBase(w.scratch[:0], it.group.id, base)
		w.add(kindPurge, w.scratch)
	}
}

func (w *writer) encodeCommits() {
	for _, g := range w.commits {
		w.scratch = appendIndex(w.scratch[:0], g.id, g.writer.commit)
		w.add(kindCommit, w.scratch)
		g.writer.commitSaved = g.writer.commit
	}
}

func (w *writer) add(k kind, payload []byte) { w.addRecord(k, payload, codec.Checksum(payload)) }

func (w *writer) addFrame(k kind, f codec.Frame) {
	w.addRecord(k, f.Bytes(), f.Checksum())
	w.batch.frames = append(w.batch.frames, f)
}

func (w *writer) addRecord(k kind, payload []byte, crc uint32) {
	h := header{kind: k, log: w.log.fingerprint, previous: w.crc, seq: w.seq, durable: w.durable}
	w.batch.add(&h, payload, crc)
	w.crc = h.crc
	w.seq++
}

// flush writes the batch and makes it durable: its bytes, and the names of the segments it began.
func (w *writer) flush() error {
	if len(w.batch.records) == 0 {
		return nil
	}
	l := w.log
	rolled, err := w.appender.Append(&w.batch)
	if err != nil {
		return fmt.Errorf("write records %d to %d: %w", w.batch.first, w.seq-1, err)
	}
	if w.timed {
		w.written = time.Now()
	}
	if err := w.appender.Sync(); err != nil {
		return fmt.Errorf("sync records %d to %d: %w", w.batch.first, w.seq-1, err)
	}
	if len(rolled) > 0 {
		folder := segmentFolderOf(&l.cfg)
		if err := l.fsys.SyncDir(folder); err != nil {
			return fmt.Errorf("sync directory %s: %w", folder, err)
		}
		l.counters.dirSyncs.Add(1)
		if err := w.renew(len(rolled)); err != nil {
			return err
		}
	}
	w.note(rolled)
	w.durable = w.seq - 1
	l.durable.Store(w.durable)
	l.counters.syncs.Add(1 + int64(len(rolled)))
	l.counters.batches.Add(1)
	l.counters.records.Add(int64(len(w.batch.records)))
	l.counters.bytesWritten.Add(int64(len(w.batch.bytes)))
	return nil
}

// renewAfter is how many segments are begun before the appender lets go of the old ones.
const renewAfter = 1 << 10

// renew counts segments that were begun.
func (w *writer) renew(begun int) error {
	if w.begun += begun; w.begun < renewAfter {
		return nil
	}
	w.begun = 0
	w.log.unlinking.Lock()
	defer w.log.unlinking.Unlock()
	if err := w.appender.Renew(w.seq - 1); err != nil {
		return fmt.Errorf("begin anew behind record %d: %w", w.seq-1, err)
	}
	return nil
}

// note enters the batch, which is durable now, into the book. rolled are the sequences at which segments begin.
func (w *writer) note(rolled []uint64) {
	b := w.log.book
	b.mu.Lock()
	defer b.mu.Unlock()
	frames := w.batch.frames
	for i, s := range w.batch.records {
		if len(rolled) > 0 && rolled[0] == w.batch.first+uint64(i) {
			b.begin(segmentOf(&w.log.cfg, rolled[0]))
			rolled = rolled[1:]
		}
		data := w.batch.bytes[s.data:s.end]
		r := record{header: getHeader(data), payload: data[headerSize:], size: s.end - s.start}
		if r.kind.framed() {
			r.frame, frames = frames[0], frames[1:]
		}
		if err := b.replay(&r); err != nil {
			panic(fmt.Sprintf("BUG: record %d was written, and can't be replayed: %v", r.seq, err))
		}
	}
	for _, first := range rolled {
		b.begin(segmentOf(&w.log.cfg, first))
	}
}

// report tells everyone whose write was taken that it is durable, and lets go of the frames.
func (w *writer) report() {
	var durable time.Time
	if w.timed {
		durable = time.Now()
	}
	for _, g := range w.touched {
		if g.writer.seq > g.writer.reported {
			g.writer.reported = g.writer.seq
			g.flushed(g.writer.seq, nil)
		}
	}
	for i := range w.items {
		if p := w.items[i].peer; p != nil {
			w.log.queue.remember(p)
			p.done(nil)
		}
		if timed := w.items[i].write.Timed; timed != nil && w.items[i].records > 0 {
			timed(w.written, durable)
		}
	}
	clear(w.items)
}

// reportMoves tells the reclaimer what the batch wrote again.
func (w *writer) reportMoves() {
	own := len(w.batch.bytes)
	if n := len(w.moves); n > 0 {
		own = w.batch.records[len(w.batch.records)-n].start
		w.log.counters.moved.Add(int64(n))
		w.log.counters.movedBytes.Add(int64(len(w.batch.bytes) - own))
	}
	w.log.reclaimer.written(w.took, int64(own))
	clear(w.moves)
}

func (q *queue) remember(p *peerWrite) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.peers[p.id] = p.incarnation
}

// poison ends the log: nothing is acknowledged any more, and every group is told once.
func (w *writer) poison(cause error) {
	l := w.log
	err := fmt.Errorf("wal %s: %w: %w", filepath.Clean(l.cfg.Dir), ErrPoisoned, cause)
	l.cfg.Logger.Error("wal: poisoned", "dir", l.cfg.Dir, "error", cause)
	q := &l.queue
	q.mu.Lock()
	q.err = err
	q.poisoned.Store(true)
	waiting := q.items
	q.items = nil
	groups := q.sortedGroups()
	q.mu.Unlock()
	for _, g := range groups {
		g.flushed(g.writer.reported, err)
	}
	for _, items := range [][]item{w.items, waiting} {
		for i := range items {
			if p := items[i].peer; p != nil {
				p.done(err)
			}
		}
	}
	w.items = nil
}

// seal ends a log that is closing: everything submitted is durable, and the seal says so. The saved commits that
// nothing gave a ride until now ride with it.
func (w *writer) seal() {
	q := &w.log.queue
	q.mu.Lock()
	w.number++
	w.commits = w.commits[:0]
	for _, g := range q.sortedGroups() {
		w.rideAlong(g)
	}
	q.next++
	q.mu.Unlock()
	w.batch.reset(w.seq)
	w.encodeCommits()
	w.add(kindSeal, nil)
	if err := w.flush(); err != nil {
		w.poison(err)
	}
}
