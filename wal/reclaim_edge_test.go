package wal

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

// fill returns the size of data with which a frame of one entry ends a segment that far before its limit.
func (w *world) fill(p *promises, before int) int {
	size := int(w.log.book.tail().bytes)
	for n := 1; ; n++ {
		rec := headerSize + len(p.frame(p.last(), 1, n).Bytes())
		if size+uvarintSize(uint64(rec))+rec == w.cfg.SegmentBytes-before {
			return n
		}
	}
}

// Nothing counts in the only segment, and the next one is empty: tidwall/wal does not open a log of one empty file, so the
// segment stays until something stands behind it.
func TestReclaimSparesTheLastRecord(t *testing.T) {
	w := newWorld()
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	p := w.groups[0]
	p.append(1, w.fill(p, 30))
	w.pump()
	p.submit(codec.LogWrite{HasTruncate: true})
	for range 5 {
		w.pump()
	}
	b := w.log.book
	if len(b.segments) != 2 || b.live != 0 || b.tail().bytes != 0 {
		t.Fatalf("%d segments, %d bytes live, %d in the tail", len(b.segments), b.live, b.tail().bytes)
	}
	if err := w.survives(w.mem.Crash(vfs.KeepAll())); err != nil {
		t.Fatal(err)
	}
	p.append(1, 10)
	for range 5 {
		w.pump()
	}
	if s := w.log.Stats(); s.Segments != 1 || s.ReclaimedSegments != 1 {
		t.Fatalf("%+v", s)
	}
	if err := w.survives(w.mem.Crash(vfs.LoseAll())); err != nil {
		t.Fatal(err)
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
}

// A segment is exactly full, the next one was begun and lost its only record with the power: the first gets one more, and
// what the mark says of it later includes that.
func TestReclaimOfASegmentThatWasContinued(t *testing.T) {
	w := newWorld()
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	p := w.groups[0]
	p.append(1, w.fill(p, 0))
	w.pump()
	p.append(1, 100)
	continued := 0
	w.fault.Before(func(o vfs.Op, name string) {
		if o != vfs.OpSync {
			return
		}
		for seed := range uint64(20) {
			next := w.on(w.mem.Crash(vfs.Crash{Seed: seed, KeepName: 1, KeepBlock: 0.5, Garbage: 0.5}))
			if err := next.open(); err != nil {
				t.Fatal(err)
			}
			if len(next.broken()) > 0 { // the torn segment was moved aside
				continued++
			}
			afterContinued(t, next)
		}
	})
	w.pump()
	w.fault.Before(nil)
	if continued == 0 {
		t.Fatal("no segment was continued")
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
}

func afterContinued(t *testing.T, w *world) {
	t.Helper()
	p := w.groups[0]
	for range 6 {
		p.append(1, 900)
		w.pump()
		if err := checkBook(w); err != nil {
			t.Fatal(err)
		}
	}
	p.purge(1)
	for range 5 {
		w.pump()
	}
	if s := w.log.Stats(); s.ReclaimedSegments == 0 {
		t.Fatalf("%+v", s)
	}
	if err := w.survives(w.mem.Crash(vfs.KeepAll())); err != nil {
		t.Fatal(err)
	}
}

// The reader holds no file open that is gone: its space would not come back.
func TestReclaimClosesWhatIsRead(t *testing.T) {
	w := newWorldOf(3)
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	lags, busy := w.groups[2], w.groups[0]
	for range 3 {
		lags.append(1, 700)
	}
	w.pump()
	lags.append(1, 10)
	files := 0
	for i := range 60 {
		busy.append(1, 900)
		if i%3 == 2 {
			busy.purge(0)
		}
		lags.group.ReadFrame(1+codec.Index(i%3), func(f codec.Frame, err error) {
			if err != nil {
				t.Errorf("index %d: %v", 1+i%3, err)
			}
		})
		w.pump()
		files += len(w.log.reader.open)
		for _, s := range w.log.reader.open {
			if _, err := w.mem.Stat(s.name); err != nil {
				t.Fatalf("%s is gone, and open", s.name)
			}
		}
	}
	if s := w.log.Stats(); files == 0 || s.ColdReads < 30 || s.ReclaimedSegments < 5 {
		t.Fatalf("%d files open in all, %+v", files, s)
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
}

// crowd fills the oldest segment with what a group holds on to, and more than half of it with what does not count.
func crowd(t *testing.T) *world {
	t.Helper()
	w := newWorldOf(3)
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	w.groups[2].append(1, 500)
	for range 4 {
		w.groups[0].append(1, 900)
	}
	w.pump()
	if s := w.log.Stats(); s.Segments != 2 || s.ReclaimedSegments != 0 {
		t.Fatalf("%+v", s)
	}
	w.groups[0].purge(0)
	return w
}

// A read error of what is to be moved is told once and harms nothing: the next batches try again, until it works.
func TestReclaimGoesOnAfterAReadError(t *testing.T) {
	w := crowd(t)
	var told bytes.Buffer
	w.log.cfg.Logger = slog.New(slog.NewTextHandler(&told, nil))
	failing := true
	for _, op := range []vfs.Op{vfs.OpRead, vfs.OpOpen} {
		w.fault.InjectIf(op, func() bool { return failing }, vfs.Fail, syscall.EIO)
		for range 4 {
			w.groups[1].append(1, 10)
			w.pump()
		}
	}
	if s := w.log.Stats(); s.ReclaimedSegments != 0 || w.log.queue.poisoned.Load() || w.fault.Injected() < 4 {
		t.Fatalf("%d faults, %+v", w.fault.Injected(), s)
	}
	if n := strings.Count(told.String(), "can't read what is to be moved"); n != 1 {
		t.Fatalf("told %d times: %s", n, told.String())
	}
	failing = false
	for range 4 {
		w.groups[1].append(1, 10)
		w.pump()
	}
	if s := w.log.Stats(); s.ReclaimedSegments != 1 || s.MovedRecords == 0 {
		t.Fatalf("%+v", s)
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
}

// Damage that is met where something is to be moved poisons the log: what counts there can't be brought to safety, and a
// restart would refuse it.
func TestReclaimMeetsDamage(t *testing.T) {
	for what, harm := range map[string]func(mem *vfs.Mem, name string) error{
		"a bit":    func(mem *vfs.Mem, name string) error { return mem.Flip(name, 300, 1) },
		"a length": func(mem *vfs.Mem, name string) error { return mem.Flip(name, 0, 0x80) },
		"the end": func(mem *vfs.Mem, name string) error {
			f, err := mem.OpenFile(name, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			return errors.Join(f.Truncate(600), f.Close())
		},
	} {
		w := crowd(t)
		name := w.log.book.segments[0].name
		if err := harm(w.mem, name); err != nil {
			t.Fatal(err)
		}
		for range 4 {
			w.pump()
		}
		for _, p := range w.groups {
			if p.told != 1 || !errors.Is(p.err, ErrPoisoned) || !errors.Is(p.err, codec.ErrCorrupt) || !strings.Contains(p.err.Error(), name) {
				t.Errorf("%s: group %d was told %d times, %v", what, p.id, p.told, p.err)
			}
		}
		if err := w.close(); !errors.Is(err, codec.ErrCorrupt) {
			t.Errorf("%s: close: %v", what, err)
		}
		if _, err := w.openLog(w.mem); !errors.Is(err, codec.ErrCorrupt) {
			t.Errorf("%s: opened again: %v", what, err)
		}
	}
}

// A simulated log may have smaller files than anybody's, each of one record, and write again what counts as soon as
// anything does not.
func TestReclaimOfTinyFiles(t *testing.T) {
	mem := vfs.NewMem()
	l, err := OpenSimulation(testConfig("node"), Simulation{
		FS: mem, Random: bytes.NewReader(make([]byte, 16)), Manual: true, SegmentBytes: 50, ReclaimPercent: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	g, _, err := l.Group(1, func(uint64, error) {})
	if err != nil {
		t.Fatal(err)
	}
	p := promises{id: 1}
	for seq := range uint64(40) {
		w := codec.LogWrite{Seq: seq + 1, HasVote: true, Vote: codec.Vote{Leader: codec.LeaderID{Term: codec.Term(seq + 1), Node: 1}}}
		if seq == 0 {
			w.Frame = p.frame(0, 1, 10)
		}
		g.Submit(&w)
		l.Pump()
	}
	if s := l.Stats(); s.Records != 42+s.MovedRecords || s.Segments > 6 || s.ReclaimedSegments < 40 || s.MovedRecords < 10 {
		t.Fatalf("%+v", s)
	}
	if f, ok := g.Frame(1); !ok || f.Meta().First != 1 {
		t.Fatalf("the frame is %+v, %v", f.Meta(), ok)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
