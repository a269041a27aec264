package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
)

// stalling gives every node of a cluster a memory log that can be stalled.
func stalling(o clusterOptions) (clusterOptions, map[codec.NodeID]*stallingLog) {
	logs := map[codec.NodeID]*stallingLog{}
	adjust := o.adjust
	o.memory = true
	o.adjust = func(cfg *Config) {
		logs[cfg.NodeID] = &stallingLog{Log: MemoryLog()}
		cfg.Log, cfg.Dir = logs[cfg.NodeID], ""
		if adjust != nil {
			adjust(cfg)
		}
	}
	return o, logs
}

// TestWhatTheNextLeaderCommitsIsAnswered: an entry that only the target of a transfer has durably is committed by it, as
// next leader, with the third node, and the caller at the old leader gets its result.
func TestWhatTheNextLeaderCommitsIsAnswered(t *testing.T) {
	for _, tcp := range []bool{false, true} {
		t.Run(fmt.Sprint("tcp=", tcp), func(t *testing.T) {
			o, logs := stalling(clusterOptions{nodes: 3, tcp: tcp, cables: true, adjust: func(cfg *Config) {
				cfg.DiskStallTimeout = -1
				cfg.ElectionTimeoutMin, cfg.ElectionTimeoutMax = time.Second, 2*time.Second
			}})
			c := startCluster(t, o)
			c.propose("x")
			c.agree(1)
			leader := c.leader()
			rest := c.others(leader.NodeID())
			target, third := rest[0], rest[1]
			logs[leader.NodeID()].stall(true)
			c.cable.part([]codec.NodeID{leader.NodeID()}, []codec.NodeID{third})
			fate := make(chan error, 1)
			if err := leader.ProposeAsync([]byte("y"), func(_ Result, err error) { fate <- err }); err != nil {
				t.Fatal(err)
			}
			until(t, "the entry to be in the log", func() bool { return leader.Metrics().Entries == 2 })
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := leader.TransferLeadership(ctx, target); err != nil {
				t.Fatal(err)
			}
			if err := <-fate; err != nil {
				t.Errorf("an entry that the next leader committed was answered with %v", err)
			}
			logs[leader.NodeID()].stall(false)
			c.cable.heal()
			c.propose("z")
			c.agree(3)
		})
	}
}

// TestWhatNoNextLeaderHasIsUnknown: a leader that is cut off while it hands over answers what is in its log alone when
// that is overwritten, or nobody came in time. It lives in a bubble: a starved leader would give the transfer up first, and
// have no next one to wait for.
func TestWhatNoNextLeaderHasIsUnknown(t *testing.T) {
	for _, heal := range []bool{true, false} {
		t.Run(fmt.Sprint("heal=", heal), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { noNextLeader(t, heal) })
		})
	}
}

func noNextLeader(t *testing.T, heal bool) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true, cables: true, adjust: func(cfg *Config) {
		cfg.ElectionTimeoutMin, cfg.ElectionTimeoutMax = 300*time.Millisecond, 400*time.Millisecond
	}})
	c.propose("x")
	c.agree(1)
	leader := c.leader()
	rest := c.others(leader.NodeID())
	c.cable.part([]codec.NodeID{leader.NodeID()}, rest)
	fate := make(chan error, 1)
	if err := leader.ProposeAsync([]byte("y"), func(_ Result, err error) { fate <- err }); err != nil {
		t.Fatal(err)
	}
	until(t, "the entry to be in the log", func() bool { return leader.Metrics().Entries == 2 })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- leader.TransferLeadership(ctx, rest[0]) }()
	until(t, "the leader to step down", func() bool { return leader.Metrics().Role != consensus.Leader })
	if len(fate) > 0 {
		t.Error("the fate of the entry was told before anybody could know it")
	}
	next := c.awaitLeaderAmong(rest)
	if _, err := next.Propose(t.Context(), []byte("z")); err != nil {
		t.Fatal(err)
	}
	if heal {
		c.cable.heal()
	}
	var unknown *UnknownError
	if err := <-fate; !errors.As(err, &unknown) || unknown.LogID.IsZero() {
		t.Errorf("the entry was answered with %v, want an UnknownError", err)
	}
	c.cable.heal()
	// It ended with another leader, which may even be the one that was wanted.
	var failed *TransferError
	if err := <-done; err != nil && !errors.As(err, &failed) {
		t.Errorf("the transfer ended with %v", err)
	}
	c.propose("w")
	c.agree(3)
}

// TestLeaderThatCanApplyNothingAnswersWhenItLeaves: it waits for a snapshot, and once it is removed nobody sends it one.
func TestLeaderThatCanApplyNothingAnswersWhenItLeaves(t *testing.T) {
	o, _ := kept(clusterOptions{nodes: 2, tcp: true, adjust: quiet})
	c := startCluster(t, o)
	c.fill(5)
	c.agree(5)
	const hurt, other = 1, 2
	c.purge(hurt)
	if err := c.nodes[other].SetSwitches(Switches{NoElections: true}); err != nil {
		t.Fatal(err)
	}
	c.close(hurt)
	for _, path := range c.snapshotFiles(hurt) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the other one to lead no more", func() bool { return c.nodes[other].Metrics().Role != consensus.Leader })
	c.open(hurt)
	leader := c.awaitLeaderAmong([]codec.NodeID{hurt})
	began := leader.Metrics().Last.Index
	fate := make(chan error, 1)
	if err := leader.ProposeAsync([]byte("y"), func(_ Result, err error) { fate <- err }); err != nil {
		t.Fatal(err)
	}
	barred := make(chan error, 1)
	go func() {
		_, err := leader.Barrier(t.Context())
		barred <- err
	}()
	until(t, "both entries to be in the log", func() bool { return leader.Metrics().Last.Index >= began+2 })
	if _, err := leader.ChangeMembership(t.Context(), Remove(hurt)); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{"entry": <-fate, "barrier": <-barred} {
		var unknown *UnknownError
		if !errors.As(err, &unknown) || unknown.LogID.IsZero() {
			t.Errorf("the %s was answered with %v, want an UnknownError", what, err)
		}
	}
	if m := leader.Metrics(); m.Applied != 0 || !m.Snapshots.Wanted {
		t.Errorf("the leader has applied %d, waits for a snapshot: %v; want 0 and true", m.Applied, m.Snapshots.Wanted)
	}
}
