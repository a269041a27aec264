package wal

import (
	"fmt"
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
				lags.append(1+i%2, 300)
			case 3:
				lags.elect(codec.Index(i % 7))
			case 4:
				b.elect(1)
				lags.submit(codec.LogWrite{Commit: lags.last(), HasVote: true, Vote: codec.Vote{Leader: codec.LeaderID{Term: lags.term, Node: 3}, Committed: true}})
			}
			w.pump()
			if i == rounds-2 {
				lags.purge(4)
			}
			if life == 2 && i == 3 {
				w.remember(8)
				b.jump(5)
			}
		}
		for w.log.Pump() { // until nothing is left to do
		}
		w.look()
		if err := checkBook(w); err != nil {
			return err
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
	s := w.log.Stats()
	if unlinks < 15 || s.MovedRecords < 20 || s.Segments > 12 {
		t.Fatalf("%d files removed, in the last life %+v", unlinks, s)
	}
	t.Logf("%d power cuts at %d operations, %d files removed, in the last life %+v", cuts, op, unlinks, s)
}
