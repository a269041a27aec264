package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

// play is a store's life in steps, each of which may be tried again after an error. It knows what was acknowledged.
type play struct {
	cfg   Config
	store *Store
	offer outgoing
	acked codec.Index // newest snapshot whose Commit or Finish returned without an error
}

func newPlay(t testing.TB, fsys vfs.FS) *play {
	return &play{cfg: testConfig(fsys), offer: offer(t, 40, 5000)}
}

func (p *play) open() (err error) {
	if p.store != nil {
		if err := p.store.Close(); err != nil {
			return err
		}
	}
	p.store, err = Open(p.cfg)
	return err
}

// stateAt is the state of the snapshots that are taken here.
func stateAt(index codec.Index) []byte { return stateOf(uint64(index), 3000) }

func (p *play) take(index codec.Index) func() error {
	return func() error {
		_, err := take(p.store, Meta{Base: baseAt(3, index), Sessions: []byte("sessions")}, stateAt(index))
		return p.ack(index, err)
	}
}

func (p *play) ack(index codec.Index, err error) error {
	if err == nil {
		p.acked = max(p.acked, index)
	}
	return err
}

// receive takes the offered file up to an offset, beginning anew wherever it is told to.
func (p *play) receive(until int64) func() error {
	return func() error {
		r, err := p.store.Receive(p.offer.info.ID())
		if err != nil {
			return err
		}
		for at := r.Offset(); at < until; at = r.Offset() {
			if err := r.Write(at, p.offer.bytes[at:min(at+900, until)]); err != nil {
				return err
			}
		}
		if until < p.offer.info.Size {
			return r.Close()
		}
		_, err = r.Finish()
		return p.ack(40, err)
	}
}

func (p *play) steps() []func() error {
	return []func() error{
		p.open, p.take(10), p.take(20), p.take(30), p.receive(2500), p.open, p.receive(4000), p.receive(p.offer.info.Size), p.take(50), p.open,
	}
}

// check opens what is left and returns what is wrong with it: what was acknowledged is there, everything listed is whole,
// nothing unfinished is left but a part, and the store goes on.
func (p *play) check(left vfs.FS) error {
	after := play{cfg: p.cfg, offer: p.offer}
	after.cfg.FS = left
	if err := after.open(); err != nil {
		return err
	}
	if newest, ok := after.store.Newest(); p.acked > 0 && (!ok || newest.Base.ID.Index < p.acked) {
		return fmt.Errorf("newest is %v, acknowledged was %d", newest.Base.ID, p.acked)
	}
	if err := after.whole(); err != nil {
		return err
	}
	names, err := left.ReadDir(p.cfg.Dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if bytes.HasSuffix([]byte(name), []byte(tempSuffix)) || bytes.HasSuffix([]byte(name), []byte(brokenSuffix)) {
			return fmt.Errorf("%s is left", name)
		}
	}
	for _, step := range []func() error{after.receive(p.offer.info.Size), after.take(60), after.open, after.whole} {
		if err := step(); err != nil {
			return err
		}
	}
	return after.store.Close()
}

// whole reads every snapshot that is listed.
func (p *play) whole() error {
	for _, info := range p.store.List() {
		want := p.offer.state
		if index := info.Base.ID.Index; index != 40 {
			want = stateAt(index)
		}
		sessions, state, err := content(p.store, info)
		if err != nil || !bytes.Equal(state, want) || string(sessions) != "sessions" {
			return fmt.Errorf("%v: %d bytes, %w", info.Base.ID, len(state), err)
		}
	}
	return nil
}

// TestPowerCutAnywhere cuts the power before each operation of a life, in many ways: always what was acknowledged is there,
// and one complete snapshot from the first on (S1).
func TestPowerCutAnywhere(t *testing.T) {
	mem := vfs.NewMem()
	fault := vfs.NewFault(mem)
	p := newPlay(t, fault)
	cuts := []vfs.Crash{vfs.LoseAll(), vfs.KeepAll()}
	for seed := range uint64(8) {
		cuts = append(cuts, vfs.RandomCrash(seed))
	}
	counts := map[vfs.Op]int{}
	fault.Before(func(op vfs.Op, name string) {
		counts[op]++
		if op == vfs.OpRead || op == vfs.OpOpen || op == vfs.OpReadDir { // they change nothing
			return
		}
		for _, cut := range cuts {
			if err := p.check(mem.Crash(cut)); err != nil {
				t.Fatalf("power cut before %v %d of %s, seed %d: %v", op, counts[op], name, cut.Seed, err)
			}
		}
	})
	for i, step := range p.steps() {
		if err := step(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	for _, op := range []vfs.Op{vfs.OpCreate, vfs.OpWrite, vfs.OpTruncate, vfs.OpSync, vfs.OpSyncDir, vfs.OpMkdir, vfs.OpRemove, vfs.OpRename} {
		if counts[op] == 0 {
			t.Errorf("the life had no %v", op)
		}
	}
}

// TestErrorAnywhere makes each operation of a life fail once: the step that met it leaves nothing unfinished and nothing of
// before harmed, and does its work when it is tried again (S9 with ENOSPC).
func TestErrorAnywhere(t *testing.T) {
	for op := range vfs.OpEnd {
		for _, effect := range []vfs.Effect{vfs.Fail, vfs.Short, vfs.Drop} {
			if effect == vfs.Short && op != vfs.OpWrite || effect == vfs.Drop && op != vfs.OpSync {
				continue
			}
			for n := 1; errorAt(t, op, n, effect); n++ {
			}
		}
	}
}

// errorAt plays a life with one fault and reports whether it was met.
func errorAt(t *testing.T, op vfs.Op, n int, effect vfs.Effect) bool {
	mem := vfs.NewMem()
	fault := vfs.NewFault(mem)
	p := newPlay(t, fault)
	fault.Inject(op, n, effect, syscall.ENOSPC)
	for i, step := range p.steps() {
		err := step()
		if err == nil {
			continue
		}
		where := fmt.Sprintf("%v %d with effect %d, step %d", op, n, effect, i)
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("%s: %v", where, err)
		}
		if p.store != nil {
			if err := p.whole(); err != nil {
				t.Fatalf("%s: afterwards %v", where, err)
			}
			left, held := files(t, p.cfg, tempSuffix), files(t, p.cfg, snapshotSuffix)
			if (len(left) > 0 || len(held) != len(p.store.List())) && op != vfs.OpRemove {
				t.Fatalf("%s: left behind %v, and %v of %d snapshots", where, left, held, len(p.store.List()))
			}
		}
		if err := step(); err != nil {
			t.Fatalf("%s: tried again: %v", where, err)
		}
	}
	for _, cut := range []vfs.Crash{vfs.LoseAll(), vfs.KeepAll()} {
		if err := p.check(mem.Crash(cut)); err != nil {
			t.Fatalf("%v %d with effect %d: %v", op, n, effect, err)
		}
	}
	if newest, ok := p.store.Newest(); !ok || newest.Base.ID.Index != 50 {
		t.Fatalf("%v %d with effect %d: newest is %v", op, n, effect, newest.Base.ID)
	}
	return fault.Injected() > 0
}

// TestDiskFullForLong: while nothing can be written every step fails, frees what it took, and leaves the last good snapshot (S9).
func TestDiskFullForLong(t *testing.T) {
	mem := vfs.NewMem()
	fault := vfs.NewFault(mem)
	p := newPlay(t, fault)
	full, written := false, 0
	fault.InjectIf(vfs.OpWrite, func() bool { // halfway through each file
		written++
		return full && written > 2
	}, vfs.Short, syscall.ENOSPC)
	for _, step := range []func() error{p.open, p.take(10), p.take(20)} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	before := fmt.Sprint(files(t, p.cfg, ""))
	full = true
	for range 5 {
		for _, step := range []func() error{p.take(30), p.receive(p.offer.info.Size)} {
			written = 0
			if err := step(); !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("on a full disk: %v", err)
			}
			if after := fmt.Sprint(files(t, p.cfg, "")); after != before {
				t.Fatalf("files %s, before %s", after, before)
			}
		}
	}
	full = false
	for _, step := range []func() error{p.whole, p.take(30), p.receive(p.offer.info.Size), p.whole} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBytesThatASyncLost: a sync failed, its part could not be removed, and the process ended; the bytes can still be read
// but no sync will bring them to the disk. The next life writes them again before it counts on them.
func TestBytesThatASyncLost(t *testing.T) {
	mem := vfs.NewMem()
	fault := vfs.NewFault(mem)
	p := newPlay(t, fault)
	fault.Inject(vfs.OpSync, 1, vfs.Drop, syscall.EIO)
	fault.Inject(vfs.OpRemove, 1, vfs.Fail, syscall.EIO)
	if err := p.open(); err != nil {
		t.Fatal(err)
	}
	if err := p.receive(p.offer.info.Size)(); !errors.Is(err, syscall.EIO) || fault.Injected() != 2 {
		t.Fatalf("%v, %d faults", err, fault.Injected())
	}
	next := newPlay(t, mem)
	for _, step := range []func() error{next.open, next.receive(p.offer.info.Size), next.whole} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	if err := next.check(mem.Crash(vfs.LoseAll())); err != nil {
		t.Fatal(err)
	}
}

// TestNameThatASyncLost: a snapshot got its name, which could be neither made durable nor removed, and the process ended. The
// next life lists it only once its name is durable.
func TestNameThatASyncLost(t *testing.T) {
	mem := vfs.NewMem()
	fault := vfs.NewFault(mem)
	p := newPlay(t, fault)
	if err := p.open(); err != nil {
		t.Fatal(err)
	}
	fault.Inject(vfs.OpSyncDir, 1, vfs.Fail, syscall.EIO)
	fault.Inject(vfs.OpRemove, 1, vfs.Fail, syscall.EIO)
	if err := p.take(10)(); !errors.Is(err, syscall.EIO) || fault.Injected() != 2 || len(p.store.List()) != 0 {
		t.Fatalf("%v, %d faults, %d snapshots", err, fault.Injected(), len(p.store.List()))
	}
	next := newPlay(t, mem)
	if err := next.open(); err != nil || len(next.store.List()) != 1 {
		t.Fatalf("%v, %d snapshots", err, len(next.store.List()))
	}
	next.acked = 10
	if err := next.check(mem.Crash(vfs.LoseAll())); err != nil {
		t.Fatal(err)
	}
}
