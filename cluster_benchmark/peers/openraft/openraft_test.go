package openraft

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/millrace/millrace/cluster_benchmark/peer"
	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/setting"
)

// cargo runs cargo in this folder. What it builds it keeps where bench.sh keeps it, but without optimisation.
func cargo(t *testing.T, args ...string) {
	t.Helper()
	c := exec.Command("cargo", append(args, "--quiet", "--locked", "--target-dir", target(t))...)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", c.Args, err, out)
	}
}

func target(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../../bin/cargo")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func request(t *testing.T, change func(q *peer.Request)) peer.Request {
	q := peer.Request{
		Schema: peer.RequestSchema, Profile: "quick", Target: "openraft", Round: 2,
		Scenario: setting.Scenario{Nodes: 3, Clients: 16, Inflight: 1, Batch: 1, Payload: 16, Store: setting.StoreMemory, Net: setting.NetInproc},
		Warmup:   0.2, Duration: 0.6, Dir: t.TempDir(), GOGC: 400,
	}
	change(&q)
	return q
}

// TestProgram builds the program, runs its own tests, and asks it for measurements.
func TestProgram(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program in Rust, which takes a minute the first time")
	}
	if _, err := exec.LookPath("cargo"); err != nil {
		t.Skipf("the target openraft is not tested: %v", err)
	}
	cargo(t, "test")
	cargo(t, "build")
	program := peer.Command{Path: filepath.Join(target(t), "debug", "openraft-peer")}
	t.Run("forms", func(t *testing.T) { forms(t, program) })
	t.Run("not offered", func(t *testing.T) { notOffered(t, program) })
	t.Run("refused", func(t *testing.T) { refused(t, program) })
	t.Run("interrupted", func(t *testing.T) { interrupted(t, program) })
}

func forms(t *testing.T, program peer.Command) {
	for name, change := range map[string]func(q *peer.Request){
		"identified puts": func(*peer.Request) {},
		"empty puts":      func(q *peer.Request) { q.Scenario.Payload = 0 },
		"windows":         func(q *peer.Request) { q.Scenario.Inflight, q.Scenario.Clients = 32, 4 },
		"batches":         func(q *peer.Request) { q.Scenario.Batch, q.Scenario.Clients = 32, 4 },
		"large puts":      func(q *peer.Request) { q.Scenario.Payload, q.Scenario.Clients = 2<<20, 2 },
		"five nodes":      func(q *peer.Request) { q.Scenario.Nodes = 5 },
		"one node":        func(q *peer.Request) { q.Scenario.Nodes = 1 },
		"interval by interval": func(q *peer.Request) {
			q.Duration, q.Intervals = 0.95, true
		},
	} {
		t.Run(name, func(t *testing.T) {
			q := request(t, change)
			var said []string
			one, err := program.Measure(t.Context(), q, func(line string) { said = append(said, line) })
			if err != nil {
				t.Fatal(err)
			}
			check(t, q, one)
			if len(said) < 2 || !strings.HasPrefix(said[0], "openraft  ") {
				t.Errorf("progress is %q", said)
			}
		})
	}
}

// check looks for all that a result must have, and whether its parts agree.
func check(t *testing.T, q peer.Request, one *result.Result) {
	t.Helper()
	if !one.OK() || one.Interrupted || one.Ops == 0 || one.Errors != 0 || one.Duration < 0.999*q.Duration || one.Duration > 1.001*q.Duration {
		t.Errorf("result is %+v, safety %+v", one, one.Safety)
	}
	if s := one.Safety; s == nil || s.Acknowledged < one.Ops || len(s.Applied) != q.Scenario.Nodes || len(s.StateHash) != q.Scenario.Nodes || s.Unknown != 0 {
		t.Errorf("safety is %+v", s)
	}
	if !strings.HasPrefix(one.Library, "openraft 0.") || one.Configuration == "" || one.GOGC != 0 || one.CPU <= 0 || one.MaxRSS == 0 || one.Counted <= 0 ||
		one.Frames == 0 || one.EntriesPerFrame < 1 {
		t.Errorf("result is %+v", one)
	}
	if want := result.ThisMachine(q.Dir); one.Machine != want {
		t.Errorf("machine is %+v, want %+v", one.Machine, want)
	}
	// The histogram has what was answered after the end too, and the same bounds and precision as those of Go programs.
	h := one.Histogram
	if h == nil || h.TotalCount() < int64(one.Ops) || h.LowestTrackableValue() != 1 || h.HighestTrackableValue() != 3_600_000_000_000 || h.SignificantFigures() != 3 {
		t.Fatalf("histogram is %+v", h)
	}
	if got, want := one.Latency, result.NewLatency(h); got.P50 != want.P50 || got.P99 != want.P99 || got.P9999 != want.P9999 || got.Max != want.Max ||
		got.Mean < 0.99*want.Mean || got.Mean > 1.01*want.Mean {
		t.Errorf("latency is %+v, the histogram says %+v", got, want)
	}
	ops := uint64(0)
	for i, p := range one.Series {
		ops += p.Ops
		if p.Ops > 0 && (p.P50 <= 0 || p.P99 < p.P50 || p.Max < p.P99*0.999) || i > 0 && p.End <= one.Series[i-1].End || (p.Histogram != "") != (q.Intervals && p.Ops > 0) {
			t.Errorf("interval %d is %+v", i, p)
		}
	}
	if n := len(one.Series); n == 0 || ops != one.Ops || one.Series[n-1].End != one.Duration {
		t.Errorf("%d intervals with %d puts, want %d: %+v", n, ops, one.Ops, one.Series)
	}
}

// notOffered asks for what openraft does not have: the target is left out and the line says why.
func notOffered(t *testing.T, program peer.Command) {
	for want, change := range map[string]func(q *peer.Request){
		"openraft: not supported: store wal: ":        func(q *peer.Request) { q.Scenario.Store = setting.StoreWAL },
		"openraft: not supported: net tcp: ":          func(q *peer.Request) { q.Scenario.Net = setting.NetTCP },
		"openraft: not supported: rate 1000: ":        func(q *peer.Request) { q.Scenario.Rate, q.Scenario.Arrivals = 1000, "poisson" },
		"openraft: not supported: 50 % lease reads: ": func(q *peer.Request) { q.Scenario.ReadRatio, q.Scenario.Read = 0.5, setting.ReadLease },
		"openraft: not supported: event snapshot: ":   func(q *peer.Request) { q.Scenario.Event = setting.EventSnapshot },
	} {
		one, err := program.Measure(t.Context(), request(t, change), func(string) {})
		if one != nil || !errors.Is(err, peer.ErrUnsupported) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// refused calls the program in ways in which the suite does not.
func refused(t *testing.T, program peer.Command) {
	for want, c := range map[string]*exec.Cmd{
		`openraft: argument "run", want none`: exec.Command(program.Path, "run"),
		"request: nothing on standard input":  exec.Command(program.Path),
	} {
		var words bytes.Buffer
		c.Stderr = &words
		err := c.Run()
		if c.ProcessState.ExitCode() != 2 || !strings.HasPrefix(words.String(), want) || strings.Count(words.String(), "\n") != 1 {
			t.Errorf("%v, %q, want exit code 2 and %q", err, words.String(), want)
		}
	}
	q := request(t, func(*peer.Request) {})
	if err := os.WriteFile(filepath.Join(q.Dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if one, err := program.Measure(t.Context(), q, func(string) {}); one != nil || err == nil || !strings.Contains(err.Error(), "want an empty directory") {
		t.Errorf("in a directory that holds something: %v", err)
	}
}

// interrupted ends a long measurement once it is under way: there is a result, which says so.
func interrupted(t *testing.T, program peer.Command) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var once sync.Once
	one, err := program.Measure(ctx, request(t, func(q *peer.Request) { q.Duration = 3600 }), func(line string) {
		if strings.Contains(line, "  measure  ") {
			once.Do(cancel)
		}
	})
	if err != nil || one == nil || !one.Interrupted || !one.OK() || one.Ops == 0 || one.Duration > 60 {
		t.Errorf("%v, %+v", err, one)
	}
}
