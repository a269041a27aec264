package storagetest

import (
	"bytes"
	"fmt"
	"sync"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
)

// reports collects what a group is told, and remembers what it should not have been told.
type reports struct {
	mu        sync.Mutex
	submitted uint64
	seq       uint64
	err       error
	calls     int
	problems  []string
	changed   chan struct{} // closed and made anew at each report
}

func newReports() *reports { return &reports{changed: make(chan struct{})} }

func (r *reports) flushed(seq uint64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	switch {
	case r.err != nil:
		r.problems = append(r.problems, fmt.Sprintf("flushed(%d, %v) after the error %v", seq, err, r.err))
	case err == nil && seq > r.submitted:
		r.problems = append(r.problems, fmt.Sprintf("write %d is reported, the newest submitted is %d", seq, r.submitted))
	case err == nil && seq < r.seq:
		r.problems = append(r.problems, fmt.Sprintf("write %d is reported after write %d", seq, r.seq))
	}
	if err != nil {
		r.err = err
	} else {
		r.seq = max(r.seq, seq)
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *reports) check(s *logRun) {
	s.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.problems {
		s.Errorf("%s", p)
	}
}

// told returns what was reported so far.
func (r *reports) told() (seq uint64, calls int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seq, r.calls, r.err
}

// group is one group's log and the model of it: a plain list of entries.
type group struct {
	s       *logRun
	id      codec.GroupID
	log     pipeline.GroupLog
	reports *reports
	seq     uint64
	leader  codec.LeaderID

	base    codec.LogBase
	entries []codec.Entry // from index 1 on; those up to the base are not in the log
	starts  []codec.Index // first index of each frame
	vote    codec.Vote
	commit  codec.Index // newest that was submitted
}

// group opens a group of an empty log.
func (s *logRun) group(id codec.GroupID) *group {
	s.Helper()
	g := &group{s: s, id: id, leader: codec.LeaderID{Term: 1, Node: 7}}
	s.groups = append(s.groups, g)
	g.checkState(g.openAgain())
	return g
}

// openAgain opens the group in the log that is open now.
func (g *group) openAgain() codec.LogState {
	g.s.Helper()
	if g.reports != nil {
		g.reports.check(g.s)
	}
	g.reports, g.seq = newReports(), 0
	l, state, err := g.s.log.Group(g.id, g.reports.flushed)
	if err != nil || l == nil {
		g.s.Fatalf("group %d: Group returned %v, %v", g.id, l, err)
	}
	g.log = l
	return state
}

func (g *group) last() codec.Index { return codec.Index(len(g.entries)) }

// idAt returns the log id at an index that the log holds or begins behind.
func (g *group) idAt(i codec.Index) codec.LogID {
	if i == g.base.ID.Index {
		return g.base.ID
	}
	return g.entries[i-1].ID
}

// payload names its place, so that a wrong entry is never taken for the right one.
func (g *group) payload(i codec.Index, size int) []byte {
	b := fmt.Appendf(nil, "group %d leader %v index %d ", g.id, g.leader, i)
	for len(b) < size {
		b = append(b, byte('a'+len(b)%26))
	}
	return b
}

func (g *group) payloads(n, size int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = g.payload(g.last()+1+codec.Index(i), size)
	}
	return out
}

// frame makes the frame that follows and adds it to the model.
func (g *group) frame(kind codec.EntryKind, c codec.Compression, data ...[]byte) codec.Frame {
	g.s.Helper()
	buf := make([]byte, codec.FrameHeaderSize)
	g.starts = append(g.starts, g.last()+1)
	first := g.last() + 1
	for _, d := range data {
		buf = codec.AppendEntry(buf, d)
		g.entries = append(g.entries, codec.Entry{ID: codec.LogID{Leader: g.leader, Index: g.last() + 1}, Kind: kind, Data: d})
	}
	meta := codec.FrameMeta{Group: g.id, Leader: g.leader, First: first, Count: uint32(len(data)), Kind: kind}
	f, err := codec.SealFrame(buf, meta, c)
	if err != nil {
		g.s.Fatal(err)
	}
	return f
}

// normal makes the next frame of n commands.
func (g *group) normal(n, size int) codec.Frame {
	g.s.Helper()
	return g.frame(codec.EntryNormal, codec.CompressionNone, g.payloads(n, size)...)
}

// membership makes the next frame of one membership, which its address tells from others.
func (g *group) membership(address string) codec.Frame {
	g.s.Helper()
	m := members(address)
	return g.frame(codec.EntryMembership, codec.CompressionNone, codec.AppendMembership(nil, &m))
}

func members(address string) codec.Membership {
	return codec.NewMembership(codec.SeveralLeadersPerTerm,
		codec.Node{ID: 3, Address: address}, codec.Node{ID: 7, Address: "b:1"})
}

// truncateModel removes every entry above an index from the model.
func (g *group) truncateModel(to codec.Index) {
	g.entries = g.entries[:to]
	for len(g.starts) > 0 && g.starts[len(g.starts)-1] > to {
		g.starts = g.starts[:len(g.starts)-1]
	}
}

// baseAt returns a base at an entry, with the newest membership up to it.
func (g *group) baseAt(i codec.Index) *codec.LogBase {
	b := codec.LogBase{ID: g.idAt(i), Membership: g.base.Membership}
	for _, e := range g.entries[g.base.ID.Index:i] {
		if e.Kind != codec.EntryMembership {
			continue
		}
		m, _, err := codec.ReadMembership(e.Data)
		if err != nil {
			g.s.Fatal(err)
		}
		b.Membership = codec.MembershipRecord{ID: e.ID, Membership: m}
	}
	return &b
}

// purgeModel drops the entries up to the end of a frame from the model and returns the base to submit.
func (g *group) purgeModel(to codec.Index) *codec.LogBase {
	b := g.baseAt(to)
	g.base = *b
	for len(g.starts) > 0 && g.starts[0] <= to {
		g.starts = g.starts[1:]
	}
	return b
}

// jumpModel replaces the model by a base, and returns the base to submit. An address makes a membership just before it.
func (g *group) jumpModel(to codec.LogID, address string) *codec.LogBase {
	g.base = codec.LogBase{ID: to}
	if address != "" {
		id := codec.LogID{Leader: to.Leader, Index: to.Index - 1}
		g.base.Membership = codec.MembershipRecord{ID: id, Membership: members(address)}
	}
	g.entries, g.starts = make([]codec.Entry, to.Index), nil
	b := g.base
	return &b
}

// submit submits a write under the next number and returns that. What was submitted is overwritten, as its caller may do.
func (g *group) submit(w codec.LogWrite) uint64 {
	g.seq++
	return g.submitAs(g.seq, w)
}

func (g *group) submitAs(seq uint64, w codec.LogWrite) uint64 {
	g.seq, w.Seq = seq, seq
	if w.HasVote {
		g.vote = w.Vote
	}
	g.commit = max(g.commit, w.Commit)
	g.reports.mu.Lock()
	g.reports.submitted = seq
	g.reports.mu.Unlock()
	g.log.Submit(&w)
	w = codec.LogWrite{Seq: 1, HasVote: true, Vote: codec.Vote{Leader: codec.LeaderID{Term: 999, Node: 999}}, HasTruncate: true}
	return seq
}

// append submits a frame of n commands.
func (g *group) append(n, size int) uint64 { return g.submit(codec.LogWrite{Frame: g.normal(n, size)}) }

// appendMany submits frames of one command each until the log ends at an index, and waits for them.
func (g *group) appendMany(to codec.Index, size int) {
	g.s.Helper()
	for g.last() < to {
		g.append(1, size)
	}
	g.wait(g.seq)
}

// truncate submits a truncation.
func (g *group) truncate(to codec.Index) uint64 {
	g.truncateModel(to)
	return g.submit(codec.LogWrite{HasTruncate: true, Truncate: to})
}

// purge submits a purge up to the end of a frame.
func (g *group) purge(to codec.Index) uint64 {
	return g.submit(codec.LogWrite{Purge: g.purgeModel(to)})
}

// jump submits a jump.
func (g *group) jump(to codec.LogID, address string) uint64 {
	return g.submit(codec.LogWrite{Jump: g.jumpModel(to, address)})
}

// reported waits until a write is reported, or an error is.
func (g *group) reported(seq uint64) error {
	g.s.Helper()
	timer := time.NewTimer(g.s.config.Patience)
	defer timer.Stop()
	for {
		g.reports.mu.Lock()
		got, err, changed := g.reports.seq, g.reports.err, g.reports.changed
		g.reports.mu.Unlock()
		if got >= seq || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-timer.C:
			g.s.Fatalf("group %d: write %d is not reported after %v; the newest that is, is %d", g.id, seq,
				g.s.config.Patience, got)
		}
	}
}

// wait waits until a write is reported.
func (g *group) wait(seq uint64) {
	g.s.Helper()
	if err := g.reported(seq); err != nil {
		g.s.Fatalf("group %d: flushed was told %v", g.id, err)
	}
}

type answer struct {
	frame codec.Frame
	err   error
}

// readBack asks ReadFrame, and fails where done is called more than once.
func (g *group) readBack(i codec.Index) (codec.Frame, error) {
	g.s.Helper()
	told := expect[answer](fmt.Sprintf("ReadFrame(%d)", i), 1)
	g.log.ReadFrame(i, func(f codec.Frame, err error) { told.put(answer{f, err}) })
	a := told.only(g.s)
	return a.frame, a.err
}

// read returns the frame that holds an index, from memory or from wherever it is.
func (g *group) read(i codec.Index) codec.Frame {
	g.s.Helper()
	f, ok := g.log.Frame(i)
	if ok {
		return f
	}
	f, err := g.readBack(i)
	if err != nil {
		g.s.Fatalf("group %d: index %d of %d to %d: %v", g.id, i, g.base.ID.Index+1, g.last(), err)
	}
	return f
}

// check compares the group's log with the model, frame by frame and entry by entry, and looks beyond its ends.
func (g *group) check() {
	g.s.Helper()
	for n, first := range g.starts {
		last := g.last()
		if n+1 < len(g.starts) {
			last = g.starts[n+1] - 1
		}
		g.checkFrame(g.read(first), first, last)
		g.checkFrame(g.read(last), first, last)
	}
	for _, i := range []codec.Index{0, g.base.ID.Index, g.last() + 1, g.last() + 1000} {
		g.checkNotHeld(i)
	}
}

// checkFrame compares a frame with the model.
func (g *group) checkFrame(f codec.Frame, first, last codec.Index) {
	g.s.Helper()
	if f.IsZero() {
		g.s.Fatalf("group %d: a frame without bytes for index %d", g.id, first)
	}
	m, head := f.Meta(), g.entries[first-1]
	if m.Group != g.id || m.First != first || m.Last() != last || m.Kind != head.Kind || m.Leader != head.ID.Leader ||
		m.Size != len(f.Bytes()) {
		g.s.Fatalf("group %d: frame %+v, want entries %d to %d of kind %v of leader %v", g.id, m, first, last, head.Kind,
			head.ID.Leader)
	}
	if m.HeaderOnly {
		if head.Data != nil {
			g.s.Fatalf("group %d: frame %+v came back without its entries", g.id, m)
		}
		return
	}
	if _, n, err := codec.ReadFrame(f.Bytes()); err != nil || n != len(f.Bytes()) {
		g.s.Fatalf("group %d: frame %+v has bytes that are none: %v", g.id, m, err)
	}
	entries, err := f.AppendEntries(nil)
	if err != nil {
		g.s.Fatalf("group %d: frame %+v: %v", g.id, m, err)
	}
	for _, e := range entries {
		if want := g.entries[e.ID.Index-1]; e.ID != want.ID || e.Kind != want.Kind || !bytes.Equal(e.Data, want.Data) {
			g.s.Fatalf("group %d: index %d holds %v of kind %v with %.80q, want %v of kind %v with %.80q",
				g.id, e.ID.Index, e.ID, e.Kind, e.Data, want.ID, want.Kind, want.Data)
		}
	}
}

// checkNotHeld checks that an index is neither in memory nor read.
func (g *group) checkNotHeld(i codec.Index) {
	g.s.Helper()
	if f, ok := g.log.Frame(i); ok {
		g.s.Fatalf("group %d: Frame(%d) returned %+v, the log holds %d to %d", g.id, i, f.Meta(), g.base.ID.Index+1, g.last())
	}
	if f, err := g.readBack(i); err == nil {
		g.s.Fatalf("group %d: ReadFrame(%d) returned %+v, the log holds %d to %d", g.id, i, f.Meta(), g.base.ID.Index+1, g.last())
	}
}

// checkState compares what Group returned with the model.
func (g *group) checkState(state codec.LogState) {
	g.s.Helper()
	if state.Vote != g.vote {
		g.s.Fatalf("group %d: vote %v, want %v", g.id, state.Vote, g.vote)
	}
	if err := state.Base.Validate(); err != nil {
		g.s.Fatalf("group %d: base %+v: %v", g.id, state.Base, err)
	}
	if got, want := codec.AppendLogBase(nil, &state.Base), codec.AppendLogBase(nil, &g.base); !bytes.Equal(got, want) {
		g.s.Fatalf("group %d: base %+v, want %+v", g.id, state.Base, g.base)
	}
	if state.Commit > g.commit {
		g.s.Fatalf("group %d: saved commit %d, the newest that was submitted is %d", g.id, state.Commit, g.commit)
	}
	if len(state.Frames) != len(g.starts) {
		g.s.Fatalf("group %d: %d frames, want %d, of entries %d to %d", g.id, len(state.Frames), len(g.starts),
			g.base.ID.Index+1, g.last())
	}
	for n, m := range state.Frames {
		if f := g.read(g.starts[n]); f.Meta() != m {
			g.s.Fatalf("group %d: frame %+v in the state, %+v when it is read", g.id, m, f.Meta())
		}
	}
	g.checkMemberships(state.Memberships)
}

func (g *group) checkMemberships(got []codec.MembershipRecord) {
	g.s.Helper()
	n := 0
	for _, e := range g.entries[g.base.ID.Index:] {
		if e.Kind != codec.EntryMembership {
			continue
		}
		if n == len(got) || got[n].ID != e.ID || !bytes.Equal(codec.AppendMembership(nil, &got[n].Membership), e.Data) {
			g.s.Fatalf("group %d: memberships %+v, want number %d to be that of entry %v", g.id, got, n, e.ID)
		}
		n++
	}
	if n != len(got) {
		g.s.Fatalf("group %d: %d memberships, want %d", g.id, len(got), n)
	}
}
