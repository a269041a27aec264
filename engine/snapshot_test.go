package engine

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/millrace/millrace/codec"
)

// keptRegister is a register whose state can be taken and given.
type keptRegister struct {
	register
	mu       sync.Mutex
	hold     chan struct{} // nil, or: what WriteTo waits for
	failing  error         // of WriteTo
	panics   bool          // in WriteTo
	endless  bool          // in WriteTo
	restores int
}

// registerState is what a register writes.
type registerState struct {
	IDs    []codec.LogID
	Datas  []string
	Hashes []uint32
}

func (s *keptRegister) Snapshot() (SnapshotSource, error) {
	s.register.mu.Lock()
	defer s.register.mu.Unlock()
	n := len(s.ids)
	return &registerSource{s, registerState{s.ids[:n:n], s.datas[:n:n], s.hashes[:n:n]}}, nil
}

type registerSource struct {
	of    *keptRegister
	state registerState
}

func (s *registerSource) WriteTo(w io.Writer) (int64, error) {
	s.of.mu.Lock()
	hold, failing, panics, endless := s.of.hold, s.of.failing, s.of.panics, s.of.endless
	s.of.mu.Unlock()
	for endless {
		if n, err := w.Write(make([]byte, 1<<10)); err != nil {
			return int64(n), err
		}
	}
	if panics {
		panic("no state today")
	}
	if failing != nil {
		return 0, failing
	}
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(&s.state); err != nil {
		return 0, err
	}
	if hold != nil {
		<-hold
	}
	return b.WriteTo(w)
}

func (s *registerSource) Close() error { return nil }

func (s *keptRegister) Restore(r io.Reader) error {
	state, err := readRegister(r)
	if err != nil {
		return err
	}
	s.register.mu.Lock()
	defer s.register.mu.Unlock()
	s.ids, s.datas, s.hashes = state.IDs, state.Datas, state.Hashes
	s.restores++
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

func readRegister(r io.Reader) (state registerState, err error) {
	b, err := io.ReadAll(r)
	if err == nil {
		err = gob.NewDecoder(bytes.NewReader(b)).Decode(&state)
	}
	return state, err
}

// kept gives each node a register whose state can be taken. Those of the nodes that run are in the map.
func kept(o clusterOptions) (clusterOptions, map[codec.NodeID]*keptRegister) {
	machines := map[codec.NodeID]*keptRegister{}
	o.machine = func(id codec.NodeID) (StateMachine, *register) {
		sm := &keptRegister{register: register{changed: make(chan struct{})}}
		machines[id] = sm
		return sm, &sm.register
	}
	return o, machines
}

// quiet lets a node take snapshots only when it is told to, and keep no entries behind them.
func quiet(cfg *Config) {
	calm(cfg)
	cfg.Snapshot = SnapshotPolicy{Bytes: -1}
	cfg.Keep = LogKeep{Entries: -1}
}

func (c *cluster) snapshot(id codec.NodeID) codec.LogID {
	c.t.Helper()
	at, err := c.nodes[id].Trigger().Snapshot(c.t.Context())
	if err != nil {
		c.t.Fatalf("snapshot of node %d: %v", id, err)
	}
	return at
}

func TestSnapshotPurgesAndRestartsFromIt(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			t.Parallel()
			o, machines := kept(clusterOptions{nodes: nodes, tcp: true, adjust: quiet})
			c := startCluster(t, o)
			for n := range 50 {
				c.propose(fmt.Sprint(n))
			}
			c.agree(50)
			for id := range c.cfgs {
				at := c.snapshot(id)
				m := c.nodes[id].Metrics()
				if m.Snapshots.Newest != at || m.Snapshots.Purged != at || m.Snapshots.Taken != 1 || at.Index < 50 {
					t.Fatalf("node %d took a snapshot of %v: %+v", id, at, m.Snapshots)
				}
				if again := c.snapshot(id); again != at || c.nodes[id].Metrics().Snapshots.Taken != 1 {
					t.Fatalf("node %d took another snapshot of %v where nothing was applied", id, again)
				}
				_, err := readAll(t.Context(), c.nodes[id], 1, 0)
				var purged *PurgedError
				if !errors.As(err, &purged) || purged.First != at.Index+1 || !errors.Is(err, ErrPurged) {
					t.Fatalf("ReadLog from 1: %v, want a PurgedError from %d", err, at.Index+1)
				}
			}
			c.propose("behind")
			c.agree(51)
			for id := range c.cfgs {
				c.close(id)
			}
			for id := range c.cfgs {
				c.open(id)
			}
			c.propose("after the restart")
			c.agree(52)
			for id, sm := range machines {
				if sm.restores != 1 {
					t.Errorf("node %d restored %d states, want 1", id, sm.restores)
				}
			}
		})
	}
}

func TestSnapshotErrors(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true, adjust: func(cfg *Config) {
		quiet(cfg)
		cfg.Witness = cfg.NodeID == 3
	}})
	c.propose("x")
	for _, id := range []codec.NodeID{1, 3} {
		if _, err := c.nodes[id].Trigger().Snapshot(t.Context()); !errors.Is(err, ErrNotSnapshotter) {
			t.Errorf("snapshot of node %d: %v, want %v", id, err, ErrNotSnapshotter)
		}
	}
	if err := c.nodes[1].Trigger().Purge(t.Context(), 1); !errors.Is(err, ErrNothingToPurge) || !strings.Contains(err.Error(), "up to 1 were asked for") {
		t.Errorf("purge without a snapshot: %v, want %v", err, ErrNothingToPurge)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.nodes[1].Trigger().Snapshot(cancelled); !errors.Is(err, context.Canceled) {
		t.Errorf("snapshot with an ended context: %v", err)
	}
	stopped := c.nodes[2]
	c.close(2)
	if _, err := stopped.Trigger().Snapshot(t.Context()); !errors.Is(err, ErrStopped) {
		t.Errorf("snapshot of a closed node: %v, want %v", err, ErrStopped)
	}
	if err := stopped.Trigger().Purge(t.Context(), 1); !errors.Is(err, ErrStopped) {
		t.Errorf("purge of a closed node: %v, want %v", err, ErrStopped)
	}
}

// TestPurgedLogNeedsItsSnapshots: a state machine that can't take them would lack what was purged.
func TestPurgedLogNeedsItsSnapshots(t *testing.T) {
	o, _ := kept(clusterOptions{nodes: 1, tcp: true, adjust: quiet})
	c := startCluster(t, o)
	c.propose("x")
	c.snapshot(1)
	until(t, "the log to be purged", func() bool { return !c.nodes[1].Metrics().Snapshots.Purged.IsZero() })
	c.close(1)
	_, err := Open(c.cfgs[1], newRegister())
	must(t, err, "ErrNotSnapshotter", FateNotDone)
	if !strings.Contains(err.Error(), "the log begins behind") {
		t.Errorf("%v, want it to say what is missing", err)
	}
	c.open(1)
	c.propose("y")
	c.wantStates("x", "y")
}
