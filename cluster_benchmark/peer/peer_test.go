package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/cluster_benchmark/target"
)

// fakeArgument makes the test's own binary the program around a library: what follows is how it behaves.
const fakeArgument = "fake-peer"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == fakeArgument {
		behaviour := os.Args[2]
		os.Args = os.Args[:1]
		fake(behaviour)
	}
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) // gnet's worker pool starts with the program and stays
}

// library is what a fake program measures: this engine, opened as any library would be.
func library(change func(t target.Target) (target.Target, error)) Peer {
	return Peer{Targets: []Target{{
		Name: "fake", Library: "example.org/raft v1.2.3", Configuration: "as its experts would", WALBackend: "fake-wal",
		Open: func(ctx context.Context, s setting.Scenario, dir string) (target.Target, error) {
			fmt.Println("a library that prints")
			t, err := target.Open(ctx, setting.Millrace, s, dir)
			if err != nil || change == nil {
				return t, err
			}
			return change(t)
		},
	}}}
}

// fake behaves as one kind of program. It does not return.
func fake(behaviour string) {
	switch behaviour {
	case "good":
		Main(library(nil))
	case "unsupported":
		Main(library(func(t target.Target) (target.Target, error) {
			return nil, errors.Join(t.Close(), fmt.Errorf("%w: it has no log in files", ErrUnsupported))
		}))
	case "broken":
		Main(library(func(t target.Target) (target.Target, error) {
			return nil, errors.Join(t.Close(), errors.New("port\nin use"))
		}))
	case "panics":
		Main(library(func(target.Target) (target.Target, error) { panic("slice bounds out of range") }))
	case "silent":
		os.Exit(0)
	case "babbles":
		fmt.Println("hello", strings.Repeat("x", 1000))
		os.Exit(0)
	case "other":
		fmt.Println(`{"schema":1,"profile":"quick","target":"another","round":1}`)
		os.Exit(0)
	case "future":
		fmt.Println(`{"schema":2}`)
		os.Exit(0)
	case "dies":
		fmt.Fprintln(os.Stderr, "cannot map memory")
		os.Exit(3)
	case "stuck": // and deaf
		signal.Ignore(os.Interrupt)
		fmt.Fprintln(os.Stderr, "> stuck")
		select {}
	}
	panic("BUG: unknown behaviour " + behaviour)
}

func program(behaviour string) Command {
	return Command{Path: os.Args[0], Args: []string{fakeArgument, behaviour}}
}

func request(t *testing.T) Request {
	return Request{
		Schema: RequestSchema, Profile: "quick", Target: "fake", Round: 2,
		Scenario: setting.Scenario{Nodes: 3, Clients: 4, Inflight: 1, Batch: 1, Payload: 16, Store: setting.StoreWAL, Net: setting.NetInproc},
		Warmup:   0.1, Duration: 0.4, Dir: t.TempDir(), GOGC: 300,
	}
}

// TestMeasure: a program's answer has all that a result has, and its progress is told on the way.
func TestMeasure(t *testing.T) {
	var said []string
	one, err := program("good").Measure(t.Context(), request(t), func(line string) { said = append(said, line) })
	if err != nil {
		t.Fatal(err)
	}
	if !one.OK() || one.Ops == 0 || one.Safety == nil || one.Safety.Acknowledged < one.Ops || one.Duration != 0.4 || one.WALSyncs == 0 {
		t.Errorf("result is %+v", one)
	}
	key := result.Key{Target: "fake", Nodes: 3, Groups: 1, Clients: 4, Inflight: 1, Batch: 1, Payload: 16, Store: "wal", WALBackend: "fake-wal", Net: "inproc"}
	if one.Key != key || one.Profile != "quick" || one.Round != 2 || one.GOGC != 300 || one.Library != "example.org/raft v1.2.3" || one.Configuration != "as its experts would" ||
		one.Go == "" || one.Machine.Cores == 0 {
		t.Errorf("result is of %+v, %+v", one.Key, one)
	}
	if h := one.Histogram; h == nil || uint64(h.TotalCount()) < one.Ops || len(one.Series) != 4 {
		t.Errorf("histogram is %+v, series %+v", one.Histogram, one.Series)
	}
	for _, want := range []string{"fake  4 clients  round 2  starting", "measure", "put/s", "checking"} {
		if !slices.ContainsFunc(said, func(line string) bool { return strings.Contains(line, want) }) {
			t.Errorf("no %q in progress %q", want, said)
		}
	}
}

// TestMeasureFails: whatever a program does instead, it ends in one line that says so.
func TestMeasureFails(t *testing.T) {
	for behaviour, want := range map[string]string{
		"unsupported": "fake: not supported: it has no log in files",
		"broken":      "fake: port in use",
		"panics":      "panic: slice bounds out of range",
		"silent":      "ended without a result",
		"babbles":     `no result but "hello xxx`,
		"other":       "result of quick, round 1, {Target:another ",
		"future":      "result of schema 2, want 1",
		"dies":        "cannot map memory",
	} {
		one, err := program(behaviour).Measure(t.Context(), request(t), func(string) {})
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\n") || len(err.Error()) > 2*lineMax || one != nil {
			t.Errorf("%s: %+v, %v, want %s", behaviour, one, err, want)
		}
		if errors.Is(err, ErrUnsupported) != (behaviour == "unsupported") {
			t.Errorf("%s: %v is the wrong kind of error", behaviour, err)
		}
	}
	q := request(t)
	q.Target = "other"
	if _, err := program("good").Measure(t.Context(), q, func(string) {}); !errors.Is(err, ErrUnsupported) ||
		err.Error() != `request: target "other", want fake` {
		t.Errorf("unknown target: %v", err)
	}
	if _, err := (Command{Path: filepath.Join(t.TempDir(), "none")}).Measure(t.Context(), request(t), func(string) {}); err == nil ||
		!strings.HasPrefix(err.Error(), "can't be started: ") {
		t.Errorf("no program: %v", err)
	}
}

// TestStuckProgram: one that does not end in time is interrupted, and killed when it does not heed that.
func TestStuckProgram(t *testing.T) {
	q := request(t)
	one, err := program("stuck").measure(t.Context(), q, func(string) {}, 0, 100*time.Millisecond)
	if one != nil || err == nil || err.Error() != "did not end within 500ms" {
		t.Errorf("%+v, %v", one, err)
	}
}

// TestInterruptedProgram: it ends early with what it measured, and with nothing when there was nothing.
func TestInterruptedProgram(t *testing.T) {
	for _, during := range []string{"warm-up", "measure"} {
		q := request(t)
		q.Warmup, q.Duration = 0, 3600
		if during == "warm-up" {
			q.Warmup = 3600
		}
		ctx, cancel := context.WithCancel(t.Context())
		one, err := program("good").Measure(ctx, q, func(line string) {
			if strings.Contains(line, during) && !strings.HasSuffix(line, " 0 put/s") {
				cancel()
			}
		})
		cancel()
		if err != nil || (one == nil) != (during == "warm-up") {
			t.Fatalf("interrupted in its %s: %+v, %v", during, one, err)
		}
		if one != nil && (!one.Interrupted || one.Ops == 0 || one.Duration >= 60 || !one.Safety.OK) {
			t.Errorf("interrupted: %+v", one)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if one, err := program("good").Measure(ctx, request(t), func(string) {}); one != nil || err != nil {
		t.Errorf("interrupted before it began: %+v, %v", one, err)
	}
}

// serve serves one request within the test's process.
func serve(ctx context.Context, p Peer, in string) (code int, out string, err error) {
	var answer bytes.Buffer
	err = p.Serve(ctx, strings.NewReader(in), &answer, io.Discard)
	return ExitCode(err), answer.String(), err
}

func TestBadRequests(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		change func(*Request)
		want   string
	}{
		{func(q *Request) { q.Schema = 2 }, "request: schema 2, want 1"},
		{func(q *Request) { q.Target = "" }, `request: target "", want fake`},
		{func(q *Request) { q.Round = 0 }, "request: round 0, want 1 or more"},
		{func(q *Request) { q.GOGC = 0 }, "request: gogc 0, want 1 or more"},
		{func(q *Request) { q.Scenario.Clients = 0 }, `request: clients "0": want different integers from 1 to 65536, separated by commas`},
		{func(q *Request) { q.Warmup = -1 }, "request: warmup_s -1, want 0 to 86400"},
		{func(q *Request) { q.Duration = 1e9 }, "request: duration_s 1e+09, want 0.1 to 86400"},
		{func(q *Request) { q.Dir = full + "/none" }, "request: dir: open " + full + "/none: no such file or directory, want an empty directory"},
		{func(q *Request) { q.Dir = full }, "request: dir " + full + ": holds x, want an empty directory"},
	} {
		q := request(t)
		c.change(&q)
		line, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		if code, out, err := serve(t.Context(), library(nil), string(line)); code != exitRefused || out != "" || err.Error() != c.want {
			t.Errorf("exit code %d, %q, %v, want %s", code, out, err, c.want)
		}
	}
	for in, want := range map[string]string{
		"":                                 "request: nothing on standard input, want one JSON object",
		"{}{}":                             "request: something behind its end, want one JSON object",
		"{":                                "request: unexpected EOF",
		`{"schema":1,"fsync":"no"}`:        `request: json: unknown field "fsync"`,
		`{"scenario":{"leader":"pinned"}}`: `request: json: unknown field "leader"`,
	} {
		if code, _, err := serve(t.Context(), library(nil), in); code != exitRefused || err.Error() != want {
			t.Errorf("%q: exit code %d, %v, want %s", in, code, err, want)
		}
	}
}

// gone is a target that was closed before anybody put.
type gone struct{ target.Target }

func (gone) Settle(context.Context) error { return nil }
func (gone) Close() error                 { return nil }

func TestServe(t *testing.T) {
	line := func(change func(*Request)) string {
		q := request(t)
		change(&q)
		data, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		what    string
		ctx     context.Context
		program Peer
		code    int
		lines   int
		says    string
	}{
		{"all is well", t.Context(), library(nil), exitOK, 1, ""},
		{"not supported", t.Context(), library(func(t target.Target) (target.Target, error) {
			return nil, errors.Join(t.Close(), ErrUnsupported)
		}), exitRefused, 0, "fake: not supported"},
		{"interrupted", ended, library(nil), exitInterrupted, 0, "interrupted"},
		{"never answers", t.Context(), library(func(t target.Target) (target.Target, error) {
			return gone{t}, t.Close()
		}), exitFailed, 1, "the figures can't be used: "},
	} {
		code, out, err := serve(c.ctx, c.program, line(func(*Request) {}))
		if code != c.code || strings.Count(out, "\n") != c.lines || err != nil && !strings.HasPrefix(err.Error(), c.says) || err == nil && c.says != "" {
			t.Errorf("%s: exit code %d, %v, answer %q", c.what, code, err, out)
		}
	}
}

// TestLibrary: versions are those that the program was built with.
func TestLibrary(t *testing.T) {
	info := &debug.BuildInfo{Deps: []*debug.Module{
		{Path: "example.org/raft/v3", Version: "v3.6.0"},
		{Path: "example.org/wal", Version: "v0.4.2", Replace: &debug.Module{Path: "example.org/fork", Version: "v0.5.0"}},
	}}
	want := "example.org/raft/v3 v3.6.0, example.org/wal v0.4.2 => example.org/fork v0.5.0, example.org/none unknown version"
	if got := modules(info, "example.org/raft/v3", "example.org/wal", "example.org/none"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := Library("example.org/none"); got != "example.org/none unknown version" {
		t.Errorf("a module that is not in this binary: %s", got)
	}
}

// TestCalledByHand: an argument is answered with what the program is.
func TestCalledByHand(t *testing.T) {
	var words bytes.Buffer
	code := library(nil).execute([]string{"/bin/fake", "--help"}, strings.NewReader(""), io.Discard, &words)
	if code != exitRefused || strings.Count(words.String(), "\n") != 1 || !strings.HasPrefix(words.String(), `fake: argument "--help", want none: `) ||
		!strings.HasSuffix(words.String(), "Targets: fake\n") {
		t.Errorf("exit code %d, %q", code, words.String())
	}
}

// TestWords: progress, the last word and a panic are told apart, however the bytes come.
func TestWords(t *testing.T) {
	text := "> starting\nlog line\n\n> measure 1.0 s\npanic: nil map\n\ngoroutine 1 [running]:\nmain.go:7\n> half"
	for size := 1; size < len(text); size++ {
		var said []string
		w := &words{say: func(line string) { said = append(said, line) }}
		for part := range slices.Chunk([]byte(text), size) {
			if n, err := w.Write(part); n != len(part) || err != nil {
				t.Fatal(n, err)
			}
		}
		w.flush()
		if !slices.Equal(said, []string{"starting", "measure 1.0 s", "half"}) || w.last() != "panic: nil map" || w.final != "main.go:7" {
			t.Fatalf("in parts of %d: %q, %q, %q", size, said, w.last(), w.final)
		}
	}
	w := &words{say: func(string) {}}
	for range 3 {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil || len(w.part) > 2<<20 {
			t.Fatalf("%v, %d bytes kept", err, len(w.part))
		}
	}
}
