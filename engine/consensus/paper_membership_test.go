package consensus

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

// Sections of the dissertation on changes of membership: 4.1 to 4.3.

// subsets returns all non-empty subsets of nodes 1..n.
func subsets(n int) [][]codec.NodeID {
	var out [][]codec.NodeID
	for bits := 1; bits < 1<<n; bits++ {
		var set []codec.NodeID
		for i := range n {
			if bits&(1<<i) != 0 {
				set = append(set, codec.NodeID(i+1))
			}
		}
		out = append(out, set)
	}
	return out
}

// configsAmong returns a membership of these configs among nodes 1..n.
func configsAmong(n int, configs ...codec.VoterConfig) *codec.Membership {
	m := testMembership(one, n)
	m.Configs = configs
	return m
}

// decides reports whether a set of nodes is a write quorum of every config; for majorities that is an election quorum too.
func decides(m *codec.Membership, set []codec.NodeID) bool {
	for i := range m.Configs {
		var in []codec.NodeID
		for _, v := range m.Configs[i].Voters {
			if slices.Contains(set, v) {
				in = append(in, v)
			}
		}
		if !writes(&m.Configs[i], in) {
			return false
		}
	}
	return true
}

// Thesis 4.1: no step of a change lets two disjoint sets of nodes decide, one by the membership before it and one by the
// membership after it. Tried for every change among four nodes and every two sets.
func TestThesis41NoTwoDisjointMajorities(t *testing.T) {
	sets := subsets(4)
	meet := func(a, b *codec.Membership) {
		for _, x := range sets {
			for _, y := range sets {
				disjoint := !slices.ContainsFunc(x, func(id codec.NodeID) bool { return slices.Contains(y, id) })
				if disjoint && decides(a, x) && decides(b, y) {
					t.Fatalf("%v decides by %s, %v by %s", x, membershipString(a), y, membershipString(b))
				}
			}
		}
	}
	for _, before := range sets {
		for _, after := range sets {
			have, next := configsAmong(4, codec.MajorityConfig(before...)), configsAmong(4, codec.MajorityConfig(after...))
			if !sharesConfig(have, next) {
				j := joint(have, next)
				meet(have, &j)
				last := settled(&j)
				meet(&j, &last)
				next = &last
			}
			meet(have, have)
			if want, got := after, next.Configs[0].Voters; !slices.Equal(want, got) || len(next.Configs) != 1 {
				t.Fatalf("from %v to %v ends in %s", before, want, membershipString(next))
			}
		}
	}
}

// Thesis 4.1: a node takes requests of leaders and candidates that its own membership does not know: it may be the one that
// lags behind.
func TestThesis41StrangersAreServed(t *testing.T) {
	l := openOf(t, 1, one, won(1, 2))
	want(t, "append", l.only(l.frame(won(2, 9), first, by(2, 9), 1, 0).AfterFlush).Status, codec.StatusOK)
	want(t, "vote", l.c.vote, won(2, 9))
	l = openOf(t, 1, one, asked(1, 2))
	want(t, "grant", l.only(l.voteRequest(asked(2, 9), at(1, 2, 2)).AfterFlush).Status, codec.StatusOK)
}

// Thesis 4.2.1: a new server catches up as a non-voting member first. Until then it can't be made a voter; nobody waits for it.
func TestThesis421NewServersCatchUpFirst(t *testing.T) {
	c := newTestCluster(t, 1, 4)
	for _, n := range c.nodes {
		c.start(n)
	}
	c.initialize(c.nodes[0], testMembership(one, 3))
	leader := c.elect()
	for range 20 {
		c.propose(leader, 100)
	}
	c.settle()
	c.delay = func(p *testPacket) (time.Duration, bool) {
		if p.to == 4 {
			return 5 * ms, true
		}
		return 0, true
	}
	voter := configsAmong(4, codec.MajorityConfig(1, 2, 3, 4))
	behind := func() *BehindError {
		c.step(leader, &Input{Kind: InputChange, Membership: voter})
		var err *BehindError
		if leader.out.Refused && !errors.As(leader.out.Reason, &err) {
			t.Fatalf("refused with %v", leader.out.Reason)
		}
		return err
	}
	err := behind()
	want(t, "who", err.Node, 4)
	want(t, "match", err.Match, 0)
	want(t, "last", err.Last, leader.core.log.last.Index)
	c.step(leader, &Input{Kind: InputChange, Membership: configsAmong(4, codec.MajorityConfig(1, 2, 3))})
	for i := 0; ; i++ {
		c.propose(leader, 1)
		c.settle()
		want(t, "committed beside the new server", leader.core.commit, leader.core.log.last.Index)
		if behind() == nil {
			break
		}
		if i == 20 {
			t.Fatal("still behind after 20 rounds")
		}
		c.run(2*ms, nil)
	}
	c.run(100*ms, nil)
	want(t, "voters", len(leader.core.Membership().Configs[0].Voters), 4)
	want(t, "the new server's role", c.nodes[3].core.role, Follower)
}

// Thesis 4.2.1: a server that can't be reached is never made a voter, and its being asked for costs nothing.
func TestThesis421UnreachableServerIsNoVoter(t *testing.T) {
	c := newTestCluster(t, 1, 4)
	for _, n := range c.nodes[:3] {
		c.start(n)
	}
	c.initialize(c.nodes[0], testMembership(one, 3))
	leader := c.elect()
	m := configsAmong(4, codec.MajorityConfig(1, 2, 3))
	m.Nodes[3].Promote = true
	c.step(leader, &Input{Kind: InputChange, Membership: m})
	c.run(time.Minute, nil)
	want(t, "leader", c.leader(), leader)
	want(t, "voters", len(leader.core.Membership().Configs[0].Voters), 3)
	want(t, "committed", leader.core.commit, leader.core.log.last.Index)
	c.start(c.nodes[3]) // there it is
	c.run(time.Second, nil)
	want(t, "voters", len(leader.core.Membership().Configs[0].Voters), 4)
}

// Thesis 4.2.2: a leader that is removed manages the group until the change is committed, without counting itself, and steps
// down then. The group is not without a leader for longer than a transfer takes.
func TestThesis422RemovedLeader(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		c := newTestCluster(t, seed, 3)
		c.startAll(codec.VoteMode(1 + seed%2))
		old := c.elect()
		c.run(time.Second, nil)
		c.delay = func(*testPacket) (time.Duration, bool) { return ms, true }
		c.propose(old, 7)
		m := old.core.Membership().Clone()
		m.Nodes = slices.DeleteFunc(m.Nodes, func(n codec.Node) bool { return n.ID == old.id })
		m.Configs = []codec.VoterConfig{codec.MajorityConfig(m.Nodes[0].ID, m.Nodes[1].ID)}
		c.step(old, &Input{Kind: InputChange, Membership: &m})
		for old.core.role == Leader {
			if at := old.core.Status().MemberAt; !old.core.Membership().IsVoter(old.id) {
				holders := 0
				for _, n := range c.nodes {
					if n != old && n.disk.holds(at) {
						holders++
					}
				}
				if old.core.commit >= at.Index && holders < 2 {
					t.Fatalf("seed %d: %v committed with %d copies of others", seed, at, holders)
				}
			}
			if !c.run(20*ms, func() bool { return len(c.events) > 0 }) {
				t.Fatalf("seed %d: nothing happens, and node %d leads on", seed, old.id)
			}
			e := c.pop()
			c.now = e.at
			e.do()
		}
		if !c.run(20*ms, func() bool { l := c.leader(); return l != nil && l.core.commit >= l.core.lead.first }) {
			t.Fatalf("seed %d: no leader after 20 hops", seed)
		}
		c.run(10*time.Second, nil)
		want(t, "campaigns of the removed leader", old.core.role, Learner)
	}
}

// Thesis 4.2.2, figure 4.6: a node that is not part of its newest membership still campaigns, as long as that is not
// committed: it may be the only one that holds it and can be elected. It does not count its own vote.
func TestThesis422NodeOutsideItsNewestMembershipCampaigns(t *testing.T) {
	l := demoted(t)
	l.flush()
	want(t, "role", l.c.role, Follower)
	vote := l.campaign()
	want(t, "role by its own vote", l.c.role, Candidate)
	l.grant(3, vote)
	want(t, "role by a vote of the membership before", l.c.role, Candidate)
	l.grant(2, vote)
	want(t, "role by the only voter", l.c.role, Leader)
	want(t, "proposals", l.propose(1, 100).Refused, true)
	// Once it is committed it stands no more.
	l = demoted(t)
	l.heartbeat(won(1, 2), at(1, 2, 3), 3)
	want(t, "commit", l.out.Commit, 3)
	want(t, "role", l.c.role, Learner)
	want(t, "deadline", l.wait(time.Hour).Deadline, Never)
	// And one that never was a voter does not.
	m := testMembership(one, 3)
	m.Configs[0] = codec.MajorityConfig(2, 3)
	l = open(t, 1, logOf(won(1, 2), m, by(1, 2)))
	want(t, "role of a learner", l.c.role, Learner)
	want(t, "elect", l.step(Input{Kind: InputElect}).Refused, true)
}

// Thesis 4.2.3: servers that were removed and don't know it campaign for ever, with pre-vote or without; they never depose
// the leader.
func TestThesis423RemovedServersDoNotDisrupt(t *testing.T) {
	for seed := uint64(1); seed <= 10; seed++ {
		c := newTestCluster(t, seed, 5)
		c.config = func(id codec.NodeID) Config {
			cfg := testConfig(id)
			cfg.Switches.NoPreVote = seed%2 == 0
			return cfg
		}
		c.startAll(codec.VoteMode(1 + seed/5%2))
		leader := c.elect()
		gone := []codec.NodeID{leader.id%5 + 1, (leader.id+1)%5 + 1}
		c.isolate(gone...)
		m := leader.core.Membership().Clone()
		m.Nodes = slices.DeleteFunc(m.Nodes, func(n codec.Node) bool { return slices.Contains(gone, n.ID) })
		m.Configs = []codec.VoterConfig{codec.MajorityConfig(m.Nodes[0].ID, m.Nodes[1].ID, m.Nodes[2].ID)}
		c.step(leader, &Input{Kind: InputChange, Membership: &m})
		c.run(5*time.Second, nil)
		want(t, "voters", len(leader.core.Membership().Configs[0].Voters), 3)
		c.heal()
		c.delay = func(*testPacket) (time.Duration, bool) { return c.upTo(10 * ms), true }
		vote := leader.core.vote
		for range 15 {
			c.propose(leader, 1)
			c.run(time.Second, nil)
			want(t, "vote", leader.core.vote, vote)
			want(t, "role", leader.core.role, Leader)
		}
	}
}

// Thesis 4.3: while a joint membership is in force each decision needs a majority of both sets: commits, elections, and
// the leader's right to stay.
func TestThesis43JointNeedsBothMajorities(t *testing.T) {
	m := configsAmong(5, codec.MajorityConfig(1, 2, 3), codec.MajorityConfig(3, 4, 5))
	m.Transient = true
	for _, set := range subsets(5) {
		if !slices.Contains(set, 1) {
			continue
		}
		l := open(t, 1, logOf(codec.Vote{}, m))
		vote := l.campaign()
		for _, id := range set[1:] {
			l.grant(id, vote)
		}
		both := decides(m, set)
		want(t, "leads", l.c.role == Leader, both)
		if !both {
			continue
		}
		blank := l.last()
		l.flush()
		for i, id := range set[1:] {
			want(t, "committed by fewer", l.c.commit >= blank.Index, decides(m, set[:i+1]))
			l.ack(id, codec.StatusOK, first)
			l.ack(id, codec.StatusOK, blank)
		}
		want(t, "committed", l.c.commit >= blank.Index, true)
	}
}

// Thesis 4.3: any set of voters can be replaced by any other in one change. The leader of the end finishes it, whoever began
// it; at most two memberships are written for it unless it is interrupted.
func TestThesis43ArbitraryChanges(t *testing.T) {
	for seed := uint64(1); seed <= 10; seed++ {
		c := newTestCluster(t, seed, 5)
		c.startAll(codec.VoteMode(1 + seed%2))
		c.elect()
		sets := subsets(5)
		for range 25 {
			voters := sets[c.rng.IntN(len(sets))]
			wanted := testMembership(codec.VoteMode(1+seed%2), 5)
			wanted.Configs = []codec.VoterConfig{codec.MajorityConfig(voters...)}
			before := c.leader()
			if before == nil || !c.propose(before, 2) {
				t.Fatalf("seed %d: no leader takes a proposal", seed)
			}
			c.step(before, &Input{Kind: InputChange, Membership: wanted})
			want(t, "reason", before.out.Reason, nil)
			ok := c.run(10*testTimeouts, func() bool {
				l := c.leader()
				return l != nil && !l.core.Status().Blocked && l.core.Membership().Configs[0].Equal(&wanted.Configs[0]) &&
					len(l.core.Membership().Configs) == 1 && l.core.commit >= max(l.core.Status().MemberAt.Index, l.core.lead.first)
			})
			if !ok {
				t.Fatalf("seed %d: %v are not the voters within 10 timeouts", seed, voters)
			}
			c.run(time.Second, nil) // everybody else, learners too
		}
		if !c.converged() {
			c.complain("the logs are not the same")
		}
	}
}
