package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

// holds reports whether a node's register has the entry.
func (s *register) holds(data string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.datas) - 1; i >= 0; i-- {
		if s.datas[i] == data {
			return true
		}
	}
	return false
}

// TestReadsSeeWhatWasAcknowledged: on every node, by every kind of read, right behind each acknowledgement.
func TestReadsSeeWhatWasAcknowledged(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.nodes = 4
		o.adjust = func(cfg *Config) { cfg.LeaseReads = true }
		o.first = func(nodes []codec.Node) codec.Membership { // the last one is a learner
			m := codec.NewMembership(codec.SeveralLeadersPerTerm, nodes...)
			m.Configs[0].Voters = m.Configs[0].Voters[:3]
			return m
		}
		c := startCluster(t, o)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		for n := range 20 {
			data := fmt.Sprint(n)
			at := c.propose(data).LogID.Index
			for id, node := range c.nodes {
				index, err := node.ReadIndex(ctx)
				if err != nil || index < at {
					t.Fatalf("node %d: ReadIndex = %d, %v, behind an entry at %d", id, index, err, at)
				}
				if index, err = node.EnsureLinearizable(ctx); err != nil || index < at || !c.sms[id].holds(data) {
					t.Fatalf("node %d: EnsureLinearizable = %d, %v, entry %q at %d is there: %v", id, index, err, data, at, c.sms[id].holds(data))
				}
				seen := false
				if err = node.LeaseRead(ctx, func() error { seen = c.sms[id].holds(data); return nil }); err != nil || !seen {
					t.Fatalf("node %d: LeaseRead = %v, entry %q is there: %v", id, err, data, seen)
				}
				if index, err = node.ReadStale(ctx, 0); err != nil || index < at {
					t.Fatalf("node %d: ReadStale of no age = %d, %v, behind an entry at %d", id, index, err, at)
				}
			}
		}
	})
}

// TestReadersShareRounds: thousands that wait while nothing can be confirmed are all answered by very few rounds.
func TestReadersShareRounds(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.cables = true
		o.adjust = func(cfg *Config) { cfg.ElectionTimeoutMin, cfg.ElectionTimeoutMax = 5*time.Second, 10*time.Second }
		c := startCluster(t, o)
		c.propose("x")
		c.agree(1)
		leader := c.leader()
		follower := c.nodes[leader.NodeID()%3+1]
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		for _, n := range []*Raft{leader, follower} {
			c.cable.part([]codec.NodeID{leader.NodeID()}, c.others(leader.NodeID()))
			before := n.Metrics().Reads
			var wg sync.WaitGroup
			for range 2000 {
				wg.Go(func() {
					if _, err := n.EnsureLinearizable(ctx); err != nil {
						t.Error(err)
					}
				})
			}
			until(t, "a question to be asked", func() bool {
				asked := false
				_ = n.Inspect(ctx, func(v *View) { asked = len(v.l.reading.asked)+len(v.l.reading.waiting[0]) > 0 })
				return asked
			})
			c.cable.heal()
			wg.Wait()
			if rounds := n.Metrics().Reads - before; rounds == 0 || rounds > 4*askedMax {
				t.Errorf("2000 readers on node %d took %d rounds", n.NodeID(), rounds)
			}
		}
	})
}

// TestReadGoesOnWithTheNextLeader: reads that wait on a follower and on the leader itself, while that one is cut off, are
// answered by what the next leader has committed.
func TestReadGoesOnWithTheNextLeader(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.cables = true
		c := startCluster(t, o)
		c.propose("x")
		c.agree(1)
		leader := c.leader()
		rest := c.others(leader.NodeID())
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		type answer struct {
			id    codec.NodeID
			index codec.Index
			err   error
		}
		answers := make(chan answer, 2)
		c.cable.part([]codec.NodeID{leader.NodeID()}, rest)
		for _, n := range []*Raft{leader, c.nodes[rest[0]]} {
			go func() {
				index, err := n.EnsureLinearizable(ctx)
				answers <- answer{n.NodeID(), index, err}
			}()
		}
		c.awaitLeaderAmong(rest)
		at := c.proposeAmong(rest, "y").LogID.Index
		c.cable.heal()
		for range 2 {
			a := <-answers
			switch {
			case a.err != nil:
				t.Errorf("node %d: %v", a.id, a.err)
			case a.id == leader.NodeID() && a.index < at:
				t.Errorf("the leader that was cut off read up to %d, an entry was committed at %d", a.index, at)
			}
		}
	})
}

// proposeAmong proposes on whoever of these nodes leads.
func (c *cluster) proposeAmong(ids []codec.NodeID, data string) Result {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	for {
		r, err := c.awaitLeaderAmong(ids).Propose(ctx, []byte(data))
		if err == nil {
			return r
		}
		if ctx.Err() != nil {
			c.t.Fatalf("proposing %q: %v", data, err)
		}
	}
}

// TestReadsEndWithTheirContext, each with an error that says what was missing.
func TestReadsEndWithTheirContext(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.cables = true
		o.adjust = func(cfg *Config) { cfg.ElectionTimeoutMin, cfg.ElectionTimeoutMax = 500*time.Millisecond, time.Second }
		c := startCluster(t, o)
		c.propose("x")
		c.agree(1)
		leader := c.leader()
		follower := c.nodes[leader.NodeID()%3+1]
		c.cable.part([]codec.NodeID{1}, []codec.NodeID{2, 3})
		c.cable.part([]codec.NodeID{2}, []codec.NodeID{3})
		read := func(n *Raft) error {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_, err := n.EnsureLinearizable(ctx)
			return err
		}
		for _, n := range []*Raft{leader, follower} {
			err := read(n)
			var quorum *QuorumError
			if !errors.As(err, &quorum) || quorum.Leader != leader.NodeID() || quorum.Node != n.NodeID() || quorum.Waited < 50*time.Millisecond ||
				!errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("node %d with its leader cut off: %v, want a QuorumError and the context's", n.NodeID(), err)
			}
		}
		if _, err := leader.Wait(t.Context(), LeaderIs(0)); err != nil {
			t.Fatal(err)
		}
		err := read(leader)
		var elsewhere *NotLeaderError
		if !errors.As(err, &elsewhere) || elsewhere.Leader.ID != 0 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without a leader: %v, want a NotLeaderError that names none, and the context's", err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		enough := errors.New("enough")
		cancel(enough)
		for name, err := range map[string]error{
			"EnsureLinearizable": second(leader.EnsureLinearizable(ctx)), "ReadIndex": second(leader.ReadIndex(ctx)),
			"ReadStale": second(leader.ReadStale(ctx, time.Hour)), "Barrier": second(leader.Barrier(ctx)),
		} {
			if err != enough {
				t.Errorf("%s with a context that has ended: %v, want its cause alone", name, err)
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }

// TestReadWaitsForTheStateMachine: what is confirmed and not applied is no answer yet.
func TestReadWaitsForTheStateMachine(t *testing.T) {
	sm := &heldMachine{make(chan struct{})}
	r := openAlone(t, sm, func(cfg *Config) { cfg.LeaseReads = true })
	answered := make(chan error, 1)
	if err := r.ProposeAsync([]byte("x"), func(_ Result, err error) { answered <- err }); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Wait(t.Context(), When("an entry to wait", func(m Metrics) bool { return m.UnappliedEntries > 0 })); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	index, err := r.ReadIndex(ctx)
	if err != nil || index != r.Metrics().Commit {
		t.Errorf("ReadIndex = %d, %v, want the commit", index, err)
	}
	var lag *LagError
	if _, err := r.EnsureLinearizable(ctx); !errors.As(err, &lag) || lag.Index != index || lag.Applied >= index || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("EnsureLinearizable = %v, want a LagError and the context's", err)
	}
	done := make(chan error, 1)
	go func() { done <- r.LeaseRead(t.Context(), func() error { return nil }) }()
	select {
	case err := <-done:
		t.Errorf("LeaseRead = %v before the entry was applied", err)
	case sm.hold <- struct{}{}:
	}
	if err := errors.Join(<-answered, <-done); err != nil {
		t.Error(err)
	}
	stopped := errors.New("the caller's own")
	if err := r.LeaseRead(t.Context(), func() error { return stopped }); err != stopped {
		t.Errorf("LeaseRead = %v, want what the function returned", err)
	}
}

// TestReadsOnAWitness and others that must be refused.
func TestReadRefusals(t *testing.T) {
	c := startCluster(t, withWitness(clusterOptions{nodes: 3, memory: true, adjust: func(cfg *Config) { cfg.LeaseReads = cfg.NodeID != 1 }}))
	at := c.propose("x").LogID.Index
	var witness, plain *Raft
	for id, n := range c.nodes {
		if c.cfgs[id].Witness {
			witness = n
		} else if !c.cfgs[id].LeaseReads {
			plain = n
		}
	}
	nothing := func() error { t.Error("it reads"); return nil }
	for name, err := range map[string]error{
		"EnsureLinearizable": second(witness.EnsureLinearizable(t.Context())), "LeaseRead": witness.LeaseRead(t.Context(), nothing),
		"ReadStale": second(witness.ReadStale(t.Context(), time.Hour)),
	} {
		if !errors.Is(err, ErrNoState) {
			t.Errorf("%s on a witness: %v, want %v", name, err, ErrNoState)
		}
	}
	if index, err := witness.ReadIndex(t.Context()); err != nil || index < at {
		t.Errorf("ReadIndex on a witness = %d, %v", index, err)
	}
	if err := plain.LeaseRead(t.Context(), nothing); !errors.Is(err, ErrLeaseReadsOff) {
		t.Errorf("LeaseRead without the setting: %v", err)
	}
	var argument *ArgumentError
	if _, err := plain.ReadStale(t.Context(), -time.Second); !errors.As(err, &argument) || err.Error() != "ReadStale with -1s, want an age of 0 or more" {
		t.Errorf("ReadStale with a negative age: %v", err)
	}
}

// TestReadsOfANodeThatEnds are answered.
func TestReadsOfANodeThatEnds(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true, cables: true, adjust: func(cfg *Config) {
		calm(cfg)
		cfg.LeaseReads = true
	}})
	c.propose("x")
	c.agree(1)
	leader := c.leader()
	c.cable.part([]codec.NodeID{leader.NodeID()}, c.others(leader.NodeID()))
	ctx := context.Background()
	calls := []func() error{
		func() error { return second(leader.EnsureLinearizable(ctx)) },
		func() error { return second(leader.ReadIndex(ctx)) },
		func() error { return second(leader.ReadStale(ctx, 0)) },
		func() error { return second(leader.Barrier(ctx)) },
	}
	ended := make(chan error, 100)
	for _, call := range calls {
		for range 10 {
			go func() { ended <- call() }()
		}
	}
	until(t, "reads to wait", func() bool {
		waits := false
		_ = leader.Inspect(ctx, func(v *View) { waits = len(v.l.reading.asked) > 0 && len(v.l.errands) == 10 })
		return waits
	})
	c.close(leader.NodeID())
	for range 10 * len(calls) {
		if err := <-ended; !errors.Is(err, ErrStopped) {
			t.Errorf("a read that waited: %v, want %v", err, ErrStopped)
		}
	}
	calls = append(calls, func() error { return leader.LeaseRead(ctx, func() error { return nil }) })
	for i, call := range calls {
		if err := call(); !errors.Is(err, ErrStopped) {
			t.Errorf("call %d on a closed node: %v, want %v", i, err, ErrStopped)
		}
	}
}
