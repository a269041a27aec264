package engine

import (
	"context"
	"fmt"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
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
// id of the new one when that is committed and applied on this node; a leader that waits for a snapshot and is removed only
// sees it committed. It must be called on the leader. Where no voter config stays as it is, a transient joint membership
// comes first and takes effect by itself. A change that changes nothing is not proposed; it returns the log id of what is there.
//
// Each change also writes down which incarnation goes by each member's id, as far as this leader knows. From then on a
// disk that was lost and replaced is refused by everybody, also by nodes that have never met the lost one. A leader that
// has met all members does so by itself, by an entry of its own, for which a change waits.
//
// A new voter must have caught up, or no write that needs it could be committed. One that is no member yet is therefore
// added as a learner by an entry of its own, and the change itself is proposed when all new voters have caught up. When
// the call ends in between, the learners stay, and a [StagedError] says so; the same call can simply be made again.
//
// Errors, after which the membership is as before: [NotLeaderError]; an error that wraps [ErrMembership] or
// [ErrNotMember] and says what is wrong with what was asked for, as quorums that miss each other; [ErrChangeInProgress];
// [ErrTransferInProgress], [ErrLeaderLeaves]; a [ChangedError] where [IfMembership] was given; what wraps [ErrStopped];
// the context's error, with a [BehindError] where it was a new voter that was waited for. After an [UnknownError] the
// change is in the leader's log and may or may not come about.
func (r *Raft) ChangeMembership(ctx context.Context, changes ...Change) (codec.LogID, error) {
	c := &change{caller: newCaller(), changes: changes}
	o := r.run(ctx, c, c.caller)
	return o.id, r.noted("membership changed", o.err, "entry", o.id)
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
		l.emit(MembershipChanged{Membership: l.sharedMembership()})
	}
	l.memberOpen = !committed
}

// checkAddresses says which node has an address that the transport can't dial. A membership takes effect before it is
// committed: one wrong address could keep the group from ever mending it.
func checkAddresses(transport any, m *codec.Membership) error {
	t, ok := transport.(interface{ CheckAddress(address string) error })
	if !ok {
		return nil
	}
	for _, n := range m.Nodes {
		if n.Address == "" && len(m.Nodes) == 1 {
			continue // nobody dials it
		}
		if err := t.CheckAddress(n.Address); err != nil {
			return fmt.Errorf("%w: node %d: %w", ErrMembership, n.ID, err)
		}
	}
	return nil
}

// writeIncarnations lets a leader that has met every member write their incarnations into the membership, once. Else two
// members that never met the disk of a third one could take another disk for it, and lose what only the first one held.
func (l *loop) writeIncarnations() {
	m := l.core.Membership()
	if l.status.Role != consensus.Leader || m == nil {
		l.unwritten = false // it is for the leader, and for this node when it becomes one
		return
	}
	if m.Transient || l.status.Blocked || len(l.errands) > 0 || !l.committed(l.status.MemberAt) {
		return
	}
	full := m.Clone()
	if err := l.book.complete(&full); err != nil || sameMembership(m, &full) {
		l.unwritten = false
		return
	}
	for _, n := range full.Nodes {
		if n.Incarnation.IsZero() {
			l.unwritten = false // that node's first contact brings this here again
			return
		}
	}
	if l.changeTo(&full, nil) {
		l.unwritten, l.written = false, l.status.MemberAt
	}
}
