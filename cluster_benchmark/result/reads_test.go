package result

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// TestReadsInTheLine: what was read stands in the line with its histogram, and is a condition of what may be compared.
func TestReadsInTheLine(t *testing.T) {
	h := hdrhistogram.New(1, int64(time.Hour), 3)
	for i := range int64(1000) {
		_ = h.RecordValue(i * 1000)
	}
	r := sample()
	r.ReadRatio, r.Read = 0.9, "follower"
	r.Reads = &Reads{Ops: 1000, PerS: 100, Errors: 2, FirstError: "gone", Stale: 1, Latency: NewLatency(h), Histogram: h}
	line, err := json.Marshal(&r)
	if err != nil {
		t.Fatal(err)
	}
	var again Result
	if err := json.Unmarshal(line, &again); err != nil || again.Key != r.Key || !again.Reads.Histogram.Equals(h) {
		t.Fatalf("%v, %s", err, line)
	}
	got, want := *again.Reads, *r.Reads
	got.Histogram, want.Histogram = nil, nil
	if got != want {
		t.Errorf("read %+v, wrote %+v", got, want)
	}
	var fields map[string]any
	if err := json.Unmarshal(line, &fields); err != nil || fields["read"] != "follower" || fields["read_ratio"] != 0.9 {
		t.Errorf("%v, %v", err, fields)
	}
	for _, c := range []Condition{{"read", "follower"}, {"read_ratio", "0.9"}} {
		if !slices.Contains(r.Conditions(), c) {
			t.Errorf("%+v is no condition", c)
		}
	}
	none := sample()
	if line, err = json.Marshal(&none); err != nil || json.Unmarshal(line, &again) != nil {
		t.Fatal(err)
	}
	if len(Groups([]Result{r, none})) != 2 {
		t.Error("runs with and without reads are of one group")
	}
}

// TestSummaryOfReads is the median of each figure.
func TestSummaryOfReads(t *testing.T) {
	var rounds []Result
	for _, v := range []float64{3, 1, 2} {
		r := sample()
		r.Reads = &Reads{PerS: v, Latency: Latency{P99: 10 * v}}
		rounds = append(rounds, r)
	}
	g := Group{Rounds: rounds}
	if s := g.Summary().Reads; s == nil || s.PerS != 2 || s.Latency.P99 != 20 {
		t.Errorf("%+v", s)
	}
	rounds[1].Reads = nil
	if s := g.Summary().Reads; s != nil {
		t.Errorf("%+v of rounds without reads", s)
	}
}
