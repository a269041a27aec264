package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
)

// Info is what [FS.Stat] tells of a name.
type Info struct {
	Size int64 // bytes; 0 for a directory
	Dir  bool
}

// File is an open file. Its methods may be called from several goroutines.
type File interface {
	io.ReaderAt
	// WriteAt may write fewer bytes than asked only together with an error.
	io.WriterAt
	// Truncate sets the size; what it adds reads as zeros.
	Truncate(size int64) error
	// Sync makes the file's bytes and size durable, not its name (see [FS.SyncDir]).
	Sync() error
	// Size returns the current size in bytes.
	Size() (int64, error)
	// Close frees the handle. It makes nothing durable.
	Close() error
}

// FS is a file system. Its methods may be called from several goroutines. Errors wrap the operating system's, and
// [fs.ErrNotExist] or [fs.ErrExist] where they apply.
type FS interface {
	// OpenFile opens a file with the flags of package os: O_RDONLY, O_WRONLY or O_RDWR, O_CREATE, O_EXCL, O_TRUNC.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// ReadDir returns the names in a directory, sorted.
	ReadDir(name string) ([]string, error)
	// Stat describes a name.
	Stat(name string) (Info, error)
	// Mkdir makes one directory in an existing one.
	Mkdir(name string, perm fs.FileMode) error
	// Remove removes a file.
	Remove(name string) error
	// Rename gives a file a new name in the same directory, replacing what bore it.
	Rename(from, to string) error
	// SyncDir makes the names in a directory durable: those made, renamed and removed.
	SyncDir(name string) error
	// Lock takes the exclusive lock that the named file stands for, making the file if needed, or fails at once with
	// [ErrLocked]. The lock ends with Close or with the process.
	Lock(name string, perm fs.FileMode) (io.Closer, error)
}

// MkdirAll makes a directory and its missing parents, and makes their names durable. The name of the deepest directory
// that existed already is synced too: whoever made it may have been killed before it did so. It is skipped where the
// parent of an existing directory may not be read, since then this user can't have made it.
func MkdirAll(fsys FS, name string, perm fs.FileMode) error {
	var missing []string
	dir := filepath.Clean(name)
	for {
		info, err := fsys.Stat(dir)
		if err == nil && !info.Dir {
			return fmt.Errorf("make directory %s: %s is a file, want a directory", name, dir)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || filepath.Dir(dir) == dir {
			return fmt.Errorf("make directory %s: %w", name, err)
		}
		missing = append(missing, dir)
		dir = filepath.Dir(dir)
	}
	if parent := filepath.Dir(dir); parent != dir {
		if err := fsys.SyncDir(parent); err != nil && !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("sync parent of %s: %w", dir, err)
		}
	}
	for i := len(missing) - 1; i >= 0; i-- {
		if err := fsys.Mkdir(missing[i], perm); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make directory %s: %w", missing[i], err)
		}
		if err := fsys.SyncDir(filepath.Dir(missing[i])); err != nil {
			return fmt.Errorf("sync parent of %s: %w", missing[i], err)
		}
	}
	return nil
}

// ReadFile returns a file's bytes, in buf where that is large enough.
func ReadFile(fsys FS, name string, buf []byte) ([]byte, error) {
	f, err := fsys.OpenFile(name, readOnly, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if int64(cap(buf)) < size {
		buf = make([]byte, size)
	}
	buf = buf[:size]
	if n, err := f.ReadAt(buf, 0); n < len(buf) {
		return nil, fmt.Errorf("read %s: %d of %d bytes: %w", name, n, size, err)
	}
	return buf, nil
}
