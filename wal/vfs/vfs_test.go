package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

func eachFS(t *testing.T, test func(t *testing.T, fsys FS, root string)) {
	for name, make := range map[string]func() (FS, string){
		"OS":           func() (FS, string) { return OS{}, t.TempDir() },
		"Mem":          func() (FS, string) { return NewMem(), "/" },
		"Mem relative": func() (FS, string) { return NewMem(), "." },
		"volatile Mem": func() (FS, string) { return NewVolatile(), "/" },
		"Fault":        func() (FS, string) { return NewFault(NewMem()), "/" },
	} {
		t.Run(name, func(t *testing.T) {
			fsys, root := make()
			test(t, fsys, root)
		})
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFilesReadBackWhatWasWritten(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, root string) {
		name := filepath.Join(root, "file")
		if _, err := fsys.OpenFile(name, os.O_RDWR, 0); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("open of nothing: %v", err)
		}
		f, err := fsys.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
		check(t, err)
		defer f.Close()
		if n, err := f.WriteAt([]byte("world"), 1000); n != 5 || err != nil {
			t.Fatal(n, err)
		}
		if n, err := f.WriteAt([]byte("hello"), 0); n != 5 || err != nil {
			t.Fatal(n, err)
		}
		check(t, f.Sync())
		want := append([]byte("hello"), make([]byte, 1000)...)
		copy(want[1000:], "world")
		got, err := ReadFile(fsys, name, nil)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		check(t, f.Truncate(1002))
		check(t, f.Truncate(1010))
		copy(want[1002:], "\x00\x00\x00")
		want = append(want, make([]byte, 5)...)
		if got, err = ReadFile(fsys, name, make([]byte, 4)); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("after truncation %q, %v", got[990:], err)
		}
		b := make([]byte, 20)
		if n, err := f.ReadAt(b, 1000); n != 10 || err != io.EOF {
			t.Fatal(n, err)
		}
		if n, err := f.ReadAt(b, 5000); n != 0 || err != io.EOF {
			t.Fatal(n, err)
		}
		if info, err := fsys.Stat(name); err != nil || info != (Info{Size: 1010}) {
			t.Fatal(info, err)
		}
		if size, err := f.Size(); size != 1010 || err != nil {
			t.Fatal(size, err)
		}
		r, err := fsys.OpenFile(name, os.O_RDONLY, 0)
		check(t, err)
		if _, err := r.WriteAt(b, 0); err == nil {
			t.Fatal("wrote to a file opened for reading")
		}
		check(t, r.Close())
		if _, err := fsys.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600); !errors.Is(err, fs.ErrExist) {
			t.Fatalf("O_EXCL: %v", err)
		}
		f2, err := fsys.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
		check(t, err)
		check(t, f2.Close())
		if size, _ := f.Size(); size != 0 {
			t.Fatalf("O_TRUNC left %d bytes", size)
		}
	})
}

func TestNames(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, root string) {
		dir := filepath.Join(root, "a", "b", "c")
		check(t, MkdirAll(fsys, dir, 0o700))
		check(t, MkdirAll(fsys, dir, 0o700))
		for _, n := range []string{"z", "x", "y"} {
			f, err := fsys.OpenFile(filepath.Join(dir, n), os.O_CREATE|os.O_WRONLY, 0o600)
			check(t, err)
			check(t, f.Close())
		}
		check(t, fsys.Rename(filepath.Join(dir, "z"), filepath.Join(dir, "w")))
		check(t, fsys.Rename(filepath.Join(dir, "x"), filepath.Join(dir, "y")))
		check(t, fsys.SyncDir(dir))
		if names, err := fsys.ReadDir(dir); err != nil || !slices.Equal(names, []string{"w", "y"}) {
			t.Fatal(names, err)
		}
		check(t, fsys.Remove(filepath.Join(dir, "w")))
		for what, err := range map[string]error{
			"remove":  fsys.Remove(filepath.Join(dir, "w")),
			"rename":  fsys.Rename(filepath.Join(dir, "w"), filepath.Join(dir, "v")),
			"syncdir": fsys.SyncDir(filepath.Join(root, "q")),
			"mkdir":   fsys.Mkdir(filepath.Join(root, "q", "r"), 0o700),
		} {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s of nothing: %v", what, err)
			}
		}
		if err := fsys.Mkdir(dir, 0o700); !errors.Is(err, fs.ErrExist) {
			t.Errorf("mkdir again: %v", err)
		}
		if _, err := fsys.ReadDir(filepath.Join(root, "q")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("readdir of nothing: %v", err)
		}
		if err := fsys.Remove(dir); err == nil {
			t.Error("removed a directory that is not empty")
		}
		if err := MkdirAll(fsys, filepath.Join(dir, "y", "under"), 0o700); err == nil {
			t.Error("made a directory in a file")
		}
	})
}

func TestLock(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, root string) {
		name := filepath.Join(root, "LOCK")
		l, err := fsys.Lock(name, 0o600)
		check(t, err)
		if _, err := fsys.Lock(name, 0o600); !errors.Is(err, ErrLocked) {
			t.Fatalf("second lock: %v", err)
		}
		check(t, l.Close())
		l, err = fsys.Lock(name, 0o600)
		check(t, err)
		check(t, l.Close())
	})
}

// write makes or changes a file on a Mem without syncing.
func write(t *testing.T, m *Mem, name string, at int64, b []byte) File {
	t.Helper()
	f, err := m.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	check(t, err)
	_, err = f.WriteAt(b, at)
	check(t, err)
	return f
}

// A power cut takes what was not synced, and only that: bytes, sizes, truncations, names.
func TestCrashTakesOnlyWhatWasNotSynced(t *testing.T) {
	old, young := bytes.Repeat([]byte{1}, 3000), bytes.Repeat([]byte{2}, 5000)
	m := NewMem()
	f := write(t, m, "f", 0, old)
	check(t, f.Sync())
	g := write(t, m, "gone", 0, old)
	check(t, g.Sync())
	check(t, m.SyncDir("/"))
	write(t, m, "f", 0, young)
	write(t, m, "new", 0, old)
	check(t, m.Remove("gone"))
	check(t, m.Rename("f", "f2"))

	lost := m.Crash(LoseAll())
	if names, _ := lost.ReadDir("/"); !slices.Equal(names, []string{"f", "gone"}) {
		t.Fatal(names)
	}
	if b, err := ReadFile(lost, "f", nil); err != nil || !bytes.Equal(b, old) {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	kept := m.Crash(KeepAll())
	if names, _ := kept.ReadDir("/"); !slices.Equal(names, []string{"f2", "new"}) {
		t.Fatal(names)
	}
	if b, err := ReadFile(kept, "f2", nil); err != nil || !bytes.Equal(b, young) {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	// What survived is durable: a second power cut takes nothing.
	if b, err := ReadFile(kept.Crash(LoseAll()), "f2", nil); err != nil || !bytes.Equal(b, young) {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	check(t, f.Truncate(100))
	if b, _ := ReadFile(m.Crash(Crash{KeepName: 1}), "f2", nil); !bytes.Equal(b, old) {
		t.Fatalf("truncation that was not synced: %d bytes", len(b))
	}
	check(t, f.Sync())
	if b, _ := ReadFile(m.Crash(Crash{KeepName: 1}), "f2", nil); !bytes.Equal(b, young[:100]) {
		t.Fatalf("truncation that was synced: %d bytes", len(b))
	}
}

// Over many seeds every fate occurs: of a block kept, lost, torn, garbage; of a size; of a name; and the same seed
// repeats itself.
func TestCrashFates(t *testing.T) {
	m := NewMem()
	f := write(t, m, "f", 0, bytes.Repeat([]byte{1}, 4*BlockBytes))
	check(t, f.Sync())
	check(t, m.SyncDir("/"))
	write(t, m, "f", 0, bytes.Repeat([]byte{2}, 8*BlockBytes))
	write(t, m, "new", 0, []byte("x"))
	fates := map[string]int{}
	for seed := range uint64(300) {
		c := RandomCrash(seed)
		b, err := ReadFile(m.Crash(c), "f", nil)
		check(t, err)
		again, err := ReadFile(m.Crash(c), "f", nil)
		if err != nil || !bytes.Equal(b, again) {
			t.Fatalf("seed %d does not repeat itself", seed)
		}
		fates[fmt.Sprintf("blocks %d", (len(b)+BlockBytes-1)/BlockBytes)]++
		for at := 0; at < len(b); at += BlockBytes {
			block := b[at:min(len(b), at+BlockBytes)]
			count := func(v byte) int { return bytes.Count(block, []byte{v}) }
			switch beyond := at >= 4*BlockBytes; {
			case count(2) == len(block):
				fates["kept"]++
			case count(1) == len(block) && !beyond:
				fates["old"]++
			case count(0) == len(block) && beyond:
				fates["zero"]++
			case block[0] == 2 && count(2)+count(1)+count(0) == len(block):
				fates["torn"]++
			case beyond:
				fates["garbage"]++
			case count(1)+count(2) != len(block):
				t.Fatalf("seed %d block %d holds what never was there", seed, at/BlockBytes)
			}
		}
		if _, err := m.Crash(c).Stat("new"); err == nil {
			fates["name kept"]++
		} else {
			fates["name lost"]++
		}
	}
	for _, want := range []string{"kept", "old", "zero", "torn", "garbage", "name kept", "name lost", "blocks 4", "blocks 8"} {
		if fates[want] == 0 {
			t.Errorf("%s never happened: %v", want, fates)
		}
	}
}

func TestFaults(t *testing.T) {
	m := NewMem()
	f := NewFault(m)
	file, err := f.OpenFile("f", os.O_CREATE|os.O_RDWR, 0o600)
	check(t, err)
	f.Inject(OpWrite, 2, Short, syscall.ENOSPC)
	f.Inject(OpSync, 1, Ignore, nil)
	f.Inject(OpSync, 2, Drop, syscall.EIO)
	f.Inject(OpRename, 1, Fail, syscall.EACCES)
	var seen []Op
	f.Before(func(op Op, _ string) { seen = append(seen, op) })

	_, err = file.WriteAt([]byte("12345678"), 0)
	check(t, err)
	if n, err := file.WriteAt([]byte("abcdefgh"), 8); n != 4 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(n, err)
	}
	check(t, m.SyncDir("/"))
	check(t, file.Sync())
	if b, _ := ReadFile(m.Crash(LoseAll()), "f", nil); len(b) != 0 {
		t.Fatalf("an ignored sync kept %q", b)
	}
	if err := file.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	check(t, file.Sync())
	if b, _ := ReadFile(m, "f", nil); string(b) != "12345678abcd" {
		t.Fatalf("%q can be read", b)
	}
	if b, _ := ReadFile(m.Crash(LoseAll()), "f", nil); bytes.Contains(b, []byte("1")) {
		t.Fatalf("after a dropped sync another brought %q to the disk", b)
	}
	if err := f.Rename("f", "g"); !errors.Is(err, syscall.EACCES) {
		t.Fatal(err)
	}
	check(t, f.Rename("f", "g"))
	if f.Injected() != 4 || f.Count(OpSync) != 3 || f.Count(OpWrite) != 2 || len(seen) != 7 {
		t.Fatalf("%d injected, %d syncs, %d writes, %v", f.Injected(), f.Count(OpSync), f.Count(OpWrite), seen)
	}
}

// MkdirAll makes every name durable that it made, and that of the directory it found.
func TestMkdirAllIsDurable(t *testing.T) {
	for ignored := range 5 {
		m := NewMem()
		check(t, m.Mkdir("a", 0o700)) // by a process that was killed before it synced
		f := NewFault(m)
		if ignored > 0 {
			f.Inject(OpSyncDir, ignored, Ignore, nil)
		}
		check(t, MkdirAll(f, "a/b/c/d", 0o700))
		_, err := m.Crash(LoseAll()).Stat("a/b/c/d")
		if (err == nil) != (ignored == 0) {
			t.Errorf("sync %d ignored: %v", ignored, err)
		}
	}
}

// TestVolatile: a file that was synced is there once, and gone after a power cut, which leaves a file system that works.
func TestVolatile(t *testing.T) {
	m := NewVolatile()
	f := writeSynced(t, m, "/file", "text")
	check(t, f.Close())
	if got := contents(t, m, "/file"); got != "text" {
		t.Fatalf("%q", got)
	}
	if n := m.node("/file"); len(n.disk) > 0 || len(n.dirty) > 0 {
		t.Errorf("%d bytes and %d blocks are kept beside the file", len(n.disk), len(n.dirty))
	}
	after := m.Crash(KeepAll())
	if names, err := after.ReadDir("/"); err != nil || len(names) > 0 {
		t.Fatalf("%v, %v after a power cut", names, err)
	}
	check(t, writeSynced(t, after, "/file", "again").Close())
}
