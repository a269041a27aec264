package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"testing"
)

func writeSynced(t *testing.T, fsys FS, name, text string) File {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		_, err = f.WriteAt([]byte(text), 0)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = fsys.SyncDir("/")
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func contents(t *testing.T, fsys FS, name string) string {
	t.Helper()
	b, err := ReadFile(fsys, name, nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestFlipDamagesWhatIsDurable: a flipped bit is seen at once and survives a power cut that loses everything else.
func TestFlipDamagesWhatIsDurable(t *testing.T) {
	m := NewMem()
	f := writeSynced(t, m, "/a", "damage")
	if _, err := f.WriteAt([]byte("XX"), 4); err != nil {
		t.Fatal(err)
	}
	if err := m.Flip("/a", 1, 'a'^'u'); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, m, "/a"); got != "dumaXX" {
		t.Errorf("readers see %q, want %q", got, "dumaXX")
	}
	if got := contents(t, m.Crash(LoseAll()), "/a"); got != "dumage" {
		t.Errorf("after a power cut %q, want %q", got, "dumage")
	}
	for name, offset := range map[string]int64{"/a": 6, "/b": 0, "/": 0} {
		if err := m.Flip(name, offset, 1); !errors.Is(err, io.EOF) && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("flip of %s at %d: %v, want an error", name, offset, err)
		}
	}
}

// TestStrayWriteLandsElsewhere: the writer is told that all is well, the bytes stand half-way to where they belong.
func TestStrayWriteLandsElsewhere(t *testing.T) {
	f := NewFault(NewMem())
	file := writeSynced(t, f, "/a", "0123456789")
	f.Inject(OpWrite, 1, Stray, nil)
	if n, err := file.WriteAt([]byte("xy"), 8); n != 2 || err != nil {
		t.Errorf("stray write: %d, %v, want 2 and no error", n, err)
	}
	if got := contents(t, f, "/a"); got != "0123xy6789" {
		t.Errorf("file holds %q, want %q", got, "0123xy6789")
	}
	f.Inject(OpWrite, 1, Stray, nil)
	if n, err := file.WriteAt([]byte("xy"), 0); n != 2 || err != nil {
		t.Errorf("stray write at the start: %d, %v, want 2 and no error", n, err)
	}
	f.Inject(OpSync, 1, Stray, nil)
	if err := file.Sync(); err != nil {
		t.Errorf("stray sync: %v, want none", err)
	}
	if got := contents(t, f, "/a"); got != "0123xy6789" || f.Injected() != 3 {
		t.Errorf("file holds %q after %d faults, want %q after 3", got, f.Injected(), "0123xy6789")
	}
}
