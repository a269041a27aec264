package engine

import (
	"errors"
	"fmt"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
)

// Close ends the node: it takes no more proposals, waits up to [Config.CloseTimeout] for those it took to be answered,
// here or by the leader that they were forwarded to, answers the rest with an [UnknownError], applies what was handed to
// the state machine, seals the log, and returns when nothing of the node runs any more. It must not be called from the
// state machine or from an answer's function, which it waits for. It returns what stopped the node before, or kept the
// log from being sealed. A second call waits for the first and returns the same.
func (r *Raft) Close() error {
	r.closing.Do(func() {
		r.intake.Close(fmt.Errorf("node %d is closing: %w", r.cfg.NodeID, ErrStopped))
		r.box.post(func(m *mail) { m.asks = append(m.asks, (*loop).drain) })
	})
	<-r.done
	if r.failure != nil {
		return r.failure
	}
	return r.logErr
}

// drain runs in the loop: from now on it ends as soon as nothing is pending.
func (l *loop) drain() {
	l.draining = true
	l.drainEnd = l.now.Add(min(l.cfg.CloseTimeout, time.Duration(consensus.Never-l.now)))
}

// stopCause returns what callers are told whom the end of the loop leaves without a result.
func (l *loop) stopCause() error {
	if l.failure != nil {
		return fmt.Errorf("node %d %w: %w", l.cfg.NodeID, ErrStopped, l.failure)
	}
	return fmt.Errorf("node %d %w", l.cfg.NodeID, ErrStopped)
}

// shutdown is the end of the loop: everyone is answered, everything the node started is ended, in the order of the
// hand-offs, so that nobody reports to a part that is gone. What it waits for may itself ask for metrics, and is given
// the last ones.
func (l *loop) shutdown() {
	r := l.raft
	r.setLeader(codec.Node{}, l.status.Vote)
	r.lease.until.Store(0)
	l.timer.Stop()
	stopped := l.stopCause()
	r.intake.Close(stopped)
	for _, b := range l.intake.Take(l.batches) {
		l.applier.Refuse(b, stopped)
	}
	l.batches = nil
	for i := range l.proposed {
		l.lose(&l.proposed[i], stopped)
	}
	l.proposed = nil
	l.loseForwards(stopped, func(*forwarded) bool { return true })
	for _, ask := range l.awaiting {
		ask.reply <- &UnknownError{Cause: stopped}
	}
	l.endReads(stopped)
	for _, e := range l.errands {
		e.abandon(stopped)
	}
	l.errands = nil
	l.keeper.stop(stopped)
	last := l.collect()
	r.last.Store(&last)
	for _, query := range l.box.close().queries {
		query <- last
	}
	transportErr := l.transport.Close()
	if err := l.applier.Close(); l.failure == nil && !l.keeper.cut.Load() {
		l.failure = err // of an entry that was applied meanwhile
	}
	keeperErr := l.keeper.wait()
	logErr := r.log.Close()
	end := l.collect()
	r.last.Store(&end)
	r.failure = l.failure
	if l.failure == nil {
		r.logErr = errors.Join(logErr, transportErr, keeperErr)
	}
	r.callbacks.close()
	r.events.end(stopped)
	close(r.done)
}
