package engine

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/netio"
)

// patient opens a node that knows no leader and would try a command again after minutes.
func patient(t *testing.T) (*Raft, *Session) {
	t.Helper()
	log := MemoryLog()
	r, err := Open(Config{
		NodeID: 1, ClusterID: "test", Log: log, Transport: netio.NewNetwork().Transport(1, "test", log.Incarnation()),
		HeartbeatInterval: 10 * time.Minute, ElectionTimeoutMin: time.Hour, ElectionTimeoutMax: 2 * time.Hour,
	}, newRegister())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r, resume(t, r, SessionState{ID: 3, Next: 1}, Forwarding())
}

// TestDoHeedsItsContextBetweenAttempts, and the end of its node.
func TestDoHeedsItsContextBetweenAttempts(t *testing.T) {
	r, s := patient(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	done, err := make(chan struct{}), error(nil)
	do := func(ctx context.Context) {
		_, err = s.Do(ctx, nil)
		close(done)
	}
	go do(ctx)
	within(t, "Do, whose context has ended,", done)
	if !errors.Is(err, context.DeadlineExceeded) || errors.As(err, new(*OpenCommandError)) {
		t.Errorf("got %v, want the context's error alone: no attempt may have had effect", err)
	}
	done = make(chan struct{})
	go do(t.Context())
	until(t, "the command to be open", func() bool { return len(s.State().Open) > 0 })
	inLoop(t, r, func(*loop) {})
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	within(t, "Do on a node that has ended", done)
	if !errors.Is(err, ErrStopped) {
		t.Errorf("got %v", err)
	}
	if open := s.State().Open; open != nil {
		t.Errorf("open in the end: %v", open)
	}
}

// TestCauseOfAContextSettlesNothing: a caller that works for others may cancel them with the error that it got itself, which
// is not the answer to their commands.
func TestCauseOfAContextSettlesNothing(t *testing.T) {
	for name, cause := range map[string]error{
		"applied": &AppliedError{Session: 99, Serial: 9}, "expired": &SessionExpiredError{Session: 99},
		"answered": &SessionAnsweredError{Session: 99}, "unknown": &UnknownError{Cause: ErrBusy},
	} {
		t.Run(name, func(t *testing.T) {
			sm := newGatedRegister()
			r := openAlone(t, sm, func(*Config) {})
			s := openSession(t, r)
			ctx, cancel := context.WithCancelCause(t.Context())
			fate := make(chan error, 1)
			go func() {
				_, err := s.Propose(ctx, []byte("x"))
				fate <- err
			}()
			<-sm.entered
			cancel(cause)
			var open *OpenCommandError
			if err := <-fate; !errors.As(err, &open) || open.Serial != 1 || !errors.Is(err, cause) {
				t.Errorf("on its way it ended with %v, want an OpenCommandError", err)
			}
			if _, err := s.Propose(ctx, []byte("never")); err != cause {
				t.Errorf("proposed too late: %v, want the cause alone", err)
			}
			serial, err := s.Reserve()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Retry(ctx, serial, []byte("y")); err != cause {
				t.Errorf("retried too late: %v, want the cause alone", err)
			}
			if _, err := s.Retry(ctx, 1, []byte("x")); !errors.As(err, &open) || !errors.Is(err, cause) {
				t.Errorf("the open one, retried too late: %v", err)
			}
			if got := s.State().Open; !slices.Equal(got, []uint64{1, serial}) {
				t.Errorf("open are %v, want 1 and %d", got, serial)
			}
			if err := s.Close(ctx); err != cause {
				t.Errorf("closed too late: %v", err)
			}
			close(sm.gate)
			if r, err := s.Retry(t.Context(), 1, []byte("x")); err != nil || string(r.Data) != "1" {
				t.Errorf("the retry: %q, %v", r.Data, err)
			}
		})
	}
}
