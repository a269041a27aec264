package engine

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

// withQuorum starts clusters whose first membership has this quorum system over all nodes.
func withQuorum(o clusterOptions, nodes int, q codec.QuorumSystem) clusterOptions {
	o.nodes = nodes
	o.first = func(nodes []codec.Node) codec.Membership {
		m := codec.NewMembership(codec.OneLeaderPerTerm, nodes...)
		m.Configs[0].Quorum = q
		return m
	}
	return o
}

// TestEvenClusterWithUnequalQuorums: of four nodes three elect and two commit, so writes survive the loss of two.
func TestEvenClusterWithUnequalQuorums(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.adjust = calm
		c := startCluster(t, withQuorum(o, 4, codec.QuorumSystem{Kind: codec.QuorumFlexible, Election: 3, Write: 2}))
		c.propose("0")
		leader := c.leader()
		for _, id := range c.others(leader.NodeID())[:2] {
			c.close(id)
		}
		for n := range 20 {
			if _, err := leader.Propose(t.Context(), fmt.Append(nil, n)); err != nil {
				t.Fatalf("put %d after the loss of two of four: %v", n, err)
			}
		}
		c.agree(21)
		if c.leader() != leader {
			t.Error("the leader changed")
		}
	})
}

// TestHierarchicalQuorumSpansGroups: three groups of two, of which two groups commit with one voter each and two elect
// with both; a whole group may be lost, and each commit is in two of them.
func TestHierarchicalQuorumSpansGroups(t *testing.T) {
	group := func(a, b codec.NodeID) codec.QuorumGroup {
		return codec.QuorumGroup{Voters: []codec.NodeID{a, b}, Election: 2, Write: 1}
	}
	groups := codec.QuorumSystem{
		Kind: codec.QuorumHierarchical, Election: 2, Write: 2, Groups: []codec.QuorumGroup{group(1, 2), group(3, 4), group(5, 6)},
	}
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.adjust = calm
		c := startCluster(t, withQuorum(o, 6, groups))
		c.propose("0")
		c.agree(1)
		lost := groups.Groups[slices.IndexFunc(groups.Groups, func(g codec.QuorumGroup) bool {
			return slices.Contains(g.Voters, c.leader().NodeID())
		})]
		for _, id := range lost.Voters {
			c.close(id)
		}
		c.propose("1")
		leader := c.leader()
		// One more than what a commit needs in its own group may go; a third of the groups may not.
		for _, g := range groups.Groups {
			if slices.Contains(g.Voters, leader.NodeID()) {
				for _, id := range g.Voters {
					if id != leader.NodeID() {
						c.close(id)
					}
				}
			}
		}
		if _, err := leader.Propose(t.Context(), []byte("2")); err != nil {
			t.Error(err)
		}
		c.agree(3)
	})
}

// TestQuorumSystemIsChangedLikeAnything takes a cluster of three through each kind of system, and its voters with it.
func TestQuorumSystemIsChangedLikeAnything(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		c := startCluster(t, o)
		total := 0
		put := func() {
			c.propose(fmt.Sprint(total))
			total++
		}
		kind := func(want codec.QuorumKind) {
			t.Helper()
			for _, id := range c.others() {
				c.awaitMembership(id, want.String(), func(m EffectiveMembership) bool {
					return m.Committed && !m.Transient && m.Configs[0].Quorum.Kind == want
				})
			}
			put()
		}
		c.change(SetQuorum(codec.QuorumSystem{Kind: codec.QuorumWeighted, Election: 3, Write: 3, Weights: []uint32{3, 1, 1}}))
		kind(codec.QuorumWeighted)
		_, err := c.leader().ChangeMembership(t.Context(), SetQuorum(codec.QuorumSystem{
			Kind: codec.QuorumWeighted, Election: 2, Write: 3, Weights: []uint32{3, 1, 1},
		}))
		var miss *IntersectionError
		if !errors.As(err, &miss) || !errors.Is(err, ErrMembership) || miss.Quorums[0] == nil {
			t.Errorf("weights whose quorums miss each other: %v, want the two quorums", err)
		}
		fourth := c.add(4)
		c.change(AddVoter(fourth), SetQuorum(codec.QuorumSystem{Kind: codec.QuorumHierarchical, Election: 2, Write: 1, Groups: []codec.QuorumGroup{
			{Voters: []codec.NodeID{1, 2}, Election: 1, Write: 2}, {Voters: []codec.NodeID{3, 4}, Election: 1, Write: 2},
		}}))
		kind(codec.QuorumHierarchical)
		c.change(SetConfigs(c.leader().Membership().Configs[0], codec.MajorityConfig(1, 2, 3)))
		if m := c.leader().Membership(); m.Transient || len(m.Configs) != 2 {
			t.Errorf("a list of two configs became %+v", m)
		}
		put()
		if _, err := c.leader().ChangeMembership(t.Context(), ReplaceVoters(1, 2)); !errors.Is(err, ErrMembership) {
			t.Errorf("new voters among two configs: %v, want one that wraps ErrMembership", err)
		}
		c.change(SetConfigs(codec.MajorityConfig(1, 2, 3)), Remove(4))
		c.close(4)
		kind(codec.QuorumMajority)
		c.agree(total)
	})
}

// TestJointMembershipIsFinishedByTheNextLeader: the leader dies when its joint membership has reached the old voters and
// not the new ones, so that it can't have been committed.
func TestJointMembershipIsFinishedByTheNextLeader(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.cables = true
		c := startCluster(t, o)
		fourth, fifth := c.add(4), c.add(5)
		c.change(AddLearner(fourth), AddLearner(fifth))
		c.propose("0")
		leader := c.leader()
		// The leader writes down whose disks these are: an entry of its own, which must not meet the cut below.
		c.awaitMembership(leader.NodeID(), "to name the disk of each", func(m EffectiveMembership) bool {
			return m.Committed && !slices.ContainsFunc(m.Nodes, func(n codec.Node) bool { return n.Incarnation.IsZero() })
		})
		if err := leader.WaitCaughtUp(t.Context(), 4, 5); err != nil {
			t.Fatal(err)
		}
		c.agree(1)
		var old []codec.NodeID
		for _, id := range []codec.NodeID{1, 2, 3} {
			if id != leader.NodeID() {
				old = append(old, id)
			}
		}
		c.cable.part([]codec.NodeID{leader.NodeID()}, []codec.NodeID{4, 5})
		fate := make(chan error, 1)
		go func() {
			_, err := leader.ChangeMembership(t.Context(), ReplaceVoters(old[0], 4, 5), Remove(leader.NodeID()), Remove(old[1]))
			fate <- err
		}()
		for _, id := range old {
			c.awaitMembership(id, "a joint config", func(m EffectiveMembership) bool { return m.Transient })
		}
		c.close(leader.NodeID())
		var unknown *UnknownError
		if err := <-fate; !errors.As(err, &unknown) {
			t.Errorf("the dead leader's caller was told %v, want an UnknownError", err)
		}
		want := []codec.NodeID{old[0], 4, 5}
		slices.Sort(want)
		c.settled(want, want...)
		c.close(old[1])
		c.propose("1")
		c.agree(2)
	})
}

// TestRemovedLeaderHandsOver: it does not leave the others to find out by their timeouts.
func TestRemovedLeaderHandsOver(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.adjust = func(cfg *Config) {
			cfg.ElectionTimeoutMin, cfg.ElectionTimeoutMax = 2*time.Second, 4*time.Second
		}
		c := startCluster(t, o)
		c.propose("0")
		c.agree(1)
		leader := c.leader()
		began := time.Now()
		if _, err := leader.ChangeMembership(t.Context(), Remove(leader.NodeID())); err != nil {
			t.Fatal(err)
		}
		rest := c.others(leader.NodeID())
		next := c.awaitLeaderAmong(rest)
		if took := time.Since(began); took > time.Second {
			t.Errorf("the next leader took %v, with an election timeout of 2 s", took)
		}
		if _, err := next.Propose(t.Context(), []byte("1")); err != nil {
			t.Error(err)
		}
		c.settled(rest, rest...)
		_, err := leader.Propose(t.Context(), nil)
		var elsewhere *NotLeaderError
		if !errors.As(err, &elsewhere) {
			t.Errorf("the removed leader answers %v", err)
		}
		c.close(leader.NodeID())
		c.agree(2)
	})
}
