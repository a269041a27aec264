package result

import (
	"slices"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// sumStages are the stages that follow one another: a put's latency is their sum.
var sumStages = []string{"intake", "quorum", "apply", "answer"}

// partStages lie beside each other within quorum, or end later where the quorum did not wait for them.
var partStages = []string{"wal_write", "wal_sync", "network"}

// StageNames returns the names of the stages of a put: those whose sum is its latency, and those that lie within quorum.
// The engine says where each begins and ends.
func StageNames() (sum, parts []string) { return slices.Clone(sumStages), slices.Clone(partStages) }

// SetStages puts the stages into the result, of which it keeps the histograms.
func (r *Result) SetStages(histograms map[string]*hdrhistogram.Histogram) {
	r.Stages, r.StageHistograms = nil, nil
	if len(histograms) == 0 {
		return
	}
	r.Stages, r.StageHistograms = map[string]Latency{}, histograms
	for name, h := range histograms {
		r.Stages[name] = NewLatency(h)
	}
}
