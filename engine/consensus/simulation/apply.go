package simulation

import (
	"github.com/millrace/millrace/codec"
)

// machine is the state machine of one life: a hash of what was applied, in order.
type machine struct {
	index   codec.Index
	hash    uint64
	partial bool // a witness's: some entries never came
}

// feed applies every whole frame that is committed, reading those that left memory.
func (n *node) feed() {
	for n.alive() && !n.feeding && n.fed < n.out.Commit {
		f, ok := n.tap.Frame(n.fed + 1)
		if !ok {
			n.feeding, n.feedSince = true, n.truncated
			n.tap.ReadFrame(n.fed+1, func(f codec.Frame, err error) {
				n.box.feed = &coldFeed{f, err}
				n.wake()
			})
			return
		}
		if !n.apply(f) {
			return
		}
	}
}

// fedCold continues with a frame that was read back. A read that a truncation overtook may fail; it is asked for again.
func (n *node) fedCold(c *coldFeed) {
	n.feeding = false
	switch {
	case c.err != nil && n.truncated != n.feedSince:
	case c.err != nil && n.poisoned:
	case c.err != nil:
		n.unreadable(c.err)
	default:
		n.apply(c.frame)
	}
}

// apply applies a frame and answers its client. It returns false, and does nothing, when the frame is not committed to
// its end.
func (n *node) apply(f codec.Frame) bool {
	meta := f.Meta()
	if meta.Last() > n.out.Commit {
		return false
	}
	if meta.First != n.fed+1 {
		var err error
		if f, err = codec.CutFrame(f, n.fed+1, meta.Last()); err != nil {
			n.s.violate("node %d: frame at index %d: %v", n.id, meta.First, err)
			return false
		}
		meta = f.Meta()
	}
	if !n.applyFrame(f, meta) {
		return false
	}
	n.fed = meta.Last()
	if len(n.proposed) == 0 || n.proposed[0].meta.First > meta.Last() {
		return n.alive()
	}
	p := n.proposed[0]
	if p.meta.First != meta.First || p.meta.Leader != meta.Leader || p.meta.Count != meta.Count {
		n.s.violate("node %d: frame %v is committed where %v was proposed", n.id, meta.LastID(), p.meta.LastID())
		return false
	}
	n.proposed = n.proposed[1:]
	n.bytes -= p.meta.Size
	n.s.check.answered(n, meta.LastID())
	n.s.workload.succeeded(p.request, meta.First)
	return n.alive()
}

// applyFrame applies the entries of a frame. A witness passes over those whose bytes it was not given.
func (n *node) applyFrame(f codec.Frame, meta codec.FrameMeta) bool {
	if meta.HeaderOnly {
		for i := range codec.Index(meta.Count) {
			id := codec.LogID{Leader: meta.Leader, Index: meta.First + i}
			n.s.check.passes(n, id)
			n.applied.index, n.applied.partial = id.Index, true
		}
		return true
	}
	entries, err := f.AppendEntries(nil)
	if err != nil {
		n.s.violate("node %d: frame at index %d: %v", n.id, meta.First, err)
		return false
	}
	for i := range entries {
		n.applyEntry(&entries[i])
	}
	return true
}

func (n *node) applyEntry(e *codec.Entry) {
	n.s.check.applies(n, e)
	n.applied.index = e.ID.Index
	if e.Kind == codec.EntryNormal {
		n.applied.hash = mix(n.applied.hash, hashBytes(e.Data))
		n.s.workload.applied(n, e)
	}
	if !n.applied.partial {
		n.s.check.state(n)
	}
}
