package snapshot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

// Names in a directory that holds an export.
const (
	manifestName = "MANIFEST.json"
	exportName   = "state.snapshot"
)

// manifestBytesMax bounds what is read of a manifest.
const manifestBytesMax = 64 << 10

// Manifest says what an export holds, for humans and other programs. It is written last: a directory without one holds no
// export.
type Manifest struct {
	Format        int    `json:"format"` // version of the snapshot file
	Cluster       string `json:"cluster"`
	Group         uint64 `json:"group"`
	Index         uint64 `json:"index"` // log id of the last entry in the state
	Term          uint64 `json:"term"`
	Leader        uint64 `json:"leader"`
	Nodes         int    `json:"nodes"` // members at that entry
	SessionsBytes int64  `json:"sessions_bytes"`
	StateBytes    int64  `json:"state_bytes"`
	Stateless     bool   `json:"stateless"`
	File          string `json:"file"`
	FileBytes     int64  `json:"file_bytes"`
	SHA256        string `json:"sha256"` // of all of the file before the hash in its footer
}

func (r *Reader) manifest() Manifest {
	i, id := r.info, r.info.Base.ID
	return Manifest{
		Format: formatVersion, Cluster: r.cluster, Group: uint64(r.group),
		Index: uint64(id.Index), Term: uint64(id.Leader.Term), Leader: uint64(id.Leader.Node),
		Nodes:         len(i.Base.Membership.Membership.Nodes),
		SessionsBytes: i.SessionsBytes, StateBytes: i.StateBytes, Stateless: i.Stateless,
		File: exportName, FileBytes: i.Size, SHA256: i.Hash.String(),
	}
}

// Export writes a snapshot into a directory of the user's, which is made where it is missing and must be empty, and makes it
// durable. The snapshot is verified on the way. After an error the directory holds no export, unless removing it failed too. Errors:
// [ErrNotHeld], [codec.ErrCorrupt], [fs.ErrExist] for a directory that is not empty, those of the file systems.
func (s *Store) Export(info Info, to vfs.FS, dir string) error {
	if err := s.export(info, to, dir); err != nil {
		return fmt.Errorf("snapshot: export to %s: %w", dir, err)
	}
	return nil
}

func (s *Store) export(info Info, to vfs.FS, dir string) error {
	r, err := s.Open(info)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := vfs.MkdirAll(to, dir, folderPerm); err != nil {
		return err
	}
	if names, err := to.ReadDir(dir); err != nil || len(names) > 0 {
		return errors.Join(err, fmt.Errorf("the directory holds %d files, want an empty one: %w", len(names), fs.ErrExist))
	}
	manifest, err := json.MarshalIndent(r.manifest(), "", "  ")
	if err != nil {
		return err
	}
	name := filepath.Join(dir, exportName)
	if err := r.copyTo(to, name); err != nil {
		if removeErr := to.Remove(name); !errors.Is(removeErr, fs.ErrNotExist) {
			err = errors.Join(err, removeErr)
		}
		return err
	}
	if err := writeAside(to, dir, manifestName, append(manifest, '\n')); err != nil {
		for _, name := range []string{manifestName, manifestName + tempSuffix, exportName} {
			if removeErr := to.Remove(filepath.Join(dir, name)); !errors.Is(removeErr, fs.ErrNotExist) {
				err = errors.Join(err, removeErr)
			}
		}
		return err
	}
	return nil
}

// copyTo writes the file's bytes, verified, under a new name.
func (r *Reader) copyTo(to vfs.FS, name string) error {
	f, err := to.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, filePerm)
	if err != nil {
		return err
	}
	w, unsynced := newWalk(), 0
	var b []byte
	for err == nil && !w.ended {
		at := w.pos
		if b, err = w.fetch(r.file, r.info.Size, b); err != nil {
			break
		}
		if _, err = w.take(b); err != nil {
			break
		}
		_, err = f.WriteAt(b, at)
		if unsynced += len(b); err == nil && unsynced >= syncBytes {
			unsynced, err = 0, f.Sync()
		}
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// writeAside makes a small file in one step, bytes and name durable.
func writeAside(fsys vfs.FS, dir, name string, b []byte) error {
	final := filepath.Join(dir, name)
	temp := final + tempSuffix
	f, err := fsys.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, filePerm)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(b, 0); err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = fsys.Rename(temp, final)
	}
	if err == nil {
		err = fsys.SyncDir(dir)
	}
	return err
}

// OpenExport opens what [Store.Export] wrote, from any cluster and group, after it has verified all of it. Errors:
// [fs.ErrNotExist] for a directory without a manifest, [codec.ErrVersion], [codec.ErrCorrupt], those of the file system.
func OpenExport(from vfs.FS, dir string) (*Reader, error) {
	r, err := openExport(from, dir)
	if err != nil {
		return nil, fmt.Errorf("snapshot: export in %s: %w", dir, err)
	}
	return r, nil
}

func openExport(from vfs.FS, dir string) (*Reader, error) {
	m, err := readManifest(from, filepath.Join(dir, manifestName))
	if err != nil {
		return nil, err
	}
	f, err := from.OpenFile(filepath.Join(dir, exportName), readOnly, 0)
	if err != nil {
		return nil, err
	}
	r, err := newReader(f, codec.SnapshotID{})
	if err == nil && r.manifest() != m {
		err = fmt.Errorf("%s holds %+v, the manifest says %+v: %w", exportName, r.manifest(), m, codec.ErrCorrupt)
	}
	if err == nil {
		_, err = io.Copy(io.Discard, r)
	}
	if err == nil {
		r, err = newReader(f, r.info.ID())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return r, nil
}

func readManifest(from vfs.FS, name string) (m Manifest, err error) {
	info, err := from.Stat(name)
	if err != nil {
		return m, err
	}
	if info.Size > manifestBytesMax {
		return m, fmt.Errorf("%s has %d bytes, limit %d: %w", name, info.Size, manifestBytesMax, codec.ErrCorrupt)
	}
	b, err := vfs.ReadFile(from, name, make([]byte, 0, manifestBytesMax))
	if err != nil {
		return m, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return m, fmt.Errorf("%s: %w: %w", name, err, codec.ErrCorrupt)
	}
	if m.Format != formatVersion {
		return m, fmt.Errorf("%s: format %d, want %d: %w", name, m.Format, formatVersion, codec.ErrVersion)
	}
	return m, nil
}
