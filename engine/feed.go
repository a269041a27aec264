package engine

import (
	"fmt"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
)

// feed gives the applier every whole frame that is committed, as long as what it holds stays inside its bound. A frame
// that has left memory is read first; the loop goes on meanwhile. A witness has nothing to apply.
func (l *loop) feed() {
	if l.cfg.Witness {
		if l.fed < l.out.Commit {
			l.fed = l.out.Commit
			l.applier.Skip(l.fed)
		}
		return
	}
	for l.failure == nil && !l.feeding && l.fed < l.out.Commit && !l.crowded(0) {
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
// is not committed to its end.
func (l *loop) apply(f codec.Frame) bool {
	meta := f.Meta()
	if meta.Last() > l.out.Commit {
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
	return true
}

// fedCold continues with a frame that was read back.
func (l *loop) fedCold(c *coldFeed) {
	l.feeding = false
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
