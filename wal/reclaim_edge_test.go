package wal

import (
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
