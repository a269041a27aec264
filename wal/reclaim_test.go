package wal

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

// busy is a script whose old segments go: groups 0 and 1 write and purge, group 2 lags behind and holds on to what it has,
// group 3 is only opened in the first life, and holds a vote, a base, frames, one of them cut, and a membership.
func (w *world) busy(rounds int) error {
	for life := range 3 {
		w.idle = map[codec.GroupID]bool{3: life > 0}
		if err := w.open(); err != nil {
			return err
		}
		a, b, lags, idle := w.groups[0], w.groups[1], w.groups[2], w.groups[3]
		for _, p := range w.groups {
			p.term++
		}
		if life == 0 {
			w.remember(9)
			idle.elect(0)
			idle.member()
			idle.append(5, 60)
			idle.append(3, 60)
			idle.purge(9)
			idle.submit(codec.LogWrite{HasTruncate: true, Truncate: idle.last() - 1, Commit: 4})
			lags.jump(3)
			lags.member()
		}
		for i := range rounds {
			a.append(1+i%3, 400)
			w.pump()
			b.append(1, 900)
			switch i % 5 {
			case 1:
				a.purge(3)
				b.purge(2)
			case 2:
				if lags.append(1+i%2, 300); i%10 == 7 {
					lags.member()
				}
			case 3:
				lags.elect(codec.Index(i % 7))
			case 4:
				b.elect(1)
				lags.submit(codec.LogWrite{Commit: lags.last(), HasVote: true, Vote: codec.Vote{Leader: codec.LeaderID{Term: lags.term, Node: 3}, Committed: true}})
			}
			w.pump()
			if i == rounds-2 || life == 2 && i%10 == 8 {
				lags.purge(4)
			}
			if life == 2 && i == 3 {
				w.remember(8)
				b.jump(5)
			}
		}
		for w.log.Pump() { // until nothing is left to do
		}
		if !w.log.queue.poisoned.Load() {
			w.look()
			if err := checkBook(w); err != nil {
				return err
			}
		}
		if err := w.close(); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) remember(id codec.NodeID) {
	w.log.RememberPeer(id, codec.Incarnation{byte(id)}, func(err error) {
		if err == nil {
			w.peers[id] = codec.Incarnation{byte(id)}
		}
	})
}

// member appends a membership.
func (p *promises) member() {
	i := p.last() + 1
	m := codec.NewMembership(codec.SeveralLeadersPerTerm, codec.Node{ID: 3, Address: fmt.Sprint("at:", i)})
	buf := codec.AppendEntry(make([]byte, codec.FrameHeaderSize), codec.AppendMembership(nil, &m))
	f, err := codec.SealFrame(buf, codec.FrameMeta{Group: p.id, Leader: codec.LeaderID{Term: p.term, Node: 3}, First: i, Count: 1,
		Kind: codec.EntryMembership}, codec.CompressionNone)
	if err != nil {
		panic(err)
	}
	p.submit(codec.LogWrite{Frame: f, Commit: i - 1})
}

// S1, W8: power is cut before each operation of three lives in which old segments are reclaimed all the time. Nothing that was
// acknowledged is lost, nothing that was reclaimed takes space again, and the log always opens.
func TestCrashWhileReclaiming(t *testing.T) {
	seeds := uint64(10)
	if testing.Short() {
		seeds = 3
	}
	w := newWorldOf(4)
	cuts, op, unlinks := 0, 0, 0
	w.fault.Before(func(o vfs.Op, name string) {
		if op++; !changes(o) {
			return
		}
		if o == vfs.OpRemove {
			unlinks++
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
	if err := w.busy(25); err != nil {
		t.Fatal(err)
	}
	if moved := movedKinds(t, w); moved < 3 {
		t.Fatalf("records of %d moved kinds in the files, want 3", moved)
	}
	s := w.log.Stats()
	if unlinks < 15 || s.MovedRecords < 20 || s.Segments > 12 {
		t.Fatalf("%d files removed, in the last life %+v", unlinks, s)
	}
	t.Logf("%d power cuts at %d operations, %d files removed, in the last life %+v", cuts, op, unlinks, s)
}

// movedKinds counts the moved kinds of which there are records in the files.
func movedKinds(t *testing.T, w *world) int {
	t.Helper()
	kinds := map[kind]bool{}
	p := place{fs: w.mem, cfg: w.cfg}
	for _, name := range p.segments(t) {
		b := p.read(t, name)
		starts := recordStarts(t, b)
		for _, at := range starts[:len(starts)-1] {
			r, err := readRecord(b[at:], w.log.fingerprint)
			if err != nil {
				t.Fatal(err)
			}
			if r.kind >= kindMovedFrame {
				kinds[r.kind] = true
			}
		}
	}
	return len(kinds)
}

// The same in the life after one that was cut or killed: what it was about to reclaim is reclaimed then, and repair meets files
// that are gone, or back again.
func TestCrashAfterACrashWhileReclaiming(t *testing.T) {
	step := 11
	if testing.Short() {
		step = 61
	}
	var points []int // each step, and wherever a mark or a file goes
	probe, op := newWorldOf(4), 0
	probe.fault.Before(func(o vfs.Op, name string) {
		if op++; op%step == 0 || o == vfs.OpRename || o == vfs.OpRemove && !testing.Short() || o == vfs.OpSyncDir && label(name) == "wal" {
			points = append(points, op)
		}
	})
	if err := probe.busy(12); err != nil {
		t.Fatal(err)
	}
	cuts, swept := 0, 0
	for _, n := range points {
		first := newWorldOf(4)
		if killed, err := first.until(n, func() error { return first.busy(12) }); err != nil || !killed {
			t.Fatalf("operation %d: killed %v, %v", n, killed, err)
		}
		for seed := range uint64(2) {
			how := tearing(uint64(n)*2 + seed)
			how.KeepName = float64(seed)/2 + 0.4
			w := first.on(first.mem.Crash(how))
			c, s := lifeAfter(t, w, fmt.Sprintf("first life cut at %d (seed %d)", n, seed))
			cuts, swept = cuts+c, swept+s
		}
	}
	if swept == 0 {
		t.Fatal("no file came back")
	}
	t.Logf("%d power cuts, %d files that were reclaimed came back", cuts, swept)
}

// lifeAfter is a short life that is cut at each operation. It returns how many cuts there were, and how many files repair had
// to remove.
func lifeAfter(t *testing.T, w *world, what string) (cuts, swept int) {
	t.Helper()
	opening := true
	w.fault.Before(func(o vfs.Op, name string) {
		if o == vfs.OpRemove && opening && label(name) == "segment" {
			swept++
		}
		if !changes(o) {
			return
		}
		cuts++
		c := tearing(uint64(cuts))
		if cuts%2 == 0 {
			c = vfs.RandomCrash(uint64(cuts))
		}
		if err := w.survives(w.mem.Crash(c)); err != nil {
			t.Fatalf("%s, then %+v before %v %s: %v", what, c, o, name, err)
		}
	})
	if err := w.open(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	opening = false
	for i := range 6 {
		w.groups[0].append(1, 900)
		w.groups[0].purge(1)
		w.groups[2].append(i%2+1, 30)
		w.pump()
	}
	if err := checkBook(w); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	return cuts, swept
}

// W6, W7: each operation fails while old segments are reclaimed. The log is poisoned, but for a read of what is to be moved,
// and a restart finds what was acknowledged.
func TestFaultWhileReclaiming(t *testing.T) {
	step := 3
	if testing.Short() {
		step = 13
	}
	start := newWorldOf(4)
	for op := range vfs.OpEnd {
		injected := 0
		for n := 1; faultsIn(t, start, func(w *world) error { return w.busy(10) }, op, n); n += step {
			injected++
		}
		t.Logf("%v: %d operations failed, 4 ways each", op, injected)
		if injected == 0 && op != vfs.OpTruncate && op != vfs.OpMkdir {
			t.Errorf("%v: nothing was injected", op)
		}
	}
}

// One group lags behind for ever, one is not even opened, six are busy and purge. The log takes no more than about twice what
// its groups hold, whatever is written, and writes no more again than was written new; who lags can read all it has.
func TestLaggingGroupsDoNotPinTheLog(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		p.cfg.SegmentBytes = 16 << 10
		l := openPlace(t, p)
		idle, _ := drive(t, l, 50)
		idle.submit(codec.LogWrite{HasVote: true, Vote: codec.Vote{Leader: idle.leader}})
		idle.append(20, 300)
		idle.must(idle.append(3, 3000))
		mustClose(t, l)
		l = openPlace(t, p)
		lags, _ := drive(t, l, 40)
		lags.append(30, 1000)
		lags.must(lags.append(3, 100))
		var busy []*driver
		for id := range codec.GroupID(6) {
			d, _ := drive(t, l, id)
			busy = append(busy, d)
		}
		worst := int64(0)
		for i := range 100_000 {
			if s := l.Stats(); i >= 500 && s.ReclaimedSegments >= 100 {
				break
			}
			for _, d := range busy {
				d.append(1, 1000)
				if i%8 == 7 {
					d.purge(d.last() - 4)
				}
			}
			if i%50 == 7 {
				lags.append(1, 100)
			}
			for _, d := range busy {
				d.must(d.seq)
			}
			s := l.Stats()
			worst = max(worst, s.LiveBytes+s.DeadBytes)
			if bound := 2*s.LiveBytes + 12*int64(p.cfg.SegmentBytes); s.LiveBytes+s.DeadBytes > 3*bound { // far beyond what a slow reclaimer explains
				t.Fatalf("round %d: %d bytes live, %d dead", i, s.LiveBytes, s.DeadBytes)
			}
		}
		s := l.Stats()
		if own := s.BytesWritten - s.MovedBytes; s.MovedBytes > own || s.MovedRecords == 0 || s.ReclaimedSegments < 100 {
			t.Errorf("%d bytes written, %d again: %+v", own, s.MovedBytes, s)
		}
		lags.check(lags.read)
		mustClose(t, l)
		l = openPlace(t, p)
		for _, d := range append(busy, lags, idle) {
			d.checkState(d.reopen(l))
			d.check(d.read)
		}
		mustClose(t, l)
		t.Logf("at most %d bytes, at the end %+v", worst, s)
	})
}

func openPlace(t *testing.T, p place) *Log {
	t.Helper()
	var l *Log
	var err error
	if _, real := p.fs.(vfs.OS); real {
		l, err = Open(p.cfg)
	} else {
		l, err = OpenSimulation(p.cfg, Simulation{FS: p.fs, Random: rand.Reader})
	}
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Frames that are moved, and moved again, are read from wherever they stand, while the files they stood in go.
func TestColdReadsOfWhatIsMoved(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		l := p.mustOpen(t)
		defer mustClose(t, l)
		lags, _ := drive(t, l, 1)
		for range 20 {
			lags.append(2, 150)
		}
		lags.must(lags.append(1, 3000))
		lags.must(lags.append(1, 10)) // of those before the large one none is in memory any more
		stop := make(chan struct{})
		reads := make(chan int)
		go func() {
			n := 0
			for {
				select {
				case <-stop:
					reads <- n
					return
				default:
				}
				i := codec.Index(1 + n*7%40)
				if f, err := lags.read(i); err != nil || f.Meta().First > i || f.Meta().Last() < i {
					t.Errorf("index %d: %+v, %v", i, f.Meta(), err)
				}
				n++
			}
		}()
		busy, _ := drive(t, l, 2)
		for i := range 100_000 {
			if s := l.Stats(); s.ReclaimedSegments >= 20 && s.MovedRecords >= 60 && s.ColdReads >= 100 {
				break
			}
			busy.append(1, 900)
			if i%4 == 3 {
				busy.purge(busy.last())
			}
			busy.must(busy.seq)
		}
		close(stop)
		n := <-reads
		s := l.Stats()
		if s.ReclaimedSegments < 20 || s.MovedRecords < 60 || s.ColdReads < 100 {
			t.Fatalf("%d reads while %+v", n, s)
		}
		lags.check(lags.read)
	})
}

// A read that a purge overtakes is an error that says so, and the next one says what the log holds.
func TestReadOvertakenByAPurge(t *testing.T) {
	w, p := manualLog(t)
	var got error
	ask := func() { p.group.ReadFrame(3, func(_ codec.Frame, err error) { got = err }) }
	ask()
	p.purge(2)
	w.pump()
	if !errors.Is(got, ErrStale) || !strings.Contains(got.Error(), "purged") {
		t.Fatalf("%v, want ErrStale", got)
	}
	if ask(); !errors.Is(got, ErrNotHeld) || !strings.Contains(got.Error(), "the log holds 12 to 13:") {
		t.Fatalf("%v, want ErrNotHeld", got)
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
}

// A vote that is moved keeps what is known of the lives since it was given.
func TestMovedVoteKeepsTheCrash(t *testing.T) {
	for _, crashed := range []bool{false, true} {
		w := newWorld()
		life := func(work func()) {
			t.Helper()
			if err := w.open(); err != nil {
				t.Fatal(err)
			}
			work()
			w.pump()
		}
		life(func() { w.groups[0].elect(0) })
		if crashed {
			w.mem.Kill()
		} else if err := w.close(); err != nil {
			t.Fatal(err)
		}
		life(func() {
			for range 30 {
				w.groups[1].append(1, 900)
				w.groups[1].purge(0)
				w.pump()
			}
		})
		if s := w.log.Stats(); s.ReclaimedSegments < 3 || w.log.book.segments[0].first == 1 {
			t.Fatalf("%+v", s)
		}
		if err := w.close(); err != nil {
			t.Fatal(err)
		}
		l, err := w.openLog(w.mem)
		if err != nil {
			t.Fatal(err)
		}
		_, state, err := l.Group(0, func(uint64, error) {})
		if err != nil || state.CleanClose == crashed || state.Vote.IsZero() {
			t.Errorf("crashed %v: %+v, %v", crashed, state, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// More segments than tidwall/wal is trusted to remember.
func TestManySegments(t *testing.T) {
	p := places(t)[0]
	l := p.mustOpen(t)
	d, _ := drive(t, l, 1)
	for range renewAfter + 50 {
		d.append(1, SegmentBytesMin)
		d.must(d.purge(d.last()))
	}
	s := l.Stats()
	if s.DirSyncs < renewAfter || s.ReclaimedSegments < renewAfter/2 || l.writer.begun >= renewAfter {
		t.Fatalf("%+v", s)
	}
	mustClose(t, l)
	l = p.mustOpen(t)
	d.checkState(d.reopen(l))
	mustClose(t, l)
}
