package engine

import (
	"context"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
)

// Purge removes the entries up to an index from this node's log, beyond what [Config.Keep] makes it remove by itself, and
// returns when that is durable. Whole frames go, so that a few entries up to the index may stay. What the newest snapshot
// does not hold is never removed, nor what a peer that is being sent a snapshot still needs behind that. It may be called on
// any node. The space on disk comes back some time later.
//
// Errors: one that wraps [ErrNothingToPurge] and says what may be removed and why no more; the context's, where it had ended
// before; what wraps [ErrStopped]; after an [UnknownError] the entries may have been removed, or be so later.
func (t Trigger) Purge(ctx context.Context, upTo codec.Index) error {
	reply := make(chan error, 1)
	ask := func(l *loop) {
		l.step(consensus.Input{Kind: consensus.InputPurge, Index: upTo})
		switch {
		case l.failure != nil:
			reply <- l.stopCause()
		case l.out.Refused:
			reply <- l.out.Reason
		default:
			l.awaiting = append(l.awaiting, flushAsk{l.out.Write.Seq, reply})
		}
	}
	got, err := await(ctx, t.r, reply, ask)
	if err == nil {
		err = got
	}
	return t.r.noted("log purged", err, "to", upTo)
}
