package netio

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"time"

	"github.com/millrace/millrace/codec"
)

// run is the lane's goroutine: it makes the connection, makes it again when it ends, and calls Link.Down. It ends when
// ctx does.
func (l *lane) run(ctx context.Context) {
	wait, connected := l.t.cfg.BackoffMin, false
	down := false // Down was called since the last connection ended
	for ctx.Err() == nil {
		o, err := l.connect(ctx)
		switch {
		case err == nil:
			l.t.report.forget(l.key("dial"))
			l.t.counters.dialed.Add(1)
			if connected {
				l.t.counters.reconnected.Add(1)
			}
			began := time.Now()
			l.serve(ctx, o)
			connected, down = true, false
			if time.Since(began) >= l.t.cfg.BackoffMax {
				wait = l.t.cfg.BackoffMin // it worked; one that ends at once does not count as working
			}
		case ctx.Err() == nil:
			l.t.counters.count(dialCause(err), 1)
			l.t.report.report(slog.LevelWarn, l.key("dial")+causeOf(err), "no connection to peer",
				"peer", l.peer, "lane", l.id, "address", l.address, "error", err)
		}
		if ctx.Err() != nil {
			break
		}
		if l.takeRefused() || !down {
			l.down()
			down = true
		}
		pause(ctx, wait/2+rand.N(wait/2+1))
		wait = min(2*wait, l.t.cfg.BackoffMax)
	}
	if !l.t.closing.Load() {
		l.down() // the peer has left or moved; what its lane still held is lost
	}
}

func (l *lane) key(what string) string { return fmt.Sprint(what, " ", l.peer, " ", l.id, " ") }

// causeOf makes one key of errors that say the same; ports and times in the text differ with each attempt.
func causeOf(err error) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return op.Op + op.Err.Error()
	}
	return err.Error()
}

func dialCause(err error) Cause {
	var op *net.OpError
	switch {
	case errors.Is(err, ErrRefused) || errors.Is(err, codec.ErrCorrupt) || errors.Is(err, codec.ErrVersion):
		return DialRefused
	case errors.Is(err, errNotTaken) || errors.As(err, &op) && op.Op == "dial":
		return DialFailed
	}
	return DialNoAnswer
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// connect makes a connection to where the peer is said to listen, or else to where it says so itself.
func (l *lane) connect(ctx context.Context) (*outConn, error) {
	o, err := l.connectTo(ctx, l.address)
	told := l.told.Load()
	if err == nil || told == nil || *told == l.address || ctx.Err() != nil {
		return o, err
	}
	o, second := l.connectTo(ctx, *told)
	if second != nil {
		return nil, fmt.Errorf("%w; and at %s, as the peer told: %w", err, *told, second)
	}
	return o, nil
}

// connectTo makes a connection, shakes hands and gives it to an event loop.
func (l *lane) connectTo(ctx context.Context, address string) (*outConn, error) {
	t := l.t
	dialer := net.Dialer{Timeout: t.cfg.DialTimeout, KeepAliveConfig: t.keepAlive()}
	c, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	release := closeOnEnd(ctx, c)
	err = setUserTimeout(c.(*net.TCPConn), t.cfg.PeerTimeout)
	if err == nil {
		err = t.dialHandshake(c, l.peer, l.id)
	}
	release()
	if err != nil {
		_ = c.Close() // the handshake's error is the one that tells something
		return nil, err
	}
	o := &outConn{lane: l, remote: address, ended: make(chan struct{})}
	if err := t.enroll(c, o); err != nil {
		return nil, err
	}
	if !o.opened {
		return nil, errNotTaken
	}
	return o, nil
}

// closeOnEnd closes c when ctx ends, so that nothing waits for a peer then. The function it returns ends that and
// returns when it has ended.
func closeOnEnd(ctx context.Context, c net.Conn) (release func()) {
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		_ = c.Close() // whoever uses it sees the error
	})
	return func() {
		if !stop() {
			<-closed
		}
	}
}

// serve looks after a connection until it has ended: it wakes the loop again after the socket was full, and reports
// what was refused once there is room again.
func (l *lane) serve(ctx context.Context, o *outConn) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	done := ctx.Done()
	var reported time.Time
	for {
		fired := false
		select {
		case <-o.ended:
			if done != nil {
				l.t.report.report(slog.LevelInfo, l.key("ended"), "connection to peer ended",
					"peer", l.peer, "lane", l.id, "address", o.remote, "error", o.err)
			}
			return
		case <-done:
			done = nil // what follows is ended, soon
			l.end()
		case <-l.kick:
		case <-timer.C:
			fired = true
		}
		again, report := l.look(fired, reported)
		if report {
			l.down()
			reported = time.Now()
			again = sooner(again, l.accept())
		}
		if again > 0 {
			timer.Reset(again)
		}
	}
}

// sooner returns the shorter of two waits, where 0 means none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return a + b
	}
	return min(a, b)
}

// end closes the lane's connection, if there is one.
func (l *lane) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil {
		return
	}
	l.conn.ending = true
	if err := l.conn.conn.Close(); err != nil {
		l.t.report.report(slog.LevelError, "wake", "event loop can't be woken", "error", err)
	}
}

// look wakes the event loop where that is due, and says when to look again (0: when kicked) and whether Down is due.
// After a refusal for want of room it is due when half of the room is there again, and not twice within BackoffMin: an
// engine that sends again at once would otherwise go in circles with a lane that is full.
func (l *lane) look(fired bool, reported time.Time) (again time.Duration, report bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.conn == nil:
		return 0, false
	case l.stalled && !fired:
		again = l.retry
	case l.stalled || l.more:
		l.wake()
	}
	if !l.refusing || !l.drained() {
		return again, false
	}
	if early := l.t.cfg.BackoffMin - time.Since(reported); early > 0 {
		return sooner(again, early), false
	}
	l.refused = false
	return again, true
}

// accept lets the lane take packets again after Down was called, unless some were refused during the call: they are
// behind what that call was about, and another one is due.
func (l *lane) accept() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil || l.refused {
		return l.t.cfg.BackoffMin
	}
	l.refusing = false
	return 0
}

// takeRefused reports whether packets were refused since the last Down, and begins anew.
func (l *lane) takeRefused() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	refused := l.refused
	l.refused = false
	return refused
}

// down calls Link.Down. A panic there is contained; the engine that panics in it can't be helped by this one.
func (l *lane) down() {
	defer l.t.contain("Down", func() {})
	l.t.link.Down(l.peer, l.id)
}
