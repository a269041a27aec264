package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace/millrace/cluster_benchmark/result"
)

// madeUp is a result of a target in a round, with a rate of puts and a p99 that go with each other.
func madeUp(target string, round int, puts float64) result.Result {
	return result.Result{
		Schema: result.Schema, Profile: "quick", Round: round, Machine: result.Machine{CPU: "cpu", Cores: 2},
		Key:      result.Key{Target: target, Nodes: 3, Groups: 1, Clients: 256, Inflight: 1, Batch: 1, Payload: 128, Store: "wal", Net: "tcp"},
		Duration: 1, Ops: uint64(puts), PutPerS: puts, Latency: result.Latency{P50: 5e7 / puts, P99: 1e8 / puts},
	}
}

// resultFile writes results to a file.
func resultFile(t *testing.T, name string, results ...result.Result) string {
	t.Helper()
	var lines bytes.Buffer
	for i := range results {
		if err := result.WriteLine(&lines, &results[i]); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, lines.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// sixRounds makes rounds that are a little apart.
func sixRounds(target string, puts float64) []result.Result {
	var list []result.Result
	for i := range 6 {
		list = append(list, madeUp(target, i+1, puts*(1+0.002*float64(i))))
	}
	return list
}

func TestBadComparisons(t *testing.T) {
	one := resultFile(t, "one.jsonl", madeUp("millrace", 1, 1000))
	other := resultFile(t, "other.jsonl", madeUp("etcd", 1, 1000))
	empty, noResult := filepath.Join(t.TempDir(), "empty"), filepath.Join(t.TempDir(), "no.jsonl")
	for name, content := range map[string]string{empty: "", noResult: "put/s 100\n"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ args, want string }{
		{"compare", "compare: 0 result files given, want 1 with several targets, or 2 to 26"},
		{"compare" + strings.Repeat(" "+one, 27), "compare: 27 result files given, want 1 with several targets, or 2 to 26"},
		{"compare " + empty + " " + one, empty + ": no results in it, want one JSON object a line"},
		{"compare " + one + "x " + one, one + "x: no such file or directory, want a file of results"},
		{"compare " + noResult + " " + one, noResult + ":1: not a result: invalid character 'p' looking for beginning of value"},
		{"compare " + one, "compare: " + one + " holds one target, millrace: nothing to compare it with, want another file"},
		{"compare --json x a b", `--json: unknown flag of "compare", want one of --fail-above, --baseline, --help`},
		{"compare --baseline ../x a", "--baseline ../x: want " + wantsBaseline},
		{"compare --baseline x", "compare: 0 result files given beside --baseline x, want 1 to 25"},
		{"compare --fail-above", "--fail-above: no value, want a number from 0 to 1000"},
		{"compare --fail-above x a b", "--fail-above x: want a number from 0 to 1000"},
		{"compare --fail-above=-1 a b", "--fail-above -1: want a number from 0 to 1000"},
		{"compare --fail-above=NaN a b", "--fail-above NaN: want a number from 0 to 1000"},
	} {
		code, stdout, stderr := try(strings.Fields(c.args)...)
		if code != exitUsage || stderr != c.want+"\n" || stdout != "" {
			t.Errorf("%s: exit code %d, standard output %q, error\n got %swant %s", c.args, code, stdout, stderr, c.want)
		}
	}
	code, _, stderr := try("compare", one, other)
	if want := "compare: the results have no scenario in common: compare the same targets, clients, payload and so on\n"; code != exitUsage || stderr != want {
		t.Errorf("nothing in common: exit code %d, %q, want %q", code, stderr, want)
	}
}

func TestCompareCommand(t *testing.T) {
	old, fast := resultFile(t, "old.jsonl", sixRounds("millrace", 1000)...), resultFile(t, "fast.jsonl", sixRounds("millrace", 2000)...)
	code, stdout, stderr := try("compare", old, fast)
	if code != exitOK || stderr != "" || !strings.Contains(stdout, "2.00x  better p=0.002") {
		t.Errorf("exit code %d, %s\n%s", code, stderr, stdout)
	}
	within := resultFile(t, "within.jsonl", append(sixRounds("millrace", 1000), sixRounds("etcd", 500)...)...)
	code, stdout, stderr = try("compare", within)
	if code != exitOK || stderr != "" || !strings.Contains(stdout, "B  etcd\n") ||
		strings.Contains(stdout, "syncs/s") || !strings.Contains(stdout, "0.50x  worse p=0.002") {
		t.Errorf("within a file: exit code %d, %s\n%s", code, stderr, stdout)
	}
}

// TestFailAbove: a script learns by the exit code whether something got worse, and by one line each what.
func TestFailAbove(t *testing.T) {
	old, slow := resultFile(t, "old.jsonl", sixRounds("millrace", 1000)...), resultFile(t, "slow.jsonl", sixRounds("millrace", 900)...)
	few := resultFile(t, "few.jsonl", sixRounds("millrace", 500)[:5]...)
	broken := sixRounds("millrace", 1000)
	broken[3].Safety = &result.Safety{Reasons: []string{"node 2: lost"}}
	unsafe := resultFile(t, "unsafe.jsonl", broken...)
	scenario := "millrace, 3 nodes, store wal, net tcp, 256 clients, 1 in flight each, batch 1, payload 128 B: "
	for _, c := range []struct {
		name, args string
		code       int
		stderr     string
	}{
		{"slower", "--fail-above 5 " + old + " " + slow, exitFailed, "worse than A by more than 5 %, or not to be used:\n    B: " + scenario +
			"put/s 904, A 1,005 (-10.0 %, p=0.002)\n    B: " + scenario + "p99 111 ms, A 99.5 ms (+11.1 %, p=0.002)\n"},
		{"within what is allowed", "--fail-above 12 " + old + " " + slow, exitOK, ""},
		{"faster", "--fail-above 0 " + slow + " " + old, exitOK, ""},
		{"the same", "--fail-above 0 " + old + " " + old, exitOK, ""},
		{"too few rounds", "--fail-above 5 " + old + " " + few, exitUsage,
			"--fail-above 5: " + scenario + "too few rounds to tell a difference from noise: 6 and 5, want at least 6 each\n"},
		{"unsafe", "--fail-above 5 " + old + " " + unsafe, exitFailed, "worse than A by more than 5 %, or not to be used:\n    " +
			"B: SAFETY CHECK FAILED: millrace, 256 clients, 1 in flight, batch 1, 128 B, 3 nodes, round 4: node 2: lost\n"},
		{"without the flag", old + " " + slow, exitOK, ""},
	} {
		code, stdout, stderr := try(append([]string{"compare"}, strings.Fields(c.args)...)...)
		if code != c.code || stderr != c.stderr || !strings.Contains(stdout, "put/s") {
			t.Errorf("%s: exit code %d, want %d, error\n got %q\nwant %q", c.name, code, c.code, stderr, c.stderr)
		}
	}
}
