package node

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/cluster_benchmark/load"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/cluster_benchmark/target"
	"github.com/millrace/millrace/pipeline"
)

// TestRuns: several runs on one cluster, each with its own clients, payloads and ways to put, each proven by itself.
func TestRuns(t *testing.T) {
	for _, store := range []string{setting.StoreMemory, setting.StoreWAL} {
		t.Run(store, func(t *testing.T) {
			_, addresses := startNodes(t, 3, store)
			d, err := Describe(t.Context(), addresses)
			if backend := map[string]string{setting.StoreWAL: "tidwall"}[store]; err != nil || d != (Description{3, store, backend}) {
				t.Errorf("described as %+v, %v", d, err)
			}
			addresses[0], addresses[2] = addresses[2], addresses[0] // in any order
			for _, c := range []struct{ clients, inflight, batch, payload int }{{8, 1, 1, 32}, {4, 16, 1, 0}, {16, 1, 4, 100}} {
				s := scenario(3, c.clients, c.payload, store)
				s.Inflight, s.Batch = c.inflight, c.batch
				remote := connectTo(t, s, addresses)
				before := remote.Counters()
				r := startLoad(t, remote, s)
				r.more()
				done := remote.Counters().Sub(before)
				stages := remote.(target.Staged).TakeStages()
				v, m, err := r.finish()
				proven(t, v, err)
				if m.Errors > 0 || len(v.Applied) != 3 || v.Applied[0] != v.Acknowledged {
					t.Errorf("%d errors, first %v; %+v", m.Errors, m.FirstError, v)
				}
				if done.Entries < 1000 || done.Frames == 0 || (done.WALSyncs > 0) != (store == setting.StoreWAL) || done.CPU <= 0 || done.PeakRSS == 0 {
					t.Errorf("counted %+v", done)
				}
				if len(stages) < 5 || stages["quorum"].TotalCount() == 0 {
					t.Errorf("stages are %v", stages)
				}
				places := remote.(target.Placed).Places()
				if len(places) != 3 || !strings.HasPrefix(places[0], "node 1 at "+addresses[2]+": ") || !strings.HasSuffix(places[2], ", v1 abc") {
					t.Errorf("places are %q", places)
				}
			}
		})
	}
}

// TestFollowsTheLeader: puts go on after the leadership has moved, and nothing acknowledged is lost.
func TestFollowsTheLeader(t *testing.T) {
	nodes, addresses := startNodes(t, 3, setting.StoreMemory)
	s := scenario(3, 16, 32, setting.StoreMemory)
	r := startLoad(t, connectTo(t, s, addresses), s)
	for range 3 {
		r.more()
		leader, ok := nodes[0].raft.Leader()
		if !ok {
			t.Fatal("nobody leads")
		}
		next := leader.ID%3 + 1
		if err := nodes[leader.ID-1].raft.TransferLeadership(t.Context(), next); err != nil {
			t.Fatal(err)
		}
	}
	r.more()
	v, m, err := r.finish()
	proven(t, v, err)
	if m.Errors == 0 {
		t.Error("no put failed, so the leadership was not seen to move")
	}
}

// TestNodeThatStops: a run goes on without one of three nodes, the leader; at the end it says which one it could not look at, and
// the others are checked.
func TestNodeThatStops(t *testing.T) {
	nodes, addresses := startNodes(t, 3, setting.StoreMemory)
	s := scenario(3, 16, 32, setting.StoreMemory)
	r := startLoad(t, connectTo(t, s, addresses), s)
	r.more()
	leader, _ := nodes[0].raft.Leader()
	if err := nodes[leader.ID-1].Close(); err != nil {
		t.Fatal(err)
	}
	r.more()
	v, _, err := r.finish()
	if v.OK || len(v.Reasons) > 0 || err == nil || !strings.Contains(err.Error(), "does not say what it has applied") {
		t.Errorf("%+v, %v, want it not proven", v, err)
	}
	for i, applied := range v.Applied {
		if stopped := i+1 == int(leader.ID); stopped != (applied == 0) || !stopped && applied < v.Acknowledged {
			t.Errorf("node %d applied %d of %d", i+1, applied, v.Acknowledged)
		}
	}
}

// TestTooFewNodes: clients give up when too few nodes have answered for a while, instead of waiting for ever.
func TestTooFewNodes(t *testing.T) {
	r := newRemote(make([]*caller, 3), nil)
	defer r.end()
	if r.silent() != nil {
		t.Error("silent from the start")
	}
	r.silentSince.Store(time.Now().Add(-goneAfter - time.Second).UnixNano())
	r.gone = r.silent
	if _, err := r.Proposer(); !errors.Is(err, load.ErrGone) {
		t.Errorf("%v, want ErrGone", err)
	}
}

// TestAddresses: those that are not the nodes of one cluster are refused, in words.
func TestAddresses(t *testing.T) {
	_, one := startNodes(t, 3, setting.StoreMemory)
	_, other := startNodes(t, 3, setting.StoreWAL)
	dead := freeAddresses(t, 1)[0]
	for _, c := range []struct {
		addresses []string
		want      string
	}{
		{one[:2], "is node 1 of 3, but 2 were given: want the address of each node"},
		{[]string{one[0], one[0], one[1]}, "are both node 1"},
		{[]string{one[0], one[1], other[2]}, "want one cluster"},
		{[]string{one[0], one[1], dead}, "connect to a node: dial tcp " + dead + ": connect: connection refused"},
	} {
		if _, err := Describe(t.Context(), c.addresses); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %s", c.addresses, err, c.want)
		}
	}
	s := scenario(3, 1, 32, setting.StoreMemory)
	first := connectTo(t, s, one)
	if _, err := Connect(t.Context(), s, one); err == nil || !strings.Contains(err.Error(), "is in use by another run") {
		t.Errorf("a second run: %v", err)
	}
	if err := errors.Join(first.Settle(t.Context()), first.Close()); err != nil {
		t.Error(err)
	}
	next := connectTo(t, s, one)
	if err := errors.Join(next.Settle(t.Context()), next.Close()); err != nil {
		t.Error(err)
	}
}

// TestBrokenStream: puts on a connection that breaks have an unknown fate; those after it were not taken.
func TestBrokenStream(t *testing.T) {
	nodes, addresses := startNodes(t, 1, setting.StoreMemory)
	remote := connectTo(t, scenario(1, 4, 32, setting.StoreMemory), addresses).(*remote)
	defer remote.Close()
	p, err := remote.Proposer()
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	hold := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { // the state machine stands still
		defer close(stop)
		nodes[0].machine.mu.Lock()
		close(hold)
		<-ctx.Done()
		nodes[0].machine.mu.Unlock()
	}()
	<-hold
	done := make(chan []error, 1)
	go func() { done <- propose(t, p, 4, make([]byte, 32)) }()
	s := p.(*stream)
	await(t, "puts are under way", func() bool { return s.owes() > 0 && s.Bytes() == 0 })
	_ = s.conn.Close()
	for _, err := range <-done {
		var unknown *pipeline.UnknownError
		if !errors.As(err, &unknown) && !errors.Is(err, errRetired) {
			t.Errorf("%v, want an unknown fate, or that it was not taken", err)
		}
	}
	if _, err := p.Propose(t.Context(), nil); !errors.Is(err, errRetired) {
		t.Errorf("afterwards: %v", err)
	}
	cancel()
	<-stop
	await(t, "there is a connection again", func() bool { _, err := remote.Proposer(); return err == nil })
}
