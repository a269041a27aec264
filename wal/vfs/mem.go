package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// BlockBytes is the unit in which [Mem] tracks what was written: a block survives a power cut whole, not at all, or
// torn. It is a disk's smallest sector.
const BlockBytes = 512

// Mem is a file system in memory that keeps, beside what a reader sees, what the disk under it is sure to hold.
//
// Owner: none; mu guards everything, because a log's writer and reader and a test use it at the same time.
type Mem struct {
	mu       sync.Mutex
	root     *memNode
	locks    map[string]bool
	volatile bool // nothing is ever durable, and no account is kept
}

// memNode is a file or a directory. Files: data is what readers see, disk what is durable, dirty the blocks of data
// that disk may lack; the sizes are the lengths. Directories: the names readers see, and the durable ones.
type memNode struct {
	dir      bool
	data     []byte
	disk     []byte
	dirty    map[int64]struct{}
	names    map[string]*memNode
	diskName map[string]*memNode
}

// NewMem returns an empty file system, its root made and durable.
func NewMem() *Mem {
	return &Mem{root: newMemDir(), locks: map[string]bool{}}
}

// NewVolatile returns an empty file system of which [Mem.Crash] leaves nothing, whatever was synced. It keeps one copy of each
// file where that of [NewMem] keeps two: for nodes that keep their files in memory, not for tests.
func NewVolatile() *Mem {
	m := NewMem()
	m.volatile = true
	return m
}

func newMemDir() *memNode {
	return &memNode{dir: true, names: map[string]*memNode{}, diskName: map[string]*memNode{}}
}

func pathError(op, name string, err error) error { return &fs.PathError{Op: op, Path: name, Err: err} }

// split returns the elements of a path; the root has none.
func split(name string) []string {
	name = strings.Trim(filepath.ToSlash(filepath.Clean(name)), "/")
	if name == "" || name == "." {
		return nil
	}
	return strings.Split(name, "/")
}

// node returns what a path names, or nil.
func (m *Mem) node(name string) *memNode {
	n := m.root
	for _, element := range split(name) {
		if n = n.names[element]; n == nil {
			return nil
		}
	}
	return n
}

// parent returns the directory that holds a path's last element, and that element.
func (m *Mem) parent(op, name string) (*memNode, string, error) {
	elements := split(name)
	if len(elements) == 0 {
		return nil, "", pathError(op, name, fs.ErrInvalid)
	}
	dir := m.node(filepath.Dir(filepath.Clean(name)))
	if dir == nil || !dir.dir {
		return nil, "", pathError(op, name, fs.ErrNotExist)
	}
	return dir, elements[len(elements)-1], nil
}

// OpenFile implements [FS].
func (m *Mem) OpenFile(name string, flag int, _ fs.FileMode) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent("open", name)
	if err != nil {
		return nil, err
	}
	n := dir.names[base]
	switch {
	case n == nil && flag&os.O_CREATE == 0:
		return nil, pathError("open", name, fs.ErrNotExist)
	case n == nil:
		n = &memNode{dirty: map[int64]struct{}{}}
		dir.names[base] = n
	case flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0:
		return nil, pathError("open", name, fs.ErrExist)
	case n.dir:
		return nil, pathError("open", name, fs.ErrInvalid)
	}
	if flag&os.O_TRUNC != 0 {
		n.truncate(0)
	}
	return &memFile{mem: m, node: n, name: name, writable: flag&(os.O_WRONLY|os.O_RDWR) != 0}, nil
}

// ReadDir implements [FS].
func (m *Mem) ReadDir(name string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.node(name)
	if n == nil || !n.dir {
		return nil, pathError("readdir", name, fs.ErrNotExist)
	}
	return slices.Sorted(maps.Keys(n.names)), nil
}

// Stat implements [FS].
func (m *Mem) Stat(name string) (Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.node(name)
	if n == nil {
		return Info{}, pathError("stat", name, fs.ErrNotExist)
	}
	return Info{Size: int64(len(n.data)), Dir: n.dir}, nil
}

// Mkdir implements [FS].
func (m *Mem) Mkdir(name string, _ fs.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent("mkdir", name)
	if err != nil {
		return err
	}
	if dir.names[base] != nil {
		return pathError("mkdir", name, fs.ErrExist)
	}
	dir.names[base] = newMemDir()
	return nil
}

// Remove implements [FS].
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent("remove", name)
	if err != nil {
		return err
	}
	if n := dir.names[base]; n == nil {
		return pathError("remove", name, fs.ErrNotExist)
	} else if n.dir && len(n.names) > 0 {
		return pathError("remove", name, fs.ErrInvalid)
	}
	delete(dir.names, base)
	return nil
}

// Rename implements [FS].
func (m *Mem) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent("rename", from)
	if err != nil {
		return err
	}
	toDir, toBase, err := m.parent("rename", to)
	if err != nil {
		return err
	}
	n := dir.names[base]
	if n == nil {
		return pathError("rename", from, fs.ErrNotExist)
	}
	if dir != toDir {
		return pathError("rename", to, fs.ErrInvalid)
	}
	delete(dir.names, base)
	toDir.names[toBase] = n
	return nil
}

// SyncDir implements [FS].
func (m *Mem) SyncDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.node(name)
	if n == nil || !n.dir {
		return pathError("syncdir", name, fs.ErrNotExist)
	}
	if !m.volatile {
		n.diskName = maps.Clone(n.names)
	}
	return nil
}

// Lock implements [FS]. Locks belong to this file system: its crash clones start without any.
func (m *Mem) Lock(name string, perm fs.FileMode) (io.Closer, error) {
	f, err := m.OpenFile(name, os.O_CREATE|os.O_RDWR, perm)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key := strings.Join(split(name), "/")
	if m.locks[key] {
		return nil, fmt.Errorf("lock %s: %w", name, ErrLocked)
	}
	m.locks[key] = true
	return &memLock{mem: m, key: key}, nil
}

// Kill does what the kernel does when a process ends: it takes back the locks, and loses no byte.
func (m *Mem) Kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.locks)
}

type memLock struct {
	mem *Mem
	key string
}

// Close implements [io.Closer].
func (l *memLock) Close() error {
	l.mem.mu.Lock()
	defer l.mem.mu.Unlock()
	delete(l.mem.locks, l.key)
	return nil
}

// memFile is a handle. Its node and closed are guarded by the file system's mu.
type memFile struct {
	mem      *Mem
	node     *memNode
	name     string
	writable bool
	closed   bool
}

// ReadAt implements [File].
func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.mem.mu.Lock()
	defer f.mem.mu.Unlock()
	if f.closed {
		return 0, pathError("read", f.name, fs.ErrClosed)
	}
	if off < 0 {
		return 0, pathError("read", f.name, fs.ErrInvalid)
	}
	if off >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements [File].
func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.mem.mu.Lock()
	defer f.mem.mu.Unlock()
	if err := f.checkWrite("write", off); err != nil {
		return 0, err
	}
	n, end := f.node, off+int64(len(p))
	if end > int64(len(n.data)) {
		n.data = append(n.data, make([]byte, end-int64(len(n.data)))...)
	}
	copy(n.data[off:], p)
	n.touch(off, end)
	return len(p), nil
}

func (f *memFile) checkWrite(op string, off int64) error {
	switch {
	case f.closed:
		return pathError(op, f.name, fs.ErrClosed)
	case !f.writable:
		return pathError(op, f.name, fs.ErrPermission)
	case off < 0:
		return pathError(op, f.name, fs.ErrInvalid)
	}
	return nil
}

// touch marks the blocks of from..to as written since the last sync.
func (n *memNode) touch(from, to int64) {
	for b := from / BlockBytes; b*BlockBytes < to; b++ {
		n.dirty[b] = struct{}{}
	}
}

func (n *memNode) truncate(size int64) {
	old := int64(len(n.data))
	if size > old {
		n.data = append(n.data, make([]byte, size-old)...)
	} else {
		clear(n.data[size:])
		n.data = n.data[:size]
	}
	n.touch(min(old, size), max(old, size))
}

// Truncate implements [File].
func (f *memFile) Truncate(size int64) error {
	f.mem.mu.Lock()
	defer f.mem.mu.Unlock()
	if err := f.checkWrite("truncate", size); err != nil {
		return err
	}
	f.node.truncate(size)
	return nil
}

// Sync implements [File].
func (f *memFile) Sync() error {
	f.mem.mu.Lock()
	defer f.mem.mu.Unlock()
	if f.closed {
		return pathError("sync", f.name, fs.ErrClosed)
	}
	n := f.node
	if f.mem.volatile {
		clear(n.dirty)
		return nil
	}
	n.disk = resize(n.disk, len(n.data))
	for b := range n.dirty {
		if from := b * BlockBytes; from < int64(len(n.data)) {
			copy(n.disk[from:], n.data[from:min(from+BlockBytes, int64(len(n.data)))])
		}
	}
	clear(n.dirty)
	return nil
}

// dropUnsynced does what some kernels do after a failed sync: the pages are marked clean, so that readers still see
// their bytes and no later sync writes them.
func (f *memFile) dropUnsynced() {
	f.mem.mu.Lock()
	defer f.mem.mu.Unlock()
	clear(f.node.dirty)
}

// Size implements [File].
func (f *memFile) Size() (int64, error) {
	f.mem.mu.Lock()
	defer f.mem.mu.Unlock()
	if f.closed {
		return 0, pathError("size", f.name, fs.ErrClosed)
	}
	return int64(len(f.node.data)), nil
}

// Close implements [File].
func (f *memFile) Close() error {
	f.mem.mu.Lock()
	defer f.mem.mu.Unlock()
	if f.closed {
		return pathError("close", f.name, fs.ErrClosed)
	}
	f.closed = true
	return nil
}

// resize returns b with n bytes; new ones are zero.
func resize(b []byte, n int) []byte {
	if n > len(b) {
		return append(b, make([]byte, n-len(b))...)
	}
	clear(b[n:])
	return b[:n]
}
