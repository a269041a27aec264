package engine

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
	"github.com/millrace/millrace/pipeline"
)

// restorePartBytes is how much of a state goes into one entry: a frame's worth, so that other proposals wait for little.
const restorePartBytes = 512 << 10

// Restore replaces the state machine's state on every node by the one that is read from state, in the form that the state
// machine itself writes: what [OpenExport] gives, or a [SnapshotSource] has written. It must be called on the leader. The
// state goes through the log, so it is committed and durable like anything that is proposed, and takes effect on every node
// at the same entry, whose log id is returned once that is applied here. Reads, writes and sessions go on meanwhile; a write
// that stands before that entry has its effect on the state that was there, and so no effect that stays. The membership and
// the sessions are not part of it.
//
// No snapshot is taken while a state comes. One that the leader does not bring to its end has no effect. Only one comes at a
// time: a second call ends the first.
//
// Errors, after which nothing has changed: [NotLeaderError]; one that wraps [ErrNotSnapshotter], or [ErrNotAdopter] for
// an on-disk state machine; the context's; what wraps [ErrStopped]; and for what ended it before its end was proposed one
// that wraps [ErrRestoreGivenUp] and why, as that of state, the context's, or a [LeadershipError]. After an
// [UnknownError] the state may have been replaced. A state that the state machine can't read stops every node, as an
// entry does that it can't apply: it is for states that are known to be good. A node that has no room on its disk to collect
// the state stops where it is complete, and can be opened again when there is.
func (r *Raft) Restore(ctx context.Context, state io.Reader) (codec.LogID, error) {
	id, err := r.restore(ctx, state)
	return id, r.noted("state restored", err, "entry", id)
}

func (r *Raft) restore(ctx context.Context, state io.Reader) (codec.LogID, error) {
	token, leader, err := r.beginRestore(ctx)
	if err != nil {
		return codec.LogID{}, err
	}
	// What is not complete is given up by the loop as soon as nobody answers for it any more.
	defer r.box.post(func(m *mail) { m.asks = append(m.asks, func(l *loop) { delete(l.keeper.restoring, token) }) })
	propose := func(e *restoreEntry) (codec.LogID, error) {
		e.token = token
		result, err := r.submit(ctx, &Proposal{Data: e.append(nil), IfLeader: leader}, codec.EntryRestore)
		return result.LogID, err
	}
	if _, err := propose(&restoreEntry{step: restoreBegin}); err != nil {
		return codec.LogID{}, unfinished(0, err)
	}
	hash, end := sha256.New(), restoreEntry{step: restoreEnd}
	buf := make([]byte, min(restorePartBytes, r.cfg.ProposalBytesMax-restorePartOverhead))
	for {
		n, reading := fill(state, buf)
		if n > 0 {
			hash.Write(buf[:n])
			if _, err := propose(&restoreEntry{step: restorePart, part: end.part, bytes: buf[:n]}); err != nil {
				return codec.LogID{}, unfinished(end.size, err)
			}
			end.part++
			end.size += uint64(n)
		}
		if reading == io.EOF {
			break
		}
		if reading != nil {
			return codec.LogID{}, unfinished(end.size, fmt.Errorf("reading it: %w", reading))
		}
	}
	hash.Sum(end.hash[:0])
	return propose(&end)
}

// fill reads until b is full or the source returns an error, which it passes on as it is: unlike io.ReadFull it leaves a
// source that was cut off, which says so by io.ErrUnexpectedEOF, different from one that has ended.
func fill(from io.Reader, b []byte) (n int, err error) {
	for empty := 0; n < len(b) && err == nil; {
		var read int
		read, err = from.Read(b[n:])
		n += read
		if empty++; read > 0 {
			empty = 0
		}
		if empty == emptyReadsMax && err == nil {
			err = io.ErrNoProgress
		}
	}
	return n, err
}

// emptyReadsMax is after how many reads without a byte or an error a source is given up, as package bufio does.
const emptyReadsMax = 100

// unfinished says that a state was not replaced: its end was not proposed. What became of its parts does not matter.
func unfinished(at uint64, err error) error {
	var unknown *UnknownError
	if errors.As(err, &unknown) {
		err = unknown.Cause
	}
	if errors.Is(err, ErrRestoreGivenUp) {
		return fmt.Errorf("behind byte %d: %w", at, err)
	}
	return fmt.Errorf("%w behind byte %d: %w", ErrRestoreGivenUp, at, err)
}

// beginRestore returns a token that nobody has used, and the leadership under which the state is proposed.
func (r *Raft) beginRestore(ctx context.Context) (token restoreToken, leader codec.LeaderID, err error) {
	type answer struct {
		leader codec.LeaderID
		err    error
	}
	rand.Read(token[:])
	reply := make(chan answer, 1)
	if r.cfg.ProposalBytesMax < restoreEndSize {
		return token, leader, fmt.Errorf("ProposalBytesMax is %d, want at least %d: %w", r.cfg.ProposalBytesMax, restoreEndSize, ErrTooLarge)
	}
	got, err := await(ctx, r, reply, func(l *loop) {
		err := l.keeper.mayRestore()
		if err == nil {
			l.keeper.restoring[token] = true
		}
		reply <- answer{l.status.Vote.Leader, err}
	})
	if err != nil {
		return token, leader, certainly(err)
	}
	return token, got.leader, got.err
}

// mayRestore returns why this node can't bring a state into the cluster.
func (k *keeper) mayRestore() error {
	switch {
	case k.l.status.Role != consensus.Leader:
		return k.l.raft.notLeader()
	case k.store == nil:
		return fmt.Errorf("the state machine of node %d is %w", k.l.cfg.NodeID, ErrNotSnapshotter)
	case k.l.onDisk && !k.adopts:
		return fmt.Errorf("the state machine of node %d is %w", k.l.cfg.NodeID, ErrNotAdopter)
	}
	return nil
}

// restoreRound gives up a state that comes under this node's leadership and that no call of this life brings to its end.
func (k *keeper) restoreRound() {
	if k.collector == nil {
		return
	}
	open := k.collector.open.Load()
	if open == nil || k.dropping || k.restoring[open.token] || !k.l.leadsUnder(codec.Vote{Leader: open.leader, Committed: true}) {
		return
	}
	drop := restoreEntry{step: restoreDrop, token: open.token}
	err := k.l.intake.SubmitAsync(&pipeline.Proposal{Data: drop.append(nil), Kind: codec.EntryRestore, IfLeader: open.leader},
		func(Result, error) { k.post(func(k *keeper) { k.dropping = false }) })
	k.dropping = err == nil
}

// collects reports whether a state is being collected at the last entry that was given to the state machine, so that no
// snapshot can be taken.
func (k *keeper) collects() bool {
	open := k.collector.open.Load()
	if open == nil {
		return false
	}
	at, ok := k.l.core.LogIDAt(k.l.fed)
	return ok && at.Leader == open.leader
}
