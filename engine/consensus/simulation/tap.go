package simulation

import (
	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
	"github.com/millrace/millrace/wal"
)

// tap is the log that the stages see. It notes what passes.
type tap struct {
	n   *node
	log *wal.Group
}

// Submit implements [pipeline.GroupLog].
func (t *tap) Submit(w *codec.LogWrite) {
	k, g := &t.n.s.check, &t.n.ghost
	var entries []ghostEntry
	before := uint64(0)
	if !w.Frame.IsZero() {
		before = g.mem.chainAt(w.Frame.Meta().First - 1)
		var err error
		if entries, err = k.entriesOf(before, w.Frame); err != nil {
			t.n.s.violate("node %d writes a frame that can't be read: %v", t.n.id, err)
			return
		}
	}
	k.purges(t.n, w.Purge)
	g.submit(w, k.standsFor(t.n, w.Jump), entries)
	k.wrote(t.n, w.Frame, before, entries)
	t.n.s.note(11, uint64(t.n.id), w.Seq, t.n.ghost.mem.chainAt(t.n.ghost.mem.last().Index))
	if w.HasTruncate {
		t.n.s.cuts++
	}
	if w.HasTruncate && !t.n.disk.busy && t.n.disk.until <= t.n.s.now && t.n.rng.IntN(4) > 0 {
		t.n.log.Pump() // what is to be reclaimed is read just before
	}
	t.log.Submit(w)
	t.n.pump()
}

// Frame implements [pipeline.GroupLog].
func (t *tap) Frame(i codec.Index) (codec.Frame, bool) { return t.log.Frame(i) }

// ReadFrame implements [pipeline.GroupLog].
func (t *tap) ReadFrame(i codec.Index, done func(codec.Frame, error)) {
	life := t.n.life
	t.log.ReadFrame(i, func(f codec.Frame, err error) {
		if life == t.n.life && !t.n.dying && !t.n.stopping {
			done(f, err)
		}
	})
	t.n.pump()
}

// clock is a node's own clock, which runs fast or slow and starts anew with each life.
type clock struct {
	rate  int64 // thousandths of the true rate
	since int64 // virtual time at local time 0
}

func (c *clock) reset(now int64) { c.since = now }

func (c *clock) local(now int64) consensus.Instant {
	return consensus.Instant((now - c.since) * c.rate / 1000)
}

// virtual returns the first moment at which the clock shows at least local.
func (c *clock) virtual(local consensus.Instant) int64 {
	return c.since + (int64(local)*1000+c.rate-1)/c.rate
}
