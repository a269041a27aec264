package wal

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

// world is a log on a disk in memory, run by hand, with everything that was promised about it: what a power cut must
// leave. It is deterministic: the same script does the same operations.
type world struct {
	mem    *vfs.Mem
	fault  *vfs.Fault
	cfg    Config
	log    *Log
	groups map[codec.GroupID]*promises
	peers  map[codec.NodeID]codec.Incarnation
	kept   image                  // what repairs kept aside, once Open has returned
	gone   map[string]bool        // segments that were there and are not any more: reclaimed, or moved aside
	idle   map[codec.GroupID]bool // groups that are not opened
	phase  phase
	seed   uint64
}

// phase says what a log found on the disk may say of its close.
type phase uint8

const (
	between phase = iota // opening or closing: either
	opened               // writes may have been accepted: not clean
	closed               // Close has returned: clean
)

// loss says whether a life since a group's vote was written ended without a seal.
type loss uint8

const (
	none loss = iota
	perhaps
	certain
)

// check says what is wrong with a report of a clean close in this phase after such losses.
func (p phase) check(clean bool, before loss) error {
	switch {
	case clean && p == opened:
		return errors.New("clean, though the log was in use")
	case clean && before == certain:
		return errors.New("clean, though an earlier life, with the same vote, was not")
	case !clean && p == closed && before == none:
		return errors.New("not clean, though Close had returned")
	}
	return nil
}

// after returns the losses after a life that ended in a phase.
func (b loss) after(p phase, voted bool) loss {
	switch {
	case p == closed:
		return b
	case p == opened && voted:
		return certain
	}
	return max(b, perhaps)
}

// promises is the history of one group, a state for each record, and how much of it was acknowledged.
type promises struct {
	id     codec.GroupID
	group  *Group
	states []groupState
	at     map[uint64]int // state reached by a write
	acked  int
	seq    uint64
	term   codec.Term
	err    error
	told   int
	losses loss
}

type groupState struct {
	vote    codec.Vote
	base    codec.LogBase
	entries []codec.Entry // behind base
}

func (s *groupState) equal(o *groupState) bool {
	return s.vote == o.vote && bytes.Equal(appendBase(nil, 0, &s.base), appendBase(nil, 0, &o.base)) && sameEntries(s.entries, o.entries)
}

func (s *groupState) last() codec.Index { return s.base.ID.Index + codec.Index(len(s.entries)) }

func (s *groupState) String() string {
	return fmt.Sprintf("vote %v, base %v and %d entries", s.vote, s.base.ID, len(s.entries))
}

func newWorld() *world { return newWorldOf(2) }

func newWorldOf(groups int) *world {
	w := &world{
		mem: vfs.NewMem(), groups: map[codec.GroupID]*promises{}, peers: map[codec.NodeID]codec.Incarnation{},
		gone: map[string]bool{},
		cfg:  Config{Dir: "disk/deep/node", ClusterID: "world", Node: 3, SegmentBytes: SegmentBytesMin, RecentBytesMax: 1 << 10},
	}
	w.fault = vfs.NewFault(w.mem)
	for id := range codec.GroupID(groups) {
		w.groups[id] = &promises{id: id, states: []groupState{{}}, at: map[uint64]int{}}
	}
	return w
}

// on returns a copy of the world whose disk is another one: the promises stay.
func (w *world) on(mem *vfs.Mem) *world {
	c := *w
	c.mem, c.fault, c.log = mem, vfs.NewFault(mem), nil
	c.groups, c.peers, c.gone = map[codec.GroupID]*promises{}, maps.Clone(w.peers), maps.Clone(w.gone)
	for id, p := range w.groups {
		q := *p
		q.states, q.at, q.err, q.told = slices.Clone(p.states), map[uint64]int{}, nil, 0
		c.groups[id] = &q
	}
	return &c
}

func (w *world) openLog(fsys vfs.FS) (*Log, error) {
	w.seed++
	return OpenSimulation(w.cfg, Simulation{FS: fsys, Random: rand.NewChaCha8([32]byte{byte(w.seed)}), Manual: true})
}

// open opens the log and adopts what it reports: from then on that is promised too.
func (w *world) open() error {
	before := w.phase
	w.phase = between
	l, err := w.openLog(w.fault)
	if err != nil {
		return err
	}
	w.log, w.phase = l, opened
	for _, id := range slices.Sorted(maps.Keys(w.groups)) {
		p := w.groups[id]
		if w.idle[id] {
			p.losses = p.losses.after(before, false)
			continue
		}
		p.told, p.err = 0, nil
		g, state, err := l.Group(id, p.flushed)
		if err != nil {
			return err
		}
		p.group, p.seq, p.at = g, 0, map[uint64]int{}
		if err := before.check(state.CleanClose, p.losses); err != nil {
			return err
		}
		p.losses = p.losses.after(before, !state.Vote.IsZero())
		now, err := readState(l, g, &state)
		if err != nil {
			return err
		}
		at := p.find(now)
		if at < 0 {
			return fmt.Errorf("group %d: holds %v, none of the %d states from %d on", id, now, len(p.states), p.acked)
		}
		p.states, p.acked = p.states[:at+1], at
	}
	for id, incarnation := range w.peers {
		if l.Peers()[id] != incarnation {
			return fmt.Errorf("peer %d is forgotten", id)
		}
	}
	w.kept = w.broken()
	w.look()
	return nil
}

// look notes which segments are gone: their space never has to come back again.
func (w *world) look() {
	p := place{fs: w.mem, cfg: w.cfg}
	list, err := listSegments(w.mem, p.folder())
	if err != nil {
		panic(err)
	}
	there := map[string]bool{}
	for _, s := range list.segments {
		there[s.name] = true
	}
	for name := range w.gone {
		w.gone[name] = !there[name]
	}
	for name := range there {
		w.gone[name] = false
	}
}

// pump lets the log work by one step.
func (w *world) pump() {
	w.log.Pump()
	if w.log.queue.failed == nil {
		w.look()
	}
}

func (w *world) broken() image {
	p := place{fs: w.mem, cfg: w.cfg}
	out := image{}
	names, err := w.mem.ReadDir(p.folder())
	if err != nil {
		return out
	}
	for _, n := range names {
		if strings.HasSuffix(n, brokenSuffix) {
			out[n], _ = vfs.ReadFile(w.mem, filepath.Join(p.folder(), n), nil)
		}
	}
	return out
}

// find returns the newest promised or possible state that equals one, or -1.
func (p *promises) find(s *groupState) int {
	for i := len(p.states) - 1; i >= p.acked; i-- {
		if p.states[i].equal(s) {
			return i
		}
	}
	return -1
}

func (p *promises) flushed(seq uint64, err error) {
	if err != nil {
		p.err = err
		p.told++
		return
	}
	p.acked = p.at[seq]
}

func (p *promises) now() *groupState { return &p.states[len(p.states)-1] }

func (p *promises) push(change func(s *groupState)) {
	s := *p.now()
	s.entries = slices.Clone(s.entries)
	change(&s)
	p.states = append(p.states, s)
}

// submit hands a write to the log and its records, one by one, to the history.
func (p *promises) submit(w codec.LogWrite) {
	if p.err != nil || p.group.log.queue.poisoned.Load() {
		return
	}
	if w.HasVote {
		p.push(func(s *groupState) { s.vote = w.Vote })
		p.losses = none
	}
	if w.Jump != nil {
		p.push(func(s *groupState) { s.base, s.entries = *w.Jump, nil })
	}
	if w.HasTruncate {
		p.push(func(s *groupState) { s.entries = s.entries[:w.Truncate-s.base.ID.Index] })
	}
	if !w.Frame.IsZero() {
		p.push(func(s *groupState) { s.entries, _ = w.Frame.AppendEntries(s.entries) })
	}
	if w.Purge != nil {
		p.push(func(s *groupState) {
			s.base, s.entries = *w.Purge, s.entries[w.Purge.ID.Index-s.base.ID.Index:]
		})
	}
	p.seq++
	w.Seq = p.seq
	p.at[w.Seq] = len(p.states) - 1
	p.group.Submit(&w)
}

func (p *promises) frame(to codec.Index, n, size int) codec.Frame {
	leader := codec.LeaderID{Term: p.term, Node: 3}
	buf := make([]byte, codec.FrameHeaderSize)
	for i := range n {
		buf = codec.AppendEntry(buf, payload(p.id, leader, to+codec.Index(i)+1, size))
	}
	f, err := codec.SealFrame(buf, codec.FrameMeta{Group: p.id, Leader: leader, First: to + 1, Count: uint32(n), Kind: codec.EntryNormal}, codec.CompressionNone)
	if err != nil {
		panic(err)
	}
	return f
}

func (p *promises) last() codec.Index { return p.now().last() }

// begin returns a base at an id, with a membership that names the index and is too large for one sector.
func begin(id codec.LogID) *codec.LogBase {
	m := codec.NewMembership(codec.SeveralLeadersPerTerm, codec.Node{ID: 3, Address: fmt.Sprint("at:", id.Index)},
		codec.Node{ID: 4, Address: strings.Repeat("b", 250)}, codec.Node{ID: 5, Address: strings.Repeat("c", 250)})
	return &codec.LogBase{ID: id, Membership: codec.MembershipRecord{ID: codec.LogID{Leader: id.Leader, Index: 1}, Membership: m}}
}

// purge drops the frames that end before the last keep entries.
func (p *promises) purge(keep codec.Index) {
	if to := p.frameEnd(keep); !to.IsZero() {
		p.submit(codec.LogWrite{Purge: begin(to)})
	}
}

// frameEnd returns the last entry of the newest frame that ends before the last keep entries, zero for none.
func (p *promises) frameEnd(keep codec.Index) (to codec.LogID) {
	for _, ref := range p.group.index.refs {
		if ref.meta.Last()+keep <= p.last() {
			to = ref.meta.LastID()
		}
	}
	return to
}

// jump replaces the log by a snapshot that is that many entries ahead.
func (p *promises) jump(ahead codec.Index) {
	to := codec.LogID{Leader: codec.LeaderID{Term: p.term, Node: 3}, Index: max(p.last(), 1) + ahead}
	p.submit(codec.LogWrite{Jump: begin(to), Frame: p.frame(to.Index, 2, 30)})
}

func (p *promises) append(n, size int) {
	p.submit(codec.LogWrite{Frame: p.frame(p.last(), n, size), Commit: p.last()})
}

// elect votes for a new term, cuts the log back and appends, in one write.
func (p *promises) elect(back codec.Index) {
	p.term++
	to := p.last() - min(back, codec.Index(len(p.now().entries)))
	p.submit(codec.LogWrite{
		HasVote: true, Vote: codec.Vote{Leader: codec.LeaderID{Term: p.term, Node: 3}},
		HasTruncate: back > 0, Truncate: to, Frame: p.frame(to, 2, 40),
	})
}

// script is a life of the log: every kind of record, batches of one and of many, several segments, a clean close.
func (w *world) script(rounds int) error {
	for range 2 {
		if err := w.open(); err != nil {
			return err
		}
		a, b := w.groups[0], w.groups[1]
		a.term++
		b.term++
		w.log.RememberPeer(9, codec.Incarnation{9}, func(err error) {
			if err == nil {
				w.peers[9] = codec.Incarnation{9}
			}
		})
		w.pump()
		for i := range rounds {
			a.append(1+i%3, 300)
			w.pump()
			if i%3 == 1 {
				b.elect(codec.Index(i % 4))
				b.append(3, 100)
			}
			if i%4 == 2 {
				a.purge(5)
				b.purge(codec.Index(i))
			}
			if i == 3 {
				b.jump(7)
			}
			a.append(1, 700)
			b.append(1, 500)
			if i == 2 { // one batch through several segments
				for range 9 {
					a.append(1, 900)
				}
			}
			w.pump()
		}
		a.append(1, 10)
		if err := w.close(); err != nil {
			return err
		}
	}
	return nil
}

// short is a life of one write.
func (w *world) short() error {
	if err := w.open(); err != nil {
		return err
	}
	w.groups[0].append(1, 20)
	w.pump()
	return nil
}

func (w *world) close() error {
	if !w.log.queue.poisoned.Load() {
		w.phase = between
	}
	if err := w.log.Close(); err != nil {
		return err
	}
	w.phase = closed
	return nil
}

// survives checks that a disk holds what was promised: by opening it as a restarted process would.
func (w *world) survives(disk *vfs.Mem) error {
	c := w.on(disk)
	for name, gone := range w.gone {
		if _, err := disk.Stat(name); gone && err == nil {
			return fmt.Errorf("%s was reclaimed, and takes space again", name)
		}
	}
	l, err := c.openLog(disk)
	if err != nil {
		return err
	}
	defer l.Close()
	for id, p := range c.groups {
		g, state, err := l.Group(id, func(uint64, error) {})
		if err != nil {
			return err
		}
		if err := w.phase.check(state.CleanClose, p.losses); err != nil {
			return err
		}
		now, err := readState(l, g, &state)
		if err != nil {
			return err
		}
		if p.find(now) < 0 {
			return fmt.Errorf("group %d: %v; promised %v", id, now, &p.states[p.acked])
		}
	}
	for id, incarnation := range c.peers {
		if l.Peers()[id] != incarnation {
			return fmt.Errorf("peer %d is forgotten", id)
		}
	}
	for name, b := range c.kept {
		if got := c.broken()[name]; !bytes.Equal(got, b) {
			return fmt.Errorf("%s had %d bytes kept aside, now %d", name, len(b), len(got))
		}
	}
	return nil
}

// errKilled is what a killed process panics with.
var errKilled = errors.New("killed")

// until runs a life and kills the process before the n-th operation of the file system; it tells whether it got there.
func (w *world) until(n int, life func() error) (killed bool, err error) {
	count := 0
	w.fault.Before(func(vfs.Op, string) {
		if count++; count == n {
			panic(errKilled)
		}
	})
	defer func() {
		if r := recover(); r == errKilled {
			killed, err = true, nil
		} else if r != nil {
			panic(r)
		}
		w.fault.Before(nil)
		w.mem.Kill()
	}()
	return false, life()
}
