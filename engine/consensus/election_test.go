package consensus

import (
	"errors"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

// A vote given and lost with the power was never heard of: the reply leaves only after the flush. So the restarted node
// may give it to another candidate of the term.
func TestVoteLeavesOnlyAfterFlush(t *testing.T) {
	c := newTestCluster(t, 1, 3)
	m := testMembership(one, 3)
	b := c.nodes[1]
	for _, n := range c.nodes {
		c.start(n)
		c.initialize(n, m)
	}
	c.settle()
	b.stuck = true
	ask := func(from codec.NodeID) {
		c.deliver(testPacket{from: from, to: b.id, send: Send{Message: codec.Message{
			Kind: codec.MessageVote, Group: testGroup, Vote: asked(5, from), Log: first,
		}}})
	}
	ask(1)
	want(t, "grants held", len(b.held), 1)
	want(t, "packets under way", len(c.events), 0)
	c.crash(b, 0)
	b.stuck = false
	c.start(b)
	ask(3)
	want(t, "vote", b.core.vote, asked(5, 3))
	ask(1)
	want(t, "second vote of the term", b.out.Now[0].Message.Status, codec.StatusRefused)
}

// A candidate that steps down for the leader of its own term has still voted in it.
func TestSteppingDownKeepsTheVoteOfTheTerm(t *testing.T) {
	l := openOf(t, 1, one, codec.Vote{})
	term := l.campaign().Leader.Term
	l.heartbeat(won(term, 2), first, 0)
	l.now = l.now.Add(testTimeout) // the lease is over
	out := l.voteRequest(asked(term, 3), at(term, 3, 90))
	want(t, "status", l.only(out.Now).Status, codec.StatusRefused)
	want(t, "vote", l.c.vote, won(term, 2))
}

// A grant counts for exactly the campaign it names, and one voter counts once.
func TestLateAndRepeatedGrantsDoNotCount(t *testing.T) {
	l := open(t, 1, logOf(codec.Vote{}, testMembership(one, 5)))
	old := l.campaign()
	now := l.campaign()
	l.grant(2, old)
	l.grant(3, old)
	want(t, "role after grants of the old campaign", l.c.role, Candidate)
	l.grant(2, now)
	l.grant(2, now)
	l.grant(2, now)
	want(t, "role after one voter's repeated grant", l.c.role, Candidate)
	l.grant(9, now)
	want(t, "role after a stranger's grant", l.c.role, Candidate)
	l.grant(3, codec.Vote{Leader: now.Leader, Committed: true})
	want(t, "role after the grant of another vote", l.c.role, Candidate)
	l.grant(3, now)
	want(t, "role", l.c.role, Leader)
}

// A node that is no voter can't depose anybody, nor push up a term, unless its log shows that this node may not have
// heard of its promotion yet.
func TestVoteRequestsOfStrangers(t *testing.T) {
	m := testMembership(one, 3)
	m.Nodes = append(m.Nodes, codec.Node{ID: 4, Address: "learner"})
	for _, stranger := range []codec.NodeID{4, 5} {
		l := open(t, 1, logOf(won(2, 2), m, by(2, 2)))
		l.now = l.now.Add(testTimeout) // no lease protects the leader
		for _, last := range []codec.LogID{at(2, 2, 2), first, {}} {
			out := l.voteRequest(asked(1<<40, stranger), last)
			want(t, "status", l.only(out.Now).Status, codec.StatusRefused)
			want(t, "vote", l.c.vote, won(2, 2))
		}
		want(t, "longer log", l.only(l.voteRequest(asked(3, stranger), at(2, 2, 3)).AfterFlush).Status, codec.StatusOK)

		leader := open(t, 1, logOf(codec.Vote{}, m))
		leader.lead(2)
		leader.hear(stranger, codec.Message{Kind: codec.MessageAppendReply, Status: codec.StatusRefused, Vote: asked(1<<40, stranger)})
		want(t, "role", leader.c.role, Leader)
	}
}

// A voter that does not know of its own promotion yet still votes.
func TestLearnerVotesWhenAsked(t *testing.T) {
	m := testMembership(one, 3)
	m.Nodes = append(m.Nodes, codec.Node{ID: 4, Address: "learner"})
	l := open(t, 4, logOf(codec.Vote{}, m))
	want(t, "role", l.c.role, Learner)
	want(t, "deadline", l.wait(time.Hour).Deadline, Never)
	want(t, "status", l.only(l.voteRequest(asked(1, 2), first).AfterFlush).Status, codec.StatusOK)
}

// A leader whose unsynced entries others committed comes back without them. It must not lead again under the leader id
// of those entries: a new one would have the log id of a committed one, and followers would take it for that.
func TestRestartedLeaderNeverResumes(t *testing.T) {
	c := newTestCluster(t, 1, 3)
	c.startAll(several)
	a := c.elect()
	led := a.core.vote.Leader
	c.run(2*testHeartbeat, nil)
	a.stuck = true
	for range 10 {
		c.propose(a, 1)
	}
	c.run(testHeartbeat, nil)
	last := a.core.log.last
	want(t, "committed without the leader's disk", a.core.commit, last.Index)
	c.crash(a, 0)
	a.stuck = false
	c.start(a)
	want(t, "stored vote", a.core.vote, codec.Vote{Leader: led, Committed: true})
	want(t, "role", a.core.role, Follower)
	want(t, "leader", a.core.Status().Leader, 0)
	next := c.elect()
	if next.core.vote.Leader == led {
		t.Fatalf("%v leads a second time", led)
	}
	c.run(time.Second, nil)
	want(t, "entry survives", a.core.Holds(last), true)
}

// A restarted leader is the first to campaign where nobody else can: under a greater term.
func TestRestartedLeaderCampaignsInGreaterTerm(t *testing.T) {
	for _, vote := range []codec.Vote{won(4, 1), asked(4, 1)} {
		l := openOf(t, 1, one, vote)
		want(t, "role", l.c.role, Follower)
		want(t, "vote", l.campaign(), asked(5, 1))
	}
}

// Requests for votes leave only after the flush: after a crash the same leader id must not be claimed again, nor a
// grant count that was given to a longer log.
func TestLeaderIDIsNeverClaimedTwice(t *testing.T) {
	l := openOf(t, 1, one, codec.Vote{})
	l.now = l.c.election.deadline
	out := l.step(Input{Kind: InputTick})
	want(t, "leaves before the flush", len(out.Now), 0)
	want(t, "waits", len(out.AfterFlush), 2)
	// A grant that comes all the same does not elect without this node's own durable vote.
	l.grant(2, l.c.vote)
	want(t, "role", l.c.role, Candidate)
	l.flush()
	want(t, "role", l.c.role, Leader)
}

// A candidate whose disk hangs does not drive the term up.
func TestHangingDiskDoesNotInflateTerms(t *testing.T) {
	l := openOf(t, 1, one, codec.Vote{})
	for range 20 {
		l.wait(testTimeouts)
	}
	want(t, "vote", l.c.vote, asked(1, 1))
	want(t, "campaigns", l.c.Status().Elections, 1)
}

// A restarted node acts as if it had just heard the leader it had followed.
func TestRestartKeepsTheLease(t *testing.T) {
	l := openOf(t, 1, one, won(4, 2))
	l.now = l.now.Add(testTimeout - 1)
	want(t, "in the lease", l.only(l.voteRequest(asked(5, 3), at(4, 2, 9)).Now).Status, codec.StatusRefused)
	l.now = l.now.Add(1)
	want(t, "after it", l.only(l.voteRequest(asked(5, 3), at(4, 2, 9)).AfterFlush).Status, codec.StatusOK)
	for _, vote := range []codec.Vote{asked(4, 2), won(4, 1)} { // nobody's lease runs
		l := openOf(t, 1, one, vote)
		want(t, "status", l.only(l.voteRequest(asked(5, 3), at(4, 2, 9)).AfterFlush).Status, codec.StatusOK)
	}
}

// A leader refuses votes only while a quorum answers it: one that nobody hears must not hold up an election.
func TestLeaderLeaseNeedsAQuorum(t *testing.T) {
	l := openOf(t, 1, one, codec.Vote{})
	l.lead(2)
	ask := func() codec.Status {
		out := l.voteRequest(asked(9, 3), at(8, 3, 9))
		return l.only(to(append(out.Now, out.AfterFlush...), 3, codec.MessageVoteReply)).Status
	}
	l.now = l.now.Add(testTimeout - 1)
	want(t, "fresh leader", ask(), codec.StatusRefused)
	l.hear(2, codec.Message{Kind: codec.MessageHeartbeatReply, Status: codec.StatusOK, Vote: l.c.vote, Stamp: int64(l.now)})
	l.now = l.now.Add(testTimeout - 1)
	want(t, "answered", ask(), codec.StatusRefused)
	l.now = l.now.Add(1)
	want(t, "not answered", ask(), codec.StatusOK)
	want(t, "role", l.c.role, Follower)
}

// The side with the longer log and the lower term, and the one with the greater term and the shorter log, end up with a
// leader that has the longer log: a refusal teaches the term.
func TestLongLogAndHighTermFindEachOther(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		c := newTestCluster(t, seed, 4)
		m := testMembership(one, 4)
		for _, n := range c.nodes {
			n.disk.entries = []testEntry{{id: first, kind: codec.EntryMembership, membership: m}}
			n.disk.starts = []codec.Index{1}
			n.disk.vote = asked(30, n.id)
			if n.id <= 2 {
				n.disk.vote = asked(2, n.id)
				n.disk.entries = append(n.disk.entries, testEntry{id: at(2, 1, 2), kind: codec.EntryNormal, data: 7})
				n.disk.starts = append(n.disk.starts, 2)
			}
			c.start(n)
		}
		leader := c.elect()
		want(t, "leader has the long log", leader.core.Holds(at(2, 1, 2)), true)
	}
}

// A candidate that meets a longer log lets it go first.
func TestCandidateWithShortLogWaits(t *testing.T) {
	l := openOf(t, 1, one, codec.Vote{})
	l.campaign()
	before := l.c.election.deadline
	refusal := codec.Message{Kind: codec.MessageVoteReply, Status: codec.StatusRefused, Log: at(1, 2, 5)}
	l.hear(2, refusal)
	l.hear(2, refusal)
	want(t, "deadline", l.c.election.deadline, before.Add(testTimeouts))
}

// A node that does not know the mode yet takes only steps that both modes allow: with several leaders per term, after
// its vote for the greater node it must not follow the lesser one, whose entries that vote did not consider.
func TestUninitializedNodeIsSafeInBothModes(t *testing.T) {
	l := open(t, 1, codec.LogState{})
	want(t, "vote", l.only(l.voteRequest(asked(1, 3), first).AfterFlush).Status, codec.StatusOK)
	want(t, "lesser leader", l.only(l.heartbeat(won(1, 2), codec.LogID{}, 0).Now).Status, codec.StatusRefused)
	l = open(t, 1, codec.LogState{})
	want(t, "vote", l.only(l.voteRequest(asked(1, 2), first).AfterFlush).Status, codec.StatusOK)
	want(t, "greater candidate", l.only(l.voteRequest(asked(1, 3), first).Now).Status, codec.StatusRefused)
	want(t, "greater leader", l.only(l.heartbeat(won(1, 3), codec.LogID{}, 0).AfterFlush).Status, codec.StatusOK)
}

// With one leader per term the lesser leader of the last test would be refused for good. It makes way for a greater
// term.
func TestLeaderRefusedByUninitializedNodeTakesAGreaterTerm(t *testing.T) {
	l := openOf(t, 1, one, codec.Vote{})
	l.lead(2)
	refusal := codec.Message{
		Kind: codec.MessageAppendReply, Status: codec.StatusRefused, Vote: asked(1, 3), Stamp: int64(l.c.lead.since) - 1,
	}
	l.hear(3, refusal)
	want(t, "role after a refusal from before", l.c.role, Leader)
	refusal.Stamp++
	l.hear(3, refusal)
	want(t, "role", l.c.role, Follower)
	want(t, "vote", l.c.vote, won(1, 1))
	l.flush()
	want(t, "next vote", l.campaign(), asked(2, 1))
}

// An answer from the past life of this very node's id does not make it a candidate.
func TestOwnVoteInARefusalIsSpent(t *testing.T) {
	l := openOf(t, 1, one, codec.Vote{})
	l.campaign()
	l.hear(2, codec.Message{Kind: codec.MessageVoteReply, Status: codec.StatusRefused, Vote: asked(9, 1)})
	want(t, "role", l.c.role, Follower)
	l.flush()
	want(t, "next vote", l.campaign(), asked(10, 1))
}

// Terms end somewhere; the node stops with an error instead of starting over.
func TestTermsRunOut(t *testing.T) {
	l := openOf(t, 1, one, asked(termMax-1, 2))
	l.campaign()
	out := l.wait(time.Second)
	if !errors.Is(out.Fatal, ErrTermsExhausted) {
		t.Fatalf("fatal: %v, want %v", out.Fatal, ErrTermsExhausted)
	}
	want(t, "deadline", out.Deadline, Never)
	if out = l.propose(1, 100); !errors.Is(out.Fatal, ErrTermsExhausted) {
		t.Fatalf("fatal: %v, want %v", out.Fatal, ErrTermsExhausted)
	}
	want(t, "refused", out.Refused, true)
}

// A cluster of one elects itself and commits by its own disk alone.
func TestSingleVoter(t *testing.T) {
	l := open(t, 1, codec.LogState{})
	l.step(Input{Kind: InputInitialize, Membership: testMembership(several, 1)})
	l.flush()
	l.campaign()
	want(t, "role", l.c.role, Leader)
	want(t, "commit before the flush", l.out.Commit, 0)
	want(t, "commit", l.flush().Commit, 2)
	want(t, "commit before the flush", l.propose(5, 100).Commit, 2)
	want(t, "commit", l.flush().Commit, 7)
	want(t, "deadline in the future", l.wait(time.Hour).Deadline > l.now, true)
}

// A vote that passes a lease by the mark of a transfer ends it: the leader that it protected has given it up.
func TestGrantEndsTheLease(t *testing.T) {
	l := openOf(t, 1, one, codec.Vote{})
	l.heartbeat(won(2, 2), first, 0)
	want(t, "in the lease", l.only(l.voteRequest(asked(3, 3), first).Now).Status, codec.StatusRefused)
	out := l.hear(3, codec.Message{Kind: codec.MessageVote, Vote: asked(3, 3), Log: first, Transfer: true})
	want(t, "by transfer", l.only(out.AfterFlush).Status, codec.StatusOK)
	want(t, "another one", l.only(l.voteRequest(asked(4, 2), first).AfterFlush).Status, codec.StatusOK)
}

// A leader restored under the vote of an earlier life hears nothing of what was said to that one: neither as a sign that it is
// followed, nor as one that it is not.
func TestAnswersToAnEarlierLifeCountForNothing(t *testing.T) {
	cfg, st := testConfig(1), logOf(won(3, 1), testMembership(one, 3), by(3, 1))
	cfg.RestoreLeader, st.CleanClose = true, true
	c, err := New(cfg, st, 0)
	if err != nil {
		t.Fatal(err)
	}
	l := &lone{t: t, c: c, node: 1}
	l.step(Input{Kind: InputTick})
	want(t, "role", l.c.role, Leader)
	base := l.c.lead.base
	l.now = l.now.Add(ms)
	answer := codec.Message{Kind: codec.MessageHeartbeatReply, Status: codec.StatusOK, Vote: l.c.vote, Stamp: int64(l.now), Stream: 4}
	l.hear(2, answer)
	want(t, "last answer", l.peer(2).LastAnswer, 0)
	answer.Status, answer.Vote = codec.StatusRefused, asked(9, 3)
	l.hear(2, answer)
	want(t, "role", l.c.role, Leader)
	answer.Status, answer.Vote, answer.Stream = codec.StatusOK, l.c.vote, base
	l.hear(2, answer)
	want(t, "last answer", l.peer(2).LastAnswer, l.now)
	answer.Status, answer.Vote = codec.StatusRefused, asked(9, 3)
	l.hear(2, answer)
	want(t, "role", l.c.role, Follower)
}
