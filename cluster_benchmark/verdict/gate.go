package verdict

import (
	"slices"

	"github.com/millrace/millrace/cluster_benchmark/result"
)

// Regression is a figure that got worse by more than allowed.
type Regression struct {
	Source  int // the worse one
	Key     result.Key
	Figure  Figure
	Verdict Verdict
}

// Percent returns by how much it changed, as -12.5.
func (r *Regression) Percent() float64 { return 100 * (r.Verdict.Ratio() - 1) }

// Gate returns where put/s dropped or p99 rose by more than percent from the first source to one of the others, and more
// than noise would make. It returns a [TooFewError] for the first scenario whose rounds can't tell.
func Gate(cases []Case, percent float64) ([]Regression, error) {
	var worse []Regression
	for _, c := range cases {
		for i := 1; i < len(c.Groups); i++ {
			for _, f := range []Figure{throughput(), tail()} {
				v := Judge(f.Rounds(&c.Groups[0]), f.Rounds(&c.Groups[i]))
				change := 100 * (v.Ratio() - 1)
				if f.Better == More {
					change = -change
				}
				switch {
				case v.Word == TooFew:
					return nil, &TooFewError{Source: i, Key: c.Groups[i].Key, Old: v.Old.Rounds, New: v.New.Rounds}
				case v.Word != Noise && change > percent:
					worse = append(worse, Regression{i, c.Groups[i].Key, f, v})
				}
			}
		}
	}
	return worse, nil
}

// Unusable returns the first round of a case whose figures can't be used, and its source; nil where there is none.
func (c *Case) Unusable() (source int, round *result.Result) {
	for i := range c.Groups {
		rounds := c.Groups[i].Rounds
		if j := slices.IndexFunc(rounds, func(r result.Result) bool { return !r.OK() }); j >= 0 {
			return i, &rounds[j]
		}
	}
	return 0, nil
}
