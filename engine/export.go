package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/netio"
	"github.com/millrace/millrace/wal/snapshot"
	"github.com/millrace/millrace/wal/vfs"
)

// Exported is the state in a directory that [Raft.Export] has written: Read gives it in the form in which the state machine
// has written it, Info and Cluster say what it is.
type Exported = snapshot.Reader

// Export writes the state as of everything that this node has applied into a directory, which is made if it does not exist
// and must be empty, and returns the log id of the last entry in it. It takes a snapshot first where something was applied
// since the newest one; an on-disk state machine writes its whole state then. What is written is verified and durable when
// Export returns. It may be called on any node; on one that lags, the state is that much older.
//
// [Import] makes a new cluster of it, [OpenExport] reads it. Errors: as [Trigger.Snapshot]; one that wraps [fs.ErrExist]
// for a directory that is not empty; that of the disk. A snapshot that does not verify is set aside, and another one
// taken. After an error the directory holds no export, but may hold a part of one.
func (r *Raft) Export(ctx context.Context, dir string) (codec.LogID, error) {
	id, err := r.export(ctx, dir)
	return id, r.noted("state exported", err, "entry", id, "dir", dir)
}

func (r *Raft) export(ctx context.Context, dir string) (codec.LogID, error) {
	for {
		info, err := r.takeSnapshot(ctx, true)
		if err != nil {
			return codec.LogID{}, certainly(err)
		}
		err = r.loop.keeper.store.Export(info, &endingFS{FS: vfs.OS{}, ctx: ctx, done: r.done, stopped: r.stopped}, dir)
		switch keeper := r.loop.keeper; {
		case errors.Is(err, snapshot.ErrNotHeld):
			continue // newer ones took its place before it was opened
		case errors.Is(err, codec.ErrCorrupt):
			r.loop.logs.snapshots.Error("snapshot is damaged, and not exported", "entry", info.Base.ID, "err", err)
			if err = keeper.store.SetAside(info, err); err == nil || errors.Is(err, snapshot.ErrNotHeld) {
				continue // the state itself is well: another one is taken of it
			}
		}
		return info.Base.ID, err
	}
}

// endingFS is a file system in which writing ends with a context, or with the node.
type endingFS struct {
	vfs.FS
	ctx     context.Context
	done    <-chan struct{}
	stopped func() error
}

func (e *endingFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := e.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &endingFile{f, e}, nil
}

type endingFile struct {
	vfs.File
	fs *endingFS
}

func (e *endingFile) WriteAt(p []byte, at int64) (int, error) {
	select {
	case <-e.fs.ctx.Done():
		return 0, context.Cause(e.fs.ctx)
	case <-e.fs.done:
		return 0, e.fs.stopped()
	default:
		return e.File.WriteAt(p, at)
	}
}

// OpenExport opens what [Raft.Export] has written, of any cluster, after it has verified all of it. Errors: one that wraps
// [fs.ErrNotExist] for a directory that holds no export; [codec.ErrCorrupt], [codec.ErrVersion]; that of the disk.
func OpenExport(dir string) (*Exported, error) { return snapshot.OpenExport(vfs.OS{}, dir) }

// Import prepares the data directory of a node of a new cluster whose first state is one that was exported, from whatever
// cluster. cfg is what the node is to be opened with afterwards, and m the membership that the cluster begins with, as
// [Raft.Initialize] would be given it. It is called for one voter or for several, on each with the same export and the
// same membership; members that were not prepared are sent the state by the leader. The new cluster is initialized by it:
// its log begins behind an entry 1 that stands for the state and the membership. Sessions of the old cluster are unknown
// to it, as its log is, and must not be used with it: they go by the indexes of a log that began anew, so that in time the
// id of one is that of another client's.
//
// Errors: a [ConfigError]; one that wraps [ErrMembership]; as [OpenExport]; one that wraps [fs.ErrExist] where the data
// directory, or [Config.SnapshotDir], is not empty; that of the disk. After an error the data directory is to be removed
// before it is tried again.
func Import(cfg Config, dir string, m codec.Membership) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	switch n, member := m.Node(cfg.NodeID); {
	case cfg.Dir == "":
		return &ConfigError{"Dir", `""`, "a directory: nothing else can be prepared"}
	case cfg.Witness:
		return &ConfigError{"Witness", true, "false: a witness has no state, and is opened with an empty directory"}
	case m.Validate() != nil:
		return fmt.Errorf("%w: %w", ErrMembership, m.Validate())
	case !member || !m.IsVoter(cfg.NodeID) || n.Witness:
		return fmt.Errorf("%w: node %d is not among its voters, want a node that is prepared to be one and no witness", ErrMembership, cfg.NodeID)
	}
	var transport any = cfg.Transport
	if transport == nil {
		transport = (*netio.TCP)(nil)
	}
	if err := checkAddresses(transport, &m); err != nil {
		return err
	}
	if err := importState(&cfg, dir, m.Clone()); err != nil {
		return fmt.Errorf("import of %s for node %d: %w", dir, cfg.NodeID, err)
	}
	return nil
}

// importState writes the snapshot that the node starts from. It jumps to it when it is opened: there is no log yet.
func importState(cfg *Config, dir string, m codec.Membership) error {
	fsys, to := cfg.snapshotPlace()
	if cfg.SnapshotDir != "" {
		if err := mustBeEmpty(fsys, to); err != nil {
			return err
		}
	}
	if err := mustBeEmpty(vfs.OS{}, cfg.Dir); err != nil {
		return err
	}
	from, err := OpenExport(dir)
	if err != nil {
		return err
	}
	defer from.Close()
	if from.Info().Stateless {
		return fmt.Errorf("the export holds no state: %w", codec.ErrCorrupt)
	}
	store, err := snapshot.Open(snapshot.Config{
		FS: fsys, Dir: filepath.Join(to, fmt.Sprint(theGroup)), Cluster: cfg.ClusterID, Group: theGroup, Keep: cfg.SnapshotsKept,
		Compression: cfg.SnapshotCompression, ChunkBytes: cfg.SnapshotChunkBytes, Logger: cfg.logger(ComponentSnapshots),
	})
	if err != nil {
		return err
	}
	id := codec.LogID{Index: 1}
	w, err := store.Create(snapshot.Meta{Base: codec.LogBase{ID: id, Membership: codec.MembershipRecord{ID: id, Membership: m}}})
	if err == nil {
		if _, err = io.Copy(w, from); err == nil {
			_, err = w.Commit()
		}
		w.Abort()
	}
	return errors.Join(err, store.Close())
}

// mustBeEmpty returns an error for a directory that holds something. One that does not exist is as good as an empty one.
func mustBeEmpty(fsys vfs.FS, dir string) error {
	names, err := fsys.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(names) > 0:
		return fmt.Errorf("%s holds %d files, %s among them, want an empty directory: %w", dir, len(names), names[0], fs.ErrExist)
	}
	return nil
}
