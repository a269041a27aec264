package engine

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/codec"
)

func (s *diskRegister) Snapshot() (SnapshotSource, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.ids)
	return &registerSource{&keptRegister{}, registerState{s.ids[:n:n], s.datas[:n:n], s.hashes[:n:n]}}, nil
}

// Restore is durable when it returns: the state and what it holds change together.
func (s *diskRegister) Restore(r io.Reader) error {
	state, err := readRegister(r)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	s.ids, s.datas, s.hashes = state.IDs, state.Datas, state.Hashes
	s.disk.ids, s.disk.datas, s.disk.hashes = slices.Clone(s.ids), slices.Clone(s.datas), slices.Clone(s.hashes)
	s.last = codec.LogID{}
	if n := len(s.ids); n > 0 {
		s.last = s.ids[n-1]
	}
	s.disk.restores++
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

// TestOnDiskSnapshotHoldsNoState: what is kept of it is where the log may begin and the sessions.
func TestOnDiskSnapshotHoldsNoState(t *testing.T) {
	o, disks := onDisks(clusterOptions{nodes: 3, adjust: quiet})
	c := startCluster(t, o)
	for n := range 20 {
		c.propose(fmt.Sprint(n))
	}
	c.agree(20)
	for id := range c.cfgs {
		at := c.snapshot(id)
		info, ok := c.nodes[id].loop.keeper.store.Newest()
		if !ok || !info.Stateless || info.StateBytes != 0 || info.Base.ID != at {
			t.Fatalf("node %d: newest snapshot %+v, want one of %v without a state", id, info, at)
		}
		if m := c.nodes[id].Metrics().Snapshots; m.Purged != at {
			t.Fatalf("node %d: purged up to %v, want %v", id, m.Purged, at)
		}
		if n := len(disks[id].datas); n != 20 {
			t.Fatalf("node %d: %d entries are durable, want 20", id, n)
		}
	}
	c.propose("behind") // not durable in the state machine, but in the log
	c.agree(21)
	for id := range c.cfgs {
		c.close(id)
	}
	for id := range c.cfgs {
		c.open(id)
	}
	c.propose("after the restart")
	c.agree(22)
	for id, disk := range disks {
		if disk.restores != 0 {
			t.Errorf("node %d: %d states were restored, want none", id, disk.restores)
		}
	}
}

// TestOnDiskThatLostItsState replays the log where that still begins with the first entry, and does not start where entries
// are purged and nobody could send them.
func TestOnDiskThatLostItsState(t *testing.T) {
	o, disks := onDisks(clusterOptions{nodes: 1, tcp: true, adjust: func(cfg *Config) { quiet(cfg); cfg.Keep = LogKeep{Entries: 1000} }})
	c := startCluster(t, o)
	for n := range 20 {
		c.propose(fmt.Sprint(n))
	}
	c.snapshot(1)
	c.close(1)
	delete(disks, 1)
	c.open(1)
	c.propose("x")
	c.agree(21)
	c.snapshot(1)
	if err := c.nodes[1].Trigger().Purge(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	c.close(1)
	delete(disks, 1)
	sm, _ := o.machine(1)
	if _, err := Open(c.cfgs[1], sm); !errors.Is(err, codec.ErrCorrupt) || !strings.Contains(err.Error(), "no other voter could send one") {
		t.Fatalf("after its state was lost: %v, want what is missing", err)
	}
}
