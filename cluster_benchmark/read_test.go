package main

import (
	"strings"
	"testing"
)

// TestRunReadsEndToEnd: each way to read is a scenario with figures of its own; a ceiling, which has nothing to read, is left
// out and said to be.
func TestRunReadsEndToEnd(t *testing.T) {
	dir := t.TempDir()
	args := strings.Fields("run read-mix --target millrace,ceiling-handoff --clients 8 --duration 400ms --warmup 100ms --store memory --net inproc --out " + dir)
	code, stdout, stderr := try(args...)
	if code != exitOK {
		t.Fatalf("exit code %d: %s\n%s", code, stderr, stdout)
	}
	results := saved(t, dir)
	if len(results) != 3 {
		t.Fatalf("%d results, want 3", len(results))
	}
	for i, way := range []string{"linearizable", "lease", "follower"} {
		r := results[i]
		if r.Read != way || r.ReadRatio != 0.9 || r.Reads.Ops < 2*r.Ops || r.Reads.Histogram == nil || r.Ops == 0 || !r.Safety.OK || r.Reads.Errors > 0 {
			t.Errorf("%s: %d puts, %+v, %+v", way, r.Ops, r.Reads, r.Safety)
		}
	}
	for _, want := range []string{"90 % lease", "none missed a put", "3 left out:", "ceiling-handoff, 8 clients, round 1: 90 % follower reads: not supported"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
}

// TestNothingMeasured: a run whose targets are all left out has failed, and leaves no file.
func TestNothingMeasured(t *testing.T) {
	dir := t.TempDir()
	code, _, stderr := try(strings.Fields("run read-mix --target ceiling-handoff --clients 8 --duration 100ms --warmup 0s --read lease --out " + dir)...)
	if want := "nothing was measured: ceiling-handoff, 8 clients, round 1: 90 % lease reads: not supported\n"; code != exitFailed || stderr != want {
		t.Errorf("exit code %d, %q, want %q", code, stderr, want)
	}
}
