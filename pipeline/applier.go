package pipeline

import (
	"fmt"
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

// Applier applies committed frames to the state machine and answers those who proposed them. It keeps the table of client
// sessions, which is part of the state. Its goroutine is the answer goroutine.
type Applier struct {
	sm        StateMachine
	collector Collector
	events    ApplierEvents

	// mu guards what follows. No owner would do: the loop fills the queue while the goroutine works; it is held for a
	// swap of two slices.
	mu     sync.Mutex
	queue  []applyItem
	closed bool

	wake      chan struct{} // capacity 1
	done      chan struct{} // closed when the goroutine has ended
	applied   logIDCell
	bytes     atomic.Int64 // queued and not yet applied
	wantsRoom atomic.Bool

	// Owner: the applier's goroutine.
	state   appliedState
	held    codec.LogID // entries up to it have their effect in the state machine already, and only go into the sessions
	portion portion
	failure error       // what stopped the state machine
	taken   []applyItem // scratch: what was queued
	manual  bool
}

// ApplierStart is where an [Applier] continues. The zero value is the start of the log.
type ApplierStart struct {
	// Base is the last entry whose effect is in the state machine, with the newest membership up to it.
	Base codec.LogBase
	// Sessions is [Captured].Sessions as of Base; nil: no sessions.
	Sessions []byte
	// Held is what an [OnDisk] state machine has made durable, as its Applied says. Entries behind Base and up to Held are
	// pushed as well: they rebuild the sessions and are not given to the state machine.
	Held codec.LogID
	// Collector takes the entries of kind restore. Without it such an entry stops the node.
	Collector Collector
	// Manual starts no goroutine: nothing is applied until the caller calls [Applier.Pump]. It is for simulations.
	Manual bool
}

// applyItem is a committed frame, a batch that comes to nothing, something that waits for its turn, or an index up to
// which there is nothing to apply.
type applyItem struct {
	frame codec.Frame
	batch *Batch      // who waits; nil where nobody does
	lost  codec.LogID // of the batch's first entry, where its fate is unknown
	cause error       // without a frame: what the batch's callers are told
	skip  codec.Index // nothing up to it is to be applied
	// turn is called when its turn comes, with what stopped the state machine before, if anything. What it returns stops
	// it too.
	turn func(failure error) error
}

// end does what an item without a frame asks for. failure is what stopped the state machine, nil while it works.
func (i *applyItem) end(a *Applier, failure error) error {
	switch {
	case i.turn != nil:
		return i.turn(failure)
	case i.skip > 0:
		a.applied.store(codec.LogID{Index: i.skip})
	case i.batch == nil: // it was ended before
	case i.lost.IsZero():
		i.batch.Fail(i.cause)
	default:
		i.batch.Lose(i.lost, i.cause)
	}
	return nil
}

// NewApplier starts an applier that continues at the given place. A witness has no state machine: there sm is nil, and
// nothing may be pushed, only skipped. Errors: what [SessionsGiven] returns; a [StateMachineError] where
// the state machine holds less than the sessions were captured with.
func NewApplier(sm StateMachine, from ApplierStart, events ApplierEvents) (*Applier, error) {
	state, err := readState(from.Base, from.Sessions)
	if err != nil {
		return nil, err
	}
	if _, ok := sm.(OnDisk); ok && from.Held.Compare(state.given) < 0 {
		return nil, &StateMachineError{Call: "Applied", First: from.Held.Index, Last: state.given.Index,
			Cause: fmt.Errorf("it holds the entries up to %v, and those up to %v had been made durable", from.Held, state.given)}
	}
	a := &Applier{
		sm: sm, collector: from.Collector, events: events, wake: make(chan struct{}, 1), done: make(chan struct{}),
		state: state, held: from.Held, manual: from.Manual,
	}
	a.applied.store(from.Base.ID)
	if !a.manual {
		go a.run()
	}
	return a, nil
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
func (a *Applier) Await(fn func(error)) {
	a.put(applyItem{turn: func(failure error) error {
		fn(failure)
		return nil
	}})
}

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

// Applied returns the index up to which everything is applied.
func (a *Applier) Applied() codec.Index { return codec.Index(a.applied.index.Load()) }

// AppliedID returns the log id of the last entry that is applied. On a witness it has no leader.
func (a *Applier) AppliedID() codec.LogID { return a.applied.load() }

// QueuedBytes returns the size of the frames that were pushed and not yet applied.
func (a *Applier) QueuedBytes() int { return int(a.bytes.Load()) }

// AwaitRoom asks for one call of Room after the next entries were applied, or what waited for its turn has had it. The
// caller looks at QueuedBytes again afterwards, since that may have happened in between.
func (a *Applier) AwaitRoom() { a.wantsRoom.Store(true) }

// Close applies what was pushed, then ends the goroutine, and returns what has stopped the state machine, if anything has.
// After a failure what was pushed is not applied: its callers are told that their entries' fate is unknown.
func (a *Applier) Close() error {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	if a.manual {
		a.turn()
		return a.failure
	}
	a.signal()
	<-a.done
	return a.failure
}

func (a *Applier) run() {
	defer close(a.done)
	for {
		worked, closed := a.turn()
		switch {
		case worked:
		case closed:
			return
		default:
			<-a.wake
		}
	}
}

// Pump does what the goroutine of an applier that is not [ApplierStart.Manual] would do now. It tells whether there was
// anything.
func (a *Applier) Pump() bool {
	if !a.manual {
		panic("BUG: Pump of an applier that runs by itself")
	}
	worked, _ := a.turn()
	return worked
}

// turn takes everything that is queued and does it.
func (a *Applier) turn() (worked, closed bool) {
	a.mu.Lock()
	a.taken, a.queue = a.queue, a.taken[:0]
	closed = a.closed
	a.mu.Unlock()
	items := a.taken
	if len(items) == 0 {
		return false, closed
	}
	if a.failure == nil {
		if a.failure = a.work(items); a.failure != nil {
			a.events.Failed(a.failure)
		}
	}
	if a.failure != nil {
		a.failItems(items, a.failure)
	}
	clear(items)
	return true, closed
}

// failItems ends what a failed state machine leaves behind. Frames that were answered have no batch any more.
func (a *Applier) failItems(items []applyItem, failure error) {
	for i := range items {
		switch item := &items[i]; {
		case item.frame.IsZero():
			_ = item.end(a, failure) // it is told of the failure, and has no other
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
			item := items[0]
			items[0] = applyItem{}
			if err := item.end(a, nil); err != nil {
				return err
			}
			a.tellRoom()
			items = items[1:]
			continue
		}
		n, err := a.applyPortion(items)
		if err != nil {
			return err
		}
		bytes := 0
		for i := range items[:n] {
			bytes += len(items[i].frame.Bytes())
			if b := items[i].batch; b != nil {
				b.pass(StageApply)
			}
		}
		a.applied.store(a.state.base.ID)
		a.bytes.Add(-int64(bytes))
		a.portion.answer(items[:n])
		a.tellRoom()
		items = items[n:]
	}
	return nil
}

// tellRoom tells whoever asked that something was applied.
func (a *Applier) tellRoom() {
	if a.wantsRoom.Load() && a.wantsRoom.Swap(false) {
		a.events.Room()
	}
}
