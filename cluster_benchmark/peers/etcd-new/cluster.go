package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/millrace/millrace/cluster_benchmark/load"
	"github.com/millrace/millrace/cluster_benchmark/safety"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/cluster_benchmark/target"
)

// cluster is the nodes, all in this process.
type cluster struct {
	nodes    []*node
	logs     []*storage
	machines []*safety.Machine
	mesh     *mesh // nil: messages stay in the process
	started  int   // how many nodes have a driver
	closed   bool
	bytes    uint64 // what the process's WALs had written before
	syncs    uint64
}

// open starts the nodes and waits for their leader.
func open(ctx context.Context, s setting.Scenario, dir string) (target.Target, error) {
	c := &cluster{}
	c.bytes, c.syncs = written()
	err := c.start(s, dir)
	if err == nil {
		err = waitLeading(ctx, c.nodes)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *cluster) start(s setting.Scenario, dir string) error {
	for i := range s.Nodes {
		path := ""
		if s.Store == setting.StoreWAL {
			path = filepath.Join(dir, fmt.Sprintf("node-%d", i+1))
		}
		log, err := openStorage(s.Nodes, keepEntries(s.Payload), path, c.everyone)
		if err != nil {
			return fmt.Errorf("open the log of node %d: %w", i+1, err)
		}
		c.logs = append(c.logs, log)
		machine := safety.NewMachine(s.Clients, s.Payload)
		n, err := newNode(uint64(i+1), log, machine)
		if err != nil {
			return fmt.Errorf("open node %d: %w", i+1, err)
		}
		c.nodes = append(c.nodes, n)
		c.machines = append(c.machines, machine)
	}
	for _, n := range c.nodes {
		n.net = direct{c.nodes}
	}
	if s.Net == setting.NetTCP {
		var err error
		if c.mesh, err = openMesh(c.nodes); err != nil {
			return err
		}
	}
	for i, n := range c.nodes {
		go n.run(i == 0)
		c.started++
	}
	return nil
}

// everyone returns the index up to which every node has applied. Any driver may call it.
func (c *cluster) everyone() uint64 {
	applied := c.nodes[0].applied.Load()
	for _, n := range c.nodes[1:] {
		applied = min(applied, n.applied.Load())
	}
	return applied
}

func (c *cluster) leading() *node {
	for _, n := range c.nodes {
		if n.leading.Load() {
			return n
		}
	}
	return nil
}

// Proposer returns the leader's intake.
func (c *cluster) Proposer() (load.Proposer, error) {
	if n := c.leading(); n != nil {
		return n.intake, nil
	}
	running := 0
	for _, n := range c.nodes {
		if n.running() {
			running++
		}
	}
	if running <= len(c.nodes)/2 {
		return nil, fmt.Errorf("%d of %d nodes run, too few to elect a leader: %w", running, len(c.nodes), load.ErrGone)
	}
	return nil, errNotLeading
}

// Counters adds up all nodes. A frame is a batch of the intake.
func (c *cluster) Counters() target.Counters {
	var sum target.Counters
	for _, n := range c.nodes {
		sum.Frames += n.frames.Load()
		sum.Entries += n.entries.Load()
	}
	sum.WALBytes, sum.WALSyncs = written()
	sum.WALBytes -= c.bytes
	sum.WALSyncs -= c.syncs
	return sum
}

// Settle waits until the leader's log is applied on all nodes.
func (c *cluster) Settle(ctx context.Context) error {
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for {
		behind := c.behind()
		if behind == nil {
			return nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return behind
		}
	}
}

// behind says who has not applied all of the leader's log, nil when all have.
func (c *cluster) behind() error {
	leader := c.leading()
	if leader == nil {
		return errNotLeading
	}
	last := leader.last.Load()
	for _, n := range c.nodes {
		if applied := n.applied.Load(); applied < last {
			return fmt.Errorf("node %d has applied %d of %d entries", n.id, applied, last)
		}
	}
	return nil
}

// Close ends all nodes, their connections and logs. Only the first call does anything.
func (c *cluster) Close() error {
	if c.closed {
		return nil
	}
	c.closed = true
	var errs []error
	for _, n := range c.nodes[:c.started] {
		if err := n.close(); err != nil {
			errs = append(errs, fmt.Errorf("node %d: %w", n.id, err))
		}
	}
	if c.mesh != nil {
		errs = append(errs, c.mesh.close())
	}
	for _, l := range c.logs {
		errs = append(errs, l.close())
	}
	return errors.Join(errs...)
}

// Replicas returns the state machine of each node.
func (c *cluster) Replicas() []*safety.Machine { return c.machines }
