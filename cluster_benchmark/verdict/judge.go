package verdict

import (
	"slices"

	"golang.org/x/perf/benchmath"

	"github.com/millrace/millrace/cluster_benchmark/result"
)

// RoundsMin is how many rounds each side needs for a verdict. Four find a difference only where no round of one side
// overlaps with the other; six still find it where a round was disturbed and came out among those of the other side.
const RoundsMin = 6

// Word is what is said about a difference.
type Word int

const (
	TooFew Word = iota // rounds to tell
	Noise              // no difference that the rounds' own spread would not make
	Lower              // the new side is
	Higher
)

// Side is the rounds of one figure.
type Side struct {
	Median, Low, High float64
	Rounds            int
}

// Spread returns how far apart the rounds are, as a part of their median.
func (s Side) Spread() float64 {
	if s.Median == 0 {
		return 0
	}
	return (s.High - s.Low) / s.Median
}

// Verdict compares one figure.
type Verdict struct {
	Old, New Side
	Word     Word
	// P is how likely a difference as large as this is when there is none; 1 where there are too few rounds.
	P float64
}

// Ratio returns the new median as a part of the old one, 0 where that is 0.
func (v Verdict) Ratio() float64 {
	if v.Old.Median == 0 {
		return 0
	}
	return v.New.Median / v.Old.Median
}

// Judge compares the rounds of two sides, each of which has at least one.
func Judge(old, new []float64) Verdict {
	v := Verdict{Old: side(old), New: side(new), P: 1}
	if min(len(old), len(new)) < RoundsMin {
		return v
	}
	thresholds := benchmath.DefaultThresholds
	c := benchmath.AssumeNothing.Compare(benchmath.NewSample(slices.Clone(old), &thresholds), benchmath.NewSample(slices.Clone(new), &thresholds))
	v.P = c.P
	switch {
	// Equal medians with a significant test means rounds that differ in spread alone, which is no better or worse.
	case c.P >= c.Alpha || v.Old.Median == v.New.Median:
		v.Word = Noise
	case v.New.Median < v.Old.Median:
		v.Word = Lower
	default:
		v.Word = Higher
	}
	return v
}

func side(values []float64) Side {
	return Side{Median: result.Median(slices.Clone(values)), Low: slices.Min(values), High: slices.Max(values), Rounds: len(values)}
}
