package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/pipeline/session"
)

// Proposal is what [Raft.Submit] proposes: an entry with terms that [Raft.Propose] has no room for.
type Proposal struct {
	// Data is copied.
	Data []byte
	// IfLeader, when not zero, is the leadership under which alone the entry may enter the log, as a [Result] or [Metrics]
	// names it. With it a program that keeps something beside the log while it leads never acts on a lost office.
	IfLeader codec.LeaderID
	// Session makes the entry a command of that session, which takes effect at most once.
	Session *Session
	// Serial of the command, one that [Session.Reserve] returned; 0 takes the next.
	Serial uint64
	// Forward sends the proposal to the leader where this node does not lead. It is sent once and never again: when the
	// answer is lost, or the leader changes before it has answered, the fate of the proposal is unknown. A result says that
	// the entry is applied on the leader; this node's state machine follows, and [Raft.EnsureLinearizable] waits for it.
	Forward bool
	// Committed, when not nil, is called once the entry is committed, before it is applied: from then on it is never lost,
	// though nobody knows its effect yet. It is called by the loop and must not block. Where Submit returns a result it was
	// called before; where it returns an error, perhaps not, or perhaps later: one that stopped waiting is still told.
	Committed func(codec.LogID)
}

// Submit proposes an entry with terms and otherwise does as [Raft.Propose]. Errors beside those: a [LeadershipError]
// where IfLeader named another leadership than this node's when the entry was to be appended: it certainly did not
// happen; an [ArgumentError] for terms that can't be met together. With a session those of [Session.Propose]. Of a
// forwarded proposal also those of the leader, a [BusyError] of either node, and a [ForwardError].
func (r *Raft) Submit(ctx context.Context, p Proposal) (Result, error) {
	if p.Session != nil {
		return p.Session.submit(ctx, r, &p)
	}
	if p.Serial != 0 {
		return Result{}, &ArgumentError{"Submit", fmt.Sprintf("Serial %d and no Session", p.Serial), "the Session that the serial belongs to"}
	}
	return r.submit(ctx, &p, codec.EntryNormal)
}

// submit proposes p.Data as an entry of the given kind.
func (r *Raft) submit(ctx context.Context, p *Proposal, kind codec.EntryKind) (Result, error) {
	if ctx.Err() != nil {
		return Result{}, context.Cause(ctx)
	}
	switch {
	case r.leads.Load():
	case p.Forward:
		return r.forward(ctx, p, kind)
	default:
		return Result{}, r.notLeader()
	}
	return r.intake.Submit(ctx, &pipeline.Proposal{Data: p.Data, Kind: kind, IfLeader: p.IfLeader, Committed: p.Committed})
}

// ProposeIf proposes data on condition that this node leads under the given leadership when the entry is appended. Errors as
// [Raft.Propose], and a [LeadershipError] where it does not: then nothing happened; an [ArgumentError] for no leadership.
func (r *Raft) ProposeIf(ctx context.Context, leader codec.LeaderID, data []byte) (Result, error) {
	if leader.IsZero() {
		return Result{}, &ArgumentError{"ProposeIf", "the zero leadership", "one that a Result or Metrics names"}
	}
	return r.Submit(ctx, Proposal{Data: data, IfLeader: leader})
}

// certain reports whether an error of a proposal says that it certainly did not happen, in this attempt.
func certain(err error) bool {
	return !errors.As(err, new(*UnknownError)) && !settled(err)
}

// settled reports whether an error, or none, says for good what became of a session's command, so that there is no sense in
// proposing it again. It does not look behind an error: what an [UnknownError] wraps may be the cause that a caller gave its
// context, and that the answer to another command.
func settled(err error) bool {
	switch err.(type) {
	case nil, *session.ExpiredError, *session.AppliedError, *session.AnsweredError:
		return true
	}
	return false
}

// endedBy reports whether an error is no answer but the cause of a context that had ended before anything was proposed.
func endedBy(ctx context.Context, err error) bool {
	cause := context.Cause(ctx)
	return err != nil && cause != nil && errors.Is(cause, err)
}

// mayPropose returns why a batch may not enter the log, which a proposer made depend on the leadership.
func (l *loop) mayPropose(b *pipeline.Batch) error {
	want := b.IfLeader()
	if want.IsZero() || l.leadsUnder(codec.Vote{Leader: want, Committed: true}) {
		return nil
	}
	return &LeadershipError{Node: l.cfg.NodeID, Want: want, Vote: l.status.Vote}
}

// noticed is a frame of which somebody wants to know when it is committed.
type noticed struct {
	meta    codec.FrameMeta
	notices pipeline.Notices
}

// noteCommitted tells those who want to know it which entries are committed.
func (l *loop) noteCommitted() {
	n := 0
	for n < len(l.noticed) && l.noticed[n].meta.Last() <= l.out.Commit {
		x := &l.noticed[n]
		x.notices.Committed(codec.LogID{Leader: x.meta.Leader, Index: x.meta.First})
		n++
	}
	l.noticed = slices.Delete(l.noticed, 0, n)
}

// dropNotices forgets who wants to know of frames that are given up.
func (l *loop) dropNotices(keep func(*codec.FrameMeta) bool) {
	l.noticed = slices.DeleteFunc(l.noticed, func(x noticed) bool { return !keep(&x.meta) })
}
