package consensus

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

// Groups that found no leader for ever, each first seen by the simulator. See regression_test.go for the rest.

// lagging returns five nodes without pre-vote of which 2 and 3 run no more. Node 1 knows only the membership before, asks
// those two, and so takes the next term with every timeout. Node 5 alone can win: it holds more than node 4, needs the
// votes of both, and hears of node 1's terms only when that refuses it.
func lagging(t *testing.T, seed uint64, mode codec.VoteMode, pre bool) *testCluster {
	c := newTestCluster(t, seed, 5)
	c.config = func(id codec.NodeID) Config {
		cfg := testConfig(id)
		cfg.Switches.NoPreVote = id == 1 || !pre
		return cfg
	}
	c.delay = func(*testPacket) (time.Duration, bool) { return ms, true }
	member := func(at codec.LogID, voters ...codec.NodeID) testEntry {
		all := testMembership(mode, 5)
		all.Configs = []codec.VoterConfig{codec.MajorityConfig(voters...)}
		return testEntry{id: at, kind: codec.EntryMembership, membership: all}
	}
	normal := func(at codec.LogID) testEntry { return testEntry{id: at, kind: codec.EntryNormal, data: 7} }
	old, now := member(first, 1, 2, 3), member(at(1, 2, 2), 1, 2, 3, 4, 5)
	logs := map[codec.NodeID][]testEntry{
		1: {old},
		4: {old, now, normal(at(1, 2, 3))},
		5: {old, now, normal(at(1, 2, 3)), normal(at(2, 3, 4))},
	}
	for id, entries := range logs {
		d := &c.node(id).disk
		d.entries, d.vote, d.commit = entries, asked(2, 3), 1
		for i := range entries {
			d.starts = append(d.starts, codec.Index(i+1))
		}
	}
	for _, id := range []codec.NodeID{1, 4, 5} {
		c.start(c.node(id))
	}
	return c
}

// A voter that lags behind a change of membership can't win, but would keep ahead of the terms of the one that can.
func TestLaggingVoterOutrunsNobody(t *testing.T) {
	for _, mode := range []codec.VoteMode{one, several} {
		for _, pre := range []bool{false, true} {
			worst := time.Duration(0)
			for seed := range uint64(200) {
				c := lagging(t, seed, mode, pre)
				began := c.now
				if !c.run(20*testTimeouts, func() bool { return c.leader() != nil }) {
					t.Fatalf("mode %v, pre-vote %v, seed %d: no leader in 20 timeouts: node 1 holds %v, node 5 %v",
						mode, pre, seed, c.node(1).core.vote, c.node(5).core.vote)
				}
				want(t, "leader", c.leader().id, 5)
				worst = max(worst, time.Duration(c.now-began))
			}
			t.Logf("mode %v, pre-vote %v: a leader after %v at the latest", mode, pre, worst)
		}
	}
}

// A candidate that only the greater term of a shorter log stood against asks again soon. Where a leader may be, or a log
// that is as long, it waits as ever.
func TestOutrunCandidateAsksAgainSoon(t *testing.T) {
	last := at(1, 2, 3)
	refusals := []struct {
		what string
		vote codec.Vote
		log  codec.LogID
		soon bool
	}{
		{"a shorter log", asked(9, 2), first, true},
		{"a follower with a shorter log", won(9, 3), first, false},
		{"the same log", asked(9, 2), last, false},
		{"a longer log", asked(9, 2), at(1, 2, 4), false},
	}
	for _, r := range refusals {
		for _, pre := range []bool{false, true} {
			for range 20 {
				l := openOf(t, 1, one, won(1, 2), repeat(last.Leader, 2)...)
				l.c.switches.NoPreVote = !pre
				l.now = l.c.election.deadline
				l.step(Input{Kind: InputTick})
				l.now = l.now.Add(ms)
				l.hear(2, codec.Message{Kind: codec.MessageVoteReply, Status: codec.StatusRefused, Vote: r.vote, Log: r.log, PreVote: pre})
				l.flush()
				wait := time.Duration(l.out.Deadline - l.now)
				if soon := wait >= testHeartbeat/2 && wait < testTimeout; soon != r.soon {
					t.Fatalf("pre-vote %v, refused by %s: asks again after %v", pre, r.what, wait)
				}
				l.now = l.out.Deadline
				l.step(Input{Kind: InputTick})
				want(t, "term asked for next", max(l.c.vote.Leader.Term, l.c.election.asking.Leader.Term), 10)
			}
		}
	}
}

// A voter of a lower priority lets the others go first when the leader falls silent, once: they may be dead.
func TestPriorityDelaysOnlyTheFirstCampaign(t *testing.T) {
	m := testMembership(one, 3)
	m.Nodes[2].Priority = 1
	l := open(t, 1, logOf(codec.Vote{}, m))
	within := func(when string, rank time.Duration) {
		t.Helper()
		least := testTimeout + rank*(testTimeouts-testTimeout)
		if d := l.c.election.timeout; d < least || d >= least+testTimeouts-testTimeout {
			t.Fatalf("%s: timeout %v, want one in [%v, %v)", when, d, least, least+testTimeouts-testTimeout)
		}
	}
	for range 20 {
		within("before anything", 1)
		l.campaign()
		within("after a campaign", 0)
		l.campaign()
		within("after another one", 0)
		led := l.c.vote.Leader.Term + 1
		l.voteRequest(asked(led, 2), l.last())
		within("after a vote for another node", 0)
		l.heartbeat(won(led, 2), first, 0)
		within("after a leader was heard", 1)
		l.flush()
	}
	l.lead(2)
	l.hear(2, codec.Message{Kind: codec.MessageAppendReply, Status: codec.StatusRefused, Vote: asked(l.c.vote.Leader.Term+1, 2)})
	want(t, "role", l.c.role, Follower)
	within("after it led", 1)
}

// The voters of greater priority are dead, a voter that lags can't win and has the shortest timeout: it would take the
// next term again and again before those who wait for the dead have asked once.
func TestDeadVotersOfGreaterPriorityAreNotWaitedFor(t *testing.T) {
	for seed := range uint64(200) {
		c := lagging(t, seed, one, false)
		for _, id := range []codec.NodeID{4, 5} {
			d := &c.node(id).disk
			for i := range d.entries {
				if m := d.entries[i].membership; m != nil {
					m.Nodes[1].Priority, m.Nodes[2].Priority = 2, 1
				}
			}
		}
		c.crash(c.node(4), 0)
		c.crash(c.node(5), 0)
		c.start(c.node(4))
		c.start(c.node(5))
		if !c.run(20*testTimeouts, func() bool { return c.leader() != nil }) {
			t.Fatalf("seed %d: no leader in 20 timeouts: node 1 holds %v, node 5 %v", seed, c.node(1).core.vote, c.node(5).core.vote)
		}
	}
}

// Where committed entries were lost, a follower acknowledges up to its commit what a leader lacks, whose probes find the
// match below: both repeated themselves for ever. The leader probes at what the follower claims, who sees the contradiction
// and stops.
func TestLostCommitEndsTheFollowerThatHasIt(t *testing.T) {
	m := testMembership(one, 3)
	kept := repeat(by(1, 1), 3)
	for what, lost := range map[string][]codec.LeaderID{"longer": repeat(by(3, 2), 6), "shorter": nil} {
		l := open(t, 1, logOf(asked(3, 2), m, append(slices.Clone(kept), lost...)...))
		st := logOf(won(2, 3), m, append(slices.Clone(kept), repeat(by(2, 3), 4)...)...)
		st.Commit = 8
		f := open(t, 3, st)
		l.lead(2)
		sends := slices.Clone(l.out.Now)
		for range 10 {
			var answers []Send
			for _, s := range to(sends, 3, codec.MessageAppend) {
				f.now = f.now.Add(ms)
				out := f.step(Input{Kind: InputMessage, Peer: 1, Message: s.Message, Frame: s.Frame})
				answers = append(append(answers, out.Now...), out.AfterFlush...)
				f.flush()
			}
			sends = nil
			for _, s := range to(answers, 1, codec.MessageAppendReply) {
				l.now = l.now.Add(ms)
				sends = append(sends, l.hear(3, s.Message).Now...)
			}
		}
		if !errors.Is(f.out.Fatal, ErrCommittedConflict) {
			t.Errorf("%s log: the follower goes on (%v), probed at %d", what, f.out.Fatal, l.peer(3).Next)
		}
		want(t, "role of the leader", l.c.role, Leader)
		want(t, "its view of the follower's log", l.peer(3).Match < 5, true)
	}
}

// stranded returns three voters, of which 2 is lost, and a learner, 4. Node 3 holds a membership that nobody else has and in
// which nothing happens without node 4. Node 4 holds what node 2 has sent it since as a leader, so it votes for neither of
// the others; and node 3 does not vote for node 1.
func stranded(t *testing.T, seed uint64, mode codec.VoteMode, pre bool) *testCluster {
	c := newTestCluster(t, seed, 4)
	c.config = func(id codec.NodeID) Config {
		cfg := testConfig(id)
		cfg.Switches.NoPreVote = !pre
		return cfg
	}
	c.delay = func(*testPacket) (time.Duration, bool) { return ms, true }
	old := testMembership(mode, 4)
	old.Configs = []codec.VoterConfig{codec.MajorityConfig(1, 2, 3)}
	next := testMembership(mode, 4)
	next.Configs, next.Transient = []codec.VoterConfig{old.Configs[0], codec.MajorityConfig(4)}, true
	begins := []testEntry{{id: first, kind: codec.EntryMembership, membership: old}, {id: at(1, 3, 2), kind: codec.EntryNormal, data: 7}}
	for id, more := range map[codec.NodeID][]testEntry{
		1: nil,
		3: {{id: at(1, 3, 3), kind: codec.EntryMembership, membership: next}},
		4: {{id: at(2, 2, 3), kind: codec.EntryNormal, data: 8}},
	} {
		d := &c.node(id).disk
		d.entries, d.vote, d.commit, d.starts = append(slices.Clone(begins), more...), asked(2, 2), 1, []codec.Index{1, 2, 3}[:2+len(more)]
		if id == 4 {
			d.vote.Committed = true
		}
		c.start(c.node(id))
	}
	return c
}

// A learner that alone has what was sent last, and that a candidate needs by a membership which the learner does not know,
// campaigns; else nobody could be elected, though one voter of three is lost. It leads until what it has is committed.
func TestLearnerThatIsNeededCampaigns(t *testing.T) {
	for _, mode := range []codec.VoteMode{one, several} {
		for _, pre := range []bool{false, true} {
			worst := time.Duration(0)
			for seed := range uint64(100) {
				c := stranded(t, seed, mode, pre)
				began, led := c.now, false
				done := func() bool {
					l := c.leader()
					led = led || l != nil && l.id == 4
					return l != nil && l.id != 4 && l.core.commit > 3
				}
				if !c.run(30*testTimeouts, done) {
					t.Fatalf("mode %v, pre-vote %v, seed %d: no leader but node 4 in 30 timeouts, it led: %v; votes %v, %v, %v",
						mode, pre, seed, led, c.node(1).core.vote, c.node(3).core.vote, c.node(4).core.vote)
				}
				want(t, "node 4 led", led, true)
				want(t, "what it had stands everywhere", c.leader().core.log.matches(at(2, 2, 3)), true)
				c.run(testTimeouts, func() bool { return false })
				want(t, "role of node 4", c.node(4).core.role, Learner)
				worst = max(worst, time.Duration(c.now-began))
			}
			t.Logf("mode %v, pre-vote %v: a leader among the voters after %v at the latest", mode, pre, worst)
		}
	}
}

// A leader that lost its snapshot is on its way out of the membership. The voter whose answer would end that lacks entries that
// are purged, and only another one has a snapshot for it: that one must lead.
func TestLeaderThatLeavesAndWantsASnapshotHandsOver(t *testing.T) {
	for _, removed := range []bool{true, false} {
		m := testMembership(one, 4)
		m.Configs = []codec.VoterConfig{codec.MajorityConfig(1, 2, 3)}
		next := m.Clone()
		next.Configs = []codec.VoterConfig{codec.MajorityConfig(2, 3, 4)}
		if removed {
			next.Nodes = next.Nodes[1:]
		}
		st := logFrom(won(3, 2), baseOf(at(2, 2, 10), m), by(2, 2), by(2, 2))
		f := &st.Frames[1]
		*f = membershipFrame(&next)
		f.Group, f.Leader, f.First = testGroup, by(2, 2), 12
		st.Memberships = []codec.MembershipRecord{{ID: at(2, 2, 12), Membership: next}}
		st.Snapshot = codec.LogBase{}
		l := open(t, 1, st)
		want(t, "it lets others go first", l.c.election.rank, priorityRanksMax)
		l.now = l.now.Add(10 * testTimeouts)
		l.lead(2, 3)
		l.flush()
		want(t, "leaves", l.c.leaving(), true)
		asked := false
		for range 20 {
			l.now = l.now.Add(testHeartbeat)
			out := l.step(Input{Kind: InputTick})
			asked = asked || len(to(out.Now, 2, codec.MessageTransfer)) > 0
			l.ack(2, codec.StatusOK, l.last())
			l.beat(2, codec.Message{Log: l.last()})
			l.beat(3, codec.Message{Status: codec.StatusConflict})
		}
		want(t, "role", l.c.role, Leader)
		want(t, "asks the one that has everything to campaign", asked, true)
	}
}

// Who may be called: a learner with whole entries that hears no leader, by somebody with less log. The answer stays a
// refusal; whoever was called asks before it campaigns, and hears no more of it once there is a leader or a longer log.
func TestOnlyAnOrdinaryLearnerWithMoreLogIsCalled(t *testing.T) {
	member := testMembership(one, 4)
	member.Configs = []codec.VoterConfig{codec.MajorityConfig(1, 2)}
	witness := member.Clone()
	witness.Nodes[3].Witness = true
	removed := member.Clone()
	removed.Nodes = removed.Nodes[:3]
	last := at(2, 2, 3)
	for _, q := range []struct {
		what   string
		member *codec.Membership
		leader bool // is heard
		log    codec.LogID
		called bool
	}{
		{"a learner, by less log", member, false, at(1, 3, 9), true},
		{"a learner, by the same log", member, false, last, false},
		{"a learner that hears a leader", member, true, at(1, 3, 9), false},
		{"a witness", &witness, false, at(1, 3, 9), false},
		{"a node that was removed", &removed, false, at(1, 3, 9), false},
	} {
		for _, pre := range []bool{false, true} {
			l := open(t, 4, logOf(won(2, 2), q.member, repeat(last.Leader, 2)...))
			l.now = l.now.Add(testTimeouts)
			if q.leader {
				l.heartbeat(won(2, 2), first, 0)
			}
			out := l.hear(3, codec.Message{Kind: codec.MessageVote, Vote: asked(5, 3), Log: q.log, PreVote: pre})
			answers := to(out.Now, 3, codec.MessageVoteReply)
			if len(answers) != 1 || answers[0].Message.Status != codec.StatusRefused || out.Write.Seq != 0 && !q.leader {
				t.Fatalf("%s, pre-vote %v: %d answers, write %d", q.what, pre, len(answers), out.Write.Seq)
			}
			want(t, q.what+": role", l.c.role, map[bool]Role{true: Follower, false: Learner}[q.called])
			wait := time.Duration(out.Deadline - l.now)
			want(t, q.what+": has a timeout", wait >= testTimeout && wait < testTimeouts, q.called)
			if !q.called {
				continue
			}
			l.now = out.Deadline
			out = l.step(Input{Kind: InputTick})
			asks := to(out.Now, 1, codec.MessageVote)
			want(t, "requests", len(asks), 1)
			want(t, "only asks", asks[0].Message.PreVote, true)
			if pre {
				l.heartbeat(won(2, 2), first, 0)
			} else {
				l.voteRequest(asked(9, 1), at(2, 2, 4))
			}
			want(t, "role afterwards", l.c.role, Learner)
			want(t, "deadline afterwards", l.out.Deadline, Never)
		}
	}
}
