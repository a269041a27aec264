package engine_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

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

// Histograms of where the time of a leader's puts goes.
func ExampleStage() {
	var mu sync.Mutex // the observer is called from several goroutines
	stages := map[engine.Stage]*hdrhistogram.Histogram{}
	for s := engine.StageIntake; s < engine.StageEnd; s++ {
		stages[s] = hdrhistogram.New(1, int64(time.Minute), 3)
	}
	log := engine.MemoryLog()
	node, err := engine.Open(engine.Config{
		NodeID: 1, ClusterID: "example", Log: log, Transport: netio.NewNetwork().Transport(1, "example", log.Incarnation()),
		Stages: func(st engine.StageTime) {
			mu.Lock()
			defer mu.Unlock()
			_ = stages[st.Stage].RecordValue(min(int64(st.Duration), int64(time.Minute)))
		},
	}, counter{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer node.Close()
	ctx := context.Background()
	if err := node.Initialize(ctx, codec.NewMembership(codec.SeveralLeadersPerTerm, codec.Node{ID: 1})); err != nil {
		fmt.Println(err)
		return
	}
	if _, err := node.WaitLeader(ctx); err != nil {
		fmt.Println(err)
		return
	}
	if _, err := node.Propose(ctx, []byte("hello")); err != nil {
		fmt.Println(err)
		return
	}
	mu.Lock()
	defer mu.Unlock()
	for s := engine.StageIntake; s < engine.StageEnd; s++ {
		fmt.Println(s, stages[s].TotalCount())
	}
	// Output:
	// intake 1
	// wal_write 0
	// wal_sync 0
	// network 0
	// quorum 1
	// apply 1
	// answer 1
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

// The conditions that a new leader's log has to meet before this program goes on, and some of one's own.
func ExampleCondition() {
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
	at := result.LogID.Index
	_, err = leader.Wait(ctx, engine.All(
		engine.RoleIs(engine.RoleLeader), engine.Established(), engine.TermAtLeast(1), engine.MembershipHas(1, 2, 3),
		engine.LastAtLeast(at), engine.FlushedAtLeast(at), engine.CommittedAtLeast(at)))
	fmt.Println(err)

	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err = leader.Wait(ended, engine.Any(engine.SnapshotAtLeast(1000), engine.PurgedAtLeast(1000)))
	fmt.Println(err)
	// Output:
	// <nil>
	// waiting for a snapshot up to index 1000 or index 1000 to be purged: context canceled
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
		id, held := v.LogIDAt(result.LogID.Index)
		fmt.Println(id == result.LogID, held, v.Status().Commit >= id.Index)
	})
	fmt.Println(err)
	// Output:
	// true normal 1 1
	// true true true
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

// A program that keeps connections to the leader is told of each new one.
func ExampleRaft_OnLeaderChange() {
	ctx := context.Background()
	nodes, leader := openCluster(ctx, 1, 2, 3)
	for _, n := range nodes {
		defer n.Close()
	}
	target := leader.NodeID()%3 + 1
	leads := make(chan bool, 1)
	end, err := leader.OnLeaderChange(func(now codec.Node, _ codec.Vote) {
		if now.ID == target {
			leads <- true
		}
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer end()
	fmt.Println(leader.TransferLeadership(ctx, target))
	fmt.Println(<-leads)
	// Output:
	// <nil>
	// true
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
				fmt.Println("leads, and nothing was missed:", stream.Dropped() == 0)
				return
			}
		}
	}
	// Output:
	// won
	// leads, and nothing was missed: true
}

// Events are taken one by one, as soon as they come, for as long as a context allows.
func ExampleEventStream() {
	ctx := context.Background()
	nodes, leader := openCluster(ctx, 1)
	defer nodes[1].Close()
	stream, err := leader.Events(engine.EventMembershipChanged)
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := leader.ChangeMembership(ctx, engine.AddLearner(codec.Node{ID: 2})); err != nil {
		fmt.Println(err)
	}
	event, err := stream.Next(ctx)
	fmt.Println(event.Kind() == engine.EventMembershipChanged, err)
	stream.Close() // ends every wait for the next one
	_, err = stream.Next(ctx)
	fmt.Println(err)
	// Output:
	// true <nil>
	// the stream of events was closed: stopped
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
