package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/millrace/millrace/cluster_benchmark/result"
)

// goBuild builds this command with the given flags and returns the path of the binary.
func goBuild(t *testing.T, flags ...string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds a binary")
	}
	binary := filepath.Join(t.TempDir(), "cluster_benchmark")
	build := exec.Command("go", append(append([]string{"build", "-buildvcs=false", "-o", binary}, flags...), ".")...)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build.Args, err, out)
	}
	return binary
}

// runBinary runs a binary in an empty directory and returns its exit code and what it wrote.
func runBinary(t *testing.T, binary string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	c := exec.Command(binary, args...)
	c.Dir = t.TempDir()
	var out, err bytes.Buffer
	c.Stdout, c.Stderr = &out, &err
	runErr := c.Run()
	if c.ProcessState == nil {
		t.Fatal(runErr)
	}
	return c.ProcessState.ExitCode(), out.String(), err.String()
}

// mistakes are deliberate bugs, each a change of one line in the engine's code.
var mistakes = []struct {
	name, file, line, instead string
	reason                    string // that the check must give
}{
	{
		"the applier leaves out an entry and answers it all the same", "../pipeline/portion.go",
		"a.sm.Apply(entries, results)", "a.sm.Apply(entries[1:], results[1:])",
		"was acknowledged and is not applied",
	}, {
		"the applier gives a batch to the state machine twice", "../pipeline/portion.go",
		"return a.sm.Apply(entries, results)", "_ = a.sm.Apply(entries, results); return a.sm.Apply(entries, results)",
		"applied after index",
	}, {
		"answers name the log id of a neighbour", "../pipeline/portion.go",
		"Result{LogID: entries[i].ID}", "Result{LogID: entries[len(entries)-1-i].ID}",
		"the log ids of the",
	},
}

// TestBrokenBuildIsCaught builds the suite with a deliberate bug in the engine, runs it for a moment, and expects the
// safety check to find it.
func TestBrokenBuildIsCaught(t *testing.T) {
	for _, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			binary := goBuild(t, "-overlay", overlay(t, m.file, m.line, m.instead))
			code, stdout, stderr := runBinary(t, binary, "run", "quick", "--target", "millrace", "--clients", "32", "--inflight", "4",
				"--store", "memory", "--net", "inproc", "--duration", "1s", "--warmup", "0s", "--json", "-")
			var r result.Result
			if err := json.Unmarshal([]byte(stdout), &r); err != nil {
				t.Fatalf("exit code %d, %v in %q\n%s", code, err, stdout, stderr)
			}
			if code != exitFailed || r.Safety.OK || !strings.Contains(strings.Join(r.Safety.Reasons, "\n"), m.reason) {
				t.Errorf("exit code %d, safety %+v, want %d, not ok, and %q", code, r.Safety, exitFailed, m.reason)
			}
			if strings.Count(stderr, "SAFETY CHECK FAILED: millrace") != 2 { // below the table, and in the last line
				t.Errorf("the table says nothing of it:\n%s", stderr)
			}
			code, stdout, stderr = runBinary(t, binary, "run", "quick", "--target", "millrace", "--clients", "32", "--inflight", "4",
				"--store", "memory", "--net", "inproc", "--duration", "300ms", "--warmup", "0s", "--quiet")
			if code != exitFailed || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "SAFETY CHECK FAILED: millrace") ||
				!strings.Contains(stderr, ": node 1: ") || !strings.Contains(stderr, "results: results/") {
				t.Errorf("--quiet: exit code %d, %q, %q, want one line with the first reason and the file", code, stdout, stderr)
			}
		})
	}
}

// overlay makes a file for go build -overlay that replaces one line's text in one file.
func overlay(t *testing.T, file, line, instead string) string {
	t.Helper()
	path, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), line); n != 1 {
		t.Fatalf("%s has %d times %q, want it once: change this test with it", file, n, line)
	}
	dir := t.TempDir()
	broken := filepath.Join(dir, filepath.Base(file))
	if err := os.WriteFile(broken, []byte(strings.Replace(string(source), line, instead, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	description, err := json.Marshal(map[string]map[string]string{"Replace": {path: broken}})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(name, description, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestBinary runs the real thing away from the repository: profiles are embedded, the linker's version is shown, and
// ctrl-C ends a run with what it measured.
func TestBinary(t *testing.T) {
	binary := goBuild(t, "-ldflags", "-X main.version=v9.8.7 -X main.commit=abcdef")
	if code, stdout, _ := runBinary(t, binary, "--version"); code != exitOK || !strings.Contains(stdout, "v9.8.7, commit abcdef") {
		t.Errorf("--version: exit code %d, %s", code, stdout)
	}
	if code, _, stderr := runBinary(t, binary, "run", "quick", "--clients", "0"); code != exitUsage || strings.Count(stderr, "\n") != 1 {
		t.Errorf("bad flag: exit code %d, %q", code, stderr)
	}
	run := exec.Command(binary, "run", "minimized", "--clients", "8", "--warmup", "0s", "--duration", "1h")
	run.Dir = t.TempDir()
	var stdout, stderr bytes.Buffer
	run.Stdout, run.Stderr = &stdout, &stderr
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	stop := time.AfterFunc(time.Minute, func() { _ = run.Process.Kill() })
	defer stop.Stop()
	awaitData(t, run.Dir)
	if err := run.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = run.Wait() // its error is the exit code
	if code := run.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("ctrl-C: exit code %d, want %d\n%s%s", code, exitInterrupted, stdout.String(), stderr.String())
	}
	if left, _ := filepath.Glob(filepath.Join(run.Dir, "results", "data-*")); len(left) > 0 {
		t.Errorf("ctrl-C left %v", left)
	}
	if strings.Contains(stderr.String(), "put/s") {
		t.Errorf("a progress line although it is no terminal: %q", stderr.String())
	}
}

// TestTerminated: SIGTERM is taken like ctrl-C, and a target that has ended is saved before the next one is measured.
func TestTerminated(t *testing.T) {
	binary := goBuild(t)
	run := exec.Command(binary, "run", "own.yaml", "--quiet")
	run.Dir = t.TempDir()
	profile := "target: [ceiling-handoff, millrace]\nclients: 8\nstore: memory\nnet: inproc\nwarmup: 0s\nduration: 1h\nceiling_duration: 100ms\n"
	if err := os.WriteFile(filepath.Join(run.Dir, "own.yaml"), []byte(profile), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	stop := time.AfterFunc(time.Minute, func() { _ = run.Process.Kill() })
	defer stop.Stop()
	file := await(t, filepath.Join(run.Dir, "results", "*.jsonl"), func(file string) bool {
		info, err := os.Stat(file)
		return err == nil && info.Size() > 0
	})
	if results, err := result.ReadFile(file); err != nil || len(results) != 1 || results[0].Target != "ceiling-handoff" {
		t.Errorf("saved while the second target runs: %+v, %v, want the first one", results, err)
	}
	if err := run.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = run.Wait() // its error is the exit code
	if code := run.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("SIGTERM: exit code %d, want %d", code, exitInterrupted)
	}
	if left, _ := filepath.Glob(filepath.Join(run.Dir, "results", "*")); len(left) != 1 {
		t.Errorf("SIGTERM left %v, want the results alone", left)
	}
	results, err := result.ReadFile(file)
	if err != nil || len(results) == 0 || results[0].Interrupted || !slices.ContainsFunc(results, func(r result.Result) bool { return r.Target == "ceiling-handoff" }) {
		t.Errorf("results are %+v, %v, want the ceiling among them", results, err)
	}
}

// awaitData waits until a run in another process has begun its first measurement.
func awaitData(t *testing.T, dir string) {
	t.Helper()
	await(t, filepath.Join(dir, "results", "data-*"), func(string) bool { return true })
}

// await waits until another process has made a file that fits, and returns it.
func await(t *testing.T, pattern string, fits func(file string) bool) string {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	timeout := time.After(30 * time.Second)
	for {
		select {
		case <-ticker.C:
			found, _ := filepath.Glob(pattern)
			if i := slices.IndexFunc(found, fits); i >= 0 {
				return found[i]
			}
		case <-timeout:
			t.Fatalf("no %s that fits within 30 s", pattern)
		}
	}
}
