package wal

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/millrace/millrace/wal/vfs"
)

// W8: power is cut before each operation of two lives of a log: creation, rolls, close, reopening. Nothing that was
// acknowledged, or reported at open, is lost; and the log always opens again.
func TestCrashAtEveryOperation(t *testing.T) {
	seeds := uint64(12)
	if testing.Short() {
		seeds = 4
	}
	w := newWorld()
	cuts, op := 0, 0
	w.fault.Before(func(o vfs.Op, name string) {
		if op++; !changes(o) {
			return // the disk is as before the operation after it
		}
		for seed := range seeds {
			c := vfs.RandomCrash(uint64(op)*seeds + seed)
			switch seed {
			case 0:
				c = vfs.LoseAll()
			case 1:
				c = vfs.KeepAll()
			}
			cuts++
			if err := w.survives(w.mem.Crash(c)); err != nil {
				t.Fatalf("power cut %+v before operation %d, %v %s: %v", c, op, o, name, err)
			}
		}
	})
	if err := w.script(9); err != nil {
		t.Fatal(err)
	}
	if cuts < 500 {
		t.Fatalf("%d power cuts, want 500", cuts)
	}
	t.Logf("%d power cuts at %d operations", cuts, op)
}

// The same in the second life after a first that was cut or killed at each of its operations: repair itself is cut.
func TestCrashDuringRepair(t *testing.T) {
	cuts, repairs := 0, 0
	for n := 1; ; n += 3 {
		w := newWorld()
		killed, err := w.until(n, func() error { return w.script(3) })
		if err != nil {
			t.Fatal(err)
		}
		if !killed {
			break
		}
		for seed := range uint64(3) {
			second := w.on(w.mem.Crash(tearing(uint64(n)*3 + seed)))
			second.fault.Before(func(o vfs.Op, name string) {
				if o == vfs.OpTruncate {
					repairs++
				}
				if !changes(o) {
					return
				}
				for again := range uint64(2) {
					cuts++
					c := vfs.RandomCrash(uint64(cuts))
					if again == 0 {
						c = tearing(uint64(cuts))
					}
					if err := second.survives(second.mem.Crash(c)); err != nil {
						t.Fatalf("first life cut at %d (seed %d), then %+v before %v %s: %v", n, seed, c, o, name, err)
					}
				}
			})
			if err := second.open(); err != nil {
				t.Fatal(err)
			}
			second.groups[0].append(2, 50)
			second.pump()
			if err := second.close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if repairs < 5 {
		t.Fatalf("%d torn tails, want 5", repairs)
	}
	t.Logf("%d power cuts, %d torn tails repaired", cuts, repairs)
}

// changes tells whether an operation may change the disk or what is sure to be on it.
func changes(o vfs.Op) bool { return o != vfs.OpOpen && o != vfs.OpRead && o != vfs.OpReadDir }

// tearing is a power cut that tears what it can.
func tearing(seed uint64) vfs.Crash {
	return vfs.Crash{Seed: seed, KeepBlock: 0.7, TornBlock: 0.3, KeepName: 0.9, Garbage: 0.3}
}

// sites are the places in the code that ask for a sync, the innermost first.
func sites() (found []string) {
	pc := make([]uintptr, 32)
	frames := runtime.CallersFrames(pc[:runtime.Callers(2, pc)])
	for {
		f, more := frames.Next()
		name := f.Function[strings.LastIndex(f.Function, "/")+1:]
		inVFS := strings.HasPrefix(name, "vfs.") && !strings.HasPrefix(name, "vfs.MkdirAll")
		if !strings.HasSuffix(f.File, "_test.go") && !inVFS {
			found = append(found, fmt.Sprintf("%s:%d", f.File[strings.LastIndex(f.File, "/")+1:], f.Line))
		}
		if !more {
			return found
		}
	}
}

// syncSites returns every place in the package's code that syncs a file or a directory, tidwall's form aside.
func syncSites(t *testing.T) map[string]int {
	t.Helper()
	sites := map[string]int{}
	fset := token.NewFileSet()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(names, filepath.Join("vfs", "vfs.go")) {
		if strings.HasSuffix(name, "_test.go") || name == "tidwall.go" {
			continue
		}
		file, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if s, ok := call.Fun.(*ast.SelectorExpr); ok && (s.Sel.Name == "Sync" || s.Sel.Name == "SyncDir") {
				sites[fmt.Sprintf("%s:%d", filepath.Base(name), fset.Position(s.Sel.Pos()).Line)] = 0
			}
			return true
		})
	}
	return sites
}

// needed counts, for each place that syncs and each kind of name, how often the sync was ignored and whether a power cut
// showed the loss.
type needed struct {
	noticed map[string]bool
	ignored map[string]int
	reached map[string]bool // places of the code
}

// label says what a sync is of.
func label(name string) string {
	name = strings.TrimSuffix(name, tempSuffix)
	switch {
	case strings.HasSuffix(name, brokenSuffix):
		return "broken"
	case strings.Contains(name, "/wal/"):
		return "segment"
	case strings.HasSuffix(name, "disk/deep/node"):
		return "dir"
	}
	return name[strings.LastIndex(name, "/")+1:]
}

// life runs with the n-th sync ignored and cuts the power before each later operation and at the end. It tells whether
// there was an n-th sync.
func (d *needed) life(w *world, n int, run func() error) (reached bool) {
	count, where := 0, ""
	check := func() {
		for seed := range uint64(5) {
			c := vfs.RandomCrash(seed + uint64(count))
			if seed == 0 {
				c = vfs.LoseAll()
			}
			if !d.noticed[where] && w.survives(w.mem.Crash(c)) != nil {
				d.noticed[where] = true
			}
		}
	}
	w.fault.Before(func(o vfs.Op, name string) {
		if where != "" && changes(o) {
			check()
		}
		if o != vfs.OpSync && o != vfs.OpSyncDir {
			return
		}
		if count++; count == n {
			found := sites()
			for _, at := range found {
				d.reached[at] = true
			}
			where = found[0] + " " + label(name)
			d.ignored[where]++
		}
	})
	for _, op := range []vfs.Op{vfs.OpSync, vfs.OpSyncDir} {
		w.fault.InjectIf(op, func() bool { return count == n }, vfs.Ignore, nil)
	}
	err := run()
	w.fault.Before(nil)
	if where != "" && err == nil {
		check()
	}
	return where != ""
}

// secondLives ignores each sync of openings after a first life that was killed (every byte can still be read) or lost
// power before its n-th operation; false when the life has no n-th.
func (d *needed) secondLives(t *testing.T, n int) bool {
	for sync := 1; ; sync++ {
		w := newWorld()
		killed, err := w.until(n, func() error { return w.script(4) })
		if err != nil {
			t.Fatal(err)
		}
		if !killed {
			return false
		}
		for seed := range uint64(4) {
			torn := w.on(w.mem.Crash(tearing(uint64(n)*4 + seed)))
			d.life(torn, sync, torn.short)
		}
		if again := w.on(w.mem); !d.life(again, sync, again.short) {
			return true
		}
	}
}

// afterHalfAWrite does the same after a first life whose n-th write fell short: readable, and on no disk.
func (d *needed) afterHalfAWrite(n int) bool {
	for sync := 1; ; sync++ {
		w := newWorld()
		w.fault.Inject(vfs.OpWrite, n, vfs.Short, syscall.ENOSPC)
		if w.script(4) == nil {
			return false
		}
		w.mem.Kill()
		if again := w.on(w.mem); !d.life(again, sync, again.short) {
			return true
		}
	}
}

// Every sync is needed: with any one call silently ignored there is a power cut that loses something promised. Places
// that sync several things (two directories in a loop) must be needed for each.
func TestEverySyncIsNeeded(t *testing.T) {
	d := &needed{map[string]bool{}, map[string]int{}, map[string]bool{}}
	for n := 1; ; n++ {
		if w := newWorld(); !d.life(w, n, func() error { return w.script(5) }) {
			break
		}
	}
	for n := 1; d.secondLives(t, n); n++ {
	}
	for n := 1; d.afterHalfAWrite(n); n++ {
	}
	inCode := syncSites(t)
	for _, where := range slices.Sorted(maps.Keys(d.ignored)) {
		t.Logf("%-40s ignored %4d times, noticed: %v", where, d.ignored[where], d.noticed[where])
		if !d.noticed[where] {
			t.Errorf("%s: the sync was ignored %d times and nothing was lost: it is not needed, or the checker is blind", where, d.ignored[where])
		}
		at, _, _ := strings.Cut(where, " ")
		if _, ok := inCode[at]; !ok {
			t.Errorf("%s is not a sync that the code shows", at)
		}
	}
	for at := range inCode {
		if !d.reached[at] {
			t.Errorf("%s: sync was never reached", at)
		}
	}
}

// W5, T5: a sync fails once; some systems then count the bytes as written though they never were. Nothing is
// acknowledged; a restart finds them readable, and brings them to the disk before it reports them.
func TestFailedSyncIsNeverTrusted(t *testing.T) {
	injected := 0
	for n := 1; ; n++ {
		for _, effect := range []vfs.Effect{vfs.Fail, vfs.Drop} {
			w := newWorld()
			w.fault.Inject(vfs.OpSync, n, effect, syscall.EIO)
			err := w.script(4)
			if w.fault.Injected() == 0 {
				if err != nil {
					t.Fatal(err)
				}
				if injected == 0 {
					t.Fatal("nothing was injected")
				}
				return
			}
			injected++
			if !errors.Is(err, syscall.EIO) {
				t.Fatalf("sync %d failed: %v, want EIO", n, err)
			}
			w.mem.Kill()
			if err := w.open(); err != nil {
				t.Fatalf("sync %d failed (%v), restart: %v", n, effect, err)
			}
			if err := w.survives(w.mem.Crash(vfs.LoseAll())); err != nil {
				t.Fatalf("sync %d failed (%v), restart, power cut: %v", n, effect, err)
			}
		}
	}
}

// W6, W7, T6, T7: each operation of each kind fails, falls short, or finds no file handle, in a new directory and in ones
// that need repair. The log is poisoned, every group is told once, and a restart finds what was acknowledged and
// nothing wrong.
func TestFaultAtEveryOperation(t *testing.T) {
	fresh := newWorld()
	starts := []*world{fresh, needs(t, vfs.OpTruncate), needs(t, vfs.OpRename), needs(t, vfs.OpTruncate)}
	for _, name := range []string{"IDENTITY.TEMP", "wal/00000000000000000001.9-1.broken.TEMP"} {
		f, err := starts[3].mem.OpenFile(starts[3].cfg.Dir+"/"+name, os.O_CREATE, filePerm)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	for op := range vfs.OpEnd {
		injected := 0
		for _, start := range starts {
			for n := 1; faultsAt(t, start, op, n); n++ {
				injected++
			}
		}
		t.Logf("%v: %d operations failed, 4 ways each", op, injected)
		if injected == 0 {
			t.Errorf("%v: nothing was injected", op)
		}
	}
}

// needs returns a world whose next opening does an operation that only repair does.
func needs(t *testing.T, op vfs.Op) *world {
	t.Helper()
	for n := 1; n < 1000; n++ {
		w := newWorld()
		if _, err := w.until(n, func() error { return w.script(4) }); err != nil {
			t.Fatal(err)
		}
		torn := w.mem.Crash(tearing(uint64(n)))
		probe := w.on(torn.Crash(vfs.KeepAll()))
		if err := probe.open(); err != nil {
			t.Fatal(err)
		}
		if probe.fault.Count(op) > 0 && probe.fault.Count(vfs.OpMkdir) == 0 {
			return w.on(torn)
		}
	}
	t.Fatalf("no world that needs %v", op)
	return nil
}

// faultsAt makes the n-th operation of a kind fail in every way; it tells whether there was one.
func faultsAt(t *testing.T, start *world, op vfs.Op, n int) (reached bool) {
	t.Helper()
	return faultsIn(t, start, func(w *world) error { return w.script(5) }, op, n)
}

func faultsIn(t *testing.T, start *world, life func(*world) error, op vfs.Op, n int) (reached bool) {
	t.Helper()
	for _, f := range []struct {
		effect vfs.Effect
		err    error
	}{{vfs.Fail, syscall.ENOSPC}, {vfs.Short, syscall.ENOSPC}, {vfs.Fail, syscall.EMFILE}, {vfs.Fail, syscall.EACCES}} {
		w := start.on(start.mem.Crash(vfs.KeepAll()))
		w.fault.Inject(op, n, f.effect, f.err)
		err := life(w)
		if w.fault.Injected() == 0 {
			return false
		}
		faultHandled(t, w, fmt.Sprintf("%v %d: %v", op, n, f.err), err, f.err)
	}
	return true
}

func faultHandled(t *testing.T, w *world, what string, err, cause error) {
	t.Helper()
	tolerated := err == nil // a parent that may not be read is not ours
	if !tolerated && !errors.Is(err, cause) {
		t.Fatalf("%s: %v", what, err)
	}
	if errors.Is(err, ErrPoisoned) && w.log != nil && w.log.queue.poisoned.Load() {
		for id, p := range w.groups {
			if w.idle[id] {
				continue
			}
			if p.told != 1 || !errors.Is(p.err, cause) || !errors.Is(p.err, ErrPoisoned) {
				t.Fatalf("%s: group %d was told %d times, %v", what, id, p.told, p.err)
			}
		}
	}
	w.mem.Kill()
	if err := w.survives(w.mem.Crash(vfs.LoseAll())); err != nil {
		t.Fatalf("%s, power cut: %v", what, err)
	}
	if err := w.open(); err != nil {
		t.Fatalf("%s, restart: %v", what, err)
	}
	if err := w.survives(w.mem.Crash(vfs.LoseAll())); err != nil {
		t.Fatalf("%s, restart, power cut: %v", what, err)
	}
}

// A clean close says that nothing was lost since the vote was written, not only since the last start: a leader may
// resume on it, and what it sent before an earlier crash may be held by others alone.
func TestCleanCloseAfterACrash(t *testing.T) {
	w := newWorld()
	life := func(work func()) {
		t.Helper()
		if err := w.open(); err != nil {
			t.Fatal(err)
		}
		work()
		w.pump()
	}
	clean := func() bool {
		t.Helper()
		l, err := w.openLog(w.mem.Crash(vfs.KeepAll()))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, state, err := l.Group(0, func(uint64, error) {})
		if err != nil {
			t.Fatal(err)
		}
		return state.CleanClose
	}
	closeLog := func() {
		t.Helper()
		if err := w.close(); err != nil {
			t.Fatal(err)
		}
	}
	life(func() { w.groups[0].elect(0) })
	w = w.on(w.mem.Crash(vfs.KeepAll()))
	for range 2 {
		life(func() { w.groups[0].append(1, 20) })
		closeLog()
		if clean() {
			t.Fatal("clean, though the life in which the vote was written ended with a crash")
		}
	}
	life(func() { w.groups[0].elect(0) })
	closeLog()
	if !clean() {
		t.Fatal("not clean, though no life since the vote was written ended with a crash")
	}
}
