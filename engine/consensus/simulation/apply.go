package simulation

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
)

// machine is the state machine of one life: a hash of what was applied, in order.
type machine struct {
	n     *node
	index codec.Index // of the last entry that changed it
	hash  uint64
}

// Apply implements [pipeline.StateMachine]. The answer to an entry is its index.
func (m *machine) Apply(entries []pipeline.Entry, results []pipeline.Result) error {
	for i := range entries {
		e := &entries[i]
		before := m.index
		m.index, m.hash = e.ID.Index, mix(m.hash, hashBytes(e.Data))
		m.n.s.check.effect(m.n, before, m)
		m.n.s.workload.applied(m.n, e)
		results[i].Data = binary.LittleEndian.AppendUint64(nil, uint64(e.ID.Index))
	}
	return nil
}

// Snapshot implements [pipeline.Snapshotter].
func (m *machine) Snapshot() (pipeline.SnapshotSource, error) { return &source{m.index, m.hash}, nil }

// Restore implements [pipeline.Snapshotter].
func (m *machine) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if len(b) < 16 {
		return fmt.Errorf("%w: a state of %d bytes", ErrViolation, len(b))
	}
	m.index, m.hash = codec.Index(binary.LittleEndian.Uint64(b)), binary.LittleEndian.Uint64(b[8:])
	return nil
}

// source is a captured state.
type source struct {
	index codec.Index
	hash  uint64
}

// WriteTo implements [pipeline.SnapshotSource]. States are of many sizes.
func (s *source) WriteTo(w io.Writer) (int64, error) {
	b := binary.LittleEndian.AppendUint64(nil, uint64(s.index))
	b = binary.LittleEndian.AppendUint64(b, s.hash)
	for i := range s.hash % 512 {
		b = binary.LittleEndian.AppendUint64(b, mix(s.hash, i))
	}
	n, err := w.Write(b)
	return int64(n), err
}

// Close implements [pipeline.SnapshotSource].
func (s *source) Close() error { return nil }

// appliedTo returns up to where everything is applied.
func (n *node) appliedTo() codec.Index {
	if n.partial {
		return n.fed
	}
	return n.applier.Applied()
}

// feed gives the applier every whole frame that is committed, reading those that left memory.
func (n *node) feed() {
	for n.alive() && !n.feeding && n.fed < n.out.Commit && !n.status.WantsSnapshot {
		f, ok := n.tap.Frame(n.fed + 1)
		if !ok {
			n.feeding, n.feedSince = true, n.streams.Truncations()
			n.tap.ReadFrame(n.fed+1, func(f codec.Frame, err error) {
				n.box.feed = &coldFeed{f, err}
				n.wake()
			})
			break
		}
		if !n.apply(f) {
			break
		}
	}
	n.applyLater()
}

// fedCold continues with a frame that was read back. A read that a truncation or a purge overtook may fail; it is asked for
// again. One that a snapshot overtook brings what is not to be applied any more.
func (n *node) fedCold(c *coldFeed) {
	n.feeding = false
	switch m := c.frame.Meta(); {
	case c.err == nil && (m.First > n.fed+1 || m.Last() <= n.fed):
	case c.err != nil && n.streams.Truncations() != n.feedSince:
	case c.err != nil && n.poisoned:
	case c.err != nil:
		n.unreadable(c.err)
	default:
		n.apply(c.frame)
	}
}

// apply hands a frame to the applier, with those who wait for it. It returns false, and does nothing, when the frame is not
// committed to its end.
func (n *node) apply(f codec.Frame) bool {
	meta := f.Meta()
	if meta.Last() > n.out.Commit || meta.Last() <= n.fed {
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
	n.s.check.feeds(n, f)
	var batch *pipeline.Batch
	if len(n.proposed) > 0 && n.proposed[0].meta.First <= meta.Last() {
		p := n.proposed[0]
		if p.meta.First != meta.First || p.meta.Leader != meta.Leader || p.meta.Count != meta.Count {
			n.s.violate("node %d: frame %v is committed where %v was proposed", n.id, meta.LastID(), p.meta.LastID())
			return false
		}
		n.proposed = n.proposed[1:]
		n.bytes -= p.meta.Size
		batch = p.batch
	}
	n.fed = meta.Last()
	if meta.HeaderOnly || n.partial {
		n.partial = true // a witness's: some entries never came
		return n.alive()
	}
	n.applier.Push(f, batch)
	return n.alive()
}

// applyLater lets the applier work: at once, or, where the seed says so, a while later.
func (n *node) applyLater() {
	if n.s.shape.applyLag == 0 || n.s.healing {
		n.applyNow()
		return
	}
	if n.applying {
		return
	}
	n.applying = true
	life := n.life
	n.s.after(exponential(n.rng, n.s.shape.applyLag), func() {
		if n.life != life || !n.up {
			return
		}
		n.applying = false
		if n.paused <= n.s.now {
			n.applyNow()
		}
		n.wake()
	})
}

// applyNow lets the applier do what waits for it.
func (n *node) applyNow() {
	for n.alive() && n.applier.Pump() {
		n.s.check.applied(n)
	}
}

// applierFailed is what stops a node whose applier can't go on: its disk may be to blame.
func (n *node) applierFailed(err error) {
	if errors.Is(err, syscall.EIO) || errors.Is(err, codec.ErrCorrupt) && n.ailing {
		n.s.tracef("node %d stops: %v", n.id, err)
		n.unreadableState()
		return
	}
	n.s.violate("node %d: %v", n.id, err)
}
