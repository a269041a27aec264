package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"golang.org/x/time/rate"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/shipment"
	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/wal/snapshot"
	"github.com/millrace/millrace/wal/vfs"
)

// snapshotFolder is the directory of the snapshots in a node's own, and snapshotLock what keeps two nodes from using one
// that is elsewhere.
const (
	snapshotFolder = "snapshot"
	snapshotLock   = "LOCK"
)

// newKeeper opens the store of a node's snapshots.
func newKeeper(l *loop, sm StateMachine) (*keeper, error) {
	k := &keeper{l: l, sizes: newLogSizes(), sends: map[codec.NodeID]*sending{}, restoring: map[restoreToken]bool{}}
	_, k.adopts = sm.(Adopter)
	k.ending, k.end = context.WithCancelCause(context.Background())
	k.limit, k.writeLimit = limiter(l.cfg.SnapshotBytesPerSecond, l.cfg), limiter(l.cfg.SnapshotWriteBytesPerSecond, l.cfg)
	if _, ok := sm.(Snapshotter); ok {
		if err := k.openStore(); err != nil {
			return nil, err
		}
	}
	if k.store != nil || l.cfg.Witness {
		k.receiver = shipment.NewReceiver(shipment.ReceiverConfig{
			Store: k.store, QueueBytesMax: 4 * l.cfg.SnapshotWindowBytes, Send: k.send, Complete: k.complete, Logger: l.logs.snapshots,
		})
	}
	return k, nil
}

// limiter returns what lets so many bytes pass in a second, nil where that is below 0. A twentieth of them, or one chunk,
// may pass at once.
func limiter(bytesPerSecond int, cfg *Config) *rate.Limiter {
	if bytesPerSecond < 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(bytesPerSecond), max(cfg.SnapshotChunkBytes, bytesPerSecond/20))
}

// mustHoldNone refuses to open a node beside its snapshots: without what they hold, as after an import, it would begin
// another history.
func (k *keeper) mustHoldNone(sm StateMachine) error {
	fs, dir := k.l.cfg.snapshotPlace()
	if dir == "" {
		return nil
	}
	dir = filepath.Join(dir, fmt.Sprint(theGroup))
	if err := mustBeEmpty(fs, dir); err != nil {
		return fmt.Errorf("the state machine %T is %w: %w", sm, ErrNotSnapshotter, err)
	}
	return nil
}

// snapshotPlace returns where snapshots are kept; "" for in memory.
func (c *Config) snapshotPlace() (vfs.FS, string) {
	fs, dir := c.SnapshotFS, c.SnapshotDir
	if fs == nil {
		fs = vfs.OS{}
	}
	if dir == "" && c.Dir != "" {
		dir = filepath.Join(c.Dir, snapshotFolder)
	}
	return fs, dir
}

// openStore opens the directory of the group's snapshots. One below the log's is locked with that.
func (k *keeper) openStore() error {
	cfg := k.l.cfg
	fs, dir := cfg.snapshotPlace()
	switch {
	case cfg.SnapshotDir != "":
		if err := vfs.MkdirAll(fs, dir, 0o700); err != nil {
			return err
		}
		lock, err := fs.Lock(filepath.Join(dir, snapshotLock), 0o600)
		if err != nil {
			return err
		}
		k.unlock = lock.Close
	case dir == "":
		fs, dir = vfs.NewVolatile(), "/"+snapshotFolder
	}
	var err error
	dir = filepath.Join(dir, fmt.Sprint(theGroup))
	k.collector = &collector{fs: fs, dir: dir, changed: k.l.box.signal}
	k.store, err = snapshot.Open(snapshot.Config{
		FS: fs, Dir: dir, Cluster: cfg.ClusterID, Group: theGroup, Keep: cfg.SnapshotsKept,
		Compression: cfg.SnapshotCompression, ChunkBytes: cfg.SnapshotChunkBytes, Logger: k.l.logs.snapshots,
	})
	if err != nil && k.unlock != nil {
		err = errors.Join(err, k.unlock())
	}
	return err
}

// begin is where a node starts from.
type beginning struct {
	start pipeline.ApplierStart
	info  snapshot.Info // that start.Base is of; zero for none
	// restore says that the state machine is to be given the state in it.
	restore bool
}

// pick chooses what the node starts from: the newest snapshot that is intact, as long as the log begins at or before its
// end. Where the log begins behind every one of them there is none, and the node waits for a snapshot from its leader. One
// that is damaged is moved aside.
func (k *keeper) pick(sm StateMachine, base codec.LogBase) (beginning, error) {
	var b beginning
	disk, onDisk := sm.(OnDisk)
	if onDisk {
		k.l.onDisk = true
		var err error
		if b.start.Held, err = pipeline.AskApplied(disk); err != nil {
			return b, err
		}
	}
	if k.store == nil {
		switch {
		case k.l.cfg.Witness:
			return b, nil
		case !base.ID.IsZero():
			return b, fmt.Errorf("the log begins behind %v, and the state machine %T is %w", base.ID, sm, ErrNotSnapshotter)
		}
		return b, k.mustHoldNone(sm)
	}
	for _, info := range k.store.List() {
		if info.Base.ID.Index < base.ID.Index {
			break
		}
		usable, err := k.try(&b, info, onDisk)
		if errors.Is(err, codec.ErrCorrupt) {
			k.l.logs.snapshots.Error("snapshot is damaged, and not started from", "entry", info.Base.ID, "err", err)
			err = k.store.SetAside(info, err)
		}
		if err != nil || usable {
			return b, err
		}
	}
	return b, nil
}

// checkReach refuses to open a node that needs a snapshot which nobody can send it.
func (l *loop) checkReach(base codec.LogID) error {
	m := l.core.Membership()
	if m == nil || !l.core.Status().WantsSnapshot || !m.IsVoter(l.cfg.NodeID) {
		return nil
	}
	for _, n := range m.Nodes {
		if n.ID != l.cfg.NodeID && m.IsVoter(n.ID) {
			return nil
		}
	}
	return fmt.Errorf("node %d: its log begins behind %v, no intact snapshot reaches there, and no other voter could send one; "+
		"put a good snapshot file back, or import an export into an empty directory: %w", l.cfg.NodeID, base, codec.ErrCorrupt)
}

// try looks whether the node can start from a snapshot. A state machine that keeps its own state may hold more, and is given
// the one in the file only where it holds less; without a state in the file it must hold what the file was made with.
func (k *keeper) try(b *beginning, info snapshot.Info, onDisk bool) (usable bool, err error) {
	if err := k.store.Verify(info); err != nil {
		return false, err
	}
	sessions, err := k.sessions(info)
	if err != nil {
		return false, err
	}
	restore := !onDisk
	if onDisk {
		given, err := pipeline.SessionsGiven(sessions)
		if err != nil {
			return false, err
		}
		restore = b.start.Held.Compare(given) < 0
	}
	if onDisk && !info.Stateless && b.start.Held.IsZero() {
		restore = true // as of an import, whose sessions are empty
	}
	if restore && info.Stateless {
		k.l.logs.snapshots.Error("state machine lost what it had made durable", "held", b.start.Held, "snapshot", info.Base.ID)
		return false, nil
	}
	b.info, b.restore = info, restore
	b.start.Base, b.start.Sessions = info.Base, sessions
	return true, nil
}

// sessions reads the session table in a snapshot.
func (k *keeper) sessions(info snapshot.Info) ([]byte, error) {
	r, err := k.store.Open(info)
	if err != nil {
		return nil, err
	}
	sessions := r.Sessions()
	return sessions, r.Close()
}

// start makes the applier begin where pick has chosen, and notes what the log holds. The state is restored on the applier's
// goroutine: a node votes and takes entries while it reads gigabytes.
func (k *keeper) start(sm StateMachine, b *beginning, frames []codec.FrameMeta) error {
	from := b.start
	if b.restore {
		from = pipeline.ApplierStart{}
	}
	if k.collector != nil {
		from.Collector = k.collector
	}
	if err := k.l.startApplier(sm, from); err != nil {
		return err
	}
	base := b.start.Base
	for i := range frames {
		if frames[i].Last() <= base.ID.Index {
			k.sizes.add(frames[i].Last(), frames[i].Size)
		}
	}
	if b.info.Size == 0 {
		return nil
	}
	k.sizes.mark()
	k.newest, k.marked = b.info, k.sizes.total()
	for _, info := range k.store.List() {
		if !info.Stateless {
			k.full = info.Size
			break
		}
	}
	if b.restore {
		k.restore(b.info, b.start.Sessions)
	}
	return nil
}

// restore makes the applier replace the state by that of a snapshot and go on behind it.
func (k *keeper) restore(info snapshot.Info, sessions []byte) {
	k.installing = true
	k.restoreBytes = info.StateBytes
	k.restored.Store(0)
	k.l.logs.snapshots.Info("state is being restored", "entry", info.Base.ID, "bytes", info.StateBytes)
	k.l.fed = info.Base.ID.Index
	k.l.applier.Restore(info.Base, sessions, func() (io.ReadCloser, error) {
		if k.ending.Err() != nil {
			k.cut.Store(true)
			return nil, context.Cause(k.ending)
		}
		if err := k.collector.drop(); err != nil {
			return nil, err
		}
		r, err := k.store.Open(info)
		if err != nil {
			return nil, err
		}
		return &restoring{r, k}, nil
	}, func(err error) {
		k.post(func(k *keeper) {
			k.installing = false
			if err == nil {
				k.l.logs.snapshots.Info("state restored", "entry", info.Base.ID, "bytes", info.Size)
				k.l.emit(StateRestored{Snapshot: info.Base.ID, Bytes: info.Size})
			}
		})
	})
}

// restoring is a state that the state machine reads; it counts the bytes, and ends with the node.
type restoring struct {
	io.ReadCloser
	k *keeper
}

func (r *restoring) Read(p []byte) (int, error) {
	if r.k.ending.Err() != nil {
		r.k.cut.Store(true)
		return 0, context.Cause(r.k.ending)
	}
	n, err := r.ReadCloser.Read(p)
	r.k.restored.Add(int64(n))
	return n, err
}
