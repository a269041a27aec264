package target

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
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
	scenario setting.Scenario
	dir      string
	network  *netio.Network // with net inproc
	stages   Stages
	killed   atomic.Pointer[kill] // nil as long as no leader was

	// mu guards what follows. No owner would do: clients ask who leads while a node is replaced.
	mu      sync.Mutex
	members []member // node i+1 at i
	joined  []member // learners that came later
	former  []member // were killed; what they did counts
}

// member is a node, its state and its log.
type member struct {
	node    *engine.Raft
	machine *safety.Machine
	log     *Log      // nil when the store is memory
	disk    *slowDisk // nil unless it may become slow
}

// openCluster starts the nodes, makes them a cluster and waits for its leader.
func openCluster(ctx context.Context, s setting.Scenario, dir string) (*cluster, error) {
	c := &cluster{scenario: s, dir: dir, network: netio.NewNetwork()}
	for i := range s.Nodes {
		m, err := c.open(codec.NodeID(i+1), "127.0.0.1:0")
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open node %d: %w", i+1, err), c.Close())
		}
		c.members = append(c.members, m)
	}
	if err := c.elect(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// open starts one node, which listens on an address if it listens at all.
func (c *cluster) open(id codec.NodeID, listen string) (member, error) {
	s := c.scenario
	m := member{machine: safety.NewMachine(s.Clients, s.Payload)}
	cfg := engine.Config{NodeID: id, ClusterID: clusterID, Log: engine.MemoryLog(), LeaseReads: s.Read == setting.ReadLease}
	if s.Store == setting.StoreWAL {
		log, err := OpenLog(filepath.Join(c.dir, fmt.Sprintf("node-%d", id)), clusterID, id)
		if err != nil {
			return m, err
		}
		m.log, cfg.Log = log, log
	}
	if s.Net == setting.NetInproc {
		cfg.Transport = c.network.Transport(id, clusterID, cfg.Log.Incarnation())
	} else {
		cfg.Listen = listen
	}
	if !s.NoStages {
		cfg.Stages = c.stages.Observe
	}
	state := c.arm(&cfg, &m)
	var err error
	m.node, err = engine.Open(cfg, state) // after an error it has closed the log
	return m, err
}

// all returns the voters there are at the moment.
func (c *cluster) all() []member {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.members)
}

// whole returns all nodes there are at the moment, learners behind the voters.
func (c *cluster) whole() []member {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Concat(c.members, c.joined)
}

// elect makes the nodes members of one cluster and waits until one of them leads.
func (c *cluster) elect(ctx context.Context) error {
	var members []codec.Node
	for _, m := range c.members {
		members = append(members, codec.Node{ID: m.node.NodeID(), Address: m.node.Addr()})
	}
	if err := c.members[0].node.Initialize(ctx, codec.NewMembership(codec.SeveralLeadersPerTerm, members...)); err != nil {
		return fmt.Errorf("initialize the cluster: %w", err)
	}
	for _, m := range c.members {
		if _, err := m.node.WaitLeader(ctx); err != nil {
			return fmt.Errorf("node %d waits for a leader: %w", m.node.NodeID(), err)
		}
	}
	return nil
}

// leading returns the node that leads; one without a node when none does.
func (c *cluster) leading() member {
	for _, m := range c.all() {
		if leader, ok := m.node.Leader(); ok && leader.ID == m.node.NodeID() {
			return m
		}
	}
	return member{}
}

// Proposer returns the leader.
func (c *cluster) Proposer() (load.Proposer, error) {
	if m := c.leading(); m.node != nil {
		if c.scenario.Event == setting.EventLeaderKill {
			return watched{m.node, c}, nil
		}
		return m.node, nil
	}
	left, all := 0, c.all()
	for _, m := range all {
		if running(m.node) {
			left++
		}
	}
	if left <= len(all)/2 {
		return nil, fmt.Errorf("%d of %d nodes run, too few to elect a leader: %w", left, len(all), load.ErrGone)
	}
	return nil, errNoLeader
}

// Counters adds up all nodes.
func (c *cluster) Counters() Counters {
	c.mu.Lock()
	all := slices.Concat(c.members, c.joined, c.former)
	c.mu.Unlock()
	var sum Counters
	for _, m := range all {
		metrics := m.node.Metrics()
		sum.Frames += metrics.Frames
		sum.Entries += metrics.Entries
		if m.log != nil {
			stats := m.log.Stats()
			sum.WALBytes += uint64(stats.BytesWritten)
			sum.WALSyncs += uint64(stats.Syncs)
		}
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
	if leader.node == nil {
		return errNoLeader
	}
	last := leader.node.Metrics().Last.Index
	for _, m := range c.whole() {
		if applied := m.node.Metrics().Applied; applied < last {
			return fmt.Errorf("node %d has applied %d of %d entries", m.node.NodeID(), applied, last)
		}
	}
	return nil
}

// Close closes all nodes.
func (c *cluster) Close() error {
	var errs []error
	for _, m := range c.whole() {
		if err := m.node.Close(); err != nil {
			errs = append(errs, fmt.Errorf("node %d: %w", m.node.NodeID(), err))
		}
	}
	return errors.Join(errs...)
}

// Replicas returns the state machine of each node.
func (c *cluster) Replicas() []*safety.Machine {
	var machines []*safety.Machine
	for _, m := range c.whole() {
		machines = append(machines, m.machine)
	}
	return machines
}

// TakeStages implements [Staged].
func (c *cluster) TakeStages() map[string]*hdrhistogram.Histogram { return c.stages.Take() }
