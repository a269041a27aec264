package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
)

type lines []string // the state machine: every line that was put, in order
func (l *lines) Apply(entries []engine.Entry, results []engine.Result) error {
	for i, e := range entries {
		*l = append(*l, string(e.Data))
		results[i].Data = fmt.Appendf(nil, "line %d", len(*l))
	}
	return nil
}
func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
func main() {
	ctx, dir, nodes, members := context.Background(), must(os.MkdirTemp("", "embed")), [3]*engine.Raft{}, [3]codec.Node{}
	defer os.RemoveAll(dir)
	for i := range nodes {
		config := engine.Config{NodeID: codec.NodeID(i + 1), ClusterID: "demo", Dir: fmt.Sprint(dir, "/", i+1), Listen: "127.0.0.1:0"}
		nodes[i] = must(engine.Open(config, new(lines)))
		defer nodes[i].Close()
		members[i] = codec.Node{ID: config.NodeID, Address: nodes[i].Addr()}
	}
	must(0, nodes[0].Initialize(ctx, codec.NewMembership(codec.SeveralLeadersPerTerm, members[:]...)))
	leader := must(nodes[0].WaitLeader(ctx))
	result := must(nodes[leader.ID-1].Propose(ctx, []byte("hello")))
	fmt.Printf("node %d leads and answers %q at %v\n", leader.ID, result.Data, result.LogID)
}
