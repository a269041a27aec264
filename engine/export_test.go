package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/codec"
)

// Adopt makes a state of another cluster this one's.
func (s *adoptingRegister) Adopt(r io.Reader, at codec.LogID) error {
	if err := s.Restore(r); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	for i := range s.ids {
		s.ids[i] = at
	}
	s.disk.ids, s.last = slices.Clone(s.ids), at
	return nil
}

// adoptingRegister is a diskRegister that can take a state of another cluster.
type adoptingRegister struct{ *diskRegister }

func adopting(o clusterOptions) (clusterOptions, map[codec.NodeID]*registerDisk) {
	o, disks := onDisks(o)
	machine := o.machine
	o.machine = func(id codec.NodeID) (StateMachine, *register) {
		sm, r := machine(id)
		return &adoptingRegister{sm.(*diskRegister)}, r
	}
	return o, disks
}

func TestExportAndImport(t *testing.T) {
	for _, onDisk := range []bool{false, true} {
		t.Run(fmt.Sprintf("onDisk=%v", onDisk), func(t *testing.T) {
			t.Parallel()
			machines := func(o clusterOptions) clusterOptions {
				if onDisk {
					o, _ = adopting(o)
				} else {
					o, _ = kept(o)
				}
				return o
			}
			old := startCluster(t, machines(clusterOptions{nodes: 3, tcp: true, adjust: quiet}))
			for n := range 30 {
				old.propose(fmt.Sprint(n))
			}
			dir := filepath.Join(t.TempDir(), "export")
			follower := old.nodes[old.others(old.leader().NodeID())[0]]
			old.agree(30)
			at, err := follower.Export(t.Context(), dir)
			if err != nil || at.Index < 30 {
				t.Fatalf("Export: %v, %v", at, err)
			}
			if _, err := follower.Export(t.Context(), dir); !errors.Is(err, fs.ErrExist) {
				t.Fatalf("Export into a directory that is not empty: %v, want %v", err, fs.ErrExist)
			}
			e, err := OpenExport(dir)
			if err != nil {
				t.Fatal(err)
			}
			state, err := readRegister(e)
			if err != nil || len(state.Datas) != 30 || e.Info().Base.ID != at {
				t.Fatalf("the export holds %d entries up to %v, %v", len(state.Datas), e.Info().Base.ID, err)
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}

			// A new cluster of another name: two of three are prepared, the third gets the state from the leader.
			c := newCluster(t, machines(clusterOptions{nodes: 3, tcp: true, adjust: func(cfg *Config) { quiet(cfg); cfg.ClusterID = "new" }}))
			var members []codec.Node
			for id := codec.NodeID(1); id <= 3; id++ { // to get addresses
				members = append(members, c.add(id))
				c.close(id)
				if err := os.RemoveAll(c.cfgs[id].Dir); err != nil {
					t.Fatal(err)
				}
			}
			c.kind.machine = machines(clusterOptions{}).machine
			m := codec.NewMembership(codec.OneLeaderPerTerm, members...)
			for id := codec.NodeID(1); id <= 2; id++ {
				if err := Import(c.cfgs[id], dir, m); err != nil {
					t.Fatal(err)
				}
				if err := Import(c.cfgs[id], dir, m); !errors.Is(err, fs.ErrExist) {
					t.Fatalf("a second import: %v, want %v", err, fs.ErrExist)
				}
			}
			for id := range c.cfgs {
				c.open(id)
			}
			if r := c.propose("new"); string(r.Data) != "31" || r.LogID.Index < 2 || r.LogID.Index > 10 {
				t.Fatalf("the first entry is %v, number %s", r.LogID, r.Data)
			}
			for id, datas := range c.states() {
				if len(datas) != 31 || datas[29] != "29" || datas[30] != "new" {
					t.Fatalf("node %d holds %d entries: %q", id, len(datas), datas)
				}
			}
			for id := range c.cfgs {
				c.close(id)
			}
			for id := range c.cfgs {
				c.open(id)
			}
			c.propose("after the restart")
			for id := range c.cfgs {
				c.sms[id].await(t, 32)
				c.snapshot(id)
			}
			if err := c.nodes[1].Initialize(t.Context(), m); !errors.Is(err, ErrInitialized) {
				t.Fatalf("Initialize: %v, want %v", err, ErrInitialized)
			}
		})
	}
}

func TestImportRefusals(t *testing.T) {
	o, _ := kept(clusterOptions{nodes: 1, memory: true, adjust: quiet})
	c := startCluster(t, o)
	c.propose("x")
	dir := filepath.Join(t.TempDir(), "export")
	if _, err := c.nodes[1].Export(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	cfg := Config{NodeID: 1, ClusterID: "new", Dir: filepath.Join(t.TempDir(), "data"), Listen: "127.0.0.1:0"}
	m := codec.NewMembership(codec.OneLeaderPerTerm, codec.Node{ID: 1, Address: "127.0.0.1:1"})
	for _, bad := range []struct {
		change func(*Config, *codec.Membership, *string)
		want   string
	}{
		{func(c *Config, _ *codec.Membership, _ *string) { c.NodeID = 0 }, "NodeID is 0"},
		{func(c *Config, _ *codec.Membership, _ *string) { c.Log, c.Dir = MemoryLog(), "" }, `Dir is ""`},
		{func(c *Config, _ *codec.Membership, _ *string) { c.Witness = true }, "Witness is true"},
		{func(c *Config, _ *codec.Membership, _ *string) { c.NodeID = 2 }, "node 2 is not among its voters"},
		{func(_ *Config, m *codec.Membership, _ *string) { m.Nodes = nil }, ErrMembership.Error()},
		{func(_ *Config, _ *codec.Membership, d *string) { *d = t.TempDir() }, "no such file"},
		{func(c *Config, _ *codec.Membership, d *string) { c.SnapshotDir = *d }, "want an empty directory"},
	} {
		cfg, m, dir := cfg, m.Clone(), dir
		bad.change(&cfg, &m, &dir)
		if err := Import(cfg, dir, m); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("Import: %v, want %q", err, bad.want)
		}
	}
	state := filepath.Join(dir, "state.snapshot")
	b, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(state, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Import(cfg, dir, m); !errors.Is(err, codec.ErrCorrupt) {
		t.Errorf("Import of a damaged export: %v, want %v", err, codec.ErrCorrupt)
	}
	if _, err := OpenExport(dir); !errors.Is(err, codec.ErrCorrupt) {
		t.Errorf("OpenExport of a damaged export: %v, want %v", err, codec.ErrCorrupt)
	}
}

func TestExportEnds(t *testing.T) {
	o, _ := kept(clusterOptions{nodes: 1, memory: true, adjust: quiet})
	c := startCluster(t, o)
	c.propose("x")
	c.snapshot(1)
	ctx, cancel := context.WithCancel(t.Context())
	fsys := &endingFS{FS: c.nodes[1].loop.keeper.collector.fs, ctx: ctx, done: c.nodes[1].done, stopped: c.nodes[1].stopped}
	info, _ := c.nodes[1].loop.keeper.store.Newest()
	cancel()
	if err := c.nodes[1].loop.keeper.store.Export(info, fsys, "/cancelled"); !errors.Is(err, context.Canceled) {
		t.Errorf("Export with an ended context: %v", err)
	}
	node := c.nodes[1]
	if _, err := node.Export(ctx, filepath.Join(t.TempDir(), "a")); !errors.Is(err, context.Canceled) {
		t.Errorf("Export with an ended context: %v", err)
	}
	c.close(1)
	if _, err := node.Export(t.Context(), filepath.Join(t.TempDir(), "b")); !errors.Is(err, ErrStopped) {
		t.Errorf("Export of a closed node: %v, want %v", err, ErrStopped)
	}
}

// TestRestoreOverAnOnDiskStateMachine: it keeps the id of the entry that replaced its state.
func TestRestoreOverAnOnDiskStateMachine(t *testing.T) {
	o, disks := adopting(clusterOptions{nodes: 3, adjust: quiet})
	c := startCluster(t, o)
	c.propose("old")
	at, err := c.leader().Restore(t.Context(), strings.NewReader(string(foreign(t, "new"))))
	if err != nil {
		t.Fatal(err)
	}
	c.propose("behind")
	c.wantStates("new", "behind")
	for id := range c.cfgs {
		if disks[id].ids[0] != at {
			t.Fatalf("node %d: the state is as of %v, want %v", id, disks[id].ids[0], at)
		}
		c.close(id)
	}
	for id := range c.cfgs {
		c.open(id)
	}
	c.propose("after the restart")
	c.wantStates("new", "behind", "after the restart")
}
