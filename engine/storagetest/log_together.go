package storagetest

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/millrace/millrace/codec"
)

// side is the [testing.TB] of one goroutine among several of a case. What fails there ends that goroutine; the case fails with
// it once all have ended, for only the goroutine of a test may end the test.
type side struct {
	testing.TB
	problems []string
}

func (d *side) Helper() {}
func (d *side) Errorf(format string, args ...any) {
	d.problems = append(d.problems, fmt.Sprintf(format, args...))
}
func (d *side) Fatalf(format string, args ...any) { d.Errorf(format, args...); runtime.Goexit() }
func (d *side) Fatal(args ...any)                 { d.Fatalf("%s", fmt.Sprint(args...)) }

// together runs functions at the same time, each on a goroutine of its own, and waits for all of them. A group belongs to one
// of them, as it belongs to its loop in a node; the log belongs to all.
func (s *logRun) together(parts ...func(s *logRun)) {
	s.Helper()
	sides := make([]*side, len(parts))
	var all sync.WaitGroup
	for i, part := range parts {
		sides[i] = &side{TB: s.TB}
		own := *s
		own.TB = sides[i]
		all.Go(func() { part(&own) })
	}
	all.Wait()
	for _, g := range s.groups {
		g.s = s
	}
	for i, d := range sides {
		if len(d.problems) > 0 {
			s.Fatalf("goroutine %d of %d: %s", i+1, len(parts), strings.Join(d.problems, "; "))
		}
	}
}

// lives returns a function that lives a life of writes and reads on the group, and compares as it goes.
func (g *group) lives(rounds int) func(*logRun) {
	return func(s *logRun) {
		g.s = s
		for round := range rounds {
			g.append(3, 100)
			g.append(1, 700)
			g.submit(codec.LogWrite{HasVote: true, Vote: codec.Vote{Leader: g.leader, Committed: true}, Frame: g.normal(2, 40)})
			g.checkFrame(g.read(g.last()), g.last()-1, g.last())
			switch round % 4 {
			case 1:
				g.leader.Term++
				g.truncate(g.last() - 4)
			case 3:
				g.purge(g.starts[len(g.starts)/2] - 1)
			}
			if round%8 == 7 {
				g.wait(g.seq)
				g.check()
			}
		}
		g.wait(g.seq)
		g.check()
	}
}

// remembers returns a function that remembers peers from an id on, as a transport does when connections come, and looks each
// time whether all that it has remembered is there.
func remembers(first codec.NodeID, peers int, want map[codec.NodeID]codec.Incarnation) func(*logRun) {
	return func(s *logRun) {
		for i := range peers {
			id := first + codec.NodeID(i)
			if err := s.remember(id, want[id]); err != nil {
				s.Fatalf("RememberPeer: %v", err)
			}
			known := s.log.Peers()
			for before := first; before <= id; before++ {
				if known[before] != want[before] {
					s.Fatalf("peer %d has incarnation %v when %d is remembered, want %v", before, known[before], id, want[before])
				}
			}
		}
	}
}

var togetherCases = []logCase{
	{name: "two groups", run: func(s *logRun) {
		a, b := s.group(1), s.group(2)
		b.leader = codec.LeaderID{Term: 3, Node: 9}
		s.together(a.lives(60), b.lives(60))
		a.check()
		b.check()
		s.restartIfKept()
	}},
	{name: "peers beside writes", run: func(s *logRun) { // connections come while the groups' loops write
		const each = 25
		a, b := s.group(1), s.group(2)
		want := map[codec.NodeID]codec.Incarnation{}
		parts := []func(*logRun){a.lives(20), b.lives(20)}
		for i := range 4 {
			first := codec.NodeID(100 * (i + 1))
			for n := range each {
				want[first+codec.NodeID(n)] = codec.Incarnation{byte(i), byte(n), 1}
			}
			parts = append(parts, remembers(first, each, maps.Clone(want)))
		}
		s.together(parts...)
		s.checkPeers(want)
		if s.restartIfKept(); !s.config.Forgets {
			s.checkPeers(want)
		}
	}},
	{name: "groups are opened beside writes", run: func(s *logRun) {
		a := s.group(1)
		opened := make([]*group, 8)
		open := func(own *logRun) { // what it opens joins the others when it is done
			for i := range opened {
				opened[i] = own.group(codec.GroupID(10 + i))
				opened[i].wait(opened[i].append(2, 50))
			}
		}
		s.together(a.lives(20), open)
		for _, g := range opened {
			g.s = s
			s.groups = append(s.groups, g)
			g.check()
		}
		a.check()
		s.restartIfKept()
	}},
	{name: "reads beside truncations", run: func(s *logRun) {
		a, b := s.group(1), s.group(2)
		s.together(a.readsBeside(func() (sure bool) {
			a.leader.Term++
			a.truncate(a.last() - 20)
			for range 7 { // other frames than those before
				a.append(3, 90)
			}
			return false
		}), b.lives(20))
		s.restartIfKept()
	}},
	{name: "reads beside purges", run: func(s *logRun) {
		a, b := s.group(1), s.group(2)
		s.together(a.readsBeside(func() (sure bool) {
			a.purge(a.starts[10] - 1)
			for range 12 {
				a.append(1, 300)
			}
			return true
		}), b.lives(20))
		s.restartIfKept()
	}},
}

// readsBeside returns a function that asks for frames and, before the answers are there, changes the log. An answer is the
// frame as it was or as it is, whole, or an error. What the log still holds is there when it is asked for again. change says
// whether what has stayed all the time is sure to be there at once; a truncation may be an error for any read before it.
func (g *group) readsBeside(change func() (sure bool)) func(*logRun) {
	return func(s *logRun) {
		g.s = s
		for g.last() < 60 {
			g.append(1, 300)
		}
		for range 12 {
			from, old := g.base.ID.Index+1, slices.Clone(g.entries)
			told := make([]answers[answer], g.last()+1-from)
			for n := range told {
				i := from + codec.Index(n)
				told[n] = expect[answer](fmt.Sprintf("ReadFrame(%d)", i), 1)
				g.log.ReadFrame(i, func(f codec.Frame, err error) { told[n].put(answer{f, err}) })
			}
			sure := change()
			for n := range told {
				i := from + codec.Index(n)
				switch a := told[n].only(s); {
				case a.err == nil:
					g.checkEither(a.frame, i, old)
				case sure && i > g.base.ID.Index:
					s.Fatalf("group %d: ReadFrame(%d): %v; it was there all the time", g.id, i, a.err)
				}
			}
			g.check()
		}
		g.wait(g.seq)
	}
}

// checkEither checks that a frame holds index i, and is whole of what was in the log before a change, or of what is now.
func (g *group) checkEither(f codec.Frame, i codec.Index, old []codec.Entry) {
	g.s.Helper()
	if f.IsZero() {
		g.s.Fatalf("group %d: a frame without bytes for index %d", g.id, i)
	}
	m := f.Meta()
	if m.Group != g.id || m.First > i || m.Last() < i {
		g.s.Fatalf("group %d: ReadFrame(%d) brings frame %+v", g.id, i, m)
	}
	entries, err := f.AppendEntries(nil)
	if err != nil {
		g.s.Fatalf("group %d: frame %+v: %v", g.id, m, err)
	}
	holds := func(model []codec.Entry) bool {
		for _, e := range entries {
			at := int(e.ID.Index) - 1
			if at >= len(model) || model[at].ID != e.ID || string(model[at].Data) != string(e.Data) {
				return false
			}
		}
		return true
	}
	if !holds(old) && !holds(g.entries) {
		g.s.Fatalf("group %d: ReadFrame(%d) brings frame %+v, which is neither what was there when it was asked for nor what is now",
			g.id, i, m)
	}
}
