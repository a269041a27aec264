package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace/millrace/cluster_benchmark/result"
)

// TestBaseline: what a run has saved is compared with by name, is never overwritten, and is that of one kind of machine.
func TestBaseline(t *testing.T) {
	t.Chdir(t.TempDir())
	kind := result.ThisMachine(".").Kind()
	file := filepath.Join("profiles", "baselines", kind, "before.jsonl")
	code, stdout, stderr := try(brief("--rounds", "6", "--save-baseline", "before")...)
	if code != exitOK || !strings.Contains(stdout, "Baseline: "+file+"\n") {
		t.Fatalf("exit code %d, standard output\n%s\nstandard error %s", code, stdout, stderr)
	}
	saved, err := result.ReadFile(file)
	if err != nil || len(saved) != 6 || saved[5].Round != 6 || saved[0].Latency.P99 == 0 {
		t.Fatalf("%d results, %v", len(saved), err)
	}
	code, stdout, stderr = try("compare", "--baseline", "before", file)
	if code != exitOK || strings.Count(stdout, file) < 2 || !strings.Contains(stdout, "noise") {
		t.Errorf("compare: exit code %d\n%s\n%s", code, stdout, stderr)
	}
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	code, _, stderr = try(brief("--save-baseline", "before", "--out", "second")...)
	if want := "--save-baseline before: " + file + " is there and is not overwritten, want another name, or remove it\n"; code != exitUsage || stderr != want {
		t.Errorf("again: exit code %d, %q, want %q", code, stderr, want)
	}
	if _, err := os.Stat("second"); err == nil {
		t.Error("it was measured although it could not be saved")
	}
	if after, err := os.ReadFile(file); err != nil || string(after) != string(before) {
		t.Errorf("the baseline was changed, %v", err)
	}
	elsewhere := resultFile(t, "other.jsonl", madeUp("ceiling-handoff", 1, 1000))
	code, _, stderr = try("compare", "--baseline", "before", elsewhere)
	want := "--baseline before: no " + filepath.Join("profiles", "baselines", "cpu-2c", "before.jsonl") + ", and " + elsewhere +
		" was measured on that kind of machine; there is one of " + kind + "\n"
	if code != exitUsage || stderr != want {
		t.Errorf("another machine: exit code %d, %q, want %q", code, stderr, want)
	}
	if code, _, stderr = try("compare", "--baseline", "after", file); code != exitUsage || !strings.HasSuffix(stderr, "none of that name is there\n") {
		t.Errorf("unknown name: exit code %d, %q", code, stderr)
	}
}

// TestNoBaselineOfAFailedRun: figures that can't be used are nothing to compare with.
func TestNoBaselineOfAFailedRun(t *testing.T) {
	path := full(t)
	t.Chdir(t.TempDir())
	code, _, stderr := try(brief("--save-baseline", "bad", "--json", path)...)
	if code != exitFailed || !strings.Contains(stderr, "no baseline was saved: --save-baseline bad takes a run that nothing is wrong with") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	if found, err := filepath.Glob("profiles/baselines/*/*"); err != nil || len(found) > 0 {
		t.Errorf("left are %v, %v", found, err)
	}
}

func TestKindOfMachine(t *testing.T) {
	for want, m := range map[string]result.Machine{
		"linux-amd64-amd-epyc-2c":                   {OS: "linux", Arch: "amd64", CPU: "AMD EPYC", Cores: 2},
		"linux-amd64-intel-r-xeon-r-cpu-2-20ghz-8c": {OS: "linux", Arch: "amd64", CPU: "Intel(R) Xeon(R) CPU @ 2.20GHz", Cores: 8},
		"darwin-arm64-apple-m2-12c":                 {OS: "darwin", Arch: "arm64", CPU: "Apple M2", Cores: 12},
	} {
		if got := m.Kind(); got != want {
			t.Errorf("%+v is %s, want %s", m, got, want)
		}
	}
}
