package consensus

import (
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

// Sections of the dissertation on keeping, handing over and regaining leadership: 3.7 to 3.10, 6.2, 9.6.

// openAsking opens a node of a three-voter group that asks before it campaigns.
func openAsking(t *testing.T, vote codec.Vote, leaders ...codec.LeaderID) *lone {
	t.Helper()
	cfg := testConfig(1)
	cfg.Switches.NoPreVote = false
	c, err := New(cfg, logOf(vote, testMembership(one, 3), leaders...), 0)
	if err != nil {
		t.Fatal(err)
	}
	return &lone{t: t, c: c, node: 1}
}

// Thesis 3.7: requests are repeated when an answer is lost. A repeated one changes nothing and is answered like the first.
func TestThesis37RepeatedRequestsChangeNothing(t *testing.T) {
	l := openOf(t, 1, one, codec.Vote{})
	grant := l.only(l.voteRequest(asked(4, 2), first).AfterFlush)
	l.flush()
	again := l.voteRequest(asked(4, 2), first)
	want(t, "repeated grant", l.only(again.Now), grant)
	want(t, "writes", again.Write.Seq, 0)
	ack := l.only(l.frame(won(4, 2), first, by(4, 2), 3, 0).AfterFlush)
	l.flush()
	again = l.frame(won(4, 2), first, by(4, 2), 3, 0)
	want(t, "repeated ack", l.only(again.Now), ack)
	want(t, "writes", again.Write.Seq, 0)
}

// Thesis 3.8: vote and log are durable before anybody hears of them, and a node that restarts keeps to them.
func TestThesis38PersistedState(t *testing.T) {
	c := newTestCluster(t, 1, 3)
	c.startAll(one)
	leader := c.elect()
	other := c.nodes[leader.id%3]
	c.propose(leader, 4)
	c.settle()
	held, vote := other.core.log.last, other.core.vote
	c.crash(other, 0)
	c.start(other)
	want(t, "log after a restart", other.core.Status().LastLog, held)
	want(t, "vote after a restart", other.core.Status().Vote, vote)
	// What was not flushed was told to nobody. The checker looks at every message; here at what is gone.
	other.stuck = true
	c.propose(leader, 4)
	c.settle()
	want(t, "match", leader.core.peer(other.id).match, held.Index)
	c.crash(other, 0)
	other.stuck = false
	c.start(other)
	want(t, "log after a crash", other.core.Status().LastLog, held)
}

// Thesis 3.9: while messages take much less than an election timeout there is no election without need; when the leader is
// gone there is another one within a few timeouts.
func TestThesis39Timing(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		c := newTestCluster(t, seed, 5)
		c.delay = func(*testPacket) (time.Duration, bool) { return c.upTo(15 * ms), true }
		c.startAll(one)
		leader := c.elect()
		c.run(20*time.Second, nil)
		want(t, "leader after 20 seconds", c.leader(), leader)
		campaigns := uint64(0)
		for _, n := range c.nodes {
			campaigns += n.core.Status().Elections
		}
		c.crash(leader, 0)
		from := c.now
		if !c.run(10*testTimeouts, func() bool { l := c.leader(); return l != nil && l.core.commit >= l.core.lead.first }) {
			t.Fatalf("seed %d: no leader within 10 timeouts, %d campaigns before", seed, campaigns)
		}
		if d := time.Duration(c.now - from); d < testTimeout-20*ms {
			t.Fatalf("seed %d: another leader after %v, inside the lease", seed, d)
		}
	}
}

// Thesis 3.10: the leader refuses proposals, brings the target's log up to date, and tells it to campaign; the target does so
// at once, without waiting for a timeout and past all leases, so the group is without a leader for one round trip.
func TestThesis310Transfer(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		c := newTestCluster(t, seed, 5)
		c.startAll(codec.VoteMode(1 + seed%2))
		c.elect()
		c.run(time.Second, nil)
		c.delay = func(*testPacket) (time.Duration, bool) { return ms, true }
		for range 10 {
			old := c.leader()
			target := c.nodes[c.rng.IntN(5)]
			if target == old {
				continue
			}
			for range 5 {
				c.propose(old, 3)
			}
			last := old.core.log.last
			c.step(old, &Input{Kind: InputTransfer, Peer: target.id})
			want(t, "proposals while it hands over", c.propose(old, 1), false)
			want(t, "transferee", old.core.Status().Transferee, target.id)
			if !c.run(20*ms, func() bool { return target.core.role == Leader }) {
				t.Fatalf("seed %d: node %d does not lead after 20 hops", seed, target.id)
			}
			want(t, "entry proposed before", target.core.Holds(last), true)
			c.run(10*ms, nil)
			want(t, "old leader's role", old.core.role, Follower)
			want(t, "committed", target.core.commit, target.core.log.last.Index)
		}
	}
}

// Thesis 3.10: if the target does not take over within about an election timeout the leader goes on.
func TestThesis310TransferIsGivenUp(t *testing.T) {
	l := leading(t, nil)
	l.step(Input{Kind: InputTransfer, Peer: 2})
	want(t, "refused", l.propose(1, 100).Refused, true)
	asked := 0
	for l.c.Status().Blocked {
		asked += len(to(l.out.Now, 2, codec.MessageTransfer))
		l.hear(3, codec.Message{Kind: codec.MessageHeartbeatReply, Status: codec.StatusOK, Vote: l.c.vote, Stamp: int64(l.now)})
		l.now = min(l.out.Deadline, l.now.Add(10*ms))
		l.step(Input{Kind: InputTick})
	}
	if d := time.Duration(l.now); d > 2*testTimeouts {
		t.Fatalf("given up after %v", d)
	}
	want(t, "role", l.c.role, Leader)
	want(t, "refused", l.propose(1, 100).Refused, false)
}

// Thesis 3.10: a target whose log lacks something is not told to campaign before it has it.
func TestThesis310TargetCatchesUpFirst(t *testing.T) {
	l := leading(t, nil)
	l.propose(5, 500)
	out := l.step(Input{Kind: InputTransfer, Peer: 2})
	want(t, "requests", len(to(out.Now, 2, codec.MessageTransfer)), 0)
	out = l.ack(2, codec.StatusOK, l.last())
	request := l.only(to(out.Now, 2, codec.MessageTransfer))
	want(t, "log", request.Log, l.last())
	want(t, "vote", request.Vote, l.c.vote)
}

// Thesis 6.2: a leader that a minimum election timeout passes for without a round of answers from a majority steps down, so
// that its clients look for another. A node that was itself frozen first hears what waits for it.
func TestThesis62LeaderWithoutAQuorumStepsDown(t *testing.T) {
	answer := func(l *lone, peer codec.NodeID) {
		l.hear(peer, codec.Message{Kind: codec.MessageHeartbeatReply, Status: codec.StatusOK, Vote: l.c.vote, Stamp: int64(l.now)})
	}
	l := leading(t, nil)
	for range 20 { // one of two others is enough
		for range 4 {
			l.wait(testTimeout / 5)
		}
		answer(l, 2)
		want(t, "role", l.c.role, Leader)
	}
	for range 4 {
		l.wait(testTimeout / 5)
	}
	want(t, "role just before", l.c.role, Leader)
	l.wait(testTimeout / 5)
	want(t, "role", l.c.role, Follower)
	want(t, "leader", l.c.Status().Leader, 0)
	want(t, "proposals", l.propose(1, 100).Refused, true)

	l = leading(t, nil)
	l.wait(10 * time.Second)
	want(t, "role after a freeze", l.c.role, Leader)
	answer(l, 2)
	want(t, "role after an answer", l.wait(testHeartbeat).Refused, false)
	want(t, "role after an answer", l.c.role, Leader)
	l = leading(t, nil)
	l.wait(10 * time.Second)
	for range 5 {
		l.wait(testHeartbeat)
	}
	want(t, "role after a freeze and no answer", l.c.role, Follower)
}

// Thesis 9.6: a node asks whether it would win before it raises its term. Nothing is written for the question.
func TestThesis96PreVote(t *testing.T) {
	l := openAsking(t, asked(4, 2), by(2, 3))
	l.now = l.c.election.deadline
	out := l.step(Input{Kind: InputTick})
	want(t, "role", l.c.role, Follower)
	want(t, "vote", l.c.vote, asked(4, 2))
	want(t, "writes", out.Write.Seq, 0)
	want(t, "questions", len(out.Now), 2)
	for _, s := range out.Now {
		want(t, "pre-vote", s.Message.PreVote, true)
		want(t, "asks for", s.Message.Vote, asked(5, 1))
		want(t, "log", s.Message.Log, at(2, 3, 2))
	}
	yes := codec.Message{Kind: codec.MessageVoteReply, Status: codec.StatusOK, PreVote: true, Vote: asked(5, 1)}
	out = l.hear(2, yes)
	want(t, "role", l.c.role, Candidate)
	want(t, "vote", out.Write.Vote, asked(5, 1))
	want(t, "real requests", len(to(out.AfterFlush, 2, codec.MessageVote))+len(to(out.AfterFlush, 3, codec.MessageVote)), 2)
	l.flush()
	l.hear(3, yes) // late
	want(t, "role after a late yes to the question", l.c.role, Candidate)
	l.grant(3, asked(5, 1))
	want(t, "role", l.c.role, Leader)
}

// Thesis 9.6: a yes counts for exactly the question that it names, and a voter counts once.
func TestThesis96LateAnswersDoNotCount(t *testing.T) {
	cfg := testConfig(1)
	cfg.Switches.NoPreVote = false
	c, err := New(cfg, logOf(codec.Vote{}, testMembership(one, 5)), 0)
	if err != nil {
		t.Fatal(err)
	}
	l := &lone{t: t, c: c, node: 1}
	ask := func() codec.Vote {
		l.now = l.c.election.deadline
		return l.step(Input{Kind: InputTick}).Now[0].Message.Vote
	}
	yes := func(peer codec.NodeID, vote codec.Vote) Role {
		l.hear(peer, codec.Message{Kind: codec.MessageVoteReply, Status: codec.StatusOK, PreVote: true, Vote: vote})
		return l.c.role
	}
	old := ask()
	want(t, "first question", old, asked(1, 1))
	l.hear(4, codec.Message{Kind: codec.MessageVoteReply, Status: codec.StatusRefused, PreVote: true, Vote: asked(8, 4)})
	now := ask()
	want(t, "question after a refusal that showed term 8", now, asked(9, 1))
	want(t, "role", yes(2, old), Follower)
	want(t, "role", yes(3, old), Follower)
	want(t, "role", yes(2, now), Follower)
	want(t, "role", yes(2, now), Follower)
	want(t, "role", yes(9, now), Follower)
	want(t, "role", yes(3, now), Candidate)
}

// Thesis 9.6: whoever would grant the real vote says yes, and keeps nothing of it: not the vote, not the term, not the time.
func TestThesis96QuestionsChangeNothing(t *testing.T) {
	for _, l := range []*lone{openOf(t, 1, one, asked(4, 2), by(2, 3)), openAsking(t, asked(4, 2), by(2, 3))} {
		deadline := l.c.election.deadline
		for _, test := range []struct {
			vote   codec.Vote
			last   codec.LogID
			status codec.Status
		}{
			{asked(5, 3), at(2, 3, 2), codec.StatusOK},
			{asked(5, 2), at(2, 3, 2), codec.StatusOK}, // a second node in the same term
			{asked(9, 3), at(2, 3, 1), codec.StatusRefused},
			{asked(4, 3), at(3, 3, 9), codec.StatusRefused}, // the vote of the term is given
		} {
			out := l.hear(test.vote.Leader.Node, codec.Message{Kind: codec.MessageVote, PreVote: true, Vote: test.vote, Log: test.last})
			reply := l.only(out.Now)
			want(t, "status", reply.Status, test.status)
			want(t, "pre-vote", reply.PreVote, true)
			if test.status == codec.StatusOK {
				want(t, "echo", reply.Vote, test.vote)
			} else {
				want(t, "vote", reply.Vote, asked(4, 2))
			}
			want(t, "writes", out.Write.Seq, 0)
		}
		want(t, "vote", l.c.vote, asked(4, 2))
		want(t, "deadline", l.c.election.deadline, deadline)
	}
}

// Thesis 9.6: a node that is cut off does not raise its term, so it disturbs nobody when it is back.
func TestThesis96ReturningNodeDisturbsNobody(t *testing.T) {
	for seed := uint64(1); seed <= 4; seed++ {
		c := newTestCluster(t, seed, 5)
		c.config = func(id codec.NodeID) Config {
			cfg := testConfig(id)
			cfg.Switches.NoPreVote = false
			return cfg
		}
		c.startAll(codec.VoteMode(1 + seed%2))
		leader := c.elect()
		away := c.nodes[leader.id%5]
		c.isolate(away.id)
		for range 30 {
			c.propose(leader, 1)
			c.run(time.Second, nil)
		}
		vote := leader.core.vote
		c.heal()
		c.run(10*time.Second, nil)
		want(t, "leader", c.leader(), leader)
		want(t, "vote", leader.core.vote, vote)
		want(t, "campaigns of the node", away.core.Status().Elections, 0)
		want(t, "its log", away.core.log.last, leader.core.log.last)
	}
}

// A voter of a lower priority waits longer after it heard the leader last, by one range of timeouts for each greater
// priority of another voter.
func TestPriorityLengthensTimeouts(t *testing.T) {
	m := testMembership(one, 5)
	m.Nodes[1].Priority, m.Nodes[2].Priority, m.Nodes[3].Priority, m.Nodes[4].Priority = 1, 1, 2, 3
	for id, rank := range map[codec.NodeID]time.Duration{1: 3, 2: 2, 3: 2, 4: 1, 5: 0} {
		l := open(t, id, logOf(codec.Vote{}, m))
		for range 20 {
			l.c.election.reset(l.c)
			least := testTimeout + rank*(testTimeouts-testTimeout)
			if d := l.c.election.timeout; d < least || d >= least+testTimeouts-testTimeout {
				t.Fatalf("node %d: timeout %v, want one in [%v, %v)", id, d, least, least+testTimeouts-testTimeout)
			}
		}
	}
}
