package engine

import (
	"errors"
	"fmt"

	"github.com/millrace/millrace/codec"
)

// Close ends the node: it takes no more proposals, waits up to [Config.CloseTimeout] for those it took to be answered,
// answers the rest with an [UnknownError], applies what is committed, seals the log, and returns when nothing of the
// node runs any more. It returns what stopped the node before, or kept the log from being sealed. A second call waits
// for the first and returns the same.
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
	l.drainEnd = l.now.Add(l.cfg.CloseTimeout)
}

// shutdown is the end of the loop: everyone is answered, everything the node started is ended, in the order of the
// hand-offs, so that nobody reports to a part that is gone.
func (l *loop) shutdown() {
	r := l.raft
	r.leads.Store(false)
	l.timer.Stop()
	stopped := error(ErrStopped)
	if l.failure != nil {
		stopped = fmt.Errorf("node %d %w: %w", l.cfg.NodeID, ErrStopped, l.failure)
	}
	r.intake.Close(stopped)
	for _, b := range l.intake.Take(nil) {
		b.Fail(stopped)
	}
	for _, p := range l.proposed {
		p.lose(stopped)
	}
	l.proposed, l.bytes = nil, 0
	for _, ask := range l.awaiting {
		ask.reply <- &UnknownError{Cause: stopped}
	}
	transportErr := l.transport.Close()
	l.applier.Close()
	logErr := r.log.Close()
	r.last = l.collect()
	r.failure = l.failure
	if l.failure == nil {
		r.logErr = errors.Join(logErr, transportErr)
	}
	for _, ask := range l.box.close().asks {
		ask(l)
	}
	r.setLeader(codec.Node{})
	close(r.done)
}
