package engine

import (
	"fmt"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
)

// startApplier starts the applier and the feeding behind what the state machine holds. An on-disk one that
// holds more than this node's log does is the state of another log.
func (l *loop) startApplier(sm StateMachine, from pipeline.ApplierStart) error {
	if l.onDisk {
		if last := l.core.Status().LastLog; from.Held.Index > max(last.Index, from.Base.ID.Index) {
			return &StateMachineError{Call: "Applied", First: from.Held.Index, Last: from.Held.Index,
				Cause: fmt.Errorf("it holds the entries up to %v, and the log ends with %v: one of the two is not this node's", from.Held, last)}
		}
	}
	applier, err := pipeline.NewApplier(sm, from, pipeline.ApplierEvents{
		Room:   func() { l.box.post(func(*mail) {}) },
		Failed: func(err error) { l.box.post(func(m *mail) { m.failure = err }) },
	})
	if err != nil {
		return err
	}
	l.applier, l.fed = applier, from.Base.ID.Index
	return nil
}

// feedEnd returns the last index that may be applied now. What an on-disk state machine makes durable must be durable in
// the log before: a crash must not leave it ahead of a log that other entries may take the place of.
func (l *loop) feedEnd() codec.Index {
	if l.onDisk {
		return min(l.out.Commit, l.status.Flushed.Index)
	}
	return l.out.Commit
}

// feed gives the applier every whole frame that may be applied, as long as what it holds stays inside its bound. A frame
// that has left memory is read first; the loop goes on meanwhile. A witness has nothing to apply, and a node whose
// log begins behind its state waits for a snapshot.
func (l *loop) feed() {
	l.noteCommitted()
	l.stages.committed(l.out.Commit)
	if l.cfg.Witness {
		if l.fed < l.out.Commit {
			l.fed = l.out.Commit
			l.applier.Skip(l.fed)
		}
		return
	}
	for l.failure == nil && !l.feeding && !l.status.WantsSnapshot && l.fed < l.feedEnd() && !l.crowded(0) {
		f, ok := l.groupLog.Frame(l.fed + 1)
		if !ok {
			l.feeding, l.feedSince = true, l.streams.Truncations()
			l.groupLog.ReadFrame(l.fed+1, func(f codec.Frame, err error) {
				l.box.post(func(m *mail) { m.feed = &coldFeed{f, err} })
			})
			return
		}
		if !l.apply(f) {
			return
		}
	}
}

// apply hands a frame to the applier, with those who wait for it. It returns false, and does nothing, when the frame
// may not be applied to its end.
func (l *loop) apply(f codec.Frame) bool {
	meta := f.Meta()
	if meta.Last() > l.feedEnd() {
		return false
	}
	if meta.First != l.fed+1 {
		var err error
		if f, err = codec.CutFrame(f, l.fed+1, meta.Last()); err != nil {
			l.fail(fmt.Errorf("frame at index %d: %w", meta.First, err))
			return false
		}
	}
	var batch *pipeline.Batch
	if len(l.proposed) > 0 {
		p := l.proposed[0]
		switch {
		case p.meta.First > meta.First:
		case p.meta.First == meta.First && p.meta.Leader == meta.Leader && p.meta.Count == meta.Count:
			batch = p.batch
			l.bytes -= p.cost()
			l.proposed[0] = proposal{}
			l.proposed = l.proposed[1:]
		default:
			panic(fmt.Sprintf("BUG: frame %v is committed where %v was proposed", meta.LastID(), p.meta.LastID()))
		}
	}
	l.applier.Push(f, batch)
	l.fed = meta.Last()
	l.keeper.fed(meta)
	return true
}

// fedCold continues with a frame that was read back.
func (l *loop) fedCold(c *coldFeed) {
	l.feeding = false
	if m := c.frame.Meta(); c.err == nil && (m.First > l.fed+1 || m.Last() <= l.fed) {
		return // a snapshot was installed while it was read
	}
	if c.err != nil && l.streams.Truncations() != l.feedSince {
		return // a read that a truncation overtook may fail; it is asked for again
	}
	if c.err != nil {
		l.fail(fmt.Errorf("reading the log to apply index %d: %w", l.fed+1, c.err))
		return
	}
	// A truncation may have shortened the frame while it was read, but never below the commit.
	l.apply(c.frame)
}
