package engine_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
)

// deposits is a state machine that adds up what it is given, so that an entry that is applied twice can be seen.
type deposits struct{ total int }

func (d *deposits) Apply(entries []engine.Entry, results []engine.Result) error {
	for i, e := range entries {
		var amount int
		if _, err := fmt.Sscan(string(e.Data), &amount); err != nil {
			return err
		}
		d.total += amount
		results[i].Data = fmt.Append(nil, d.total)
	}
	return nil
}

// alone returns a node that leads a cluster of its own.
func alone(sm engine.StateMachine) (*engine.Raft, error) {
	net, log := &wire{nodes: map[codec.NodeID]*port{}}, newSliceLog()
	node, err := engine.Open(engine.Config{NodeID: 1, ClusterID: "alone", Log: log, Transport: &port{net: net, id: 1}}, sm)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	// The node's disk is named at once, or the leader would do so by an entry of its own.
	member := codec.Node{ID: 1, Incarnation: log.Incarnation()}
	if err := node.Initialize(ctx, codec.NewMembership(codec.OneLeaderPerTerm, member)); err != nil {
		return nil, errors.Join(err, node.Close())
	}
	_, err = node.WaitLeader(ctx)
	return node, err
}

// A command is proposed once more because its client lost the answer, perhaps with the client itself. It counts once.
func ExampleSession() {
	node, err := alone(&deposits{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer node.Close()
	ctx := context.Background()
	session, err := node.OpenSession(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	result, err := session.Do(ctx, []byte("100"))
	fmt.Printf("%s %v\n", result.Data, err)

	serial, err := session.Reserve()
	if err != nil {
		fmt.Println(err)
		return
	}
	kept := session.State() // the client keeps this and the command, then proposes it
	result, err = session.Retry(ctx, serial, []byte("50"))
	fmt.Printf("%s %v\n", result.Data, err)

	// The client starts again from what it kept, not knowing how far it had come.
	session, err = engine.ResumeSession(node, kept)
	if err != nil {
		fmt.Println(err)
		return
	}
	result, err = session.Retry(ctx, kept.Open[0], []byte("50"))
	fmt.Printf("%s %v\n", result.Data, err)
	fmt.Println(session.Close(ctx))
	_, err = session.Propose(ctx, []byte("1"))
	fmt.Println(err)
	// Output:
	// 100 <nil>
	// 150 <nil>
	// 150 <nil>
	// <nil>
	// session 3 is not known: it was closed, or evicted for newer ones
}

// Whoever does not want to know any more what became of a command gives it up, so that later ones find room.
func ExampleRaft_OpenSession() {
	node, err := alone(&deposits{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer node.Close()
	ctx := context.Background()
	session, err := node.OpenSession(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := session.Reserve(); err != nil {
		fmt.Println(err)
		return
	}
	result, err := session.Propose(ctx, []byte("10"))
	fmt.Printf("%s %v\n", result.Data, err)
	open := session.State().Open
	fmt.Println(session.ID() == session.State().ID, open, session.GiveUp(open[0]), session.State().Open)
	// Output:
	// 10 <nil>
	// true [1] <nil> []
}

// A program that keeps something beside the log while it leads proposes on condition that it still does.
func ExampleRaft_ProposeIf() {
	node, err := alone(&deposits{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer node.Close()
	ctx := context.Background()
	lead := node.Metrics().Vote.Leader
	result, err := node.ProposeIf(ctx, lead, []byte("10"))
	fmt.Printf("%s %v\n", result.Data, err)
	lead.Term += 7
	_, err = node.ProposeIf(ctx, lead, []byte("10"))
	fmt.Println(errors.As(err, new(*engine.LeadershipError)))
	// Output:
	// 10 <nil>
	// true
}

// The notice at commit comes before the answer: the entry is safe, its effect not yet known.
func ExampleRaft_Submit() {
	node, err := alone(&deposits{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer node.Close()
	result, err := node.Submit(context.Background(), engine.Proposal{
		Data:      []byte("10"),
		Committed: func(id codec.LogID) { fmt.Println("committed at index", id.Index) },
	})
	fmt.Printf("applied at index %d: %s %v\n", result.LogID.Index, result.Data, err)
	// Output:
	// committed at index 3
	// applied at index 3: 10 <nil>
}

// A program asks whichever node it talks to. One that does not lead passes the proposal on.
func ExampleForwarding() {
	net := &wire{nodes: map[codec.NodeID]*port{}}
	var nodes []*engine.Raft
	var members []codec.Node
	for id := codec.NodeID(1); id <= 3; id++ {
		node, err := engine.Open(engine.Config{
			NodeID: id, ClusterID: "forwarding", Log: newSliceLog(), Transport: &port{net: net, id: id},
		}, &deposits{})
		if err != nil {
			fmt.Println(err)
			return
		}
		defer node.Close()
		nodes = append(nodes, node)
		members = append(members, codec.Node{ID: id})
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := nodes[0].Initialize(ctx, codec.NewMembership(codec.OneLeaderPerTerm, members...)); err != nil {
		fmt.Println(err)
		return
	}
	for _, node := range nodes {
		if _, err := node.WaitLeader(ctx); err != nil {
			fmt.Println(err)
			return
		}
	}
	for _, node := range nodes {
		// Only one of them leads. If the leader changes now, Do goes on at the next one, and the amount still counts once.
		session, err := node.OpenSession(ctx, engine.Forwarding())
		if err != nil {
			fmt.Println(err)
			return
		}
		result, err := session.Do(ctx, []byte("10"))
		fmt.Printf("%s %v\n", result.Data, err)
	}
	result, err := nodes[1].Submit(ctx, engine.Proposal{Data: []byte("5"), Forward: true})
	fmt.Printf("%s %v\n", result.Data, err)
	// Output:
	// 10 <nil>
	// 20 <nil>
	// 30 <nil>
	// 35 <nil>
}
