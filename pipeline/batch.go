package pipeline

import (
	"slices"
	"sync"
	"time"

	"github.com/millrace/millrace/codec"
)

// waiter is a call with the number of its entries in one batch.
type waiter struct {
	call    *call
	entries int
}

// Batch is a run of proposals that becomes one frame: the encoded entries and who waits for them.
//
// Owner: the [Intake] while open, then the loop that took it, then the [Applier]. Every batch ends in exactly one call
// of [Batch.Answer], [Batch.Lose] or [Batch.Fail], after which it must not be touched: it is used again.
type Batch struct {
	buf     []byte // room for the frame header, then the entries; nil once sealed
	entries int
	waiters []waiter
	terms   terms    // of every entry
	notices []notice // seldom any
	traces  Traces   // seldom any
}

// notice is a function that wants to know when an entry is committed.
type notice struct {
	entry int // in the batch
	fn    func(codec.LogID)
}

// Notices are the functions that want to know when entries of a batch are committed.
type Notices struct{ list []notice }

// Committed tells them that the batch is, whose first entry stands at the given log id.
func (n Notices) Committed(first codec.LogID) {
	for _, x := range n.list {
		x.fn(codec.LogID{Leader: first.Leader, Index: first.Index + codec.Index(x.entry)})
	}
}

var batches = sync.Pool{New: func() any { return new(Batch) }}

// newBatch returns an open batch of the given terms with a buffer of the given capacity, which becomes the frame's own.
func newBatch(t terms, capacity int) *Batch {
	b := batches.Get().(*Batch)
	b.terms = t
	b.buf = make([]byte, codec.FrameHeaderSize, max(capacity, codec.FrameHeaderSize))
	return b
}

// Entries returns the number of entries.
func (b *Batch) Entries() int { return b.entries }

// Bytes returns the size in bytes that the uncompressed frame will have. It is not known any more once sealed.
func (b *Batch) Bytes() int { return len(b.buf) }

// Kind returns the kind of every entry.
func (b *Batch) Kind() codec.EntryKind { return b.terms.kind }

// IfLeader returns the leadership under which alone the batch may be appended; zero for any. Under another it must be
// failed: its callers are then told that nothing happened.
func (b *Batch) IfLeader() codec.LeaderID { return b.terms.ifLeader }

// TakeNotices returns who wants to know when the batch is committed, and reports whether there is anybody. They are the
// caller's, and outlive the batch.
func (b *Batch) TakeNotices() (Notices, bool) {
	n := Notices{b.notices}
	b.notices = nil
	return n, len(n.list) > 0
}

// Traces returns those of the calls that are followed and whose last entry is in the batch.
func (b *Batch) Traces() Traces { return b.traces }

// pass ends a stage of the batch.
func (b *Batch) pass(s Stage) {
	if len(b.traces) > 0 {
		b.traces.Pass(s, time.Now())
	}
}

// Seal makes the batch's frame under the given leadership and first index. Errors: [codec.ErrTooLarge], which an
// Intake's limits rule out.
func (b *Batch) Seal(group codec.GroupID, leader codec.LeaderID, first codec.Index, c codec.Compression) (codec.Frame, error) {
	buf := b.buf
	b.buf = nil
	if cap(buf) > 2*len(buf) {
		buf = slices.Clone(buf) // a small batch after a large one: what is kept is what is counted
	}
	return codec.SealFrame(buf, codec.FrameMeta{
		Group: group, Leader: leader, First: first, Count: uint32(b.entries), Kind: b.terms.kind,
	}, c)
}

func (b *Batch) add(data []byte) {
	b.buf = codec.AppendEntry(b.buf, data)
	b.entries++
}

func (b *Batch) await(c *call, entries int) { b.waiters = append(b.waiters, waiter{c, entries}) }

// Answer gives every caller its results, one per entry in order, and ends the batch.
func (b *Batch) Answer(results []Result) {
	if len(results) != b.entries {
		panic("BUG: a batch needs one result per entry")
	}
	for _, w := range b.waiters {
		w.call.answer(results[:w.entries])
		results = results[w.entries:]
	}
	b.free()
}

// answerEach gives every caller what became of its entries, one outcome per entry in order, and ends the batch.
func (b *Batch) answerEach(outcomes []outcome) {
	if len(outcomes) != b.entries {
		panic("BUG: a batch needs one outcome per entry")
	}
	for _, w := range b.waiters {
		for range w.entries {
			if o := &outcomes[0]; o.err != nil {
				w.call.fail(1, o.err)
			} else {
				w.call.answer([]Result{o.result})
			}
			outcomes = outcomes[1:]
		}
	}
	b.free()
}

// Lose tells every caller that its entries, of which the batch's first stood at the given log id, have a fate that is
// not known, each with its own log id, and ends the batch.
func (b *Batch) Lose(first codec.LogID, cause error) {
	for _, w := range b.waiters {
		w.call.fail(w.entries, &UnknownError{LogID: first, Cause: cause})
		first.Index += codec.Index(w.entries)
	}
	b.free()
}

// Fail gives every caller the error and ends the batch.
func (b *Batch) Fail(err error) {
	for _, w := range b.waiters {
		w.call.fail(w.entries, err)
	}
	b.free()
}

func (b *Batch) free() {
	clear(b.waiters)
	b.buf, b.entries, b.waiters, b.notices, b.traces = nil, 0, b.waiters[:0], nil, nil
	batches.Put(b)
}
