package load

import "math/rand/v2"

// Arrivals says how the calls of an open loop are spread over time.
type Arrivals string

// Ways of arriving. Without a rate, in a closed loop, there is none.
const (
	// Poisson is what many callers who know nothing of each other make: gaps with an exponential distribution, in
	// bursts now and then.
	Poisson Arrivals = "poisson"
	// Constant is one call after the other in equal distance.
	Constant Arrivals = "constant"
)

// arrivals says when calls are due, one after the other. They are the same in each run with the same rate.
type arrivals struct {
	gap    float64 // mean distance, nanoseconds
	random *rand.Rand
	n      uint64
	at     float64
}

func newArrivals(kind Arrivals, callsPerS float64) *arrivals {
	a := &arrivals{gap: 1e9 / callsPerS}
	if kind == Poisson {
		a.random = rand.New(rand.NewPCG(1, 2))
	}
	return a
}

// next returns when the next call is due, in nanoseconds since the start.
func (a *arrivals) next() int64 {
	a.n++
	if a.random == nil {
		a.at = float64(a.n) * a.gap // not added up: rounding must not slow it down
	} else {
		a.at += a.random.ExpFloat64() * a.gap
	}
	return int64(a.at)
}
