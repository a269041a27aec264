package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/setting"
)

// brief is a run of the ceiling that needs no disk.
func brief(more ...string) []string {
	return append(strings.Fields("run quick --target ceiling-handoff --clients 4 --duration 100ms --warmup 0s"), more...)
}

// full is a file that opens and can't be written to.
func full(t *testing.T) string {
	t.Helper()
	const path = "/dev/full"
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no %s here: %v", path, err)
	}
	return path
}

// TestUnwritableFileKeepsTheTable: a file that fails once there are figures does not cost the figures.
func TestUnwritableFileKeepsTheTable(t *testing.T) {
	path := full(t)
	for _, flag := range []string{"--json", "--hgrm", "--hlog", "--benchfmt"} {
		dir := t.TempDir()
		code, stdout, stderr := try(brief(flag, path, "--out", dir)...)
		if code != exitFailed || !strings.Contains(stdout, "ceiling-handoff") || !strings.Contains(stdout, "Results: "+dir) {
			t.Errorf("%s: exit code %d, standard output\n%s", flag, code, stdout)
		}
		if !strings.Contains(stderr, flag+" "+path+": ") || !strings.Contains(stderr, "no space left on device") {
			t.Errorf("%s: standard error %q", flag, stderr)
		}
		if results := saved(t, dir); len(results) != 1 || results[0].Ops == 0 {
			t.Errorf("%s: saved %+v", flag, results)
		}
	}
}

// TestHistogramsAreTriedFirst: an unusable path is known before anything is measured, and leaves everything as it was.
func TestHistogramsAreTriedFirst(t *testing.T) {
	dir := t.TempDir()
	second := filepath.Join(dir, "x.ceiling-handoff-3n-8c-1i-1b-128B-r1.hgrm")
	if err := os.Mkdir(second, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		brief("--hgrm", dir),
		brief("--hgrm", filepath.Join(dir, "x.hgrm"), "--clients", "4,8"),
	} {
		code, stdout, stderr := try(append(args, "--out", filepath.Join(dir, "out"), "--json", filepath.Join(dir, "j"))...)
		if code != exitUsage || stdout != "" || !strings.HasPrefix(stderr, "--hgrm "+dir) || !strings.HasSuffix(stderr, ": is a directory, want a file that can be written\n") {
			t.Errorf("%v: exit code %d, %q, %q", args, code, stdout, stderr)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) != 2 || left[1] != second { // and out, which is empty
		t.Errorf("left are %v, %v, want %s and out", left, err, second)
	}
	if inside, _ := os.ReadDir(filepath.Join(dir, "out")); len(inside) > 0 {
		t.Errorf("out holds %v", inside)
	}
}

// TestNamesOfSweeps: whatever a run sweeps, no two results have the same file.
func TestNamesOfSweeps(t *testing.T) {
	scenarios := []setting.Scenario{{Nodes: 3, Clients: 8, Store: "wal", Net: "tcp"}, {Nodes: 3, Clients: 8, Store: "memory", Net: "tcp"}}
	plan := setting.Defaults()
	f, err := openFiles("--hgrm", "", nil, &plan, scenarios)
	if err != nil {
		t.Fatal(err)
	}
	f.path = "x.hgrm"
	if a, b := f.name("t", scenarios[0], 1), f.name("t", scenarios[1], 1); a != "x.t-3n-8c-0i-0b-0B-storewal-r1.hgrm" || b != "x.t-3n-8c-0i-0b-0B-storememory-r1.hgrm" {
		t.Errorf("%s and %s", a, b)
	}
}

// TestLogsAndBenchmarks: what other tools read is there, is named, and says what the results say.
func TestLogsAndBenchmarks(t *testing.T) {
	dir := t.TempDir()
	hlog, bench := filepath.Join(dir, "x.hlog"), filepath.Join(dir, "x.txt")
	code, stdout, stderr := try(brief("--hlog", hlog, "--benchfmt", bench, "--out", filepath.Join(dir, "out"), "--duration", "300ms")...)
	if code != exitOK || !strings.Contains(stdout, "Histogram log: "+hlog+"\n") || !strings.Contains(stdout, "Benchmarks: "+bench+"\n") {
		t.Fatalf("exit code %d, %s\n%s", code, stderr, stdout)
	}
	one := saved(t, filepath.Join(dir, "out"))[0]
	f, err := os.Open(hlog)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	reader, puts, intervals := hdrhistogram.NewHistogramLogReader(f), uint64(0), 0
	for h, err := reader.NextIntervalHistogram(); h != nil || err != nil; h, err = reader.NextIntervalHistogram() {
		if err != nil {
			t.Fatal(err)
		}
		puts += uint64(h.TotalCount())
		intervals++
	}
	if puts != one.Ops || intervals != 3 {
		t.Errorf("the log holds %d puts in %d intervals, want %d in 3", puts, intervals, one.Ops)
	}
	text, err := os.ReadFile(bench)
	if want := fmt.Sprintf("-%d %d ", one.GOMAXPROCS, one.Ops); err != nil || !strings.Contains(string(text), want) {
		t.Errorf("no %q in %v\n%s", want, err, text)
	}
	for _, p := range one.Series {
		if p.Histogram != "" {
			t.Errorf("the results hold the histograms of intervals")
		}
	}
}

// TestStandardOutputThatFails: whoever reads it must not take half of it for all.
func TestStandardOutputThatFails(t *testing.T) {
	f, err := os.OpenFile(full(t), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, args := range [][]string{{"list"}, {"--help"}, {"--version"}, brief("--out", t.TempDir()), brief("--out", t.TempDir(), "--json", "-")} {
		var stderr strings.Builder
		if code := execute(args, f, &stderr); code != exitFailed || !strings.Contains(stderr.String(), "no space left on device") {
			t.Errorf("%v: exit code %d, %q, want %d and why", args, code, stderr.String(), exitFailed)
		}
	}
}

// TestRoundIsWrittenOver: lines that were saved one by one give way to those of the whole round, and only they.
func TestRoundIsWrittenOver(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "r.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	o := &output{file: f, histograms: &files{}, logs: &files{}}
	read := func() string {
		results, err := result.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		said := ""
		for _, r := range results {
			said += fmt.Sprintf("%s%d%d ", r.Target, r.Round, len(r.Ratios))
		}
		return said
	}
	for round := 1; round <= 2; round++ {
		a := result.Result{Schema: 1, Key: result.Key{Target: "a"}, Round: round}
		b := result.Result{Schema: 1, Key: result.Key{Target: "b"}, Round: round, FirstError: strings.Repeat("long ", 1000)}
		for _, r := range []*result.Result{&b, &a} {
			if err := o.keep(setting.Scenario{}, r); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := read(), map[int]string{1: "b10 a10 ", 2: "a11 b10 b20 a20 "}[round]; got != want {
			t.Errorf("round %d, before its end: %s, want %s", round, got, want)
		}
		a.Ratios, b.FirstError = map[string]float64{"b": 1}, ""
		if err := o.round([]result.Result{a, b}); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(); got != "a11 b10 a21 b20 " {
		t.Errorf("in the end: %s", got)
	}
	if err := o.close(); err != nil {
		t.Error(err)
	}
}
