package engine

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/netio"
)

// openAlone returns a node that leads a cluster of its own, in memory.
func openAlone(t *testing.T, sm StateMachine, adjust func(*Config)) *Raft {
	t.Helper()
	log := MemoryLog()
	cfg := Config{
		NodeID: 1, ClusterID: "test", Log: log, Transport: netio.NewNetwork().Transport(1, "test", log.Incarnation()),
		ElectionTimeoutMin: 20 * time.Millisecond, ElectionTimeoutMax: 30 * time.Millisecond, HeartbeatInterval: 5 * time.Millisecond,
	}
	adjust(&cfg)
	r, err := Open(cfg, sm)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	if err := r.Initialize(t.Context(), codec.NewMembership(codec.SeveralLeadersPerTerm, codec.Node{ID: 1})); err != nil {
		t.Fatal(err)
	}
	if _, err := r.WaitLeader(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// within fails the test unless done is closed soon.
func within(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s hangs", what)
	}
}

// TestCallInManyFramesIsAnsweredOnce: when a node closes, some frames of one call are with the state machine and others
// are not committed. All must be answered by one goroutine, or the caller is never told, or twice.
func TestCallInManyFramesIsAnsweredOnce(t *testing.T) {
	for range 10 {
		r := openAlone(t, newRegister(), func(c *Config) {
			c.FrameBytesMax, c.CloseTimeout, c.UnappliedBytesMax = 1, time.Millisecond, 1<<20
		})
		done := make(chan struct{})
		var err error
		go func() {
			_, err = r.ProposeBatch(context.Background(), make([][]byte, 50_000))
			close(done)
		}()
		for r.Metrics().Applied < 100 {
			runtime.Gosched()
		}
		if closeErr := r.Close(); closeErr != nil {
			t.Fatal(closeErr)
		}
		within(t, "ProposeBatch", done)
		if err != nil && !errors.Is(err, ErrStopped) {
			t.Fatalf("the caller was told %v", err)
		}
	}
}

func TestInitializeWhileClosing(t *testing.T) {
	m := codec.NewMembership(codec.SeveralLeadersPerTerm, codec.Node{ID: 1}, codec.Node{ID: 2})
	for range 100 {
		log := MemoryLog()
		r, err := Open(Config{NodeID: 1, ClusterID: "test", Log: log,
			Transport: netio.NewNetwork().Transport(1, "test", log.Incarnation())}, newRegister())
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}()
		if err := r.Initialize(t.Context(), m); err != nil && !errors.Is(err, ErrStopped) {
			t.Fatal(err)
		}
		within(t, "Close", done)
	}
}

// curious is a state machine that asks its own node for metrics.
type curious struct {
	node    chan *Raft
	started chan struct{}
	ask     chan struct{}
}

func (c *curious) Apply([]Entry, []Result) error {
	r := <-c.node
	close(c.started)
	<-c.ask
	r.Metrics()
	return nil
}

func TestStateMachineMayAskForMetricsWhileItsNodeCloses(t *testing.T) {
	sm := &curious{node: make(chan *Raft, 1), started: make(chan struct{}), ask: make(chan struct{})}
	r := openAlone(t, sm, func(*Config) {})
	sm.node <- r
	if err := r.ProposeAsync(nil, func(Result, error) {}); err != nil {
		t.Fatal(err)
	}
	within(t, "Apply", sm.started)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	for r.last.Load() == nil { // the loop has ended and waits for the state machine
		runtime.Gosched()
	}
	close(sm.ask)
	within(t, "Close", done)
}
