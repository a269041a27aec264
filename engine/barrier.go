package engine

import (
	"context"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
)

// Barrier appends an entry that carries nothing to the log and returns its log id when it is committed and applied on this
// node: so is everything that was in the log before. It must be called on the leader; while that hands its office over it
// waits. Errors: [NotLeaderError]; one that wraps [ErrLeaderLeaves]; the context's, where nothing was appended; what wraps
// [ErrStopped]; an [UnknownError] where nobody knows what becomes of the entry, which does no harm: try again.
func (r *Raft) Barrier(ctx context.Context) (codec.LogID, error) {
	b := &barrier{caller: newCaller()}
	o := r.run(ctx, b, b.caller)
	return o.id, o.err
}

// barrier is one call of [Raft.Barrier].
//
// Owner: the loop.
type barrier struct {
	caller
	leader codec.Vote  // leadership under which the entry was appended
	id     codec.LogID // zero until then
}

func (b *barrier) advance(l *loop) (done, stepped bool) {
	switch {
	case b.id.IsZero() && (l.status.Transferee != 0 || l.status.Role != consensus.Leader && l.held()):
		return false, false // it can be answered with the next leader's name
	case b.id.IsZero():
		l.step(consensus.Input{Kind: consensus.InputBarrier})
		switch {
		case l.failure != nil:
			return false, false
		case l.out.Refused:
			b.answer(outcome{err: l.refusal()})
			return true, false
		}
		b.leader, b.id = l.status.Vote, l.out.Write.Frame.LastID()
		return false, true
	case l.committed(b.id) && !l.stranded(b.leader):
		if l.fed < b.id.Index {
			return false, false
		}
		l.applier.Await(func(err error) {
			if err != nil {
				b.abandon(err)
			} else {
				b.answer(outcome{id: b.id})
			}
		})
		return true, false
	case !l.leadsUnder(b.leader):
		b.abandon(l.lostBy)
		return true, false
	}
	return false, false
}

func (b *barrier) abandon(cause error) {
	if !b.id.IsZero() {
		cause = &UnknownError{LogID: b.id, Cause: cause}
	}
	b.answer(outcome{err: cause})
}
