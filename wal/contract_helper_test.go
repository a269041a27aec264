package wal

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

// groupLog and nodeLog are what the engine expects of a log.
type groupLog interface {
	Submit(w *codec.LogWrite)
	Frame(codec.Index) (codec.Frame, bool)
	ReadFrame(codec.Index, func(codec.Frame, error))
}

type nodeLog interface {
	Incarnation() codec.Incarnation
	Peers() map[codec.NodeID]codec.Incarnation
	RememberPeer(codec.NodeID, codec.Incarnation, func(error))
	Close() error
}

var (
	_ groupLog = (*Group)(nil)
	_ groupLog = (*MemoryGroup)(nil)
	_ nodeLog  = (*Log)(nil)
	_ nodeLog  = (*Memory)(nil)
)

func openGroup(t testing.TB, l nodeLog, id codec.GroupID, flushed func(uint64, error)) (groupLog, codec.LogState) {
	t.Helper()
	var g groupLog
	var state codec.LogState
	var err error
	switch l := l.(type) {
	case *Log:
		g, state, err = l.Group(id, flushed)
	case *Memory:
		g, state, err = l.Group(id, flushed)
	}
	if err != nil {
		t.Fatal(err)
	}
	return g, state
}

// form is a log the contract holds for. open opens it, again and again in the same place unless forgets is set.
type form struct {
	name    string
	forgets bool
	open    func(t testing.TB) nodeLog
}

func testConfig(dir string) Config {
	return Config{Dir: dir, ClusterID: "contract", Node: 7, SegmentBytes: SegmentBytesMin, RecentBytesMax: 2 << 10}
}

func forms(t testing.TB) []form {
	dir, mem := filepath.Join(t.TempDir(), "a", "node"), vfs.NewMem()
	return []form{
		{"memory", true, func(testing.TB) nodeLog { return NewMemory() }},
		{"tidwall", false, func(t testing.TB) nodeLog {
			l, err := Open(testConfig(dir))
			if err != nil {
				t.Fatal(err)
			}
			return l
		}},
		{"files", false, func(t testing.TB) nodeLog {
			l, err := OpenSimulation(testConfig("a/node"), Simulation{FS: mem, Random: rand.Reader})
			if err != nil {
				t.Fatal(err)
			}
			return l
		}},
	}
}

func eachForm(t *testing.T, test func(t *testing.T, f form)) {
	for _, f := range forms(t) {
		t.Run(f.name, func(t *testing.T) { test(t, f) })
	}
}

// awaiter collects what a group is told and lets a test wait for it.
type awaiter struct {
	mu     sync.Mutex
	cond   sync.Cond
	seq    uint64
	err    error
	errors int
	calls  int
}

func newAwaiter() *awaiter {
	a := &awaiter{}
	a.cond.L = &a.mu
	return a
}

func (a *awaiter) flushed(seq uint64, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls++
	if err != nil {
		a.errors++
		a.err = err
	} else {
		a.seq = seq
	}
	a.cond.Broadcast()
}

// wait returns when everything up to seq is durable, or with the error that says it never will be.
func (a *awaiter) wait(seq uint64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.seq < seq && a.err == nil {
		a.cond.Wait()
	}
	return a.err
}

// driver writes to one group and keeps what its log should hold as a plain list of entries.
type driver struct {
	t       testing.TB
	id      codec.GroupID
	g       groupLog
	flushed *awaiter
	seq     uint64
	leader  codec.LeaderID
	entries []codec.Entry // from index 1 on; those up to base are not in the log
	base    codec.LogBase
	vote    codec.Vote
}

func drive(t testing.TB, l nodeLog, id codec.GroupID) (*driver, codec.LogState) {
	t.Helper()
	d := &driver{t: t, id: id, flushed: newAwaiter(), leader: codec.LeaderID{Term: 1, Node: 7}}
	g, state := openGroup(t, l, id, d.flushed.flushed)
	d.g = g
	return d, state
}

func makeFrame(t testing.TB, id codec.GroupID, leader codec.LeaderID, first codec.Index, kind codec.EntryKind, data ...[]byte) codec.Frame {
	t.Helper()
	buf := make([]byte, codec.FrameHeaderSize)
	for _, d := range data {
		buf = codec.AppendEntry(buf, d)
	}
	f, err := codec.SealFrame(buf, codec.FrameMeta{Group: id, Leader: leader, First: first, Count: uint32(len(data)), Kind: kind}, codec.CompressionNone)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// payload returns data that names its place, so that a wrong entry is never taken for the right one.
func payload(id codec.GroupID, leader codec.LeaderID, i codec.Index, size int) []byte {
	b := fmt.Appendf(nil, "group %d leader %v index %d ", id, leader, i)
	for len(b) < size {
		b = append(b, byte('a'+len(b)%26))
	}
	return b
}

func (d *driver) last() codec.Index { return codec.Index(len(d.entries)) }

// frame makes the next frame of n entries after truncating above to, and applies both to the model.
func (d *driver) frame(to codec.Index, n, size int) codec.Frame {
	d.entries = d.entries[:to]
	var data [][]byte
	for range n {
		i := d.last() + 1
		b := payload(d.id, d.leader, i, size)
		data = append(data, b)
		d.entries = append(d.entries, codec.Entry{ID: codec.LogID{Leader: d.leader, Index: i}, Kind: codec.EntryNormal, Data: b})
	}
	return makeFrame(d.t, d.id, d.leader, to+1, codec.EntryNormal, data...)
}

func (d *driver) submit(w codec.LogWrite) uint64 {
	d.seq++
	w.Seq = d.seq
	if w.HasVote {
		d.vote = w.Vote
	}
	d.g.Submit(&w)
	w = codec.LogWrite{Vote: codec.Vote{Leader: codec.LeaderID{Term: 999}}} // the caller reuses it
	_ = w
	return d.seq
}

func (d *driver) append(n, size int) uint64 {
	return d.submit(codec.LogWrite{Frame: d.frame(d.last(), n, size)})
}

// purge drops every entry up to an index, which is the last of its frame.
func (d *driver) purge(to codec.Index) uint64 {
	d.base = *begin(d.entries[to-1].ID)
	base := d.base
	return d.submit(codec.LogWrite{Purge: &base})
}

// jump puts a snapshot in the place of the log.
func (d *driver) jump(to codec.LogID) *codec.LogBase {
	d.entries = make([]codec.Entry, to.Index)
	d.base = *begin(to)
	base := d.base
	return &base
}

func (d *driver) must(seq uint64) {
	d.t.Helper()
	if err := d.flushed.wait(seq); err != nil {
		d.t.Fatal(err)
	}
}

// read returns the frame that holds an index, from memory or from the files.
func (d *driver) read(i codec.Index) (codec.Frame, error) {
	if f, ok := d.g.Frame(i); ok {
		return f, nil
	}
	type answer struct {
		f   codec.Frame
		err error
	}
	answers := make(chan answer, 1)
	d.g.ReadFrame(i, func(f codec.Frame, err error) { answers <- answer{f, err} })
	a := <-answers
	return a.f, a.err
}

// check compares the group's log with the model, entry by entry.
func (d *driver) check(read func(codec.Index) (codec.Frame, error)) {
	d.t.Helper()
	for i := d.base.ID.Index + 1; i <= d.last(); {
		f, err := read(i)
		if err != nil {
			d.t.Fatalf("index %d: %v", i, err)
		}
		entries, err := f.AppendEntries(nil)
		if err != nil {
			d.t.Fatal(err)
		}
		if entries[0].ID.Index > i || f.Meta().Last() < i {
			d.t.Fatalf("index %d: frame %d..%d", i, f.Meta().First, f.Meta().Last())
		}
		for _, e := range entries {
			if e.ID.Index > d.last() {
				d.t.Fatalf("frame shows index %d, the log ends at %d", e.ID.Index, d.last())
			}
			if want := d.entries[e.ID.Index-1]; e.ID != want.ID || e.Kind != want.Kind || !bytes.Equal(e.Data, want.Data) {
				d.t.Fatalf("index %d holds %v %q, want %v %q", e.ID.Index, e.ID, e.Data, want.ID, want.Data)
			}
		}
		i = f.Meta().Last() + 1
	}
	if f, ok := d.g.Frame(d.last() + 1); ok {
		d.t.Fatalf("frame %v behind the end of the log at %d", f.Meta(), d.last())
	}
	d.checkNotHeld(0)
	d.checkNotHeld(d.base.ID.Index)
	d.checkNotHeld(d.last() + 1)
}

// checkNotHeld checks that an index is neither in memory nor read, and that the error names what the log holds.
func (d *driver) checkNotHeld(i codec.Index) {
	d.t.Helper()
	if f, ok := d.g.Frame(i); ok {
		d.t.Fatalf("index %d is in memory: %v", i, f.Meta())
	}
	want := fmt.Sprintf("the log holds %d to %d:", d.base.ID.Index+1, d.last())
	if d.last() == d.base.ID.Index {
		want = fmt.Sprintf("the log holds nothing from %d on:", d.last()+1)
	}
	if _, err := d.read(i); !errors.Is(err, ErrNotHeld) || !strings.Contains(err.Error(), want) {
		d.t.Fatalf("read of %d: %v, want ErrNotHeld: %s", i, err, want)
	}
}

// checkState compares what an opened group was told with the model.
func (d *driver) checkState(s codec.LogState) {
	d.t.Helper()
	if s.Vote != d.vote {
		d.t.Fatalf("vote %v, want %v", s.Vote, d.vote)
	}
	if !bytes.Equal(appendBase(nil, 0, &s.Base), appendBase(nil, 0, &d.base)) {
		d.t.Fatalf("base %+v, want %+v", s.Base, d.base)
	}
	next := d.base.ID.Index + 1
	for _, m := range s.Frames {
		if m.First != next || m.Group != d.id || m.Count == 0 {
			d.t.Fatalf("frame %+v, want first index %d", m, next)
		}
		for i := m.First; i <= m.Last(); i++ {
			if i > d.last() || d.entries[i-1].ID.Leader != m.Leader || d.entries[i-1].Kind != m.Kind {
				d.t.Fatalf("frame %+v holds index %d, model ends at %d", m, i, d.last())
			}
		}
		next = m.Last() + 1
	}
	if next != d.last()+1 {
		d.t.Fatalf("log ends at %d, want %d", next-1, d.last())
	}
}

func (d *driver) reopen(l nodeLog) codec.LogState {
	d.t.Helper()
	d.flushed, d.seq = newAwaiter(), 0
	g, state := openGroup(d.t, l, d.id, d.flushed.flushed)
	d.g = g
	return state
}

func mustClose(t testing.TB, l nodeLog) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
