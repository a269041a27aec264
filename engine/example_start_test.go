package engine_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
)

// A node on a disk, with peers over TCP; here it is its own cluster.
func ExampleOpen() {
	ctx := context.Background()
	dir, remove := tempDir()
	defer remove()
	node, err := engine.Open(engine.Config{NodeID: 1, ClusterID: "orders", Dir: dir, Listen: "127.0.0.1:0"}, counter{})
	if err != nil {
		fmt.Println(err)
		return
	}
	m := codec.NewMembership(codec.SeveralLeadersPerTerm, codec.Node{ID: node.NodeID(), Address: node.Addr()})
	if err := node.Initialize(ctx, m); err != nil {
		fmt.Println(err)
		return
	}
	if _, err := node.WaitLeader(ctx); err != nil {
		fmt.Println(err)
		return
	}
	result, err := node.Propose(ctx, []byte("hello"))
	fmt.Printf("%s %v\n", result.Data, err)
	fmt.Println(node.Close())

	_, err = engine.Open(engine.Config{NodeID: 1, ClusterID: "orders", Dir: dir, Listen: "10.0.0.1:7000"}, counter{})
	fmt.Println("beyond loopback only with Insecure:", err != nil)
	// Output:
	// 5 bytes <nil>
	// <nil>
	// beyond loopback only with Insecure: true
}

// One node is told who the members are, once; a program that does so at each of its starts ignores that it is done already.
func ExampleRaft_Initialize() {
	ctx := context.Background()
	nodes, _ := openCluster(ctx, 1, 2, 3) // which initializes node 1
	for _, n := range nodes {
		defer n.Close()
	}
	m := nodes[1].Membership()
	err := nodes[1].Initialize(ctx, m.Membership)
	fmt.Println(errors.Is(err, engine.ErrInitialized))
	err = nodes[1].Initialize(ctx, codec.NewMembership(codec.SeveralLeadersPerTerm, codec.Node{ID: 2}))
	fmt.Println(err)
	// Output:
	// true
	// membership refused: node 1 is not among its voters, want the node that is initialized to be one
}

// Whichever node is asked tells where the leader is.
func ExampleRaft_WaitLeader() {
	ctx := context.Background()
	nodes, leader := openCluster(ctx, 1, 2, 3)
	for _, n := range nodes {
		defer n.Close()
	}
	for id := codec.NodeID(1); id <= 3; id++ {
		known, err := nodes[id].WaitLeader(ctx)
		now, is := nodes[id].Leader() // the same without waiting
		fmt.Println(known.ID == leader.NodeID(), err, is && now.ID == known.ID)
	}
	// Output:
	// true <nil> true
	// true <nil> true
	// true <nil> true
}

// A program that ends its node by hand, and one that waits for it to end by itself.
func ExampleRaft_Close() {
	nodes, node := openCluster(context.Background(), 1)
	ended := make(chan error)
	go func() {
		<-nodes[1].Done()
		ended <- nodes[1].Err()
	}()
	fmt.Println("Close:", node.Close())
	fmt.Println("Err:", <-ended)
	_, err := node.Propose(context.Background(), nil)
	fmt.Println(errors.Is(err, engine.ErrStopped), engine.FateOf(err))
	// Output:
	// Close: <nil>
	// Err: <nil>
	// true not done
}

// fragile is a state machine that can't apply what it does not know.
type fragile struct{ counter }

func (f fragile) Apply(entries []engine.Entry, results []engine.Result) error {
	for _, e := range entries {
		if string(e.Data) == "?" {
			return errors.New("what is that")
		}
	}
	return f.counter.Apply(entries, results)
}

// A node whose state machine fails stops: it skips nothing that is committed.
func ExampleRaft_Err() {
	node, err := alone(fragile{})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = node.Propose(context.Background(), []byte("?"))
	fmt.Println(engine.FateOf(err))
	<-node.Done()
	var failed *engine.StateMachineError
	fmt.Println(errors.As(node.Err(), &failed), failed.Cause)
	fmt.Println(node.Close() != nil)
	// Output:
	// unknown
	// true what is that
	// true
}

// What a caller does about errors: go on where nothing was done, and look before it repeats what may have been done.
func ExampleFateOf() {
	ctx := context.Background()
	nodes, leader := openCluster(ctx, 1, 2, 3)
	for _, n := range nodes {
		defer n.Close()
	}
	at := nodes[leader.NodeID()%3+1] // no leader
	if _, err := at.WaitLeader(ctx); err != nil {
		fmt.Println(err)
		return
	}
	for range 3 {
		soon, cancel := context.WithTimeout(ctx, 10*time.Second)
		result, err := at.Propose(soon, []byte("hello"))
		cancel()
		switch engine.FateOf(err) {
		case engine.FateDone:
			fmt.Printf("%s\n", result.Data)
			return
		case engine.FateUnknown:
			fmt.Println("it may have happened: look, or use a session")
			return
		case engine.FateNotDone:
			fmt.Println("not done")
			var elsewhere *engine.NotLeaderError
			if errors.As(err, &elsewhere) && elsewhere.Leader.ID != 0 {
				at = nodes[elsewhere.Leader.ID]
			}
		}
	}
	// Output:
	// not done
	// 5 bytes
}
