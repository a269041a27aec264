package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"

	"golang.org/x/time/rate"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/wal/snapshot"
)

// taking is how snapshots come about: one at a time, by policy, for callers, and for peers. What is asked for while one is
// written is looked at again when that ends.
//
// Owner: the loop.
type taking struct {
	running *take
	asks    []snapshotAsk
	retry   consensus.Instant // when the policy may try again after a failure
	backoff consensus.Instant // how long it waits after the next one, as a duration
}

// take is a snapshot that is being taken.
type take struct {
	at     codec.Index // everything up to it is in it
	marked int64       // bytes of the log up to it
	full   bool        // it holds the state
}

// snapshotAsk is a caller who waits for a snapshot of everything that was given to the state machine when he asked.
type snapshotAsk struct {
	at    codec.Index
	full  bool // with the state, also where the state machine keeps its own
	reply chan<- takenSnapshot
}

// takenSnapshot is the answer to a caller.
type takenSnapshot struct {
	info snapshot.Info
	err  error
}

// Snapshot makes the node take a snapshot of everything it has applied, as [Config.Snapshot] makes it do by policy, and
// returns the log id of the last entry in it when it is durable. The log is purged behind it as [Config.Keep] says. Applying
// goes on meanwhile. Where nothing was applied since the newest snapshot, that one is returned. It may be called on any node.
//
// Errors: one that wraps [ErrNotSnapshotter], also on a witness; one that wraps [ErrNothingApplied]; a
// [StateMachineError] with what Snapshot, WriteTo or Close returned; one that wraps [ErrBusy] where an on-disk state machine
// holds more than the sessions that are being rebuilt after a start; that of the disk, where the state machine and older
// snapshots are unharmed; the context's, where it had ended before; what wraps [ErrStopped]; after an [UnknownError] it
// may have been taken, or be so later.
func (t Trigger) Snapshot(ctx context.Context) (codec.LogID, error) {
	info, err := t.r.takeSnapshot(ctx, false)
	return info.Base.ID, t.r.noted("snapshot asked for", err, "entry", info.Base.ID)
}

// takeSnapshot returns a snapshot of everything that was applied when it was called.
func (r *Raft) takeSnapshot(ctx context.Context, full bool) (snapshot.Info, error) {
	reply := make(chan takenSnapshot, 1)
	got, err := await(ctx, r, reply, func(l *loop) { l.keeper.ask(full, reply) })
	if err != nil {
		return snapshot.Info{}, err
	}
	return got.info, got.err
}

// ask runs in the loop.
func (k *keeper) ask(full bool, reply chan<- takenSnapshot) {
	switch {
	case k.store == nil && k.l.cfg.Witness:
		reply <- takenSnapshot{err: fmt.Errorf("node %d is a witness and has no state: %w", k.l.cfg.NodeID, ErrNotSnapshotter)}
	case k.store == nil:
		reply <- takenSnapshot{err: fmt.Errorf("the state machine of node %d is %w", k.l.cfg.NodeID, ErrNotSnapshotter)}
	case k.l.fed == 0:
		reply <- takenSnapshot{err: fmt.Errorf("node %d: %w", k.l.cfg.NodeID, ErrNothingApplied)}
	default:
		k.take.asks = append(k.take.asks, snapshotAsk{k.l.fed, full, reply})
	}
}

// takeRound answers who waits for what is there, and begins with the next snapshot if one is wanted.
func (k *keeper) takeRound() {
	t := &k.take
	if k.store == nil || t.running != nil || k.installing || k.l.failure != nil || k.collects() {
		return
	}
	full, wanted := false, false
	if len(t.asks) > 0 {
		t.asks = slices.DeleteFunc(t.asks, func(a snapshotAsk) bool {
			info, ok := k.find(a.at, a.full)
			if ok {
				a.reply <- takenSnapshot{info: info}
			}
			return ok
		})
		for _, a := range t.asks {
			full, wanted = full || a.full, true
		}
	}
	if k.l.now >= t.retry {
		if k.sendWants() {
			full, wanted = true, true
		}
		// What a state that came through the log has brought need not stay in the log.
		replaced := codec.Index(k.collector.completed.Load()) > k.newest.Base.ID.Index
		wanted = wanted || replaced || k.l.cfg.Snapshot.due(k.ahead())
	}
	if !wanted {
		return
	}
	run := &take{at: k.l.fed, marked: k.sizes.total(), full: full || !k.l.onDisk}
	t.running = run
	k.l.emit(SnapshotStarted{AtLeast: run.at})
	k.sizes.mark()
	if run.full {
		k.l.applier.Capture(func(c pipeline.Captured, err error) { k.captured(run, c, err) })
	} else {
		k.l.applier.Sync(func(c pipeline.Captured, err error) { k.captured(run, c, err) })
	}
}

// takeDeadline returns when takeRound must be called at the latest.
func (k *keeper) takeDeadline() consensus.Instant {
	t, p := &k.take, &k.l.cfg.Snapshot
	switch {
	case k.store == nil || t.running != nil || k.installing || k.collects():
		return consensus.Never // what ends these wakes the loop
	case k.l.now < t.retry:
		return t.retry
	case p.Interval > 0 && k.l.fed > k.newest.Base.ID.Index:
		return k.newestAt.Add(p.Interval)
	}
	return consensus.Never
}

// find returns the newest snapshot that holds everything up to an entry, and the state where that is wanted.
func (k *keeper) find(at codec.Index, full bool) (snapshot.Info, bool) {
	if k.store == nil || k.newest.Base.ID.Index < at {
		return snapshot.Info{}, false
	}
	for _, info := range k.store.List() {
		if info.Base.ID.Index >= at && (!full || !info.Stateless) {
			return info, true
		}
	}
	return snapshot.Info{}, false
}

// captured is called on the applier's goroutine, which must not wait for a disk.
func (k *keeper) captured(run *take, c pipeline.Captured, err error) {
	if err == nil {
		var blocked bool
		if blocked, err = k.collector.blocks(c.Base.ID.Leader); blocked && err == nil {
			err = errRestoring
		}
		if err != nil && c.Source != nil {
			err = closeSource(err, c.Source)
		}
	}
	if err != nil {
		k.post(func(k *keeper) { k.took(run, snapshot.Info{}, err) })
		return
	}
	k.jobs.Go(func() {
		info, err := k.write(&c)
		k.post(func(k *keeper) { k.took(run, info, err) })
	})
}

// post brings something to the loop. One that has ended does not need it.
func (k *keeper) post(fn func(*keeper)) {
	k.l.box.post(func(m *mail) { m.asks = append(m.asks, func(l *loop) { fn(l.keeper) }) })
}

// write writes what was captured.
func (k *keeper) write(c *pipeline.Captured) (snapshot.Info, error) {
	w, err := k.store.Create(snapshot.Meta{Base: c.Base, Sessions: c.Sessions, Stateless: c.Source == nil})
	if err != nil {
		if c.Source != nil {
			err = closeSource(err, c.Source)
		}
		return snapshot.Info{}, err
	}
	defer w.Abort()
	if c.Source == nil {
		return w.Commit()
	}
	out := &endingWriter{ctx: k.ending, w: w, limit: k.writeLimit}
	switch err := closeSource(writeState(c.Source, out), c.Source); {
	case out.err != nil:
		return snapshot.Info{}, out.err // which the source may have swallowed
	case err != nil:
		return snapshot.Info{}, &StateMachineError{Call: "WriteTo", First: c.Base.ID.Index, Last: c.Base.ID.Index, Cause: err}
	}
	return w.Commit()
}

// writeState writes a captured state. A panic is a failure of this snapshot: the state itself is not touched by it.
func writeState(source SnapshotSource, w io.Writer) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	_, err = source.WriteTo(w)
	return err
}

// closeSource closes a captured state and returns its error, or panic, where there was none before.
func closeSource(before error, source SnapshotSource) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in Close: %v\n%s", p, debug.Stack())
		}
		err = cmp.Or(before, err)
	}()
	return source.Close()
}

// endingWriter is a writer that ends with a context, takes its time, and remembers its error.
type endingWriter struct {
	ctx   context.Context
	w     io.Writer
	limit *rate.Limiter // nil for none
	err   error
}

func (e *endingWriter) Write(p []byte) (written int, err error) {
	for len(p) > 0 && e.err == nil {
		part := p
		if e.limit != nil {
			part = p[:min(len(p), e.limit.Burst())]
			e.err = e.limit.WaitN(e.ctx, len(part))
		}
		if e.ctx.Err() != nil {
			e.err = context.Cause(e.ctx)
		}
		if e.err == nil {
			var n int
			n, e.err = e.w.Write(part)
			written += n
			p = p[n:]
		}
	}
	return written, e.err
}

// took runs in the loop when a snapshot is durable, or has failed. Who asked for what it does not hold goes on waiting.
func (k *keeper) took(run *take, info snapshot.Info, err error) {
	t := &k.take
	t.running = nil
	if errors.Is(err, errRestoring) {
		return
	}
	if err == nil {
		k.taken++
		t.retry, t.backoff = 0, 0
		k.l.logs.snapshots.Info("snapshot taken", "entry", info.Base.ID, "bytes", info.Size, "stateless", info.Stateless)
		k.l.emit(SnapshotTaken{Snapshot: info.Base.ID, Bytes: info.Size})
		k.held(info, run.marked)
		return
	}
	k.failed++
	t.backoff = min(max(2*t.backoff, consensus.Instant(takeRetryMin)), consensus.Instant(takeRetryMax))
	t.retry = k.l.now + t.backoff
	k.l.logs.snapshots.Warn("snapshot could not be taken", "entry", run.at, "err", err)
	k.l.emit(SnapshotFailed{Cause: err})
	t.asks = slices.DeleteFunc(t.asks, func(a snapshotAsk) bool {
		failed := a.at <= run.at && (run.full || !a.full)
		if failed {
			a.reply <- takenSnapshot{err: fmt.Errorf("node %d: %w", k.l.cfg.NodeID, err)}
		}
		return failed
	})
}

// abandonAsks answers who waits when the loop ends. A snapshot that is being written may still become durable.
func (k *keeper) abandonAsks(cause error) {
	if k.take.running != nil {
		cause = &UnknownError{Cause: cause}
	}
	for _, a := range k.take.asks {
		a.reply <- takenSnapshot{err: cause}
	}
	k.take.asks = nil
}
