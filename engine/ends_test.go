package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/netio"
)

// TestInitializeWhoseCallerLeaves: it may come about, and does here.
func TestInitializeWhoseCallerLeaves(t *testing.T) {
	log := &stallingLog{Log: MemoryLog(), stalled: true}
	r, err := Open(Config{NodeID: 1, ClusterID: "test", Log: log, Transport: netio.NewNetwork().Transport(1, "test", log.Incarnation())}, newRegister())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	m := codec.NewMembership(codec.SeveralLeadersPerTerm, codec.Node{ID: 1})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	must(t, r.Initialize(ended, m), "context.Canceled", FateNotDone)
	soon, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	must(t, r.Initialize(soon, m), "UnknownError", FateUnknown)
	log.stall(false)
	if _, err := r.Wait(t.Context(), Established()); err != nil {
		t.Fatal(err)
	}
	must(t, r.Initialize(t.Context(), m), "ErrInitialized", FateNotDone)
}

// TestWhatANodeThatFailsHadNotTaken certainly did not happen; what its log had taken may have.
func TestWhatANodeThatFailsHadNotTaken(t *testing.T) {
	log := &stallingLog{Log: MemoryLog()}
	sm := &keptRegister{register: register{changed: make(chan struct{})}}
	r := openAlone(t, sm, func(cfg *Config) {
		quiet(cfg)
		cfg.Log, cfg.Transport = log, netio.NewNetwork().Transport(1, "test", log.Incarnation())
		cfg.ElectionTimeoutMin, cfg.ElectionTimeoutMax, cfg.HeartbeatInterval = 20*time.Millisecond, 30*time.Millisecond, 5*time.Millisecond
		cfg.Keep = LogKeep{}
	})
	for n := range 3 {
		if _, err := r.Propose(t.Context(), fmt.Append(nil, n)); err != nil {
			t.Fatal(err)
		}
	}
	at, err := r.Trigger().Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	log.stall(true)
	purged := make(chan error, 1)
	go func() { purged <- r.Trigger().Purge(t.Context(), at.Index) }()
	until(t, "the purge to be on its way to the disk", func() bool {
		waits := false
		inLoop(t, r, func(l *loop) { waits = len(l.awaiting) > 0 })
		return waits
	})
	answered, lost := make(chan error, 1), errors.New("the disk is lost")
	inLoop(t, r, func(l *loop) { // which takes proposals after this
		if err := r.ProposeAsync([]byte("late"), func(_ Result, err error) { answered <- err }); err != nil {
			t.Error(err)
		}
		l.fail(lost)
	})
	err = <-answered
	must(t, err, "ErrStopped", FateNotDone)
	if !errors.Is(err, lost) {
		t.Errorf("%v, want the cause in it", err)
	}
	must(t, <-purged, "UnknownError", FateUnknown)
	if err := r.Close(); err != lost {
		t.Errorf("Close returns %v, want %v", err, lost)
	}
}

// TestCallsDuringAHandover wait for its end, and then name the next leader.
func TestCallsDuringAHandover(t *testing.T) {
	o, logs := stalling(clusterOptions{nodes: 3, adjust: func(cfg *Config) {
		sleepy(cfg)
		cfg.DiskStallTimeout = -1
	}})
	c := startCluster(t, o)
	c.propose("x")
	c.settle()
	leader := c.leader()
	others := c.others(leader.NodeID())
	logs[others[0]].stall(true)
	c.propose("which the target has not flushed")
	ended := make(chan error, 4)
	go func() { ended <- leader.TransferLeadership(t.Context(), others[0]) }()
	if _, err := leader.Wait(t.Context(), When("the handover", func(m Metrics) bool { return m.Transferee == others[0] })); err != nil {
		t.Fatal(err)
	}
	calls := map[string]func() error{
		"Barrier": func() error { return second(leader.Barrier(t.Context())) },
		"Propose": func() error { return second(leader.Propose(t.Context(), []byte("late"))) },
	}
	_, err := leader.ChangeMembership(t.Context(), AddLearner(codec.Node{ID: 9}))
	must(t, err, "ErrTransferInProgress", FateNotDone)
	for name, call := range calls {
		go func() {
			err := call()
			var next *NotLeaderError
			if !errors.As(err, &next) || next.Leader.ID != others[0] {
				err = fmt.Errorf("%s: %w, want the next leader's name", name, err)
			} else {
				err = nil
			}
			ended <- err
		}()
	}
	until(t, "all to wait", func() bool {
		waits := false
		inLoop(t, leader, func(l *loop) { waits = len(l.errands) == 2 && l.intake.Bytes() > 0 })
		return waits
	})
	logs[others[0]].stall(false)
	for range 1 + len(calls) {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	c.wantStates("x", "which the target has not flushed")
}

// TestWaitForALearnerEndsWithTheLeadership: only a leader knows what others have.
func TestWaitForALearnerEndsWithTheLeadership(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true, adjust: calm})
	leader := c.leader()
	if _, err := leader.ChangeMembership(t.Context(), AddLearner(codec.Node{ID: 9, Address: "nowhere"})); err != nil {
		t.Fatal(err)
	}
	c.settle()
	ended := make(chan error, 1)
	go func() { ended <- leader.WaitCaughtUp(t.Context(), c.others(leader.NodeID())[0], 9) }()
	until(t, "it to wait", func() bool {
		waits := false
		inLoop(t, leader, func(l *loop) { waits = len(l.errands) == 1 })
		return waits
	})
	if err := leader.TransferLeadership(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	must(t, <-ended, "NotLeaderError", FateNotDone)
}

// TestLeaseThatRunsOutWhileItIsRead: what was read then does not count, and is read again.
func TestLeaseThatRunsOutWhileItIsRead(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true, cables: true, adjust: func(cfg *Config) {
		cfg.ElectionTimeoutMin, cfg.ElectionTimeoutMax = 200*time.Millisecond, 400*time.Millisecond
		cfg.LeaseReads = true
	}})
	c.propose("old")
	c.settle()
	leader := c.leader()
	cut := []codec.NodeID{leader.NodeID()}
	until(t, "a lease", func() bool { return leader.lease.runs(leader) })
	var seen []string
	err := leader.LeaseRead(t.Context(), func() error {
		if len(seen) == 0 { // the others take another leader, and go on
			c.cable.part(cut, c.others(cut...))
			next := c.awaitLeaderAmong(c.others(cut...))
			if _, err := next.Propose(t.Context(), []byte("new")); err != nil {
				t.Error(err)
			}
			until(t, "the lease to be over", func() bool { return !leader.lease.runs(leader) })
		}
		seen = append(seen, fmt.Sprint(c.sms[leader.NodeID()].len()))
		c.cable.heal()
		return nil
	})
	if got := strings.Join(seen, " "); err != nil || got != "1 2" {
		t.Errorf("it has read %s entries, %v; want 1, which does not count, and then 2", got, err)
	}
}
