package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace/millrace/cluster_benchmark/setting"
)

// TestRunEventEndToEnd: the scenario with the event is one of its own, told below the table and in the result, and compared
// with its like alone; a ceiling, to which nothing can happen, is left out and said to be.
func TestRunEventEndToEnd(t *testing.T) {
	dir := t.TempDir()
	args := "run slow-follower --target millrace,ceiling-handoff --clients 8 --duration 1200ms --warmup 100ms --store memory --net inproc --out " + dir
	code, stdout, stderr := try(strings.Fields(args)...)
	if code != exitOK {
		t.Fatalf("exit code %d: %s\n%s", code, stderr, stdout)
	}
	results := saved(t, dir)
	if len(results) != 3 {
		t.Fatalf("%d results, want millrace with and without the event, and the ceiling without", len(results))
	}
	for i, want := range []string{"", "", setting.EventSlowFollower} {
		if r := &results[i]; r.Event != want || (len(r.Events) == 1) != (want != "") || !r.OK() || r.Ops == 0 {
			t.Errorf("%s with event %q: %+v, %+v", r.Target, r.Event, r.Events, r.Safety)
		}
	}
	e := results[2].Events[0]
	if e.Kind != setting.EventSlowFollower || e.At < 0.3 || e.Held == 0 || e.Recovery <= 0 || e.Before == nil || e.During == nil || e.After == nil {
		t.Errorf("%+v", e)
	}
	for _, want := range []string{" event ", "event slow-follower, 3 nodes:\n    at 0.3 s: the disk of node ", "        put/s: ", "1 left out:",
		"ceiling-handoff, 8 clients, round 1: event slow-follower: not supported"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}

	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%q, %v", files, err)
	}
	code, stdout, stderr = try("compare", files[0], files[0])
	if code != exitOK || strings.Count(stdout, "event slow-follower") != 1 || strings.Count(stdout, "\n recovery ") != 1 {
		t.Errorf("exit code %d: %s\n%s", code, stderr, stdout)
	}
	page := filepath.Join(dir, "report.html")
	if code, stdout, stderr = try("report", files[0], "--html", page); code != exitOK {
		t.Errorf("exit code %d: %s\n%s", code, stderr, stdout)
	}
}
