package engine

import (
	"context"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
)

// Switches are the parts of the protocol that can be turned off while a node runs; the zero value has everything on.
type Switches = consensus.Switches

// SetSwitches replaces the switches in force, which [Metrics] shows. A node that may campaign again waits a fresh
// election timeout. Errors wrap [ErrStopped].
func (r *Raft) SetSwitches(s Switches) error {
	err := r.command(consensus.Input{Kind: consensus.InputSwitch, Switches: s})
	return r.noted("switches set", err, "switches", s)
}

// ForgetLeader makes a follower keep no lease for its leader any more: it grants votes at once, and may be told to
// campaign, where the caller knows that the leader is gone. A leader that is not gone is followed again as soon as it is
// heard. Errors: [ErrNoLeaderToForget]; [ErrLeaseReads]; what wraps [ErrStopped].
func (r *Raft) ForgetLeader() error {
	return r.noted("leader forgotten", r.command(consensus.Input{Kind: consensus.InputForgetLeader}))
}

// Trigger makes a node do now what it otherwise does by time.
type Trigger struct{ r *Raft }

// Trigger returns the node's trigger.
func (r *Raft) Trigger() Trigger { return Trigger{r} }

// Elect makes the node campaign, also where elections by timeout are switched off. Votes are granted as always: not
// against the lease of a live leader, and not to a shorter log. It returns when the campaign has begun; who wins is for
// [Raft.WaitLeader] to tell. Errors: one that wraps [ErrMayNotCampaign]; what wraps [ErrStopped].
func (t Trigger) Elect() error {
	return t.r.noted("election asked for", t.r.command(consensus.Input{Kind: consensus.InputElect}))
}

// Heartbeat makes the leader send heartbeats to everyone, also where they are switched off. Errors: [NotLeaderError];
// what wraps [ErrStopped].
func (t Trigger) Heartbeat() error {
	return t.r.command(consensus.Input{Kind: consensus.InputHeartbeat})
}

// AllowReversion lets a peer deny once, to this leader, that it holds what it had acknowledged: it is filled up again
// instead of being left alone as Lost. What was committed with its copies may be lost then. Errors: [NotLeaderError];
// what wraps [ErrNotMember]; what wraps [ErrStopped].
func (t Trigger) AllowReversion(peer codec.NodeID) error {
	err := t.r.command(consensus.Input{Kind: consensus.InputAllowReversion, Peer: peer})
	return t.r.noted("reversion allowed", err, "peer", peer)
}

// TransferLeadership hands the leadership to another voter, or to the best one where target is 0, and returns when that
// one leads. It must be called on the leader. Until then proposals wait; those that still wait when another node leads
// are answered with a [NotLeaderError] that names it. The leader goes on leading when the target has not taken over by
// the deadline of ctx, or within [Config.ElectionTimeoutMin] where it has none, or has been silent for that long. A
// context that ends early only ends the wait.
//
// Errors: [NotLeaderError], one that wraps [ErrTransferTarget], [ErrTransferInProgress] or [ErrLeaderLeaves], what wraps
// [ErrStopped], or the context's own where it had ended before, after which nothing was done; else a [TransferError].
func (r *Raft) TransferLeadership(ctx context.Context, target codec.NodeID) error {
	timeout := r.cfg.ElectionTimeoutMin
	if deadline, ok := ctx.Deadline(); ok {
		timeout = time.Until(deadline)
	} else {
		// Beyond the leader's own deadline there must be some leader again for the answer to name.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout+2*r.cfg.ElectionTimeoutMax)
		defer cancel()
	}
	t := &transfer{caller: newCaller(), target: target, timeout: max(timeout, 1)}
	return r.noted("leadership transferred", r.run(ctx, t, t.caller).err, "target", target)
}

// transfer is one call of [Raft.TransferLeadership].
//
// Owner: the loop.
type transfer struct {
	caller
	target  codec.NodeID // as asked for
	timeout time.Duration
	began   bool
	vote    codec.Vote   // leadership that is handed over
	leader  codec.NodeID // known now
}

func (t *transfer) advance(l *loop) (done, stepped bool) {
	if !t.began {
		t.began, t.vote, t.leader = true, l.status.Vote, l.status.Leader
		l.step(consensus.Input{Kind: consensus.InputTransfer, Peer: t.target, Timeout: t.timeout})
		if l.failure == nil && l.out.Refused {
			t.answer(outcome{err: l.refusal()})
			return true, false
		}
		return false, true
	}
	t.leader = l.status.Leader
	switch {
	case l.leadsUnder(t.vote) && l.status.Blocked || t.leader == 0:
		return false, false
	case t.leader == l.cfg.NodeID:
		t.abandon(errTransferEnded)
	case t.target != 0 && t.leader != t.target:
		t.abandon(nil)
	default:
		t.answer(outcome{})
	}
	return true, false
}

func (t *transfer) abandon(cause error) {
	t.answer(outcome{err: &TransferError{Target: t.target, Leader: t.leader, Cause: cause}})
}
