package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
)

// count is the state machine: it counts what was put.
type count struct{ entries int }

func (c *count) Apply(entries []engine.Entry, results []engine.Result) error {
	for i := range entries {
		c.entries++
		results[i].Data = fmt.Append(nil, c.entries)
	}
	return nil
}

// cluster is the nodes that run, by id.
type cluster struct {
	dir     string
	listen  map[codec.NodeID]string // where a node that was opened before is known to listen
	running map[codec.NodeID]*engine.Raft
}

// open opens a node and returns what a membership says of it.
func (c *cluster) open(id codec.NodeID, witness bool) (codec.Node, error) {
	config := engine.Config{
		NodeID: id, ClusterID: "demo", Dir: filepath.Join(c.dir, fmt.Sprint(id)), Listen: "127.0.0.1:0", Witness: witness,
	}
	if known := c.listen[id]; known != "" {
		config.Listen = known
	}
	var machine engine.StateMachine // a witness has none
	if !witness {
		machine = new(count)
	}
	node, err := engine.Open(config, machine)
	if err != nil {
		return codec.Node{}, err
	}
	c.running[id], c.listen[id] = node, node.Addr()
	return codec.Node{ID: id, Address: node.Addr(), Witness: witness}, nil
}

// close closes a node that is not needed any more.
func (c *cluster) close(id codec.NodeID) error {
	node := c.running[id]
	delete(c.running, id)
	return node.Close()
}

// put puts one entry on the leader and says what the cluster looks like then.
func (c *cluster) put(ctx context.Context, step string, leader *engine.Raft) error {
	result, err := leader.Propose(ctx, []byte(step))
	if err != nil {
		return err
	}
	m := leader.Metrics()
	fmt.Printf("%-28s node %d leads %v in term %d; put %s\n", step+":", m.Leader, m.Membership.Configs, m.Vote.Leader.Term, result.Data)
	return nil
}

func main() {
	dir, err := os.MkdirTemp("", "membership")
	if err != nil {
		log.Fatal(err)
	}
	c := &cluster{dir: dir, listen: map[codec.NodeID]string{}, running: map[codec.NodeID]*engine.Raft{}}
	err = c.live(context.Background())
	for id := range c.running {
		if closed := c.close(id); err == nil {
			err = closed
		}
	}
	if removed := os.RemoveAll(dir); err == nil {
		err = removed
	}
	if err != nil {
		log.Fatal(err)
	}
}

// live is the life of the cluster.
func (c *cluster) live(ctx context.Context) error {
	first, err := c.begin(ctx)
	if err != nil {
		return err
	}
	if err := c.grow(ctx, first); err != nil {
		return err
	}
	next, err := c.handOver(ctx, first)
	if err != nil {
		return err
	}
	return c.restart(ctx, next.NodeID())
}

// begin makes a cluster of one node.
func (c *cluster) begin(ctx context.Context) (*engine.Raft, error) {
	member, err := c.open(1, false)
	if err != nil {
		return nil, err
	}
	first := c.running[1]
	if err := first.Initialize(ctx, codec.NewMembership(codec.SeveralLeadersPerTerm, member)); err != nil {
		return nil, err
	}
	if _, err := first.WaitLeader(ctx); err != nil {
		return nil, err
	}
	return first, c.put(ctx, "one node", first)
}

// grow makes it three voters in one call, and puts a witness in the third's place.
func (c *cluster) grow(ctx context.Context, leader *engine.Raft) error {
	second, err := c.open(2, false)
	if err != nil {
		return err
	}
	third, err := c.open(3, false)
	if err != nil {
		return err
	}
	if _, err := leader.ChangeMembership(ctx, engine.AddVoter(second), engine.AddVoter(third)); err != nil {
		return err
	}
	if err := c.put(ctx, "three voters", leader); err != nil {
		return err
	}
	witness, err := c.open(4, true)
	if err != nil {
		return err
	}
	if _, err := leader.ChangeMembership(ctx, engine.AddVoter(witness), engine.Remove(3)); err != nil {
		return err
	}
	if err := c.close(3); err != nil {
		return err
	}
	return c.put(ctx, "two voters and a witness", leader)
}

// handOver moves the leadership to the second node and returns it.
func (c *cluster) handOver(ctx context.Context, leader *engine.Raft) (*engine.Raft, error) {
	if err := leader.TransferLeadership(ctx, 2); err != nil {
		return nil, err
	}
	return c.running[2], c.put(ctx, "leadership handed over", c.running[2])
}

// restart closes all nodes and opens them again at their addresses: the leader resumes in its term.
func (c *cluster) restart(ctx context.Context, leader codec.NodeID) error {
	for _, id := range []codec.NodeID{1, 2, 4} {
		if err := c.close(id); err != nil {
			return err
		}
	}
	for _, id := range []codec.NodeID{leader, 1, 4} {
		if _, err := c.open(id, id == 4); err != nil {
			return err
		}
	}
	if _, err := c.running[leader].WaitLeader(ctx); err != nil {
		return err
	}
	return c.put(ctx, "closed and opened again", c.running[leader])
}
