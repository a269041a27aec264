package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/config"
	transport "github.com/lni/dragonboat/v4/plugin/chan"
	"github.com/lni/dragonboat/v4/statemachine"

	"github.com/millrace/millrace/cluster_benchmark/load"
	"github.com/millrace/millrace/cluster_benchmark/safety"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/cluster_benchmark/target"
)

// What the library is set to, where it is not its default.
const (
	rttMillis     = 10
	heartbeatRTT  = 10  // 100 ms
	electionRTT   = 100 // 1 to 2 s
	logsKept      = 262_144
	snapshotAfter = 131_072
)

// group is the number of the one group that there is.
const group = 1

// lookEvery is the time between two looks at something that gives no event.
const lookEvery = 2 * time.Millisecond

// readTimeout is how long a read may take before it is tried again.
const readTimeout = time.Second

// cluster is the nodes, all in this process.
type cluster struct {
	engine   logEngine
	nodes    []*node
	machines []*safety.Machine
	counts   counts // of the logs of all nodes together, with tan in files
	closed   bool
}

// open starts the nodes and waits for their leader.
func open(ctx context.Context, l logEngine, s setting.Scenario, dir string) (target.Target, error) {
	c := &cluster{engine: l}
	err := c.start(s, dir)
	if err == nil {
		err = c.await(ctx, c.unready)
	}
	if err == nil {
		err = c.catchUp(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *cluster) start(s setting.Scenario, dir string) error {
	members := map[uint64]dragonboat.Target{}
	for i := range s.Nodes {
		checked := safety.NewMachine(s.Clients, s.Payload)
		n := &node{
			replica: uint64(i + 1), machine: &machine{Machine: checked},
			room: make(chan struct{}, s.Clients), waiting: make(chan waiting, asyncMax), done: make(chan struct{}),
		}
		go n.answer()
		c.nodes = append(c.nodes, n)
		c.machines = append(c.machines, checked)
		if err := c.host(n, s, filepath.Join(dir, n.name())); err != nil {
			return fmt.Errorf("open %s: %w", n.name(), err)
		}
		members[n.replica] = n.host.RaftAddress()
	}
	for _, n := range c.nodes {
		create := func(uint64, uint64) statemachine.IConcurrentStateMachine { return n.machine }
		if err := n.host.StartConcurrentReplica(members, false, create, replicaConfig(n.replica)); err != nil {
			return fmt.Errorf("start %s: %w", n.name(), err)
		}
	}
	return nil
}

func (n *node) name() string { return fmt.Sprintf("node-%d", n.replica) }

// host opens a node's host. The library panics at some of what it can't use.
func (c *cluster) host(n *node, s setting.Scenario, dir string) (err error) {
	defer func() {
		if problem := recover(); problem != nil {
			err = fmt.Errorf("%v", problem)
		}
	}()
	cfg := config.NodeHostConfig{NodeHostDir: dir, RTTMillisecond: rttMillis}
	cfg.Expert.Engine = config.EngineConfig{ExecShards: 1, CommitShards: 1, ApplyShards: 1, SnapshotShards: 1, CloseShards: 1}
	c.engine.equip(&cfg, s.Store, &c.counts)
	if s.Net == setting.NetInproc {
		cfg.RaftAddress = fmt.Sprintf("%p-%s", c, n.name())
		cfg.Expert.TransportFactory = &channels{}
	} else if cfg.RaftAddress, err = freeAddress(); err != nil {
		return err
	}
	if n.host, err = dragonboat.NewNodeHost(cfg); err != nil {
		return err
	}
	n.session = n.host.GetNoOPSession(group)
	return nil
}

// channels is the library's transport within a process. Its Validate is not written.
type channels struct{ transport.ChanTransportFactory }

// Validate takes every address.
func (*channels) Validate(string) bool { return true }

// freeAddress returns an address to listen on: the library wants to know it before it does.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func replicaConfig(replica uint64) config.Config {
	return config.Config{
		ReplicaID: replica, ShardID: group, CheckQuorum: true, PreVote: true, ElectionRTT: electionRTT, HeartbeatRTT: heartbeatRTT,
		SnapshotEntries: snapshotAfter, CompactionOverhead: logsKept, WaitReady: true,
	}
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

// unready says who knows no leader, nil when all do.
func (c *cluster) unready() error {
	for _, n := range c.nodes {
		if _, _, known, err := n.host.GetLeaderID(group); err != nil || !known {
			return fmt.Errorf("%s: %w", n.name(), errors.Join(errNotLeading, err))
		}
	}
	return nil
}

// catchUp waits until every state machine has all that is committed: a linearizable read of each node tells.
func (c *cluster) catchUp(ctx context.Context) error {
	for _, n := range c.nodes {
		var problem error
		err := c.await(ctx, func() error {
			bounded, cancel := context.WithTimeout(ctx, readTimeout)
			defer cancel()
			_, err := n.host.SyncRead(bounded, group, nil)
			if err != nil && !dragonboat.IsTempError(err) {
				problem = err
				return nil
			}
			return err
		})
		if err = errors.Join(err, problem); err != nil {
			return fmt.Errorf("%s has not applied everything: %w", n.name(), err)
		}
	}
	return nil
}

func (c *cluster) leading() *node {
	for _, n := range c.nodes {
		leader, _, known, err := n.host.GetLeaderID(group)
		if err == nil && known && leader == n.replica {
			return n
		}
	}
	return nil
}

// Proposer returns the leader.
func (c *cluster) Proposer() (load.Proposer, error) {
	for _, n := range c.nodes {
		n.open.RLock()
		defer n.open.RUnlock()
		if n.closed {
			return nil, load.ErrGone
		}
	}
	if n := c.leading(); n != nil {
		return n, nil
	}
	return nil, errNotLeading
}

// Counters count as frames the batches that a state machine was given. What goes to a log is known of tan only.
func (c *cluster) Counters() target.Counters {
	n := c.leading()
	if n == nil {
		n = c.nodes[0]
	}
	return target.Counters{
		Frames: n.machine.batches.Load(), Entries: n.machine.puts.Load(),
		WALBytes: c.counts.bytes.Load(), WALSyncs: c.counts.syncs.Load(),
	}
}

// Settle waits until every state machine has what any has.
func (c *cluster) Settle(ctx context.Context) error {
	if err := c.catchUp(ctx); err != nil {
		return err
	}
	return c.await(ctx, func() error {
		furthest := c.machines[0].Last()
		for _, m := range c.machines {
			furthest = max(furthest, m.Last())
		}
		for i, m := range c.machines {
			if m.Last() < furthest {
				return fmt.Errorf("%s has applied up to %d of %d", c.nodes[i].name(), m.Last(), furthest)
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
		n.close()
	}
	return nil
}

// Replicas returns the state machine of each node.
func (c *cluster) Replicas() []*safety.Machine { return c.machines }
