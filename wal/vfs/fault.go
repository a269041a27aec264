package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
)

// Op is a kind of operation, as [Fault] counts them.
type Op uint8

// The kinds. A file opened with O_CREATE counts as OpCreate, any other as OpOpen.
const (
	OpOpen Op = iota
	OpCreate
	OpRead
	OpWrite
	OpTruncate
	OpSync
	OpSyncDir
	OpReadDir
	OpMkdir
	OpRemove
	OpRename

	// OpEnd is one past the last kind.
	OpEnd
)

// String returns the kind's name.
func (o Op) String() string {
	names := [...]string{"open", "create", "read", "write", "truncate", "sync", "syncdir", "readdir", "mkdir", "remove", "rename"}
	if o < OpEnd {
		return names[o]
	}
	return fmt.Sprintf("Op(%d)", uint8(o))
}

// Effect is what an injected fault does.
type Effect uint8

// The effects.
const (
	// Fail returns the error and does nothing.
	Fail Effect = iota
	// Short does the first half of a write, then returns the error. For other operations it is Fail.
	Short
	// Ignore does nothing and reports success.
	Ignore
	// Drop is for a file's sync: it fails, and no later sync writes the bytes either, though they can be read (as after
	// a failed fsync on Linux). It needs [Mem] below and is Fail elsewhere.
	Drop
	// Stray is for a write: it lands half-way between the start of the file and where it belongs, and reports success. At
	// the start of a file, and for other operations, it is Ignore.
	Stray
)

// Fault wraps a file system and makes chosen operations go wrong.
//
// Owner: none; mu guards everything, because a log's goroutines and a test use it at the same time.
type Fault struct {
	fs       FS
	mu       sync.Mutex
	counts   [OpEnd]int
	rules    []rule
	injected int
	before   func(op Op, name string)
}

type rule struct {
	op     Op
	nth    int
	when   func() bool // instead of nth
	effect Effect
	err    error
}

// NewFault wraps a file system. Nothing fails until [Fault.Inject] says so.
func NewFault(fsys FS) *Fault { return &Fault{fs: fsys} }

// Inject makes the nth operation of a kind from now on (1 is the next) have an effect, with the error where it fails.
func (f *Fault) Inject(op Op, nth int, effect Effect, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, rule{op: op, nth: f.counts[op] + nth, effect: effect, err: err})
}

// InjectIf makes each operation of a kind for which a condition holds have an effect. The condition must not call f.
func (f *Fault) InjectIf(op Op, condition func() bool, effect Effect, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, rule{op: op, when: condition, effect: effect, err: err})
}

// Before sets a function that is called before each operation, while none runs. It must not call f.
func (f *Fault) Before(hook func(op Op, name string)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before = hook
}

// Count returns how many operations of a kind were asked for.
func (f *Fault) Count(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[op]
}

// Injected returns how many operations were made to go wrong.
func (f *Fault) Injected() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.injected
}

// do counts an operation and runs it, or what was injected in its place.
func (f *Fault) do(op Op, name string, run func() error, instead func(rule) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.before != nil {
		f.before(op, name)
	}
	f.counts[op]++
	for _, r := range f.rules {
		if r.op != op || r.when == nil && r.nth != f.counts[op] || r.when != nil && !r.when() {
			continue
		}
		f.injected++
		switch {
		case r.effect == Ignore, r.effect == Stray && op != OpWrite:
			return nil
		case instead != nil:
			return instead(r)
		}
		return pathError(op.String(), name, r.err)
	}
	return run()
}

// OpenFile implements [FS].
func (f *Fault) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	op := OpOpen
	if flag&os.O_CREATE != 0 {
		op = OpCreate
	}
	var file File
	err := f.do(op, name, func() (err error) {
		file, err = f.fs.OpenFile(name, flag, perm)
		return err
	}, nil)
	if err != nil {
		return nil, err
	}
	if file == nil {
		return nil, pathError("open", name, fs.ErrInvalid) // an open can't be ignored
	}
	return &faultFile{fault: f, file: file, name: name}, nil
}

// ReadDir implements [FS].
func (f *Fault) ReadDir(name string) (names []string, err error) {
	err = f.do(OpReadDir, name, func() (err error) {
		names, err = f.fs.ReadDir(name)
		return err
	}, nil)
	return names, err
}

// Stat implements [FS]. It is not counted.
func (f *Fault) Stat(name string) (Info, error) { return f.fs.Stat(name) }

// Mkdir implements [FS].
func (f *Fault) Mkdir(name string, perm fs.FileMode) error {
	return f.do(OpMkdir, name, func() error { return f.fs.Mkdir(name, perm) }, nil)
}

// Remove implements [FS].
func (f *Fault) Remove(name string) error {
	return f.do(OpRemove, name, func() error { return f.fs.Remove(name) }, nil)
}

// Rename implements [FS].
func (f *Fault) Rename(from, to string) error {
	return f.do(OpRename, from, func() error { return f.fs.Rename(from, to) }, nil)
}

// SyncDir implements [FS].
func (f *Fault) SyncDir(name string) error {
	return f.do(OpSyncDir, name, func() error { return f.fs.SyncDir(name) }, nil)
}

// Lock implements [FS]. It is not counted.
func (f *Fault) Lock(name string, perm fs.FileMode) (io.Closer, error) { return f.fs.Lock(name, perm) }

type faultFile struct {
	fault *Fault
	file  File
	name  string
}

// ReadAt implements [File].
func (f *faultFile) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.fault.do(OpRead, f.name, func() (err error) {
		n, err = f.file.ReadAt(p, off)
		return err
	}, nil)
	return n, err
}

// WriteAt implements [File].
func (f *faultFile) WriteAt(p []byte, off int64) (n int, err error) {
	n = len(p) // an ignored write reports success
	err = f.fault.do(OpWrite, f.name, func() (err error) {
		n, err = f.file.WriteAt(p, off)
		return err
	}, func(r rule) (err error) {
		if r.effect == Stray {
			if off > 0 {
				_, err = f.file.WriteAt(p, off/2)
			}
			return err
		}
		n = 0
		if r.effect == Short {
			if n, err = f.file.WriteAt(p[:len(p)/2], off); err != nil {
				return err
			}
		}
		return pathError("write", f.name, r.err)
	})
	return n, err
}

// Truncate implements [File].
func (f *faultFile) Truncate(size int64) error {
	return f.fault.do(OpTruncate, f.name, func() error { return f.file.Truncate(size) }, nil)
}

// Sync implements [File].
func (f *faultFile) Sync() error {
	return f.fault.do(OpSync, f.name, f.file.Sync, func(r rule) error {
		if m, ok := f.file.(*memFile); ok && r.effect == Drop {
			m.dropUnsynced()
		}
		return pathError("sync", f.name, r.err)
	})
}

// Size implements [File]. It is not counted.
func (f *faultFile) Size() (int64, error) { return f.file.Size() }

// Close implements [File]. It is not counted.
func (f *faultFile) Close() error { return f.file.Close() }
