package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lni/dragonboat/v4"
	"go.uber.org/goleak"

	"github.com/millrace/millrace/cluster_benchmark/load"
	"github.com/millrace/millrace/cluster_benchmark/safety"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/cluster_benchmark/target"
	"github.com/millrace/millrace/pipeline"
)

func TestMain(m *testing.M) {
	quieten()
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent())
}

// drive makes load for a second and returns what the clients saw, once everything is applied and closed.
func drive(t *testing.T, l logEngine, s setting.Scenario) (load.Measurement, target.Target) {
	t.Helper()
	c, err := open(t.Context(), l, s, t.TempDir())
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

// short are the forms that are measured when time is short.
var short = []string{"tan, memory, empty puts", "tan, durable, over TCP", "pebble, durable, over TCP", "more than the queue takes"}

// TestForms measures each form shortly. The safety check must find every put on every replica.
func TestForms(t *testing.T) {
	for name, s := range map[string]setting.Scenario{
		"tan, memory, empty puts":    {Clients: 256, Inflight: 1, Batch: 1, Payload: 0, Store: setting.StoreMemory, Net: setting.NetInproc},
		"tan, memory, windows":       {Clients: 8, Inflight: 32, Batch: 1, Payload: 128, Store: setting.StoreMemory, Net: setting.NetInproc},
		"tan, memory over TCP":       {Clients: 64, Inflight: 1, Batch: 1, Payload: 64, Store: setting.StoreMemory, Net: setting.NetTCP},
		"tan, durable, over TCP":     {Clients: 256, Inflight: 1, Batch: 1, Payload: 128, Store: setting.StoreWAL, Net: setting.NetTCP},
		"tan, durable, empty puts":   {Clients: 16, Inflight: 1, Batch: 16, Payload: 0, Store: setting.StoreWAL, Net: setting.NetTCP},
		"tan, durable, large puts":   {Clients: 4, Inflight: 1, Batch: 1, Payload: 2 << 20, Store: setting.StoreWAL, Net: setting.NetTCP},
		"pebble, memory, empty puts": {Clients: 256, Inflight: 1, Batch: 1, Payload: 0, Store: setting.StoreMemory, Net: setting.NetInproc},
		"pebble, durable, over TCP":  {Clients: 256, Inflight: 1, Batch: 1, Payload: 128, Store: setting.StoreWAL, Net: setting.NetTCP},
		"pebble, durable in process": {Clients: 64, Inflight: 1, Batch: 1, Payload: 64, Store: setting.StoreWAL, Net: setting.NetInproc},
		"more than the queue takes":  {Clients: 4500, Inflight: 1, Batch: 1, Payload: 16, Store: setting.StoreMemory, Net: setting.NetInproc},
		"one call that exceeds it":   {Clients: 2, Inflight: 1, Batch: 5000, Payload: 16, Store: setting.StoreMemory, Net: setting.NetInproc},
		"a window that exceeds it":   {Clients: 2, Inflight: 5000, Batch: 1, Payload: 16, Store: setting.StoreMemory, Net: setting.NetInproc},
	} {
		s.Nodes = 3
		l := tanLog
		if strings.HasPrefix(name, string(pebbleLog)) {
			l = pebbleLog
		}
		t.Run(name, func(t *testing.T) {
			if testing.Short() && !slices.Contains(short, name) {
				t.Skip("one of many forms")
			}
			m, c := drive(t, l, s)
			v := safety.Check(m.Books, c.Replicas(), nil)
			if !v.OK || len(v.Applied) != s.Nodes {
				t.Errorf("%+v, want ok on %d replicas", v, s.Nodes)
			}
			n := c.Counters()
			if n.Entries < v.Acknowledged || n.Frames == 0 || n.Frames > n.Entries {
				t.Errorf("%d entries in %d frames for %d puts", n.Entries, n.Frames, v.Acknowledged)
			}
			counted := s.Store == setting.StoreWAL && l == tanLog
			if (n.WALSyncs > 0) != counted || (n.WALBytes > 3*n.Entries*uint64(s.Payload)) != counted {
				t.Errorf("%d bytes, %d syncs", n.WALBytes, n.WALSyncs)
			}
			t.Logf("%.0f put/s, p50 %v, p99 %v, %.0f puts a frame, %d syncs", float64(m.Ops)/m.Duration.Seconds(),
				time.Duration(m.Latency.ValueAtQuantile(50)), time.Duration(m.Latency.ValueAtQuantile(99)), float64(n.Entries)/float64(n.Frames), n.WALSyncs)
		})
	}
}

// TestFiles: with store wal the log is in the directory that was given, with store memory nothing is.
func TestFiles(t *testing.T) {
	for _, l := range []logEngine{tanLog, pebbleLog} {
		for store, want := range map[string]bool{setting.StoreWAL: true, setting.StoreMemory: false} {
			dir := t.TempDir()
			c, err := open(t.Context(), l, setting.Scenario{Nodes: 3, Clients: 1, Store: store, Net: setting.NetInproc}, dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			logs := 0
			err = filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
				if strings.HasSuffix(path, ".log") {
					logs++
				}
				return err
			})
			if err != nil || (logs >= 3) != want {
				t.Errorf("%s, store %s: %d logs, %v", l, store, logs, err)
			}
		}
	}
}

// TestCloseAnswersWhatWaits closes the cluster while puts are on their way: each is answered, one way or the other.
func TestCloseAnswersWhatWaits(t *testing.T) {
	c, err := open(t.Context(), tanLog, setting.Scenario{Nodes: 3, Clients: 4, Store: setting.StoreMemory, Net: setting.NetTCP}, t.TempDir())
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
	answered := func(_ pipeline.Result, err error) {
		var unknown *pipeline.UnknownError
		if err != nil && !errors.As(err, &unknown) && !errors.Is(err, errDropped) {
			t.Errorf("%v, want an unknown fate or that it was dropped", err)
		}
		once.Do(func() { close(first) })
	}
	for range 4 {
		wg.Go(func() {
			for {
				result, err := p.Propose(context.Background(), nil)
				if errors.Is(err, pipeline.ErrStopped) {
					return
				}
				answered(result, err)
			}
		})
	}
	wg.Go(func() {
		for {
			err := p.ProposeAsync(nil, answered)
			if errors.Is(err, pipeline.ErrStopped) {
				return
			}
			if err != nil && !errors.Is(err, pipeline.ErrBusy) {
				t.Error(err)
			}
		}
	})
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
	for _, l := range []logEngine{tanLog, pebbleLog} {
		c, err := open(t.Context(), l, setting.Scenario{Nodes: 3, Clients: 1, Store: setting.StoreWAL, Net: setting.NetTCP}, file)
		if err == nil {
			t.Error("opened below a file", c.Close())
		}
	}
}

// TestWhatCouldNotHappen: what certainly did not happen is told from what may yet be committed.
func TestWhatCouldNotHappen(t *testing.T) {
	opened, err := open(t.Context(), tanLog, setting.Scenario{Nodes: 3, Clients: 1, Store: setting.StoreMemory, Net: setting.NetInproc}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := opened.(*cluster)
	leader := c.leading()
	if leader == nil {
		t.Fatal("nobody leads")
	}
	var unknown *pipeline.UnknownError
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := leader.Propose(ended, []byte("x")); !errors.Is(err, context.Canceled) || errors.As(err, &unknown) {
		t.Errorf("a context that has ended: %v", err)
	}
	// A leader that is alone can't commit. When it is closed nobody can say what becomes of the put; when it gave up
	// leading before, it dropped it.
	for _, n := range c.nodes {
		if n != leader {
			if err := n.host.StopShard(group); err != nil {
				t.Fatal(err)
			}
		}
	}
	answer := make(chan error, 1)
	if err := leader.ProposeAsync([]byte("x"), func(_ pipeline.Result, err error) { answer <- err }); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := <-answer; !errors.As(err, &unknown) && !errors.Is(err, errDropped) {
		t.Errorf("a leader without followers: %v, want an unknown fate", err)
	}
	if _, err := leader.Propose(t.Context(), []byte("x")); !errors.Is(err, pipeline.ErrStopped) || errors.As(err, &unknown) {
		t.Errorf("after Close: %v, want ErrStopped", err)
	}
}

// TestLogIsCut: the library's snapshots, which hold nothing, let it drop entries, so that memory stays bounded.
func TestLogIsCut(t *testing.T) {
	for _, l := range []logEngine{tanLog, pebbleLog} {
		opened, err := open(t.Context(), l, setting.Scenario{Nodes: 3, Clients: 1, Store: setting.StoreMemory, Net: setting.NetInproc}, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		c := opened.(*cluster)
		if _, err := c.leading().ProposeBatch(t.Context(), make([][]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		if err := c.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, n := range c.nodes {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			option := dragonboat.SnapshotOption{OverrideCompactionOverhead: true, CompactionOverhead: 50}
			if _, err := n.host.SyncRequestSnapshot(ctx, group, option); err != nil {
				t.Fatal(err)
			}
			err := c.await(ctx, func() error {
				reader, err := n.host.GetLogReader(group)
				if err != nil {
					return err
				}
				if first, _ := reader.GetRange(); first < 900 {
					return errors.New("the log is not cut")
				}
				return nil
			})
			if err != nil {
				t.Errorf("%s: %v", l, err)
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestLogIsCutByItself puts so much that the library cuts the log as it is configured to.
func TestLogIsCutByItself(t *testing.T) {
	opened, err := open(t.Context(), tanLog, setting.Scenario{Nodes: 3, Clients: 1, Store: setting.StoreMemory, Net: setting.NetInproc}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := opened.(*cluster)
	puts := make([][]byte, 1024)
	for n := 0; n < logsKept+2*snapshotAfter; n += len(puts) {
		if _, err := c.leading().ProposeBatch(t.Context(), puts); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, n := range c.nodes {
		reader, err := n.host.GetLogReader(group)
		if err != nil {
			t.Fatal(err)
		}
		err = c.await(ctx, func() error {
			if first, last := reader.GetRange(); first < 1000 {
				return fmt.Errorf("the log still has entries %d to %d", first, last)
			}
			return nil
		})
		if err != nil {
			t.Errorf("%s: %v", n.name(), err)
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
