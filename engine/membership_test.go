package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

// change makes a change on whoever leads until it succeeds.
func (c *cluster) change(changes ...Change) codec.LogID {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	for {
		id, err := c.leader().ChangeMembership(ctx, changes...)
		if err == nil {
			return id
		}
		var elsewhere *NotLeaderError
		if !errors.As(err, &elsewhere) && !errors.Is(err, ErrChangeInProgress) {
			c.t.Fatalf("changing the membership: %v", err)
		}
	}
}

// awaitMembership waits until a node's membership is what it should be.
func (c *cluster) awaitMembership(id codec.NodeID, what string, ok func(m EffectiveMembership) bool) {
	c.t.Helper()
	until(c.t, fmt.Sprintf("node %d to have a membership with %s", id, what), func() bool { return ok(c.nodes[id].Membership()) })
}

// settled waits until the running nodes among these go by a committed membership of one config with these voters.
func (c *cluster) settled(ids []codec.NodeID, voters ...codec.NodeID) {
	c.t.Helper()
	for _, id := range ids {
		if c.nodes[id] != nil {
			c.awaitMembership(id, fmt.Sprint("voters ", voters), func(m EffectiveMembership) bool {
				return m.Committed && !m.Transient && len(m.Configs) == 1 && slices.Equal(m.Configs[0].Voters, voters)
			})
		}
	}
}

// TestClusterGrowsAndShrinks takes one node to a cluster of three voters and a learner and back to a single other one,
// by each kind of edit, with entries in between.
func TestClusterGrowsAndShrinks(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.nodes = 1
		c := startCluster(t, o)
		total := 0
		put := func() {
			c.propose(fmt.Sprint(total))
			total++
		}
		put()
		second, third, fourth := c.add(2), c.add(3), c.add(4)
		id := c.change(AddVoter(second))
		if m := c.leader().Membership(); m.LogID != id || !m.Committed || !m.IsVoter(2) {
			t.Errorf("after AddVoter returned %v the leader goes by %+v", id, m)
		}
		put()
		c.change(AddLearner(third), AddLearner(fourth))
		if err := c.leader().WaitCaughtUp(t.Context(), 3, 4); err != nil {
			t.Fatal(err)
		}
		if same := c.change(AddLearner(third)); same != c.leader().Membership().LogID {
			t.Errorf("a change that changes nothing returned %v, want the log id of what is there", same)
		}
		for _, p := range c.leader().Metrics().Peers {
			if p.Voter != (p.Node == 2) || !p.CaughtUp || !p.Streaming || p.WindowBytes <= 0 {
				t.Errorf("the leader sees its peer as %+v, want node 2 as a voter and the others as learners that have caught up", p)
			}
		}
		put()
		c.change(Promote(3))
		c.settled(c.others(), 1, 2, 3)
		put()
		c.agree(total)
		c.change(Demote(2), Promote(4))
		c.settled(c.others(), 1, 3, 4)
		put()
		c.change(ReplaceVoters(2, 4), Remove(3))
		c.settled([]codec.NodeID{2, 4}, 2, 4)
		c.close(3)
		put()
		c.agree(total)
		c.change(Remove(1), Remove(2))
		c.settled([]codec.NodeID{4}, 4)
		c.close(1)
		c.close(2)
		put()
		c.agree(total)
		if m := c.nodes[4].Metrics(); !m.Voter || m.Leader != 4 || len(m.Membership.Nodes) != 1 || len(m.Peers) != 0 {
			t.Errorf("metrics of the last node: %+v", m)
		}
	})
}

// TestAllVotersAreReplacedUnderLoad moves a cluster to three other nodes in one call, while clients put.
func TestAllVotersAreReplacedUnderLoad(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		c := startCluster(t, o)
		fourth, fifth, sixth := c.add(4), c.add(5), c.add(6)
		load := c.startLoad(4)
		load.await(100)
		c.change(AddVoter(fourth), AddVoter(fifth), AddVoter(sixth), Remove(1), Remove(2), Remove(3))
		c.settled([]codec.NodeID{4, 5, 6}, 4, 5, 6)
		load.await(load.count() + 100)
		for id := codec.NodeID(1); id <= 3; id++ {
			c.close(id)
		}
		load.await(load.count() + 100)
		load.stop()
		load.check()
	})
}

// load is clients who put numbers on whoever leads.
type load struct {
	c       *cluster
	cancel  context.CancelFunc
	running sync.WaitGroup
	mu      sync.Mutex
	nodes   []*Raft // to try
	changed chan struct{}
	acked   map[string]bool
	unknown map[string]bool
	errs    []error // that a put must not end with
}

// startLoad starts clients that go on until stop. They know the nodes that run now.
func (c *cluster) startLoad(clients int) *load {
	ctx, cancel := context.WithCancel(c.t.Context())
	l := &load{c: c, cancel: cancel, acked: map[string]bool{}, unknown: map[string]bool{}, changed: make(chan struct{})}
	for _, id := range c.others() {
		l.nodes = append(l.nodes, c.nodes[id])
	}
	for client := range clients {
		l.running.Go(func() {
			at := client % len(l.nodes)
			for n := 0; ctx.Err() == nil; n++ {
				at = l.put(ctx, at, fmt.Sprintf("%d/%d", client, n))
			}
		})
	}
	return l
}

// put proposes until the answer is final, beginning with the node at a position, and returns where that was.
func (l *load) put(ctx context.Context, at int, data string) int {
	for ctx.Err() == nil {
		_, err := l.nodes[at].Propose(ctx, []byte(data))
		var unknown *UnknownError
		var elsewhere *NotLeaderError
		l.mu.Lock()
		switch {
		case err == nil:
			l.acked[data] = true
		case ctx.Err() != nil: // it was stopped
		case errors.As(err, &unknown):
			l.unknown[data] = true
		case !errors.As(err, &elsewhere) && !errors.Is(err, ErrStopped):
			l.errs = append(l.errs, err)
		}
		close(l.changed)
		changed := make(chan struct{})
		l.changed = changed
		l.mu.Unlock()
		if err == nil || unknown != nil {
			return at
		}
		named := -1
		if elsewhere != nil {
			named = slices.IndexFunc(l.nodes, func(n *Raft) bool { return n.NodeID() == elsewhere.Leader.ID })
		}
		if at = named; named < 0 {
			// Nobody leads that this one knows of, and another one may name one that leads no more: try any, once it knows
			// of a leader or has had some time for it.
			at = rand.IntN(len(l.nodes))
			soon, cancel := context.WithTimeout(ctx, 5*time.Millisecond)
			_, _ = l.nodes[at].WaitLeader(soon)
			cancel()
		}
	}
	return at
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

// await waits until so many puts are acknowledged.
func (l *load) await(n int) {
	l.c.t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		l.mu.Lock()
		have, changed := len(l.acked), l.changed
		l.mu.Unlock()
		if have >= n {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			for id, node := range l.c.nodes {
				l.c.t.Logf("node %d: %+v", id, node.Metrics())
			}
			l.c.t.Fatalf("%d of %d puts were acknowledged in 20 s", have, n)
		}
	}
}

func (l *load) stop() {
	l.cancel()
	l.running.Wait()
}

// check proposes one entry more and then expects on every running node each acknowledged put once, and no put twice.
func (l *load) check() {
	t := l.c.t
	t.Helper()
	for _, err := range l.errs {
		t.Errorf("a put was answered with %v", err)
	}
	l.c.propose("last")
	for _, id := range l.c.others() {
		if l.c.cfgs[id].Witness {
			continue
		}
		sm := l.c.sms[id]
		until(t, fmt.Sprintf("node %d to apply the last put", id), func() bool {
			sm.mu.Lock()
			defer sm.mu.Unlock()
			return len(sm.datas) > 0 && sm.datas[len(sm.datas)-1] == "last"
		})
		seen := map[string]bool{}
		for _, data := range sm.datas {
			if seen[data] {
				t.Errorf("node %d applied %q twice", id, data)
			}
			seen[data] = true
		}
		for data := range l.acked {
			if !seen[data] {
				t.Errorf("node %d lacks %q, which was acknowledged", id, data)
			}
		}
	}
}

// TestNewVoterIsStaged: a node that can't be reached becomes a learner and no voter, the call says so when its context
// ends, and made again once the node is there it goes through.
func TestNewVoterIsStaged(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.cables, o.adjust = true, calm
		c := startCluster(t, o)
		fourth := c.add(4)
		c.cable.part([]codec.NodeID{4}, []codec.NodeID{1, 2, 3})
		before := c.leader().Membership().LogID
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err := c.leader().ChangeMembership(ctx, AddVoter(fourth), IfMembership(before))
		var staged *StagedError
		if !errors.As(err, &staged) || !errors.Is(err, context.DeadlineExceeded) || !slices.Equal(staged.Learners, []codec.NodeID{4}) {
			t.Fatalf("adding a voter that is away: %v", err)
		}
		m := c.leader().Membership()
		if _, member := m.Node(4); !member || m.IsVoter(4) {
			t.Fatalf("the staged node: %+v", m)
		}
		for n := range 50 {
			c.propose(fmt.Sprint(n)) // the cluster goes on without it
		}
		if err := c.leader().WaitCaughtUp(ctx, 4); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting with a context that has ended: %v", err)
		}
		done := make(chan error, 1)
		go func() {
			_, err := c.leader().ChangeMembership(t.Context(), AddVoter(fourth))
			done <- err
		}()
		c.cable.heal()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		c.settled(c.others(), 1, 2, 3, 4)
		c.agree(50)
	})
}

// TestLearnerIsPromotedByItself: one that is marked for it becomes a voter without another call.
func TestLearnerIsPromotedByItself(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.nodes = 1
		c := startCluster(t, o)
		for n := range 20 {
			c.propose(fmt.Sprint(n))
		}
		second := c.add(2)
		second.Promote = true
		c.change(AddLearner(second))
		c.settled(c.others(), 1, 2)
		m := c.leader().Membership()
		if n, _ := m.Node(2); n.Promote {
			t.Error("the voter is still marked to be promoted")
		}
		c.agree(20)
	})
}

// TestChangeWhoseContextEnds cuts the leader off: the change is appended and can't be committed.
func TestChangeWhoseContextEnds(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.cables, o.adjust = true, calm
		c := startCluster(t, o)
		c.propose("x")
		leader := c.leader()
		c.cable.part([]codec.NodeID{leader.NodeID()}, c.others(leader.NodeID()))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := leader.ChangeMembership(ctx, Demote(leader.NodeID())); err != context.Canceled {
			t.Errorf("with a context that has ended before: %v, want its error alone", err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		defer cancel()
		other := c.others(leader.NodeID())[0]
		before := leader.Membership().LogID
		fate := make(chan error, 1)
		go func() {
			_, err := leader.ChangeMembership(ctx, Demote(other))
			fate <- err
		}()
		c.awaitMembership(leader.NodeID(), "the change", func(m EffectiveMembership) bool { return m.LogID != before })
		cancel()
		err := <-fate
		var unknown *UnknownError
		if !errors.As(err, &unknown) || unknown.LogID != leader.Membership().LogID || !errors.Is(err, context.Canceled) {
			t.Errorf("a change that is appended and not committed: %v, want an UnknownError with its log id", err)
		}
		if m := leader.Membership(); m.Committed {
			t.Errorf("the leader takes its change for committed: %+v", m)
		}
		next := c.awaitLeaderAmong(c.others(leader.NodeID()))
		c.cable.heal()
		want := next.Membership().LogID
		c.awaitMembership(leader.NodeID(), "the change taken back", func(m EffectiveMembership) bool { return m.LogID == want })
	})
}

// TestChangeWhoseLeaderIsDeposed: the caller learns that nobody knows.
func TestChangeWhoseLeaderIsDeposed(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, cables: true})
	c.propose("x")
	leader := c.leader()
	c.cable.part([]codec.NodeID{leader.NodeID()}, c.others(leader.NodeID()))
	_, err := leader.ChangeMembership(t.Context(), Demote(c.others(leader.NodeID())[0]))
	var unknown *UnknownError
	if !errors.As(err, &unknown) || !errors.Is(err, errLostLeadership) {
		t.Fatalf("a deposed leader's change: %v, want an UnknownError", err)
	}
}

func TestChangeRefusals(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true})
	c.propose("x")
	leader := c.leader()
	at := leader.Membership().LogID
	weights := codec.QuorumSystem{Kind: codec.QuorumWeighted, Election: 3, Write: 3, Weights: []uint32{2, 2, 1}}
	for _, tt := range []struct {
		name    string
		changes []Change
		is      error
		says    string
	}{
		{"promote a stranger", []Change{Promote(9)}, ErrNotMember, "promote node 9"},
		{"demote a stranger", []Change{Demote(9)}, ErrNotMember, "demote node 9"},
		{"remove a stranger", []Change{Remove(9)}, ErrNotMember, "remove node 9"},
		{"move a stranger", []Change{SetNode(codec.Node{ID: 9})}, ErrNotMember, "set node 9"},
		{"strangers as voters", []Change{ReplaceVoters(1, 9)}, ErrNotMember, "voter 9"},
		{"a voter as a learner", []Change{AddLearner(codec.Node{ID: 2})}, ErrMembership, "node 2 is a voter, want Demote"},
		{"nobody left", []Change{Remove(1), Remove(2), Remove(3)}, ErrMembership, "no voters"},
		{"node 0", []Change{AddLearner(codec.Node{})}, ErrMembership, "node 0 after node 0"},
		{"a long address", []Change{AddLearner(codec.Node{ID: 4, Address: strings.Repeat("x", 256)})}, ErrMembership, "address of node 4 has 256 bytes"},
		{"a voter to promote", []Change{SetNode(codec.Node{ID: 2, Promote: true})}, ErrMembership, "voter 2 is to be promoted"},
		{"a member that becomes a witness", []Change{SetNode(codec.Node{ID: 2, Witness: true})}, ErrMembership, "node 2 is a witness: true, want false"},
		{"no thresholds", []Change{SetQuorum(codec.QuorumSystem{Kind: codec.QuorumFlexible})}, ErrMembership, "thresholds 0 for elections"},
		{"quorums that miss each other", []Change{SetQuorum(codec.QuorumSystem{Kind: codec.QuorumFlexible, Election: 1, Write: 2})}, ErrMembership, "have no voter in common"},
		{"weights of others", []Change{SetQuorum(weights), Demote(3)}, ErrMembership, "want a SetQuorum behind it in the same call"},
		{"no configs, then a quorum system", []Change{SetConfigs(), SetQuorum(weights)}, ErrMembership, "no voter configs"},
		{"no configs, then a voter", []Change{SetConfigs(), AddVoter(codec.Node{ID: 4})}, ErrMembership, "no voter configs"},
		{"no configs, then voters", []Change{SetConfigs(), ReplaceVoters(1, 2)}, ErrMembership, "no voter configs"},
		{"nil for a change", []Change{Demote(3), nil}, ErrMembership, "change 2 of 2 is nil"},
		{"configs without their voters", []Change{SetConfigs(codec.MajorityConfig(1, 9))}, ErrMembership, "voter 9 is not among the nodes"},
		{"another membership", []Change{Demote(3), IfMembership(codec.LogID{Index: 77})}, nil, "the change expects T0-N0-77"},
		{"another membership, and no change", []Change{IfMembership(codec.LogID{Index: 77})}, nil, "the change expects T0-N0-77"},
	} {
		_, err := leader.ChangeMembership(t.Context(), tt.changes...)
		if err == nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want one that says %q", tt.name, err, tt.says)
		}
		var changed *ChangedError
		if tt.is == nil && !errors.As(err, &changed) {
			t.Errorf("%s: %v, want a ChangedError", tt.name, err)
		}
	}
	if m := leader.Membership(); m.LogID != at {
		t.Errorf("refused changes left %+v", m)
	}
	follower := c.nodes[c.others(leader.NodeID())[0]]
	var elsewhere *NotLeaderError
	if _, err := follower.ChangeMembership(t.Context(), Demote(1)); !errors.As(err, &elsewhere) {
		t.Errorf("on a follower: %v, want a NotLeaderError", err)
	}
	if err := follower.WaitCaughtUp(t.Context(), 1); !errors.As(err, &elsewhere) {
		t.Errorf("waiting on a follower: %v, want a NotLeaderError", err)
	}
	if err := leader.WaitCaughtUp(t.Context(), leader.NodeID(), 9); !errors.Is(err, ErrNotMember) {
		t.Errorf("waiting for a stranger: %v", err)
	}
	c.close(leader.NodeID())
	if _, err := leader.ChangeMembership(t.Context(), Demote(1)); !errors.Is(err, ErrStopped) {
		t.Errorf("on a closed node: %v", err)
	}
}

// TestSecondChangeIsRefusedWhileOneIsOpen: one at a time, and the second caller is told.
func TestSecondChangeIsRefusedWhileOneIsOpen(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true, cables: true, adjust: func(cfg *Config) {
		cfg.ElectionTimeoutMin, cfg.ElectionTimeoutMax = time.Second, 2*time.Second
	}})
	c.propose("x")
	leader := c.leader()
	others := c.others(leader.NodeID())
	c.cable.part([]codec.NodeID{leader.NodeID()}, others)
	first := make(chan error, 1)
	at := leader.Membership().LogID
	go func() {
		_, err := leader.ChangeMembership(t.Context(), Demote(others[0]))
		first <- err
	}()
	c.awaitMembership(leader.NodeID(), "the change", func(m EffectiveMembership) bool { return m.LogID != at })
	if _, err := leader.ChangeMembership(t.Context(), Demote(others[1])); !errors.Is(err, ErrChangeInProgress) {
		t.Errorf("a second change: %v, want ErrChangeInProgress", err)
	}
	c.cable.heal()
	if err := <-first; err != nil {
		t.Error(err)
	}
	c.change(Promote(others[0]))
	c.settled(c.others(), 1, 2, 3)
}

// TestSeveralConfigsAreNamedAsAWhole: an edit of the voters says nothing where each of two configs has its own.
func TestSeveralConfigsAreNamedAsAWhole(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true, adjust: calm})
	leader := c.leader()
	all := leader.Membership().Configs[0]
	some := all
	some.Voters = []codec.NodeID{1, 2}
	c.change(SetConfigs(all, some))
	before := c.leader().Membership()
	for name, change := range map[string]Change{
		"SetQuorum": SetQuorum(all.Quorum), "a new voter": AddVoter(codec.Node{ID: 4, Address: "4"}), "ReplaceVoters": ReplaceVoters(1, 2),
	} {
		_, err := c.leader().ChangeMembership(t.Context(), change)
		if !errors.Is(err, ErrMembership) || !strings.Contains(err.Error(), name+" has no one place among 2 voter configs, want SetConfigs") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if now := c.leader().Membership(); now.LogID != before.LogID {
		t.Errorf("the membership is that of %v, want %v", now.LogID, before.LogID)
	}
}
