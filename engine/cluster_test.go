package engine

import (
	"context"
	"fmt"
	"hash/crc32"
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/netio"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// gnet's import starts a worker pool of the process, which it never ends.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"))
}

// register is a state machine that keeps every entry with its index and answers with the number of entries.
type register struct {
	mu      sync.Mutex
	changed chan struct{} // closed at the next Apply
	ids     []codec.LogID
	datas   []string
	hashes  []uint32 // over the first entry, the first two and so on
	fail    error    // returned by the next Apply
	blind   bool     // keep nothing: for benchmarks
}

func newRegister() *register { return &register{changed: make(chan struct{})} }

func (s *register) Apply(entries []Entry, results []Result) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil || s.blind {
		return s.fail
	}
	for i, e := range entries {
		s.ids = append(s.ids, e.ID)
		s.datas = append(s.datas, string(e.Data))
		hash := uint32(0)
		if n := len(s.hashes); n > 0 {
			hash = s.hashes[n-1]
		}
		s.hashes = append(s.hashes, crc32.Update(hash, crc32.IEEETable, fmt.Appendf(nil, "%v %s", e.ID, e.Data)))
		results[i].Data = fmt.Append(nil, len(s.datas))
	}
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

func (s *register) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.datas)
}

// await waits until the register holds n entries and returns the hash over those, whatever came behind them.
func (s *register) await(t testing.TB, n int) uint32 {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		s.mu.Lock()
		changed, have, hash := s.changed, len(s.datas), uint32(0)
		if n > 0 && have >= n {
			hash = s.hashes[n-1]
		}
		s.mu.Unlock()
		if have >= n {
			return hash
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("%d of %d entries were applied in 20 s", have, n)
		}
	}
}

// cluster is some nodes in this process.
type cluster struct {
	t     testing.TB
	nodes map[codec.NodeID]*Raft
	sms   map[codec.NodeID]*register // of those that are no witnesses
	cfgs  map[codec.NodeID]Config
	net   *netio.Network // nil over TCP
	cable *cables        // nil unless asked for
	blind bool
	dir   string
	kind  clusterOptions
}

type clusterOptions struct {
	nodes  int
	memory bool           // instead of a WAL in a directory
	tcp    bool           // instead of the in-process network
	cables bool           // that can be cut and tapped, on either network
	blind  bool           // with state machines that keep nothing
	mode   codec.VoteMode // default: several leaders per term
	adjust func(*Config)
	// machine makes the state machine of a node each time it is opened, and the register in it; nil: a register.
	machine func(codec.NodeID) (StateMachine, *register)
	// first says what the first membership is, of all nodes; nil: all are voters. Its first voter is initialized.
	first func(nodes []codec.Node) codec.Membership
}

// calm gives nodes timeouts that a starved machine does not exceed, for tests in which the leader must not change.
func calm(cfg *Config) {
	cfg.ElectionTimeoutMin, cfg.ElectionTimeoutMax = time.Second, 2*time.Second
}

// calmBut leaves one node little patience; it is not to lead at first.
func calmBut(id codec.NodeID) func(*Config) {
	return func(cfg *Config) {
		calm(cfg)
		if cfg.NodeID == id {
			cfg.ElectionTimeoutMin, cfg.ElectionTimeoutMax = 100*time.Millisecond, 200*time.Millisecond
			cfg.Switches.NoElections = true
		}
	}
}

// startCluster opens the nodes, initializes the first and waits for a leader.
func startCluster(t testing.TB, o clusterOptions) *cluster {
	t.Helper()
	c := newCluster(t, o)
	o = c.kind
	var nodes []codec.Node
	for id := codec.NodeID(1); id <= codec.NodeID(o.nodes); id++ {
		nodes = append(nodes, c.add(id))
	}
	first := codec.NewMembership(o.mode, nodes...)
	if o.first != nil {
		first = o.first(nodes)
	}
	begin := c.nodes[first.Configs[0].Voters[0]]
	if err := begin.Initialize(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	// The first election need not wait for a timeout. It may fail while the nodes do not know each other yet.
	for led := false; !led && t.Context().Err() == nil; {
		_ = begin.Trigger().Elect() // refused where it leads
		soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := begin.WaitLeader(soon)
		cancel()
		led = err == nil
	}
	c.awaitMembership(c.leader().NodeID(), "to name the disk of each", func(m EffectiveMembership) bool {
		return m.Committed && !slices.ContainsFunc(m.Nodes, func(n codec.Node) bool { return n.Incarnation.IsZero() })
	})
	return c
}

// newCluster returns a cluster without nodes.
func newCluster(t testing.TB, o clusterOptions) *cluster {
	t.Helper()
	if o.mode == 0 {
		o.mode = codec.SeveralLeadersPerTerm
	}
	c := &cluster{
		t: t, blind: o.blind, dir: t.TempDir(), kind: o,
		nodes: map[codec.NodeID]*Raft{}, sms: map[codec.NodeID]*register{}, cfgs: map[codec.NodeID]Config{},
	}
	if !o.tcp {
		c.net = netio.NewNetwork()
	}
	if o.cables {
		c.cable = newCables()
	}
	t.Cleanup(func() {
		for id := range c.nodes {
			c.close(id)
		}
	})
	return c
}

// add opens a new node, which is no member yet, and returns what a membership says of it.
func (c *cluster) add(id codec.NodeID) codec.Node {
	c.t.Helper()
	cfg := Config{
		NodeID: id, ClusterID: "test", Seed: uint64(id), Logger: slog.New(slog.NewTextHandler(c.t.Output(), nil)),
		ElectionTimeoutMin: 250 * time.Millisecond, ElectionTimeoutMax: 500 * time.Millisecond, HeartbeatInterval: 25 * time.Millisecond,
	}
	if !c.kind.memory {
		cfg.Dir = filepath.Join(c.dir, fmt.Sprint(id))
	}
	if c.kind.tcp {
		cfg.Listen = "127.0.0.1:0"
	}
	if c.kind.adjust != nil {
		c.kind.adjust(&cfg)
	}
	c.cfgs[id] = cfg
	c.open(id)
	if c.kind.tcp { // a node comes back at the address the others know
		cfg.Listen = c.nodes[id].Addr()
		c.cfgs[id] = cfg
	}
	return c.node(id)
}

// node returns what a membership says of a node that was added.
func (c *cluster) node(id codec.NodeID) codec.Node {
	return codec.Node{ID: id, Address: c.nodes[id].Addr(), Witness: c.cfgs[id].Witness}
}

// open starts a node on its configuration with an empty state machine.
func (c *cluster) open(id codec.NodeID) {
	c.t.Helper()
	cfg := c.cfgs[id]
	if cfg.Dir == "" && cfg.Log == nil {
		cfg.Log = MemoryLog()
	}
	if cfg.Transport == nil && (c.net != nil || c.cable != nil) {
		c.wire(&cfg)
	}
	var sm StateMachine
	if !cfg.Witness {
		if c.kind.machine != nil {
			sm, c.sms[id] = c.kind.machine(id)
		} else {
			c.sms[id] = newRegister()
			sm = c.sms[id]
		}
		c.sms[id].blind = c.blind
	}
	node, err := Open(cfg, sm)
	if err != nil {
		c.t.Fatal(err)
	}
	c.nodes[id] = node
}

// wire gives a node's configuration a transport, and so a log that tells its incarnation.
func (c *cluster) wire(cfg *Config) {
	c.t.Helper()
	if cfg.Log == nil {
		if cfg.SnapshotDir == "" {
			cfg.SnapshotDir = filepath.Join(cfg.Dir, "snapshots")
		}
		log, err := openLog(mustDefaults(c.t, *cfg))
		if err != nil {
			c.t.Fatal(err)
		}
		cfg.Log, cfg.Dir = log, ""
	}
	if c.net != nil {
		cfg.Transport = c.net.Transport(cfg.NodeID, cfg.ClusterID, cfg.Log.Incarnation())
	} else {
		full := mustDefaults(c.t, *cfg)
		full.Listen = cfg.Listen
		transport, err := newTransport(full, cfg.Log.Incarnation())
		if err != nil {
			c.t.Fatal(err)
		}
		cfg.Transport, cfg.Listen = transport, ""
	}
	if c.cable != nil {
		cfg.Transport = c.cable.plug(cfg.NodeID, cfg.Transport)
	}
}

func mustDefaults(t testing.TB, cfg Config) *Config {
	cfg.Listen = "127.0.0.1:0"
	if cfg.Log != nil {
		cfg.Dir = ""
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	return &cfg
}

func (c *cluster) close(id codec.NodeID) {
	c.t.Helper()
	if err := c.nodes[id].Close(); err != nil {
		c.t.Errorf("closing node %d: %v", id, err)
	}
	delete(c.nodes, id)
}

// leader waits until a running node leads and returns it.
func (c *cluster) leader() *Raft {
	c.t.Helper()
	var ids []codec.NodeID
	for id := range c.nodes {
		ids = append(ids, id)
	}
	return c.awaitLeaderAmong(ids)
}

// awaitLeaderAmong waits until one of the nodes leads.
func (c *cluster) awaitLeaderAmong(ids []codec.NodeID) *Raft {
	c.t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		var cases []reflect.SelectCase
		for _, id := range ids {
			n := c.nodes[id]
			n.changedMu.Lock()
			cases = append(cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(n.changed)})
			n.changedMu.Unlock()
			if n.leads.Load() {
				return n
			}
		}
		cases = append(cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(timeout)})
		if chosen, _, _ := reflect.Select(cases); chosen == len(ids) {
			c.t.Fatalf("none of %v leads after 20 s", ids)
		}
	}
}

// propose proposes on whoever leads until it succeeds.
func (c *cluster) propose(data string) Result {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	for {
		r, err := c.leader().Propose(ctx, []byte(data))
		if err == nil {
			return r
		}
		if ctx.Err() != nil {
			c.t.Fatalf("proposing %q: %v", data, err)
		}
	}
}

// agree waits until every node that is no witness applied n entries and checks that they are the same.
func (c *cluster) agree(n int) {
	c.t.Helper()
	hashes := map[uint32]bool{}
	for id := range c.nodes {
		if !c.cfgs[id].Witness {
			hashes[c.sms[id].await(c.t, n)] = true
		}
	}
	if len(hashes) != 1 {
		c.t.Fatalf("the nodes applied different entries: %d hashes after %d entries", len(hashes), n)
	}
}

// others returns the running nodes without these.
func (c *cluster) others(without ...codec.NodeID) (ids []codec.NodeID) {
	for id := range c.nodes {
		if !slices.Contains(without, id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// until polls state that has no event of its own.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited 20 s for %s", what)
		}
		<-tick.C
	}
}

func eachKind(t *testing.T, test func(t *testing.T, o clusterOptions)) {
	for _, o := range []clusterOptions{{memory: true}, {memory: true, tcp: true}, {}, {tcp: true}} {
		t.Run(fmt.Sprintf("memory=%v,tcp=%v", o.memory, o.tcp), func(t *testing.T) {
			t.Parallel()
			o.nodes = 3
			test(t, o)
		})
	}
}
