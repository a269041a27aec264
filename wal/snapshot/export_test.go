package snapshot

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

const exportDir = "backup/monday"

// exported returns a file system with an export, and what it holds.
func exported(t testing.TB) (mem *vfs.Mem, s *Store, info Info, state []byte) {
	t.Helper()
	mem = vfs.NewMem()
	s = open(t, testConfig(mem))
	state = stateOf(2, 5_000)
	info = mustTake(t, s, Meta{Base: baseAt(3, 900), Sessions: []byte("sessions")}, state)
	if err := s.Export(info, mem, exportDir); err != nil {
		t.Fatal(err)
	}
	return mem, s, info, state
}

// TestExport: an export outlives the power, is whole, and becomes the snapshot of another cluster with a base of its own.
func TestExport(t *testing.T) {
	mem, _, info, state := exported(t)
	r, err := OpenExport(mem.Crash(vfs.LoseAll()), exportDir)
	if err != nil {
		t.Fatal(err)
	}
	cluster, group := r.Cluster()
	if string(r.Sessions()) != "sessions" || r.Info().ID() != info.ID() || cluster != "demo" || group != 7 {
		t.Fatalf("%+v of group %d of %q", r.Info(), group, cluster)
	}
	cfg := testConfig(mem)
	cfg.Cluster, cfg.Group, cfg.Dir = "other", 1, "imported"
	to := open(t, cfg)
	base := codec.LogBase{ID: codec.LogID{Index: 1}}
	base.Membership = codec.MembershipRecord{ID: base.ID, Membership: codec.NewMembership(codec.OneLeaderPerTerm, codec.Node{ID: 9})}
	w, err := to.Create(Meta{Base: base, Sessions: r.Sessions()})
	if err == nil {
		_, err = io.Copy(w, r)
	}
	if err != nil {
		t.Fatal(err)
	}
	if info, err = w.Commit(); err != nil || info.Base.ID != base.ID {
		t.Fatalf("%+v, %v", info, err)
	}
	checkContent(t, open(t, cfg), info, []byte("sessions"), state)
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// TestExportRefused: nothing is written over, and a snapshot that is damaged or gone makes no export.
func TestExportRefused(t *testing.T) {
	mem, s, info, _ := exported(t)
	if err := s.Export(info, mem, exportDir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("export over an export: %v", err)
	}
	if r, err := OpenExport(mem, exportDir); err != nil || r.Close() != nil {
		t.Errorf("the first export afterwards: %v", err)
	}
	if err := s.Export(Info{Base: baseAt(3, 901)}, mem, "backup/tuesday"); !errors.Is(err, ErrNotHeld) {
		t.Errorf("export of nothing: %v", err)
	}
	if err := mem.Flip(s.path(snapshotName(info.ID())), info.Size/2, 1); err != nil {
		t.Fatal(err)
	}
	if err := s.Export(info, mem, "backup/wednesday"); !errors.Is(err, codec.ErrCorrupt) {
		t.Errorf("export of a damaged snapshot: %v", err)
	}
	if names, err := mem.ReadDir("backup/wednesday"); err != nil || len(names) > 0 {
		t.Errorf("left behind %v, %v", names, err)
	}
	if _, err := OpenExport(mem, "backup/wednesday"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open of an empty directory: %v", err)
	}
}

// TestExportCut: whatever operation fails, or whenever the power goes, an export is whole or is none.
func TestExportCut(t *testing.T) {
	for n := 1; ; n++ {
		mem := vfs.NewMem()
		s := open(t, testConfig(mem))
		info := mustTake(t, s, Meta{Base: baseAt(3, 900)}, stateOf(2, 5000))
		fault, done := vfs.NewFault(mem), 0
		fault.InjectIf(vfs.OpWrite, func() bool { done++; return done == n }, vfs.Short, syscall.ENOSPC)
		whole := func(fsys vfs.FS) bool {
			r, err := OpenExport(fsys, exportDir)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			return err == nil && r.Close() == nil
		}
		fault.Before(func(vfs.Op, string) {
			for seed := range uint64(6) {
				whole(mem.Crash(vfs.RandomCrash(seed)))
			}
		})
		err := s.Export(info, fault, exportDir)
		if (err == nil) != whole(mem) || err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("write %d: %v, whole %v", n, err, whole(mem))
		}
		if err == nil {
			if n < 5 || !whole(mem.Crash(vfs.LoseAll())) {
				t.Fatalf("%d writes, or not durable", n)
			}
			return
		}
	}
}

// TestExportDamaged: an export is verified as a whole before a byte of it is given.
func TestExportDamaged(t *testing.T) {
	mem, _, info, _ := exported(t)
	manifest, err := vfs.ReadFile(mem, exportDir+"/"+manifestName, nil)
	if err != nil {
		t.Fatal(err)
	}
	write := func(b []byte) {
		f, err := mem.OpenFile(exportDir+"/"+manifestName, os.O_TRUNC|os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteAt(b, 0)
		}
		if err != nil || f.Close() != nil {
			t.Fatal(err)
		}
	}
	replaced := func(old, new string) []byte {
		if !bytes.Contains(manifest, []byte(old)) {
			t.Fatalf("no %s in %s", old, manifest)
		}
		return bytes.Replace(manifest, []byte(old), []byte(new), 1)
	}
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"nothing":               {nil, codec.ErrCorrupt},
		"half of it":            {manifest[:len(manifest)/2], codec.ErrCorrupt},
		"another index":         {replaced(`"index": 900`, `"index": 901`), codec.ErrCorrupt},
		"another hash":          {replaced(`"sha256": "`, `"sha256": "0`), codec.ErrCorrupt},
		"a file elsewhere":      {replaced(`"state.snapshot"`, `"../../node/secret"`), codec.ErrCorrupt},
		"an unknown field":      {replaced(`"group"`, `"more": 1, "group"`), codec.ErrCorrupt},
		"a later format":        {replaced(`"format": 1`, `"format": 2`), codec.ErrVersion},
		"more than it may have": {append([]byte(strings.Repeat(" ", manifestBytesMax)), manifest...), codec.ErrCorrupt},
	} {
		write(c.b)
		if _, err := OpenExport(mem, exportDir); !errors.Is(err, c.want) {
			t.Errorf("a manifest with %s: %v", name, err)
		}
	}
	write(manifest)
	for at := int64(0); at < info.Size; at += 61 {
		if err := mem.Flip(exportDir+"/"+exportName, at, 2); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenExport(mem, exportDir); !damage(err) {
			t.Errorf("damaged at %d: %v", at, err)
		}
		if err := mem.Flip(exportDir+"/"+exportName, at, 2); err != nil {
			t.Fatal(err)
		}
	}
	if err := mem.Remove(exportDir + "/" + exportName); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenExport(mem, exportDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an export without its file: %v", err)
	}
}
