package show

import (
	"bytes"
	"strings"
	"testing"

	"github.com/millrace/millrace/cluster_benchmark/result"
)

func TestKneeBelowTheTable(t *testing.T) {
	at := func(rate float64, ops uint64, p99 float64) result.Result {
		r := sample("millrace", 256, 1000)
		r.Key.Rate, r.Ops, r.Latency.P99, r.Generator = rate, ops, p99, &result.Generator{Offered: 1000}
		return r
	}
	for _, c := range []struct {
		results []result.Result
		want    string
	}{
		{[]result.Result{at(1000, 1000, 100), at(2000, 1000, 200), at(3000, 500, 9000)},
			"Knee: millrace, 2,000/s; at 3,000/s 50.0 % are answered in time and p99 is 90.0 times its lowest.\n"},
		{[]result.Result{at(1000, 1000, 100), at(2000, 1000, 200), at(3000, 1000, 300)},
			"Knee: millrace, not reached at 3,000/s, the highest rate.\n"},
		{[]result.Result{at(1000, 900, 100), at(2000, 1000, 200), at(3000, 1000, 300)},
			"Knee: millrace, below 1,000/s, the lowest rate: 90.0 % answered in time.\n"},
		{[]result.Result{at(1000, 1000, 100), at(2000, 1000, 200)}, ""},
	} {
		var out bytes.Buffer
		Table(&out, c.results)
		if text := out.String(); !strings.Contains(text, c.want) || c.want == "" && strings.Contains(text, "Knee") {
			t.Errorf("no %q in\n%s", c.want, text)
		}
	}
}
