package engine_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/netio"
)

// What a node is, how far it is, and what waits in it.
func ExampleRaft_Metrics() {
	nodes, leader := openCluster(context.Background(), 1, 2, 3)
	for _, n := range nodes {
		defer n.Close()
	}
	if _, err := leader.Propose(context.Background(), []byte("hello")); err != nil {
		fmt.Println(err)
	}
	m := leader.Metrics()
	fmt.Println(m.Role, m.Leader == leader.NodeID(), m.Applied <= m.Commit, m.Entries, len(m.Peers))
	// Output: leader true true 1 2
}

// A program that must know at once where to send what it proposes.
func ExampleWatch() {
	ctx := context.Background()
	nodes, leader := openCluster(ctx, 1, 2, 3)
	for _, n := range nodes {
		defer n.Close()
	}
	target := leader.NodeID()%3 + 1
	for id := range engine.Watch(ctx, leader, func(m engine.Metrics) codec.NodeID { return m.Leader }) {
		switch id {
		case leader.NodeID():
			fmt.Println("it leads itself")
			if err := leader.TransferLeadership(ctx, target); err != nil {
				fmt.Println(err)
			}
		case target:
			fmt.Println("another one leads")
			return
		}
	}
	// Output:
	// it leads itself
	// another one leads
}

// A follower that has applied what was put on the leader.
func ExampleRaft_Wait() {
	ctx := context.Background()
	nodes, leader := openCluster(ctx, 1, 2, 3)
	for _, n := range nodes {
		defer n.Close()
	}
	result, err := leader.Propose(ctx, []byte("hello"))
	if err != nil {
		fmt.Println(err)
		return
	}
	follower := nodes[leader.NodeID()%3+1]
	m, err := follower.Wait(ctx, engine.AppliedAtLeast(result.LogID.Index))
	fmt.Println(m.Applied >= result.LogID.Index, err)

	few := engine.When("fewer than 4 members", func(m engine.Metrics) bool { return len(m.Membership.Nodes) < 4 })
	_, err = follower.Wait(ctx, engine.All(engine.HasLeader(), engine.VotersAre(1, 2, 3), few))
	fmt.Println(err)
	// Output:
	// true <nil>
	// <nil>
}

// Several looks at one moment.
func ExampleRaft_Inspect() {
	ctx := context.Background()
	nodes, leader := openCluster(ctx, 1)
	defer nodes[1].Close()
	result, err := leader.Propose(ctx, []byte("hello"))
	if err != nil {
		fmt.Println(err)
		return
	}
	err = leader.Inspect(ctx, func(v *engine.View) {
		frame, _ := v.FrameAt(result.LogID.Index)
		fmt.Println(v.Holds(result.LogID), frame.Kind, frame.Count, v.Metrics().Leader)
	})
	fmt.Println(err)
	// Output:
	// true normal 1 1
	// <nil>
}

// Something that runs only where the leader is.
func ExampleRaft_OnLeader() {
	ctx := context.Background()
	nodes, leader := openCluster(ctx, 1, 2, 3)
	for _, n := range nodes {
		defer n.Close()
	}
	calls := make(chan string)
	end, err := leader.OnLeader(
		func(ctx context.Context, _ codec.Vote) { calls <- fmt.Sprint("start ", ctx.Err()) },
		func(codec.Vote) { calls <- "stop" })
	if err != nil {
		fmt.Println(err)
		return
	}
	defer end()
	fmt.Println(<-calls)
	if err := leader.TransferLeadership(ctx, leader.NodeID()%3+1); err != nil {
		fmt.Println(err)
	}
	fmt.Println(<-calls)
	// Output:
	// start <nil>
	// stop
}

// What happens to a leadership that is handed over, as the node that gets it sees it.
func ExampleRaft_Events() {
	ctx := context.Background()
	nodes, leader := openCluster(ctx, 1, 2, 3)
	for _, n := range nodes {
		defer n.Close()
	}
	target := nodes[leader.NodeID()%3+1]
	stream, err := target.Events(engine.EventElectionWon, engine.EventLeaderChanged)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stream.Close()
	if err := leader.TransferLeadership(ctx, target.NodeID()); err != nil {
		fmt.Println(err)
	}
	for event := range stream.All(ctx) {
		switch e := event.(type) {
		case engine.ElectionWon:
			fmt.Println("won")
		case engine.LeaderChanged:
			if e.Leader.ID == target.NodeID() {
				fmt.Println("leads")
				return
			}
		}
	}
	// Output:
	// won
	// leads
}

// One component says everything, the others only what an operator has to act on.
func ExampleConfig_logLevels() {
	var network slog.LevelVar // can be changed while the node runs
	network.Set(slog.LevelWarn)
	log := engine.MemoryLog()
	node, err := engine.Open(engine.Config{
		NodeID: 1, ClusterID: "logs", Log: log, Transport: netio.NewNetwork().Transport(1, "logs", log.Incarnation()),
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		LogLevels: map[engine.Component]slog.Leveler{
			engine.ComponentNetwork: &network,
			engine.ComponentLog:     slog.LevelError,
		},
	}, counter{})
	fmt.Println(err)
	fmt.Println(node.Close())
	// Output:
	// <nil>
	// <nil>
}
