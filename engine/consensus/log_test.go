package consensus

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/millrace/millrace/codec"
)

// modelLog is the plain list that raftLog is checked against. It keeps what was purged.
type modelLog struct {
	base    codec.Index
	ids     []codec.LogID
	starts  []codec.Index
	durable []bool   // by entry
	seqs    []uint64 // by entry: the write that carries it
}

func (m *modelLog) cut(index codec.Index) {
	m.ids, m.durable, m.seqs = m.ids[:index], m.durable[:index], m.seqs[:index]
	m.starts = slices.DeleteFunc(m.starts, func(s codec.Index) bool { return s > index })
}

func (m *modelLog) flushed() codec.Index {
	if i := slices.Index(m.durable, false); i >= 0 {
		return codec.Index(i)
	}
	return codec.Index(len(m.durable))
}

// jump forgets everything up to a base, which need not be in the list.
func (m *modelLog) jump(base codec.LogID) {
	*m = modelLog{base: base.Index}
	for i := codec.Index(1); i <= base.Index; i++ {
		m.ids, m.durable, m.seqs = append(m.ids, codec.LogID{Leader: base.Leader, Index: i}), append(m.durable, true), append(m.seqs, 0)
	}
}

// Appends, truncations, purges, jumps and completions in any order leave raftLog equal to the plain list, in every look-up.
func TestLogAgainstModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var l raftLog
		var m modelLog
		leader, seq, done := by(1, 1), uint64(0), uint64(0)
		for range 80 {
			switch r.IntN(8) {
			case 0, 1, 2:
				if r.IntN(4) == 0 {
					leader.Term++
				}
				seq++
				f := codec.FrameMeta{
					Leader: leader, First: l.last.Index + 1, Count: 1 + r.Uint32N(5), Kind: codec.EntryNormal, Size: 60,
				}
				l.append(&f, seq, nil)
				m.starts = append(m.starts, f.First)
				for i := f.First; i <= f.Last(); i++ {
					m.ids, m.durable = append(m.ids, codec.LogID{Leader: leader, Index: i}), append(m.durable, false)
					m.seqs = append(m.seqs, seq)
				}
			case 3:
				if n := len(m.ids); n > int(m.base) {
					cut := max(m.base, codec.Index(max(0, n-1-r.IntN(12))))
					l.truncate(cut)
					m.cut(cut)
					leader.Term++
				}
			case 4:
				to := l.frameEnd(min(l.flushed, m.base+codec.Index(r.IntN(12))))
				if to > m.base {
					id, _ := l.idAt(to)
					l.purge(id)
					m.base = to
					m.starts = slices.DeleteFunc(m.starts, func(s codec.Index) bool { return s <= to })
				}
			case 5:
				if r.IntN(10) == 0 {
					seq++
					leader.Term++
					base := codec.LogBase{ID: codec.LogID{Leader: leader, Index: l.base.Index + 1 + codec.Index(r.IntN(20))}}
					l.jump(&base, seq)
					m.jump(base.ID)
					done = seq // nothing before it says any more what is durable
					l.flush(done)
				}
			default:
				done = min(seq, done+r.Uint64N(4))
				l.flush(done)
				for i, s := range m.seqs {
					m.durable[i] = m.durable[i] || s <= done
				}
			}
			compareLogs(t, r, &l, &m)
		}
	}
}

func compareLogs(t *testing.T, r *rand.Rand, l *raftLog, m *modelLog) {
	t.Helper()
	n := codec.Index(len(m.ids))
	want(t, "base", l.base.Index, m.base)
	want(t, "last index", l.last.Index, n)
	want(t, "flushed", l.flushed, m.flushed())
	want(t, "frames", l.frames.n, len(m.starts))
	for i, id := range m.ids {
		got, ok := l.idAt(codec.Index(i + 1))
		want(t, "found", ok, id.Index >= m.base)
		if ok {
			want(t, "id", got, id)
		}
		want(t, "matches", l.matches(id), true)
	}
	_, ok := l.idAt(n + 1)
	want(t, "found beyond the end", ok, false)
	for i, first := range m.starts {
		end := n
		if i+1 < len(m.starts) {
			end = m.starts[i+1] - 1
		}
		for index := first; index <= end; index++ {
			f := l.frameAt(index)
			want(t, "first", f.First, first)
			want(t, "last", f.LastID(), m.ids[end-1])
		}
	}
	// Look-ups of another log's ids.
	index, leader := codec.Index(r.Uint64N(uint64(n)+3)), by(codec.Term(r.IntN(20)), 1)
	best := l.base
	for _, id := range m.ids[:min(index, n)] {
		if id.Index > m.base && id.Leader.Compare(leader) <= 0 {
			best = id
		}
	}
	want(t, "last not above", l.lastNotAbove(index, leader), best)
	for index := range n + 3 {
		end := m.base
		for _, start := range append(m.starts[min(1, len(m.starts)):len(m.starts):len(m.starts)], n+1) {
			if start-1 <= index && start-1 > end {
				end = start - 1
			}
		}
		want(t, "frame end", l.frameEnd(index), end)
	}
	if n == 0 {
		return
	}
	f := codec.FrameMeta{Leader: m.ids[r.IntN(int(n))].Leader, First: 1 + codec.Index(r.IntN(int(n))), Count: 1 + r.Uint32N(9)}
	first := max(f.First, m.base+1)
	for first <= f.Last() && first <= n && m.ids[first-1].Leader == f.Leader {
		first++
	}
	want(t, "first difference", l.firstDifference(&f), first)
}

// The list of frames finds every frame across its blocks, after cuts at and around their bounds.
func TestFrameListAcrossBlocks(t *testing.T) {
	var l frameList
	fill := func() {
		for l.n < 3*frameChunk+7 {
			l.push(frameRef{first: codec.Index(10*l.n + 1)})
		}
	}
	for _, cut := range []int{3 * frameChunk, 2*frameChunk + 1, 2 * frameChunk, 2*frameChunk - 1, 1, 0} {
		fill()
		for i := range l.n {
			for _, offset := range []int{1, 5, 10} {
				if got := l.find(codec.Index(10*i + offset)); got != i {
					t.Fatalf("index %d is in frame %d, want %d", 10*i+offset, got, i)
				}
			}
		}
		l.cut(cut)
		if want := cut/frameChunk + 1; len(l.chunks) != want {
			t.Fatalf("%d blocks after a cut to %d frames, want %d", len(l.chunks), cut, want)
		}
	}
}

// The ring keeps its order while it wraps and grows.
func TestRing(t *testing.T) {
	var q ring[int]
	var model []int
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 20000 {
		switch {
		case len(model) == 0 || r.IntN(100) < 50:
			q.push(i)
			model = append(model, i)
		case r.IntN(4) == 0:
			q.popBack()
			model = model[:len(model)-1]
		default:
			q.popFront()
			model = model[1:]
		}
		if q.n != len(model) || q.n > 0 && (*q.front() != model[0] || *q.back() != model[len(model)-1]) {
			t.Fatalf("after %d steps %d elements, want %d", i, q.n, len(model))
		}
	}
}
