package result

import (
	"math"
	"slices"
)

// What a rate must hold to lie before the knee.
const (
	// KneeAnswered is the part of the puts due in the measured time that must be answered in it.
	KneeAnswered = 0.99
	// KneeTimes is how many times the lowest p99 of all rates its p99 may be: batches grow with the rate, and with them
	// the latency, well before a queue does.
	KneeTimes = 5
	// kneeRates is the fewest rates that a knee can be seen in.
	kneeRates = 3
)

// Knee is where the latency of an open loop runs away: between the last of the rates that hold what is asked of them and
// the first that does not. Rates beyond the first that does not are not looked at, even if they do by chance.
type Knee struct {
	Key  Key     // of the last rate before the knee; of the first one when that lies beyond it already
	Rate float64 // 0 when no rate holds
	Next float64 // the first rate that does not hold; 0 when all do
	// Answered and Times say of Next how much was answered, and how many times the lowest p99 its p99 is.
	Answered, Times float64
}

// Knees looks for the knee of each target and scenario that was measured at three rates or more.
func Knees(groups []Group) []Knee {
	var knees []Knee
	seen := map[Key]bool{}
	for i := range groups {
		family := groups[i].Key
		family.Rate = 0
		if groups[i].Key.Rate == 0 || seen[family] {
			continue
		}
		seen[family] = true
		rates := ratesOf(groups, family)
		if len(rates) >= kneeRates {
			knees = append(knees, kneeOf(rates))
		}
	}
	return knees
}

// ratesOf returns the groups that differ in nothing but the rate, the lowest first.
func ratesOf(groups []Group, family Key) []Group {
	var rates []Group
	for _, g := range groups {
		key := g.Key
		key.Rate = 0
		if g.Key.Rate > 0 && key == family {
			rates = append(rates, g)
		}
	}
	slices.SortFunc(rates, func(a, b Group) int { return int(math.Copysign(1, a.Key.Rate-b.Key.Rate)) })
	return rates
}

func kneeOf(rates []Group) Knee {
	lowest := math.Inf(1)
	for i := range rates {
		if p99 := rates[i].Summary().Latency.P99; p99 > 0 {
			lowest = min(lowest, p99)
		}
	}
	knee := Knee{Key: rates[0].Key}
	for i := range rates {
		answered, times := rates[i].answered(), rates[i].Summary().Latency.P99/lowest
		if answered < KneeAnswered || times > KneeTimes || !rates[i].Summary().OK {
			knee.Next, knee.Answered, knee.Times = rates[i].Key.Rate, answered, times
			return knee
		}
		knee.Key, knee.Rate = rates[i].Key, rates[i].Key.Rate
	}
	return knee
}

// answered returns which part of the puts that were due was answered in the measured time, the median over the rounds.
func (g *Group) answered() float64 {
	parts := make([]float64, len(g.Rounds))
	for i := range g.Rounds {
		if r := &g.Rounds[i]; r.Generator != nil && r.Generator.Offered > 0 {
			parts[i] = float64(r.Ops) / float64(r.Generator.Offered)
		}
	}
	return Median(parts)
}
