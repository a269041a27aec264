package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"time"

	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/cluster_benchmark/target"
	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
)

// Node is a node of the engine that serves the suite's clients.
type Node struct {
	cfg      Config
	build    result.Build
	machine  *machine
	raft     *engine.Raft
	log      *target.Log // nil with store memory
	stages   target.Stages
	listener net.Listener
	serving  sync.WaitGroup

	// mu guards what follows. No owner would do: connections come, go and claim the node on goroutines of their own.
	mu      sync.Mutex
	conns   map[*connection]bool
	closing bool
}

// Open starts a node and makes it a member of its cluster, where the configuration names one. build is what it says of itself.
// Errors: a [setting.ValueError] for what can't be used; what kept it from being opened.
func Open(cfg Config, build result.Build) (*Node, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, build: build, machine: newMachine(), conns: map[*connection]bool{}}
	ec := engine.Config{NodeID: cfg.Node, ClusterID: cfg.Cluster, Listen: cfg.Peers, Insecure: cfg.Insecure, Log: engine.MemoryLog()}
	if cfg.Store == setting.StoreWAL {
		log, err := target.OpenLog(cfg.Dir, cfg.Cluster, cfg.Node)
		if err != nil {
			return nil, fmt.Errorf("dir %s: %w", cfg.Dir, err)
		}
		n.log, ec.Log = log, log
	}
	if cfg.Stages != "off" {
		ec.Stages = n.stages.Observe
	}
	var err error
	if n.raft, err = engine.Open(ec, n.machine); err != nil {
		return nil, err // it has closed the log
	}
	if err := n.join(); err != nil {
		return nil, errors.Join(err, n.raft.Close())
	}
	if n.listener, err = net.Listen("tcp", cfg.Clients); err != nil {
		return nil, errors.Join(fmt.Errorf("clients %s: %w", cfg.Clients, err), n.raft.Close())
	}
	n.serving.Go(n.accept)
	return n, nil
}

// foundTimeout bounds how long the first entry of a cluster may take to be on this node's disk.
const foundTimeout = 30 * time.Second

// join makes the node one of the members that the configuration names. All of them do, with the same membership; one that was
// a member before stays what it was.
func (n *Node) join() error {
	if len(n.cfg.Members) == 0 {
		return nil
	}
	err := n.found(n.cfg.Members)
	if errors.Is(err, engine.ErrInitialized) {
		return nil
	}
	return err
}

// found makes the cluster.
func (n *Node) found(members map[codec.NodeID]string) error {
	var nodes []codec.Node
	for id := codec.NodeID(1); id <= codec.NodeID(len(members)); id++ {
		nodes = append(nodes, codec.Node{ID: id, Address: members[id]})
	}
	ctx, cancel := context.WithTimeout(context.Background(), foundTimeout)
	defer cancel()
	if err := n.raft.Initialize(ctx, codec.NewMembership(codec.SeveralLeadersPerTerm, nodes...)); err != nil {
		return fmt.Errorf("initialize the cluster: %w", err)
	}
	return nil
}

// Addr returns where the node listens for clients.
func (n *Node) Addr() string { return n.listener.Addr().String() }

// About returns what the node says of itself.
func (n *Node) About() About {
	a := About{
		Node: n.cfg.Node, Cluster: n.cfg.Cluster, Members: len(n.cfg.Members), Peers: n.raft.Addr(), Store: n.cfg.Store,
		Build: n.build, Machine: result.ThisMachine(n.cfg.Dir), GOMAXPROCS: runtime.GOMAXPROCS(0),
	}
	if n.log != nil {
		a.WALBackend = target.WALBackend(setting.Millrace)
	}
	return a
}

// Done is closed when the node has stopped, by itself or by Close.
func (n *Node) Done() <-chan struct{} { return n.raft.Done() }

// Err returns what the node failed with, nil while it runs and after Close.
func (n *Node) Err() error { return n.raft.Err() }

// OnLeader calls tell with the number of the leader whenever another one is known, 0 for none, until the node has stopped.
func (n *Node) OnLeader(tell func(codec.NodeID)) error {
	_, err := n.raft.OnLeaderChange(func(leader codec.Node, _ codec.Vote) { tell(leader.ID) })
	return err
}

// Close answers what the node has taken, closes it and all connections, and returns when nothing of it runs any more. The
// error is what it failed with.
func (n *Node) Close() error {
	n.mu.Lock()
	n.closing = true
	n.mu.Unlock()
	err := n.listener.Close()
	err = errors.Join(n.raft.Close(), err)
	n.mu.Lock()
	for c := range n.conns {
		c.finish()
	}
	n.mu.Unlock()
	n.serving.Wait()
	return err
}

// connectionsMax bounds the clients of one node.
const connectionsMax = 256

// accept serves every client that comes.
func (n *Node) accept() {
	for {
		conn, err := n.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // too many open files, say: others may end
			time.Sleep(10 * time.Millisecond)
			continue
		}
		c := newConnection(n, conn)
		n.mu.Lock()
		welcome := !n.closing && len(n.conns) < connectionsMax
		if welcome {
			n.conns[c] = true
			n.serving.Go(c.serve)
		}
		n.mu.Unlock()
		if !welcome {
			_ = conn.Close() // nothing was said on it
		}
	}
}

// claim gives the node to a run, unless a connection of another one lasts. What that one had under way is then answered.
func (n *Node) claim(c *connection, run runID) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for other := range n.conns {
		if other.claimed && other.run != run {
			return fmt.Errorf("node %d is in use by another run, from %v: wait for its end", n.cfg.Node, other.conn.RemoteAddr())
		}
	}
	c.claimed, c.run = true, run
	return nil
}

// leave ends a connection.
func (n *Node) leave(c *connection) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

// standing says where the node stands.
func (n *Node) standing() standing {
	m := n.raft.Metrics()
	s := standing{Leader: m.Leader, Leads: m.Leader == n.cfg.Node && m.Established, Last: m.Last.Index, Applied: m.Applied}
	if err := n.raft.Err(); err != nil {
		s.Failure = err.Error()
	}
	return s
}

// counted says what the node has done and used.
func (n *Node) counted() (counted, error) {
	usage, err := result.ReadUsage()
	if err != nil {
		return counted{}, err
	}
	m := n.raft.Metrics()
	c := counted{Frames: m.Frames, Entries: m.Entries, CPU: usage.CPU, Alloc: usage.Alloc}
	if n.log != nil {
		s := n.log.Stats()
		c.WALBytes, c.WALSyncs = uint64(s.BytesWritten), uint64(s.Syncs)
	}
	if c.PeakRSS, err = result.Peak(); err != nil {
		return c, err
	}
	c.Stages, err = encodeStages(n.stages.Take())
	return c, err
}
