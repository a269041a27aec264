package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metrics"

	"github.com/millrace/millrace/cluster_benchmark/load"
	"github.com/millrace/millrace/cluster_benchmark/safety"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/cluster_benchmark/target"
)

// What the library is set to, where it is not its default.
const (
	appendEntriesMax = 1024
	logsKept         = 262_144 // behind a snapshot; a node that lags further is lost
	snapshotAfter    = 131_072
	snapshotEvery    = 2 * time.Second
)

// Times of the transports.
const (
	callTimeout   = 10 * time.Second // over TCP: of a read or write
	inprocTimeout = 2 * time.Second  // of a whole call
	pooled        = 3
)

// lookEvery is the time between two looks at something that gives no event.
const lookEvery = 2 * time.Millisecond

// cluster is the nodes, all in this process.
type cluster struct {
	nodes    []*node
	machines []*safety.Machine
	counts   *metrics.AtomicCollector // of all WALs together
	closed   bool
}

// open starts the nodes and waits for their leader.
func open(ctx context.Context, s setting.Scenario, dir string) (target.Target, error) {
	c := &cluster{counts: metrics.NewAtomicCollector(wal.MetricDefinitions)}
	err := c.start(s, dir)
	if err == nil {
		err = c.elect(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *cluster) start(s setting.Scenario, dir string) error {
	for i := range s.Nodes {
		checked := safety.NewMachine(s.Clients, s.Payload)
		n := &node{
			id: raft.ServerID(fmt.Sprintf("node-%d", i+1)), machine: &machine{Machine: checked},
			waiting: make(chan waiting, asyncMax), done: make(chan struct{}),
		}
		c.nodes = append(c.nodes, n)
		c.machines = append(c.machines, checked)
		if err := c.equip(n, s, filepath.Join(dir, string(n.id))); err != nil {
			return fmt.Errorf("open %s: %w", n.id, err)
		}
	}
	connect(c.nodes)
	for _, n := range c.nodes {
		var err error
		if n.raft, err = raft.NewRaft(config(n.id), n.machine, n.logs, n.stable, raft.NewDiscardSnapshotStore(), n.trans); err != nil {
			return fmt.Errorf("open %s: %w", n.id, err)
		}
		go n.answer()
	}
	return nil
}

// equip gives a node its stores and its transport.
func (c *cluster) equip(n *node, s setting.Scenario, dir string) error {
	if s.Net == setting.NetInproc {
		_, trans := raft.NewInmemTransportWithTimeout("", inprocTimeout)
		n.trans, n.shut = trans, append(n.shut, trans.Close)
	} else {
		trans, err := raft.NewTCPTransportWithConfig("127.0.0.1:0", nil, &raft.NetworkTransportConfig{
			Logger: hclog.NewNullLogger(), MaxPool: pooled, Timeout: callTimeout,
		})
		if err != nil {
			return err
		}
		n.trans = trans
		n.shut = append(n.shut, func() error { err := trans.Close(); trans.CloseStreams(); return err })
	}
	if s.Store != setting.StoreWAL {
		n.openMemory()
		return nil
	}
	return n.openWAL(dir, c.counts)
}

func config(id raft.ServerID) *raft.Config {
	cfg := raft.DefaultConfig()
	cfg.LocalID = id
	cfg.Logger = hclog.NewNullLogger()
	cfg.BatchApplyCh = true
	cfg.MaxAppendEntries = appendEntriesMax
	cfg.TrailingLogs, cfg.SnapshotThreshold, cfg.SnapshotInterval = logsKept, snapshotAfter, snapshotEvery
	cfg.NoLegacyTelemetry = true
	return cfg
}

// connect makes transports within the process known to each other.
func connect(nodes []*node) {
	for _, n := range nodes {
		for _, other := range nodes {
			if trans, ok := n.trans.(*raft.InmemTransport); ok {
				trans.Connect(other.trans.LocalAddr(), other.trans)
			}
		}
	}
}

// elect makes the nodes one cluster and waits until one of them leads and all have its first entries.
func (c *cluster) elect(ctx context.Context) error {
	var members raft.Configuration
	for _, n := range c.nodes {
		members.Servers = append(members.Servers, raft.Server{ID: n.id, Address: n.trans.LocalAddr()})
	}
	if err := c.nodes[0].raft.BootstrapCluster(members).Error(); err != nil {
		return fmt.Errorf("bootstrap the cluster: %w", err)
	}
	return c.await(ctx, c.unready)
}

// await looks until a condition holds, and returns what keeps it from that when ctx ends.
func (c *cluster) await(ctx context.Context, missing func() error) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		err := missing()
		if err == nil {
			return nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return err
		}
	}
}

// unready says who has not got what a leader has, nil when there is one and all have.
func (c *cluster) unready() error {
	leader := c.leading()
	if leader == nil {
		return errNotLeading
	}
	last := leader.raft.LastIndex()
	for _, n := range c.nodes {
		if applied := n.raft.AppliedIndex(); applied < last {
			return fmt.Errorf("%s has %d of %d entries", n.id, applied, last)
		}
	}
	return nil
}

func (c *cluster) leading() *node {
	for _, n := range c.nodes {
		if n.raft != nil && n.raft.State() == raft.Leader {
			return n
		}
	}
	return nil
}

// Proposer returns the leader.
func (c *cluster) Proposer() (load.Proposer, error) {
	if n := c.leading(); n != nil {
		return n, nil
	}
	running := 0
	for _, n := range c.nodes {
		if n.raft != nil && n.raft.State() != raft.Shutdown {
			running++
		}
	}
	if running <= len(c.nodes)/2 {
		return nil, fmt.Errorf("%d of %d nodes run, too few to elect a leader: %w", running, len(c.nodes), load.ErrGone)
	}
	return nil, errNotLeading
}

// Counters count as frames the batches that a state machine was given, and every append to a WAL as a sync, which it is.
func (c *cluster) Counters() target.Counters {
	n := c.leading()
	if n == nil {
		n = c.nodes[0]
	}
	counted := c.counts.Summary().Counters
	return target.Counters{
		Frames: n.machine.batches.Load(), Entries: n.machine.puts.Load(),
		WALBytes: counted["log_entry_bytes_written"], WALSyncs: counted["log_appends"],
	}
}

// Settle waits until every state machine has what the leader's has.
func (c *cluster) Settle(ctx context.Context) error {
	if err := c.await(ctx, c.unready); err != nil {
		return err
	}
	// What a node calls applied was handed to its state machine; now it must be through.
	return c.await(ctx, func() error {
		furthest := c.machines[0].Last()
		for _, m := range c.machines {
			furthest = max(furthest, m.Last())
		}
		for i, m := range c.machines {
			if m.Last() < furthest {
				return fmt.Errorf("%s has applied up to %d of %d", c.nodes[i].id, m.Last(), furthest)
			}
		}
		return nil
	})
}

// Close answers everyone and ends all nodes. Only the first call does anything.
func (c *cluster) Close() error {
	if c.closed {
		return nil
	}
	c.closed = true
	for _, n := range c.nodes {
		n.refuse()
	}
	var errs []error
	for _, n := range c.nodes {
		if err := n.close(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", n.id, err))
		}
	}
	return errors.Join(errs...)
}

// Replicas returns the state machine of each node.
func (c *cluster) Replicas() []*safety.Machine { return c.machines }
