package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
)

func TestClusterAppliesWhatItAcknowledges(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.adjust = calm
		c := startCluster(t, o)
		leader := c.leader()
		var wg sync.WaitGroup
		for client := range 20 {
			wg.Go(func() {
				for n := range 50 {
					if _, err := leader.Propose(t.Context(), fmt.Appendf(nil, "%d/%d", client, n)); err != nil {
						t.Errorf("client %d: %v", client, err)
						return
					}
				}
			})
		}
		wg.Wait()
		c.agree(1000)
		m := leader.Metrics()
		if m.Applied != m.Commit || m.Entries != 1000 || len(m.Peers) != 2 {
			t.Errorf("metrics of the leader: %+v", m)
		}
	})
}

func TestResultsAreTheStateMachines(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true})
	leader := c.leader()
	if r, err := leader.Propose(t.Context(), []byte("a")); err != nil || string(r.Data) != "1" || r.LogID.Index < 2 {
		t.Fatalf("Propose = %v %q, %v", r.LogID, r.Data, err)
	}
	results, err := leader.ProposeBatch(t.Context(), [][]byte{[]byte("b"), []byte("c")})
	if err != nil || len(results) != 2 || string(results[0].Data) != "2" || string(results[1].Data) != "3" {
		t.Fatalf("ProposeBatch = %v, %v", results, err)
	}
	async := make(chan string, 1)
	if err := leader.ProposeAsync([]byte("d"), func(r Result, err error) { async <- fmt.Sprint(string(r.Data), err) }); err != nil {
		t.Fatal(err)
	}
	if got := <-async; got != "4<nil>" {
		t.Fatalf("ProposeAsync gave %q", got)
	}
	if r, err := leader.Propose(t.Context(), nil); err != nil || string(r.Data) != "5" {
		t.Fatalf("an empty proposal = %q, %v", r.Data, err)
	}
	c.agree(5)
}

func TestFollowerNamesTheLeader(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true, tcp: true})
	c.propose("x")
	c.agree(1) // a node that knows the leader may not know its address before
	leader := c.leader()
	for id, n := range c.nodes {
		if n == leader {
			continue
		}
		known, err := n.WaitLeader(t.Context())
		if err != nil || known.ID != leader.NodeID() {
			t.Fatalf("node %d waits for its leader: %v, %v", id, known, err)
		}
		_, err = n.Propose(t.Context(), []byte("y"))
		var notLeader *NotLeaderError
		want := codec.Node{ID: leader.NodeID(), Address: leader.Addr()}
		if !errors.As(err, &notLeader) || notLeader.Leader.ID != want.ID || notLeader.Leader.Address != want.Address || notLeader.Node != id {
			t.Fatalf("node %d answered %v, want a NotLeaderError with %v", id, err, want)
		}
		if _, err := n.ProposeBatch(t.Context(), [][]byte{nil}); !errors.As(err, &notLeader) {
			t.Fatalf("ProposeBatch: %v", err)
		}
		if err := n.ProposeAsync(nil, func(Result, error) { t.Error("called") }); !errors.As(err, &notLeader) {
			t.Fatalf("ProposeAsync: %v", err)
		}
	}
}

func TestSingleNode(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 1, tcp: true})
	for n := range 100 {
		c.propose(fmt.Sprint(n))
	}
	c.close(1)
	c.open(1)
	c.propose("after the restart")
	c.agree(101)
}

func TestClusterRestartsWithEverythingItAcknowledged(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, tcp: true, adjust: calm}) // a put that is repeated stands twice
	for n := range 200 {
		c.propose(fmt.Sprint(n))
	}
	for round := range 3 {
		for id := range c.cfgs {
			c.close(id)
		}
		for id := range c.cfgs {
			c.open(id)
		}
		c.propose(fmt.Sprint("round ", round))
	}
	c.agree(203)
	for n := range 200 { // a proposal whose fate was unknown was made again, so some may be there twice
		if !slices.Contains(c.sms[1].datas, fmt.Sprint(n)) {
			t.Fatalf("entry %d is not among the %d that were applied", n, len(c.sms[1].datas))
		}
	}
}

// TestNodeThatWasAwayCatchesUp restarts the leader again and again; each time another node takes over, and the one
// that was away gets what it missed from the others' disks, since they keep little in memory.
func TestNodeThatWasAwayCatchesUp(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, tcp: true, adjust: func(cfg *Config) {
		cfg.RecentBytesMax, cfg.SegmentBytes = 1<<10, 16<<10
	}})
	c.propose("first") // until then only one node may know the membership
	total := 1
	var cold uint64
	for range 3 {
		away := c.leader().NodeID()
		c.close(away)
		for n := range 100 {
			c.propose(fmt.Sprint(total, " ", n, strings.Repeat(".", 200)))
		}
		total += 100
		c.open(away)
		c.agree(total)
		for _, n := range c.nodes {
			cold += n.Metrics().ColdReads
		}
	}
	if cold == 0 {
		t.Error("nothing was read from disk: the test did not test what it is for")
	}
}

func TestDeposedLeaderTellsThatItDoesNotKnow(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3})
	c.propose("before")
	old := c.leader()
	var others []codec.NodeID
	for id := range c.nodes {
		if id != old.NodeID() {
			others = append(others, id)
		}
	}
	c.net.Partition([]codec.NodeID{old.NodeID()}, others)
	fate := make(chan error, 1)
	if err := old.ProposeAsync([]byte("lost?"), func(_ Result, err error) { fate <- err }); err != nil {
		t.Fatal(err)
	}
	next := c.awaitLeaderAmong(others)
	if _, err := next.Propose(t.Context(), []byte("meanwhile")); err != nil {
		t.Fatal(err)
	}
	c.net.HealAll()
	err := <-fate
	var unknown *UnknownError
	if !errors.As(err, &unknown) || unknown.LogID.IsZero() {
		t.Fatalf("the deposed leader's caller was told %v, want an UnknownError with a log id", err)
	}
	c.propose("after")
	c.agree(3)
	if got := fmt.Sprint(c.sms[old.NodeID()].datas); got != "[before meanwhile after]" {
		t.Fatalf("the deposed leader applied %s", got)
	}
}

func TestContextEndsWhileTheQuorumIsAway(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true})
	leader := c.leader()
	for id := range c.nodes {
		if id != leader.NodeID() {
			c.net.Partition([]codec.NodeID{id}, []codec.NodeID{leader.NodeID()})
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := leader.Propose(ctx, []byte("x"))
	var unknown *UnknownError
	if !errors.As(err, &unknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, want an UnknownError with the context's error", err)
	}
}

func TestCloseAnswersEveryone(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, tcp: true, adjust: func(cfg *Config) {
		cfg.CloseTimeout = 50 * time.Millisecond
		cfg.ElectionTimeoutMin, cfg.ElectionTimeoutMax = time.Second, 2*time.Second // or the leader steps down before
	}})
	leader := c.leader()
	for id := range c.nodes {
		if id != leader.NodeID() {
			c.close(id)
		}
	}
	const callers = 100
	errs := make(chan error, callers)
	for n := range callers {
		go func() {
			_, err := leader.Propose(context.Background(), fmt.Append(nil, n))
			errs <- err
		}()
	}
	for leader.Metrics().Entries == 0 {
		runtime.Gosched()
	}
	c.close(leader.NodeID())
	for range callers {
		if err := <-errs; !errors.Is(err, ErrStopped) {
			t.Fatalf("a caller was told %v, want an error that wraps ErrStopped", err)
		}
	}
	if err := leader.Close(); err != nil {
		t.Fatalf("second Close: %v", err)
	}
	if _, err := leader.Propose(t.Context(), nil); !errors.Is(err, ErrStopped) {
		t.Fatalf("Propose after Close: %v", err)
	}
	if err := leader.Initialize(t.Context(), codec.NewMembership(codec.OneLeaderPerTerm, codec.Node{ID: leader.NodeID()})); !errors.Is(err, ErrStopped) {
		t.Fatalf("Initialize after Close: %v", err)
	}
	if _, err := leader.WaitLeader(t.Context()); !errors.Is(err, ErrStopped) {
		t.Fatalf("WaitLeader after Close: %v", err)
	}
	if m := leader.Metrics(); m.Last.IsZero() {
		t.Fatalf("metrics after Close: %+v, want the last ones", m)
	}
}

// TestCloseWaitsForWhatItTook also where it may wait for ever.
func TestCloseWaitsForWhatItTook(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true, adjust: func(cfg *Config) { cfg.CloseTimeout = math.MaxInt64 }})
	leader := c.leader()
	const callers = 1000
	errs := make(chan error, callers)
	for n := range callers {
		if err := leader.ProposeAsync(fmt.Append(nil, n), func(_ Result, err error) { errs <- err }); err != nil {
			t.Fatal(err)
		}
	}
	c.close(leader.NodeID())
	for range callers {
		if err := <-errs; err != nil {
			t.Fatalf("a proposal that a closing leader had taken: %v", err)
		}
	}
}

func TestStateMachineErrorStopsTheNode(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true})
	c.propose("a")
	leader := c.leader()
	broken := errors.New("disk of the state machine is gone")
	sm := c.sms[leader.NodeID()]
	sm.mu.Lock()
	sm.fail = broken
	sm.mu.Unlock()
	_, err := leader.Propose(t.Context(), []byte("b"))
	var unknown *UnknownError
	if !errors.As(err, &unknown) || !errors.Is(err, broken) {
		t.Fatalf("the caller was told %v, want an UnknownError with the state machine's error", err)
	}
	<-leader.Done()
	var smErr *StateMachineError
	if err := leader.Err(); !errors.As(err, &smErr) || !errors.Is(err, broken) {
		t.Fatalf("Err = %v", err)
	}
	if err := leader.Close(); !errors.Is(err, broken) {
		t.Fatalf("Close = %v", err)
	}
	if _, err := leader.Propose(t.Context(), nil); !errors.Is(err, ErrStopped) || !errors.Is(err, broken) {
		t.Fatalf("Propose = %v", err)
	}
	delete(c.nodes, leader.NodeID())
	c.propose("c") // the others go on
	c.agree(3)
}

func TestInitializeRefusals(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true})
	members := []codec.Node{{ID: 1}, {ID: 2}, {ID: 3}}
	n := c.nodes[1]
	if err := n.Initialize(t.Context(), codec.NewMembership(codec.SeveralLeadersPerTerm, members...)); !errors.Is(err, ErrInitialized) {
		t.Errorf("a second Initialize: %v", err)
	}
	if err := n.Initialize(t.Context(), codec.Membership{}); err == nil || !strings.Contains(err.Error(), "vote mode 0") {
		t.Errorf("an empty membership: %v", err)
	}
	err := n.Initialize(t.Context(), codec.NewMembership(codec.OneLeaderPerTerm, members[1:]...))
	if err == nil || !strings.Contains(err.Error(), "node 1 is not among its voters") {
		t.Errorf("a membership without this node: %v", err)
	}
}

func TestBothVoteModes(t *testing.T) {
	for _, mode := range []codec.VoteMode{codec.SeveralLeadersPerTerm, codec.OneLeaderPerTerm} {
		t.Run(mode.String(), func(t *testing.T) {
			eachKind(t, func(t *testing.T, o clusterOptions) {
				o.mode = mode
				c := startCluster(t, o)
				for n := range 10 {
					c.propose(fmt.Sprint(n))
				}
				c.agree(10)
				if m := c.leader().Membership(); m.Mode != mode {
					t.Errorf("the membership has vote mode %v, want %v", m.Mode, mode)
				}
			})
		})
	}
}

func TestFullBoundsBlockAndRecover(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true, adjust: func(cfg *Config) {
		cfg.IntakeBytesMax, cfg.UnappliedBytesMax, cfg.WindowBytesMax, cfg.WindowFramesMax = 4<<10, 4<<10, 4<<10, 2
		cfg.FrameBytesMax, cfg.ReceiveBytesMax = 1<<10, 64<<10
	}})
	leader := c.leader()
	var wg sync.WaitGroup
	for client := range 32 {
		wg.Go(func() {
			for n := range 50 {
				if _, err := leader.Propose(t.Context(), fmt.Appendf(nil, "%d/%d%0500d", client, n, 0)); err != nil {
					t.Errorf("client %d: %v", client, err)
					return
				}
			}
		})
	}
	wg.Wait()
	c.agree(1600)
}

func TestBusyWhenNobodyCommits(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true, adjust: func(cfg *Config) {
		cfg.IntakeBytesMax, cfg.UnappliedBytesMax = 10<<10, 10<<10
	}})
	leader := c.leader()
	c.net.Partition([]codec.NodeID{leader.NodeID()}, []codec.NodeID{1, 2, 3})
	var err error
	answered := make(chan error, 1000)
	taken := 0
	for range 1000 {
		if err = leader.ProposeAsync(make([]byte, 1<<10), func(_ Result, err error) { answered <- err }); err != nil {
			break
		}
		taken++
	}
	if !errors.Is(err, ErrBusy) {
		t.Fatalf("after %d proposals of 1 KiB without a quorum: %v, want ErrBusy", taken, err)
	}
	c.net.HealAll()
	for range taken {
		<-answered
	}
	c.propose("again")
	if m := c.leader().Metrics(); m.Role != consensus.Leader {
		t.Fatalf("metrics: %+v", m)
	}
}

// TestNoAllocationPerEntryOnTheLeader counts all allocations of the process, three nodes in memory, per entry that was
// proposed, replicated, committed, applied and answered.
func TestNoAllocationPerEntryOnTheLeader(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool allocate")
	}
	c := startCluster(t, clusterOptions{nodes: 3, memory: true, blind: true, adjust: calm})
	leader := c.leader()
	data := make([]byte, 128)
	const window, rounds = 1024, 50
	answers := make(chan error, window)
	fn := func(_ Result, err error) { answers <- err }
	run := func(rounds int) {
		for range rounds {
			for range window {
				if err := leader.ProposeAsync(data, fn); err != nil {
					t.Fatal(err)
				}
			}
			for range window {
				if err := <-answers; err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	run(5)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	run(rounds)
	runtime.ReadMemStats(&after)
	perEntry := float64(after.Mallocs-before.Mallocs) / (window * rounds)
	t.Logf("%.3f allocations an entry on three nodes", perEntry)
	if perEntry > 0.5 {
		t.Fatalf("%.3f allocations an entry, want those of the frames alone", perEntry)
	}
}
