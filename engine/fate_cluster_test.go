package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

// called reports whether err is, or wraps, the error that the table names so.
func called(err error, name string) bool {
	example := each[name].err
	if example == nil {
		example = foreignErrors[name]
	}
	if strings.HasPrefix(name[strings.Index(name, ".")+1:], "Err") || foreignErrors[name] != nil {
		return errors.Is(err, example)
	}
	return errors.As(err, reflect.New(reflect.TypeOf(example)).Interface())
}

// provocation is a call that is to end with an error of that name.
type provocation struct {
	name string
	call func() error
}

// traces is what a call that is done leaves on one of the nodes.
func (c *cluster) traces() string {
	var b strings.Builder
	for id := codec.NodeID(1); id <= codec.NodeID(len(c.nodes)); id++ {
		m := c.nodes[id].Metrics()
		fmt.Fprintln(&b, id, m.Vote, m.Last, m.Membership.LogID, m.Purged, m.Snapshot, c.sms[id].len())
	}
	return b.String()
}

// settle waits until all nodes have applied what the leader has.
func (c *cluster) settle() {
	c.t.Helper()
	last := c.leader().Metrics().Last.Index
	for _, n := range c.nodes {
		if _, err := n.Wait(c.t.Context(), AppliedAtLeast(last)); err != nil {
			c.t.Fatal(err)
		}
	}
}

// provoke makes the calls one after the other. Each must end with its error, be not done by that, and leave no trace.
func (c *cluster) provoke(provocations ...provocation) {
	c.t.Helper()
	for _, p := range provocations {
		before := c.traces()
		err := p.call()
		if !called(err, p.name) || FateOf(err) != FateNotDone {
			c.t.Errorf("%s, %v: the call ended with %v", p.name, FateOf(err), err)
		}
		if after := c.traces(); after != before {
			c.t.Errorf("%v: it left traces\n%safter\n%s", err, after, before)
		}
	}
}

// TestRefusedCallsLeaveNoTrace: after errors by which a call is not done nothing is different on any node.
func TestRefusedCallsLeaveNoTrace(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true, cables: true, adjust: func(cfg *Config) {
		calm(cfg)
		cfg.LeaseReads, cfg.ProposalBytesMax = true, 1000
	}})
	c.propose("x")
	ctx, leader := t.Context(), c.leader()
	follower := c.nodes[leader.NodeID()%3+1]
	if _, err := leader.ChangeMembership(ctx, AddLearner(codec.Node{ID: 9, Address: "nowhere"})); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	soon := func() context.Context {
		soon, cancel := context.WithTimeout(ctx, 30*time.Millisecond)
		t.Cleanup(cancel)
		return soon
	}
	x, self := []byte("refused"), c.node(leader.NodeID())
	self.Priority = 5
	change := func(ctx context.Context, r *Raft, changes ...Change) func() error {
		return func() error { return second(r.ChangeMembership(ctx, changes...)) }
	}
	flexible := codec.QuorumSystem{Kind: codec.QuorumFlexible, Write: 1, Election: 1}
	var calls []provocation
	add := func(name string, call func() error) { calls = append(calls, provocation{name, call}) }
	add("NotLeaderError", func() error { return second(follower.Propose(ctx, x)) })
	add("NotLeaderError", func() error { return second(follower.ProposeBatch(ctx, [][]byte{x, x})) })
	add("NotLeaderError", func() error { return second(follower.OpenSession(ctx)) })
	add("NotLeaderError", func() error { return second(follower.Barrier(ctx)) })
	add("NotLeaderError", func() error { return second(follower.Restore(ctx, bytes.NewReader(x))) })
	add("NotLeaderError", func() error { return follower.TransferLeadership(ctx, 0) })
	add("NotLeaderError", change(ctx, follower, SetNode(self)))
	add("LeadershipError", func() error { return second(leader.ProposeIf(ctx, codec.LeaderID{Term: 99, Node: 1}, x)) })
	add("ErrTooLarge", func() error { return second(leader.Propose(ctx, make([]byte, 1001))) })
	add("ErrTooLarge", func() error { return second(follower.Submit(ctx, Proposal{Data: make([]byte, 1001), Forward: true})) })
	add("ArgumentError", func() error { return leader.ProposeAsync(x, nil) })
	add("context.Canceled", func() error { return second(leader.Propose(ended, x)) })
	add("context.Canceled", func() error { return second(follower.Submit(ended, Proposal{Data: x, Forward: true})) })
	add("context.Canceled", func() error { return leader.TransferLeadership(ended, 0) })
	add("context.Canceled", func() error { return leader.Trigger().Purge(ended, 1) })
	add("context.Canceled", change(ended, leader, SetNode(self)))
	add("context.DeadlineExceeded", func() error { return second(leader.Wait(soon(), TermAtLeast(99))) })
	add("ErrMembership", change(ctx, leader, SetConfigs()))
	add("IntersectionError", change(ctx, leader, SetQuorum(flexible)))
	add("ErrNotMember", change(ctx, leader, Remove(77)))
	add("ErrNotMember", func() error { return leader.WaitCaughtUp(ctx, 77) })
	add("ErrInitialized", func() error {
		return leader.Initialize(ctx, codec.NewMembership(codec.SeveralLeadersPerTerm, c.node(leader.NodeID())))
	})
	add("ChangedError", change(ctx, leader, IfMembership(codec.LogID{Index: 77}), SetNode(self)))
	add("BehindError", func() error { return change(soon(), leader, Promote(9))() })
	add("BehindError", func() error { return leader.WaitCaughtUp(soon(), 9) })
	add("ErrTransferTarget", func() error { return leader.TransferLeadership(ctx, leader.NodeID()) })
	add("ErrMayNotCampaign", func() error { return leader.Trigger().Elect() })
	add("ErrLeaseReads", func() error { return follower.ForgetLeader() })
	add("ErrNotSnapshotter", func() error { return second(leader.Trigger().Snapshot(ctx)) })
	add("ErrNotSnapshotter", func() error { return second(leader.Restore(ctx, bytes.NewReader(x))) })
	add("ErrNothingToPurge", func() error { return leader.Trigger().Purge(ctx, 1) })
	c.settle()
	c.provoke(calls...)

	_, err := leader.ChangeMembership(soon(), AddVoter(codec.Node{ID: 10, Address: "nowhere"}))
	now := leader.Membership()
	if !called(err, "StagedError") || FateOf(err) != FateNotDone || now.IsVoter(10) || len(now.Nodes) != 5 {
		t.Errorf("a voter that does not exist: %v; the members are %v", err, now.Nodes)
	}
}

// sleepy gives nodes timeouts that are never up in a test, so that they do what they are told to.
func sleepy(cfg *Config) {
	cfg.ElectionTimeoutMin, cfg.ElectionTimeoutMax = 10*time.Second, 20*time.Second
	cfg.Switches.NoElections = true
}

// TestCallsThatWaitAndEnd: the fates of what has begun and got no further, on a leader that is cut off.
func TestCallsThatWaitAndEnd(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true, cables: true, adjust: sleepy})
	c.propose("x")
	c.settle()
	leader := c.leader()
	others := c.others(leader.NodeID())
	if _, err := leader.Wait(t.Context(), When("all acknowledgements", func(m Metrics) bool {
		return !slices.ContainsFunc(m.Peers, func(p PeerMetrics) bool { return p.Match < m.Last.Index })
	})); err != nil {
		t.Fatal(err)
	}
	c.cable.part([]codec.NodeID{leader.NodeID()}, others)
	within := func(d time.Duration) context.Context {
		soon, cancel := context.WithTimeout(t.Context(), d)
		t.Cleanup(cancel)
		return soon
	}
	transfer, before := make(chan error, 1), leader.Metrics().Last.Index
	go func() { transfer <- leader.TransferLeadership(within(500*time.Millisecond), others[0]) }()
	if _, err := leader.Wait(t.Context(), When("the transfer", func(m Metrics) bool { return m.Blocked })); err != nil {
		t.Fatal(err)
	}
	c.provoke(
		provocation{"ErrTransferInProgress", func() error { return leader.TransferLeadership(t.Context(), others[1]) }},
		provocation{"ErrTransferInProgress", func() error { return second(leader.ChangeMembership(t.Context(), Demote(others[0]))) }},
		provocation{"ErrNoLeaderToForget", leader.ForgetLeader},
	)
	if err := <-transfer; !called(err, "TransferError") || FateOf(err) != FateUnknown {
		t.Errorf("a transfer to a node that is cut off: %v", err)
	}
	// The target may get the request to campaign only now; an entry makes that void.
	ended := When("the transfer to end", func(m Metrics) bool { return !m.Blocked && m.Last.Index > before })
	if _, err := leader.Wait(t.Context(), ended); err != nil {
		t.Fatal(err)
	}
	c.provoke(provocation{"QuorumError", func() error { return second(leader.ReadIndex(within(20 * time.Millisecond))) }})
	_, err := leader.ChangeMembership(within(20*time.Millisecond), Demote(others[0]))
	if !called(err, "UnknownError") || FateOf(err) != FateUnknown {
		t.Errorf("a change that could not be committed: %v", err)
	}
	if _, err := leader.ChangeMembership(t.Context(), Demote(others[1])); !called(err, "ErrChangeInProgress") || FateOf(err) != FateNotDone {
		t.Errorf("a change behind it: %v", err)
	}
	c.cable.heal() // and it comes about
	if _, err := leader.Wait(t.Context(), VotersAre(c.others(others[0])...)); err != nil {
		t.Error(err)
	}
}

// TestUnknownMayBeEither: of two proposals that end with the same error one is applied everywhere later, the other nowhere.
func TestUnknownMayBeEither(t *testing.T) {
	for _, another := range []bool{false, true} {
		t.Run(fmt.Sprintf("another leader: %v", another), func(t *testing.T) {
			c := startCluster(t, clusterOptions{nodes: 3, memory: true, cables: true, adjust: sleepy})
			old := c.leader()
			others := c.others(old.NodeID())
			c.cable.part([]codec.NodeID{old.NodeID()}, others)
			soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_, err := old.Propose(soon, []byte("unknown"))
			if !called(err, "UnknownError") || FateOf(err) != FateUnknown {
				t.Fatalf("a proposal that a leader took and could not commit: %v", err)
			}
			if !another {
				c.cable.heal()
				c.agree(1)
				c.wantStates("unknown")
				return
			}
			for _, id := range others {
				if err := c.nodes[id].ForgetLeader(); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.nodes[others[0]].Trigger().Elect(); err != nil {
				t.Fatal(err)
			}
			c.awaitLeaderAmong(others)
			c.cable.heal()
			if _, err := old.Wait(t.Context(), LeaderIs(others[0])); err != nil {
				t.Fatal(err)
			}
			c.propose("next")
			c.wantStates("next")
		})
	}
}
