package consensus

import (
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

const (
	one     = codec.OneLeaderPerTerm
	several = codec.SeveralLeadersPerTerm
)

// Thesis 3.3 (Raft 5.1): a request of a stale term is refused, and the refusal shows the newer vote.
func TestThesis33StaleTermIsRefused(t *testing.T) {
	for _, vote := range []codec.Vote{asked(5, 2), won(5, 2)} {
		l := openOf(t, 1, one, vote, by(1, 1))
		for _, m := range []codec.Message{
			{Kind: codec.MessageVote, Vote: asked(4, 3), Log: at(1, 1, 2)},
			{Kind: codec.MessageAppend, Vote: won(4, 3), Log: at(1, 1, 2)},
			{Kind: codec.MessageHeartbeat, Vote: won(4, 3), Log: at(1, 1, 2)},
		} {
			out := l.hear(3, m)
			reply := l.only(out.Now)
			want(t, "status", reply.Status, codec.StatusRefused)
			want(t, "kind", reply.Kind, m.Kind+1)
			want(t, "vote", reply.Vote, vote)
			want(t, "write", out.Write.Seq, 0)
		}
	}
}

// Thesis 3.3 (Raft 5.1): a leader or candidate that sees a greater term becomes a follower, whatever shows it.
func TestThesis33GreaterTermEndsOffice(t *testing.T) {
	seen := won(9, 3)
	shows := map[string]func(*lone){
		"heartbeat": func(l *lone) { l.heartbeat(seen, first, 0) },
		"append":    func(l *lone) { l.frame(seen, first, by(9, 3), 1, 0) },
		"vote reply": func(l *lone) {
			l.hear(3, codec.Message{Kind: codec.MessageVoteReply, Status: codec.StatusRefused, Vote: seen})
		},
		"append reply": func(l *lone) {
			l.hear(3, codec.Message{Kind: codec.MessageAppendReply, Status: codec.StatusRefused, Vote: seen})
		},
		"heartbeat reply": func(l *lone) {
			l.hear(3, codec.Message{Kind: codec.MessageHeartbeatReply, Status: codec.StatusRefused, Vote: seen})
		},
		"vote after leases": func(l *lone) { l.now = l.now.Add(testTimeout); l.voteRequest(asked(9, 3), at(8, 3, 50)) },
	}
	for name, show := range shows {
		t.Run(name, func(t *testing.T) {
			candidate := openOf(t, 1, one, codec.Vote{})
			candidate.campaign()
			if show(candidate); name != "append reply" && name != "heartbeat reply" {
				want(t, "candidate's role", candidate.c.role, Follower)
				want(t, "candidate's term", candidate.c.vote.Leader.Term, 9)
			}
			leader := openOf(t, 1, one, codec.Vote{})
			leader.lead(2)
			if show(leader); name != "vote reply" {
				want(t, "leader's role", leader.c.role, Follower)
				want(t, "leader's term", leader.c.vote.Leader.Term, 9)
				want(t, "peers", len(leader.c.Peers(nil)), 0)
			}
		})
	}
}

// Thesis 3.4 (Raft 5.2): a follower that hears nothing campaigns in the next term, votes for itself and asks every
// other voter.
func TestThesis34Campaign(t *testing.T) {
	l := openOf(t, 1, one, asked(3, 2), by(1, 1))
	l.wait(testTimeout - 1)
	want(t, "role before the least timeout", l.c.role, Follower)
	out := l.wait(testTimeouts - testTimeout)
	want(t, "role", l.c.role, Candidate)
	want(t, "vote", out.Write.Vote, asked(4, 1))
	want(t, "vote written", out.Write.HasVote, true)
	want(t, "requests before the write", len(out.Now), 0)
	want(t, "requests", len(out.AfterFlush), 2)
	for i, s := range out.AfterFlush {
		want(t, "to", s.To, codec.NodeID(i+2))
		want(t, "lane", s.Lane, codec.LaneControl)
		want(t, "vote", s.Message.Vote, asked(4, 1))
		want(t, "log", s.Message.Log, at(1, 1, 2))
	}
}

// Thesis 3.4 (Raft 5.2): a candidate leads once a majority has voted for it, in clusters of any size.
func TestThesis34MajorityElects(t *testing.T) {
	for size := 1; size <= 7; size++ {
		l := open(t, 1, logOf(codec.Vote{}, testMembership(one, size)))
		vote := l.campaign()
		for voter := 2; voter <= size; voter++ {
			wins := voter > size/2+1
			want(t, "leads", l.c.role == Leader, wins)
			l.grant(codec.NodeID(voter), vote)
			l.grant(codec.NodeID(voter), vote) // a voter counts once
		}
		want(t, "role", l.c.role, Leader)
		want(t, "vote", l.c.vote, codec.Vote{Leader: vote.Leader, Committed: true})
	}
}

// Thesis 3.4 (Raft 5.2): with one leader per term a node votes at most once in a term, first come, first served.
func TestThesis34OneVotePerTerm(t *testing.T) {
	l := openOf(t, 1, one, codec.Vote{})
	want(t, "first", l.only(l.voteRequest(asked(4, 2), first).AfterFlush).Status, codec.StatusOK)
	want(t, "second", l.only(l.voteRequest(asked(4, 3), first).Now).Status, codec.StatusRefused)
	l.flush()
	want(t, "first again", l.only(l.voteRequest(asked(4, 2), first).Now).Status, codec.StatusOK)
	want(t, "next term", l.only(l.voteRequest(asked(5, 3), first).AfterFlush).Status, codec.StatusOK)
}

// openraft's generalisation: with several leaders per term the greater node of a term is voted for as well, the lesser
// one never after it.
func TestSeveralLeadersPerTermVoteInOrder(t *testing.T) {
	l := openOf(t, 1, several, codec.Vote{})
	want(t, "node 2", l.only(l.voteRequest(asked(4, 2), first).AfterFlush).Status, codec.StatusOK)
	want(t, "node 3", l.only(l.voteRequest(asked(4, 3), first).AfterFlush).Status, codec.StatusOK)
	want(t, "node 2 again", l.only(l.voteRequest(asked(4, 2), first).Now).Status, codec.StatusRefused)
	want(t, "leader 2", l.only(l.heartbeat(won(4, 2), first, 0).Now).Status, codec.StatusRefused)
	want(t, "leader 3", l.only(l.heartbeat(won(4, 3), first, 0).AfterFlush).Status, codec.StatusOK)
}

// Thesis 3.4 (Raft 5.2): a candidate that hears the leader of its term follows it.
func TestThesis34CandidateFollowsLeaderOfItsTerm(t *testing.T) {
	l := openOf(t, 1, one, codec.Vote{})
	vote := l.campaign()
	out := l.heartbeat(won(vote.Leader.Term, 3), first, 0)
	want(t, "role", l.c.role, Follower)
	want(t, "vote", out.Write.Vote, won(vote.Leader.Term, 3))
	want(t, "leader", l.c.Status().Leader, 3)
}

// Thesis 3.4 (Raft 5.2): an election that nobody wins is followed by another, in a greater term, at a time drawn anew.
func TestThesis34SplitVote(t *testing.T) {
	l := openOf(t, 1, one, codec.Vote{})
	timeouts := map[time.Duration]bool{}
	for term := codec.Term(1); term <= 50; term++ {
		want(t, "vote", l.campaign(), asked(term, 1))
		d := l.c.election.timeout
		if d < testTimeout || d >= testTimeouts {
			t.Fatalf("timeout %v, want one in [%v, %v)", d, testTimeout, testTimeouts)
		}
		timeouts[d] = true
	}
	if len(timeouts) < 40 {
		t.Fatalf("%d different timeouts in 50 campaigns", len(timeouts))
	}
	want(t, "campaigns", l.c.Status().Elections, 50)
}

// Thesis 3.5 (Raft 5.3): a leader appends, sends to all at once and commits what a majority has; followers learn it
// from the next message.
func TestThesis35Replication(t *testing.T) {
	c := newTestCluster(t, 1, 5)
	c.startAll(several)
	leader := c.elect()
	for range 10 {
		if !c.propose(leader, 4) {
			t.Fatal("proposal refused")
		}
	}
	last := leader.core.log.last
	c.settle()
	want(t, "commit", leader.core.commit, last.Index)
	c.run(2*testHeartbeat, nil)
	for _, n := range c.nodes {
		want(t, "log", n.core.log.last, last)
		want(t, "commit", n.core.commit, last.Index)
		want(t, "content", slices.EqualFunc(n.mem.entries, leader.mem.entries, func(a, b testEntry) bool {
			return a.id == b.id && a.data == b.data
		}), true)
	}
}

// Thesis 3.5, figure 3.6 (Raft figure 7): whatever a follower's log looks like when a leader comes to power, the
// leader makes it its own. Every log of the figure stands behind the membership entry.
func TestThesis35Figure36(t *testing.T) {
	terms := [][]codec.Term{
		{1, 1, 1, 4, 4, 5, 5, 6, 6, 6},       // the leader
		{1, 1, 1, 4, 4, 5, 5, 6, 6},          // a
		{1, 1, 1, 4},                         // b
		{1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6},    // c
		{1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7}, // d
		{1, 1, 1, 4, 4, 4, 4},                // e
		{1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3},    // f
	}
	c := newTestCluster(t, 1, len(terms))
	m := testMembership(one, len(terms))
	c.config = func(id codec.NodeID) Config {
		cfg := testConfig(id)
		if id != 1 { // they would win as well
			cfg.ElectionTimeoutMin, cfg.ElectionTimeoutMax = time.Hour, 2*time.Hour
		}
		return cfg
	}
	for i, n := range c.nodes {
		n.disk.entries = []testEntry{{id: first, kind: codec.EntryMembership, membership: m}}
		n.disk.starts = []codec.Index{1}
		for k, term := range terms[i] {
			index := codec.Index(k + 2)
			n.disk.entries = append(n.disk.entries, testEntry{
				id: at(term, 7, index), kind: codec.EntryNormal, data: uint64(term)<<32 + uint64(index),
			})
			n.disk.starts = append(n.disk.starts, index)
		}
		n.disk.vote = asked(7, 7)
		c.start(n)
	}
	leader := c.elect()
	want(t, "leader", leader.id, 1)
	c.propose(leader, 1)
	c.run(time.Second, nil)
	want(t, "entries", len(leader.mem.entries), 1+10+2)
	for _, n := range c.nodes {
		want(t, "commit", n.core.commit, 13)
		for i, e := range n.disk.entries {
			want(t, "entry", e.id, leader.disk.entries[i].id)
			want(t, "data", e.data, leader.disk.entries[i].data)
		}
	}
}

// Thesis 3.6.1 (Raft 5.4.1): a vote goes only to a candidate whose log is at least as up to date: greater last leader,
// or the same one and at least as long.
func TestThesis361ElectionRestriction(t *testing.T) {
	mine := []codec.LeaderID{by(1, 1), by(3, 1), by(3, 1)} // last entry T3-N1-4
	for _, test := range []struct {
		last codec.LogID
		want codec.Status
	}{
		{at(3, 1, 4), codec.StatusOK},
		{at(3, 1, 5), codec.StatusOK},
		{at(3, 1, 3), codec.StatusRefused},
		{at(4, 2, 2), codec.StatusOK},
		{at(2, 3, 90), codec.StatusRefused},
		{at(3, 2, 2), codec.StatusOK}, // several leaders per term: T3-N2 came after T3-N1
		{codec.LogID{}, codec.StatusRefused},
	} {
		l := openOf(t, 1, several, asked(5, 2), mine...)
		out := l.voteRequest(asked(9, 3), test.last)
		reply := l.only(append(out.Now, out.AfterFlush...))
		want(t, test.last.String(), reply.Status, test.want)
		want(t, "vote written", out.Write.HasVote, test.want == codec.StatusOK)
		want(t, "log in the reply", reply.Log, at(3, 1, 4))
	}
}

// Thesis 3.6.2, figure 3.7 (Raft figure 8): an entry of an older term that a majority holds is not committed by
// counting; it is once an entry of the leader's own leadership behind it is.
func TestThesis362Figure37(t *testing.T) {
	l := open(t, 1, logOf(asked(3, 5), testMembership(one, 5), by(2, 1)))
	l.lead(2, 3)
	want(t, "vote", l.c.vote, won(4, 1))
	blank := at(4, 1, 3)
	want(t, "blank", l.last(), blank)
	l.flush()
	l.ack(2, codec.StatusOK, at(2, 1, 2))
	want(t, "commit", l.ack(3, codec.StatusOK, at(2, 1, 2)).Commit, 0)
	want(t, "commit", l.ack(2, codec.StatusOK, blank).Commit, 0)
	want(t, "commit", l.ack(3, codec.StatusOK, blank).Commit, 3)
}

// Several leaders per term extend 5.4.2: the entry must be of the leader's own leadership, term and node.
func TestThesis362SameTermOtherLeader(t *testing.T) {
	l := openOf(t, 3, several, won(4, 2), by(4, 2))
	// Take over within term 4: node 3 comes after node 2. A campaign always takes a new term, so the vote is set.
	l.c.out = &l.out
	l.c.setVote(asked(4, 3))
	l.c.out = nil
	l.flush()
	l.grant(1, asked(4, 3))
	want(t, "role", l.c.role, Leader)
	l.flush()
	want(t, "commit", l.ack(1, codec.StatusOK, at(4, 2, 2)).Commit, 0)
	want(t, "commit", l.ack(1, codec.StatusOK, at(4, 3, 3)).Commit, 3)
}

// Thesis 6.4 (Raft 8): a leader opens its term with a blank entry and tells everybody at once.
func TestThesis64BlankEntry(t *testing.T) {
	l := openOf(t, 1, one, codec.Vote{})
	vote := l.campaign()
	out := l.grant(2, vote)
	want(t, "frame", out.Write.Frame, codec.FrameMeta{
		Group: testGroup, Leader: by(1, 1), First: 2, Count: 1, Kind: codec.EntryBlank, Size: codec.FrameHeaderSize + 1,
	})
	want(t, "vote", out.Write.Vote, won(1, 1))
	want(t, "promises", len(out.AfterFlush), 0)
	for _, peer := range []codec.NodeID{2, 3} {
		want(t, "heartbeats", len(to(out.Now, peer, codec.MessageHeartbeat)), 1)
		want(t, "probes", len(to(out.Now, peer, codec.MessageAppend)), 1)
	}
}

// Thesis 4.2.3: while a leader is heard, a vote is refused and its term not learnt.
func TestThesis423LeaseRefusesVotes(t *testing.T) {
	l := openOf(t, 1, one, codec.Vote{})
	l.heartbeat(won(2, 2), first, 0)
	l.flush()
	l.now = l.now.Add(testTimeout - 1)
	out := l.voteRequest(asked(100, 3), at(50, 3, 90))
	want(t, "status", l.only(out.Now).Status, codec.StatusRefused)
	want(t, "vote", l.c.vote, won(2, 2))
	l.now = l.now.Add(1)
	out = l.voteRequest(asked(100, 3), at(50, 3, 90))
	want(t, "status", l.only(out.AfterFlush).Status, codec.StatusOK)
}

// Thesis 10.2.1: the leader sends before its own disk is done, and commits without it when a majority of others is.
func TestThesis1021LeaderDiskBesideNetwork(t *testing.T) {
	l := openOf(t, 1, one, codec.Vote{})
	l.lead(2)
	l.flush()
	l.ack(2, codec.StatusOK, first)
	l.ack(3, codec.StatusOK, first)
	out := l.propose(3, 500)
	want(t, "sends at once", len(to(out.Now, 2, codec.MessageAppend))+len(to(out.Now, 3, codec.MessageAppend)), 2)
	l.ack(2, codec.StatusOK, l.last())
	want(t, "commit with one of three", l.out.Commit, 2)
	l.ack(3, codec.StatusOK, l.last())
	want(t, "commit without the leader's disk", l.out.Commit, 5)
	want(t, "flushed", l.c.Status().Flushed.Index, 2)
}
