package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"github.com/millrace/millrace/cluster_benchmark/load"
	"github.com/millrace/millrace/cluster_benchmark/safety"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/cluster_benchmark/target"
	"github.com/millrace/millrace/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) }

// drive makes load for a second and returns what the clients saw, once everything is applied and closed.
func drive(t *testing.T, s setting.Scenario) (load.Measurement, target.Target) {
	t.Helper()
	c, err := open(t.Context(), s, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	run := load.Start(load.Config{
		Clients: s.Clients, Inflight: s.Inflight, Batch: s.Batch, Payload: s.Payload, Warmup: 200 * time.Millisecond, Duration: time.Second,
	}, c)
	<-run.Over()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if !run.Drain(ctx) {
		t.Error("puts are not answered")
	}
	if err := c.Settle(ctx); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if !run.Drain(ctx) {
		t.Fatal("Close does not answer everyone")
	}
	m := run.Measurement()
	if m.Errors > 0 { // a machine that stands still for a second makes an election
		t.Logf("%d puts failed, the first with: %v", m.Errors, m.FirstError)
	}
	return m, c
}

// TestForms measures each form shortly. The safety check must find every put on every replica.
func TestForms(t *testing.T) {
	for name, s := range map[string]setting.Scenario{
		"memory, empty puts":  {Clients: 256, Inflight: 1, Batch: 1, Payload: 0, Store: setting.StoreMemory, Net: setting.NetInproc},
		"memory, windows":     {Clients: 8, Inflight: 32, Batch: 1, Payload: 128, Store: setting.StoreMemory, Net: setting.NetInproc},
		"durable, over TCP":   {Clients: 256, Inflight: 1, Batch: 1, Payload: 128, Store: setting.StoreWAL, Net: setting.NetTCP},
		"durable, empty puts": {Clients: 16, Inflight: 1, Batch: 16, Payload: 0, Store: setting.StoreWAL, Net: setting.NetTCP},
		"durable, large puts": {Clients: 4, Inflight: 1, Batch: 1, Payload: 2 << 20, Store: setting.StoreWAL, Net: setting.NetTCP},
		"memory over TCP":     {Clients: 64, Inflight: 1, Batch: 1, Payload: 64, Store: setting.StoreMemory, Net: setting.NetTCP},
		"durable, in process": {Clients: 64, Inflight: 1, Batch: 1, Payload: 64, Store: setting.StoreWAL, Net: setting.NetInproc},
	} {
		s.Nodes = 3
		t.Run(name, func(t *testing.T) {
			m, c := drive(t, s)
			v := safety.Check(m.Books, c.Replicas(), nil)
			if !v.OK || len(v.Applied) != s.Nodes {
				t.Errorf("%+v, want ok on %d replicas", v, s.Nodes)
			}
			n := c.Counters()
			if n.Entries < v.Acknowledged || n.Frames == 0 || n.Frames > n.Entries {
				t.Errorf("%d entries in %d frames for %d puts", n.Entries, n.Frames, v.Acknowledged)
			}
			if wal := s.Store == setting.StoreWAL; (n.WALSyncs > 0) != wal || (n.WALBytes > 3*n.Entries*uint64(s.Payload)) != wal {
				t.Errorf("%d bytes, %d syncs", n.WALBytes, n.WALSyncs)
			}
			t.Logf("%.0f put/s, p50 %v, p99 %v, %.0f puts a frame, %d syncs", float64(m.Ops)/m.Duration.Seconds(),
				time.Duration(m.Latency.ValueAtQuantile(50)), time.Duration(m.Latency.ValueAtQuantile(99)), float64(n.Entries)/float64(n.Frames), n.WALSyncs)
		})
	}
}

// TestCloseAnswersWhatWaits closes the cluster while puts are on their way: each is answered, one way or the other.
func TestCloseAnswersWhatWaits(t *testing.T) {
	c, err := open(t.Context(), setting.Scenario{Nodes: 3, Clients: 4, Store: setting.StoreMemory, Net: setting.NetTCP}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Proposer()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	first := make(chan struct{})
	var once sync.Once
	for range 4 {
		wg.Go(func() {
			for {
				if _, err := p.Propose(context.Background(), nil); err != nil {
					if !errors.Is(err, pipeline.ErrStopped) {
						t.Errorf("%v, want ErrStopped", err)
					}
					return
				}
				once.Do(func() { close(first) })
			}
		})
	}
	<-first
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if _, err := c.Proposer(); !errors.Is(err, load.ErrGone) {
		t.Errorf("after Close: %v, want ErrGone", err)
	}
}

func TestDirectoryThatCannotBeUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := open(t.Context(), setting.Scenario{Nodes: 3, Clients: 1, Store: setting.StoreWAL, Net: setting.NetTCP}, file)
	if err == nil {
		t.Error("opened below a file", c.Close())
	}
}

// TestWhatCouldNotHappen: what the library refuses before it appends is told from what may yet be committed.
func TestWhatCouldNotHappen(t *testing.T) {
	opened, err := open(t.Context(), setting.Scenario{Nodes: 3, Clients: 1, Store: setting.StoreMemory, Net: setting.NetInproc}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := opened.(*cluster)
	var unknown *pipeline.UnknownError
	for _, n := range c.nodes {
		if n == c.leading() {
			continue
		}
		if _, err := n.Propose(t.Context(), []byte("x")); !errors.Is(err, raft.ErrNotLeader) || errors.As(err, &unknown) {
			t.Errorf("a follower: %v, want that it does not lead", err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.leading().Propose(ended, []byte("x")); !errors.Is(err, context.Canceled) || errors.As(err, &unknown) {
		t.Errorf("a context that has ended: %v", err)
	}
	// A leader that is alone can't commit: it steps down and can't say what becomes of the put.
	leader := c.leading()
	for _, n := range c.nodes {
		if n != leader {
			if err := n.raft.Shutdown().Error(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := leader.Propose(t.Context(), []byte("x")); !errors.As(err, &unknown) {
		t.Errorf("a leader without followers: %v, want an unknown fate", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// TestLogIsCut: the library's snapshots, which hold nothing, let it drop entries, so that memory stays bounded.
func TestLogIsCut(t *testing.T) {
	opened, err := open(t.Context(), setting.Scenario{Nodes: 3, Clients: 1, Store: setting.StoreMemory, Net: setting.NetInproc}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := opened.(*cluster)
	for _, n := range c.nodes {
		cfg := n.raft.ReloadableConfig()
		cfg.TrailingLogs, cfg.SnapshotThreshold, cfg.SnapshotInterval = 50, 50, 10*time.Millisecond
		if err := n.raft.ReloadConfig(cfg); err != nil {
			t.Fatal(err)
		}
	}
	cut := func() bool {
		for _, n := range c.nodes {
			if first, err := n.logs.FirstIndex(); err != nil || first < 50 {
				return false
			}
		}
		return true
	}
	for end := time.Now().Add(20 * time.Second); !cut(); {
		if _, err := c.leading().ProposeBatch(t.Context(), make([][]byte, 64)); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(end) {
			t.Fatal("the log is not cut")
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
