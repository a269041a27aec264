package pipeline

import (
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/millrace/millrace/codec"
)

// ApplierEvents is what an [Applier] reports, from its own goroutine. Neither function may block.
type ApplierEvents struct {
	// Room is called when entries were applied after [Applier.AwaitRoom] had asked for it.
	Room func()
	// Failed is called once, with a [StateMachineError] or a damaged frame's error. Nothing is applied afterwards.
	Failed func(error)
}

// Bounds of what is given to one Apply, so that the first callers of a long run are answered while the rest is still
// being applied, and so that frames that were stored compressed are not unpacked all at once. One frame is always given.
const (
	applyEntriesMax = 4096
	applyBytesMax   = 4 << 20
)

// Applier applies committed frames to the state machine and answers those who proposed them. Its goroutine is the
// answer goroutine.
type Applier struct {
	sm     StateMachine
	events ApplierEvents

	// mu guards what follows. No owner would do: the loop fills the queue while the goroutine works; it is held for a
	// swap of two slices.
	mu     sync.Mutex
	queue  []applyItem
	closed bool

	wake      chan struct{} // capacity 1
	done      chan struct{} // closed when the goroutine has ended
	applied   atomic.Uint64 // index
	bytes     atomic.Int64  // queued and not yet applied
	wantsRoom atomic.Bool

	// Owner: the applier's goroutine.
	entries []Entry
	results []Result
}

// applyItem is a committed frame, a batch that comes to nothing, a function that waits for its turn, or an index up to
// which there is nothing to apply.
type applyItem struct {
	frame codec.Frame
	batch *Batch      // who waits; nil where nobody does
	lost  codec.LogID // of the batch's first entry, where its fate is unknown
	cause error       // without a frame: what the batch's callers are told
	reach func(error) // called when its turn comes
	skip  codec.Index // nothing up to it is to be applied
}

// end does what an item without a frame asks for. failure is what stopped the state machine, nil while it works.
func (i *applyItem) end(a *Applier, failure error) {
	switch {
	case i.reach != nil:
		i.reach(failure)
	case i.skip > 0:
		a.applied.Store(uint64(i.skip))
	case i.batch == nil: // it was ended before
	case i.lost.IsZero():
		i.batch.Fail(i.cause)
	default:
		i.batch.Lose(i.lost, i.cause)
	}
}

// NewApplier starts an applier that continues after the given index. A witness has no state machine: there sm is nil, and
// nothing may be pushed, only skipped.
func NewApplier(sm StateMachine, applied codec.Index, events ApplierEvents) *Applier {
	a := &Applier{sm: sm, events: events, wake: make(chan struct{}, 1), done: make(chan struct{})}
	a.applied.Store(uint64(applied))
	go a.run()
	return a
}

// Push queues the next committed frame, with the batch of those who wait for it, if any.
func (a *Applier) Push(f codec.Frame, b *Batch) {
	a.bytes.Add(int64(len(f.Bytes())))
	a.put(applyItem{frame: f, batch: b})
}

// Refuse tells a batch's callers, behind everything pushed before, that nothing was proposed. A call may have entries in
// several batches; one goroutine answers them all.
func (a *Applier) Refuse(b *Batch, cause error) { a.put(applyItem{batch: b, cause: cause}) }

// Lose tells a batch's callers, behind everything pushed before, that nobody knows what will become of their entries, of
// which the first stood at the given log id.
func (a *Applier) Lose(b *Batch, first codec.LogID, cause error) {
	a.put(applyItem{batch: b, lost: first, cause: cause})
}

// Await calls fn, on the applier's goroutine, once everything pushed before is applied, or with what stopped the state
// machine before. fn must not block.
func (a *Applier) Await(fn func(error)) { a.put(applyItem{reach: fn}) }

// Skip says that nothing up to index is to be applied, as on a witness.
func (a *Applier) Skip(index codec.Index) { a.put(applyItem{skip: index}) }

func (a *Applier) put(item applyItem) {
	a.mu.Lock()
	a.queue = append(a.queue, item)
	first := len(a.queue) == 1
	a.mu.Unlock()
	if first {
		a.signal()
	}
}

func (a *Applier) signal() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Applied returns the index up to which everything is applied and answered.
func (a *Applier) Applied() codec.Index { return codec.Index(a.applied.Load()) }

// QueuedBytes returns the size of the frames that were pushed and not yet applied.
func (a *Applier) QueuedBytes() int { return int(a.bytes.Load()) }

// AwaitRoom asks for one call of Room after the next entries were applied. The caller looks at QueuedBytes again
// afterwards, since they may have been applied in between.
func (a *Applier) AwaitRoom() { a.wantsRoom.Store(true) }

// Close applies what was pushed, then ends the goroutine. After a failure what was pushed is not applied: its callers
// are told that their entries' fate is unknown.
func (a *Applier) Close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.signal()
	<-a.done
}

func (a *Applier) run() {
	defer close(a.done)
	var items []applyItem
	var failure error
	for {
		a.mu.Lock()
		items, a.queue = a.queue, items[:0]
		closed := a.closed
		a.mu.Unlock()
		if len(items) == 0 {
			if closed {
				return
			}
			<-a.wake
			continue
		}
		if failure == nil {
			if failure = a.work(items); failure != nil {
				a.events.Failed(failure)
			}
		}
		if failure != nil {
			a.failItems(items, failure)
		}
		clear(items)
	}
}

// failItems ends what a failed state machine leaves behind. Frames that were answered have no batch any more.
func (a *Applier) failItems(items []applyItem, failure error) {
	for i := range items {
		switch item := &items[i]; {
		case item.frame.IsZero():
			item.end(a, failure)
		case item.batch != nil:
			item.batch.Lose(firstID(item.frame), failure)
		}
	}
}

func firstID(f codec.Frame) codec.LogID {
	m := f.Meta()
	return codec.LogID{Leader: m.Leader, Index: m.First}
}

// work applies the items in portions. On error what belongs to the failed portion and to those behind it is left to
// the caller; items that were ended are empty.
func (a *Applier) work(items []applyItem) error {
	for len(items) > 0 {
		if items[0].frame.IsZero() {
			items[0].end(a, nil)
			items[0] = applyItem{}
			items = items[1:]
			continue
		}
		n, err := a.decode(items)
		if err != nil {
			return err
		}
		if err := a.apply(); err != nil {
			return err
		}
		bytes := 0
		for i := range items[:n] {
			bytes += len(items[i].frame.Bytes())
		}
		a.applied.Store(uint64(items[n-1].frame.Meta().Last()))
		a.bytes.Add(-int64(bytes))
		a.answer(items[:n])
		if a.wantsRoom.Load() && a.wantsRoom.Swap(false) {
			a.events.Room()
		}
		items = items[n:]
	}
	return nil
}

// decode puts the entries of the next portion into a.entries and returns of how many frames it is.
func (a *Applier) decode(items []applyItem) (int, error) {
	clear(a.entries)
	a.entries = a.entries[:0]
	n, bytes := 0, 0
	for ; n < len(items) && !items[n].frame.IsZero(); n++ {
		f := items[n].frame
		if n > 0 && (len(a.entries) >= applyEntriesMax || bytes+f.BodySize() > applyBytesMax) {
			break
		}
		bytes += f.BodySize()
		if f.Meta().Kind != codec.EntryNormal {
			continue
		}
		var err error
		if a.entries, err = f.AppendEntries(a.entries); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// apply gives a.entries to the state machine.
func (a *Applier) apply() (err error) {
	if len(a.entries) == 0 {
		return nil
	}
	a.results = a.results[:0]
	for i := range a.entries {
		a.results = append(a.results, Result{LogID: a.entries[i].ID})
	}
	first, last := a.entries[0].ID.Index, a.entries[len(a.entries)-1].ID.Index
	defer func() {
		if p := recover(); p != nil {
			err = &StateMachineError{first, last, fmt.Errorf("panic: %v\n%s", p, debug.Stack())}
		}
	}()
	if err := a.sm.Apply(a.entries, a.results); err != nil {
		return &StateMachineError{first, last, err}
	}
	return nil
}

func (a *Applier) answer(items []applyItem) {
	results := a.results
	for i := range items {
		if items[i].frame.Meta().Kind != codec.EntryNormal {
			continue
		}
		count := int(items[i].frame.Meta().Count)
		if b := items[i].batch; b != nil {
			items[i].batch = nil
			b.Answer(results[:count])
		}
		results = results[count:]
	}
	clear(a.results)
}
