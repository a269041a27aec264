package safety

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestSerialsAgainstAMap adds serials in an order with gaps, repeats and jumps, and compares with a map.
func TestSerialsAgainstAMap(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		var s Serials
		model := map[uint64]bool{}
		next := uint64(0)
		for range 300 {
			v := next
			switch random.IntN(4) {
			case 0:
				v = random.Uint64N(200)
			case 1:
				next += random.Uint64N(3)
				v = next
			}
			next = max(next, v+1)
			if s.Add(v) == model[v] {
				t.Fatalf("seed %d: adding %d says it was new: %v", seed, v, model[v])
			}
			model[v] = true
		}
		checkSerials(t, seed, &s, model, next)
	}
}

func checkSerials(t *testing.T, seed uint64, s *Serials, model map[uint64]bool, end uint64) {
	t.Helper()
	if s.Len() != uint64(len(model)) {
		t.Fatalf("seed %d: %d serials, want %d", seed, s.Len(), len(model))
	}
	for i := 1; i < len(s.spans); i++ {
		if s.spans[i-1].to >= s.spans[i].from || s.spans[i].from >= s.spans[i].to {
			t.Fatalf("seed %d: spans %v", seed, s.spans)
		}
	}
	cut := end / 2
	missing, beyond := s.gaps(cut)
	for v := range end + 2 {
		if s.Has(v) != model[v] {
			t.Fatalf("seed %d: has %d: %v, want %v", seed, v, s.Has(v), model[v])
		}
		in := func(list []span) bool {
			return slices.ContainsFunc(list, func(x span) bool { return x.from <= v && v < x.to })
		}
		if in(missing) != (v < cut && !model[v]) || in(beyond) != (v >= cut && model[v]) {
			t.Fatalf("seed %d: %d below %d: missing %v, beyond %v", seed, v, cut, missing, beyond)
		}
	}
}

func TestSerialsInOrderAreOneSpan(t *testing.T) {
	var s Serials
	for v := range uint64(10_000) {
		s.Add(v)
	}
	if len(s.spans) != 1 {
		t.Errorf("%d spans, want 1", len(s.spans))
	}
	if n := testing.AllocsPerRun(1000, func() { s.Add(s.spans[0].to) }); n != 0 {
		t.Errorf("%v allocations per serial in order, want 0", n)
	}
}
