package engine

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
	"github.com/millrace/millrace/engine/shipment"
	"github.com/millrace/millrace/wal/snapshot"
)

// After a snapshot could not be taken the policy waits, ever longer: a disk that is full is not full of this alone.
const (
	takeRetryMin = time.Second
	takeRetryMax = 5 * time.Minute
)

// keeper takes, keeps, sends and installs a group's snapshots, and purges the log behind them.
//
// Owner: the loop. What takes a disk runs elsewhere and comes back as mail: a goroutine for each snapshot that is written,
// one for each that is sent, one for what is received, and the applier, which captures and restores.
type keeper struct {
	l      *loop
	store  *snapshot.Store // nil on a witness, and where the state machine is no Snapshotter
	unlock func() error    // of the directory, where it is not below the log's

	ending context.Context // ends when the loop does
	end    context.CancelCauseFunc
	jobs   sync.WaitGroup // what writes and verifies

	sizes    logSizes // of what was given to the applier
	newest   snapshot.Info
	newestAt consensus.Instant // when it was taken or came
	marked   int64             // bytes of the log up to it
	full     int64             // size of the newest one that holds a state, 0 for not known
	marker   codec.Index       // of a witness: what the policy counts from

	take       taking
	writeLimit *rate.Limiter         // of what is taken; nil for none
	collector  *collector            // of states that come through the log; nil without a store
	restoring  map[restoreToken]bool // those that a call in this life of the node brings
	dropping   bool                  // the end of one that nobody brings is proposed
	adopts     bool                  // the state machine can take a state of another log
	receiver   *shipment.Receiver
	arrived    *arrival // complete, and not installed yet
	limit      *rate.Limiter
	sends      map[codec.NodeID]*sending

	taken, failed, installed uint64
	installing               bool
	restoreBytes             int64        // of the state that the state machine was given last
	restored                 atomic.Int64 // that it has read
	cut                      atomic.Bool  // the end of the node was the end of that
}

// sized returns the size by which the policies judge the newest snapshot.
func (k *keeper) sized() int64 {
	if k.newest.Stateless {
		return k.full
	}
	return k.newest.Size
}

// fed notes a frame that was given to the applier.
func (k *keeper) fed(meta codec.FrameMeta) { k.sizes.add(meta.Last(), meta.Size) }

// round does what is due. It is called at the end of each round of the loop and must cost nothing while nothing is.
func (k *keeper) round() {
	if k.l.cfg.Witness {
		k.purgeWitness()
	}
	k.restoreRound()
	k.takeRound()
	k.sendRound()
}

// ahead describes what lies behind the newest snapshot.
func (k *keeper) ahead() logAhead {
	return logAhead{
		entries: uint64(k.l.fed - k.newest.Base.ID.Index), bytes: k.sizes.total() - k.marked,
		snapshot: k.sized(), age: time.Duration(k.l.now - k.newestAt),
	}
}

// deadline returns when the keeper must be called again at the latest.
func (k *keeper) deadline() consensus.Instant {
	return min(k.takeDeadline(), k.sendDeadline())
}

// held notes that a snapshot of this node is durable, and purges the log behind it.
func (k *keeper) held(info snapshot.Info, marked int64) {
	if info.Base.ID.Index < k.newest.Base.ID.Index {
		return // another one came meanwhile
	}
	k.newest, k.marked, k.newestAt = info, marked, k.l.now
	if !info.Stateless {
		k.full = info.Size
	}
	k.l.step(consensus.Input{Kind: consensus.InputSnapshot, Log: info.Base.ID})
	k.purge()
}

// purge asks the core to purge what the policy does not keep. Where a peer that is being sent a snapshot still needs some
// of it, the core leaves that; it is asked for again when the sending ends.
func (k *keeper) purge() {
	target := k.l.cfg.Keep.purgeTarget(k.newest.Base.ID.Index, k.sized(), &k.sizes)
	if target > k.l.status.Purged.Index {
		k.l.step(consensus.Input{Kind: consensus.InputPurge, Index: target})
	}
}

// witnessEntries is how many entries a witness lets come before it purges, where no policy says so.
const witnessEntries = 100_000

// purgeWitness purges the log of a witness, which takes no snapshots: it has no state, and what it needs to know of the log
// stays with its beginning.
func (k *keeper) purgeWitness() {
	every := codec.Index(k.l.cfg.Snapshot.Entries)
	if every == 0 {
		every = witnessEntries
	}
	if k.l.fed < k.marker+every {
		return
	}
	k.marker = k.l.fed
	if kept := codec.Index(max(k.l.cfg.Keep.Entries, 0)); k.marker > kept && k.marker-kept > k.l.status.Purged.Index {
		k.l.step(consensus.Input{Kind: consensus.InputPurge, Index: k.marker - kept})
	}
}

// purged notes that the log begins later.
func (k *keeper) purged(base codec.LogID) {
	k.sizes.forget(base.Index)
	k.l.logs.snapshots.Info("log purged", "to", base, "snapshot", k.newest.Base.ID)
	k.l.emit(LogPurged{Purged: base})
}

// stop ends everything that the keeper has begun but the applier's part of it. It may wait for the disk as long as the
// receiver takes to read or write one file again.
func (k *keeper) stop(cause error) {
	k.end(cause)
	k.abandonAsks(cause)
	if k.receiver != nil {
		k.receiver.Close()
	}
	for _, s := range k.sends {
		s.stop()
	}
}

// wait returns when nothing of the keeper runs any more; the applier has ended before.
func (k *keeper) wait() error {
	k.jobs.Wait()
	var err error
	if k.store != nil {
		err = errors.Join(k.collector.drop(), k.store.Close())
	}
	if k.unlock != nil {
		if unlocking := k.unlock(); err == nil {
			err = unlocking
		}
	}
	return err
}
