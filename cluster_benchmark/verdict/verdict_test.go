package verdict

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/millrace/millrace/cluster_benchmark/result"
)

// rounds makes results of one scenario, with p99 falling as puts rise.
func rounds(target string, clients int, puts ...float64) []result.Result {
	var list []result.Result
	for i, p := range puts {
		list = append(list, result.Result{
			Key: result.Key{Target: target, Clients: clients}, Round: i + 1, PutPerS: p, Latency: result.Latency{P99: 1e6 / p},
		})
	}
	return list
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name     string
		old, new []float64
		word     Word
		p        float64
	}{
		// Two sides of six that don't overlap: 2 of the 924 ways to divide twelve values.
		{"apart", []float64{1, 2, 3, 4, 5, 6}, []float64{7, 8, 9, 10, 11, 12}, Higher, 2.0 / 924},
		{"apart, downwards", []float64{7, 8, 9, 10, 11, 12}, []float64{1, 2, 3, 4, 5, 6}, Lower, 2.0 / 924},
		{"mixed", []float64{1, 3, 5, 7, 9, 11}, []float64{2, 4, 6, 8, 10, 12}, Noise, 0.6991},
		{"the same", []float64{5, 5, 5, 5, 5, 5}, []float64{5, 5, 5, 5, 5, 5}, Noise, 1},
		{"five rounds", []float64{1, 2, 3, 4, 5}, []float64{7, 8, 9, 10, 11, 12}, TooFew, 1},
		{"one round", []float64{1}, []float64{100}, TooFew, 1},
		// The critical value of Mann and Whitney's table for six and six at 5 % is U = 5.
		{"U is 5", []float64{1, 2, 3, 4, 5, 11.5}, []float64{7, 8, 9, 10, 11, 12}, Higher, 0.0411},
		{"U is 6", []float64{1, 2, 3, 4, 5, 13}, []float64{7, 8, 9, 10, 11, 12}, Noise, 0.0649},
	} {
		v := Judge(c.old, c.new)
		if v.Word != c.word || math.Abs(v.P-c.p) > 1e-4 {
			t.Errorf("%s: %+v, want %d with p %v", c.name, v, c.word, c.p)
		}
	}
	v := Judge([]float64{3, 1, 2}, []float64{4})
	if v.Old != (Side{2, 1, 3, 3}) || v.New != (Side{4, 4, 4, 1}) || v.Ratio() != 2 || v.Old.Spread() != 1 {
		t.Errorf("sides are %+v", v)
	}
	if z := Judge([]float64{0}, []float64{1}); z.Ratio() != 0 || z.Old.Spread() != 0 {
		t.Errorf("over nothing: %+v", z)
	}
}

// TestOrderIsKept: the caller's rounds are not sorted under its hands.
func TestOrderIsKept(t *testing.T) {
	old, new := []float64{3, 1, 2, 6, 5, 4}, []float64{9, 7, 8, 12, 11, 10}
	Judge(old, new)
	if !slices.Equal(old, []float64{3, 1, 2, 6, 5, 4}) || !slices.Equal(new, []float64{9, 7, 8, 12, 11, 10}) {
		t.Errorf("sorted to %v and %v", old, new)
	}
}

func TestSay(t *testing.T) {
	up, down, none := Figure{Better: More}, Figure{Better: Less}, Figure{}
	for i, c := range []struct{ got, want string }{
		{up.Say(Higher), "better"}, {up.Say(Lower), "worse"}, {down.Say(Higher), "worse"}, {down.Say(Lower), "better"},
		{none.Say(Higher), "higher"}, {none.Say(Lower), "lower"}, {up.Say(Noise), "noise"}, {up.Say(TooFew), ""},
	} {
		if c.got != c.want {
			t.Errorf("%d: %q, want %q", i, c.got, c.want)
		}
	}
}

func TestShare(t *testing.T) {
	a := Source{"a", slices.Concat(rounds("x", 1, 10, 11), rounds("x", 2, 20), rounds("y", 1, 5))}
	b := Source{"b", slices.Concat(rounds("x", 2, 22), rounds("x", 1, 12), rounds("z", 1, 1))}
	all, some := Share([]Source{a, b}, Same)
	if len(all) != 2 || len(all[0].Groups) != 2 || all[0].Groups[0].Key.Clients != 1 || len(all[0].Groups[0].Rounds) != 2 ||
		all[0].Groups[1].Rounds[0].PutPerS != 12 || all[1].Groups[1].Rounds[0].PutPerS != 22 {
		t.Errorf("shared: %+v", all)
	}
	if len(some) != 2 || some[0].Key.Target != "y" || !slices.Equal(some[0].In, []int{0}) || some[1].Key.Target != "z" || !slices.Equal(some[1].In, []int{1}) {
		t.Errorf("not shared: %+v", some)
	}
	within := Targets(a.Results)
	if len(within) != 2 || within[0].Name != "x" || len(within[0].Results) != 3 || within[1].Name != "y" {
		t.Fatalf("targets: %+v", within)
	}
	all, some = Share(within, AnyTarget)
	if len(all) != 1 || all[0].Groups[1].Key.Target != "y" || len(some) != 1 || some[0].Key.Clients != 2 || !slices.Equal(some[0].In, []int{0}) {
		t.Errorf("within: %+v, %+v", all, some)
	}
}

func gate(t *testing.T, percent float64, old, new []float64) []Regression {
	t.Helper()
	all, _ := Share([]Source{{"a", rounds("x", 1, old...)}, {"b", rounds("x", 1, new...)}}, Same)
	worse, err := Gate(all, percent)
	if err != nil {
		t.Fatal(err)
	}
	return worse
}

func TestGate(t *testing.T) {
	base := []float64{100, 101, 99, 102, 98, 100}
	scaled := func(by float64) []float64 {
		var list []float64
		for _, v := range base {
			list = append(list, by*v)
		}
		return list
	}
	if w := gate(t, 5, base, scaled(0.9)); len(w) != 2 || w[0].Figure.Name != "put/s" || w[1].Figure.Name != "p99" || w[0].Source != 1 ||
		math.Abs(w[0].Percent()+10) > 1e-9 || math.Abs(w[1].Percent()-100.0/9) > 0.2 {
		t.Errorf("10 %% slower, 5 allowed: %+v", w)
	}
	// put/s 10 % lower is p99 11.1 % higher here: each is held to the limit by itself.
	if w := gate(t, 10.5, base, scaled(0.9)); len(w) != 1 || w[0].Figure.Name != "p99" {
		t.Errorf("10 %% slower, 10.5 allowed: %+v", w)
	}
	for name, new := range map[string][]float64{
		"11.5 allowed": scaled(0.9), "faster": scaled(1.5), "noise": {60, 140, 61, 139, 62, 138},
	} {
		if w := gate(t, 11.5, base, new); len(w) != 0 {
			t.Errorf("%s: %+v", name, w)
		}
	}
	all, _ := Share([]Source{{"a", rounds("x", 1, base...)}, {"b", rounds("x", 1, 1, 2, 3)}}, Same)
	var few *TooFewError
	if w, err := Gate(all, 5); !errors.As(err, &few) || w != nil || few.Source != 1 ||
		err.Error() != "too few rounds to tell a difference from noise: 6 and 3, want at least 6 each" {
		t.Errorf("three rounds: %+v, %v", w, err)
	}
}

func TestUnusable(t *testing.T) {
	all, _ := Share([]Source{{"a", rounds("x", 1, 1, 2)}, {"b", rounds("x", 1, 1, 2)}}, Same)
	if i, r := all[0].Unusable(); r != nil {
		t.Errorf("%d, %+v", i, r)
	}
	all[0].Groups[1].Rounds[1].Invalid = "above its ceiling"
	if i, r := all[0].Unusable(); i != 1 || r == nil || r.Round != 2 {
		t.Errorf("%d, %+v", i, r)
	}
}
