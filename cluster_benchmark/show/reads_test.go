package show

import (
	"bytes"
	"strings"
	"testing"

	"github.com/millrace/millrace/cluster_benchmark/result"
)

// TestReadsInTheTable: reads have a table of their own, and what was proven of them is said.
func TestReadsInTheTable(t *testing.T) {
	r := sample("millrace", 256, 1000)
	r.ReadRatio, r.Read = 0.9, "follower"
	r.Reads = &result.Reads{Ops: 90_000, PerS: 9000, Latency: result.Latency{Mean: 1, P50: 2, P90: 3, P99: 4, P999: 5, P9999: 6, Max: 7}}
	lease := r
	lease.Read = "lease"
	var out bytes.Buffer
	Table(&out, []result.Result{r, lease, sample("ceiling-disk", 256, 1000)})
	text := out.String()
	if got, want := fields(t, text, "reads"), "reads reads read/s mean p50 p90 p99 p99.9 p99.99 max"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, want := range []string{
		"90 % follower   9,000  1.00 µs  2.00 µs", "90 % lease   9,000", "180,000 reads: none missed a put that any client had been answered before it began.",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	out.Reset()
	r.Reads.Errors, r.Reads.FirstError = 3, "node 2 is gone"
	r.Safety = &result.Safety{Reasons: []string{"stale reads: 1"}}
	Table(&out, []result.Result{r})
	for _, want := range []string{"90 % follower reads, 3 nodes, round 1: 3 reads failed, the first with: node 2 is gone", "SAFETY CHECK FAILED", "90 % follower reads"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "none missed") {
		t.Errorf("claims what failed in\n%s", out.String())
	}
	out.Reset()
	Table(&out, []result.Result{sample("millrace", 1, 1000)})
	if strings.Contains(out.String(), "read/s") {
		t.Errorf("reads that there were not in\n%s", out.String())
	}
}
