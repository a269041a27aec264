package engine_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/netio"
)

// shelf is a state machine that holds one value. It is read while entries are applied, so it has a lock.
type shelf struct {
	mu    sync.Mutex
	value string
}

func (s *shelf) Apply(entries []engine.Entry, results []engine.Result) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, e := range entries {
		results[i].Data = []byte(s.value) // the answer is what was there before
		s.value = string(e.Data)
	}
	return nil
}

func (s *shelf) get() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.value
}

// openShelves opens three nodes with a shelf each, and returns the leader's number among them.
func openShelves(ctx context.Context, change func(*engine.Config)) (nodes []*engine.Raft, shelves []*shelf, leader int) {
	net := netio.NewNetwork()
	var members []codec.Node
	for id := codec.NodeID(1); id <= 3; id++ {
		log, sm := engine.MemoryLog(), &shelf{}
		cfg := engine.Config{NodeID: id, ClusterID: "shelves", Log: log, Transport: net.Transport(id, "shelves", log.Incarnation())}
		change(&cfg)
		node, err := engine.Open(cfg, sm)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		nodes, shelves = append(nodes, node), append(shelves, sm)
		members = append(members, codec.Node{ID: id})
	}
	if err := nodes[0].Initialize(ctx, codec.NewMembership(codec.OneLeaderPerTerm, members...)); err != nil {
		panic("BUG: " + err.Error())
	}
	for _, node := range nodes {
		first, err := node.WaitLeader(ctx)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		leader = int(first.ID) - 1
	}
	return nodes, shelves, leader
}

// A put is answered by the state machine. What a node that does not lead says tells where to ask, and that nothing was done.
func ExampleRaft_Propose() {
	ctx := context.Background()
	nodes, _, leader := openShelves(ctx, func(*engine.Config) {})
	for _, n := range nodes {
		defer n.Close()
	}
	for _, value := range []string{"cup", "book"} {
		result, err := nodes[leader].Propose(ctx, []byte(value))
		fmt.Printf("%q %v\n", result.Data, err)
	}
	_, err := nodes[(leader+1)%3].Propose(ctx, []byte("lamp"))
	fmt.Println(engine.FateOf(err))
	// Output:
	// "" <nil>
	// "cup" <nil>
	// not done
}

// Many puts in one call: they go into the log together, each has its answer.
func ExampleRaft_ProposeBatch() {
	ctx := context.Background()
	nodes, _, leader := openShelves(ctx, func(*engine.Config) {})
	for _, n := range nodes {
		defer n.Close()
	}
	results, err := nodes[leader].ProposeBatch(ctx, [][]byte{[]byte("cup"), []byte("book"), []byte("lamp")})
	for _, r := range results {
		fmt.Printf("%q at +%d\n", r.Data, r.LogID.Index-results[0].LogID.Index)
	}
	fmt.Println(err)
	// Output:
	// "" at +0
	// "cup" at +1
	// "book" at +2
	// <nil>
}

// A goroutine that keeps many puts under way does not wait for each.
func ExampleRaft_ProposeAsync() {
	ctx := context.Background()
	nodes, _, leader := openShelves(ctx, func(*engine.Config) {})
	for _, n := range nodes {
		defer n.Close()
	}
	answers := make(chan string, 3)
	for _, value := range []string{"cup", "book", "lamp"} {
		err := nodes[leader].ProposeAsync([]byte(value), func(r engine.Result, err error) {
			answers <- fmt.Sprintf("%q %v", r.Data, err) // it must not block
		})
		if err != nil { // busy: there is no room for one more
			fmt.Println(err)
		}
	}
	for range 3 {
		fmt.Println(<-answers)
	}
	// Output:
	// "" <nil>
	// "cup" <nil>
	// "book" <nil>
}

// A follower reads as if it were the leader: what was answered before the read began is seen.
func ExampleRaft_EnsureLinearizable() {
	ctx := context.Background()
	nodes, shelves, leader := openShelves(ctx, func(*engine.Config) {})
	for _, n := range nodes {
		defer n.Close()
	}
	result, err := nodes[leader].Propose(ctx, []byte("cup"))
	if err != nil {
		fmt.Println(err)
		return
	}
	follower := (leader + 1) % 3
	index, err := nodes[follower].EnsureLinearizable(ctx)
	fmt.Println(shelves[follower].get(), index >= result.LogID.Index, err)
	// Output: cup true <nil>
}

// Where the clocks of all nodes can be trusted to go equally fast, but for a bound, a leader reads without a message. The read
// is done inside the call, which checks the lease before and after it.
func ExampleRaft_LeaseRead() {
	ctx := context.Background()
	nodes, shelves, leader := openShelves(ctx, func(c *engine.Config) { c.LeaseReads = true })
	for _, n := range nodes {
		defer n.Close()
	}
	if _, err := nodes[leader].Propose(ctx, []byte("cup")); err != nil {
		fmt.Println(err)
		return
	}
	var value string
	err := nodes[leader].LeaseRead(ctx, func() error {
		value = shelves[leader].get()
		return nil
	})
	fmt.Println(value, err)
	// Output: cup <nil>
}

// An index from the leader says how far another node has to be: here the wait is for a follower, by a condition.
func ExampleRaft_ReadIndex() {
	ctx := context.Background()
	nodes, shelves, leader := openShelves(ctx, func(*engine.Config) {})
	for _, n := range nodes {
		defer n.Close()
	}
	if _, err := nodes[leader].Propose(ctx, []byte("cup")); err != nil {
		fmt.Println(err)
		return
	}
	index, err := nodes[leader].ReadIndex(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	follower := (leader + 1) % 3
	_, err = nodes[follower].Wait(ctx, engine.AppliedAtLeast(index))
	fmt.Println(shelves[follower].get(), err)
	// Output: cup <nil>
}

// A page that may be a little old is read anywhere, and mostly without asking anybody.
func ExampleRaft_ReadStale() {
	ctx := context.Background()
	nodes, shelves, leader := openShelves(ctx, func(*engine.Config) {})
	for _, n := range nodes {
		defer n.Close()
	}
	if _, err := nodes[leader].Propose(ctx, []byte("cup")); err != nil {
		fmt.Println(err)
		return
	}
	follower := (leader + 1) % 3
	if _, err := nodes[follower].EnsureLinearizable(ctx); err != nil { // as an earlier reader did
		fmt.Println(err)
		return
	}
	_, err := nodes[follower].ReadStale(ctx, time.Minute)
	fmt.Println(shelves[follower].get(), err)
	// Output: cup <nil>
}

// A program that was just elected makes sure that its state holds all that its predecessors answered.
func ExampleRaft_Barrier() {
	ctx := context.Background()
	nodes, _, leader := openShelves(ctx, func(*engine.Config) {})
	for _, n := range nodes {
		defer n.Close()
	}
	id, err := nodes[leader].Barrier(ctx)
	fmt.Println(nodes[leader].Metrics().Applied >= id.Index, err)
	// Output: true <nil>
}

// An operator who is about to stop the leader's machine has the others elect without waiting for it: they forget it first.
func ExampleRaft_ForgetLeader() {
	ctx := context.Background()
	nodes, _, leader := openShelves(ctx, func(*engine.Config) {})
	for _, n := range nodes {
		defer n.Close()
	}
	fmt.Println(nodes[(leader+1)%3].ForgetLeader())
	fmt.Println(nodes[leader].ForgetLeader())
	// Output:
	// <nil>
	// no leader to forget
}
