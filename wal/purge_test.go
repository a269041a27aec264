package wal

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/millrace/millrace/codec"
)

func TestContractPurge(t *testing.T) {
	eachForm(t, func(t *testing.T, f form) {
		l := f.open(t)
		d, state := drive(t, l, 1)
		d.checkState(state)
		d.check(d.read)
		member := func() {
			m := codec.NewMembership(codec.SeveralLeadersPerTerm, codec.Node{ID: 7, Address: fmt.Sprint("a:", d.last())})
			data := codec.AppendMembership(nil, &m)
			i := d.last() + 1
			d.entries = append(d.entries, codec.Entry{ID: codec.LogID{Leader: d.leader, Index: i}, Kind: codec.EntryMembership, Data: data})
			d.submit(codec.LogWrite{Frame: makeFrame(t, 1, d.leader, i, codec.EntryMembership, data)})
		}
		d.append(3, 100)
		member()
		d.append(5, 900)
		d.purge(4)
		d.check(d.read)
		member()
		d.append(2, 700)
		d.must(d.seq)
		reopen := func(memberships int) {
			t.Helper()
			d.check(d.read)
			if f.forgets {
				return
			}
			mustClose(t, l)
			l = f.open(t)
			state := d.reopen(l)
			d.checkState(state)
			if len(state.Memberships) != memberships {
				t.Fatalf("%d memberships, want %d", len(state.Memberships), memberships)
			}
			d.check(d.read)
		}
		reopen(1)
		// One write: what stands behind a truncation is appended and purged with the rest.
		d.leader.Term = 2
		fr := d.frame(11, 2, 30)
		d.base = *begin(d.entries[12].ID)
		d.must(d.submit(codec.LogWrite{HasTruncate: true, Truncate: 11, Frame: fr, Purge: begin(d.entries[12].ID)}))
		if d.last() != d.base.ID.Index {
			t.Fatal("the log is not empty")
		}
		reopen(0)
		d.must(d.append(4, 50))
		d.submit(codec.LogWrite{HasTruncate: true, Truncate: 15})
		d.entries = d.entries[:15]
		d.must(d.purge(15)) // the frame was cut there
		d.must(d.append(1, 10))
		reopen(0)
		mustClose(t, l)
	})
}

// S3, S4: a snapshot at 10,001 on a log that ends at 50 or at 20,000, with the same entries or others: the next entry is
// 10,002 and survives.
func TestContractJump(t *testing.T) {
	eachForm(t, func(t *testing.T, f form) {
		l := f.open(t)
		d, _ := drive(t, l, 1)
		reopen := func() {
			t.Helper()
			d.must(d.seq)
			d.check(d.read)
			if f.forgets {
				return
			}
			mustClose(t, l)
			l = f.open(t)
			d.checkState(d.reopen(l))
			d.check(d.read)
		}
		id := func(term codec.Term, i codec.Index) codec.LogID {
			return codec.LogID{Leader: codec.LeaderID{Term: term, Node: 7}, Index: i}
		}
		d.append(50, 20)
		d.submit(codec.LogWrite{Jump: d.jump(id(1, 10_001))})
		d.append(2, 20)
		if d.entries[10_001].ID.Index != 10_002 {
			t.Fatal("the next entry has another index")
		}
		reopen()
		d.append(8_000, 1)
		d.append(8_000, 1)
		d.leader.Term = 3
		// All of a write in its order: vote, jump, truncation to the base, frame, purge of a part of what was just written.
		base := d.jump(id(2, 20_000))
		d.submit(codec.LogWrite{HasVote: true, Vote: codec.Vote{Leader: d.leader}, Jump: base,
			HasTruncate: true, Truncate: 20_000, Frame: d.frame(20_000, 3, 2000)})
		reopen()
		base = d.jump(id(3, 20_002))
		fr := d.frame(20_002, 2, 10)
		d.base = *begin(d.entries[20_003].ID)
		d.submit(codec.LogWrite{Jump: base, Frame: fr, Purge: begin(d.entries[20_003].ID)})
		reopen()
		// Of a base that no leader gave, as an import has: the log begins behind it, with no membership known.
		d.jump(codec.LogID{Index: 30_000})
		d.base.Membership = codec.MembershipRecord{}
		d.submit(codec.LogWrite{Jump: &codec.LogBase{ID: codec.LogID{Index: 30_000}}})
		d.append(1, 1)
		reopen()
		mustClose(t, l)
	})
}

func TestContractImpossibleBases(t *testing.T) {
	eachForm(t, func(t *testing.T, f form) {
		l := f.open(t)
		defer mustClose(t, l)
		d, _ := drive(t, l, 1)
		d.append(3, 10)
		d.append(3, 10)
		d.must(d.purge(3))
		id := func(term codec.Term, i codec.Index) *codec.LogBase {
			return begin(codec.LogID{Leader: codec.LeaderID{Term: term, Node: 7}, Index: i})
		}
		strange := id(1, 6)
		strange.Membership.ID.Index = 7
		frame := makeFrame(t, 1, d.leader, 7, codec.EntryNormal, []byte("x"))
		for name, w := range map[string]codec.LogWrite{
			"purge to nothing":         {Purge: id(1, 0)},
			"purge again":              {Purge: id(1, 3)},
			"purge back":               {Purge: id(1, 2)},
			"purge inside":             {Purge: id(1, 5)},
			"purge beyond":             {Purge: id(1, 7)},
			"purge of another id":      {Purge: id(2, 6)},
			"purge beyond the frame":   {Purge: id(1, 8), Frame: frame},
			"purge of what is cut":     {Purge: id(1, 6), HasTruncate: true, Truncate: 5},
			"purge of what was left":   {Purge: id(1, 6), Jump: id(1, 6)},
			"membership beyond":        {Purge: strange},
			"jump back":                {Jump: id(1, 2)},
			"jump to the base":         {Jump: id(1, 3)},
			"jump to nothing":          {Jump: id(1, 0)},
			"jump and another frame":   {Jump: id(1, 7), Frame: frame},
			"jump and truncate below":  {Jump: id(1, 7), HasTruncate: true, Truncate: 6},
			"jump and truncate beyond": {Jump: id(1, 7), HasTruncate: true, Truncate: 8},
			"truncate below the base":  {HasTruncate: true, Truncate: 2},
		} {
			func() {
				defer func() {
					if r, ok := recover().(string); !ok || !strings.HasPrefix(r, "BUG:") || !strings.Contains(r, "group 1") {
						t.Errorf("%s: recovered %v, want a BUG panic that names the group", name, r)
					}
				}()
				w.Seq = 100
				d.g.Submit(&w)
			}()
		}
		d.must(d.append(1, 10))
		d.check(d.read)
	})
}

// What is purged from the log in memory is free, and so are the descriptions of it.
func TestMemoryFreesWhatIsPurged(t *testing.T) {
	l := NewMemory()
	defer mustClose(t, l)
	d, _ := drive(t, l, 1)
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	const frames, size = 20_000, 1 << 10
	leader, data := codec.LeaderID{Term: 1, Node: 7}, make([]byte, size)
	last := codec.Index(0)
	add := func() {
		last++
		d.g.Submit(&codec.LogWrite{Frame: makeFrame(t, 1, leader, last, codec.EntryNormal, data)})
	}
	for range frames {
		add()
	}
	full := heap() - before
	d.g.Submit(&codec.LogWrite{Purge: &codec.LogBase{ID: codec.LogID{Leader: leader, Index: last - 10}}})
	purged := heap() - before
	if full < frames*size || purged > full/20 {
		t.Fatalf("%d bytes held, %d after the purge", full, purged)
	}
	for range 10 * frames { // a window that moves
		add()
		if last%16 == 0 {
			d.g.Submit(&codec.LogWrite{Purge: &codec.LogBase{ID: codec.LogID{Leader: leader, Index: last - 10}}})
		}
	}
	if moved := heap() - before; moved > full/20 {
		t.Fatalf("%d bytes held by a window of 26 frames", moved)
	}
	d.g.Submit(&codec.LogWrite{Jump: &codec.LogBase{ID: codec.LogID{Leader: leader, Index: last + 10}}})
	if f, ok := d.g.Frame(last); ok {
		t.Fatalf("holds %v", f.Meta())
	}
	runtime.KeepAlive(d)
}

// A base with the largest membership there may be is one record like any other.
func TestLargestBase(t *testing.T) {
	var nodes []codec.Node
	for i := range codec.MembershipNodesMax {
		nodes = append(nodes, codec.Node{ID: ^codec.NodeID(0) - codec.NodeID(i), Incarnation: codec.Incarnation{1},
			Address: strings.Repeat("x", codec.AddressBytesMax)})
	}
	m := codec.NewMembership(codec.SeveralLeadersPerTerm, nodes...)
	for len(m.Configs) < codec.MembershipConfigsMax {
		m.Configs = append(m.Configs, m.Configs[0])
	}
	eachPlace(t, func(t *testing.T, p place) {
		l := p.mustOpen(t)
		d, _ := drive(t, l, 1)
		at := codec.LogID{Leader: d.leader, Index: 5}
		base := codec.LogBase{ID: at, Membership: codec.MembershipRecord{ID: at, Membership: m}}
		d.submit(codec.LogWrite{Jump: &base})
		d.base, d.entries = base, make([]codec.Entry, 5)
		d.must(d.append(1, 10))
		mustClose(t, l)
		if size := len(appendBase(nil, 1, &base)); size < 300<<10 || size > codec.LogBaseBytesMax {
			t.Fatalf("%d bytes", size)
		}
		l = p.mustOpen(t)
		d.checkState(d.reopen(l))
		mustClose(t, l)
	})
}
