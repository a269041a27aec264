package crash

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/wal/vfs"
)

// errPowerOff is what every operation of a disk without power returns.
var errPowerOff = errors.New("the disk has no power")

// powerDisk is a disk in memory whose power can be cut, at once or at an operation to come. Without power every
// operation fails, so that what the disk holds does not change any more.
//
// Owner: none; mu guards everything and makes the cut fall between two operations.
type powerDisk struct {
	mem *vfs.Mem

	mu        sync.Mutex
	off       bool
	countdown int           // operations that change something until the power goes; 0 when that is not planned
	tripped   chan struct{} // closed when the power goes
	lying     bool          // syncs of files do nothing and report success
	slow      time.Duration // a sync takes up to so long, before it does anything; 0: no time
	r         *rand.Rand
}

func newPowerDisk(mem *vfs.Mem, slow time.Duration, seed uint64) *powerDisk {
	return &powerDisk{mem: mem, tripped: make(chan struct{}), slow: slow, r: rand.New(rand.NewPCG(seed, 4))}
}

// work is the time a sync takes. It is meant for a synctest bubble, where it costs nothing.
func (d *powerDisk) work() {
	d.mu.Lock()
	slow := d.slow
	if slow > 0 {
		slow = time.Duration(d.r.Int64N(int64(slow)))
	}
	d.mu.Unlock()
	if slow > 0 {
		timer := time.NewTimer(slow)
		select {
		case <-timer.C:
		case <-d.tripped:
			timer.Stop()
		}
	}
}

// cutAt cuts the power before the n-th operation from now that changes something; 1 is the next.
func (d *powerDisk) cutAt(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.countdown = n
}

// cut cuts the power now.
func (d *powerDisk) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.trip()
}

func (d *powerDisk) trip() {
	if !d.off {
		d.off = true
		close(d.tripped)
	}
}

// condition says whether it has power and how slow it is.
func (d *powerDisk) condition() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return fmt.Sprintf("without power %t, a sync takes up to %v", d.off, d.slow)
}

func (d *powerDisk) lie() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lying = true
}

func (d *powerDisk) change(op func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.countdown > 0 {
		if d.countdown--; d.countdown == 0 {
			d.trip()
		}
	}
	if d.off {
		return errPowerOff
	}
	return op()
}

func (d *powerDisk) read(op func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off {
		return errPowerOff
	}
	return op()
}

// afterCut returns what a disk without power holds when power is back, and how many bytes readers saw that are gone or
// changed. Of a disk with power it is what a cut at this moment would leave.
func (d *powerDisk) afterCut(c vfs.Crash) (left *vfs.Mem, taken int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	left = d.mem.Crash(c)
	taken, err = difference(d.mem, left, "/")
	return left, taken, err
}

// difference counts the bytes of files below dir that one file system has and the other has not, or has otherwise.
func difference(before, after *vfs.Mem, dir string) (n int, err error) {
	names, err := before.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		name = filepath.Join(dir, name)
		info, err := before.Stat(name)
		if err != nil {
			return n, err
		}
		if info.Dir {
			if _, err := after.Stat(name); err != nil {
				continue // what was in it is not counted
			}
			below, err := difference(before, after, name)
			if err != nil {
				return n, err
			}
			n += below
			continue
		}
		seen, err := vfs.ReadFile(before, name, nil)
		if err != nil {
			return n, err
		}
		left, err := vfs.ReadFile(after, name, nil)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return n, err
		}
		if !bytes.Equal(seen, left) {
			n += differentBytes(seen, left)
		}
	}
	return n, nil
}

func differentBytes(a, b []byte) (n int) {
	for i := range a {
		if i >= len(b) || a[i] != b[i] {
			n++
		}
	}
	return n
}

// OpenFile implements [vfs.FS].
func (d *powerDisk) OpenFile(name string, flag int, perm fs.FileMode) (f vfs.File, err error) {
	do := d.read
	if flag&(os.O_CREATE|os.O_TRUNC) != 0 {
		do = d.change
	}
	err = do(func() error {
		f, err = d.mem.OpenFile(name, flag, perm)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &powerFile{d, f}, nil
}

// ReadDir implements [vfs.FS].
func (d *powerDisk) ReadDir(name string) (names []string, err error) {
	err = d.read(func() error {
		names, err = d.mem.ReadDir(name)
		return err
	})
	return names, err
}

// Stat implements [vfs.FS].
func (d *powerDisk) Stat(name string) (info vfs.Info, err error) {
	err = d.read(func() error {
		info, err = d.mem.Stat(name)
		return err
	})
	return info, err
}

// Mkdir implements [vfs.FS].
func (d *powerDisk) Mkdir(name string, perm fs.FileMode) error {
	return d.change(func() error { return d.mem.Mkdir(name, perm) })
}

// Remove implements [vfs.FS].
func (d *powerDisk) Remove(name string) error {
	return d.change(func() error { return d.mem.Remove(name) })
}

// Rename implements [vfs.FS].
func (d *powerDisk) Rename(from, to string) error {
	return d.change(func() error { return d.mem.Rename(from, to) })
}

// SyncDir implements [vfs.FS].
func (d *powerDisk) SyncDir(name string) error {
	return d.change(func() error { return d.mem.SyncDir(name) })
}

// Lock implements [vfs.FS].
func (d *powerDisk) Lock(name string, perm fs.FileMode) (c io.Closer, err error) {
	err = d.read(func() error {
		c, err = d.mem.Lock(name, perm)
		return err
	})
	return c, err
}

type powerFile struct {
	disk *powerDisk
	file vfs.File
}

// ReadAt implements [vfs.File].
func (f *powerFile) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.disk.read(func() error {
		n, err = f.file.ReadAt(p, off)
		return err
	})
	return n, err
}

// WriteAt implements [vfs.File].
func (f *powerFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.disk.change(func() error {
		n, err = f.file.WriteAt(p, off)
		return err
	})
	return n, err
}

// Truncate implements [vfs.File].
func (f *powerFile) Truncate(size int64) error {
	return f.disk.change(func() error { return f.file.Truncate(size) })
}

// Sync implements [vfs.File].
func (f *powerFile) Sync() error {
	f.disk.work()
	return f.disk.change(func() error {
		if f.disk.lying {
			return nil
		}
		return f.file.Sync()
	})
}

// Size implements [vfs.File].
func (f *powerFile) Size() (size int64, err error) {
	err = f.disk.read(func() error {
		size, err = f.file.Size()
		return err
	})
	return size, err
}

// Close implements [vfs.File].
func (f *powerFile) Close() error { return f.file.Close() }

// A disk that is cut keeps what was synced, shows nothing to anybody, and counts what it took.
func TestPowerDisk(t *testing.T) {
	d := newPowerDisk(vfs.NewMem(), 0, 1)
	f, err := d.OpenFile("f", os.O_CREATE|os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	write := func(s string, at int64) error {
		_, err := f.WriteAt([]byte(s), at)
		return err
	}
	if err := errors.Join(write("kept", 0), f.Sync(), d.SyncDir("/"), write("lost!", 4)); err != nil {
		t.Fatal(err)
	}
	d.cutAt(2)
	if err := write("lost, too", 9); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); !errors.Is(err, errPowerOff) {
		t.Fatalf("a sync without power: %v", err)
	}
	<-d.tripped
	if _, err := f.ReadAt(make([]byte, 1), 0); !errors.Is(err, errPowerOff) {
		t.Fatalf("a read without power: %v", err)
	}
	left, taken, err := d.afterCut(vfs.LoseAll())
	if err != nil {
		t.Fatal(err)
	}
	if b, err := vfs.ReadFile(left, "f", nil); err != nil || string(b) != "kept" {
		t.Fatalf("left %q, %v", b, err)
	}
	if want := len("lost!lost, too"); taken != want {
		t.Fatalf("%d bytes taken, want %d", taken, want)
	}
}
