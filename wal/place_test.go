package wal

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

// helperFlag makes this test binary play another process (see process_test.go).
const helperFlag = "-wal.helper"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == helperFlag {
		os.Exit(helperMain(os.Args[2:]))
	}
	goleak.VerifyTestMain(m)
}

// place is where a log in files lies, with the form of appender that writes it. Tests of bytes run in both.
type place struct {
	name string
	fs   vfs.FS
	cfg  Config
	open func() (*Log, error)
}

func places(t testing.TB) []place {
	real := testConfig(filepath.Join(t.TempDir(), "node"))
	sim := testConfig("node")
	mem := vfs.NewMem()
	return []place{
		{"tidwall", vfs.OS{}, real, func() (*Log, error) { return Open(real) }},
		{"files", mem, sim, func() (*Log, error) {
			return OpenSimulation(sim, Simulation{FS: mem, Random: rand.Reader})
		}},
	}
}

func eachPlace(t *testing.T, test func(t *testing.T, p place)) {
	for _, p := range places(t) {
		t.Run(p.name, func(t *testing.T) { test(t, p) })
	}
}

func (p place) mustOpen(t testing.TB) *Log {
	t.Helper()
	l, err := p.open()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (p place) folder() string { return segmentFolderOf(&p.cfg) }

// segments returns the paths of the segment files.
func (p place) segments(t testing.TB) []string {
	t.Helper()
	list, err := listSegments(p.fs, p.folder())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range list.segments {
		names = append(names, s.name)
	}
	return names
}

func (p place) tail(t testing.TB) string { s := p.segments(t); return s[len(s)-1] }

func (p place) read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := vfs.ReadFile(p.fs, name, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (p place) write(t testing.TB, name string, b []byte) {
	t.Helper()
	f, err := p.fs.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, filePerm)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
}

// image is every file of a directory but the lock.
type image map[string][]byte

func (p place) image(t testing.TB) image {
	t.Helper()
	out := image{}
	for _, dir := range []string{p.cfg.Dir, p.folder()} {
		names, err := p.fs.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			name := filepath.Join(dir, n)
			if info, err := p.fs.Stat(name); err == nil && !info.Dir && n != lockName {
				out[name] = p.read(t, name)
			}
		}
	}
	return out
}

// restore makes the directory hold exactly an image again.
func (p place) restore(t testing.TB, to image) {
	t.Helper()
	for name := range p.image(t) {
		if _, ok := to[name]; !ok {
			if err := p.fs.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, b := range to {
		p.write(t, name, b)
	}
}

func (i image) equal(o image) error {
	for name, b := range i {
		if got, ok := o[name]; !ok || !bytes.Equal(b, got) {
			return fmt.Errorf("%s changed or is gone", name)
		}
	}
	for name := range o {
		if _, ok := i[name]; !ok {
			return fmt.Errorf("%s is new", name)
		}
	}
	return nil
}

// broken returns the bytes that repairs have kept aside, by name.
func (i image) broken() image {
	out := image{}
	for name, b := range i {
		if strings.HasSuffix(name, brokenSuffix) {
			out[name] = b
		}
	}
	return out
}

// records returns where each record of a segment's bytes starts, and the end.
func recordStarts(t testing.TB, b []byte) []int {
	t.Helper()
	s := openSegment{file: bytesFile(b)}
	starts := []int{0}
	for chunk := make([]byte, scanChunkBytes); starts[len(starts)-1] < len(b); {
		if err := s.locate(uint64(len(starts)-1), chunk); err != nil {
			t.Fatal(err)
		}
		starts = append(starts, int(s.end))
	}
	return starts
}

// bytesFile reads from memory; writing is not expected.
type bytesFile []byte

func (b bytesFile) ReadAt(p []byte, off int64) (int, error) { return bytes.NewReader(b).ReadAt(p, off) }
func (b bytesFile) WriteAt([]byte, int64) (int, error)      { return 0, fs.ErrPermission }
func (b bytesFile) Truncate(int64) error                    { return fs.ErrPermission }
func (b bytesFile) Sync() error                             { return fs.ErrPermission }
func (b bytesFile) Size() (int64, error)                    { return int64(len(b)), nil }
func (b bytesFile) Close() error                            { return nil }

var _ vfs.File = bytesFile(nil)

// rest is what a group holds, reduced to what can be compared.
func entriesOf(t testing.TB, l *Log, id codec.GroupID) (codec.LogState, []codec.Entry) {
	t.Helper()
	d := &driver{t: t, id: id, flushed: newAwaiter()}
	g, state := openGroup(t, l, id, d.flushed.flushed)
	d.g = g
	var entries []codec.Entry
	for _, m := range state.Frames {
		f, err := d.read(m.First)
		if err != nil {
			t.Fatal(err)
		}
		if entries, err = f.AppendEntries(entries); err != nil {
			t.Fatal(err)
		}
	}
	return state, entries
}

func sameEntries(a, b []codec.Entry) bool {
	return slices.EqualFunc(a, b, func(x, y codec.Entry) bool {
		return x.ID == y.ID && x.Kind == y.Kind && bytes.Equal(x.Data, y.Data)
	})
}

// readAll reads a file that may not be there.
func readAll(p place, name string) ([]byte, error) { return vfs.ReadFile(p.fs, name, nil) }
