package engine

import (
	"context"
	"errors"
	"slices"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
)

// errand is something that a caller asked for and that takes the loop more than one step. Its state belongs to the loop.
type errand interface {
	// advance does what can be done now. It reports whether the caller was answered, and whether a step was taken, which
	// may let another errand go on. The loop calls it at the end of each round.
	advance(l *loop) (done, stepped bool)
	// abandon answers a caller who waits no longer, or whose node ends.
	abandon(cause error)
}

// outcome is the answer to a caller.
type outcome struct {
	id  codec.LogID
	err error
}

// caller is who waits for an errand. Only the first answer counts: one may be on its way from the applier when another
// ends the wait.
type caller struct{ reply chan outcome }

func newCaller() caller { return caller{make(chan outcome, 1)} }

func (c caller) answer(o outcome) {
	select {
	case c.reply <- o:
	default:
	}
}

// run hands an errand to the leader's loop and waits for its outcome.
func (r *Raft) run(ctx context.Context, e errand, c caller) outcome {
	if ctx.Err() != nil {
		return outcome{err: context.Cause(ctx)}
	}
	if !r.leads.Load() {
		return outcome{err: r.notLeader()}
	}
	if !r.box.post(func(m *mail) { m.asks = append(m.asks, func(l *loop) { l.errands = append(l.errands, e) }) }) {
		return outcome{err: r.stopped()}
	}
	done := ctx.Done()
	for {
		select {
		case o := <-c.reply:
			return o
		case <-done:
			done = nil
			r.box.post(func(m *mail) { m.asks = append(m.asks, func(l *loop) { l.abandon(e, context.Cause(ctx)) }) })
		case <-r.done:
			select {
			case o := <-c.reply:
				return o
			default:
				return outcome{err: r.stopped()}
			}
		}
	}
}

// runErrands lets every errand go on, and again as long as one of them takes a step.
func (l *loop) runErrands() {
	for again := len(l.errands) > 0; again && l.failure == nil; {
		again = false
		for i := 0; i < len(l.errands); {
			done, stepped := l.errands[i].advance(l)
			if done {
				l.errands = slices.Delete(l.errands, i, i+1)
			} else {
				i++
			}
			again = again || stepped
		}
		l.feed()
	}
}

// abandon ends the wait of an errand's caller.
func (l *loop) abandon(e errand, cause error) {
	l.errands = slices.DeleteFunc(l.errands, func(x errand) bool { return x == e })
	e.abandon(cause)
}

// leadsUnder reports whether this node still leads under a vote.
func (l *loop) leadsUnder(v codec.Vote) bool {
	return l.status.Role == consensus.Leader && l.status.Vote == v
}

// refusal returns why the newest step refused what it was asked for, as callers are told.
func (l *loop) refusal() error {
	if l.out.Reason == nil || errors.Is(l.out.Reason, consensus.ErrNotLeader) {
		return l.raft.notLeader()
	}
	return l.out.Reason
}

// command takes one step that a caller asks for and returns why it was refused, nil if it was not.
func (r *Raft) command(in consensus.Input) error {
	reply := make(chan error, 1)
	ask := func(l *loop) {
		l.step(in)
		switch {
		case l.failure != nil:
			reply <- l.stopCause()
		case l.out.Refused:
			reply <- l.refusal()
		default:
			reply <- nil
		}
	}
	if !r.box.post(func(m *mail) { m.asks = append(m.asks, ask) }) {
		return r.stopped()
	}
	select {
	case err := <-reply:
		return err
	case <-r.done:
	}
	select {
	case err := <-reply: // the loop had begun with it
		return err
	default:
		return r.stopped()
	}
}

// await lets the loop begin with something that answers to reply, of capacity 1, and returns the answer. Errors: the
// context's, where it had ended before; an [UnknownError] where it ended later; what wraps [ErrStopped], where the loop did
// not begin with it.
func await[T any](ctx context.Context, r *Raft, reply <-chan T, begin func(*loop)) (answer T, err error) {
	if ctx.Err() != nil {
		return answer, context.Cause(ctx)
	}
	if !r.box.post(func(m *mail) { m.asks = append(m.asks, begin) }) {
		return answer, r.stopped()
	}
	select {
	case answer = <-reply:
		return answer, nil
	case <-ctx.Done():
		return answer, &UnknownError{Cause: context.Cause(ctx)}
	case <-r.done:
	}
	select {
	case answer = <-reply: // the loop had begun with it
		return answer, nil
	default:
		return answer, r.stopped()
	}
}

// certainly returns an error of [await] as one which says that nothing happened, since what was begun has no effect by
// itself.
func certainly(err error) error {
	if unknown, ok := err.(*UnknownError); ok {
		return unknown.Cause
	}
	return err
}
