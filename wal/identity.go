package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

// Names in a log's directory. The lock file is empty; segments are files of the folder wal named by the sequence of
// their first record, 20 digits; RECLAIMED says which of the first are gone. What a repair cuts off is kept in files that end in brokenSuffix; a file that ends in
// tempSuffix is unfinished and swept.
const (
	lockName      = "LOCK"
	identityName  = "IDENTITY"
	frontName     = "RECLAIMED"
	segmentFolder = "wal"
	brokenSuffix  = ".broken"
	tempSuffix    = ".TEMP"

	filePerm   = 0o600
	folderPerm = 0o700
)

// formatVersion is the version of everything in the directory. A build that changes what a record means raises it.
const formatVersion = 1

const identityMagic = "MLRW"

// identity says whose directory it is. Layout, little endian: magic "MLRW", version (2), bytes of the cluster id (1),
// reserved zero (1), node (8), incarnation (16), cluster id, CRC32C of all before.
type identity struct {
	cluster     string
	node        codec.NodeID
	incarnation codec.Incarnation
}

const identityFixedSize = 32

func (id *identity) append(dst []byte) []byte {
	le := binary.LittleEndian
	start := len(dst)
	dst = append(dst, identityMagic...)
	dst = le.AppendUint16(dst, formatVersion)
	dst = append(dst, byte(len(id.cluster)), 0)
	dst = le.AppendUint64(dst, uint64(id.node))
	dst = append(dst, id.incarnation[:]...)
	dst = append(dst, id.cluster...)
	return le.AppendUint32(dst, codec.Checksum(dst[start:]))
}

// fingerprint is what every record of the log carries: the identity's CRC32C.
func (id *identity) fingerprint() uint32 {
	b := id.append(nil)
	return binary.LittleEndian.Uint32(b[len(b)-4:])
}

func parseIdentity(b []byte) (identity, error) {
	if len(b) < identityFixedSize+4 || string(b[:4]) != identityMagic {
		return identity{}, fmt.Errorf("%d bytes that are no identity: %w", len(b), codec.ErrCorrupt)
	}
	le := binary.LittleEndian
	if v := le.Uint16(b[4:]); v != formatVersion {
		return identity{}, fmt.Errorf("format version %d, this build writes %d: %w: %w", v, formatVersion, ErrIdentity, codec.ErrVersion)
	}
	end := len(b) - 4
	if got, want := codec.Checksum(b[:end]), le.Uint32(b[end:]); got != want {
		return identity{}, fmt.Errorf("checksum %08x, stored %08x: %w", got, want, codec.ErrCorrupt)
	}
	if int(b[6]) != end-identityFixedSize || b[7] != 0 {
		return identity{}, fmt.Errorf("cluster id of %d bytes in %d: %w", b[6], len(b), codec.ErrCorrupt)
	}
	return identity{
		cluster:     string(b[identityFixedSize:end]),
		node:        codec.NodeID(le.Uint64(b[8:])),
		incarnation: codec.Incarnation(b[16:32]),
	}, nil
}

// readIdentity returns the directory's identity after comparing it with the configuration; found is false where there
// is none yet.
func readIdentity(fsys vfs.FS, cfg *Config) (id identity, found bool, err error) {
	name := filepath.Join(cfg.Dir, identityName)
	b, err := vfs.ReadFile(fsys, name, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return identity{}, false, nil
	}
	if err != nil {
		return identity{}, false, fmt.Errorf("wal: read identity: %w", err)
	}
	if id, err = parseIdentity(b); err != nil {
		return identity{}, false, fmt.Errorf("wal: identity %s at offset 0: %w", name, err)
	}
	if id.cluster != cfg.ClusterID {
		return identity{}, false, fmt.Errorf("wal: directory %s belongs to cluster %q, want cluster %q: %w",
			cfg.Dir, id.cluster, cfg.ClusterID, ErrIdentity)
	}
	if id.node != cfg.Node {
		return identity{}, false, fmt.Errorf("wal: directory %s belongs to node %d, want node %d: %w",
			cfg.Dir, id.node, cfg.Node, ErrIdentity)
	}
	return id, true, nil
}

// createIdentity makes the folder of segments with an empty first one, and then the identity, whose name the caller
// makes durable. In that order an identity proves that a first segment was there: a log that lost its files is never
// taken for a new one.
func createIdentity(fsys vfs.FS, cfg *Config, random io.Reader) (identity, error) {
	folder := filepath.Join(cfg.Dir, segmentFolder)
	list, err := listSegments(fsys, folder)
	if err != nil {
		return identity{}, err
	}
	for _, seg := range list.segments {
		if info, err := fsys.Stat(seg.name); err != nil || info.Size > 0 {
			return identity{}, fmt.Errorf("wal: %s is missing, but there is a log of %d bytes in %s (error %v): %w",
				filepath.Join(cfg.Dir, identityName), info.Size, seg.name, err, codec.ErrCorrupt)
		}
	}
	if mark := filepath.Join(cfg.Dir, frontName); !missing(fsys, mark) {
		return identity{}, fmt.Errorf("wal: %s is missing, but there is %s: %w", filepath.Join(cfg.Dir, identityName), mark, codec.ErrCorrupt)
	}
	id := identity{cluster: cfg.ClusterID, node: cfg.Node}
	if _, err := io.ReadFull(random, id.incarnation[:]); err != nil {
		return identity{}, fmt.Errorf("wal: random incarnation: %w", err)
	}
	if err := fsys.Mkdir(folder, folderPerm); err != nil && !errors.Is(err, fs.ErrExist) {
		return identity{}, fmt.Errorf("wal: %w", err)
	}
	f, err := fsys.OpenFile(segmentName(folder, 1), os.O_CREATE|os.O_WRONLY, filePerm)
	if err != nil {
		return identity{}, fmt.Errorf("wal: %w", err)
	}
	if err := f.Close(); err != nil {
		return identity{}, fmt.Errorf("wal: %w", err)
	}
	for _, dir := range []string{folder, cfg.Dir} {
		if err := fsys.SyncDir(dir); err != nil {
			return identity{}, fmt.Errorf("wal: sync directory %s: %w", dir, err)
		}
	}
	return id, writeAside(fsys, filepath.Join(cfg.Dir, identityName), id.append(nil))
}

func missing(fsys vfs.FS, name string) bool {
	_, err := fsys.Stat(name)
	return errors.Is(err, fs.ErrNotExist)
}

// writeAside makes a file in one step: all of it or nothing. Its bytes are durable when writeAside returns, its name
// after the caller has synced the directory.
func writeAside(fsys vfs.FS, name string, b []byte) error {
	temp := name + tempSuffix
	f, err := fsys.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, filePerm)
	if err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = fsys.Rename(temp, name)
	}
	if err != nil {
		return fmt.Errorf("wal: write %s: %w", name, err)
	}
	return nil
}

func segmentFolderOf(cfg *Config) string { return filepath.Join(cfg.Dir, segmentFolder) }

func segmentOf(cfg *Config, first uint64) segment {
	return segment{segmentName(segmentFolderOf(cfg), first), first}
}
