package wal

import (
	"errors"
	"slices"
	"testing"

	"github.com/millrace/millrace/codec"
)

func TestContractWritesAreReportedAndRead(t *testing.T) {
	eachForm(t, func(t *testing.T, f form) {
		l := f.open(t)
		defer mustClose(t, l)
		d, state := drive(t, l, 3)
		d.checkState(state)
		for i := range 40 {
			d.must(d.append(1+i%5, 200))
		}
		d.check(d.read)
		if f.forgets {
			return
		}
		if s := l.(*Log).Stats(); s.ColdReads == 0 || s.Segments < 2 || s.Syncs == 0 || s.RecentBytes == 0 {
			t.Fatalf("stats %+v: want cold reads, several segments, syncs, recent bytes", s)
		}
	})
}

func TestContractReopenFindsEverything(t *testing.T) {
	eachForm(t, func(t *testing.T, f form) {
		if f.forgets {
			t.Skip("memory keeps nothing, by contract")
		}
		l := f.open(t)
		incarnation := l.Incarnation()
		a, _ := drive(t, l, 1)
		b, _ := drive(t, l, 2)
		a.submit(codec.LogWrite{HasVote: true, Vote: codec.Vote{Leader: a.leader}})
		a.submit(codec.LogWrite{HasVote: true, Vote: codec.Vote{Leader: a.leader, Committed: true}, Frame: a.frame(0, 3, 50)})
		b.append(10, 100)
		b.leader.Term = 2
		b.submit(codec.LogWrite{HasTruncate: true, Truncate: 4, Frame: b.frame(4, 2, 70), Commit: 3})
		b.leader.Term = 3
		b.submit(codec.LogWrite{HasTruncate: true, Truncate: 5, HasVote: true, Vote: codec.Vote{Leader: b.leader}})
		b.entries = b.entries[:5]
		for range 60 {
			a.append(2, 150)
			b.append(1, 10)
		}
		mustClose(t, l)

		for round := range 3 {
			l = f.open(t)
			if l.Incarnation() != incarnation {
				t.Fatal("incarnation changed")
			}
			for _, d := range []*driver{a, b} {
				state := d.reopen(l)
				if !state.CleanClose {
					t.Fatal("a sealed log was not closed cleanly")
				}
				d.checkState(state)
				for _, m := range state.Frames {
					got, err := d.read(m.First)
					if err != nil || got.Meta() != m {
						t.Fatalf("frame %+v, told %+v (%v)", got.Meta(), m, err)
					}
				}
				d.check(d.read)
			}
			if state := b.t; state == nil || round == 0 {
				b.must(b.append(1, 20))
			}
			mustClose(t, l)
		}
	})
}

func TestContractTruncationInsideAFrame(t *testing.T) {
	eachForm(t, func(t *testing.T, f form) {
		l := f.open(t)
		d, _ := drive(t, l, 1)
		d.must(d.append(10, 30))
		d.submit(codec.LogWrite{HasTruncate: true, Truncate: 7})
		d.entries = d.entries[:7]
		d.check(d.read)
		d.submit(codec.LogWrite{HasTruncate: true, Truncate: 5})
		d.entries = d.entries[:5]
		got, ok := d.g.Frame(3)
		if !ok || got.Meta().Last() != 5 {
			t.Fatalf("frame %+v, want one that ends at 5", got.Meta())
		}
		d.leader.Term = 2
		d.must(d.append(3, 30))
		d.must(d.submit(codec.LogWrite{HasTruncate: true, Truncate: 0}))
		d.entries = nil
		d.check(d.read)
		d.must(d.append(2, 30))
		mustClose(t, l)
		if f.forgets {
			return
		}
		l = f.open(t)
		defer mustClose(t, l)
		d.checkState(d.reopen(l))
		d.check(d.read)
	})
}

func TestContractColdFrameIsCut(t *testing.T) {
	eachForm(t, func(t *testing.T, f form) {
		l := f.open(t)
		d, _ := drive(t, l, 1)
		d.must(d.append(10, 100))
		for range 10 {
			d.must(d.append(1, 1000)) // evicts the first frame where there is a bound
		}
		if _, ok := d.g.Frame(1); ok != f.forgets {
			t.Fatalf("first frame in memory: %v", ok)
		}
		d.submit(codec.LogWrite{HasTruncate: true, Truncate: 6})
		d.entries = d.entries[:6]
		d.check(d.read)
		mustClose(t, l)
		if f.forgets {
			return
		}
		l = f.open(t)
		defer mustClose(t, l)
		state := d.reopen(l)
		d.checkState(state)
		got, err := d.read(6)
		if err != nil || got.Meta() != state.Frames[0] {
			t.Fatalf("frame %+v (%v), told %+v", got.Meta(), err, state.Frames[0])
		}
		d.check(d.read)
	})
}

func TestContractMembershipsAndPeers(t *testing.T) {
	eachForm(t, func(t *testing.T, f form) {
		l := f.open(t)
		d, _ := drive(t, l, 1)
		member := func(i codec.Index, addr string) []byte {
			m := codec.NewMembership(codec.SeveralLeadersPerTerm, codec.Node{ID: 1, Address: addr}, codec.Node{ID: 7, Address: "b:1"})
			data := codec.AppendMembership(nil, &m)
			id := codec.LogID{Leader: d.leader, Index: i}
			d.entries = append(d.entries, codec.Entry{ID: id, Kind: codec.EntryMembership, Data: data})
			d.must(d.submit(codec.LogWrite{Frame: makeFrame(t, 1, d.leader, i, codec.EntryMembership, data)}))
			return data
		}
		member(1, "a:1")
		d.append(3, 10)
		member(5, "a:2")
		d.submit(codec.LogWrite{HasTruncate: true, Truncate: 4})
		d.entries = d.entries[:4]
		d.leader.Term = 2
		member(5, "a:3")
		d.check(d.read)

		peer := codec.Incarnation{1, 2, 3}
		done := make(chan error, 2)
		l.RememberPeer(9, codec.Incarnation{9}, func(err error) { done <- err })
		l.RememberPeer(9, peer, func(err error) { done <- err })
		if err := errors.Join(<-done, <-done); err != nil {
			t.Fatal(err)
		}
		if got := l.Peers(); len(got) != 1 || got[9] != peer {
			t.Fatalf("peers %v", got)
		}
		mustClose(t, l)
		l.RememberPeer(9, peer, func(err error) { done <- err })
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Fatalf("remember after close: %v", err)
		}
		if f.forgets {
			return
		}
		l = f.open(t)
		defer mustClose(t, l)
		if got := l.Peers(); len(got) != 1 || got[9] != peer {
			t.Fatalf("peers after reopening %v", got)
		}
		state := d.reopen(l)
		d.checkState(state)
		var at []codec.LogID
		for _, m := range state.Memberships {
			at = append(at, m.ID)
		}
		want := []codec.LogID{{Leader: codec.LeaderID{Term: 1, Node: 7}, Index: 1}, {Leader: codec.LeaderID{Term: 2, Node: 7}, Index: 5}}
		if !slices.Equal(at, want) || state.Memberships[1].Membership.Nodes[0].Address != "a:3" {
			t.Fatalf("memberships %+v", state.Memberships)
		}
	})
}

func TestContractSavedCommitRidesAlong(t *testing.T) {
	eachForm(t, func(t *testing.T, f form) {
		if f.forgets {
			t.Skip("memory keeps nothing, by contract")
		}
		l := f.open(t)
		d, _ := drive(t, l, 1)
		d.must(d.append(3, 10))
		before := l.(*Log).Stats()
		d.must(d.submit(codec.LogWrite{Commit: 2}))
		if after := l.(*Log).Stats(); after != before {
			t.Fatalf("a commit alone wrote something: %+v, before %+v", after, before)
		}
		d.must(d.append(1, 10)) // takes the commit along
		d.must(d.submit(codec.LogWrite{Commit: 2, Frame: d.frame(4, 1, 10)}))
		if after := l.(*Log).Stats(); after.Records != before.Records+3 {
			t.Fatalf("%d records, want %d: frame, commit, frame", after.Records, before.Records+3)
		}
		d.must(d.submit(codec.LogWrite{Commit: 4}))
		mustClose(t, l)
		l = f.open(t)
		defer mustClose(t, l)
		if state := d.reopen(l); state.Commit != 4 || !state.CleanClose {
			t.Fatalf("commit %d, clean %v, want 4 and true", state.Commit, state.CleanClose)
		}
	})
}

func TestContractErrorsAndBugs(t *testing.T) {
	eachForm(t, func(t *testing.T, f form) {
		l := f.open(t)
		d, _ := drive(t, l, 1)
		d.must(d.append(3, 10))
		switch l := l.(type) {
		case *Log:
			if _, _, err := l.Group(1, d.flushed.flushed); !errors.Is(err, ErrGroupOpen) {
				t.Fatalf("second opening: %v", err)
			}
		case *Memory:
			if _, _, err := l.Group(1, d.flushed.flushed); !errors.Is(err, ErrGroupOpen) {
				t.Fatalf("second opening: %v", err)
			}
		}
		for _, i := range []codec.Index{0, 4, 1 << 60} {
			if _, err := d.read(i); !errors.Is(err, ErrNotHeld) {
				t.Fatalf("read of %d: %v", i, err)
			}
		}
		leader := d.leader
		for name, w := range map[string]codec.LogWrite{
			"gap":         {Seq: 100, Frame: makeFrame(t, 1, leader, 5, codec.EntryNormal, nil)},
			"overlap":     {Seq: 100, Frame: makeFrame(t, 1, leader, 3, codec.EntryNormal, nil)},
			"group":       {Seq: 100, Frame: makeFrame(t, 2, leader, 4, codec.EntryNormal, nil)},
			"truncate":    {Seq: 100, HasTruncate: true, Truncate: 4},
			"after cut":   {Seq: 100, HasTruncate: true, Truncate: 1, Frame: makeFrame(t, 1, leader, 4, codec.EntryNormal, nil)},
			"old seq":     {Seq: 1, HasVote: true},
			"hole at cut": {Seq: 100, HasTruncate: true, Truncate: 2, Frame: makeFrame(t, 1, leader, 2, codec.EntryNormal, nil)},
		} {
			func() {
				defer func() {
					if r, ok := recover().(string); !ok || r[:4] != "BUG:" {
						t.Errorf("%s: recovered %v, want a BUG panic", name, r)
					}
				}()
				d.g.Submit(&w)
			}()
		}
		d.must(d.append(1, 10))
		d.check(d.read)
		mustClose(t, l)
		mustClose(t, l)
	})
}
