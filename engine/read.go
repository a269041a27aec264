package engine

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
)

// ReadIndex returns an index such that whoever has applied everything up to it sees all that was committed before the call:
// it is confirmed by a write quorum, which still took the leader for the leader after the call had begun (thesis 6.4). It may
// be called on any member; one that does not lead asks its leader. All calls that wait share one round, so thousands of
// readers cost no more than one. Where the leader is lost the wait goes on with the next one.
//
// Errors, all of which end the wait for ctx or the node: one that wraps the context's and a [QuorumError], or a
// [NotLeaderError] where no leader was known; what wraps [ErrStopped].
func (r *Raft) ReadIndex(ctx context.Context) (codec.Index, error) {
	round, err := r.read(ctx, false, false)
	return round.index, err
}

// EnsureLinearizable returns once this node's state machine has applied everything that was committed before the call: what
// is read from it afterwards is at least as new. It returns the index up to which that is. It may be called on any member but
// a witness, and costs what [Raft.ReadIndex] does.
//
// Errors: those of ReadIndex; one that wraps the context's and a [LagError] where the index is known and not yet applied
// here; what wraps [ErrNoState] on a witness. Nothing was read.
func (r *Raft) EnsureLinearizable(ctx context.Context) (codec.Index, error) {
	if r.cfg.Witness {
		return 0, r.noState()
	}
	round, err := r.read(ctx, false, true)
	return round.index, err
}

// LeaseRead calls read, which reads the state machine, so that what it gets is linearizable, on a leader whose lease runs
// without asking anybody: no other node can have been elected while it does, as far as clocks keep to
// [Config.ClockDriftMax]. The lease is looked at before and again after read, since this process may have been stopped in
// between. Where there is none, or it has run out meanwhile, a quorum is asked as by [Raft.EnsureLinearizable], and read
// is called then: it may be called twice, and what the last call got counts. It needs [Config.LeaseReads].
//
// Errors: what read returns, as it is; those of EnsureLinearizable; what wraps [ErrLeaseReadsOff]. Where the error is not
// read's, what it got must not be used.
func (r *Raft) LeaseRead(ctx context.Context, read func() error) error {
	switch {
	case r.cfg.Witness:
		return r.noState()
	case !r.cfg.LeaseReads:
		return fmt.Errorf("node %d: %w", r.cfg.NodeID, ErrLeaseReadsOff)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	lease := &r.lease
	if lease.runs(r) && r.loop.applier.Applied() >= codec.Index(lease.index.Load()) {
		if err := read(); lease.runs(r) {
			return err
		}
	}
	round, err := r.read(ctx, true, true)
	if err != nil {
		return err
	}
	if err := read(); !round.byLease || lease.runs(r) {
		return err
	}
	if _, err := r.EnsureLinearizable(ctx); err != nil {
		return err
	}
	return read()
}

// ReadStale returns once this node's state machine has applied everything that was committed maxAge before the call, by this
// node's own clock, and the index up to which that is. Where a read of this node, by whichever of these calls, was confirmed
// no longer ago than that, it returns at once and asks nobody; so a node that is read all the time asks once in maxAge. Its
// errors are those of [Raft.EnsureLinearizable], and an [ArgumentError] for an age below 0.
func (r *Raft) ReadStale(ctx context.Context, maxAge time.Duration) (codec.Index, error) {
	switch {
	case maxAge < 0:
		return 0, &ArgumentError{"ReadStale", maxAge, "an age of 0 or more"}
	case r.cfg.Witness:
		return 0, r.noState()
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	}
	if f := r.fresh.Load(); f != nil && time.Duration(r.loop.clock()-f.at) <= maxAge {
		return f.index, nil
	}
	return r.EnsureLinearizable(ctx)
}

// readRound is a question for a read index that all reads share which came before it was asked.
//
// Owner: the loop, from when it takes the round. What the fields say is for others once a channel that they name is closed.
type readRound struct {
	lease bool // the leader's lease will do

	confirmed chan struct{}
	index     codec.Index       // confirmed
	at        consensus.Instant // when it was asked for; confirmed
	byLease   bool              // the answer rests on the leader's lease; confirmed
	failed    error             // the node has ended; confirmed

	applied chan struct{}
	behind  error // the node has ended before it had applied the index; applied
}

// readGate is where reads wait for the loop to take them: one round for those that are content with a lease, and one for the
// others.
type readGate struct{ open [2]atomic.Pointer[readRound] }

// join returns the round that the loop takes next. Whoever got it before the loop takes it shares in it.
func (g *readGate) join(lease bool) (round *readRound, first bool) {
	slot := &g.open[0]
	if lease {
		slot = &g.open[1]
	}
	for {
		if round := slot.Load(); round != nil {
			return round, false
		}
		round := &readRound{lease: lease, confirmed: make(chan struct{}), applied: make(chan struct{})}
		if slot.CompareAndSwap(nil, round) {
			return round, true
		}
	}
}

// read waits until a round is confirmed, or applied.
func (r *Raft) read(ctx context.Context, lease, apply bool) (*readRound, error) {
	if ctx.Err() != nil {
		return &readRound{}, context.Cause(ctx)
	}
	began := time.Now()
	round, first := r.reads.join(lease)
	if first {
		r.box.signal()
	}
	ready := round.confirmed
	if apply {
		ready = round.applied
	}
	select {
	case <-ready:
	case <-ctx.Done():
		return &readRound{}, r.unread(round, time.Since(began), context.Cause(ctx))
	}
	if round.failed != nil {
		return &readRound{}, round.failed
	}
	if apply && round.behind != nil {
		return &readRound{}, round.behind
	}
	return round, nil
}

// unread returns why a read whose context has ended was not answered.
func (r *Raft) unread(round *readRound, waited time.Duration, cause error) error {
	select {
	case <-round.confirmed:
		if round.failed != nil {
			return round.failed
		}
		return &LagError{Node: r.cfg.NodeID, Index: round.index, Applied: r.loop.applier.Applied(), Cause: cause}
	default:
	}
	if leader := r.office.Load().leader.ID; leader != 0 {
		return &QuorumError{Node: r.cfg.NodeID, Leader: leader, Waited: waited, Cause: cause}
	}
	return fmt.Errorf("%w: %w", r.notLeader(), cause)
}

func (r *Raft) noState() error {
	return fmt.Errorf("node %d is a witness: %w", r.cfg.NodeID, ErrNoState)
}

// leaseView is what the loop publishes of this leader's lease.
type leaseView struct {
	until atomic.Int64  // 0 while there is none
	index atomic.Uint64 // committed; at least what was when until was set
}

// runs reports whether the lease runs now.
func (v *leaseView) runs(r *Raft) bool {
	until := v.until.Load()
	return until > 0 && int64(r.loop.clock()) < until
}

// freshness says that everything that was committed at an instant is applied here.
type freshness struct {
	at    consensus.Instant
	index codec.Index
}

// renew notes how fresh the state machine is.
func (r *Raft) renew(f *freshness) {
	for {
		old := r.fresh.Load()
		if old != nil && old.at >= f.at || r.fresh.CompareAndSwap(old, f) {
			return
		}
	}
}
