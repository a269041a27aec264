package consensus

import (
	"flag"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

var (
	simSeed  = flag.Uint64("sim.seed", 0, "run only this seed of the random runs, and print its trace")
	simSeeds = flag.Int("sim.seeds", 100, "number of seeds of the random runs")
)

// simFaults are the faults of one run, drawn from its seed.
type simFaults struct {
	loss, duplicates float64
	delay, flush     time.Duration // upper bounds
	gap              time.Duration // upper bound between two of the following
	crashes          bool
	partitions       bool
	diskStalls       bool
}

// simulate runs a cluster under random faults, then without, and returns it. The checker looks at every step.
func simulate(t testing.TB, seed uint64) *testCluster {
	sizes := []int{1, 2, 3, 3, 3, 4, 5, 5}
	c := newTestCluster(t, seed, 0)
	if *simSeed != 0 {
		c.trace = func(format string, args ...any) { t.Logf("%d "+format, append([]any{c.now}, args...)...) }
	}
	r := c.rng
	for i := range sizes[r.IntN(len(sizes))] {
		c.nodes = append(c.nodes, &testNode{id: codec.NodeID(i + 1)})
	}
	f := simFaults{
		loss:       r.Float64() * 0.3 * float64(r.IntN(2)),
		duplicates: r.Float64() * 0.3 * float64(r.IntN(2)),
		delay:      time.Duration(1+r.IntN([]int{5, 40, 120}[r.IntN(3)])) * ms,
		flush:      time.Duration(1+r.IntN([]int{2, 20, 150}[r.IntN(3)])) * ms,
		gap:        time.Duration(50+r.IntN(400)) * ms,
		crashes:    r.IntN(3) > 0,
		partitions: r.IntN(2) > 0,
		diskStalls: r.IntN(3) == 0,
	}
	frames, bytes := 1+r.IntN(8), 100+r.IntN(2000)
	c.config = func(id codec.NodeID) Config {
		cfg := testConfig(id)
		cfg.WindowFramesMax, cfg.WindowBytesMax = frames, bytes
		return cfg
	}
	mode := codec.VoteMode(1 + r.IntN(2))
	c.startAll(mode)
	if r.IntN(2) == 0 {
		for _, n := range c.nodes[1:] {
			c.initialize(n, testMembership(mode, len(c.nodes)))
		}
	}
	c.inject(f)
	c.workload(20 * time.Second)
	c.run(20*time.Second, nil)
	c.converge()
	return c
}

// inject switches the faults on. Delays are drawn for each packet, so lanes and packets overtake each other.
func (c *testCluster) inject(f simFaults) {
	cut := make([]bool, len(c.nodes)+1) // nodes on the far side of a partition
	oneWay, stalls := false, make([]bool, len(c.nodes)+1)
	c.delay = func(p *testPacket) (time.Duration, bool) {
		apart := cut[p.from] != cut[p.to] && !(oneWay && cut[p.from])
		return c.upTo(f.delay), !apart && c.rng.Float64() >= f.loss
	}
	c.duplicate = func() bool { return c.rng.Float64() < f.duplicates }
	c.flushDelay = func(n *testNode) time.Duration {
		if stalls[n.id] {
			return c.upTo(4000 * ms)
		}
		return c.upTo(f.flush)
	}
	var again func()
	again = func() {
		n := c.nodes[c.rng.IntN(len(c.nodes))]
		if l := c.leader(); l != nil && c.rng.IntN(2) == 0 {
			n = l // leaders are where it hurts
		}
		if f.diskStalls && c.rng.IntN(3) == 0 {
			stalls[n.id] = true
			c.after(c.upTo(2000*ms), func() { stalls[n.id] = false })
		}
		switch {
		case !n.up():
			c.start(n)
		case f.crashes && c.rng.IntN(4) == 0:
			c.crash(n, c.rng.IntN(len(n.writes)+1))
		case f.partitions && c.rng.IntN(2) == 0:
			cut[n.id], oneWay = true, c.rng.IntN(3) == 0
			c.after(c.upTo(2000*ms), func() { cut[n.id] = false })
		default:
			peer := c.nodes[c.rng.IntN(len(c.nodes))]
			c.step(n, &Input{Kind: InputPeerDown, Peer: peer.id})
		}
		c.after(c.upTo(f.gap), again)
	}
	c.after(0, again)
}

// upTo returns a random duration below d.
func (c *testCluster) upTo(d time.Duration) time.Duration {
	return time.Duration(c.rng.Int64N(int64(d)))
}

// workload proposes at random times for the given time.
func (c *testCluster) workload(d time.Duration) {
	end := c.now.Add(d)
	var again func()
	again = func() {
		if c.now >= end {
			return
		}
		if n := c.nodes[c.rng.IntN(len(c.nodes))]; n.up() {
			c.propose(n, 1+c.rng.IntN(5))
		}
		c.after(c.upTo(20*ms), again)
	}
	c.after(0, again)
}

// converge ends all faults and asks for what a healthy cluster does: a leader, new commits, equal logs.
func (c *testCluster) converge() {
	c.delay, c.duplicate, c.flushDelay = nil, nil, nil
	c.events = nil
	for _, n := range c.nodes {
		if n.faulted != nil {
			c.t.Fatalf("node %d stopped: %v", n.id, n.faulted)
		}
		if n.up() {
			c.crash(n, len(n.writes)) // completions went with the events
		}
		c.start(n)
	}
	c.settle()
	leader := c.elect()
	if !c.propose(leader, 3) {
		c.t.Fatal("the leader of a healthy cluster refuses a proposal")
	}
	want := leader.core.log.last
	ok := c.run(10*testTimeouts, func() bool {
		for _, n := range c.nodes {
			if n.core.commit != want.Index || n.core.log.last != want || n.core.log.flushed != want.Index {
				return false
			}
		}
		return true
	})
	if !ok {
		for _, n := range c.nodes {
			c.t.Logf("node %d: %+v, peers %+v", n.id, n.core.Status(), n.core.Peers(nil))
		}
		c.t.Fatalf("not everybody committed %v", want)
	}
	for _, p := range leader.core.Peers(nil) {
		if p.InflightBytes != 0 || !p.Streaming || p.Match != want.Index || p.Lost {
			c.t.Fatalf("peer of an idle, healthy cluster: %+v", p)
		}
	}
}

// TestRandomRuns runs clusters under message loss, duplication and reordering, partitions, disk stalls and crashes that
// lose unflushed writes.
func TestRandomRuns(t *testing.T) {
	first, count := uint64(1), *simSeeds
	if *simSeed != 0 {
		first, count = *simSeed, 1
	}
	var entries, leaders int
	for seed := first; seed < first+uint64(count); seed++ {
		ok := t.Run("", func(t *testing.T) {
			defer func() {
				if r := recover(); r != nil {
					t.Errorf("seed %d: replay with -sim.seed=%d", seed, seed)
					panic(r)
				}
				if t.Failed() {
					t.Logf("seed %d: replay with -sim.seed=%d", seed, seed)
				}
			}()
			c := simulate(t, seed)
			entries += len(c.check.committed)
			leaders += len(c.check.leaders)
		})
		if !ok {
			return
		}
	}
	t.Logf("%d seeds: %d leaders, %d entries committed", count, leaders, entries)
	if *simSeed == 0 && (leaders < 3*count || entries < 50*count) {
		t.Errorf("%d leaders and %d entries in %d runs: the runs exercise too little", leaders, entries, count)
	}
}

// TestRandomRunsAreDeterministic runs some seeds twice: every write and every message is the same.
func TestRandomRunsAreDeterministic(t *testing.T) {
	for seed := uint64(1); seed <= 10; seed++ {
		a, b := simulate(t, seed), simulate(t, seed)
		if a.hash != b.hash || a.seq != b.seq {
			t.Fatalf("seed %d: hash %x after %d events, then %x after %d", seed, a.hash, a.seq, b.hash, b.seq)
		}
	}
}
