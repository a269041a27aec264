package snapshot

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

func TestConfig(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"Dir is empty":              func(c *Config) { c.Dir = "" },
		`Cluster "" has 0 bytes`:    func(c *Config) { c.Cluster = "" },
		"has 65 bytes, want 1 to":   func(c *Config) { c.Cluster = strings.Repeat("c", 65) },
		"Keep is -1, want 1 to":     func(c *Config) { c.Keep = -1 },
		"Keep is 1001, want 1 to":   func(c *Config) { c.Keep = KeepMax + 1 },
		"Compression(9), want":      func(c *Config) { c.Compression = 9 },
		"ChunkBytes is 1023, want":  func(c *Config) { c.ChunkBytes = ChunkBytesMin - 1 },
		"ChunkBytes is 4194305, wa": func(c *Config) { c.ChunkBytes = ChunkBytesMax + 1 },
	} {
		cfg := testConfig(vfs.NewMem())
		change(&cfg)
		if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v, want one that says %s", err, name)
		}
	}
	s := open(t, Config{Dir: filepath.Join(t.TempDir(), "a", "b"), Cluster: "demo"})
	if s.cfg.Keep != KeepDefault || s.cfg.ChunkBytes != ChunkBytesDefault || s.cfg.FS != (vfs.OS{}) {
		t.Errorf("defaults %+v", s.cfg)
	}
}

func TestMeta(t *testing.T) {
	s := open(t, testConfig(vfs.NewMem()))
	bad := baseAt(3, 900)
	bad.Membership.ID.Index = 901
	for name, m := range map[string]Meta{
		"no entry":                     {},
		"a membership behind the base": {Base: bad},
	} {
		if _, err := s.Create(m); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	w, err := s.Create(Meta{Base: baseAt(3, 900), Stateless: true})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := w.Write([]byte("state")); n != 0 || !errors.Is(err, ErrStateless) {
		t.Errorf("a state was written into a stateless snapshot: %d, %v", n, err)
	}
	if _, err := w.Commit(); !errors.Is(err, ErrStateless) {
		t.Errorf("commit after an error: %v", err)
	}
	if names := files(t, s.cfg, ""); len(names) > 0 {
		t.Errorf("left behind: %v", names)
	}
}

// TestNewestByNumber: 9 is older than 10, a later leader's entry of one index is newer, and a state goes before none (S7).
func TestNewestByNumber(t *testing.T) {
	cfg := testConfig(vfs.NewMem())
	cfg.Keep = 100
	s := open(t, cfg)
	want := []Info{}
	for _, id := range []struct {
		term  codec.Term
		index codec.Index
	}{{1, 9}, {1, 10}, {2, 10}, {2, 11}, {10, 100}, {11, 100}, {11, 1 << 60}} {
		for _, stateless := range []bool{true, false} {
			want = append(want, mustTake(t, s, Meta{Base: baseAt(id.term, id.index), Stateless: stateless}, nil))
		}
	}
	slices.Reverse(want)
	for _, s := range []*Store{s, open(t, cfg)} {
		if got := s.List(); !slices.EqualFunc(got, want, func(a, b Info) bool { return a.ID() == b.ID() }) {
			t.Errorf("listed %v", got)
		}
		if newest, ok := s.Newest(); !ok || newest.Base.ID.Index != 1<<60 || newest.Stateless {
			t.Errorf("newest %+v, %v", newest, ok)
		}
	}
	sorted := files(t, cfg, snapshotSuffix)
	if !slices.IsSortedFunc(sorted, strings.Compare) || sorted[len(sorted)-1][:20] != "01152921504606846976" || sorted[0][:20] != "00000000000000000009" {
		t.Errorf("names %v are not in the order of the indexes", sorted)
	}
}

// TestRetention: only the newest are kept, but for those that somebody reads or sends.
func TestRetention(t *testing.T) {
	cfg := testConfig(vfs.NewMem())
	s := open(t, cfg)
	infos := []Info{}
	for i := range codec.Index(3) {
		infos = append(infos, mustTake(t, s, Meta{Base: baseAt(3, 10+i)}, stateOf(uint64(i), 3000)))
		if i == 0 {
			continue
		}
		if got := len(files(t, cfg, snapshotSuffix)); got != 2 {
			t.Fatalf("%d files after %d snapshots, want 2", got, i+1)
		}
	}
	if _, err := s.Open(infos[0]); !errors.Is(err, ErrNotHeld) {
		t.Errorf("open of one that was removed: %v", err)
	}
	r, err := s.Open(infos[1])
	if err != nil {
		t.Fatal(err)
	}
	raw, err := s.OpenRaw(infos[1])
	if err != nil {
		t.Fatal(err)
	}
	for i := range codec.Index(3) {
		mustTake(t, s, Meta{Base: baseAt(3, 20+i)}, nil)
	}
	if got := s.List(); len(got) != 3 || got[2].ID() != infos[1].ID() {
		t.Fatalf("%d snapshots, want two and the one that is read", len(got))
	}
	if err := raw.Close(); err != nil || len(s.List()) != 3 {
		t.Fatalf("%v, %d snapshots, want 3 while one reader is left", err, len(s.List()))
	}
	if err := r.Close(); err != nil || len(s.List()) != 2 || len(files(t, cfg, snapshotSuffix)) != 2 {
		t.Fatalf("%v, %d snapshots, want 2 after the last reader", err, len(s.List()))
	}
	if err := r.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
	// The same snapshot once more takes its own place; an old one does not drive out a newer.
	newest, _ := s.Newest()
	if again := mustTake(t, s, Meta{Base: newest.Base}, nil); again.ID() != newest.ID() || len(s.List()) != 2 {
		t.Errorf("%+v, %d snapshots", again, len(s.List()))
	}
	mustTake(t, s, Meta{Base: baseAt(3, 5)}, nil)
	if got, _ := s.Newest(); got.ID() != newest.ID() || len(files(t, cfg, "")) != 2 {
		t.Errorf("newest %v after an old one, files %v", got.Base.ID, files(t, cfg, ""))
	}
	cfg.Keep = 1
	if got := open(t, cfg).List(); len(got) != 1 || got[0].ID() != newest.ID() {
		t.Errorf("%d snapshots after opening with Keep 1", len(got))
	}
}

// TestOpenMovesAside: files whose ends do not verify, or that stand under another's name, are kept under a name of their own.
func TestOpenMovesAside(t *testing.T) {
	mem := vfs.NewMem()
	cfg := testConfig(mem)
	cfg.Keep = 10
	s := open(t, cfg)
	good := mustTake(t, s, Meta{Base: baseAt(3, 5)}, stateOf(1, 3000))
	header := snapshotName(mustTake(t, s, Meta{Base: baseAt(3, 10)}, stateOf(1, 3000)).ID())
	footer := snapshotName(mustTake(t, s, Meta{Base: baseAt(3, 11)}, stateOf(1, 3000)).ID())
	moved := snapshotName(mustTake(t, s, Meta{Base: baseAt(3, 12)}, stateOf(1, 3000)).ID())
	short := snapshotName(mustTake(t, s, Meta{Base: baseAt(3, 13)}, stateOf(1, 3000)).ID())
	flip := func(name string, at int64) {
		if err := mem.Flip(s.path(name), at, 1); err != nil {
			t.Fatal(err)
		}
	}
	flip(header, 9)
	flip(footer, good.Size-5)
	if err := mem.Rename(s.path(moved), s.path(strings.Replace(moved, "12-", "99-", 1))); err != nil {
		t.Fatal(err)
	}
	f, err := mem.OpenFile(s.path(short), os.O_WRONLY, 0)
	if err == nil {
		err = f.Truncate(good.Size / 2)
	}
	if err != nil {
		t.Fatal(err)
	}
	// An earlier opening has moved a file of that name aside.
	if f, err = mem.OpenFile(s.path(header+".1"+brokenSuffix), os.O_CREATE|os.O_WRONLY, filePerm); err != nil || f.Close() != nil {
		t.Fatal(err)
	}
	again := open(t, cfg)
	if got := again.List(); len(got) != 1 || got[0].ID() != good.ID() {
		t.Fatalf("listed %v", got)
	}
	want := []string{header + ".1.broken", header + ".2.broken", footer + ".1.broken", short + ".1.broken",
		strings.Replace(moved, "12-", "99-", 1) + ".1.broken"}
	if got := files(t, cfg, brokenSuffix); !slices.Equal(got, want) {
		t.Fatalf("moved aside: %q, want %q", got, want)
	}
	checkContent(t, again, good, nil, stateOf(1, 3000))
}

// TestDamageBetween: what lies between the ends is found by Verify and by who reads; SetAside then takes the file away.
func TestDamageBetween(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, testConfig(mem))
	older := mustTake(t, s, Meta{Base: baseAt(3, 5)}, stateOf(1, 3000))
	newer := mustTake(t, s, Meta{Base: baseAt(3, 6)}, stateOf(1, 3000))
	if err := mem.Flip(s.path(snapshotName(newer.ID())), newer.Size/2, 0x10); err != nil {
		t.Fatal(err)
	}
	s = open(t, testConfig(mem))
	if got, _ := s.Newest(); got.ID() != newer.ID() {
		t.Fatalf("newest %+v", got)
	}
	if err := s.Verify(newer); !errors.Is(err, codec.ErrCorrupt) {
		t.Fatalf("verify: %v", err)
	}
	if _, _, err := content(s, newer); !errors.Is(err, codec.ErrCorrupt) {
		t.Fatalf("read: %v", err)
	}
	if err := s.SetAside(newer, errors.New("damaged")); err != nil {
		t.Fatal(err)
	}
	if err := s.SetAside(newer, errors.New("damaged")); !errors.Is(err, ErrNotHeld) {
		t.Errorf("set aside twice: %v", err)
	}
	for _, s := range []*Store{s, open(t, testConfig(mem))} {
		if got, _ := s.Newest(); got.ID() != older.ID() || s.Verify(got) != nil {
			t.Fatalf("newest %+v", got)
		}
	}
	if got := files(t, s.cfg, brokenSuffix); len(got) != 1 {
		t.Errorf("moved aside: %v", got)
	}
}

// TestForeignFiles: a directory of another cluster or group, or of a later build, is refused and not touched.
func TestForeignFiles(t *testing.T) {
	cfg := testConfig(vfs.NewMem())
	name := snapshotName(mustTake(t, open(t, cfg), Meta{Base: baseAt(3, 5)}, nil).ID())
	for _, change := range []func(*Config){func(c *Config) { c.Cluster = "other" }, func(c *Config) { c.Group++ }} {
		other := cfg
		change(&other)
		if _, err := Open(other); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), name) {
			t.Errorf("open: %v", err)
		}
	}
	mem := cfg.FS.(*vfs.Mem)
	// The header of a later format: another version, and not what this one would be with that number.
	for _, at := range []int64{4, 9} {
		if err := mem.Flip(filepath.Join(cfg.Dir, name), at, 2); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(cfg); !errors.Is(err, codec.ErrVersion) {
		t.Errorf("open of a later format: %v", err)
	}
	if got := files(t, cfg, ""); !slices.Equal(got, []string{name}) {
		t.Errorf("files %v, want only %s", got, name)
	}
	// Where all but the number is of this version, it is the number that was damaged: a node must start all the same.
	if err := mem.Flip(filepath.Join(cfg.Dir, name), 9, 2); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(cfg); err != nil || len(s.List()) != 0 || len(files(t, cfg, brokenSuffix)) != 1 {
		t.Errorf("open with a damaged version number: %v, files %v; want the file moved aside", err, files(t, cfg, ""))
	}
}

// TestOpenSweeps: unfinished files go, of interrupted transfers the newest stays, and what is nobody's is left alone.
func TestOpenSweeps(t *testing.T) {
	cfg := testConfig(vfs.NewMem())
	s := open(t, cfg)
	mustTake(t, s, Meta{Base: baseAt(3, 5)}, nil)
	if w, err := s.Create(Meta{Base: baseAt(3, 6)}); err != nil || len(files(t, cfg, tempSuffix)) != 1 {
		t.Fatal(err, w)
	}
	part := func(index codec.Index) string {
		return partName(codec.SnapshotID{Log: baseAt(3, index).ID, Size: 1000, Hash: codec.SnapshotHash{byte(index)}})
	}
	for _, name := range []string{part(8), part(9), part(10), part(7), "notes.txt", "x.part", "../../etc/passwd-1-1-1.part"} {
		f, err := cfg.FS.OpenFile(filepath.Join(cfg.Dir, filepath.Base(name)), os.O_CREATE|os.O_WRONLY, filePerm)
		if err != nil || f.Close() != nil {
			t.Fatal(err)
		}
	}
	open(t, cfg)
	if got := files(t, cfg, tempSuffix); len(got) > 0 {
		t.Errorf("not swept: %v", got)
	}
	if got := files(t, cfg, partSuffix); !slices.Equal(got, []string{part(10), "passwd-1-1-1.part", "x.part"}) {
		t.Errorf("parts %v", got)
	}
	if got := files(t, cfg, ".txt"); len(got) != 1 {
		t.Errorf("somebody's notes are gone")
	}
	mustTake(t, open(t, cfg), Meta{Base: baseAt(3, 10)}, nil)
	if got := files(t, cfg, partSuffix); slices.Contains(got, part(10)) {
		t.Errorf("parts %v after a snapshot of the same entry", got)
	}
}

// TestModes: nobody else may read a state.
func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "node", "7")
	s := open(t, Config{Dir: dir, Cluster: "demo"})
	info := mustTake(t, s, Meta{Base: baseAt(3, 5)}, stateOf(1, 3000))
	to := open(t, Config{Dir: filepath.Join(dir, "..", "8"), Cluster: "demo"})
	r, err := to.Receive(info.ID())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Export(info, vfs.OS{}, filepath.Join(dir, "..", "export")); err != nil {
		t.Fatal(err)
	}
	seen := 0
	err = filepath.WalkDir(filepath.Dir(dir), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		stat, err := d.Info()
		want := fs.FileMode(filePerm)
		if d.IsDir() {
			want = folderPerm
		}
		if seen++; stat.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", path, stat.Mode().Perm(), want)
		}
		return err
	})
	if err != nil || seen != 8 {
		t.Errorf("%d names, %v; want 4 directories and 4 files", seen, err)
	}
	if err := r.Abort(); err != nil {
		t.Error(err)
	}
}

func TestClosedStore(t *testing.T) {
	cfg := testConfig(vfs.NewMem())
	s := open(t, cfg)
	info := mustTake(t, s, Meta{Base: baseAt(3, 5)}, stateOf(1, 3000))
	late, err := s.Create(Meta{Base: baseAt(3, 6)})
	if err != nil {
		t.Fatal(err)
	}
	reader, err := s.Open(info)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(Meta{Base: baseAt(3, 7)}); !errors.Is(err, ErrClosed) {
		t.Errorf("create: %v", err)
	}
	if _, err := s.Open(info); !errors.Is(err, ErrClosed) {
		t.Errorf("open: %v", err)
	}
	if _, err := s.OpenRaw(info); !errors.Is(err, ErrClosed) {
		t.Errorf("open raw: %v", err)
	}
	if _, err := s.Receive(info.ID()); !errors.Is(err, ErrClosed) {
		t.Errorf("receive: %v", err)
	}
	if _, err := late.Commit(); !errors.Is(err, ErrClosed) || len(files(t, cfg, "")) != 1 {
		t.Errorf("commit: %v, files %v", err, files(t, cfg, ""))
	}
	if _, err := reader.Read(make([]byte, 10)); err != nil {
		t.Errorf("a reader that was open: %v", err)
	}
	if err := reader.Close(); err != nil {
		t.Error(err)
	}
}

// TestWriterEnds: after Commit and after Abort a writer does nothing more.
func TestWriterEnds(t *testing.T) {
	s := open(t, testConfig(vfs.NewMem()))
	w, err := s.Create(Meta{Base: baseAt(3, 5)})
	if err != nil {
		t.Fatal(err)
	}
	w.Abort()
	w.Abort()
	if _, err := w.Write([]byte("late")); !errors.Is(err, ErrClosed) {
		t.Errorf("write after abort: %v", err)
	}
	if _, err := w.Commit(); !errors.Is(err, ErrClosed) || len(files(t, s.cfg, "")) > 0 {
		t.Errorf("commit after abort: %v, files %v", err, files(t, s.cfg, ""))
	}
	if w, err = s.Create(Meta{Base: baseAt(3, 5)}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	w.Abort()
	if _, err := w.Commit(); !errors.Is(err, ErrClosed) {
		t.Errorf("second commit: %v", err)
	}
	if _, err := w.Write([]byte("late")); !errors.Is(err, ErrClosed) {
		t.Errorf("write after commit: %v", err)
	}
	if len(s.List()) != 1 {
		t.Errorf("%d snapshots", len(s.List()))
	}
}
