package show

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/cluster_benchmark/result"
)

func sample(target string, clients int, puts float64) result.Result {
	r := result.Result{
		Schema: 1, Profile: "quick", Build: result.Build{Version: "v1", Commit: "0123456789abcdef", Go: "go1"},
		Machine: result.Machine{CPU: "cpu", Cores: 2, Kernel: "6", Filesystem: "ext4"}, Round: 1,
		Key:      result.Key{Target: target, Nodes: 3, Clients: clients, Inflight: 1, Batch: 1, Payload: 128, Store: "wal", Net: "tcp"},
		Duration: 10, Ops: uint64(puts) * 10, PutPerS: puts, GOGC: 400,
		Latency: result.Latency{Mean: 250, P50: 200.4, P90: 999.6, P99: 1234, P999: 54321, P9999: 999_900, Max: 1_500_000},
		CPU:     15, WALSyncs: 20_000, EntriesPerFrame: 61.25,
	}
	if target == "millrace" {
		r.Safety = &result.Safety{Acknowledged: r.Ops, OK: true}
		r.Ratios = map[string]float64{"ceiling-disk": 0.456, "ceiling-handoff": 0.1}
	}
	return r
}

// fields returns the words of the line that starts with a word.
func fields(t *testing.T, text, first string) string {
	t.Helper()
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 0 && f[0] == first {
			return strings.Join(f, " ")
		}
	}
	t.Fatalf("no line starts with %q in\n%s", first, text)
	return ""
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	Table(&out, []result.Result{sample("millrace", 256, 412_345.6), sample("ceiling-disk", 256, 1_000_000), sample("millrace", 1, 900)})
	text := out.String()
	for first, want := range map[string]string{
		"target":       "target clients put/s mean p50 p90 p99 p99.9 p99.99 max entries/frame syncs/s cpu cores of handoff of disk",
		"millrace":     "millrace 256 412,346 250 µs 200 µs 1000 µs 1.23 ms 54.3 ms 1000 ms 1.50 s 61.2 2,000 1.50 0.10 0.46",
		"ceiling-disk": "ceiling-disk 256 1,000,000 250 µs 200 µs 1000 µs 1.23 ms 54.3 ms 1000 ms 1.50 s 61.2 2,000 1.50",
		"quick:":       "quick: 3 nodes, store wal, net tcp, 1 in flight each, batch 1, payload 128 B",
		"Safety:":      "Safety: 4,132,450 acknowledged puts, warm-up included, found once on every node, with equal hashes (2 checks).",
	} {
		if got := fields(t, text, first); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	if !strings.Contains(text, "v1 (0123456789ab), go1, GOGC 400, cpu, 2 cores, 6, ext4") {
		t.Errorf("no conditions in\n%s", text)
	}
}

func TestTableSaysWhatIsWrong(t *testing.T) {
	bad, invalid := sample("millrace", 256, 1000), sample("millrace", 1, 1000)
	bad.Safety = &result.Safety{Reasons: []string{"node 2: put 7 of client 3 was acknowledged and is not applied"}}
	bad.Errors, bad.FirstError, bad.Interrupted = 3, "busy", true
	invalid.Invalid, invalid.Round = "above its ceiling", 2
	var out bytes.Buffer
	Table(&out, []result.Result{bad, invalid})
	for _, want := range []string{
		"SAFETY CHECK FAILED: millrace, 256 clients, 1 in flight, batch 1, 128 B, 3 nodes, round 1\n    node 2: put 7 of client 3",
		"INVALID: millrace, 1 clients, 1 in flight, batch 1, 128 B, 3 nodes, round 2: above its ceiling",
		"3 puts failed, the first with: busy", "interrupted after 10.0 s", "Medians over 2 rounds.",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "Safety:") {
		t.Errorf("claims safety in\n%s", out.String())
	}
}

func TestCompare(t *testing.T) {
	before := []result.Result{sample("millrace", 256, 100_000), sample("millrace", 1, 900)}
	after := []result.Result{sample("millrace", 256, 150_000), sample("millrace", 256, 250_000), sample("millrace", 64, 900)}
	after[1].Round, after[0].Latency.P99, after[1].Latency.P99 = 2, 617, 617
	after[0].Machine.Cores = 4
	after[1].Safety.OK = false
	var out bytes.Buffer
	if err := Compare(&out, []Source{{"old.jsonl", before}, {"new.jsonl", after}}); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for first, want := range map[string]string{
		"put/s":     "put/s 100,000 200,000 2.00x",
		"p99":       "p99 1.23 ms 617 µs 0.50x",
		"rounds":    "rounds 1 2",
		"millrace,": "millrace, 3 nodes, store wal, net tcp, 256 clients, 1 in flight each, batch 1, payload 128 B",
	} {
		if got := fields(t, text, first); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	for _, want := range []string{
		"A  old.jsonl", "B  new.jsonl", "B was measured on another machine than A.", "B can't be used",
		"Only in A: millrace, 3 nodes, store wal, net tcp, 1 clients", "Only in B: millrace, 3 nodes, store wal, net tcp, 64 clients",
	} {
		if strings.Count(text, want) != 1 {
			t.Errorf("%d times %q in\n%s", strings.Count(text, want), want, text)
		}
	}
	if err := Compare(&out, []Source{{"a", before[1:]}, {"b", after[:1]}}); !errors.Is(err, ErrNothingShared) {
		t.Errorf("nothing shared: %v", err)
	}
}

type fakeLoad struct {
	elapsed  time.Duration
	answered uint64
}

func (l *fakeLoad) Elapsed() time.Duration { return l.elapsed }
func (l *fakeLoad) Answered() uint64       { return l.answered }

func TestProgress(t *testing.T) {
	var out bytes.Buffer
	l := &fakeLoad{}
	w := NewProgress(&out).Watch("millrace  256 clients", l, 2*time.Second, 10*time.Second)
	for _, c := range []struct {
		elapsed  time.Duration
		answered uint64
		want     string
	}{
		{time.Second, 1000, "millrace  256 clients  warm-up [============            ]  1.0 of 2.0 s  1,000 put/s"},
		{4500 * time.Millisecond, 4_200_000, "millrace  256 clients  measure [======                  ]  2.5 of 10.0 s  1,199,714 put/s"},
		{14 * time.Second, 4_200_000, "millrace  256 clients  measure [========================] 10.0 of 10.0 s  0 put/s"},
	} {
		out.Reset()
		l.elapsed, l.answered = c.elapsed, c.answered
		w.draw()
		if got := out.String(); got != "\r\x1b[K"+c.want {
			t.Errorf("got  %q\nwant %q", got, c.want)
		}
	}
	over := make(chan struct{})
	close(over)
	w.Until(over)
	quiet := &Progress{}
	quiet.Say("x")
	quiet.Watch("", l, 0, 0).Until(over)
}

func TestFigures(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 999: "999", 1000: "1,000", 1234567.8: "1,234,568"} {
		if got := count(v); got != want {
			t.Errorf("count(%v) is %q, want %q", v, got, want)
		}
	}
	for v, want := range map[float64]string{0: "0.00 µs", 9.876: "9.88 µs", 98.76: "98.8 µs", 2e6: "2.00 s", 3.6e9: "3600 s"} {
		if got := latency(v); got != want {
			t.Errorf("latency(%v) is %q, want %q", v, got, want)
		}
	}
}
