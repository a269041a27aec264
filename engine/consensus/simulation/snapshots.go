package simulation

import (
	"errors"
	"math/rand/v2"
	"path"
	"syscall"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/wal/snapshot"
	"github.com/millrace/millrace/wal/vfs"
)

// snapshotFolder is where a node keeps its snapshots.
const snapshotFolder = "data/snapshot"

// keeper is what a node has to do with its own snapshots.
type keeper struct {
	store *snapshot.Store
	keep  codec.Index // how many entries stay in the log behind the newest
	// write, when not nil, writes the one that was captured; told the index of the last one that the core was told of.
	write func() error
	told  codec.Index
	// durable is the index of the newest snapshot that is whole and durable, whatever comes. It outlives a life.
	durable codec.Index
	rotten  map[codec.SnapshotHash]bool // those that were damaged on purpose
}

// kept returns the index up to which a node has promised nobody any more to hold entries, since it has their effect: that
// of its newest durable snapshot. A witness has no state to keep.
func (n *node) kept() codec.Index {
	if n.witness() {
		return n.out.Commit
	}
	return n.snaps.durable
}

// witness reports whether a running node is a witness by the membership it knows.
func (n *node) witness() bool {
	m := n.core.Membership()
	return m != nil && isWitness(m, n.id)
}

// openStore opens a node's snapshots before a life begins. It returns false where the disk or the power fails.
func (n *node) openStore(fs vfs.FS) bool {
	store, err := snapshot.Open(snapshot.Config{
		FS: fs, Dir: snapshotFolder, Cluster: "simulation", Group: group, ChunkBytes: snapshot.ChunkBytesMin, Compression: n.s.shape.compression,
	})
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EIO):
		return false
	case err != nil:
		n.s.violate("node %d can't open its snapshots: %v", n.id, err)
		return false
	}
	n.snaps.store, n.snaps.write, n.snaps.told = store, nil, 0
	return true
}

// newest returns the newest snapshot that is intact, as package engine looks for it when a node starts. Damaged ones are set
// aside.
func (n *node) newest() (snapshot.Info, bool, error) {
	for {
		info, ok := n.snaps.store.Newest()
		if !ok {
			return info, false, nil
		}
		err := n.snaps.store.Verify(info)
		if err == nil {
			return info, true, nil
		}
		if !errors.Is(err, codec.ErrCorrupt) {
			return info, false, err
		}
		if err := n.snaps.store.SetAside(info, err); err != nil {
			return info, false, err
		}
	}
}

// startFrom fills in the snapshot that a life starts from, and gives its state to the state machine. It returns an error of
// the disk.
func (n *node) startFrom(st *codec.LogState, from *pipeline.ApplierStart) error {
	info, ok, err := n.newest()
	if err != nil {
		return err
	}
	have := codec.Index(0)
	if ok {
		have = info.Base.ID.Index
	}
	if have < n.snaps.durable && !n.ailing {
		n.s.violate("node %d finds a snapshot up to %d, one up to %d was durable", n.id, have, n.snaps.durable)
	}
	n.ailing = n.ailing && have < st.Base.ID.Index
	n.snaps.durable = have
	if !ok || have < st.Base.ID.Index {
		if n.partial = st.Base.ID.Index > 0 && !n.ailing; n.partial {
			n.fed = st.Base.ID.Index // a witness purges what is committed, and has no snapshots
		}
		return nil
	}
	st.Snapshot = info.Base
	from.Base = info.Base
	if from.Sessions, err = n.restore(info); err != nil {
		return err
	}
	n.fed = have
	n.s.check.restored(n, info.Base.ID)
	return nil
}

// restore gives the state machine the state of a snapshot, and returns the sessions in it.
func (n *node) restore(info snapshot.Info) (sessions []byte, err error) {
	r, err := n.snaps.store.Open(info)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return r.Sessions(), n.machine.Restore(r)
}

// takeSnapshot begins one where enough was applied since the last.
func (n *node) takeSnapshot() {
	k := &n.snaps
	if k.write == nil && n.appliedTo() >= max(k.durable, k.told)+n.s.shape.snapshotEvery {
		n.snapshotNow()
	}
}

// snapshotNow captures the state at the applier's next turn, and writes it a while later.
func (n *node) snapshotNow() {
	if n.partial || n.witness() || n.status.WantsSnapshot || n.appliedTo() == 0 {
		return
	}
	k := &n.snaps
	k.write = func() error { return nil } // one at a time
	life := n.life
	n.applier.Capture(func(c pipeline.Captured, err error) {
		if err != nil {
			n.s.violate("node %d can't capture its state: %v", n.id, err)
			return
		}
		n.s.check.names(n, &c.Base)
		k.write = func() error { return n.keep(&c) }
		n.s.after(n.disk.latency(n.s.net.disk), func() {
			if n.life != life || !n.up {
				return
			}
			write := k.write
			k.write = nil
			n.s.note(32, uint64(n.id), uint64(c.Base.ID.Index))
			if err := write(); err != nil {
				n.diskFailed("write a snapshot", err)
				return
			}
			n.s.snapshots++
			n.ailing = false
			n.box.snapshots = append(n.box.snapshots, c.Base.ID)
			n.wake()
		})
	})
	n.applyLater()
}

// keep writes a snapshot and makes it durable.
func (n *node) keep(c *pipeline.Captured) error {
	w, err := n.snaps.store.Create(snapshot.Meta{Base: c.Base, Sessions: c.Sessions})
	if err != nil {
		return err
	}
	if _, err := c.Source.WriteTo(w); err != nil {
		return err
	}
	if _, err := w.Commit(); err != nil {
		return err
	}
	n.isDurable(c.Base.ID.Index)
	return nil
}

// isDurable notes that a snapshot is whole and durable, unless the power went while it was made so.
func (n *node) isDurable(i codec.Index) {
	if n.disk.cut == nil {
		n.snaps.durable = max(n.snaps.durable, i)
	}
}

// diskFailed takes an error of the disk outside of the log: what was to be done is done another time.
func (n *node) diskFailed(what string, err error) {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EIO) {
		n.s.violate("node %d can't %s: %v", n.id, what, err)
		return
	}
	n.s.tracef("node %d can't %s: %v", n.id, what, err)
}

// tellSnapshots tells the core of new snapshots, and purges what the shape says is not kept.
func (n *node) tellSnapshots() {
	taken := n.box.snapshots
	n.box.snapshots = nil
	for _, id := range taken {
		if !n.alive() || id.Index <= n.snaps.told {
			continue
		}
		n.snaps.told = id.Index
		n.step(consensus.Input{Kind: consensus.InputSnapshot, Log: id})
		if n.status.Role == consensus.Leader || n.status.LastLog.Index == n.out.Commit || n.rng.IntN(2) == 0 {
			n.purge()
		}
	}
	if n.untidy {
		n.untidy = false
		n.purge()
	}
}

// purge asks the core to remove what is not kept behind the newest snapshot.
func (n *node) purge() {
	switch keep := n.snaps.keep; {
	case !n.alive():
	case n.rng.IntN(4) == 0: // all that may go
		n.step(consensus.Input{Kind: consensus.InputPurge, Index: n.status.LastLog.Index})
	case n.snaps.told > keep:
		n.step(consensus.Input{Kind: consensus.InputPurge, Index: n.snaps.told - keep})
	}
}

// tidy takes a snapshot when a leadership ends that has entries which are not committed, and purges what stands before them
// when the next leader is heard: the log writes them again then, while they are cut.
func (n *node) tidy(before *consensus.Status) {
	switch tail := n.status.LastLog.Index > n.out.Commit; {
	case !tail || !n.alive() || n.status.Role == consensus.Leader:
	case before.Role == consensus.Leader && n.snaps.write == nil:
		n.snapshotNow()
	case n.status.Vote != before.Vote && n.status.Vote.Committed:
		n.untidy = true
	}
}

// cutSnapshot lets a crash fall into the writing of a snapshot, if one is being written and nothing else was cut.
func (n *node) cutSnapshot(r *rand.Rand, power bool) {
	d, write := n.disk, n.snaps.write
	if write == nil || d.cut != nil || r.IntN(2) > 0 {
		return
	}
	d.armCut(r, 10)
	if power {
		d.cutHow.KeepBlock, d.cutHow.KeepName, d.cutHow.TornBlock = 1, 1, 0
	}
	if err := write(); err != nil {
		n.diskFailed("write a snapshot", err)
	}
}

// rotSnapshot flips a bit of a node's newest snapshot and reports whether there is one. The node finds out when it starts
// from it, or when a peer to which it sends it says so.
func (n *node) rotSnapshot(r *rand.Rand) bool {
	info, ok := n.snaps.store.Newest()
	if !ok || info.Base.ID.Index < n.snaps.durable {
		return false
	}
	names, err := n.disk.mem.ReadDir(snapshotFolder)
	if err != nil {
		return false
	}
	for i := len(names) - 1; i >= 0; i-- {
		name := path.Join(snapshotFolder, names[i])
		if stat, err := n.disk.mem.Stat(name); err == nil && stat.Size == info.Size && path.Ext(name) == ".snapshot" {
			n.ailing, n.snaps.rotten[info.Hash] = true, true
			n.s.tracef("a bit of the snapshot %s of node %d flips", name, n.id)
			return n.disk.mem.Flip(name, r.Int64N(stat.Size), 1<<r.IntN(8)) == nil
		}
	}
	return false
}
