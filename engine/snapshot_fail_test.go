package engine

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"

	"github.com/millrace/millrace/codec"
)

// TestStateThatCannotBeRestoredStopsTheNode, and the same snapshot serves when it is opened again: also for a state machine
// that keeps its own state and was left in the middle.
func TestStateThatCannotBeRestoredStopsTheNode(t *testing.T) {
	for _, onDisk := range []bool{false, true} {
		t.Run(fmt.Sprintf("onDisk=%v", onDisk), func(t *testing.T) {
			var failing atomic.Bool
			broken := errors.New("out of paper")
			o := clusterOptions{nodes: 3, tcp: true, adjust: quiet}
			if onDisk {
				o, _ = onDisks(o)
			} else {
				o, _ = kept(o)
			}
			machine := o.machine
			o.machine = func(id codec.NodeID) (StateMachine, *register) {
				sm, r := machine(id)
				if disk, ok := sm.(OnDisk); ok {
					return failingOnDisk{disk, &failing, broken}, r
				}
				return failingRestore{sm.(Snapshotter), &failing, broken}, r
			}
			c := startCluster(t, o)
			leader := c.leader().NodeID()
			away := c.others(leader)[0]
			c.propose("first")
			c.agree(1)
			c.close(away)
			c.fill(20)
			c.purge(leader)
			failing.Store(true)
			c.open(away)
			<-c.nodes[away].Done()
			var failed *StateMachineError
			if err := c.nodes[away].Err(); !errors.As(err, &failed) || failed.Call != "Restore" || !errors.Is(err, broken) {
				t.Fatalf("the node stops with %v, want that Restore failed with %v", err, broken)
			}
			delete(c.nodes, away)
			c.propose("meanwhile")
			failing.Store(false)
			c.open(away)
			c.agree(22)
			if m := c.nodes[away].Metrics().Snapshots; m.Installed != 0 || m.RestoredBytes == 0 {
				t.Fatalf("%+v, want the snapshot that came before it stopped", m)
			}
		})
	}
}

// failingRestore fails where it is told to.
type failingRestore struct {
	Snapshotter
	failing *atomic.Bool
	err     error
}

func (f failingRestore) Restore(r io.Reader) error {
	if f.failing.Load() {
		return f.err
	}
	return f.Snapshotter.Restore(r)
}

type failingOnDisk struct {
	OnDisk
	failing *atomic.Bool
	err     error
}

func (f failingOnDisk) Restore(r io.Reader) error {
	if f.failing.Load() {
		return f.err
	}
	return f.OnDisk.Restore(r)
}

// TestStateMachineThatFailsWhileSnapshotsMove ends the node with its senders, and with what it receives.
func TestStateMachineThatFailsWhileSnapshotsMove(t *testing.T) {
	o, machines := kept(clusterOptions{nodes: 3, tcp: true, adjust: func(cfg *Config) {
		quiet(cfg)
		cfg.SnapshotChunkBytes, cfg.SnapshotWindowBytes, cfg.SnapshotBytesPerSecond = 4<<10, 16<<10, 100<<10
	}})
	c := startCluster(t, o)
	leader := c.leader().NodeID()
	away, other := c.others(leader)[0], c.others(leader)[1]
	c.close(away)
	c.fill(60)
	c.purge(leader, other)
	c.open(away)
	until(t, "some of it", func() bool { return c.nodes[away].Metrics().Snapshots.Receiving.Held >= 8<<10 })
	machines[leader].register.mu.Lock()
	machines[leader].fail = errors.New("broken")
	machines[leader].register.mu.Unlock()
	if err := c.nodes[leader].ProposeAsync([]byte("x"), func(Result, error) {}); err != nil {
		t.Fatal(err)
	}
	<-c.nodes[leader].Done()
	if err := c.nodes[leader].Err(); !errors.As(err, new(*StateMachineError)) {
		t.Fatalf("the leader stops with %v", err)
	}
	delete(c.nodes, leader)
	c.open(leader)
	c.propose("all") // "x" may be committed or not
	n := len(c.states()[leader])
	c.agree(n)
}
