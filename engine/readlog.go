package engine

import (
	"context"
	"fmt"
	"iter"

	"github.com/millrace/millrace/codec"
)

// ReadLog returns the committed entries from one index to another, both included, as this node's log holds them: of all
// kinds, in index order. Where to is 0, or beyond what is committed when the iteration begins, it ends there. It may be
// used on any node that is no witness, and more than once; each time it begins anew.
//
// An error is the iteration's last pair, its Entry zero: a [PurgedError] where the log begins later than what is asked
// for, also when that happens meanwhile; the log's own error where it can't be read; one that wraps [ErrHeaderOnly] on a
// witness; an [ArgumentError]; the context's; what wraps [ErrStopped]. An entry's Data is shared and must not be changed.
// Frames are read one at a time as the caller gets to them, so that a slow caller holds up nobody; one that keeps an
// entry keeps the memory of its frame.
func (r *Raft) ReadLog(ctx context.Context, from, to codec.Index) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		fail := func(err error) { yield(Entry{}, fmt.Errorf("reading the log of node %d: %w", r.cfg.NodeID, err)) }
		if from == 0 || to != 0 && to < from {
			fail(&ArgumentError{"ReadLog", fmt.Sprintf("entries %d to %d", from, to),
				"a first one of 1 or more, and a last one that is 0 or not before it"})
			return
		}
		var entries []Entry
		for end := codec.Index(0); ; {
			got, err := r.readFrame(ctx, from)
			if err != nil {
				fail(err)
				return
			}
			if end == 0 {
				if end = got.commit; to != 0 {
					end = min(to, end)
				}
			}
			if from > end {
				return
			}
			if entries, err = got.frame.AppendEntries(entries[:0]); err != nil {
				fail(err)
				return
			}
			for _, e := range entries {
				switch {
				case e.ID.Index < from:
					continue
				case e.ID.Index > end, !yield(e, nil):
					return
				}
			}
			from = got.frame.Meta().Last() + 1
		}
	}
}

// logRead is the answer to a wish for the frame that holds an entry. Where the entry is not committed there is no frame.
type logRead struct {
	frame  codec.Frame
	commit codec.Index
	err    error
	again  bool // the log was changed elsewhere while the frame was read, which may have spoiled the read
}

// readFrame returns the frame that holds a committed entry.
func (r *Raft) readFrame(ctx context.Context, index codec.Index) (logRead, error) {
	for {
		reply := make(chan logRead, 1)
		if ctx.Err() != nil {
			return logRead{}, context.Cause(ctx)
		}
		if !r.box.post(func(m *mail) { m.asks = append(m.asks, func(l *loop) { l.readFrame(index, reply) }) }) {
			return logRead{}, r.stopped()
		}
		select {
		case got := <-reply:
			if !got.again {
				return got, got.err
			}
		case <-ctx.Done():
			return logRead{}, context.Cause(ctx)
		case <-r.done:
			return logRead{}, r.stopped()
		}
	}
}

// readFrame runs in the loop.
func (l *loop) readFrame(index codec.Index, reply chan<- logRead) {
	commit, purged := l.out.Commit, l.status.Purged.Index
	switch {
	case l.cfg.Witness:
		reply <- logRead{err: fmt.Errorf("entry %d on a witness: %w", index, ErrHeaderOnly)}
		return
	case index <= purged:
		reply <- logRead{err: &PurgedError{Index: index, First: purged + 1, Last: commit}}
		return
	case index > commit:
		reply <- logRead{commit: commit}
		return
	}
	if f, ok := l.groupLog.Frame(index); ok {
		reply <- logRead{frame: f, commit: commit}
		return
	}
	before := l.streams.Truncations()
	l.groupLog.ReadFrame(index, func(f codec.Frame, err error) {
		if err == nil {
			reply <- logRead{frame: f, commit: commit}
			return
		}
		// Only the loop knows whether the log was changed meanwhile. One that has ended answers nobody.
		l.box.post(func(m *mail) {
			m.asks = append(m.asks, func(l *loop) {
				reply <- logRead{err: err, again: l.streams.Truncations() != before || index <= l.status.Purged.Index}
			})
		})
	})
}
