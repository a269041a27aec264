package consensus

import (
	"flag"
	"fmt"
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
	moves            time.Duration // upper bound of the time that a snapshot takes
	damage           bool          // snapshots are lost while a node is down
}

// simulate runs a cluster under random faults and changes, then without, and returns it. The checker looks at every step.
func simulate(t testing.TB, seed uint64) *testCluster {
	c := newTestCluster(t, seed, 0)
	if *simSeed != 0 {
		c.trace = func(format string, args ...any) { t.Logf("%d "+format, append([]any{c.now}, args...)...) }
	}
	r := c.rng
	sizes := []int{1, 2, 3, 3, 3, 4, 5, 5}
	voters, spare := sizes[r.IntN(len(sizes))], r.IntN(2)*r.IntN(4)
	for i := range voters + spare {
		c.nodes = append(c.nodes, &testNode{id: codec.NodeID(i + 1)})
	}
	if r.IntN(2) == 0 {
		for _, n := range c.nodes {
			n.drift = time.Duration(r.IntN(180)-90) * ms
		}
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
		moves:      time.Duration(1+r.IntN([]int{20, 200, 2000}[r.IntN(3)])) * ms,
		damage:     r.IntN(2) == 0,
	}
	shape := drawShape(c)
	c.config = shape.config
	m := shape.first(voters)
	for _, n := range c.nodes {
		c.start(n)
	}
	c.initialize(c.nodes[0], m)
	if r.IntN(2) == 0 {
		for _, n := range c.nodes[1:voters] {
			if node, _ := m.Node(n.id); !node.Witness {
				c.initialize(n, m)
			}
		}
	}
	c.inject(f)
	c.workload(20 * time.Second)
	c.reading(20*time.Second, time.Duration(10+r.IntN(150))*ms)
	c.purging(20*time.Second, time.Duration(50+r.IntN(1000))*ms)
	if shape.admin {
		c.administer(shape, 20*time.Second)
	}
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
	c.snapshotDelay = func() (time.Duration, bool) { return c.upTo(f.moves), c.rng.Float64() >= f.loss }
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
			if f.damage && c.rng.IntN(3) == 0 {
				c.damageSnapshots(n)
			}
			c.start(n)
		case f.crashes && c.rng.IntN(8) == 0:
			c.close(n)
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

// purging takes snapshots and purges logs at random times for the given time.
func (c *testCluster) purging(d, gap time.Duration) {
	end := c.now.Add(d)
	var again func()
	again = func() {
		if c.now >= end {
			return
		}
		if n := c.nodes[c.rng.IntN(len(c.nodes))]; n.up() {
			c.takeSnapshot(n)
			c.step(n, &Input{Kind: InputPurge, Index: n.core.Status().Commit - min(n.core.Status().Commit, codec.Index(c.rng.IntN(20)))})
		}
		c.after(c.upTo(gap), again)
	}
	c.after(0, again)
}

// damageSnapshots takes the newest snapshot of a node that is down, or all of them, where others can still help it out: at
// most one node at a time.
func (c *testCluster) damageSnapshots(n *testNode) {
	voters, base := 0, n.disk.base.ID.Index
	for _, o := range c.nodes {
		if o != n && (!o.up() || o.core.Status().WantsSnapshot) {
			return
		}
		if o != n && o.core.isVoter() && !o.witness() && o.core.commit >= base && o.core.log.flushed >= base {
			voters++
		}
	}
	if voters == 0 || len(n.snapshots) == 0 {
		return
	}
	n.snapshots = n.snapshots[:c.rng.IntN(len(n.snapshots))]
	if n.newest().base.ID.Index < base {
		c.note("%d: has lost the snapshot that its log begins with", n.id)
		c.check.counts.wanting++
	}
}

// converge ends all faults and asks for what a healthy cluster does: a leader, new commits, equal logs of all members.
func (c *testCluster) converge() {
	c.delay, c.duplicate, c.flushDelay = nil, nil, nil
	c.snapshotDelay = func() (time.Duration, bool) { return 0, true }
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
	if !c.run(50*testTimeouts, func() bool { l := c.leader(); return l != nil && !l.core.Status().Blocked && c.propose(l, 3) }) {
		c.complain("nobody takes a proposal")
	}
	c.run(25*testTimeouts, c.converged)
	c.helpByHand()
	if !c.run(50*testTimeouts, c.converged) {
		c.complain("the logs are not the same")
	}
	members := c.leader().core.Membership().Nodes
	for _, member := range members {
		c.read(c.node(member.ID), false)
	}
	c.run(ms, nil)
	for _, member := range members {
		if n := c.node(member.ID); len(n.reads) > 0 || n.failedRead != nil {
			c.complain(fmt.Sprintf("node %d: %d reads without an answer, %v", n.id, len(n.reads), n.failedRead))
		}
	}
}

// helpByHand brings a leader that lost its snapshot, and has nobody to hand over to, one of somebody else.
func (c *testCluster) helpByHand() {
	l := c.leader()
	if l == nil || !l.core.Status().WantsSnapshot {
		return
	}
	for _, n := range c.nodes {
		c.takeSnapshot(n)
		if s := *n.newest(); s.base.ID.Index >= l.core.Status().Purged.Index {
			c.note("%d: is brought a snapshot of %v from node %d", l.id, s.base.ID, n.id)
			l.keepSnapshot(s)
			c.step(l, &Input{Kind: InputInstall, Base: &s.base})
			if l.out.Refused {
				c.t.Fatalf("node %d refuses a snapshot of %v: %v", l.id, s.base.ID, l.out.Reason)
			}
			c.check.counts.helped++
			return
		}
	}
}

// converged reports whether all members hold what the leader holds, committed, and nothing is under way.
func (c *testCluster) converged() bool {
	l := c.leader()
	if l == nil || l.core.Membership().Transient {
		return false
	}
	last := l.core.Status().LastLog
	for _, member := range l.core.Membership().Nodes {
		n := c.node(member.ID)
		st := n.core.Status()
		if st.LastLog != last || st.Flushed != last || st.Commit != last.Index || st.WantsSnapshot ||
			n.applied != last.Index && !member.Witness {
			return false
		}
	}
	for _, p := range l.core.Peers(nil) {
		if p.InflightBytes != 0 || !p.Streaming || p.Match != last.Index || p.Lost || p.Snapshot {
			return false
		}
	}
	return true
}

// complain fails the run and shows every node.
func (c *testCluster) complain(what string) {
	for _, n := range c.nodes {
		st := n.core.Status()
		c.t.Logf("node %d: %s; %s", n.id, statusString(&st), membershipString(n.core.Membership()))
		for _, p := range n.core.Peers(nil) {
			c.t.Logf("    %s", peerString(&p))
		}
	}
	c.t.Fatal(what)
}

// TestRandomRuns runs clusters under message loss, duplication and reordering, partitions, disk stalls and crashes that
// lose unflushed writes, while their memberships change and their leaders are told to hand over.
func TestRandomRuns(t *testing.T) {
	first, count := uint64(1), *simSeeds
	if testing.Short() {
		count = min(count, 40)
	}
	if *simSeed != 0 {
		first, count = *simSeed, 1
	}
	var sum simCounts
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
			sum.add(c)
		})
		if !ok {
			return
		}
	}
	t.Logf("%d seeds: %+v", count, sum)
	if *simSeed == 0 {
		sum.enough(t, count)
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
