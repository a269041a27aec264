package verdict

import "github.com/millrace/millrace/cluster_benchmark/result"

// Unit says how a figure is shown.
type Unit int

const (
	PerSecond    Unit = iota
	Microseconds      // a latency
	Number
)

// Better says which way a figure improves.
type Better int

const (
	Neither Better = iota // it tells how something works, not how well
	More
	Less
)

// Figure is something that results are compared by.
type Figure struct {
	Name   string
	Unit   Unit
	Better Better
	Of     func(*result.Result) float64
}

// Figures returns what results are compared by, in the order in which it is shown.
func Figures() []Figure {
	return []Figure{
		throughput(),
		{"mean", Microseconds, Less, func(r *result.Result) float64 { return r.Latency.Mean }},
		{"p50", Microseconds, Less, func(r *result.Result) float64 { return r.Latency.P50 }},
		{"p90", Microseconds, Less, func(r *result.Result) float64 { return r.Latency.P90 }},
		tail(),
		{"p99.9", Microseconds, Less, func(r *result.Result) float64 { return r.Latency.P999 }},
		{"p99.99", Microseconds, Less, func(r *result.Result) float64 { return r.Latency.P9999 }},
		{"max", Microseconds, Less, func(r *result.Result) float64 { return r.Latency.Max }},
		{"recovery", Microseconds, Less, func(r *result.Result) float64 { return 1e3 * r.Recovery() }},
		{"entries/frame", Number, Neither, func(r *result.Result) float64 { return r.EntriesPerFrame }},
		{"syncs/s", PerSecond, Neither, (*result.Result).SyncsPerS},
		{"cpu cores", Number, Neither, (*result.Result).Cores},
	}
}

func throughput() Figure {
	return Figure{"put/s", PerSecond, More, func(r *result.Result) float64 { return r.PutPerS }}
}

func tail() Figure {
	return Figure{"p99", Microseconds, Less, func(r *result.Result) float64 { return r.Latency.P99 }}
}

// Rounds returns the figure of each round of a group.
func (f *Figure) Rounds(g *result.Group) []float64 {
	values := make([]float64, len(g.Rounds))
	for i := range g.Rounds {
		values[i] = f.Of(&g.Rounds[i])
	}
	return values
}

// Say returns one word for what is said about a figure: "better" or "worse", for a figure that has no good side "higher"
// or "lower", "noise", and "" with too few rounds.
func (f *Figure) Say(w Word) string {
	switch {
	case w == TooFew:
		return ""
	case w == Noise:
		return "noise"
	case f.Better == Neither && w == Higher:
		return "higher"
	case f.Better == Neither:
		return "lower"
	case (w == Higher) == (f.Better == More):
		return "better"
	}
	return "worse"
}
