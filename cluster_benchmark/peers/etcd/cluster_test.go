package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

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

// TestLeaderFails takes the leader away: another one is elected, takes puts, and the replicas that are left agree.
func TestLeaderFails(t *testing.T) {
	opened, err := open(t.Context(), setting.Scenario{Nodes: 3, Clients: 1, Payload: 16, Store: setting.StoreMemory, Net: setting.NetInproc}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := opened.(*cluster)
	book := safety.NewBook(0, 16)
	data := make([]byte, 16)
	put := func() {
		p, err := c.Proposer()
		if err != nil {
			t.Fatal(err)
		}
		serial := book.Issue(data)
		r, err := p.Propose(t.Context(), data)
		if err != nil {
			t.Fatal(err)
		}
		book.Acknowledge(serial, r.LogID)
	}
	put()
	old := c.leading()
	if err := old.close(); err != nil {
		t.Fatal(err)
	}
	if err := waitLeading(t.Context(), c.nodes); err != nil {
		t.Fatal(err)
	}
	put()
	if now := c.leading(); now == old {
		t.Error("a closed node leads")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := c.Settle(ctx); err == nil {
		t.Error("the closed node has applied everything")
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	var left []*safety.Machine
	for i, m := range c.Replicas() {
		if c.nodes[i] != old {
			left = append(left, m)
		}
	}
	if v := safety.Check([]*safety.Book{&book}, left, nil); !v.OK || v.Acknowledged != 2 {
		t.Errorf("%+v, want 2 puts, ok", v)
	}
}

func TestDirectoryThatCannotBeUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := open(t.Context(), setting.Scenario{Nodes: 3, Clients: 1, Store: setting.StoreWAL, Net: setting.NetInproc}, file)
	if err == nil {
		t.Error("opened below a file", c.Close())
	}
}

// TestWALFails: what can't be synced is not answered as if it were, and Close says why.
func TestWALFails(t *testing.T) {
	opened, err := open(t.Context(), setting.Scenario{Nodes: 1, Clients: 1, Store: setting.StoreWAL, Net: setting.NetInproc}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := opened.(*cluster)
	if err := c.logs[0].wal.Close(); err != nil {
		t.Fatal(err)
	}
	p, err := c.Proposer()
	if err != nil {
		t.Fatal(err)
	}
	var unknown *pipeline.UnknownError
	if _, err := p.Propose(t.Context(), []byte("x")); !errors.As(err, &unknown) || !errors.Is(err, os.ErrClosed) {
		t.Errorf("propose: %v, want an unknown fate because of a closed file", err)
	}
	if _, err := p.Propose(t.Context(), []byte("x")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("propose again: %v, want that the file is closed", err)
	}
	if err := c.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("close: %v, want that the file is closed", err)
	}
}
