package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

// taken waits until a node has taken so many snapshots.
func (c *cluster) taken(id codec.NodeID, n uint64) SnapshotMetrics {
	c.t.Helper()
	until(c.t, fmt.Sprintf("node %d to take %d snapshots", id, n), func() bool { return c.nodes[id].Metrics().Snapshots.Taken >= n })
	return c.nodes[id].Metrics().Snapshots
}

func TestSnapshotPolicies(t *testing.T) {
	for name, policy := range map[string]SnapshotPolicy{
		"entries":  {Entries: 20},
		"bytes":    {Bytes: 10 << 10},
		"interval": {Interval: 20 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, _ := kept(clusterOptions{nodes: 1, memory: true, adjust: func(cfg *Config) { cfg.Snapshot, cfg.Keep = policy, LogKeep{Entries: 5} }})
			c := startCluster(t, o)
			for n := range 100 {
				c.propose(fmt.Sprint(n, strings.Repeat(".", 1000)))
			}
			m := c.taken(1, 1)
			if name != "interval" { // one that is written while others are due stands for them
				m = c.taken(1, 2)
			}
			if m.Newest.Index < 20 && name == "entries" || m.Purged.Index > m.Newest.Index-5 || m.Newest.Index > 5 && m.Purged.Index < m.Newest.Index-6 {
				t.Errorf("%+v", m)
			}
		})
	}
}

// TestTriggerMissedDuringASnapshot: what is asked for while one is written is not forgotten (S9), by callers and by the
// policy, and applying goes on meanwhile.
func TestTriggerMissedDuringASnapshot(t *testing.T) {
	o, machines := kept(clusterOptions{nodes: 1, adjust: func(cfg *Config) { quiet(cfg); cfg.Snapshot.Entries = 1000 }})
	c := startCluster(t, o)
	hold := make(chan struct{})
	machines[1].mu.Lock()
	machines[1].hold = hold
	machines[1].mu.Unlock()
	type answer struct {
		id  codec.LogID
		err error
	}
	ask := func() chan answer {
		reply := make(chan answer, 1)
		go func() {
			id, err := c.nodes[1].Trigger().Snapshot(t.Context())
			reply <- answer{id, err}
		}()
		return reply
	}
	first := c.propose("in the first").LogID
	one := ask()
	until(t, "the first to begin", func() bool { return c.nodes[1].Metrics().Snapshots.Taking })
	second := c.propose("in the second").LogID // applied and answered while it is written
	two := ask()
	until(t, "the second to wait", func() bool {
		waiting := make(chan int, 1)
		c.nodes[1].box.post(func(m *mail) { m.asks = append(m.asks, func(l *loop) { waiting <- len(l.keeper.take.asks) }) })
		return <-waiting == 2
	})
	close(hold)
	if got := <-one; got.err != nil || got.id != first {
		t.Fatalf("the first snapshot ends with %v, %v, want %v", got.id, got.err, first)
	}
	if got := <-two; got.err != nil || got.id != second {
		t.Fatalf("the second snapshot ends with %v, %v, want %v", got.id, got.err, second)
	}

	hold = make(chan struct{})
	machines[1].mu.Lock()
	machines[1].hold = hold
	machines[1].mu.Unlock()
	c.propose("x")
	one = ask()
	until(t, "the third to begin", func() bool { return c.nodes[1].Metrics().Snapshots.Taking })
	for range 10 {
		if _, err := c.nodes[1].ProposeBatch(t.Context(), make([][]byte, 100)); err != nil {
			t.Fatal(err)
		}
	}
	close(hold)
	<-one
	if m := c.taken(1, 4); m.Newest.Index < second.Index+1000 {
		t.Fatalf("after a thousand entries during the third snapshot: %+v", m)
	}
}

// TestSnapshotHoldsExactlyItsEntries: entries that are applied while a snapshot is written are not in it (S6).
func TestSnapshotHoldsExactlyItsEntries(t *testing.T) {
	o, machines := kept(clusterOptions{nodes: 1, adjust: quiet})
	c := startCluster(t, o)
	c.propose("first")
	stop := make(chan struct{})
	load := make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				load <- nil
				return
			default:
			}
			if _, err := c.nodes[1].Propose(t.Context(), []byte("x")); err != nil {
				load <- err
				return
			}
		}
	}()
	for range 20 {
		at := c.snapshot(1)
		info, ok := c.nodes[1].loop.keeper.store.Newest()
		if !ok || info.Base.ID != at || info.Base.Membership.ID.Index == 0 {
			t.Fatalf("newest snapshot %+v, want %v with its membership", info, at)
		}
		r, err := c.nodes[1].loop.keeper.store.Open(info)
		if err != nil {
			t.Fatal(err)
		}
		in, err := readRegister(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if n := len(in.IDs); in.IDs[n-1] != at || in.Hashes[n-1] != machines[1].await(t, n) {
			t.Fatalf("the snapshot of %v holds %d entries up to %v", at, n, in.IDs[n-1])
		}
	}
	close(stop)
	if err := <-load; err != nil {
		t.Fatal(err)
	}
}

// TestSnapshotThatFails leaves the state, the older snapshots and the directory as they were, and the next one succeeds.
func TestSnapshotThatFails(t *testing.T) {
	var full atomic.Bool
	disk := vfs.NewFault(vfs.NewMem())
	disk.InjectIf(vfs.OpWrite, full.Load, vfs.Fail, syscall.ENOSPC)
	o, machines := kept(clusterOptions{nodes: 1, memory: true, adjust: func(cfg *Config) {
		quiet(cfg)
		cfg.SnapshotFS, cfg.SnapshotDir = disk, "/snapshots"
	}})
	c := startCluster(t, o)
	c.propose("a")
	old := c.snapshot(1)
	broken := errors.New("no state today")
	for n, fault := range []struct {
		set, unset func()
		want       error
	}{
		{func() { full.Store(true) }, func() { full.Store(false) }, syscall.ENOSPC},
		{func() { machines[1].failing = broken }, func() { machines[1].failing = nil }, broken},
		{func() { machines[1].panics = true }, func() { machines[1].panics = false }, nil},
	} {
		c.propose("b")
		machines[1].mu.Lock()
		fault.set()
		machines[1].mu.Unlock()
		_, err := c.nodes[1].Trigger().Snapshot(t.Context())
		if err == nil || fault.want != nil && !errors.Is(err, fault.want) {
			t.Fatalf("fault %d: the snapshot ends with %v, want %v", n, err, fault.want)
		}
		m := c.nodes[1].Metrics().Snapshots
		if m.Failed != uint64(n+1) || m.Newest != old || m.Purged != old {
			t.Fatalf("fault %d: %+v, want the snapshot of %v", n, m, old)
		}
		if names, err := disk.ReadDir("/snapshots/1"); err != nil || len(names) > 2 {
			t.Fatalf("fault %d: files %v, %v", n, names, err)
		}
		machines[1].mu.Lock()
		fault.unset()
		machines[1].mu.Unlock()
		old = c.snapshot(1)
	}
	c.agree(4)
}

// TestSnapshotIsTriedAgain: by policy, without a caller, and not at once (S9).
func TestSnapshotIsTriedAgain(t *testing.T) {
	o, machines := kept(clusterOptions{nodes: 1, memory: true, adjust: func(cfg *Config) { quiet(cfg); cfg.Snapshot.Entries = 10 }})
	c := startCluster(t, o)
	machines[1].mu.Lock()
	machines[1].failing = errors.New("not now")
	machines[1].mu.Unlock()
	for range 20 {
		c.propose("x")
	}
	until(t, "the first attempt", func() bool { return c.nodes[1].Metrics().Snapshots.Failed > 0 })
	for range 100 {
		c.propose("y")
	}
	if failed := c.nodes[1].Metrics().Snapshots.Failed; failed > 3 {
		t.Fatalf("%d attempts in a moment", failed)
	}
	machines[1].mu.Lock()
	machines[1].failing = nil
	machines[1].mu.Unlock()
	c.taken(1, 1)
}

// TestCloseEndsASnapshot that is being written.
func TestCloseEndsASnapshot(t *testing.T) {
	o, machines := kept(clusterOptions{nodes: 1, adjust: quiet})
	c := startCluster(t, o)
	c.propose("x")
	machines[1].endless = true
	ended := make(chan error, 1)
	node := c.nodes[1]
	go func() {
		_, err := node.Trigger().Snapshot(t.Context())
		ended <- err
	}()
	until(t, "the snapshot to begin", func() bool { return node.Metrics().Snapshots.Taking })
	c.close(1)
	if err := <-ended; !errors.Is(err, ErrStopped) {
		t.Fatalf("the snapshot ends with %v, want %v", err, ErrStopped)
	}
	c.open(1)
	c.propose("y")
	c.agree(2)
	if names, err := os.ReadDir(filepath.Join(c.dir, "1", "snapshots", "1")); err != nil || len(names) > 0 {
		t.Fatalf("files %v, %v, want none", names, err)
	}
}

// TestDamagedSnapshotGivesWayToTheOneBefore: the log still reaches back to that (S7).
func TestDamagedSnapshotGivesWayToTheOneBefore(t *testing.T) {
	o, machines := kept(clusterOptions{nodes: 1, adjust: func(cfg *Config) { quiet(cfg); cfg.Keep = LogKeep{Entries: 1000} }})
	c := startCluster(t, o)
	for n := range 9 {
		c.propose(fmt.Sprint("old", n))
	}
	c.snapshot(1)
	for n := range 9 {
		c.propose(fmt.Sprint("new", n)) // the index grows from one digit to two: names sort by number
	}
	at := c.snapshot(1)
	info, _ := c.nodes[1].loop.keeper.store.Newest()
	c.close(1)
	dir := filepath.Join(c.dir, "1", "snapshots", "1")
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 2 || info.Base.ID != at {
		t.Fatalf("files %v, %v, newest %v", names, err, info)
	}
	newest := filepath.Join(dir, names[1].Name())
	b, err := os.ReadFile(newest)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(newest, b, 0o600); err != nil {
		t.Fatal(err)
	}
	c.open(1)
	c.propose("x")
	c.agree(19)
	if machines[1].restores != 1 {
		t.Errorf("%d states were restored, want 1", machines[1].restores)
	}
	if m := c.nodes[1].Metrics().Snapshots; m.Newest.Index >= at.Index {
		t.Errorf("started from %v, want from before %v", m.Newest, at)
	}
	if _, err := os.Stat(newest + ".1.broken"); err != nil {
		t.Errorf("the damaged file was not kept: %v", err)
	}
}

func TestPurgeByHand(t *testing.T) {
	o, _ := kept(clusterOptions{nodes: 1, adjust: func(cfg *Config) { quiet(cfg); cfg.Keep = LogKeep{Entries: 1000} }})
	c := startCluster(t, o)
	for n := range 50 {
		c.propose(fmt.Sprint(n))
	}
	at := c.snapshot(1)
	if m := c.nodes[1].Metrics().Snapshots; !m.Purged.IsZero() {
		t.Fatalf("purged up to %v although all is to be kept", m.Purged)
	}
	if err := c.nodes[1].Trigger().Purge(t.Context(), 20); err != nil {
		t.Fatal(err)
	}
	if m := c.nodes[1].Metrics().Snapshots; m.Purged.Index != 20 {
		t.Fatalf("purged up to %v, want 20", m.Purged)
	}
	if err := c.nodes[1].Trigger().Purge(t.Context(), 20); !errors.Is(err, ErrNothingToPurge) {
		t.Fatalf("the same again: %v, want %v", err, ErrNothingToPurge)
	}
	c.propose("x")
	if err := c.nodes[1].Trigger().Purge(t.Context(), at.Index+1); err != nil {
		t.Fatal(err)
	}
	if m := c.nodes[1].Metrics().Snapshots; m.Purged != at {
		t.Fatalf("purged up to %v, want no further than the snapshot of %v", m.Purged, at)
	}
	entries, err := readAll(t.Context(), c.nodes[1], at.Index+1, 0)
	if err != nil || len(entries) != 1 {
		t.Fatalf("%d entries behind the snapshot, %v", len(entries), err)
	}
	c.close(1)
	c.open(1)
	c.propose("y")
	c.agree(52)
}

func TestSnapshotDirBelongsToOneNode(t *testing.T) {
	dir := t.TempDir()
	o, machines := kept(clusterOptions{nodes: 1, memory: true, adjust: func(cfg *Config) { quiet(cfg); cfg.SnapshotDir = dir }})
	c := startCluster(t, o)
	c.propose("x")
	c.snapshot(1)
	log := MemoryLog()
	_, err := Open(Config{
		NodeID: 2, ClusterID: "test", Log: log, Transport: c.net.Transport(2, "test", log.Incarnation()), SnapshotDir: dir,
	}, machines[1])
	if !errors.Is(err, vfs.ErrLocked) {
		t.Fatalf("a second node in the directory: %v, want %v", err, vfs.ErrLocked)
	}
	c.close(1)
	log = MemoryLog()
	_, err = Open(Config{
		NodeID: 1, ClusterID: "other", Log: log, Transport: c.net.Transport(1, "other", log.Incarnation()), SnapshotDir: dir,
	}, machines[1])
	if err == nil || !strings.Contains(err.Error(), "test") {
		t.Fatalf("a node of another cluster in the directory: %v", err)
	}
}

// TestLogShrinksOnDisk: what is purged comes back as space, after a restart too, and with it what other nodes hold stays.
func TestLogShrinksOnDisk(t *testing.T) {
	o, _ := kept(clusterOptions{nodes: 3, tcp: true, adjust: func(cfg *Config) { quiet(cfg); cfg.SegmentBytes, cfg.RecentBytesMax = 64<<10, 64<<10 }})
	c := startCluster(t, o)
	size := func(id codec.NodeID) (n int64) {
		err := filepath.WalkDir(filepath.Join(c.cfgs[id].Dir, "wal"), func(_ string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				var info os.FileInfo
				if info, err = d.Info(); err == nil {
					n += info.Size()
				}
			}
			if errors.Is(err, os.ErrNotExist) {
				err = nil // it was removed meanwhile
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	batch := make([][]byte, 100)
	for i := range batch {
		batch[i] = []byte(strings.Repeat("x", 1000))
	}
	for range 30 {
		if _, err := c.leader().ProposeBatch(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	c.agree(3000)
	for id := range c.nodes {
		before := size(id)
		if before < 3_000_000 {
			t.Fatalf("node %d: the log has %d bytes, want those of 3000 entries", id, before)
		}
		c.purge(id)
		until(t, fmt.Sprintf("node %d to give back space", id), func() bool { return size(id) < before/8 })
	}
	for id := range c.cfgs {
		c.close(id)
	}
	for id := range c.cfgs {
		c.open(id)
	}
	c.propose("after the restart")
	c.agree(3001)
}

func TestSnapshotsAreWrittenAtTheirRate(t *testing.T) {
	o, _ := kept(clusterOptions{nodes: 1, memory: true, adjust: func(cfg *Config) {
		quiet(cfg)
		cfg.SnapshotChunkBytes, cfg.SnapshotWriteBytesPerSecond = 4<<10, 200<<10
	}})
	c := startCluster(t, o)
	c.fill(200)
	began := time.Now()
	c.snapshot(1)
	if took, bytes := time.Since(began), c.nodes[1].Metrics().Snapshots.NewestBytes; took < 800*time.Millisecond || bytes < 200_000 {
		t.Fatalf("%d bytes took %v at 204800 a second", bytes, took)
	}
}
