package crash

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/wal/snapshot"
	"github.com/millrace/millrace/wal/vfs"
)

// keptMachine is a machine whose state can be taken and given.
type keptMachine struct{ *machine }

// machineState is what it writes.
type machineState struct {
	Puts []byte // a report of each
	Last map[uint64]uint64
}

func (m keptMachine) Snapshot() (engine.SnapshotSource, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := machineState{Last: map[uint64]uint64{}}
	for id, at := range m.at {
		s.Puts = appendReport(s.Puts, report{reportAcked, id, at})
	}
	for client, serial := range m.last {
		s.Last[client] = serial
	}
	return &s, nil
}

func (s *machineState) WriteTo(w io.Writer) (int64, error) {
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(s); err != nil {
		return 0, err
	}
	return b.WriteTo(w)
}

func (s *machineState) Close() error { return nil }

func (m keptMachine) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	var s machineState
	if err := gob.NewDecoder(bytes.NewReader(b)).Decode(&s); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at, m.last = map[identity]codec.LogID{}, s.Last
	for ; len(s.Puts) > 0; s.Puts = s.Puts[reportBytes:] {
		r := readReport(s.Puts)
		m.at[r.id] = r.at
	}
	close(m.changed)
	m.changed = make(chan struct{})
	return nil
}

const snapshotDir = "/snapshots"

// keep makes a node of a grid keep snapshots on its disk, small ones in many pieces.
func (g *grid) keep(i int, cfg *engine.Config) {
	cfg.SnapshotFS, cfg.SnapshotDir = g.disks[i], snapshotDir
	cfg.SnapshotChunkBytes, cfg.SnapshotWindowBytes = 1<<10, 4<<10
	cfg.Snapshot, cfg.Keep = g.policy, g.kept
}

// checkKept checks that what a cut has left of a disk is a state to start from: an intact snapshot that reaches the log's
// beginning, or a log from the first entry on (S1).
func checkKept(node codec.NodeID, disk *vfs.Mem) error {
	l, err := readLog(node, disk)
	if err != nil {
		return err
	}
	if _, err := disk.Stat(snapshotDir + "/1"); err != nil && l.state.Base.ID.IsZero() {
		return nil
	}
	store, err := snapshot.Open(snapshot.Config{FS: disk.Crash(vfs.KeepAll()), Dir: snapshotDir + "/1", Cluster: clusterID, Group: group})
	if err != nil {
		return err
	}
	for _, info := range store.List() {
		if err := store.Verify(info); err != nil {
			return fmt.Errorf("snapshot of %v: %w", info.Base.ID, err)
		}
	}
	newest, _ := store.Newest()
	if newest.Base.ID.Index < l.state.Base.ID.Index {
		return fmt.Errorf("the log begins behind %v, and the newest snapshot is of %v", l.state.Base.ID, newest.Base.ID)
	}
	return store.Close()
}

// TestPowerCutWithSnapshots cuts the power under load while nodes take snapshots, purge their logs, and fill up those that
// were away too long.
func TestPowerCutWithSnapshots(t *testing.T) {
	seed := newSeed(t)
	synctest.Test(t, func(t *testing.T) {
		g := newGrid(seed)
		g.keeps, g.policy, g.kept = true, engine.SnapshotPolicy{Entries: 40}, engine.LogKeep{Entries: 10}
		g.underLoad(t, seed, func(ctx context.Context) error {
			for n := range rounds(40, 8) {
				if err := g.round(ctx); err != nil {
					return fmt.Errorf("seed %d, round %d: %w", seed, n+1, err)
				}
			}
			return nil
		})
		acked, _ := g.book.counts()
		t.Logf("%d power cuts, %d of them while a node was opened; %d took %d bytes; %d snapshots taken, %d installed; %d puts acknowledged",
			g.cuts, g.repairs, g.takers, g.taken, g.snapshots, g.installs, acked)
		if g.snapshots == 0 || g.installs == 0 {
			t.Errorf("too little happened: %d snapshots were taken, %d installed", g.snapshots, g.installs)
		}
	})
}

// TestPowerCutAtEachStepOfAnInstall cuts the power of a node that is sent a snapshot before each operation of its disk in turn,
// from its opening to when it has caught up.
func TestPowerCutAtEachStepOfAnInstall(t *testing.T) {
	seed := newSeed(t)
	cuts, stride := 0, 1
	if testing.Short() {
		stride = 7
	}
	for step := 1; ; step += stride {
		cut := false
		synctest.Test(t, func(t *testing.T) {
			var err error
			if cut, err = installWithCut(t.Context(), seed, step); err != nil {
				t.Fatalf("seed %d, cut before operation %d: %v", seed, step, err)
			}
		})
		if t.Failed() {
			return
		}
		if !cut {
			break
		}
		cuts++
	}
	t.Logf("%d cuts", cuts)
	if cuts < 25/stride {
		t.Errorf("%d cuts, want one for each operation of an install", cuts)
	}
}

// installWithCut lets a node be sent a snapshot and cuts its power before an operation. It reports whether there was one.
func installWithCut(ctx context.Context, seed uint64, step int) (cut bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	g := newGrid(seed)
	g.keeps, g.policy, g.kept = true, engine.SnapshotPolicy{Bytes: -1}, engine.LogKeep{Entries: -1}
	defer func() { err = g.end(err) }()
	if err := g.found(ctx); err != nil {
		return false, err
	}
	put := func(from, to uint64) error {
		for serial := from; serial <= to; serial++ {
			if err := putUntil(ctx, &g.seats, g.book, identity{1, serial}); err != nil {
				return err
			}
		}
		return nil
	}
	if err := put(1, 10); err != nil {
		return false, err
	}
	leader, err := g.seats.leader(ctx, 0)
	if err != nil {
		return false, err
	}
	away := int(leader.NodeID()) % 3
	if err := g.seats[away].Load().Close(); err != nil {
		return false, err
	}
	g.seats[away].Store(nil)
	if err := put(11, 300); err != nil {
		return false, err
	}
	for i := range g.seats {
		if n := g.seats[i].Load(); n != nil {
			if _, err := n.Trigger().Snapshot(ctx); err != nil {
				return false, err
			}
		}
	}
	g.insert(away, g.disks[away].mem)
	g.disks[away].cutAt(step)
	last := identity{1, 300}
	err = g.open(away)
	if err == nil {
		err = g.machines[away].awaitOr(ctx, last, g.disks[away].tripped)
	}
	if last.serial++; err == nil {
		if err = put(last.serial, last.serial); err == nil { // behind the snapshot
			err = g.machines[away].awaitOr(ctx, last, g.disks[away].tripped)
		}
	} else if errors.Is(err, errPowerOff) {
		last.serial--
	}
	if err != nil && !errors.Is(err, errPowerOff) {
		return false, err
	}
	g.disks[away].cutAt(0)
	select {
	case <-g.disks[away].tripped:
	default:
		return false, g.machines[away].await(ctx, last)
	}
	if err := g.stop(away); err != nil {
		return true, err
	}
	left, _, err := g.disks[away].afterCut(vfs.RandomCrash(seed + uint64(step)))
	if err != nil {
		return true, err
	}
	if err := checkKept(codec.NodeID(away+1), left); err != nil {
		return true, err
	}
	for range 2 { // with what the cut has left, and with what the node has made of it
		g.insert(away, left)
		if err := g.open(away); err != nil {
			return true, fmt.Errorf("after the cut: %w", err)
		}
		if err := g.machines[away].await(ctx, last); err != nil {
			return true, err
		}
		if err := g.machines[away].holds(g.book.promises()); err != nil {
			return true, err
		}
		if err := g.seats[away].Load().Close(); err != nil {
			return true, err
		}
		left = g.disks[away].mem
		left.Kill()
	}
	g.seats[away].Store(nil)
	return true, nil
}

// TestPowerCutAtEachStepOfASnapshot cuts the power before each operation in turn while a node takes a snapshot, purges its
// log behind it, and takes another one.
func TestPowerCutAtEachStepOfASnapshot(t *testing.T) {
	seed := newSeed(t)
	cuts := 0
	for step := 1; ; step++ {
		cut := false
		synctest.Test(t, func(t *testing.T) {
			var err error
			if cut, err = snapshotWithCut(t.Context(), seed, step); err != nil {
				t.Fatalf("seed %d, cut before operation %d: %v", seed, step, err)
			}
		})
		if t.Failed() {
			return
		}
		if !cut {
			break
		}
		cuts++
	}
	t.Logf("%d cuts", cuts)
	if cuts < 15 {
		t.Errorf("%d cuts, want one for each operation of two snapshots", cuts)
	}
}

func snapshotWithCut(ctx context.Context, seed uint64, step int) (cut bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	g := newGrid(seed)
	g.keeps, g.policy, g.kept = true, engine.SnapshotPolicy{Bytes: -1}, engine.LogKeep{Entries: -1}
	defer func() { err = g.end(err) }()
	if err := g.found(ctx); err != nil {
		return false, err
	}
	for serial := uint64(1); serial <= 30; serial++ {
		if err := putUntil(ctx, &g.seats, g.book, identity{1, serial}); err != nil {
			return false, err
		}
	}
	leader, err := g.seats.leader(ctx, 0)
	if err != nil {
		return false, err
	}
	hurt := int(leader.NodeID()) % 3
	node, last := g.seats[hurt].Load(), identity{1, 30}
	if err := g.machines[hurt].await(ctx, last); err != nil {
		return false, err
	}
	g.disks[hurt].cutAt(step)
	for n := range 2 {
		if _, err := node.Trigger().Snapshot(ctx); err != nil {
			break
		}
		last.serial++
		if err := putUntil(ctx, &g.seats, g.book, last); err != nil {
			return false, err
		}
		if err := g.machines[hurt].awaitOr(ctx, last, g.disks[hurt].tripped); err != nil {
			return false, fmt.Errorf("snapshot %d: %w", n, err)
		}
	}
	g.disks[hurt].cutAt(0)
	select {
	case <-g.disks[hurt].tripped:
	default:
		return false, nil
	}
	if err := g.stop(hurt); err != nil {
		return true, err
	}
	left, _, err := g.disks[hurt].afterCut(vfs.RandomCrash(seed + uint64(step)))
	if err != nil {
		return true, err
	}
	if err := checkKept(codec.NodeID(hurt+1), left); err != nil {
		return true, err
	}
	g.insert(hurt, left)
	if err := g.open(hurt); err != nil {
		return true, fmt.Errorf("after the cut: %w", err)
	}
	if err := g.machines[hurt].await(ctx, last); err != nil {
		return true, err
	}
	if _, err := g.seats[hurt].Load().Trigger().Snapshot(ctx); err != nil {
		return true, err
	}
	return true, g.machines[hurt].holds(g.book.promises())
}
