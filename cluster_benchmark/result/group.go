package result

import (
	"slices"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Group is the rounds of one scenario on one target.
type Group struct {
	Key    Key
	Rounds []Result
}

// Groups sorts results by key, in the order in which the keys first appear.
func Groups(results []Result) []Group {
	var groups []Group
	for _, r := range results {
		i := slices.IndexFunc(groups, func(g Group) bool { return g.Key == r.Key })
		if i < 0 {
			i = len(groups)
			groups = append(groups, Group{Key: r.Key})
		}
		groups[i].Rounds = append(groups[i].Rounds, r)
	}
	return groups
}

// Summary is the median over the rounds of each figure by itself.
type Summary struct {
	PutPerS         float64
	Latency         Latency
	Stages          map[string]Latency // of the rounds that tell, by the stage's name
	Reads           *ReadSummary       // nil where a round has none
	EntriesPerFrame float64
	SyncsPerS       float64
	Cores           float64
	Ratios          map[string]float64
	OK              bool // all rounds are
}

// ReadSummary is the same of what was read.
type ReadSummary struct {
	PerS    float64
	Latency Latency
}

// reads returns the medians of what was read, nil where a round has no reads.
func (g *Group) reads() *ReadSummary {
	var rates []float64
	var latencies []Latency
	for i := range g.Rounds {
		r := g.Rounds[i].Reads
		if r == nil {
			return nil
		}
		rates, latencies = append(rates, r.PerS), append(latencies, r.Latency)
	}
	return &ReadSummary{Median(rates), medianLatency(latencies)}
}

// Summary returns the medians of a group, which has at least one round.
func (g *Group) Summary() Summary {
	of := func(field func(*Result) float64) float64 {
		values := make([]float64, len(g.Rounds))
		for i := range g.Rounds {
			values[i] = field(&g.Rounds[i])
		}
		return Median(values)
	}
	latencies := make([]Latency, len(g.Rounds))
	for i := range g.Rounds {
		latencies[i] = g.Rounds[i].Latency
	}
	s := Summary{
		PutPerS:         of(func(r *Result) float64 { return r.PutPerS }),
		Latency:         medianLatency(latencies),
		Stages:          g.stages(),
		Reads:           g.reads(),
		EntriesPerFrame: of(func(r *Result) float64 { return r.EntriesPerFrame }),
		SyncsPerS:       of((*Result).SyncsPerS),
		Cores:           of((*Result).Cores),
		Ratios:          map[string]float64{},
		OK:              true,
	}
	ratios := map[string][]float64{}
	for i := range g.Rounds {
		s.OK = s.OK && g.Rounds[i].OK()
		for ceiling, v := range g.Rounds[i].Ratios {
			ratios[ceiling] = append(ratios[ceiling], v)
		}
	}
	for ceiling, values := range ratios {
		s.Ratios[ceiling] = Median(values)
	}
	return s
}

// stages returns the medians of each stage.
func (g *Group) stages() map[string]Latency {
	told := map[string][]Latency{}
	for i := range g.Rounds {
		for name, l := range g.Rounds[i].Stages {
			told[name] = append(told[name], l)
		}
	}
	all := map[string]Latency{}
	for name, list := range told {
		all[name] = medianLatency(list)
	}
	return all
}

// medianLatency returns the median of each figure by itself.
func medianLatency(list []Latency) Latency {
	of := func(field func(*Latency) float64) float64 {
		values := make([]float64, len(list))
		for i := range list {
			values[i] = field(&list[i])
		}
		return Median(values)
	}
	return Latency{
		Mean:  of(func(l *Latency) float64 { return l.Mean }),
		P50:   of(func(l *Latency) float64 { return l.P50 }),
		P90:   of(func(l *Latency) float64 { return l.P90 }),
		P99:   of(func(l *Latency) float64 { return l.P99 }),
		P999:  of(func(l *Latency) float64 { return l.P999 }),
		P9999: of(func(l *Latency) float64 { return l.P9999 }),
		Max:   of(func(l *Latency) float64 { return l.Max }),
	}
}

// Median returns the middle value, or the mean of the middle two. There must be a value. The slice is sorted.
func Median(values []float64) float64 {
	slices.Sort(values)
	middle := len(values) / 2
	if len(values)%2 == 1 {
		return values[middle]
	}
	return (values[middle-1] + values[middle]) / 2
}

// Merged returns the latencies of all rounds together, nil when one of them has no histogram.
func Merged(rounds []Result) *hdrhistogram.Histogram {
	var all *hdrhistogram.Histogram
	for i := range rounds {
		h := rounds[i].Histogram
		if h == nil {
			return nil
		}
		if all == nil {
			all = hdrhistogram.New(h.LowestTrackableValue(), h.HighestTrackableValue(), int(h.SignificantFigures()))
		}
		all.Merge(h)
	}
	return all
}
