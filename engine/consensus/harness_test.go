package consensus

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

const (
	ms            = time.Millisecond
	testGroup     = codec.GroupID(7)
	testHeartbeat = 50 * ms
	testTimeout   = 150 * ms
	testTimeouts  = 300 * ms
)

// testConfig is the configuration of every test that does not say otherwise. Campaigns start with the vote itself; tests
// of the pre-vote switch it on.
func testConfig(node codec.NodeID) Config {
	return Config{
		Node:               node,
		Group:              testGroup,
		ElectionTimeoutMin: testTimeout,
		ElectionTimeoutMax: testTimeouts,
		HeartbeatInterval:  testHeartbeat,
		WindowBytesMax:     1 << 20,
		WindowFramesMax:    64,
		Switches:           Switches{NoPreVote: true},
		Seed:               1,
	}
}

// testMembership returns a membership of voters 1..n.
func testMembership(mode codec.VoteMode, n int) *codec.Membership {
	var nodes []codec.Node
	for i := range n {
		nodes = append(nodes, codec.Node{ID: codec.NodeID(i + 1), Address: fmt.Sprint("node", i+1)})
	}
	m := codec.NewMembership(mode, nodes...)
	return &m
}

// testPacket is a message under way.
type testPacket struct {
	from, to codec.NodeID
	send     Send
	entries  []testEntry
}

// kind names what a packet is for, more finely than its message's kind.
func (p *testPacket) kind() string {
	m := &p.send.Message
	switch {
	case m.PreVote:
		return "pre-" + m.Kind.String()
	case m.Kind == codec.MessageAppend && p.send.Frame.IsZero():
		return "probe"
	}
	return m.Kind.String()
}

// String describes a packet in one line.
func (p *testPacket) String() string {
	message := p.send.Message
	m := &message
	s := fmt.Sprintf("%d -> %d %s", p.from, p.to, p.kind())
	if m.Status != codec.StatusNone {
		s += fmt.Sprintf(" %v", m.Status)
	}
	s += fmt.Sprintf(" %v", m.Vote)
	if m.Transfer {
		s += " transfer"
	}
	if !m.Log.IsZero() {
		s += fmt.Sprintf(" log %v", m.Log)
	}
	if m.WantSnapshot {
		s += " wants a snapshot"
	}
	if m.Kind == codec.MessageRead || m.Kind == codec.MessageReadReply {
		m.Stream = 0 // a random number
	}
	if m.Commit > 0 {
		s += fmt.Sprintf(" commit %d", m.Commit)
	}
	if m.Stream > 0 {
		s += fmt.Sprintf(" stream %d", m.Stream)
	}
	if f := &p.send.Frame; !f.IsZero() {
		s += fmt.Sprintf(" with %v %v", f.Kind, indexes(f))
		if f.HeaderOnly {
			s += " headers"
		}
	}
	return s
}

// testNode is a node with its volatile log, its disk and what waits for the disk.
type testNode struct {
	id         codec.NodeID
	core       *Core
	out        Output
	life       int
	resumes    bool // nothing that this life's vote led to was lost before it began
	mem        testLog
	disk       testLog
	writes     []testWrite // submitted, not durable
	held       []testPacket
	heldSeq    []uint64
	drift      time.Duration       // by how much its clock is too fast in a second; negative where it is slow
	reads      map[uint64]testRead // that wait for an answer, by token
	snapshots  []testSnapshot      // durable, the newest last
	applied    codec.Index         // what the state machine has applied, and its state
	state      uint64
	moves      map[codec.NodeID]*testMove // snapshots under way from here
	busy       bool                       // a completion is under way
	stuck      bool                       // the disk does nothing
	faulted    error
	failedRead error // why the newest read that failed did
}

// up reports whether the node runs.
func (n *testNode) up() bool { return n.core != nil }

// clock returns what a node's clock shows at an instant of the run. It never goes back.
func (n *testNode) clock(now Instant) Instant {
	return now + now/Instant(time.Second)*Instant(n.drift) + now%Instant(time.Second)*Instant(n.drift)/Instant(time.Second)
}

// due returns the instant of the run at which a node's deadline has come.
func (n *testNode) due() Instant {
	deadline := n.out.Deadline
	if deadline == Never || n.drift == 0 {
		return deadline
	}
	now := Instant(float64(deadline) / (1 + n.drift.Seconds()))
	for n.clock(now) < deadline {
		now++
	}
	return now
}

// testEvent is something that happens at a virtual time.
type testEvent struct {
	at  Instant
	seq int
	do  func()
}

// testCluster runs nodes in virtual time, in one goroutine, as a function of its seed.
type testCluster struct {
	t      testing.TB
	rng    *rand.Rand
	now    Instant
	nodes  []*testNode
	events []testEvent // a heap
	seq    int
	hash   uint64
	trace  func(format string, args ...any) // nil: nobody looks

	// network, when not nil, takes every packet that leaves; delay and duplicate are not asked then.
	network func(p testPacket)
	// delay returns when a packet arrives and whether it does; nil delivers at once, in order.
	delay func(p *testPacket) (time.Duration, bool)
	// duplicate reports whether a packet arrives twice.
	duplicate func() bool
	// flushDelay returns how long the disk takes; nil: no time.
	flushDelay func(*testNode) time.Duration
	// snapshotDelay returns how long a snapshot takes to a peer, and whether it arrives; nil: they stay where they are.
	snapshotDelay func() (time.Duration, bool)
	config        func(codec.NodeID) Config
	check         *testChecker
	nextData      uint64
	nextToken     uint64
}

func newTestCluster(t testing.TB, seed uint64, n int) *testCluster {
	c := &testCluster{t: t, rng: rand.New(rand.NewPCG(seed, 99)), hash: 1, config: testConfig}
	c.check = newTestChecker(c)
	for i := range n {
		c.nodes = append(c.nodes, &testNode{id: codec.NodeID(i + 1)})
	}
	return c
}

// start opens a node on what its disk holds.
func (c *testCluster) start(n *testNode) {
	cfg := c.config(n.id)
	cfg.Seed = c.rng.Uint64()
	st := n.disk.open()
	n.restore(&st)
	n.reads = map[uint64]testRead{}
	core, err := New(cfg, st, n.clock(c.now))
	if err != nil {
		c.t.Fatalf("node %d: %v", n.id, err)
	}
	n.life++
	n.resumes = st.CleanClose
	n.core, n.mem, n.writes, n.held, n.heldSeq, n.busy = core, n.disk.clone(), nil, nil, nil, false
	c.check.opened(n)
	c.step(n, &Input{Kind: InputTick})
}

// startAll starts every node and initializes the first with all of them as voters.
func (c *testCluster) startAll(mode codec.VoteMode) {
	for _, n := range c.nodes {
		c.start(n)
	}
	c.initialize(c.nodes[0], testMembership(mode, len(c.nodes)))
}

func (c *testCluster) initialize(n *testNode, m *codec.Membership) {
	c.step(n, &Input{Kind: InputInitialize, Membership: m})
	if n.out.Refused {
		c.t.Fatalf("node %d refused to be initialized", n.id)
	}
}

// crash ends a node; of the writes under way a random number has reached the disk.
func (c *testCluster) crash(n *testNode, kept int) {
	c.note("%d: crashes, keeps %d of %d writes", n.id, kept, len(n.writes))
	for i := range kept {
		n.disk.apply(&n.writes[i])
	}
	n.core = nil
}

// close ends a node with everything flushed and a seal behind it.
func (c *testCluster) close(n *testNode) {
	c.note("%d: closes", n.id)
	for i := range n.writes {
		n.disk.apply(&n.writes[i])
	}
	n.disk.sealed, n.core = true, nil
}

func (c *testCluster) after(d time.Duration, do func()) {
	c.seq++
	c.events = append(c.events, testEvent{c.now.Add(d), c.seq, do})
	for i := len(c.events) - 1; i > 0 && c.less(i, (i-1)/2); i = (i - 1) / 2 {
		c.events[i], c.events[(i-1)/2] = c.events[(i-1)/2], c.events[i]
	}
}

func (c *testCluster) less(i, k int) bool {
	return cmp.Or(cmp.Compare(c.events[i].at, c.events[k].at), cmp.Compare(c.events[i].seq, c.events[k].seq)) < 0
}

func (c *testCluster) pop() testEvent {
	top, last := c.events[0], len(c.events)-1
	c.events[0] = c.events[last]
	c.events = c.events[:last]
	for i := 0; ; {
		k := 2*i + 1
		if k+1 < last && c.less(k+1, k) {
			k++
		}
		if k >= last || !c.less(k, i) {
			return top
		}
		c.events[i], c.events[k] = c.events[k], c.events[i]
		i = k
	}
}

// next returns the node whose deadline comes first, and that deadline.
func (c *testCluster) next() (*testNode, Instant) {
	var first *testNode
	deadline := Never
	for _, n := range c.nodes {
		if n.up() && n.due() < deadline {
			first, deadline = n, n.due()
		}
	}
	return first, deadline
}

// run lets everything happen until d has passed or stop, asked after each event, says so. It reports whether it did.
func (c *testCluster) run(d time.Duration, stop func() bool) bool {
	end := c.now.Add(d)
	for {
		if stop != nil && stop() {
			return true
		}
		n, deadline := c.next()
		switch {
		case len(c.events) > 0 && c.events[0].at <= min(deadline, end):
			e := c.pop()
			c.now = e.at
			e.do()
		case deadline <= end:
			c.now = deadline
			c.step(n, &Input{Kind: InputTick})
		default:
			c.now = end
			return stop != nil && stop()
		}
	}
}

// settle lets everything happen that takes no time.
func (c *testCluster) settle() { c.run(0, nil) }

// propose gives a node count entries; it reports whether they were taken.
func (c *testCluster) propose(n *testNode, count int) bool {
	c.step(n, &Input{Kind: InputPropose, Frame: codec.FrameMeta{Count: uint32(count), Size: codec.FrameHeaderSize + 10*count}})
	return n.core != nil && !n.out.Refused
}

// leader returns the running leader with the greatest vote, or nil.
func (c *testCluster) leader() *testNode {
	var best *testNode
	for _, n := range c.nodes {
		if n.up() && n.core.role == Leader && (best == nil || n.core.vote.Compare(best.core.vote) > 0) {
			best = n
		}
	}
	return best
}

// elect runs until there is a leader that has committed its blank entry.
func (c *testCluster) elect() *testNode {
	c.t.Helper()
	ok := c.run(30*testTimeouts, func() bool {
		l := c.leader()
		return l != nil && l.core.commit >= l.core.lead.first
	})
	if !ok {
		c.t.Fatalf("no leader within 30 timeouts")
	}
	return c.leader()
}

// isolate cuts the given nodes off the rest, from both sides; they reach each other.
func (c *testCluster) isolate(ids ...codec.NodeID) {
	c.delay = func(p *testPacket) (time.Duration, bool) {
		return 0, slices.Contains(ids, p.from) == slices.Contains(ids, p.to)
	}
}

// heal ends an isolation.
func (c *testCluster) heal() { c.delay = nil }
