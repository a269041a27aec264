package wal

import (
	"crypto/rand"
	"errors"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

// nothing is an appender that costs nothing, so that what is counted is the writer's own.
type nothing struct{}

func (nothing) Append(*batch) ([]uint64, error) { return nil, nil }
func (nothing) Sync() error                     { return nil }
func (nothing) Renew(uint64) error              { return nil }
func (nothing) Close() error                    { return nil }

// From Submit to the report, the log allocates nothing for a record once its buffers have grown.
func TestNoAllocationPerRecord(t *testing.T) {
	l, err := OpenSimulation(testConfig("node"), Simulation{FS: vfs.NewMem(), Random: rand.Reader, Manual: true})
	if err != nil {
		t.Fatal(err)
	}
	real := l.writer.appender
	l.writer.appender = nothing{}
	g, _, err := l.Group(1, func(uint64, error) {})
	if err != nil {
		t.Fatal(err)
	}
	leader := codec.LeaderID{Term: 1, Node: 7}
	frames := make([]codec.Frame, 5000)
	for i := range frames {
		frames[i] = makeFrame(t, 1, leader, codec.Index(i)+1, codec.EntryNormal, make([]byte, 200))
	}
	g.index.refs = make([]frameRef, 0, len(frames)+1) // the indexes grow with the log, by doubling
	l.book.groups[1].index.refs = make([]frameRef, 0, len(frames)+1)
	w, n := codec.LogWrite{HasVote: true}, 0
	step := func() {
		for range 10 {
			w.Seq, w.Frame, w.Commit = w.Seq+1, frames[n], codec.Index(n)
			n++
			g.Submit(&w)
		}
		l.Pump()
	}
	for range 50 {
		step()
	}
	if got := testing.AllocsPerRun(300, step); got != 0 {
		t.Fatalf("%v allocations for 10 writes of 2 records, want 0", got)
	}
	l.writer.appender = real
	l.queue.poisoned.Store(true) // the file holds none of it: don't seal
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// Writes that wait while the disk is busy go out together: one sync for all groups.
func TestOneSyncForAllThatWaits(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		p.cfg.SegmentBytes = 0
		l := p.mustOpen(t)
		defer mustClose(t, l)
		var ds []*driver
		for id := range codec.GroupID(5) {
			d, _ := drive(t, l, id)
			ds = append(ds, d)
		}
		before := l.Stats()
		blockWriter(l, func() {
			for range 10 {
				for _, d := range ds {
					d.append(1, 10)
				}
			}
		})
		for _, d := range ds {
			d.must(d.seq)
			if d.flushed.calls != 1 {
				t.Errorf("group %d was told %d times, want once", d.id, d.flushed.calls)
			}
		}
		after := l.Stats()
		if after.Batches-before.Batches != 2 || after.Records-before.Records != 51 {
			t.Fatalf("%+v, before %+v: want 2 batches (peer; 50 frames)", after, before)
		}
	})
}

// Loops of many groups write, cut, and read at the same time; then all is found again.
func TestManyGroupsAtOnce(t *testing.T) {
	eachForm(t, func(t *testing.T, f form) {
		l := f.open(t)
		var ds []*driver
		var wg sync.WaitGroup
		for id := range codec.GroupID(8) {
			d, _ := drive(t, l, id)
			ds = append(ds, d)
			wg.Go(func() {
				for i := range 60 {
					d.append(1+i%3, i*7)
					if i%9 == 8 {
						d.leader.Term++
						to := d.last() - codec.Index(i%5)
						d.submit(codec.LogWrite{HasTruncate: true, Truncate: to, HasVote: true,
							Vote: codec.Vote{Leader: d.leader}, Frame: d.frame(to, 2, 33)})
					}
					if i%16 == 0 {
						if err := d.flushed.wait(d.seq); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		wg.Wait()
		for _, d := range ds {
			d.must(d.seq)
			d.check(d.read)
		}
		mustClose(t, l)
		if f.forgets {
			return
		}
		l = f.open(t)
		defer mustClose(t, l)
		for _, d := range ds {
			d.checkState(d.reopen(l))
			d.check(d.read)
		}
	})
}

// TestTimedWrites: who asks is told once when its frame was written and when it was durable, behind what was submitted before;
// others in the batch are not.
func TestTimedWrites(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		l := p.mustOpen(t)
		defer mustClose(t, l)
		d, _ := drive(t, l, 1)
		type times struct{ written, durable time.Time }
		told := make(chan times, 10)
		timed := func(written, durable time.Time) { told <- times{written, durable} }
		for range 3 {
			submitted := time.Now()
			d.append(2, 100)
			seq := d.submit(codec.LogWrite{Frame: d.frame(d.last(), 2, 100), Timed: timed})
			d.append(2, 100)
			got := <-told
			if d.must(seq); got.written.Before(submitted) || got.durable.Before(got.written) || time.Now().Before(got.durable) {
				t.Errorf("written after %v, durable after %v", got.written.Sub(submitted), got.durable.Sub(submitted))
			}
		}
		d.must(d.seq)
		if len(told) > 0 {
			t.Errorf("told %d times more", len(told))
		}
	})
}

// After an error of the disk nothing is written any more, but a loop that does not know yet goes on for a moment. It must
// find the entries that it has put in the place of others, and never those: a leader may have committed the new ones already.
func TestCutFramesStayCutAfterAnError(t *testing.T) {
	w := newWorld()
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	p := w.groups[0]
	p.append(2, 50)
	p.append(3, 50)
	w.pump()
	w.fault.InjectIf(vfs.OpSync, func() bool { return true }, vfs.Fail, syscall.EIO)
	p.append(1, 50)
	w.pump()
	if !errors.Is(p.err, ErrPoisoned) {
		t.Fatalf("the group was told %v, want %v", p.err, ErrPoisoned)
	}
	p.term++
	put := func(seq uint64, to codec.Index) {
		p.group.Submit(&codec.LogWrite{Seq: p.seq + seq, HasTruncate: true, Truncate: to, Frame: p.frame(to, 1, 50)})
		for i := range codec.Index(8) {
			f, ok := p.group.Frame(i + 1)
			if held := i <= to; ok != held || held && i == to && f.Meta().Leader.Term != p.term {
				t.Errorf("cut behind %d: index %d is in memory: %v, by %v", to, i+1, ok, f.Meta().Leader)
			}
		}
	}
	put(1, 3)
	put(2, 2)
	if err := w.survives(w.mem.Crash(vfs.KeepAll())); err != nil {
		t.Fatal(err)
	}
}
