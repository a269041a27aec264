package storagetest

import (
	"github.com/millrace/millrace/codec"
)

// eleven is a log of entries 1 to 11 in frames of 1, 2, 3, 4 and 1 entries.
func (s *logRun) eleven() *group {
	g := s.group(1)
	for _, n := range []int{1, 2, 3, 4, 1} {
		g.append(n, 40)
	}
	g.wait(g.seq)
	return g
}

// truncateTo makes a case that truncates a log of eleven entries and goes on.
func truncateTo(to codec.Index) func(s *logRun) {
	return func(s *logRun) {
		g := s.eleven()
		g.wait(g.truncate(to))
		g.check()
		s.restartIfKept()
		g.leader.Term++
		g.wait(g.append(2, 40))
		g.check()
		s.restartIfKept()
	}
}

var truncateCases = []logCase{
	{name: "after the last entry", run: truncateTo(11)},
	{name: "between two frames", run: truncateTo(6)},
	{name: "inside a frame", run: truncateTo(8)},
	{name: "inside the first frame of many", run: truncateTo(2)},
	{name: "everything", run: truncateTo(0)},
	{name: "an empty log", run: func(s *logRun) {
		g := s.group(1)
		g.wait(g.truncate(0))
		g.wait(g.append(1, 9))
		g.check()
		s.restartIfKept()
	}},
	{name: "a conflict at the same index", run: func(s *logRun) { // truncation and frame in one write
		g := s.eleven()
		for n := range codec.Index(6) {
			to := 10 - 2*n
			g.leader.Term++
			g.truncateModel(to)
			g.submit(codec.LogWrite{HasTruncate: true, Truncate: to, Frame: g.normal(1, 40),
				HasVote: true, Vote: codec.Vote{Leader: g.leader, Committed: true}})
		}
		g.wait(g.seq)
		g.check()
		s.restartIfKept()
	}},
	{name: "the same index again and again", run: func(s *logRun) {
		g := s.eleven()
		for range 20 {
			g.leader.Term++
			g.truncateModel(5)
			g.submit(codec.LogWrite{HasTruncate: true, Truncate: 5, Frame: g.normal(3, 40)})
		}
		g.wait(g.seq)
		g.check()
		s.restartIfKept()
	}},
	{name: "twice inside one frame", run: func(s *logRun) {
		g := s.group(1)
		g.append(10, 40)
		g.truncate(7)
		g.truncate(4)
		g.wait(g.truncate(4))
		g.check()
		s.restartIfKept()
	}},
	{name: "before it is reported", run: func(s *logRun) {
		g := s.group(1)
		for range 20 {
			g.append(3, 40)
			g.truncate(g.last() - 1)
			if f, ok := g.log.Frame(g.last() + 1); ok {
				s.Fatalf("Frame returned %+v behind the truncation", f.Meta())
			}
			g.append(1, 40)
		}
		g.wait(g.seq)
		g.check()
		s.restartIfKept()
	}},
	{name: "inside a frame that is old", run: func(s *logRun) {
		g := s.group(1)
		g.append(10, 100)
		g.appendMany(1000, 400)
		g.truncate(6)
		g.check()
		s.restartIfKept()
		g.wait(g.append(2, 40))
		g.check()
	}},
}

// purgeTo makes a case that purges a log of eleven entries and goes on.
func purgeTo(to codec.Index) func(s *logRun) {
	return func(s *logRun) {
		g := s.eleven()
		g.wait(g.purge(to))
		g.check()
		s.restartIfKept()
		g.wait(g.append(2, 40))
		g.check()
		s.restartIfKept()
	}
}

var purgeCases = []logCase{
	{name: "nothing", run: func(s *logRun) {
		g := s.eleven()
		s.restartIfKept()
		if g.base.ID.Index != 0 || g.read(1).IsZero() {
			s.Fatal("the first entry is gone")
		}
	}},
	{name: "the first entry", run: purgeTo(1)},
	{name: "a part", run: purgeTo(6)},
	{name: "all but one frame", run: purgeTo(10)},
	{name: "everything", run: purgeTo(11)},
	{name: "twenty entries, bit by bit", run: func(s *logRun) {
		g := s.group(1)
		g.appendMany(25, 40)
		for to := codec.Index(1); to <= 20; to++ {
			g.purge(to)
		}
		g.wait(g.seq)
		g.check()
		s.restartIfKept()
	}},
	{name: "with the frame it ends behind", run: func(s *logRun) { // the frame comes before the purge
		g := s.eleven()
		w := codec.LogWrite{Frame: g.normal(2, 40)}
		w.Purge = g.purgeModel(13)
		g.wait(g.submit(w))
		g.check()
		s.restartIfKept()
		g.wait(g.append(1, 40))
		g.check()
	}},
	{name: "what follows can be truncated", run: func(s *logRun) {
		g := s.eleven()
		g.purge(3)
		g.wait(g.truncate(8))
		g.check()
		s.restartIfKept()
		g.wait(g.truncate(3))
		g.check()
		s.restartIfKept()
		g.wait(g.append(2, 40))
		g.check()
	}},
	{name: "up to a cut", run: func(s *logRun) { // a frame that a truncation cut ends where it was cut
		g := s.eleven()
		g.truncate(8)
		g.append(2, 40)
		g.wait(g.purge(8))
		g.check()
		s.restartIfKept()
	}},
	{name: "old entries of a long log", run: func(s *logRun) {
		g := s.group(1)
		g.appendMany(500, 400)
		g.wait(g.purge(450))
		g.check()
		g.appendMany(700, 400)
		g.wait(g.purge(690))
		g.check()
		s.restartIfKept()
	}},
	{name: "a read does not bring them back", run: func(s *logRun) {
		g := s.eleven()
		g.purge(6)
		for i := range codec.Index(7) {
			g.checkNotHeld(i)
		}
	}},
}

// jumpOver makes a case that jumps in a log of eleven entries and goes on.
func jumpOver(to codec.Index) func(s *logRun) {
	return func(s *logRun) {
		g := s.eleven()
		g.leader.Term++
		g.wait(g.jump(codec.LogID{Leader: g.leader, Index: to}, "a:5"))
		g.check()
		s.restartIfKept()
		g.wait(g.append(2, 40))
		g.check()
		s.restartIfKept()
	}
}

var jumpCases = []logCase{
	{name: "an empty log", run: func(s *logRun) {
		g := s.group(1)
		g.wait(g.jump(codec.LogID{Leader: g.leader, Index: 10_001}, ""))
		g.check()
		g.wait(g.append(1, 40))
		if g.last() != 10_002 {
			s.Fatal(g.last())
		}
		g.check()
		s.restartIfKept()
	}},
	{name: "far ahead", run: jumpOver(10_001)},
	{name: "just ahead", run: jumpOver(12)},
	{name: "to the last index", run: jumpOver(11)},
	{name: "inside, over what follows", run: jumpOver(5)},
	{name: "with vote, frame and purge in one write", run: func(s *logRun) {
		g := s.eleven()
		g.leader = codec.LeaderID{Term: 8, Node: 2}
		w := codec.LogWrite{HasVote: true, Vote: codec.Vote{Leader: g.leader, Committed: true}}
		w.Jump = g.jumpModel(codec.LogID{Leader: codec.LeaderID{Term: 7, Node: 3}, Index: 50}, "a:5")
		w.Frame = g.normal(3, 40)
		g.wait(g.submit(w))
		g.check()
		s.restartIfKept()
	}},
	{name: "twice", run: func(s *logRun) {
		g := s.eleven()
		g.jump(codec.LogID{Leader: g.leader, Index: 50}, "a:5")
		g.append(3, 40)
		g.leader.Term++
		g.wait(g.jump(codec.LogID{Leader: g.leader, Index: 51}, ""))
		g.check()
		s.restartIfKept()
	}},
	{name: "then purge and truncate", run: func(s *logRun) {
		g := s.eleven()
		g.jump(codec.LogID{Leader: g.leader, Index: 50}, "a:5")
		g.append(3, 40)
		g.append(3, 40)
		g.purge(53)
		g.wait(g.truncate(55))
		g.check()
		s.restartIfKept()
		g.wait(g.truncate(53))
		g.check()
		s.restartIfKept()
	}},
	{name: "another group stays", run: func(s *logRun) {
		other := s.group(2)
		other.appendMany(5, 40)
		g := s.eleven()
		g.wait(g.jump(codec.LogID{Leader: g.leader, Index: 50}, "a:5"))
		other.check()
		s.restartIfKept()
	}},
}

var membershipCases = []logCase{
	{name: "from the log, in order", needs: needKeeps, run: func(s *logRun) {
		g := s.group(1)
		for _, address := range []string{"a:1", "a:2", "a:3"} {
			g.submit(codec.LogWrite{Frame: g.membership(address)})
			g.append(3, 40)
		}
		g.wait(g.seq)
		s.restart()
	}},
	{name: "not those that were truncated", needs: needKeeps, run: func(s *logRun) {
		g := s.group(1)
		g.submit(codec.LogWrite{Frame: g.membership("a:1")})
		g.append(3, 40)
		g.submit(codec.LogWrite{Frame: g.membership("a:2")})
		g.leader.Term++
		g.truncateModel(4)
		g.wait(g.submit(codec.LogWrite{HasTruncate: true, Truncate: 4, Frame: g.membership("a:3")}))
		s.restart()
		g.wait(g.truncate(4))
		s.restart()
	}},
	{name: "in the base, once purged", needs: needKeeps, run: func(s *logRun) {
		g := s.group(1)
		for _, address := range []string{"a:1", "a:2", "a:3"} {
			g.submit(codec.LogWrite{Frame: g.membership(address)})
			g.append(1, 40)
		}
		g.wait(g.purge(4))
		if g.base.Membership.ID.Index != 3 {
			s.Fatal(g.base.Membership.ID)
		}
		s.restart()
		g.purge(5)
		g.wait(g.purge(6))
		s.restart()
	}},
	{name: "in the base of a jump", needs: needKeeps, run: func(s *logRun) {
		g := s.group(1)
		g.submit(codec.LogWrite{Frame: g.membership("a:1")})
		g.jump(codec.LogID{Leader: g.leader, Index: 50}, "a:2")
		g.append(1, 40)
		g.wait(g.submit(codec.LogWrite{Frame: g.membership("a:3")}))
		s.restart()
	}},
	{name: "of every member", needs: needKeeps, run: func(s *logRun) { // a large one, with everything a node can have
		g := s.group(1)
		nodes := make([]codec.Node, 200)
		for i := range nodes {
			nodes[i] = codec.Node{ID: codec.NodeID(i*i + 1), Address: "node.example:7000", Priority: uint8(i),
				Incarnation: codec.Incarnation{byte(i), 1}}
		}
		m := codec.NewMembership(codec.OneLeaderPerTerm, nodes...)
		f := g.frame(codec.EntryMembership, codec.CompressionNone, codec.AppendMembership(nil, &m))
		g.wait(g.submit(codec.LogWrite{Frame: f}))
		s.restart()
		g.wait(g.purge(1))
		s.restart()
	}},
}
