package result

import "testing"

// openResult is a round at a rate, with the part that was answered and the p99 in microseconds.
func openResult(target string, rate, answered, p99 float64) Result {
	return Result{
		Key: Key{Target: target, Nodes: 3, Rate: rate}, Ops: uint64(1000 * answered), Latency: Latency{P99: p99},
		Generator: &Generator{Offered: 1000},
	}
}

func TestKnees(t *testing.T) {
	closed := openResult("closed", 0, 1, 1)
	for _, c := range []struct {
		name    string
		results []Result
		want    []Knee
	}{
		{"a queue", []Result{openResult("a", 300, 0.5, 9000), openResult("a", 100, 1, 100), openResult("a", 200, 0.99, 499)},
			[]Knee{{Key: Key{Target: "a", Nodes: 3, Rate: 200}, Rate: 200, Next: 300, Answered: 0.5, Times: 90}}},
		{"latency alone", []Result{openResult("a", 100, 1, 100), openResult("a", 200, 1, 501), openResult("a", 300, 1, 100)},
			[]Knee{{Key: Key{Target: "a", Nodes: 3, Rate: 100}, Rate: 100, Next: 200, Answered: 1, Times: 5.01}}},
		{"never", []Result{openResult("a", 100, 1, 100), openResult("a", 200, 1, 100), openResult("a", 300, 1, 100)},
			[]Knee{{Key: Key{Target: "a", Nodes: 3, Rate: 300}, Rate: 300}}},
		{"at once", []Result{openResult("a", 100, 0.9, 100), openResult("a", 200, 1, 100), openResult("a", 300, 1, 100)},
			[]Knee{{Key: Key{Target: "a", Nodes: 3, Rate: 100}, Next: 100, Answered: 0.9, Times: 1}}},
		{"two rates", []Result{openResult("a", 100, 1, 100), openResult("a", 200, 0.1, 100)}, nil},
		{"closed loops", []Result{closed, closed, closed}, nil},
		{"targets apart", []Result{openResult("a", 100, 1, 100), openResult("b", 100, 1, 1), openResult("a", 200, 1, 100),
			openResult("b", 200, 0.2, 1), openResult("a", 300, 0.2, 100), openResult("b", 300, 1, 1)},
			[]Knee{{Key: Key{Target: "a", Nodes: 3, Rate: 200}, Rate: 200, Next: 300, Answered: 0.2, Times: 1},
				{Key: Key{Target: "b", Nodes: 3, Rate: 100}, Rate: 100, Next: 200, Answered: 0.2, Times: 1}}},
	} {
		for i := range c.results {
			c.results[i].Safety = &Safety{OK: true}
		}
		got := Knees(Groups(c.results))
		if len(got) != len(c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%s: %+v, want %+v", c.name, got[i], c.want[i])
			}
		}
	}
}
