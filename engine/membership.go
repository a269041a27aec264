package engine

import (
	"context"

	"github.com/millrace/millrace/codec"
)

// EffectiveMembership is the membership that a node goes by: the newest one in its log.
type EffectiveMembership struct {
	codec.Membership
	// LogID is that of its entry, zero on a node that knows none.
	LogID codec.LogID
	// Committed says that this node knows it to be committed. Until then a new leader may bring back the one before.
	Committed bool
}

// Membership returns the effective membership of this node, the zero value while it knows none. A transient one is on
// its way to its last config.
func (r *Raft) Membership() EffectiveMembership {
	m := r.members.Load()
	if m == nil {
		return EffectiveMembership{}
	}
	out := *m
	out.Membership = m.Membership.Clone()
	return out
}

// ChangeMembership changes the effective membership by any number of edits at once, in their order, and returns the log
// id of the new one when that is committed and applied on this node. It must be called on the leader. Where no voter
// config stays as it is, a transient joint membership comes first and takes effect by itself. A change that changes
// nothing is not proposed; it returns the log id of what is there, once that is committed.
//
// A new voter must have caught up, or no write that needs it could be committed. One that is no member yet is therefore
// added as a learner by an entry of its own, and the change itself is proposed when all new voters have caught up. When
// the call ends in between, the learners stay, and a [StagedError] says so; the same call can simply be made again.
//
// Errors, after which the membership is as before: [NotLeaderError]; an error that wraps [ErrMembership] or
// [ErrNotMember] and says what is wrong with what was asked for, as quorums that miss each other; [ErrChangeInProgress];
// [ErrTransferInProgress]; a [ChangedError] where [IfMembership] was given; what wraps [ErrStopped]; the context's error,
// with a [BehindError] where it was a new voter that was waited for. After an [UnknownError] the change is in the leader's
// log and may or may not come about.
func (r *Raft) ChangeMembership(ctx context.Context, changes ...Change) (codec.LogID, error) {
	c := &change{caller: newCaller(), changes: changes}
	o := r.run(ctx, c, c.caller)
	return o.id, o.err
}

// WaitCaughtUp returns when each of the members has caught up with this leader: all entries were sent to it, and what it
// has not acknowledged is on its way. Errors: [NotLeaderError], also when the leadership ends meanwhile; one that wraps
// [ErrNotMember]; what wraps [ErrStopped]; the context's, with a [BehindError].
func (r *Raft) WaitCaughtUp(ctx context.Context, ids ...codec.NodeID) error {
	c := &catchUp{caller: newCaller(), ids: ids}
	return r.run(ctx, c, c.caller).err
}

// publishMembership makes the effective membership known to callers, and that it is committed.
func (l *loop) publishMembership() {
	m := l.core.Membership()
	if m == nil {
		l.raft.members.Store(nil)
		return
	}
	status := l.core.Status()
	at, committed := status.MemberAt, status.MemberAt.Index <= status.Commit
	if old := l.raft.members.Load(); old == nil || old.LogID != at || old.Committed != committed {
		l.raft.members.Store(&EffectiveMembership{Membership: *m, LogID: at, Committed: committed})
	}
	l.memberOpen = !committed
}
