package engine_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/netio"
)

// openNode opens a node in memory, on a network inside this process.
func openNode(net *netio.Network, id codec.NodeID) *engine.Raft {
	log := engine.MemoryLog()
	node, err := engine.Open(engine.Config{
		NodeID: id, ClusterID: "examples", Log: log, Transport: net.Transport(id, "examples", log.Incarnation()),
		ElectionTimeoutMin: 300 * time.Millisecond, // of tests, on a machine of their own
	}, counter{})
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return node
}

// openCluster opens nodes that lead a cluster together.
func openCluster(ctx context.Context, ids ...codec.NodeID) (nodes map[codec.NodeID]*engine.Raft, leader *engine.Raft) {
	net := netio.NewNetwork()
	nodes = map[codec.NodeID]*engine.Raft{}
	var members []codec.Node
	for _, id := range ids {
		nodes[id] = openNode(net, id)
		members = append(members, codec.Node{ID: id, Address: nodes[id].Addr()})
	}
	if err := nodes[ids[0]].Initialize(ctx, codec.NewMembership(codec.SeveralLeadersPerTerm, members...)); err != nil {
		panic("BUG: " + err.Error())
	}
	first, err := nodes[ids[0]].WaitLeader(ctx)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return nodes, nodes[first.ID]
}

// A cluster of one grows to three voters in one call: the new nodes are learners until they have caught up, then a joint
// membership takes over, then the new one. The next change only goes through if nobody else changed anything since.
func ExampleRaft_ChangeMembership() {
	ctx := context.Background()
	net := netio.NewNetwork()
	var nodes []*engine.Raft
	for id := codec.NodeID(1); id <= 3; id++ {
		nodes = append(nodes, openNode(net, id))
		defer nodes[id-1].Close()
	}
	first := nodes[0]
	if err := first.Initialize(ctx, codec.NewMembership(codec.SeveralLeadersPerTerm, codec.Node{ID: 1})); err != nil {
		fmt.Println(err)
		return
	}
	if _, err := first.WaitLeader(ctx); err != nil {
		fmt.Println(err)
		return
	}
	grown, err := first.ChangeMembership(ctx,
		engine.AddVoter(codec.Node{ID: 2, Address: nodes[1].Addr()}),
		engine.AddVoter(codec.Node{ID: 3, Address: nodes[2].Addr()}))
	fmt.Println(first.Membership().Configs, err)

	_, err = first.ChangeMembership(ctx, engine.IfMembership(grown), engine.Demote(3))
	fmt.Println(first.Membership().Configs, err)

	_, err = first.ChangeMembership(ctx, engine.IfMembership(grown), engine.Remove(3))
	var changed *engine.ChangedError
	fmt.Println("refused, since it was changed:", errors.As(err, &changed))
	// Output:
	// [majority of [1 2 3]] <nil>
	// [majority of [1 2]] <nil>
	// refused, since it was changed: true
}

// Of four voters three elect and two commit: writes go on when two nodes are lost. Quorums that could miss each other are
// refused.
func ExampleSetQuorum() {
	ctx := context.Background()
	nodes, leader := openCluster(ctx, 1, 2, 3, 4)
	for _, n := range nodes {
		defer n.Close()
	}
	_, err := leader.ChangeMembership(ctx, engine.SetQuorum(codec.QuorumSystem{Kind: codec.QuorumFlexible, Election: 3, Write: 2}))
	fmt.Println(leader.Membership().Configs, err)

	_, err = leader.ChangeMembership(ctx, engine.SetQuorum(codec.QuorumSystem{Kind: codec.QuorumFlexible, Election: 2, Write: 2}))
	var miss *engine.IntersectionError
	if errors.As(err, &miss) {
		fmt.Println("nothing in common:", miss.Quorums)
	}
	// Output:
	// [flexible of [1 2 3 4], election 3, write 2] <nil>
	// nothing in common: [[1 2] [3 4]]
}

// The leadership is handed over before a node is stopped: no proposal is lost, and nobody waits for an election timeout.
func ExampleRaft_TransferLeadership() {
	ctx := context.Background()
	nodes, leader := openCluster(ctx, 1, 2, 3)
	for _, n := range nodes {
		defer n.Close()
	}
	target := leader.NodeID()%3 + 1
	err := leader.TransferLeadership(ctx, target)
	next, _ := leader.Leader()
	fmt.Println(next.ID == target, err)

	_, err = leader.Propose(ctx, []byte("x"))
	var elsewhere *engine.NotLeaderError
	fmt.Println(errors.As(err, &elsewhere) && elsewhere.Leader.ID == target)
	// Output:
	// true <nil>
	// true
}

// A follower that is told so leads at once when its leader is known to be gone; by itself it would never campaign here.
func ExampleTrigger() {
	ctx := context.Background()
	nodes, leader := openCluster(ctx, 1, 2, 3)
	for _, n := range nodes {
		defer n.Close()
		if err := n.SetSwitches(engine.Switches{NoElections: true}); err != nil {
			fmt.Println(err)
		}
	}
	for _, n := range nodes {
		if _, err := n.WaitLeader(ctx); err != nil {
			fmt.Println(err)
		}
	}
	if err := leader.Close(); err != nil {
		fmt.Println(err)
	}
	delete(nodes, leader.NodeID())

	// Votes are for a log that lacks nothing, so the one that holds more is told to campaign.
	var best *engine.Raft
	for _, n := range nodes {
		if err := n.ForgetLeader(); err != nil {
			fmt.Println(err)
		}
		if best == nil || n.Metrics().Last.Compare(best.Metrics().Last) > 0 {
			best = n
		}
	}
	if err := best.Trigger().Elect(); err != nil {
		fmt.Println(err)
	}
	next, err := best.WaitLeader(ctx)
	fmt.Println(next.ID == best.NodeID(), err)
	// Output: true <nil>
}

// A node is added as a learner, and made a voter once it has what the leader has.
func ExampleRaft_WaitCaughtUp() {
	ctx := context.Background()
	net := netio.NewNetwork()
	first, second := openNode(net, 1), openNode(net, 2)
	defer first.Close()
	defer second.Close()
	if err := first.Initialize(ctx, codec.NewMembership(codec.SeveralLeadersPerTerm, codec.Node{ID: 1, Address: first.Addr()})); err != nil {
		fmt.Println(err)
		return
	}
	if _, err := first.WaitLeader(ctx); err != nil {
		fmt.Println(err)
		return
	}
	_, err := first.ChangeMembership(ctx, engine.AddLearner(codec.Node{ID: 2, Address: second.Addr()}))
	fmt.Println(first.Membership().Configs, err)
	fmt.Println(first.WaitCaughtUp(ctx, 2))
	_, err = first.ChangeMembership(ctx, engine.Promote(2))
	fmt.Println(first.Membership().Configs, err)
	// Output:
	// [majority of [1]] <nil>
	// <nil>
	// [majority of [1 2]] <nil>
}

// The voters are named as a whole, one of the members gets a priority, and then two configs have to agree on everything.
func ExampleReplaceVoters() {
	ctx := context.Background()
	nodes, leader := openCluster(ctx, 1, 2, 3)
	for _, n := range nodes {
		defer n.Close()
	}
	_, err := leader.ChangeMembership(ctx,
		engine.ReplaceVoters(1, 2), // node 3 stays as a learner
		engine.SetNode(codec.Node{ID: 1, Address: nodes[1].Addr(), Priority: 1}))
	m, err2 := waitVoters(ctx, nodes[1], 1, 2)
	fmt.Println(m.Configs, len(m.Nodes), err, err2)

	leader, err = leaderOf(ctx, nodes)
	if err != nil {
		fmt.Println(err)
		return
	}
	both, one := m.Configs[0], m.Configs[0]
	one.Voters = []codec.NodeID{1}
	_, err = leader.ChangeMembership(ctx, engine.SetConfigs(both, one))
	fmt.Println(leader.Membership().Configs, err)
	// Output:
	// [majority of [1 2]] 3 <nil> <nil>
	// [majority of [1 2] majority of [1]] <nil>
}

// waitVoters returns the membership of a node as soon as these are its voters.
func waitVoters(ctx context.Context, n *engine.Raft, ids ...codec.NodeID) (engine.EffectiveMembership, error) {
	m, err := n.Wait(ctx, engine.VotersAre(ids...))
	return m.Membership, err
}

// leaderOf returns the node that leads; it may be another one after a leader was made a learner.
func leaderOf(ctx context.Context, nodes map[codec.NodeID]*engine.Raft) (*engine.Raft, error) {
	m, err := nodes[1].Wait(ctx, engine.Any(engine.LeaderIs(1), engine.LeaderIs(2)))
	return nodes[m.Leader], err
}

// Parts of the protocol are turned off, and done by hand.
func ExampleRaft_SetSwitches() {
	ctx := context.Background()
	nodes, leader := openCluster(ctx, 1, 2, 3)
	for _, n := range nodes {
		defer n.Close()
		if err := n.SetSwitches(engine.Switches{NoElections: true, NoHeartbeats: true}); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println(leader.Metrics().Switches.NoHeartbeats)
	fmt.Println(leader.Trigger().Heartbeat())
	_, err := leader.Wait(ctx, engine.QuorumWithin(time.Minute))
	fmt.Println(err)
	// Output:
	// true
	// <nil>
	// <nil>
}

// A peer came back without the end of its log. Where what was committed with it may be lost, the leader fills it up again.
func ExampleTrigger_AllowReversion() {
	nodes, leader := openCluster(context.Background(), 1, 2, 3)
	for _, n := range nodes {
		defer n.Close()
	}
	for _, peer := range leader.Metrics().Peers {
		if peer.Lost { // none is here
			fmt.Println(leader.Trigger().AllowReversion(peer.Node))
		}
	}
	fmt.Println(leader.Trigger().AllowReversion(leader.NodeID()%3 + 1)) // allowed once, whenever it happens
	fmt.Println(errors.Is(leader.Trigger().AllowReversion(9), engine.ErrNotMember))
	// Output:
	// <nil>
	// true
}
