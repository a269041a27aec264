package storagetest

import (
	"maps"

	"github.com/millrace/millrace/codec"
)

var commitCases = []logCase{
	{name: "rides along with a frame", needs: needKeeps, run: func(s *logRun) {
		g := s.group(1)
		g.appendMany(5, 40)
		g.wait(g.submit(codec.LogWrite{Frame: g.normal(1, 40), Commit: 4}))
		s.close()
		s.open()
		if state := g.openAgain(); state.Commit != 4 {
			s.Fatalf("saved commit %d after a close, want 4", state.Commit)
		}
	}},
	{name: "alone is reported too", run: func(s *logRun) {
		g := s.group(1)
		g.appendMany(5, 40)
		g.wait(g.submit(codec.LogWrite{Commit: 3}))
		g.wait(g.submit(codec.LogWrite{Commit: 3}))
		g.wait(g.append(1, 40))
		g.check()
		s.restartIfKept()
	}},
	{name: "never more than was submitted", needs: needKeeps, run: func(s *logRun) { // checkState compares
		g := s.group(1)
		for i := range codec.Index(20) {
			g.submit(codec.LogWrite{Frame: g.normal(1, 40), Commit: i})
		}
		g.wait(g.seq)
		s.restart()
	}},
	{name: "of each group", needs: needKeeps, run: func(s *logRun) {
		a, b := s.group(1), s.group(2)
		a.submit(codec.LogWrite{Frame: a.normal(5, 40), Commit: 2})
		b.submit(codec.LogWrite{Frame: b.normal(5, 40), Commit: 4})
		a.wait(a.submit(codec.LogWrite{Frame: a.normal(1, 40), Commit: 3}))
		b.wait(b.seq)
		s.close()
		s.open()
		if x, y := a.openAgain().Commit, b.openAgain().Commit; x != 3 || y != 4 {
			s.Fatalf("saved commits %d and %d, want 3 and 4", x, y)
		}
	}},
}

var reportCases = []logCase{
	{name: "every write is reported", run: func(s *logRun) {
		g := s.group(1)
		g.wait(g.append(1, 40))
		g.wait(g.submit(codec.LogWrite{HasVote: true, Vote: codec.Vote{Leader: g.leader}}))
		g.wait(g.submit(codec.LogWrite{Commit: 1}))
		g.wait(g.append(1, 40))
		g.wait(g.truncate(1))
		g.wait(g.append(1, 40))
		g.wait(g.purge(1))
		g.wait(g.jump(codec.LogID{Leader: g.leader, Index: 50}, ""))
		g.wait(g.submit(codec.LogWrite{}))
	}},
	{name: "in order, none before it was submitted", run: func(s *logRun) { // flushed keeps account
		g := s.group(1)
		for range 300 {
			g.append(1, 40)
		}
		g.wait(g.seq)
		if seq, _, err := g.reports.told(); seq != g.seq || err != nil {
			s.Fatalf("reported up to %d with %v, want %d", seq, err, g.seq)
		}
	}},
	{name: "numbers may leap", run: func(s *logRun) {
		g := s.group(1)
		for _, seq := range []uint64{7, 8, 1000, 1 << 60} {
			g.wait(g.submitAs(seq, codec.LogWrite{Frame: g.normal(1, 40)}))
		}
		g.check()
	}},
	{name: "numbers begin anew with each opening", needs: needKeeps, run: func(s *logRun) {
		g := s.group(1)
		g.wait(g.submitAs(1000, codec.LogWrite{Frame: g.normal(1, 40)}))
		s.restart()
		g.wait(g.submitAs(1, codec.LogWrite{Frame: g.normal(1, 40)}))
	}},
	{name: "to each group its own", run: func(s *logRun) {
		a, b := s.group(1), s.group(2)
		a.seq = 500
		for range 20 {
			a.append(1, 40)
			b.append(1, 40)
		}
		a.wait(a.seq)
		b.wait(b.seq)
		idle := s.group(3)
		a.wait(a.append(1, 40))
		if _, calls, _ := idle.reports.told(); calls > 0 {
			s.Fatalf("a group without writes was told %d times", calls)
		}
	}},
}

// checkPeers compares what Peers returns.
func (s *logRun) checkPeers(want map[codec.NodeID]codec.Incarnation) {
	s.Helper()
	if got := s.log.Peers(); !maps.Equal(got, want) {
		s.Fatalf("Peers returned %v, want %v", got, want)
	}
}

var peerCases = []logCase{
	{name: "are remembered", run: func(s *logRun) {
		want := map[codec.NodeID]codec.Incarnation{}
		for id := range codec.NodeID(5) {
			want[id+1] = codec.Incarnation{byte(id), 1}
			if err := s.remember(id+1, want[id+1]); err != nil {
				s.Fatalf("RememberPeer: %v", err)
			}
		}
		s.checkPeers(want)
		if s.restartIfKept(); !s.config.Forgets {
			s.checkPeers(want)
		}
	}},
	{name: "the newest incarnation counts", run: func(s *logRun) {
		for i := range byte(3) {
			if err := s.remember(9, codec.Incarnation{i + 1}); err != nil {
				s.Fatalf("RememberPeer: %v", err)
			}
		}
		want := map[codec.NodeID]codec.Incarnation{9: {3}}
		s.checkPeers(want)
		if s.restartIfKept(); !s.config.Forgets {
			s.checkPeers(want)
		}
	}},
	{name: "what Peers returns is the caller's", run: func(s *logRun) {
		if err := s.remember(9, codec.Incarnation{1}); err != nil {
			s.Fatalf("RememberPeer: %v", err)
		}
		peers := s.log.Peers()
		peers[9] = codec.Incarnation{2}
		peers[10] = codec.Incarnation{3}
		s.checkPeers(map[codec.NodeID]codec.Incarnation{9: {1}})
	}},
	{name: "between the writes of groups", run: func(s *logRun) {
		g := s.group(1)
		for i := range byte(10) {
			g.append(2, 40)
			if err := s.remember(9, codec.Incarnation{i + 1}); err != nil {
				s.Fatalf("RememberPeer: %v", err)
			}
		}
		g.wait(g.seq)
		g.check()
		s.restartIfKept()
	}},
	{name: "not after Close", run: func(s *logRun) {
		l := s.log
		s.close()
		told := expect[error]("RememberPeer", 1)
		l.RememberPeer(9, codec.Incarnation{1}, told.put)
		if err := told.only(s); err == nil {
			s.Fatal("RememberPeer after Close reports success")
		}
	}},
}

var closeCases = []logCase{
	{name: "makes durable what waits", needs: needKeeps, run: func(s *logRun) {
		g := s.group(1)
		for range 50 {
			g.append(2, 100)
		}
		g.submit(codec.LogWrite{HasVote: true, Vote: codec.Vote{Leader: g.leader, Committed: true}})
		s.close()
		if seq, _, err := g.reports.told(); seq != g.seq || err != nil {
			s.Errorf("reported up to %d with %v when Close returned, want %d", seq, err, g.seq)
		}
		s.reopen()
	}},
	{name: "no report follows", run: func(s *logRun) {
		g := s.group(1)
		for range 50 {
			g.append(2, 100)
		}
		s.close()
		_, before, _ := g.reports.told()
		s.open()
		s.close()
		if _, after, _ := g.reports.told(); after != before {
			s.Errorf("flushed was called after Close")
		}
	}},
	{name: "a clean close is told from others", needs: needKeeps, run: func(s *logRun) {
		g := s.group(1)
		g.wait(g.submit(codec.LogWrite{HasVote: true, Vote: codec.Vote{Leader: g.leader, Committed: true},
			Frame: g.normal(2, 40)}))
		for round := range 3 {
			s.close()
			s.open()
			state := g.openAgain()
			if !state.CleanClose {
				s.Fatalf("CleanClose is false after clean close %d", round+1)
			}
			g.checkState(state)
		}
	}},
	{name: "a closed log opens no group", run: func(s *logRun) {
		l := s.log
		s.close()
		if g, _, err := l.Group(1, func(uint64, error) {}); err == nil {
			s.Fatalf("Group after Close returned %v", g)
		}
	}},
	{name: "a group is opened once", run: func(s *logRun) {
		g := s.group(1)
		g.wait(g.append(1, 40))
		if again, _, err := s.log.Group(1, func(uint64, error) {}); err == nil {
			s.Fatalf("Group of a group that is open returned %v", again)
		}
		g.wait(g.append(1, 40))
		g.check()
	}},
	{name: "a place is opened once", needs: needKeeps, run: func(s *logRun) {
		g := s.group(1)
		g.wait(g.append(1, 40))
		if again, err := s.place.Open(); err == nil {
			s.Errorf("Open of a log that is open returned %v", again)
			if err := again.Close(); err != nil {
				s.Errorf("Close: %v", err)
			}
		}
		g.wait(g.append(1, 40))
		s.restart()
	}},
	{name: "groups that nobody opens stay", needs: needKeeps, run: func(s *logRun) {
		a, b := s.group(1), s.group(2)
		a.append(3, 40)
		b.submit(codec.LogWrite{HasVote: true, Vote: codec.Vote{Leader: b.leader, Committed: true}, Frame: b.membership("a:1")})
		b.append(1, 40)
		b.wait(b.purge(1))
		for range 3 {
			s.close()
			s.open()
			a.checkState(a.openAgain())
			a.appendMany(a.last()+1, 40)
		}
		s.restart()
	}},
}

var crashCases = []logCase{
	{name: "what was reported is there", needs: needKeeps | needCrash, run: func(s *logRun) {
		g := s.group(1)
		for round := range 6 {
			if round > 0 {
				g.leader.Term++
				g.wait(g.append(2, 100))
			}
			switch round {
			case 1:
				g.wait(g.submit(codec.LogWrite{HasVote: true, Vote: codec.Vote{Leader: g.leader, Committed: true}}))
			case 2:
				g.appendMany(20, 100)
			case 3:
				g.wait(g.truncate(10))
			case 4:
				g.wait(g.purge(g.starts[2] - 1))
			case 5:
				g.wait(g.jump(codec.LogID{Leader: g.leader, Index: 100}, "a:5"))
			}
			s.crash()
			s.reopen()
		}
	}},
	{name: "each report is true when it comes", needs: needKeeps | needCrash, run: func(s *logRun) {
		g := s.group(1)
		for range 12 {
			g.wait(g.append(1, 300))
			s.crash()
			s.reopen()
		}
	}},
	{name: "what was not reported is a beginning of it", needs: needKeeps | needCrash, run: func(s *logRun) {
		g := s.group(1)
		for range 10 {
			g.wait(g.append(2, 100))
			durable := g.last()
			for range 10 {
				g.append(1, 100)
			}
			s.crash()
			s.open()
			state := g.openAgain()
			last := durable
			if n := len(state.Frames); n > 0 {
				last = state.Frames[n-1].Last()
			}
			if last < durable || last > g.last() {
				s.Fatalf("the log ends at %d; up to %d was reported, up to %d submitted", last, durable, g.last())
			}
			g.truncateModel(last)
			g.checkState(state)
			g.check()
		}
	}},
	{name: "it is no clean close", needs: needKeeps | needCrash, run: func(s *logRun) {
		g := s.group(1)
		g.wait(g.submit(codec.LogWrite{HasVote: true, Vote: codec.Vote{Leader: g.leader, Committed: true},
			Frame: g.normal(2, 40)}))
		s.crash()
		s.open()
		if state := g.openAgain(); state.CleanClose {
			s.Fatal("CleanClose is true after a crash")
		}
		s.restart() // a clean close does not make good for the crash before it
		s.close()
		s.open()
		if state := g.openAgain(); state.CleanClose {
			s.Fatal("CleanClose is true although the log crashed since the vote was written")
		}
	}},
	{name: "right after opening", needs: needKeeps | needCrash, run: func(s *logRun) { // a seal counts for one opening
		g := s.group(1)
		g.wait(g.submit(codec.LogWrite{HasVote: true, Vote: codec.Vote{Leader: g.leader, Committed: true},
			Frame: g.normal(2, 40)}))
		s.restart()
		s.crash()
		s.open()
		state := g.openAgain()
		if g.checkState(state); state.CleanClose {
			s.Fatal("CleanClose is true after a crash of the opening that followed a clean close")
		}
	}},
	{name: "peers and incarnation are there", needs: needKeeps | needCrash, run: func(s *logRun) {
		before := s.log.Incarnation()
		if err := s.remember(9, codec.Incarnation{1}); err != nil {
			s.Fatalf("RememberPeer: %v", err)
		}
		s.crash()
		s.reopen()
		if after := s.log.Incarnation(); after != before {
			s.Fatalf("Incarnation %v after a crash, was %v", after, before)
		}
		s.checkPeers(map[codec.NodeID]codec.Incarnation{9: {1}})
	}},
}

var poisonCases = []logCase{
	{name: "every group is told once", needs: needFail, run: func(s *logRun) {
		groups := []*group{s.group(1), s.group(2)}
		for _, g := range groups {
			g.wait(g.append(1, 40))
		}
		s.place.Fail()
		for _, g := range groups {
			if err := g.reported(g.append(1, 40)); err == nil {
				s.Fatal("a write is reported as durable although storage fails")
			}
		}
		for range 10 { // they are dropped, and flushed says what was wrong with it
			for _, g := range groups {
				g.append(1, 40)
			}
		}
		s.closePoisoned()
	}},
	{name: "nothing is acknowledged any more", needs: needFail, run: func(s *logRun) {
		g := s.group(1)
		g.wait(g.append(1, 40))
		s.place.Fail()
		if err := g.reported(g.append(1, 40)); err == nil {
			s.Fatal("a write is reported as durable although storage fails")
		}
		s.place.Repair() // a retry that succeeds proves nothing of what was lost
		before, _, _ := g.reports.told()
		g.append(1, 40)
		if err := s.remember(9, codec.Incarnation{1}); err == nil {
			s.Error("RememberPeer reports success on a log that has failed")
		}
		if after, _, _ := g.reports.told(); after != before {
			s.Errorf("write %d is reported after an error", after)
		}
		s.closePoisoned()
	}},
	{name: "what was reported is there", needs: needFail | needKeeps, run: func(s *logRun) {
		g := s.group(1)
		g.wait(g.submit(codec.LogWrite{HasVote: true, Vote: codec.Vote{Leader: g.leader, Committed: true},
			Frame: g.normal(5, 100)}))
		g.wait(g.append(1, 40))
		durable := g.last()
		s.place.Fail()
		if err := g.reported(g.append(1, 40)); err == nil {
			s.Fatal("a write is reported as durable although storage fails")
		}
		s.closePoisoned()
		s.place.Repair()
		s.open()
		state := g.openAgain()
		last := codec.Index(0)
		if n := len(state.Frames); n > 0 {
			last = state.Frames[n-1].Last()
		}
		if last < durable || last > g.last() || state.CleanClose {
			s.Fatalf("the log ends at %d with a clean close: %v; up to %d was reported, and then it failed", last,
				state.CleanClose, durable)
		}
		g.truncateModel(last)
		g.checkState(state)
		g.check()
	}},
}

// closePoisoned closes a log that has failed, and wants that error.
func (s *logRun) closePoisoned() {
	s.Helper()
	l := s.log
	s.log = nil
	if err := l.Close(); err == nil {
		s.Errorf("Close of a log that has failed returned %v", err)
	}
}
