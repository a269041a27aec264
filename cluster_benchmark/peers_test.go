package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/cluster_benchmark/peer"
	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/cluster_benchmark/target"
)

// playPeer is the main function of a program around another library, if name is that of one: etcd works, hashicorp can't
// keep a log in memory, and etcd-new breaks. Otherwise it returns.
func playPeer(name string) {
	open := func(ctx context.Context, s setting.Scenario, dir string) (target.Target, error) {
		switch {
		case name == "etcd-new":
			panic("index out of range")
		case name == "hashicorp" && s.Store == setting.StoreMemory:
			return nil, fmt.Errorf("%w: no log in memory", peer.ErrUnsupported)
		}
		return target.Open(ctx, setting.Millrace, s, dir)
	}
	if slices.ContainsFunc(setting.Peers(), func(p setting.Peer) bool { return p.Program == name }) {
		peer.Main(peer.Peer{Targets: []peer.Target{{Name: name, Library: "example.org/" + name + " v1", Configuration: "batched", Open: open}}})
	}
}

// withPeers builds the suite into a directory of its own with programs around some libraries, and returns its path.
func withPeers(t *testing.T, programs ...string) string {
	t.Helper()
	binary := goBuild(t)
	dir := filepath.Join(filepath.Dir(binary), "peers")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range programs {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "openraft.why"), []byte("cargo, which builds it,\nis not on PATH\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return binary
}

// TestPeers measures with programs that work, that can't, that break, and that are not there.
func TestPeers(t *testing.T) {
	binary := withPeers(t, "etcd", "etcd-new", "hashicorp")
	out := t.TempDir()
	args := strings.Fields("peers --clients 8 --rounds 3 --duration 200ms --warmup 0s --out " + out)
	code, stdout, stderr := runBinary(t, binary, args...)
	// On a disturbed machine the ceiling may be exceeded; then a line before this one says so.
	if code != exitFailed || strings.Count(stderr, "\n") > 2 ||
		!strings.Contains("\n"+stderr, "\n2 measurements failed, the first: etcd-new, 8 clients, round 1: panic: index out of range; results: "+out) {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	results := saved(t, out)
	var got []string
	for _, r := range results {
		got = append(got, fmt.Sprintf("%s%d", r.Target, r.Round))
		if r.Ops == 0 || r.Histogram == nil || r.GOGC != 400 || r.Store != "memory" || r.Net != "inproc" || r.Payload != 0 || r.Profile != "minimized" ||
			(r.Library == "example.org/etcd v1") != (r.Target == "etcd") {
			t.Errorf("result is %+v", r)
		}
	}
	if want := strings.Fields("millrace1 etcd1 ceiling-handoff1 millrace2 etcd2 ceiling-handoff2 millrace3 etcd3 ceiling-handoff3"); !slices.Equal(got, want) {
		t.Errorf("results are %v, want %v", got, want)
	}
	programs := filepath.Join(filepath.Dir(binary), "peers")
	for _, want := range []string{
		"minimized: 3 nodes, store memory, net inproc, 8 clients",
		"put/s", "spread", "cpu/put", "of millrace", "of handoff",
		"\netcd: example.org/etcd v1; batched\n",
		"\n4 left out:\n",
		"    dragonboat-tan: no program at " + programs + "/dragonboat; ./bench.sh peers builds it\n",
		"    dragonboat-pebble: no program at ",
		"    openraft: no program: cargo, which builds it, is not on PATH\n",
		"    hashicorp, 8 clients, round 1: hashicorp: not supported: no log in memory\n",
		"\n2 failed:\n    etcd-new, 8 clients, round 1: panic: index out of range\n    etcd-new, 8 clients, round 2: panic: index out of range\n",
		"Medians over 3 rounds.",
		"Results: " + out + "/",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	if name, _ := filepath.Glob(out + "/*-peers-minimized.jsonl"); len(name) != 1 {
		t.Errorf("the file is called %v", name)
	}
}

// TestPeersChosen: who is measured, and what follows from store wal; a process of our own has what this one would have.
func TestPeersChosen(t *testing.T) {
	binary := withPeers(t, "etcd", "hashicorp")
	out := t.TempDir()
	code, stdout, stderr := runBinary(t, binary, strings.Fields("peers durable --peer hashicorp --clients 8 --duration 200ms --warmup 0s --out "+out)...)
	results := saved(t, out)
	var got []string
	// On a disturbed machine a ceiling measured this briefly may be exceeded; then the result must say so.
	invalid := false
	for _, r := range results {
		got = append(got, r.Target)
		invalid = invalid || r.Invalid != ""
	}
	if want := []string{"millrace", "hashicorp", "ceiling-handoff", "ceiling-disk"}; !slices.Equal(got, want) || (code == exitFailed) != invalid || code != exitOK && code != exitFailed {
		t.Errorf("exit code %d, %q, results of %v, want %v", code, stderr, got, want)
	}
	if strings.Contains(stdout, "left out") || !strings.Contains(stdout, "of disk") {
		t.Errorf("the table is\n%s", stdout)
	}
	if r := results[0]; r.WALBackend != "tidwall" || r.WALSyncs == 0 || r.Safety == nil || !r.Safety.OK || r.Library != "" || r.Ratios["ceiling-disk"] == 0 {
		t.Errorf("our own result is %+v", r)
	}
	code, stdout, stderr = runBinary(t, binary, strings.Fields("peers quick --target ceiling-handoff --peer dragonboat-tan --clients 8 --duration 200ms --warmup 0s --json -")...)
	if code != exitOK || strings.Count(stdout, "\n") != 1 || !strings.Contains(stderr, "1 left out:\n    dragonboat-tan: no program at ") {
		t.Errorf("exit code %d, %q, %q, want a result on standard output and the table beside it", code, stdout, stderr)
	}
}

// TestPeersInterrupted: ctrl-C ends the measurement under way, whose process gets it too, and writes what there is.
func TestPeersInterrupted(t *testing.T) {
	binary := withPeers(t, "etcd")
	run := exec.Command(binary, strings.Fields("peers --peer etcd --clients 8 --duration 1h --warmup 0s")...)
	run.Dir = t.TempDir()
	var stdout, stderr strings.Builder
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
	if code := run.ProcessState.ExitCode(); code != exitInterrupted || stderr.String() != "" {
		t.Errorf("exit code %d, %q\n%s", code, stderr.String(), stdout.String())
	}
	if left, _ := filepath.Glob(filepath.Join(run.Dir, "results", "data-*")); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}

func TestFindProgram(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"there": "", "absent.why": "no\n cargo\n", "silent.why": " \n", "built": "", "built.why": "an old reason"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"there": "", "built": "",
		"absent": "no program: no cargo",
		"silent": "no program at " + dir + "/silent; ./bench.sh peers builds it",
		"none":   "no program at " + dir + "/none; ./bench.sh peers builds it",
		"folder": "no program: " + dir + "/folder is no file",
	} {
		path, err := findProgram(dir, name)
		if want == "" {
			if err != nil || path != filepath.Join(dir, name) {
				t.Errorf("%s: %q, %v", name, path, err)
			}
			continue
		}
		if !errors.Is(err, errNoProgram) || err.Error() != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}

// TestFailingTargetIsTriedAgain: once, in the next round of the same scenario, and anew in the next scenario. The others
// are measured in all of them, and the order is that of the plan.
func TestFailingTargetIsTriedAgain(t *testing.T) {
	plan := setting.Defaults()
	plan.Profile, plan.Targets, plan.Clients, plan.Rounds = "quick", []string{"a", "b", "c"}, []int{8, 16}, 4
	dir := t.TempDir()
	r := newRunner(plan, &output{dir: dir, quiet: true})
	r.goesOn = true
	var calls []string
	r.make = func(_ context.Context, name string, s setting.Scenario, round int, _ string) (*result.Result, error) {
		calls = append(calls, fmt.Sprintf("%s%d/%d", name, s.Clients, round))
		switch {
		case name == "b" && (s.Clients == 8 || round == 2):
			return nil, errors.New("broken")
		case name == "c" && s.Clients == 8:
			return nil, fmt.Errorf("c: %w", peer.ErrUnsupported)
		}
		return &result.Result{Schema: 1, Key: result.Key{Target: name, Clients: s.Clients}, Round: round}, nil
	}
	err := r.run(t.Context())
	var absent *absentError
	if !errors.As(err, &absent) || len(absent.failed) != 3 || len(r.absent) != 4 {
		t.Errorf("%v, %d of %d failed, want 3 of 4", err, len(absent.failed), len(r.absent))
	}
	want := strings.Fields(`a8/1 b8/1 c8/1 b8/2 a8/2 a8/3 a8/4 a16/1 b16/1 c16/1 b16/2 c16/2 a16/2 c16/3 a16/3 b16/3 a16/4 b16/4 c16/4`)
	if !slices.Equal(calls, want) {
		t.Errorf("measured %v\nwant     %v", calls, want)
	}
	if results := saved(t, dir); len(results) != 4+4+3+4 {
		t.Errorf("%d results, want 15", len(results))
	}
}

func TestPlaceOfTheLibraries(t *testing.T) {
	for _, c := range []struct{ own, others, want string }{
		{"millrace ceiling-handoff ceiling-disk", "etcd openraft", "millrace etcd openraft ceiling-handoff ceiling-disk"},
		{"millrace", "etcd", "millrace etcd"},
		{"ceiling-disk millrace", "etcd", "etcd ceiling-disk millrace"},
		{"millrace ceiling-handoff", "", "millrace ceiling-handoff"},
	} {
		if got := inOrder(strings.Fields(c.own), strings.Fields(c.others)); !slices.Equal(got, strings.Fields(c.want)) {
			t.Errorf("%s and %s: %v, want %s", c.own, c.others, got, c.want)
		}
	}
}
