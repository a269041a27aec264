package engine

import (
	"errors"
	"fmt"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
)

// change is one call of [Raft.ChangeMembership] on its way:
//
//	edits --> refused for a voter that is no member --> staged: it is a learner --> caught up -.
//	  |                                                                                       |
//	  '--> appended (joint, where no config stays) --> final --> committed, applied, answered <-'
//
// Owner: the loop.
type change struct {
	caller
	changes  []Change
	began    bool
	leader   codec.Vote             // leadership under which the change is made
	expected *codec.LogID           // entry that the next step may replace; nil for any
	staged   codec.LogID            // entry that made learners of the new voters
	learners []codec.NodeID         // made by it
	behind   *consensus.BehindError // who was waited for last
	appended codec.LogID            // entry of the wanted membership, or of the joint one on the way to it
	final    codec.LogID            // entry of the wanted membership
}

func (c *change) advance(l *loop) (done, stepped bool) {
	if !c.began {
		c.began, c.leader = true, l.status.Vote
	}
	switch {
	case c.finished(l):
		return true, false
	case l.committed(c.final):
		return false, false // it waits to be handed to the applier
	case !l.leadsUnder(c.leader):
		c.leaderLost(l)
		return true, false
	case !c.appended.IsZero() || !c.final.IsZero():
		return false, false
	case c.waits(l):
		return false, false
	}
	return c.propose(l)
}

// committed reports whether the entry is in the log, or was until it was purged, and committed. Of purged entries the log
// knows nothing; but the membership in force is never lost, and a leader never cuts what it appended itself.
func (l *loop) committed(id codec.LogID) bool {
	if id.Index == 0 || id.Index > l.out.Commit {
		return false
	}
	purged := id.Index <= l.status.Purged.Index && l.status.Role == consensus.Leader && l.status.Vote.Leader == id.Leader
	return purged || id == l.status.MemberAt || l.core.Holds(id)
}

// finished answers the caller behind the last entry that the state machine has to take first, unless nothing may ever be
// applied here.
func (c *change) finished(l *loop) bool {
	switch {
	case !l.committed(c.final):
		return false
	case l.stranded(c.leader):
		c.answer(outcome{id: c.final})
		return true
	case l.fed < c.final.Index:
		return false
	}
	l.applier.Await(func(err error) {
		if err != nil {
			c.answer(outcome{err: &UnknownError{LogID: c.final, Cause: err}})
		} else {
			c.answer(outcome{id: c.final})
		}
	})
	return true
}

// stranded reports whether a node that led under a vote may never apply what it has committed: it waits for a snapshot, and
// who is removed gets none.
func (l *loop) stranded(leader codec.Vote) bool {
	return l.status.WantsSnapshot && !l.leadsUnder(leader)
}

// leaderLost answers the caller of a change whose leader lost its office.
func (c *change) leaderLost(l *loop) {
	if c.appended.IsZero() && c.final.IsZero() {
		c.abandon(l.raft.notLeader())
	} else {
		c.abandon(l.lostBy)
	}
}

func (c *change) abandon(cause error) {
	switch {
	case !c.appended.IsZero():
		c.answer(outcome{err: &UnknownError{LogID: c.appended, Cause: cause}})
	case !c.staged.IsZero():
		c.answer(outcome{err: &StagedError{LogID: c.staged, Learners: c.learners, Cause: cause}})
	case c.behind != nil:
		c.answer(outcome{err: fmt.Errorf("%w: %w", c.behind, cause)})
	default:
		c.answer(outcome{err: cause})
	}
}

// waits reports whether a new voter that was behind still is.
func (c *change) waits(l *loop) bool {
	if c.behind == nil {
		return false
	}
	if !c.staged.IsZero() && !l.committed(c.staged) {
		return true
	}
	l.peers = l.core.Peers(l.peers[:0])
	for _, p := range l.peers {
		if p.Node == c.behind.Node {
			c.behind.Match = p.Match
			return !p.CaughtUp
		}
	}
	return false // it is no member any more: the next step says so
}

// propose asks for the wanted membership, or for the learners it needs first.
func (c *change) propose(l *loop) (done, stepped bool) {
	now := l.core.Membership()
	if now.Transient || !l.committed(l.status.MemberAt) {
		// What the edits would make of this one does not matter: the core refuses any other, and knows best why.
		l.changeTo(now, nil)
		return c.refused(l)
	}
	e, err := applyChanges(now, c.changes)
	if err != nil {
		return c.fail(err)
	}
	if c.staged.IsZero() {
		c.expected = e.expected
	}
	for _, id := range c.learners {
		if _, member := now.Node(id); !member {
			return c.fail(fmt.Errorf("node %d, which was added to become a voter, was removed meanwhile: %w", id, ErrNotMember))
		}
	}
	want := &e.membership
	if err := checkAddresses(l.raft.transport, want); err != nil {
		return c.fail(err)
	}
	if err := l.book.complete(want); err != nil {
		return c.fail(err)
	}
	if sameMembership(now, want) {
		return c.settle(l)
	}
	if l.changeTo(want, c.expected) {
		c.appended = l.status.MemberAt
		if !l.out.Write.Membership.Transient {
			c.final = c.appended
		}
		return false, true
	}
	if learners := missingVoters(now, want); len(learners) > 0 && errors.As(l.out.Reason, &c.behind) {
		return c.stage(l, now, learners)
	}
	return c.refused(l)
}

// settle ends a change that changes nothing.
func (c *change) settle(l *loop) (done, stepped bool) {
	if c.expected != nil && *c.expected != l.status.MemberAt {
		return c.fail(&ChangedError{Want: *c.expected, Have: l.status.MemberAt})
	}
	c.final = l.status.MemberAt
	return false, true
}

// stage adds the new voters as learners.
func (c *change) stage(l *loop, now *codec.Membership, learners []codec.Node) (done, stepped bool) {
	e := edit{membership: now.Clone()}
	c.learners = nil
	for _, n := range learners {
		e.put(n)
		c.learners = append(c.learners, n.ID)
	}
	if err := l.book.complete(&e.membership); err != nil {
		return c.fail(err)
	}
	if !l.changeTo(&e.membership, c.expected) {
		c.learners = nil
		return c.refused(l)
	}
	c.staged = l.status.MemberAt
	if c.expected != nil {
		c.expected = &c.staged
	}
	return false, true
}

// missingVoters returns the voters of want that are no members now.
func missingVoters(now, want *codec.Membership) (missing []codec.Node) {
	for _, n := range want.Nodes {
		if _, member := now.Node(n.ID); !member && want.IsVoter(n.ID) {
			missing = append(missing, n)
		}
	}
	return missing
}

// refused says what becomes of a change that the core did not take: it waits for what ends by itself.
func (c *change) refused(l *loop) (done, stepped bool) {
	switch reason := l.out.Reason; {
	case l.failure != nil || errors.Is(reason, consensus.ErrTermNotCommitted) || errors.As(reason, &c.behind):
		return false, false
	case errors.Is(reason, ErrChangeInProgress) && (!c.staged.IsZero() || l.status.MemberAt == l.written):
		return false, false // it waits for the one that it proposed itself, or that nobody asked for
	}
	return c.fail(l.refusal())
}

// fail ends a change that can't be made.
func (c *change) fail(err error) (done, stepped bool) {
	c.behind = nil
	c.abandon(err)
	return true, false
}

// changeTo asks the core for a membership and reports whether it was appended.
func (l *loop) changeTo(m *codec.Membership, expected *codec.LogID) bool {
	l.step(consensus.Input{Kind: consensus.InputChange, Membership: m, If: expected})
	return l.failure == nil && !l.out.Refused
}

// noteFinal tells changes of the membership that took a joint one's place.
func (l *loop) noteFinal(m *codec.Membership) {
	at := l.status.MemberAt
	for _, e := range l.errands {
		c, ok := e.(*change)
		if ok && !c.appended.IsZero() && c.final.IsZero() && at.Leader == c.leader.Leader && at.Index > c.appended.Index && !m.Transient {
			c.final = at
		}
	}
}

// catchUp is one call of [Raft.WaitCaughtUp].
//
// Owner: the loop.
type catchUp struct {
	caller
	ids    []codec.NodeID
	began  bool
	leader codec.Vote
	behind error // the first one that has not caught up
}

func (c *catchUp) advance(l *loop) (done, stepped bool) {
	if !c.began {
		c.began, c.leader = true, l.status.Vote
	}
	if !l.leadsUnder(c.leader) {
		c.answer(outcome{err: l.raft.notLeader()})
		return true, false
	}
	l.peers = l.core.Peers(l.peers[:0])
	for _, id := range c.ids {
		if err := l.caughtUp(id); err != nil {
			if c.behind = err; errors.Is(err, ErrNotMember) {
				c.answer(outcome{err: err})
				return true, false
			}
			return false, false
		}
	}
	c.answer(outcome{})
	return true, false
}

// caughtUp says what a member lacks, by l.peers.
func (l *loop) caughtUp(id codec.NodeID) error {
	if id == l.cfg.NodeID {
		return nil
	}
	for _, p := range l.peers {
		switch {
		case p.Node != id:
		case p.CaughtUp:
			return nil
		default:
			return &BehindError{Node: id, Match: p.Match, Last: l.status.LastLog.Index}
		}
	}
	return fmt.Errorf("node %d: %w", id, ErrNotMember)
}

func (c *catchUp) abandon(cause error) {
	if c.behind != nil {
		cause = fmt.Errorf("%w: %w", c.behind, cause)
	}
	c.answer(outcome{err: cause})
}
