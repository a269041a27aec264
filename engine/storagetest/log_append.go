package storagetest

import (
	"bytes"
	"math/rand/v2"

	"github.com/millrace/millrace/codec"
)

var startCases = []logCase{
	{name: "a new log is empty", run: func(s *logRun) { // group compares the state with an empty model
		g := s.group(1)
		g.check()
		s.restartIfKept()
	}},
	{name: "the incarnation is never zero", run: func(s *logRun) {
		if s.log.Incarnation().IsZero() {
			s.Fatal("Incarnation returned zero")
		}
	}},
	{name: "the incarnation stays", needs: needKeeps, run: func(s *logRun) {
		before := s.log.Incarnation()
		s.restart()
		s.restart()
		if after := s.log.Incarnation(); after != before {
			s.Fatalf("Incarnation %v, was %v when the place was made", after, before)
		}
	}},
	{name: "a log that forgets has another incarnation", needs: needForgets, run: func(s *logRun) {
		before := s.log.Incarnation()
		s.close()
		s.open()
		if after := s.log.Incarnation(); after == before {
			s.Fatalf("Incarnation %v again, although what it promised is forgotten", after)
		}
	}},
	{name: "two places have two incarnations", run: func(s *logRun) {
		other, err := s.config.New(s.TB).Open()
		if err != nil {
			s.Fatal(err)
		}
		defer func() {
			if err := other.Close(); err != nil {
				s.Errorf("Close: %v", err)
			}
		}()
		if other.Incarnation() == s.log.Incarnation() {
			s.Fatalf("two places have the incarnation %v", other.Incarnation())
		}
	}},
	{name: "a new log knows no peers", run: func(s *logRun) {
		if peers := s.log.Peers(); len(peers) > 0 {
			s.Fatalf("Peers returned %v", peers)
		}
	}},
	{name: "groups do not see each other", run: func(s *logRun) {
		a, b := s.group(1), s.group(1<<63)
		b.leader.Term = 9
		a.appendMany(3, 50)
		b.append(5, 20)
		a.truncate(2)
		b.wait(b.submit(codec.LogWrite{HasVote: true, Vote: codec.Vote{Leader: b.leader}}))
		a.wait(a.append(2, 10))
		a.check()
		b.check()
		s.restartIfKept()
	}},
}

var voteCases = []logCase{
	{name: "a vote alone is kept", needs: needKeeps, run: func(s *logRun) {
		g := s.group(1)
		g.wait(g.submit(codec.LogWrite{HasVote: true, Vote: codec.Vote{Leader: codec.LeaderID{Term: 5, Node: 2}}}))
		s.restart()
		s.restart()
	}},
	{name: "the newest vote counts", needs: needKeeps, run: func(s *logRun) {
		g := s.group(1)
		for term := range codec.Term(7) {
			g.submit(codec.LogWrite{HasVote: true, Vote: codec.Vote{Leader: codec.LeaderID{Term: term + 1, Node: 2}}})
		}
		g.wait(g.seq)
		s.restart()
	}},
	{name: "committed or not is kept", needs: needKeeps, run: func(s *logRun) {
		g, h := s.group(1), s.group(2)
		vote := codec.Vote{Leader: codec.LeaderID{Term: 5, Node: 2}}
		g.submit(codec.LogWrite{HasVote: true, Vote: vote})
		h.submit(codec.LogWrite{HasVote: true, Vote: vote})
		vote.Committed = true
		h.wait(h.submit(codec.LogWrite{HasVote: true, Vote: vote}))
		s.restart()
	}},
	{name: "the largest ids are kept", needs: needKeeps, run: func(s *logRun) {
		g := s.group(1<<64 - 1)
		greatest := codec.LeaderID{Term: 1<<64 - 1, Node: 1<<64 - 1}
		g.wait(g.submit(codec.LogWrite{HasVote: true, Vote: codec.Vote{Leader: greatest, Committed: true}}))
		s.restart()
	}},
	{name: "a vote with a frame", needs: needKeeps, run: func(s *logRun) {
		g := s.group(1)
		g.wait(g.submit(codec.LogWrite{HasVote: true, Vote: codec.Vote{Leader: g.leader, Committed: true},
			Frame: g.normal(3, 20)}))
		s.restart()
	}},
	{name: "a vote outlives every change of the entries", needs: needKeeps, run: func(s *logRun) {
		g := s.group(1)
		g.submit(codec.LogWrite{HasVote: true, Vote: codec.Vote{Leader: codec.LeaderID{Term: 5, Node: 2}, Committed: true}})
		g.appendMany(6, 20)
		g.truncate(4)
		g.purge(2)
		s.restart()
		g.jump(codec.LogID{Leader: g.leader, Index: 100}, "")
		g.wait(g.append(1, 20))
		s.restart()
	}},
	{name: "a vote without HasVote is none", needs: needKeeps, run: func(s *logRun) {
		g := s.group(1)
		g.wait(g.submit(codec.LogWrite{Vote: codec.Vote{Leader: codec.LeaderID{Term: 5, Node: 2}}, Frame: g.normal(1, 20)}))
		s.restart()
	}},
}

var appendCases = []logCase{
	{name: "one entry", run: func(s *logRun) {
		g := s.group(1)
		g.wait(g.append(1, 0))
		g.check()
		s.restartIfKept()
	}},
	{name: "frames of many sizes", run: func(s *logRun) {
		g := s.group(1)
		for i := range 60 {
			g.append(1+i%7, i*i%997)
		}
		g.wait(g.seq)
		g.check()
		s.restartIfKept()
	}},
	{name: "after opening again", needs: needKeeps, run: func(s *logRun) {
		g := s.group(1)
		for range 4 {
			g.appendMany(g.last()+3, 30)
			s.restart()
		}
	}},
	{name: "every kind of entry", run: func(s *logRun) {
		g := s.group(1)
		g.submit(codec.LogWrite{Frame: g.membership("a:1")})
		g.submit(codec.LogWrite{Frame: g.frame(codec.EntryBlank, codec.CompressionNone, nil)})
		g.submit(codec.LogWrite{Frame: g.frame(codec.EntrySession, codec.CompressionNone, g.payloads(2, 9)...)})
		g.submit(codec.LogWrite{Frame: g.frame(codec.EntryRestore, codec.CompressionNone, g.payloads(1, 9)...)})
		g.wait(g.append(2, 9))
		g.check()
		s.restartIfKept()
	}},
	{name: "entries without data", run: func(s *logRun) {
		g := s.group(1)
		g.wait(g.submit(codec.LogWrite{Frame: g.frame(codec.EntryNormal, codec.CompressionNone, []byte{}, []byte{}, []byte{})}))
		g.check()
		s.restartIfKept()
	}},
	{name: "compressed frames", run: func(s *logRun) {
		g := s.group(1)
		for _, c := range []codec.Compression{codec.CompressionS2, codec.CompressionZstd} {
			g.submit(codec.LogWrite{Frame: g.frame(codec.EntryNormal, c, g.payloads(10, 500)...)})
		}
		g.wait(g.seq)
		g.truncate(15)
		g.check()
		s.restartIfKept()
	}},
	{name: "frames without their entries", run: func(s *logRun) { // as witnesses keep them
		g := s.group(1)
		for range 3 {
			meta := g.normal(4, 10).Meta()
			for i := meta.First; i <= meta.Last(); i++ {
				g.entries[i-1].Data = nil
			}
			g.submit(codec.LogWrite{Frame: codec.HeaderFrame(meta)})
		}
		g.truncate(10)
		g.wait(g.seq)
		g.check()
		s.restartIfKept()
	}},
	{name: "a frame of megabytes", run: func(s *logRun) {
		g := s.group(1)
		g.append(1, 10)
		g.append(3, 1<<20)
		g.wait(g.append(1, 10))
		g.check()
		s.restartIfKept()
	}},
	{name: "a frame keeps its bytes", run: func(s *logRun) {
		g := s.group(1)
		want := bytes.Clone(g.normal(3, 100).Bytes())
		f, _, err := codec.ReadFrame(bytes.Clone(want))
		if err != nil {
			s.Fatal(err)
		}
		g.wait(g.submit(codec.LogWrite{Frame: f}))
		if got := g.read(2).Bytes(); !bytes.Equal(got, want) {
			s.Fatalf("the frame came back as %x, was %x", got, want)
		}
		if s.restartIfKept(); !s.config.Forgets && !bytes.Equal(g.read(2).Bytes(), want) {
			s.Fatal("the frame has other bytes after opening again")
		}
	}},
	{name: "fresh frames are in memory at once", run: func(s *logRun) {
		g := s.group(1)
		for range 30 {
			before := g.last()
			g.append(3, 200)
			for i := before + 1; i <= g.last(); i++ {
				f, ok := g.log.Frame(i)
				if seq, _, _ := g.reports.told(); !ok && seq < g.seq {
					s.Fatalf("Frame(%d) returned nothing, and its write is not reported", i)
				}
				if ok {
					g.checkFrame(f, before+1, g.last())
				}
			}
		}
		g.wait(g.seq)
	}},
	{name: "entries of several leaders", run: func(s *logRun) {
		g := s.group(1)
		for term := range codec.Term(5) {
			g.leader = codec.LeaderID{Term: term/2 + 1, Node: codec.NodeID(term + 1)}
			g.append(2, 30)
		}
		g.wait(g.seq)
		g.check()
		s.restartIfKept()
	}},
}

var readCases = []logCase{
	{name: "any index finds its frame", run: func(s *logRun) {
		g := s.group(1)
		for range 5 {
			g.append(4, 30)
		}
		g.wait(g.seq)
		for i := codec.Index(1); i <= 20; i++ {
			g.checkFrame(g.read(i), (i-1)/4*4+1, (i-1)/4*4+4)
		}
	}},
	{name: "nothing beyond the ends", run: func(s *logRun) {
		g := s.group(1)
		g.check()
		g.wait(g.append(4, 30))
		g.checkNotHeld(0)
		g.checkNotHeld(5)
		g.checkNotHeld(1<<64 - 1)
	}},
	{name: "what is asked for is also read", run: func(s *logRun) { // ReadFrame works wherever the frame is
		g := s.group(1)
		for range 5 {
			g.append(4, 30)
		}
		g.wait(g.seq)
		for i := codec.Index(1); i <= 20; i++ {
			f, err := g.readBack(i)
			if err != nil {
				s.Fatalf("ReadFrame(%d): %v", i, err)
			}
			g.checkFrame(f, (i-1)/4*4+1, (i-1)/4*4+4)
		}
	}},
	{name: "old frames of a long log", run: func(s *logRun) {
		g := s.group(1)
		for range 600 {
			g.append(2, 400)
		}
		g.wait(g.seq)
		g.check()
		s.restartIfKept()
	}},
	{name: "many at a time", run: func(s *logRun) {
		g := s.group(1)
		g.appendMany(200, 300)
		type numbered struct {
			index codec.Index
			answer
		}
		told := expect[numbered]("200 calls of ReadFrame", 200)
		for i := codec.Index(1); i <= 200; i++ {
			g.log.ReadFrame(i, func(f codec.Frame, err error) { told.put(numbered{i, answer{f, err}}) })
		}
		seen := map[codec.Index]bool{}
		for range 200 {
			a := told.next(s)
			if a.err != nil || seen[a.index] {
				s.Fatalf("ReadFrame(%d) of 200 at a time: %v, answered before: %v", a.index, a.err, seen[a.index])
			}
			g.checkFrame(a.frame, a.index, a.index)
			seen[a.index] = true
		}
	}},
	{name: "while it is written", run: func(s *logRun) {
		g := s.group(1)
		for i := range 100 {
			g.append(1, 500)
			if i%3 == 0 {
				g.read(codec.Index(i/2 + 1))
			}
		}
		g.wait(g.seq)
		g.check()
	}},
}

// randomCases play a group's life by lot against the model.
var randomCases = func() (out []logCase) {
	for _, c := range []struct {
		name string
		seed uint64
	}{{"one", 1}, {"two", 2}, {"three", 3}, {"four", 4}, {"five", 5}, {"six", 6}} {
		out = append(out, logCase{name: "life " + c.name, run: func(s *logRun) {
			r := rand.New(rand.NewPCG(c.seed, 7))
			groups := []*group{s.group(1), s.group(2)}
			for range 150 {
				groups[r.IntN(2)].chance(r)
			}
			for _, g := range groups {
				g.wait(g.seq)
				g.check()
			}
			s.restartIfKept()
		}})
	}
	return out
}()

// chance does one thing that a group's log must take.
func (g *group) chance(r *rand.Rand) {
	base, last := g.base.ID.Index, g.last()
	switch n := r.IntN(20); {
	case n < 9:
		g.append(1+r.IntN(5), r.IntN(600))
	case n == 9:
		g.submit(codec.LogWrite{Frame: g.membership("a:9"), Commit: last})
	case n < 13: // another leader's entries in the place of the last ones
		to := base + codec.Index(r.Uint64N(uint64(last-base)+1))
		g.leader.Term++
		g.truncateModel(to)
		w := codec.LogWrite{HasTruncate: true, Truncate: to, HasVote: true, Vote: codec.Vote{Leader: g.leader, Committed: true}}
		if r.IntN(3) > 0 {
			w.Frame = g.normal(1+r.IntN(3), 50)
		}
		g.submit(w)
	case n == 13 && len(g.starts) > 1:
		g.purge(g.starts[1+r.IntN(len(g.starts)-1)] - 1)
	case n == 14:
		g.leader.Term++
		to := codec.LogID{Leader: g.leader, Index: base + 2 + codec.Index(r.Uint64N(uint64(last-base)+20))}
		address := ""
		if r.IntN(2) == 0 {
			address = "a:10"
		}
		g.jump(to, address)
	case n == 15:
		g.wait(g.seq)
		g.check()
	case n == 16:
		g.s.restartIfKept()
	default:
		if last > base {
			g.read(base + 1 + codec.Index(r.Uint64N(uint64(last-base))))
		}
	}
}
