package show

import (
	"bytes"
	"strings"
	"testing"

	"github.com/millrace/millrace/cluster_benchmark/result"
)

// TestStagesBelowTheTable: a mean and a p99 of each stage, medians over rounds, for the targets that tell.
func TestStagesBelowTheTable(t *testing.T) {
	of := func(clients, round int, factor float64) result.Result {
		r := sample("millrace", clients, 1000)
		r.Round, r.Stages = round, map[string]result.Latency{}
		sum, _ := result.StageNames()
		for i, name := range append(sum, "network") {
			r.Stages[name] = result.Latency{Mean: float64(i+1) * factor, P99: float64(i+1) * factor * 1000}
		}
		return r
	}
	var out bytes.Buffer
	Table(&out, []result.Result{of(1, 1, 10), sample("ceiling-disk", 1, 1000), of(1, 2, 30), of(1, 3, 20), of(64, 1, 1)})
	for _, want := range []string{
		"stages clients intake + quorum + apply + answer wal_write wal_sync network",
		"millrace 1 mean 20.0 µs 40.0 µs 60.0 µs 80.0 µs - - 100 µs",
		"millrace 1 p99 20.0 ms 40.0 ms 60.0 ms 80.0 ms - - 100 ms",
		"millrace 64 mean 1.00 µs 2.00 µs 3.00 µs 4.00 µs - - 5.00 µs",
		"Of some puts, chosen by chance: intake + quorum + apply + answer are the latency; wal_write, wal_sync, network lie within quorum.",
	} {
		found := false
		for line := range strings.Lines(out.String()) {
			found = found || strings.Join(strings.Fields(line), " ") == want
		}
		if !found {
			t.Errorf("no line %q in\n%s", want, out.String())
		}
	}
	if strings.Count(out.String(), "ceiling-disk") != 1 {
		t.Errorf("stages of a ceiling in\n%s", out.String())
	}
	out.Reset()
	Table(&out, []result.Result{sample("millrace", 1, 1000)})
	if strings.Contains(out.String(), "stages") || strings.Contains(out.String(), "Of some puts") {
		t.Errorf("stages where nothing was told in\n%s", out.String())
	}
}
