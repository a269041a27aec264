package engine

import (
	"context"
	"errors"
	"testing"
	"time"
)

// TestEventsOfASnapshot that fails, is taken, purges the log, and is restored at the next start; conditions on it hold.
func TestEventsOfASnapshot(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, tcp := range []bool{false, true} {
		o, machines := kept(clusterOptions{nodes: 1, tcp: tcp, adjust: quiet})
		c := startCluster(t, o)
		c.propose("x")
		s := events(t, c.nodes[1], EventSnapshotStarted, EventSnapshotFailed, EventSnapshotTaken, EventLogPurged)
		failing := errors.New("no state today")
		set := func(err error) {
			machines[1].mu.Lock()
			defer machines[1].mu.Unlock()
			machines[1].failing = err
		}
		set(failing)
		if _, err := c.nodes[1].Trigger().Snapshot(t.Context()); !errors.Is(err, failing) {
			t.Fatalf("snapshot of a machine that fails: %v", err)
		}
		awaitEvent(t, s, anyEvent[SnapshotStarted])
		if e := awaitEvent(t, s, anyEvent[SnapshotFailed]); !errors.Is(e.Cause, failing) {
			t.Errorf("%+v", e)
		}
		set(nil)
		at := c.snapshot(1)
		if e := awaitEvent(t, s, anyEvent[SnapshotStarted]); e.AtLeast > at.Index {
			t.Errorf("%+v, taken at %v", e, at)
		}
		if e := awaitEvent(t, s, anyEvent[SnapshotTaken]); e.Snapshot != at || e.Bytes == 0 {
			t.Errorf("%+v, taken at %v", e, at)
		}
		if e := awaitEvent(t, s, anyEvent[LogPurged]); e.Purged != at {
			t.Errorf("%+v, taken at %v", e, at)
		}
		if m, err := c.nodes[1].Wait(ctx, All(SnapshotAtLeast(at.Index), PurgedAtLeast(at.Index))); err != nil || m.Snapshot != at || m.Purged != at {
			t.Errorf("%v: %+v, taken at %v", err, m.LogPointers, at)
		}
		if !tcp { // this cluster keeps its snapshots in memory
			continue
		}
		c.close(1)
		c.open(1)
		if m, err := c.nodes[1].Wait(ctx, AppliedAtLeast(at.Index)); err != nil || m.Snapshot != at {
			t.Errorf("%v: %+v", err, m.LogPointers)
		}
	}
}
