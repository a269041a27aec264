package storagetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
)

// toyDisk is what a toyLog keeps. bug names what is wrong with its logs; none for a log that is right.
type toyDisk struct {
	bug         string
	forgets     bool
	incarnation codec.Incarnation
	peers       map[codec.NodeID]codec.Incarnation
	groups      map[codec.GroupID]*toyState
	opened      bool
	sealed      bool
	failing     bool
	closed      []*toyGroup
}

var toyCount byte

func newToyDisk(bug string, forgets bool) *toyDisk {
	toyCount++
	d := &toyDisk{bug: bug, forgets: forgets}
	d.clear()
	if bug == "all places have one incarnation" {
		d.incarnation = codec.Incarnation{1}
	}
	return d
}

func (d *toyDisk) clear() {
	d.peers, d.groups = map[codec.NodeID]codec.Incarnation{}, map[codec.GroupID]*toyState{}
	if d.bug != bugOfThoseThatForget || d.incarnation.IsZero() {
		toyCount++
		d.incarnation = codec.Incarnation{toyCount, 1}
	}
}

func (d *toyDisk) is(bugs ...string) bool { return slices.Contains(bugs, d.bug) }

func (d *toyDisk) open() (pipeline.Log, error) {
	if d.opened && !d.is("a place opens twice") {
		return nil, errors.New("it is open")
	}
	if d.forgets {
		d.clear()
	}
	d.opened = true
	l := &toyLog{disk: d, live: map[codec.GroupID]*toyGroup{}, incarnation: d.incarnation}
	for _, s := range d.groups {
		s.clean = s.clean && d.sealed
	}
	d.sealed = d.is("a seal counts for ever") && d.sealed
	switch d.bug {
	case "a closed log goes on reporting":
		for _, g := range d.closed {
			g.flushed(g.seq, nil)
		}
	case "the incarnation is zero":
		l.incarnation = codec.Incarnation{}
	case "the incarnation is made at each opening":
		toyCount++
		l.incarnation = codec.Incarnation{toyCount, 2}
	case "it knows a peer already":
		d.peers[5] = codec.Incarnation{1}
	}
	return &lockedLog{toyLog: l}, nil
}

func (d *toyDisk) crash() { d.opened = false }

// toyState is a group as it is kept.
type toyState struct {
	vote   codec.Vote
	base   codec.LogBase
	frames []codec.Frame
	commit codec.Index
	clean  bool
}

func (s *toyState) clone() *toyState {
	c := *s
	c.frames = slices.Clone(s.frames)
	return &c
}

func (s *toyState) last() codec.Index {
	if len(s.frames) == 0 {
		return s.base.ID.Index
	}
	return s.frames[len(s.frames)-1].Meta().Last()
}

func (s *toyState) find(i codec.Index) int {
	return slices.IndexFunc(s.frames, func(f codec.Frame) bool { return f.Meta().First <= i && i <= f.Meta().Last() })
}

// toyLog is a log that keeps everything on its disk before Submit returns.
type toyLog struct {
	disk        *toyDisk
	incarnation codec.Incarnation
	live        map[codec.GroupID]*toyGroup
	err         error
	closed      bool
}

func (l *toyLog) Incarnation() codec.Incarnation { return l.incarnation }

func (l *toyLog) Peers() map[codec.NodeID]codec.Incarnation {
	if l.disk.is("Peers returns its own map") {
		return l.disk.peers
	}
	return maps.Clone(l.disk.peers)
}

func (l *toyLog) RememberPeer(id codec.NodeID, incarnation codec.Incarnation, done func(error)) {
	d := l.disk
	switch {
	case l.closed && !d.is("peers are remembered after Close"):
		done(errors.New("closed"))
		return
	case (l.err != nil || d.failing) && !d.is("an error is forgotten"):
		done(errors.New("failed"))
		return
	case d.is("done is never called"):
		return
	case d.is("the first peer stays") && d.peers[id] != codec.Incarnation{}, d.is("peers are forgotten"):
	default:
		d.peers[id] = incarnation
	}
	if d.is("a peer wipes the entries") {
		for _, g := range l.live {
			g.frames = nil
		}
	}
	done(nil)
}

func (l *toyLog) Group(id codec.GroupID, flushed func(uint64, error)) (pipeline.GroupLog, codec.LogState, error) {
	d := l.disk
	switch {
	case l.closed && !d.is("a closed log goes on"):
		return nil, codec.LogState{}, errors.New("closed")
	case l.live[id] != nil && !d.is("a group opens twice"):
		return nil, codec.LogState{}, errors.New("open")
	}
	if d.is("one log for all groups") && id != 1 {
		id = 1
	}
	s := d.groups[id]
	if s == nil {
		s = &toyState{}
	}
	g := &toyGroup{toyState: s.clone(), log: l, id: id, flushed: flushed}
	if d.is("a group's second life is empty") && len(l.live) == 0 && s.vote.Leader.Term == 0 {
		g.toyState = &toyState{}
	}
	l.live[id] = g
	return g, g.state(), nil
}

// state is what Group returns.
func (g *toyGroup) state() codec.LogState {
	d := g.log.disk
	out := codec.LogState{Vote: g.vote, Base: g.base, Commit: g.commit, CleanClose: g.clean}
	for _, f := range g.frames {
		m := f.Meta()
		if m.Kind == codec.EntryMembership {
			entries, _ := f.AppendEntries(nil)
			member, _, _ := codec.ReadMembership(entries[0].Data)
			out.Memberships = append(out.Memberships, codec.MembershipRecord{ID: m.LastID(), Membership: member})
		}
		out.Frames = append(out.Frames, m)
	}
	switch d.bug {
	case "every close is clean":
		out.CleanClose = true
	case "no close is clean":
		out.CleanClose = false
	case "memberships come backwards":
		slices.Reverse(out.Memberships)
	case "memberships are not found":
		out.Memberships = nil
	case "a large membership is cut":
		for i := range out.Memberships {
			m := out.Memberships[i].Membership.Clone()
			m.Nodes[0].Incarnation, m.Nodes[0].Address = codec.Incarnation{}, ""
			out.Memberships[i].Membership = m
		}
	case "the saved commit is the last index":
		out.Commit = g.last()
	case "an empty log has a commit":
		out.Commit = max(out.Commit, 1)
	case "the sizes of frames are not known":
		for i := range out.Frames {
			out.Frames[i].Size = 0
		}
	}
	return out
}

func (l *toyLog) Close() error {
	d := l.disk
	l.closed, d.opened = true, false
	if l.err != nil && !d.is("Close hides an error", "an error is forgotten") {
		return l.err
	}
	for id, g := range l.live {
		if d.is("what Close finds is lost") {
			continue
		}
		if d.is("written at Close") {
			d.groups[id] = g.clone()
		}
		if g.late != nil {
			g.late()
		}
		d.closed = append(d.closed, g)
	}
	if d.is("groups that are not open are lost") {
		maps.DeleteFunc(d.groups, func(id codec.GroupID, _ *toyState) bool { return l.live[id] == nil })
	}
	d.sealed = true
	if d.is("Close fails") {
		return errors.New("no reason")
	}
	return nil
}

// toyGroup is one group of a toyLog.
type toyGroup struct {
	*toyState
	log     *toyLog
	id      codec.GroupID
	flushed func(uint64, error)
	seq     uint64
	told    bool
	count   uint64
	late    func()          // what is done with the next write, or by Close
	kept    *codec.LogWrite // the caller's
	reads   int
}

func (g *toyGroup) report(seq uint64) {
	d := g.log.disk
	g.count++
	switch {
	case d.is("a report runs ahead"):
		seq++
	case d.is("writes are counted"):
		seq = g.count
	case d.is("every group is told"):
		for _, o := range g.log.live {
			o.flushed(seq, nil)
		}
		return
	case d.is("reports come backwards") && seq%10 == 0:
		g.flushed(seq, nil)
		seq -= 5
	case d.is("every tenth write is not reported") && seq%10 == 0:
		return
	}
	g.seq = seq
	g.flushed(seq, nil)
}

func (g *toyGroup) fail() {
	d := g.log.disk
	if g.log.err == nil {
		g.log.err = errors.New("failed")
	}
	for _, o := range g.log.live {
		if !o.told || d.is("an error is told twice") {
			o.told = true
			o.flushed(0, g.log.err)
		}
		if d.is("only the writer is told") {
			break
		}
	}
}

func (g *toyGroup) Submit(w *codec.LogWrite) {
	d := g.log.disk
	if g.late != nil && !d.is("a group's reports wait for Close") {
		g.late()
		g.late = nil
	}
	switch {
	case d.is("errors are ignored"):
	case g.log.err != nil && !d.is("an error is forgotten", "an error is told twice"):
		return
	case d.failing && !d.is("an error is forgotten"):
		g.fail()
		return
	case d.failing:
		g.flushed(0, errors.New("failed"))
		return
	}
	seq := w.Seq
	if d.is("it keeps the caller's write") {
		if g.kept != nil {
			g.apply(g.kept)
		}
		g.kept = w
	} else {
		g.apply(w)
	}
	if !d.is("written at Close", "what Close finds is lost") {
		d.groups[g.id] = g.persisted(w)
	}
	empty := !w.HasVote && !w.HasTruncate && w.Frame.IsZero() && w.Jump == nil && w.Purge == nil
	switch {
	case empty && d.is("a write without records is not reported"), d.is("nothing is reported"):
	case d.is("a report comes with the next write", "fresh frames are not in memory", "a group's reports wait for Close"):
		g.late = func() { g.report(seq) }
	default:
		g.report(seq)
	}
}

// persisted is the state as the disk gets it.
func (g *toyGroup) persisted(w *codec.LogWrite) *toyState {
	d := g.log.disk
	s := g.clone()
	before := d.groups[g.id]
	if before == nil {
		before = &toyState{}
	}
	switch {
	case d.is("truncations are lost at a restart") && w.HasTruncate && w.Frame.IsZero(),
		d.is("purges are lost at a restart") && w.Purge != nil, d.is("jumps are lost at a restart") && w.Jump != nil:
		s.frames, s.base = before.frames, before.base
	case d.is("half of the writes are lost in a crash") && w.Seq%2 == 0:
		s = before
	case d.is("old frames rot") && len(s.frames) > 100:
		s.frames[3] = s.frames[4]
	case d.is("the newest frame is kept alone") && len(s.frames) > 12:
		s.frames = s.frames[len(s.frames)-1:]
	}
	return s
}

func (g *toyGroup) Frame(i codec.Index) (codec.Frame, bool) {
	d := g.log.disk
	at := g.find(i)
	switch {
	case at < 0 && d.is("beyond its end it finds the last frame") && len(g.frames) > 0:
		return g.frames[len(g.frames)-1], true
	case at < 0, d.is("fresh frames are not in memory") && g.late != nil && at == len(g.frames)-1,
		d.is("nothing is in memory", "a read finds the frame before", "a read is answered twice", "a read is not answered", "old frames are not read",
			"the third read is lost"):
		return codec.Frame{}, false
	case d.is("only the first index finds its frame") && g.frames[at].Meta().First != i:
		return codec.Frame{}, false
	}
	return g.frames[at], true
}

func (g *toyGroup) ReadFrame(i codec.Index, done func(codec.Frame, error)) {
	d := g.log.disk
	at := g.find(i)
	g.reads++
	switch {
	case at < 0 && d.is("a read of nothing finds nothing"):
		done(codec.Frame{}, nil)
	case at < 0, d.is("ReadFrame reads no fresh frames") && at == len(g.frames)-1, d.is("only the first index finds its frame") && g.frames[at].Meta().First != i:
		done(codec.Frame{}, fmt.Errorf("index %d is not held", i))
	case d.is("a read finds the frame before") && at > 0:
		done(g.frames[at-1], nil)
	case d.is("a read is answered twice"):
		done(g.frames[at], nil)
		done(g.frames[at], nil)
	case d.is("a read is not answered"), d.is("the third read is lost") && g.reads == 3:
	case d.is("old frames are not read") && at < len(g.frames)-100:
		done(codec.Frame{}, errors.New("too old"))
	default:
		done(g.frames[at], nil)
	}
}

func toyPlace(bug string, forgets bool) func(testing.TB) LogPlace {
	return func(testing.TB) LogPlace {
		d := newToyDisk(bug, forgets)
		p := LogPlace{Open: d.open, Fail: func() { d.failing = true }, Repair: func() { d.failing = false }}
		if !forgets {
			p.Crash = d.crash
		}
		return p
	}
}
