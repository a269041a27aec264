package target

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/millrace/millrace/cluster_benchmark/load"
	"github.com/millrace/millrace/cluster_benchmark/safety"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/netio"
)

const clusterID = "benchmark"

// cluster is this engine's nodes, all in this process.
type cluster struct {
	nodes    []*engine.Raft
	machines []*safety.Machine
	logs     []*Log // none when the store is memory
	stages   Stages
	read     string // how reads are made; "" where nothing is read
}

// openCluster starts the nodes, makes them a cluster and waits for its leader.
func openCluster(ctx context.Context, s setting.Scenario, dir string) (*cluster, error) {
	c := &cluster{read: s.Read}
	network := netio.NewNetwork()
	for i := range s.Nodes {
		if err := c.open(s, codec.NodeID(i+1), dir, network); err != nil {
			return nil, errors.Join(fmt.Errorf("open node %d: %w", i+1, err), c.Close())
		}
	}
	if err := c.elect(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// open starts one node.
func (c *cluster) open(s setting.Scenario, id codec.NodeID, dir string, network *netio.Network) error {
	cfg := engine.Config{NodeID: id, ClusterID: clusterID, Log: engine.MemoryLog(), LeaseReads: s.Read == setting.ReadLease}
	if s.Store == setting.StoreWAL {
		log, err := OpenLog(filepath.Join(dir, fmt.Sprintf("node-%d", id)), clusterID, id)
		if err != nil {
			return err
		}
		c.logs = append(c.logs, log)
		cfg.Log = log
	}
	if s.Net == setting.NetInproc {
		cfg.Transport = network.Transport(id, clusterID, cfg.Log.Incarnation())
	} else {
		cfg.Listen = "127.0.0.1:0"
	}
	if !s.NoStages {
		cfg.Stages = c.stages.Observe
	}
	machine := safety.NewMachine(s.Clients, s.Payload)
	node, err := engine.Open(cfg, machine)
	if err != nil {
		return err // it has closed the log
	}
	c.nodes = append(c.nodes, node)
	c.machines = append(c.machines, machine)
	return nil
}

// elect makes the nodes members of one cluster and waits until one of them leads.
func (c *cluster) elect(ctx context.Context) error {
	var members []codec.Node
	for _, n := range c.nodes {
		members = append(members, codec.Node{ID: n.NodeID(), Address: n.Addr()})
	}
	if err := c.nodes[0].Initialize(ctx, codec.NewMembership(codec.SeveralLeadersPerTerm, members...)); err != nil {
		return fmt.Errorf("initialize the cluster: %w", err)
	}
	for _, n := range c.nodes {
		if _, err := n.WaitLeader(ctx); err != nil {
			return fmt.Errorf("node %d waits for a leader: %w", n.NodeID(), err)
		}
	}
	return nil
}

// leading returns the node that leads, nil when none does.
func (c *cluster) leading() *engine.Raft {
	for _, n := range c.nodes {
		if leader, ok := n.Leader(); ok && leader.ID == n.NodeID() {
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
	left := 0
	for _, n := range c.nodes {
		if running(n) {
			left++
		}
	}
	if left <= len(c.nodes)/2 {
		return nil, fmt.Errorf("%d of %d nodes run, too few to elect a leader: %w", left, len(c.nodes), load.ErrGone)
	}
	return nil, errNoLeader
}

// Counters adds up all nodes.
func (c *cluster) Counters() Counters {
	var sum Counters
	for _, n := range c.nodes {
		m := n.Metrics()
		sum.Frames += m.Frames
		sum.Entries += m.Entries
	}
	for _, l := range c.logs {
		s := l.Stats()
		sum.WALBytes += uint64(s.BytesWritten)
		sum.WALSyncs += uint64(s.Syncs)
	}
	return sum
}

// settlePause is the time between two looks at who has applied what.
const settlePause = 2 * time.Millisecond

// Settle waits until the leader's log is applied on all nodes.
func (c *cluster) Settle(ctx context.Context) error {
	timer := time.NewTicker(settlePause)
	defer timer.Stop()
	for {
		behind := c.behind()
		if behind == nil {
			return nil
		}
		select {
		case <-timer.C:
		case <-ctx.Done():
			return behind
		}
	}
}

// behind says who has not applied all of the leader's log, nil when all have.
func (c *cluster) behind() error {
	leader := c.leading()
	if leader == nil {
		return errNoLeader
	}
	last := leader.Metrics().Last.Index
	for _, n := range c.nodes {
		if applied := n.Metrics().Applied; applied < last {
			return fmt.Errorf("node %d has applied %d of %d entries", n.NodeID(), applied, last)
		}
	}
	return nil
}

// Close closes all nodes.
func (c *cluster) Close() error {
	var errs []error
	for _, n := range c.nodes {
		if err := n.Close(); err != nil {
			errs = append(errs, fmt.Errorf("node %d: %w", n.NodeID(), err))
		}
	}
	return errors.Join(errs...)
}

// Replicas returns the state machine of each node.
func (c *cluster) Replicas() []*safety.Machine { return c.machines }

// TakeStages implements [Staged].
func (c *cluster) TakeStages() map[string]*hdrhistogram.Histogram { return c.stages.Take() }
