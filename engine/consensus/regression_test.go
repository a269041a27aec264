package consensus

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

// Each test here failed once; its comment says what happened then.

// hbReply answers a heartbeat as of now for a peer.
func (l *lone) hbReply(from codec.NodeID, status codec.Status) *Output {
	return l.hear(from, codec.Message{Kind: codec.MessageHeartbeatReply, Status: status, Vote: l.c.vote, Log: l.last(),
		Stream: l.c.lead.base, Stamp: int64(l.now)})
}

// A transfer whose target denies its log after it was asked: the deadline stays in the past, Step panics.
func TestTransferWhoseTargetLosesItsLog(t *testing.T) {
	l := leading(t, nil)
	out := l.step(Input{Kind: InputTransfer, Peer: 2})
	want(t, "asked", len(to(out.Now, 2, codec.MessageTransfer)), 1)
	l.hbReply(2, codec.StatusConflict)            // restarted with a lost log: probe
	l.ack(2, codec.StatusConflict, codec.LogID{}) // denies what it acknowledged
	want(t, "lost", l.c.peer(2).lost, true)
	l.wait(testHeartbeat)
}

// The same by a membership change that ends during the transfer.
func TestTransferWhileAJointMembershipEnds(t *testing.T) {
	l := leading(t, nil)
	m := testMembership(one, 3)
	m.Configs = []codec.VoterConfig{codec.MajorityConfig(1, 2)}
	out := l.step(Input{Kind: InputChange, Membership: m})
	if out.Refused {
		t.Fatal(out.Reason)
	}
	l.ack(2, codec.StatusOK, l.last()) // 2 holds the joint membership; the leader's own disk has not flushed it, 3 did not ack
	out = l.step(Input{Kind: InputTransfer, Peer: 2})
	if out.Refused {
		t.Fatal(out.Reason)
	}
	want(t, "asked", len(to(out.Now, 2, codec.MessageTransfer)), 1)
	l.flush() // commits the joint membership, appends the settled one
	want(t, "settled", l.c.Membership().Transient, false)
	l.wait(testHeartbeat)
}

// One answer of a learner (never a voter) ends the leader for good.
func TestLearnerWithAHugeTermEndsNothing(t *testing.T) {
	cfg := testConfig(1)
	m := testMembership(one, 4)
	m.Configs = []codec.VoterConfig{codec.MajorityConfig(1, 2, 3)} // 4 is a learner
	c, err := New(cfg, logOf(codec.Vote{}, m), 0)
	if err != nil {
		t.Fatal(err)
	}
	l := &lone{t: t, c: c, node: 1}
	l.lead(2)
	l.flush()
	for _, p := range []codec.NodeID{2, 3} {
		l.ack(p, codec.StatusOK, l.last())
	}
	l.hear(4, codec.Message{Kind: codec.MessageHeartbeatReply, Status: codec.StatusRefused,
		Vote: codec.Vote{Leader: codec.LeaderID{Term: termMax, Node: 4}}, Stream: c.lead.base, Stamp: int64(l.now)})
	for range 20 {
		l.wait(testHeartbeat)
		if l.out.Fatal != nil {
			t.Fatalf("a learner's word stops the leader: %v", l.out.Fatal)
		}
		l.hbReply(2, codec.StatusOK)
		l.flush()
	}
}

// Target restarts between; obeys an old request although the leader took its lease back.
func TestLateTransferPassesNoLease(t *testing.T) {
	c := newTestCluster(t, 1, 3)
	c.startAll(several)
	c.elect()
	c.run(time.Second, nil)
	l := c.leader()
	target := c.nodes[int(l.id)%3]
	var late *testPacket
	c.delay = func(p *testPacket) (time.Duration, bool) {
		if p.send.Message.Kind == codec.MessageTransfer {
			q := *p
			late = &q
			return 0, false // under way for long
		}
		return 0, true
	}
	c.step(l, &Input{Kind: InputTransfer, Peer: target.id, Timeout: 10 * ms})
	if late == nil {
		t.Fatal("not asked")
	}
	c.run(500*ms, nil)
	if c.leader() != l || l.core.leaseLent() || !l.core.leaseRuns(target.id) {
		t.Fatalf("leader %v lent %v lease %v", c.leader() == l, l.core.leaseLent(), l.core.leaseRuns(target.id))
	}
	// The target restarts. What it hears first is the probe that follows its lane's failure.
	c.crash(target, len(target.writes))
	c.start(target)
	c.step(l, &Input{Kind: InputPeerDown, Peer: target.id})
	c.settle()
	c.deliver(*late)
	// Let only the votes pass; the old leader does not hear of it.
	c.delay = func(p *testPacket) (time.Duration, bool) { return 0, p.to != l.id && p.from != l.id }
	c.settle()
	if target.core.role == Leader {
		t.Fatalf("node %d leads as %v although leader %v never gave up its lease again: leaseRuns %v, lent %v",
			target.id, target.core.vote, l.core.vote, l.core.leaseRuns(target.id), l.core.leaseLent())
	}
}

// Auto-promotion ends an explicit joint membership.
func TestPromotionKeepsAnExplicitJoint(t *testing.T) {
	c := newTestCluster(t, 1, 6)
	for _, n := range c.nodes {
		c.start(n)
	}
	m := testMembership(one, 6)
	m.Configs = []codec.VoterConfig{codec.MajorityConfig(1, 2, 3), codec.MajorityConfig(3, 4, 5)}
	m.Nodes[5].Promote = true
	c.initialize(c.nodes[0], m)
	c.elect()
	c.run(5*time.Second, nil)
	l := c.leader()
	got := l.core.Membership()
	if len(got.Configs) != 2 {
		t.Fatalf("membership became %s", membershipString(got))
	}
}

// A leader that is always a little late never notices that no quorum answers it.
func TestGraceIsGivenOnce(t *testing.T) {
	l := leading(t, nil)
	for range 1000 {
		l.now = l.out.Deadline.Add(testHeartbeat + ms)
		l.step(Input{Kind: InputTick})
		l.flush()
		if l.c.role != Leader {
			return
		}
	}
	t.Fatalf("still leader after %v without an answer", time.Duration(l.now))
}

// Priority ping-pong: a preferred voter that only the leader reaches.
func TestPriorityTransfersBackOff(t *testing.T) {
	c := newTestCluster(t, 1, 5)
	c.config = func(id codec.NodeID) Config {
		cfg := testConfig(id)
		cfg.Switches = Switches{} // with pre-vote
		return cfg
	}
	for _, n := range c.nodes {
		c.start(n)
	}
	m := testMembership(several, 5)
	m.Nodes[0].Priority, m.Nodes[1].Priority = 3, 2
	c.initialize(c.nodes[0], m)
	c.elect()
	c.run(5*time.Second, nil)
	// 1 reaches 2 only.
	c.delay = func(p *testPacket) (time.Duration, bool) {
		return ms, !(p.from == 1 && p.to != 2 || p.to == 1 && p.from != 2)
	}
	c.run(5*time.Second, nil)
	var term codec.Term
	for _, n := range c.nodes {
		term = max(term, n.core.vote.Leader.Term)
	}
	var led time.Duration
	for range 6000 {
		c.run(10*ms, nil)
		if x := c.leader(); x != nil && c.propose(x, 1) {
			led += 10 * ms
		}
	}
	last := term
	for _, n := range c.nodes {
		last = max(last, n.core.vote.Leader.Term)
	}
	if n := last - term; n > 30 {
		t.Fatalf("%d terms in a minute, a leader took proposals for %v of it", n, led)
	}
}

// A link of 40 ms and nothing else wrong.
func TestWindowOnALongLinkStaysOpen(t *testing.T) {
	c := newTestCluster(t, 1, 3)
	c.delay = func(*testPacket) (time.Duration, bool) { return 20 * ms, true }
	c.startAll(several)
	l := c.elect()
	for range 2000 {
		c.step(l, &Input{Kind: InputPropose, Frame: codec.FrameMeta{Count: 1, Size: 4096}})
		c.run(ms, nil)
	}
	for _, p := range l.core.Peers(nil) {
		if p.WindowBytes < 1<<19 {
			t.Errorf("peer %d: window %d of %d bytes, match %d of %d", p.Node, p.WindowBytes, 1<<20, p.Match, l.core.log.last.Index)
		}
	}
}

// Whole frames stay, header frames go, and the node still counts as one with a witness's log.
func TestTruncatedHeadersAreForgotten(t *testing.T) {
	var l raftLog
	f := func(first codec.Index, kind codec.EntryKind, header bool, m *codec.Membership) {
		l.append(&codec.FrameMeta{Leader: by(1, 1), First: first, Count: 1, Kind: kind, Size: 60, HeaderOnly: header}, uint64(first), m)
	}
	f(1, codec.EntryBlank, false, nil)
	f(2, codec.EntryBlank, false, nil)
	f(3, codec.EntryNormal, true, nil)
	l.truncate(2)
	want(t, "headersTo", l.headersTo, 0)
}

// A learner dead for ten minutes counts as caught up.
func TestSilentLearnerIsNoVoter(t *testing.T) {
	c := newTestCluster(t, 1, 2)
	c.start(c.nodes[0])
	c.start(c.nodes[1])
	m := testMembership(one, 2)
	m.Configs = []codec.VoterConfig{codec.MajorityConfig(1)}
	c.initialize(c.nodes[0], m)
	l := c.elect()
	c.run(time.Second, nil)
	c.crash(c.nodes[1], 0)
	c.run(10*time.Minute, nil)
	c.step(l, &Input{Kind: InputChange, Membership: testMembership(one, 2)})
	if !l.out.Refused {
		c.run(time.Minute, nil)
		t.Fatalf("accepted; role %v, commit %d of %d", l.core.role, l.core.commit, l.core.log.last.Index)
	}
}

// A transfer "without limit" is dropped without a word.
func TestTransferWithTheLongestTimeout(t *testing.T) {
	l := leading(t, nil)
	l.now += 1000
	out := l.step(Input{Kind: InputTransfer, Peer: 2, Timeout: math.MaxInt64})
	if !out.Refused && l.c.lead.transfer.to == 0 && len(to(out.Now, 2, codec.MessageTransfer)) == 0 {
		t.Fatal("neither refused nor begun")
	}
}

// A node of least priority that learnt of the membership by replication has a timeout drawn without it.
func TestPriorityCountsForAFreshFollower(t *testing.T) {
	for seed := range uint64(20) {
		c := newTestCluster(t, seed, 3)
		for _, n := range c.nodes {
			c.start(n)
		}
		m := testMembership(several, 3)
		for i := range m.Nodes {
			m.Nodes[i].Priority = uint8(3 - i)
		}
		c.initialize(c.nodes[0], m)
		if l := c.elect(); l.id != 1 {
			continue
		}
		c.run(time.Second, nil)
		if e := c.nodes[2].core.election; e.timeout < testTimeout+2*150*ms {
			t.Fatalf("seed %d: node 3 waits %v, want at least %v", seed, e.timeout, testTimeout+2*150*ms)
		}
	}
}

// A clock whose origin lies ahead of the core's start is refused: nothing sent before it would ever count as answered.
func TestInstantsAreNotNegative(t *testing.T) {
	_, err := New(testConfig(1), logOf(codec.Vote{}, testMembership(one, 3)), -1)
	if !errors.Is(err, ErrConfig) {
		t.Fatalf("error %v, want %v", err, ErrConfig)
	}
}

// A conflict at index 0, which no correct peer sends, is answered with a probe at once, for ever.
func TestConflictBelowTheFirstEntryIsMalformed(t *testing.T) {
	l := leading(t, func(cfg *Config) { cfg.AllowLogReversion = true })
	l.ack(2, codec.StatusConflict, codec.LogID{})
	probes := 0
	for range 1000 {
		probes += len(to(l.ack(2, codec.StatusConflict, l.last()).Now, 2, codec.MessageAppend))
	}
	if probes > 20 {
		t.Fatalf("%d probes in no time, malformed %d", probes, l.c.malformed)
	}
}

// A leader that leaves a group of two dies with the last membership in its log alone. Nobody can ever
// be elected: the one who has it may not campaign, the other lacks it and needs its vote.
func TestLeaderThatLeavesMayBeNeededOnce(t *testing.T) {
	c := newTestCluster(t, 1, 2)
	c.startAll(one)
	l := c.elect()
	other := c.nodes[2-int(l.id)]
	m := testMembership(one, 2)
	m.Nodes = []codec.Node{{ID: other.id, Address: "x"}}
	m.Configs = []codec.VoterConfig{codec.MajorityConfig(other.id)}
	c.delay = func(p *testPacket) (time.Duration, bool) {
		return 0, !(p.send.Frame.Kind == codec.EntryMembership && len(p.entries) > 0 && !p.entries[0].membership.Transient)
	}
	c.step(l, &Input{Kind: InputChange, Membership: m})
	if l.out.Refused {
		t.Fatal(l.out.Reason)
	}
	if !c.run(time.Second, func() bool { return l.core.leaving() && l.core.log.flushed == l.core.log.last.Index }) {
		t.Fatal("not leaving")
	}
	c.crash(l, 0)
	c.heal()
	c.run(time.Second, nil)
	c.start(l) // both nodes run from here on, every disk whole, every message arrives
	if !c.run(time.Hour, func() bool { return c.leader() != nil }) {
		for _, n := range c.nodes {
			s := n.core.Status()
			t.Logf("node %d: %v, last %v, commit %d, terms %v, %s", n.id, s.Role, s.LastLog, s.Commit, s.Vote, membershipString(n.core.Membership()))
		}
		t.Fatal("no leader in an hour")
	}
}

// Two ordinary voters and a witness. While 2 is down the leader's power fails after the witness flushed what the
// leader had not. From then on two of three voters run, with whole disks, and can never elect anybody.
func TestWitnessIsNeverAheadOfTheLeader(t *testing.T) {
	c := newTestCluster(t, 1, 3)
	for _, n := range c.nodes {
		c.start(n)
	}
	m := testMembership(one, 3)
	m.Nodes[2].Witness = true
	m.Nodes[0].Priority = 1
	c.initialize(c.nodes[0], m)
	c.elect()
	c.run(2*time.Second, nil)
	l := c.leader()
	if l.id != 1 {
		t.Fatalf("node %d leads, want the only one that has a priority", l.id)
	}
	c.crash(c.nodes[1], len(c.nodes[1].writes))
	l.stuck = true // its disk is slow
	c.propose(l, 1)
	c.run(10*ms, nil)
	c.crash(l, 0)
	l.stuck = false
	c.start(l)
	if !c.run(time.Hour, func() bool { return c.leader() != nil }) {
		t.Fatalf("no leader in an hour: node 1 holds %v, the witness %v, committed %d",
			l.core.log.last, c.nodes[2].core.log.last, len(c.check.committed))
	}
}

// Four voters of four priorities without pre-vote; the first dies when only the last one has its last entry. That one
// alone can win, waits the longest, and always asks in a term that the others have just passed.
func TestLongestLogOfLeastPriorityWins(t *testing.T) {
	for _, pre := range []bool{true, false} {
		for seed := range uint64(4) {
			c := newTestCluster(t, seed, 4)
			c.config = func(id codec.NodeID) Config {
				cfg := testConfig(id)
				cfg.Switches = Switches{NoPreVote: !pre}
				return cfg
			}
			for _, n := range c.nodes {
				c.start(n)
			}
			m := testMembership(one, 4)
			for i := range m.Nodes {
				m.Nodes[i].Priority = uint8(4 - i)
			}
			c.initialize(c.nodes[0], m)
			c.elect()
			c.run(5*time.Second, nil)
			l := c.leader()
			if l == nil || l.id != 1 {
				continue
			}
			c.delay = func(p *testPacket) (time.Duration, bool) { return ms, p.send.Frame.IsZero() || p.to == 4 }
			c.propose(l, 1)
			c.run(5*ms, nil)
			c.crash(l, 0)
			c.delay = func(p *testPacket) (time.Duration, bool) { return ms, true }
			start := c.now
			ok := c.run(10*time.Minute, func() bool { return c.leader() != nil })
			t.Logf("pre-vote %v, seed %d: leader %v after %v, term %d", pre, seed, ok, time.Duration(c.now-start), c.nodes[3].core.vote.Leader.Term)
			if !ok {
				t.Errorf("pre-vote %v, seed %d: no leader in ten minutes", pre, seed)
			}
		}
	}
}

// A target that is dead is given up after a lease, however long the caller would wait: proposals wait for it.
func TestTransferToADeadNodeIsGivenUp(t *testing.T) {
	c := newTestCluster(t, 1, 3)
	c.startAll(several)
	c.elect()
	c.run(time.Second, nil)
	l := c.leader()
	target := c.nodes[int(l.id)%3]
	c.crash(target, len(target.writes))
	c.step(l, &Input{Kind: InputTransfer, Peer: target.id, Timeout: time.Hour})
	want(t, "blocked", l.core.Status().Blocked, true)
	c.run(testTimeout+testHeartbeat, nil)
	want(t, "blocked after a lease", l.core.Status().Blocked, false)
	want(t, "role", l.core.role, Leader)
}
