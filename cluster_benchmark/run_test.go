package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/setting"
)

// TestMain makes this binary, called by the name of a program around another library, that program, and the suite itself where
// that starts a node's process.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == nodeProcessName {
		os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr))
	}
	playPeer(filepath.Base(os.Args[0]))
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) // gnet's worker pool starts with the program and stays
}

// saved returns the results in the only file of a directory, which must hold nothing else.
func saved(t *testing.T, dir string) []result.Result {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || !strings.HasSuffix(left[0].Name(), ".jsonl") {
		t.Fatalf("%s holds %v, %v, want one file of results", dir, left, err)
	}
	results, err := result.ReadFile(filepath.Join(dir, left[0].Name()))
	if err != nil {
		t.Fatal(err)
	}
	return results
}

// TestRunEndToEnd measures every store and network for a moment and looks at all that is written.
func TestRunEndToEnd(t *testing.T) {
	for _, c := range []struct{ store, net, more string }{
		{"memory", "inproc", "--payload 0"},
		{"memory", "tcp", "--inflight 8"},
		{"wal", "inproc", "--batch 4"},
		{"wal", "tcp", ""},
	} {
		t.Run(c.store+"/"+c.net, func(t *testing.T) {
			dir := t.TempDir()
			args := strings.Fields("run quick --target millrace --clients 16 --duration 600ms --warmup 100ms " + c.more)
			code, stdout, stderr := try(append(args, "--store", c.store, "--net", c.net, "--out", dir+"/out", "--json", "-", "--hgrm", dir+"/x.hgrm")...)
			if code != exitOK {
				t.Fatalf("exit code %d: %s", code, stderr)
			}
			results := saved(t, dir+"/out")
			var printed result.Result
			if err := json.Unmarshal([]byte(stdout), &printed); err != nil || strings.Count(stdout, "\n") != 1 {
				t.Fatalf("standard output is not one line of JSON: %v\n%s", err, stdout)
			}
			if len(results) != 1 || printed.Ops != results[0].Ops {
				t.Errorf("printed %d puts, saved %+v", printed.Ops, results)
			}
			checkResult(t, &results[0], c.store == "wal")
			hgrm, err := os.ReadFile(dir + "/x.hgrm")
			if err != nil || !strings.Contains(string(hgrm), "#[Max     =") {
				t.Errorf("histogram: %v\n%s", err, hgrm)
			}
			for _, want := range []string{"millrace", "Safety: ", "Results: " + dir, "Histogram: " + dir + "/x.hgrm"} {
				if !strings.Contains(stderr, want) {
					t.Errorf("no %q in\n%s", want, stderr)
				}
			}
		})
	}
}

func checkResult(t *testing.T, r *result.Result, wal bool) {
	t.Helper()
	s := r.Safety
	if s == nil || !s.OK || s.Acknowledged < r.Ops || len(s.Applied) != 3 || len(s.StateHash) != 3 || s.StateHash[0] != s.StateHash[2] {
		t.Errorf("safety is %+v for %d puts", s, r.Ops)
	}
	if r.Duration != 0.6 || r.Ops == 0 || r.PutPerS < float64(r.Ops)/0.61 || r.Errors != 0 || r.Profile != "quick" || r.Round != 1 {
		t.Errorf("result is %+v", r)
	}
	l := r.Latency
	if l.P50 <= 0 || !slices.IsSorted([]float64{l.P50, l.P90, l.P99, l.P999, l.P9999, l.Max}) || l.Mean <= 0 || l.Mean > l.Max {
		t.Errorf("latency is %+v", l)
	}
	if r.CPU <= 0 || r.MaxRSS == 0 || r.AllocPerOp <= 0 || r.Frames == 0 || r.EntriesPerFrame < 1 || r.GOGC != 400 {
		t.Errorf("usage is %+v", r)
	}
	// Every stage that there is, and those in a row add up to about the latency.
	sum := 0.0
	for name, l := range r.Stages {
		if h := r.StageHistograms[name]; h == nil || h.TotalCount() == 0 || l != result.NewLatency(h) {
			t.Errorf("stage %s is %+v", name, l)
		}
		if following, _ := result.StageNames(); slices.Contains(following, name) {
			sum += l.Mean
		}
	}
	if stages := map[bool]int{true: 7, false: 5}[wal]; len(r.Stages) != stages || sum < l.Mean/5 || sum > l.Mean*5 {
		t.Errorf("stages are %+v, want %d, of latencies of %v on average", r.Stages, stages, l.Mean)
	}
	if (r.WALSyncs > 0) != wal || (r.WALBytes > 0) != wal || (r.WALBackend == "tidwall") != wal {
		t.Errorf("%d syncs, %d bytes, backend %q", r.WALSyncs, r.WALBytes, r.WALBackend)
	}
}

// TestRoundsAndCeilings: every scenario, round and target makes a line; ceilings are set beside the engine.
func TestRoundsAndCeilings(t *testing.T) {
	dir := t.TempDir()
	code, stdout, stderr := try("run", "quick", "--target", "ceiling-handoff,millrace,ceiling-net", "--clients", "4,8", "--rounds", "2",
		"--store", "memory", "--net", "inproc", "--duration", "150ms", "--warmup", "0s", "--out", dir, "--hgrm", t.TempDir()+"/x.hgrm")
	if stderr != "" && code == exitOK {
		t.Errorf("standard error is %q", stderr)
	}
	// On a disturbed machine a ceiling measured this briefly may be exceeded; then the result must say so.
	results := saved(t, dir)
	invalid := slices.ContainsFunc(results, func(r result.Result) bool { return r.Invalid != "" })
	if len(results) != 12 || (code == exitFailed) != invalid || code != exitOK && code != exitFailed {
		t.Fatalf("%d results, exit code %d, invalid: %v, %s", len(results), code, invalid, stderr)
	}
	for _, r := range results {
		ceiling := setting.IsCeiling(r.Target)
		if ceiling != (r.Safety == nil) || ceiling != (len(r.Ratios) == 0) || !ceiling && len(r.Ratios) != 2 || r.Ops == 0 {
			t.Errorf("result is %+v", r)
		}
	}
	if !strings.Contains(stdout, "Medians over 2 rounds.") || strings.Count(stdout, "Histogram: ") != 12 || !strings.Contains(stdout, "of handoff  of net") {
		t.Errorf("table is\n%s", stdout)
	}
}

// TestRunOpenLoop: puts at rates of their own, on each target; whether the ceiling is above the engine says nothing there.
func TestRunOpenLoop(t *testing.T) {
	dir, hgrm := t.TempDir(), t.TempDir()
	code, stdout, stderr := try(strings.Fields("run quick --target millrace,ceiling-handoff --clients 16 --inflight 2 --rate 400,800 --arrivals constant " +
		"--store memory --net inproc --duration 500ms --warmup 100ms --out " + dir + " --hgrm " + hgrm + "/x.hgrm")...)
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	results := saved(t, dir)
	for i, want := range []struct {
		target string
		rate   float64
	}{{"millrace", 400}, {"ceiling-handoff", 400}, {"millrace", 800}, {"ceiling-handoff", 800}} {
		r := &results[i]
		g := r.Generator
		if r.Target != want.target || r.Rate != want.rate || r.Arrivals != "constant" || len(r.Ratios) != 0 || g == nil || g.Behind {
			t.Fatalf("result %d is %+v", i, r)
		}
		if due := want.rate / 2; float64(g.Offered) < due-1 || float64(g.Offered) > due+1 || uint64(r.Histogram.TotalCount()) != g.Offered {
			t.Errorf("result %d: %+v and %d measured, want %v", i, *g, r.Histogram.TotalCount(), due)
		}
	}
	for _, want := range []string{"due/s", "late p99", "constant arrivals", "x.millrace-3n-16c-2i-1b-128B-rate800-r1.hgrm"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
}

func TestAboveACeilingIsInvalid(t *testing.T) {
	round := func(target, store string, puts float64) []result.Result {
		return []result.Result{
			{Key: result.Key{Target: setting.Millrace, Store: store}, PutPerS: puts},
			{Key: result.Key{Target: target, Store: store}, PutPerS: 1000},
		}
	}
	for _, c := range []struct {
		ceiling, store string
		puts           float64
		invalid        bool
	}{
		{setting.CeilingHandoff, setting.StoreMemory, 1001, true},
		{setting.CeilingHandoff, setting.StoreMemory, 1000, false},
		{setting.CeilingDisk, setting.StoreWAL, 1001, true},
		{setting.CeilingDisk, setting.StoreMemory, 1001, false},
		{setting.CeilingNet, setting.StoreWAL, 1001, false},
	} {
		results := round(c.ceiling, c.store, c.puts)
		compareWithCeilings(results)
		if r := &results[0]; (r.Invalid != "") != c.invalid || r.OK() == c.invalid || r.Ratios[c.ceiling] != c.puts/1000 {
			t.Errorf("%+v: %+v", c, r)
		}
		if !results[1].OK() || results[1].Ratios != nil {
			t.Errorf("%+v: the ceiling is %+v", c, results[1])
		}
	}
}

func TestQuiet(t *testing.T) {
	code, stdout, stderr := try("run", "quick", "--target", "ceiling-handoff", "--clients", "4", "--duration", "100ms", "--warmup", "0s",
		"--out", t.TempDir(), "--quiet")
	if code != exitOK || stdout != "" || stderr != "" {
		t.Errorf("exit code %d, %q, %q, want silence", code, stdout, stderr)
	}
}

func TestOwnProfile(t *testing.T) {
	dir := t.TempDir()
	name := dir + "/mine.yaml"
	if err := os.WriteFile(name, []byte("target: ceiling-handoff\nclients: 3\nduration: 100ms\nwarmup: 0s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := try("run", name, "--out", dir+"/out", "--json", dir+"/copy.jsonl"); code != exitOK {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	results := saved(t, dir+"/out")
	if len(results) != 1 || results[0].Profile != "mine" || results[0].Clients != 3 {
		t.Errorf("results are %+v", results)
	}
	original, _ := filepath.Glob(dir + "/out/*")
	a, errA := os.ReadFile(original[0])
	b, errB := os.ReadFile(dir + "/copy.jsonl")
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		t.Errorf("--json wrote %q, %v, the file holds %q, %v", b, errB, a, errA)
	}
	code, stdout, stderr := try("compare", original[0], dir+"/copy.jsonl")
	if code != exitOK || !strings.Contains(stdout, "1.00x") || strings.Contains(stdout, "another machine") {
		t.Errorf("compare: exit code %d, %s\n%s", code, stderr, stdout)
	}
}

// TestInterrupted: a run that is ended early writes what it measured, checked.
func TestInterrupted(t *testing.T) {
	plan := setting.Defaults()
	plan.Profile, plan.Targets = "quick", []string{setting.Millrace, setting.CeilingHandoff}
	plan.Clients, plan.Store, plan.Net = []int{8, 16}, setting.StoreMemory, setting.NetInproc
	plan.Warmup, plan.Duration = 0, time.Hour
	for _, c := range []struct {
		warmup time.Duration
		lines  int
		after  time.Duration
	}{{0, 1, 3 * time.Second}, {time.Hour, 0, 700 * time.Millisecond}} {
		plan.Warmup = c.warmup
		dir := t.TempDir()
		ctx, cancel := context.WithTimeout(t.Context(), c.after) // a new cluster elects within a second
		var stdout bytes.Buffer
		err := newRunner(plan, &output{dir: dir, stdout: &stdout, stderr: io.Discard}).run(ctx)
		cancel()
		if exitCode(err) != exitInterrupted {
			t.Fatalf("run: %v, want %v", err, errInterrupted)
		}
		if c.lines == 0 {
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 || !strings.Contains(stdout.String(), "before anything was measured") {
				t.Errorf("interrupted in the warm-up: %v left, %v, %s", left, err, stdout.String())
			}
			continue
		}
		results := saved(t, dir)
		r := results[0]
		if len(results) != 1 || !r.Interrupted || r.Duration <= 0 || r.Duration > 60 || r.Ops == 0 || !r.Safety.OK {
			t.Errorf("results are %+v", results)
		}
		if !strings.Contains(stdout.String(), "interrupted after") {
			t.Errorf("the table says nothing of it:\n%s", stdout.String())
		}
	}
}
