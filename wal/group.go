package wal

import (
	"fmt"
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
	epoch   atomic.Uint64 // truncations so far: counted by the loop, compared by the reader
	writer  groupWriter
}

// groupWriter is what the writer keeps of a group.
type groupWriter struct {
	batch       uint64 // number of the newest batch that holds writes of the group
	records     bool   // that batch holds records of it
	seq         uint64 // newest write taken
	reported    uint64 // newest write reported as durable
	commit      codec.Index
	commitSaved codec.Index
}

// Submit queues a write and returns at once; it copies w and keeps the frame. After an error of the disk it does
// nothing. A write that can't follow the group's log is a bug of the caller and panics.
func (g *Group) Submit(w *codec.LogWrite) {
	if g.log.queue.poisoned.Load() {
		return
	}
	meta := checkWrite(g.id, &g.index, g.lastSeq, w)
	seq, ok := g.log.queue.put(g, w)
	if !ok {
		return
	}
	g.lastSeq = w.Seq
	before := g.index.recentBytes
	if w.HasVote {
		seq++
	}
	if w.HasTruncate {
		seq++
		g.epoch.Add(1)
		if err := g.index.truncate(w.Truncate); err != nil {
			g.log.cfg.Logger.Warn("wal: frame can't be cut", "group", g.id, "index", w.Truncate, "error", err)
		}
	}
	if !w.Frame.IsZero() {
		g.index.append(w.Frame, meta, seq)
	}
	g.index.evict(g.log.durable.Load(), g.log.cfg.RecentBytesMax)
	g.log.counters.recentBytes.Add(int64(g.index.recentBytes - before))
}

// checkWrite panics unless w can follow what a group's log holds, and returns the description of its frame.
func checkWrite(id codec.GroupID, x *index, lastSeq uint64, w *codec.LogWrite) (meta codec.FrameMeta) {
	if w.Seq != 0 && w.Seq <= lastSeq {
		panic(fmt.Sprintf("BUG: group %d submits write %d after write %d", id, w.Seq, lastSeq))
	}
	last := x.last()
	if w.HasTruncate {
		if w.Truncate > last {
			panic(fmt.Sprintf("BUG: group %d truncates above index %d, its log ends at %d", id, w.Truncate, last))
		}
		last = w.Truncate
	}
	if w.Frame.IsZero() {
		return meta
	}
	meta = w.Frame.Meta()
	if meta.Group != id || meta.First != last+1 {
		panic(fmt.Sprintf("BUG: group %d appends a frame of group %d at index %d, its log ends at %d", id, meta.Group, meta.First, last))
	}
	return meta
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
// [ErrClosed], [codec.ErrCorrupt] with file and offset, or the operating system's.
func (g *Group) ReadFrame(i codec.Index, done func(codec.Frame, error)) {
	position := g.index.find(i)
	if position < 0 {
		done(codec.Frame{}, fmt.Errorf("wal: group %d: index %d, the log holds 1 to %d: %w", g.id, i, g.index.last(), ErrNotHeld))
		return
	}
	if f, ok := g.index.cached(position); ok {
		done(f, nil)
		return
	}
	g.log.reader.ask(readRequest{group: g, ref: g.index.refs[position], epoch: g.epoch.Load(), done: done})
}
