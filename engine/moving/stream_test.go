package moving

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
)

// The state and what two nodes in one process may use of memory beyond what they had before.
const (
	streamBytes = 192 << 20
	streamHeap  = 64 << 20
)

// heap returns the bytes of live and not yet swept objects.
func heap() int64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64())
}

// TestStateLargerThanTheMemory takes, sends, receives, installs and starts from a state that is three times what the nodes
// may hold (S9).
func TestStateLargerThanTheMemory(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	open := func(id codec.NodeID, listen string) (*engine.Raft, *archive) {
		sm, err := newArchive(filepath.Join(dir, fmt.Sprint(id), "state"))
		if err != nil {
			t.Fatal(err)
		}
		node, err := engine.Open(engine.Config{
			NodeID: id, ClusterID: "moving", Dir: filepath.Join(dir, fmt.Sprint(id), "node"), Listen: listen,
			ElectionTimeoutMin: 10 * time.Second, ElectionTimeoutMax: 20 * time.Second, // a node verifies its snapshot before it answers
			SnapshotBytesPerSecond: -1, Keep: engine.LogKeep{Entries: -1},
		}, sm)
		if err != nil {
			t.Fatal(err)
		}
		return node, sm
	}
	leader, state := open(1, "127.0.0.1:0")
	if err := leader.Initialize(ctx, codec.NewMembership(codec.OneLeaderPerTerm, codec.Node{ID: 1, Address: leader.Addr()})); err != nil {
		t.Fatal(err)
	}
	if _, err := leader.WaitLeader(ctx); err != nil {
		t.Fatal(err)
	}
	before, most, end, ended := heap(), int64(0), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			most = max(most, heap())
			select {
			case <-tick.C:
			case <-end:
				return
			}
		}
	}()
	if _, err := leader.Propose(ctx, growEntry(streamBytes)); err != nil {
		t.Fatal(err)
	}
	if _, err := leader.Trigger().Snapshot(ctx); err != nil {
		t.Fatal(err)
	}
	learner, copied := open(2, "127.0.0.1:0")
	address := learner.Addr()
	if _, err := leader.ChangeMembership(ctx, engine.AddVoter(codec.Node{ID: 2, Address: address})); err != nil {
		t.Fatal(err)
	}
	if err := learner.Close(); err != nil {
		t.Fatal(err)
	}
	if err := copied.close(); err != nil {
		t.Fatal(err)
	}
	learner, copied = open(2, address)
	r, err := leader.Propose(ctx, putEntry(nil, 7, []byte("behind")))
	if err != nil {
		t.Fatal(err)
	}
	for learner.Metrics().Applied < r.LogID.Index {
		pause(10 * time.Millisecond)
	}
	close(end)
	<-ended
	a, errA := state.digest()
	b, errB := copied.digest()
	if errA != nil || errB != nil || a != b || a.Bytes != streamBytes {
		t.Fatalf("the leader holds %+v, %v, the learner %+v, %v", a, errA, b, errB)
	}
	if m := learner.Metrics().Snapshots; m.NewestBytes < streamBytes || m.RestoredBytes < streamBytes {
		t.Fatalf("the learner started from %+v, want a state of %d bytes", m, streamBytes)
	}
	for _, node := range []*engine.Raft{learner, leader} {
		if err := node.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, sm := range []*archive{state, copied} {
		if err := sm.close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("a state of %d MiB, up to %d MiB of heap, %d MiB before", int64(streamBytes)>>20, most>>20, before>>20)
	if most-before > streamHeap {
		t.Errorf("the heap grew by %d MiB, want at most %d", (most-before)>>20, int64(streamHeap)>>20)
	}
}
