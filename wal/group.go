package wal

import (
	"fmt"
	"math"
	"sync/atomic"

	"github.com/millrace/millrace/codec"
)

// Group is one group's part of a [Log]. Its methods are called by one goroutine, the group's loop.
//
// Owner: the group's loop, except for writer, which belongs to the writer goroutine, and epoch.
type Group struct {
	log     *Log
	id      codec.GroupID
	flushed func(seq uint64, err error)
	index   index
	lastSeq uint64        // of the newest write
	epoch   atomic.Uint64 // truncations and jumps so far: counted by the loop, compared by the reader
	writer  groupWriter
}

// groupWriter is what the writer keeps of a group.
type groupWriter struct {
	batch       uint64  // number of the newest batch that holds writes of the group
	records     bool    // that batch holds records of it
	seq         uint64  // newest write taken
	ends        endings // what that batch takes from the group's log
	reported    uint64  // newest write reported as durable
	rides       uint64  // number of the newest batch that saves its commit
	commit      codec.Index
	commitSaved codec.Index
}

// neverDurable is the sequence of a write after an error of the disk.
const neverDurable = math.MaxUint64 / 2

// Submit queues a write and returns at once; it copies w and keeps the frame and the bases. After an error of the disk
// nothing of it is written. [Group.Frame] goes by it all the same: a loop that has not heard of the error must not take entries
// that it has cut for those that it has put in their place. A write that can't follow the group's log is a bug of the caller
// and panics.
func (g *Group) Submit(w *codec.LogWrite) {
	meta := checkWrite(g.id, &g.index, g.lastSeq, w)
	seq := uint64(neverDurable)
	if !g.log.queue.poisoned.Load() {
		if at, ok := g.log.queue.put(g, w); ok {
			seq = at
		}
	}
	g.lastSeq = w.Seq
	before := g.index.recentBytes
	if w.HasTruncate || w.Jump != nil {
		g.epoch.Add(1)
	}
	if err := g.index.apply(w, meta, seq); err != nil {
		g.log.cfg.Logger.Warn("wal: frame can't be cut", "group", g.id, "index", w.Truncate, "error", err)
	}
	g.index.evict(g.log.durable.Load(), g.log.cfg.RecentBytesMax)
	g.log.counters.recentBytes.Add(int64(g.index.recentBytes - before))
}

// checkWrite panics unless w can follow what a group's log holds, and returns the description of its frame.
func checkWrite(id codec.GroupID, x *index, lastSeq uint64, w *codec.LogWrite) (meta codec.FrameMeta) {
	if w.Seq != 0 && w.Seq <= lastSeq {
		panic(fmt.Sprintf("BUG: group %d submits write %d after write %d", id, w.Seq, lastSeq))
	}
	base, last := x.base.Index, x.last()
	if w.Jump != nil {
		checkBase(id, "jumps", w.Jump)
		if w.Jump.ID.Index <= base {
			panic(fmt.Sprintf("BUG: group %d jumps to %v, its log begins behind %v", id, w.Jump.ID, x.base))
		}
		base, last = w.Jump.ID.Index, w.Jump.ID.Index
	}
	if w.HasTruncate {
		if w.Truncate > last || w.Truncate < base {
			panic(fmt.Sprintf("BUG: group %d truncates above index %d, its log holds %d to %d", id, w.Truncate, base+1, last))
		}
		last = w.Truncate
	}
	if !w.Frame.IsZero() {
		meta = w.Frame.Meta()
		if meta.Group != id || meta.First != last+1 {
			panic(fmt.Sprintf("BUG: group %d appends a frame of group %d at index %d, its log ends at %d", id, meta.Group, meta.First, last))
		}
	}
	if w.Purge != nil {
		checkPurge(id, x, w, meta)
	}
	return meta
}

func checkBase(id codec.GroupID, verb string, b *codec.LogBase) {
	if err := b.Validate(); err != nil || b.ID.Index == 0 {
		panic(fmt.Sprintf("BUG: group %d %s to base %v: %v", id, verb, b.ID, err))
	}
}

// checkPurge panics unless the purge ends with the last entry of a frame that the log holds once the rest of w is done.
func checkPurge(id codec.GroupID, x *index, w *codec.LogWrite, meta codec.FrameMeta) {
	checkBase(id, "purges", w.Purge)
	to := w.Purge.ID
	if !meta.IsZero() && to == meta.LastID() {
		return
	}
	var found codec.LogID
	if position := x.find(to.Index); position >= 0 && w.Jump == nil && (!w.HasTruncate || to.Index <= w.Truncate) {
		m := x.refs[position].meta
		if w.HasTruncate && m.Last() > w.Truncate {
			m.Count = uint32(w.Truncate-m.First) + 1
		}
		found = m.LastID()
	}
	if found != to {
		panic(fmt.Sprintf("BUG: group %d purges up to %v, want the last entry of a frame that its log holds", id, to))
	}
}

// Frame returns the frame that holds the entry at an index, if it is in memory. Frames not yet durable always are. Where
// the log was truncated inside the frame, the rest of it is returned.
func (g *Group) Frame(i codec.Index) (codec.Frame, bool) {
	position := g.index.find(i)
	if position < 0 {
		return codec.Frame{}, false
	}
	return g.index.cached(position)
}

// ReadFrame reads the frame that holds the entry at an index from wherever it is and calls done once: before it
// returns if the frame is in memory, else from the log's reader. done must not block. Errors: [ErrNotHeld], [ErrStale],
// [ErrPoisoned] for an index that the log would hold if it had not ended before, [ErrClosed], [codec.ErrCorrupt] with file
// and offset, or the operating system's.
func (g *Group) ReadFrame(i codec.Index, done func(codec.Frame, error)) {
	position := g.index.find(i)
	if position < 0 {
		done(codec.Frame{}, g.missing(i))
		return
	}
	if f, ok := g.index.cached(position); ok {
		done(f, nil)
		return
	}
	g.log.reader.ask(readRequest{group: g, ref: g.index.refs[position], epoch: g.epoch.Load(), done: done})
}

// missing is the error of a read of an index that is not in the log. Behind the last entry of a log that has ended it says
// why that is so: the caller has submitted the entry, and may not have been told yet.
func (g *Group) missing(i codec.Index) error {
	if err := g.log.queue.ended(); err != nil && i > g.index.last() {
		return fmt.Errorf("wal: group %d: read of index %d: %w", g.id, i, err)
	}
	return g.index.notHeld(g.id, i)
}
