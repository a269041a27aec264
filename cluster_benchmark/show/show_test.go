package show

import (
	"bytes"
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
		"Safety:":      "Safety: 4,132,450 acknowledged puts, warm-up included, each found once on every node by its identity, with equal hashes (2 checks).",
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
		"INVALID: millrace, 1 client, 1 in flight, batch 1, 128 B, 3 nodes, round 2\n    above its ceiling",
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

// TestSafetyThatIsNotProven: what did not finish is not shown as what was lost, nor as safe.
func TestSafetyThatIsNotProven(t *testing.T) {
	r := sample("millrace", 256, 1000)
	r.Safety = &result.Safety{Unproven: []string{"did not finish: node 1: disk full", "node 2 applied up to index 7, node 1 up to 9"}}
	var out bytes.Buffer
	Table(&out, []result.Result{r, sample("millrace", 1, 1000)})
	want := "SAFETY NOT PROVEN: millrace, 256 clients, 1 in flight, batch 1, 128 B, 3 nodes, round 1\n" +
		"    did not finish: node 1: disk full\n    node 2 applied up to index 7, node 1 up to 9\n"
	if text := out.String(); !strings.Contains(text, want) || strings.Contains(text, "FAILED") || strings.Contains(text, "Safety:") {
		t.Errorf("no %q, or more than that, in\n%s", want, text)
	}
	if got := Problem(&r); got != strings.Replace(want[:strings.Index(want, "\n    node 2")], "\n    ", ": ", 1) {
		t.Errorf("in one line: %q", got)
	}
	if fine := sample("millrace", 1, 1000); Problem(&fine) != "" {
		t.Errorf("a problem where there is none: %q", Problem(&fine))
	}
}

// TestSafetySaysWhatWasChecked: puts without an identity were not looked up one by one.
func TestSafetySaysWhatWasChecked(t *testing.T) {
	small, large := sample("millrace", 1, 100), sample("millrace", 1, 200)
	small.Payload, large.Payload = 15, 16
	var out bytes.Buffer
	Table(&out, []result.Result{small, large})
	for _, want := range []string{
		"Safety: 1,000 acknowledged puts, warm-up included, too small for an identity (below 16 bytes): on every node as many applied, " +
			"in ascending order, at the log ids that the answers named, with equal hashes (1 check).\n",
		"Safety: 2,000 acknowledged puts, warm-up included, each found once on every node by its identity, with equal hashes (1 check).\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
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
	columns := 200
	p := NewProgress(&out, func() int { return columns })
	w := p.Watch("millrace  256 clients", l, 2*time.Second, 10*time.Second)
	for _, c := range []struct {
		columns  int
		elapsed  time.Duration
		answered uint64
		want     string
	}{
		{200, time.Second, 1000, "millrace  256 clients  warm-up [============            ]  1.0 of 2.0 s  1,000 put/s"},
		{200, 4500 * time.Millisecond, 4_500_000, "millrace  256 clients  measure [======                  ]  2.5 of 10.0 s  1,000,000 put/s"},
		{80, 7 * time.Second, 7_000_000, "millrace  256 clients  measure [=======       ]  5.0 of 10.0 s  1,000,000 put/s"},
		{68, 7 * time.Second, 7_000_000, "millrace  256 clients  measure  5.0 of 10.0 s  1,000,000 put/s"},
		{40, 7 * time.Second, 7_000_000, "millrace  256 clients  measure  5.0 of "},
		{200, 14 * time.Second, 7_000_000, "millrace  256 clients  measure [========================] 10.0 of 10.0 s  0 put/s"},
	} {
		out.Reset()
		columns, l.elapsed, l.answered = c.columns, c.elapsed, c.answered
		if c.elapsed == 14*time.Second { // all that is remembered is of when puts were still answered
			w.looks = w.looks[len(w.looks)-1:]
		}
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

// TestOpenLoop: the rate stands among the conditions, how late the generator was among the figures; and what kept puts
// waiting is said.
func TestOpenLoop(t *testing.T) {
	at := func(rate float64, g result.Generator) result.Result {
		r := sample("millrace", 256, 900)
		r.Rate, r.Arrivals, r.Generator = rate, "poisson", &g
		return r
	}
	closed := sample("millrace", 256, 1000)
	var out bytes.Buffer
	Table(&out, []result.Result{at(1000, result.Generator{Offered: 10_000, Late99: 80, Waited: 99}), at(2000, result.Generator{Offered: 20_000, Late99: 310, Waited: 6000, Unissued: 1500})})
	text := out.String()
	for first, want := range map[string]string{
		"quick:":   "quick: 3 nodes, store wal, net tcp, 256 clients, 1 in flight each, batch 1, payload 128 B, poisson arrivals",
		"target":   "target due/s put/s mean p50 p90 p99 p99.9 p99.99 max late p99 entries/frame syncs/s cpu cores of handoff of disk",
		"millrace": "millrace 1,000 900 250 µs 200 µs 1000 µs 1.23 ms 54.3 ms 1000 ms 1.50 s 80.0 µs 61.2 2,000 1.50 0.10 0.46",
	} {
		if got := fields(t, text, first); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	for _, want := range []string{
		"\nPuts that found every client busy and waited: the target was saturated, or there are too few clients:\n    millrace, 256 clients, 2,000/s: 30 %\n",
		"\nPuts never issued; their latency holds what they had waited by then, and would be greater:\n    millrace, 256 clients, 2,000/s: 1,500\n",
		"keeps this machine busy, or the target does:\n    millrace, 256 clients, 2,000/s: 310 µs of 1.23 ms\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "clients, 1,000/s") {
		t.Errorf("something is said of the lower rate in\n%s", text)
	}
	out.Reset()
	Table(&out, []result.Result{closed, at(1000, result.Generator{Offered: 10_000})})
	if got := fields(t, out.String(), "target"); !strings.HasPrefix(got, "target due/s arrivals put/s") {
		t.Errorf("a closed loop beside an open one: %s", got)
	}
	out.Reset()
	Table(&out, []result.Result{closed})
	if strings.Contains(out.String(), "due") || strings.Contains(out.String(), "arrivals") || strings.Contains(out.String(), "late") {
		t.Errorf("a closed loop speaks of rates:\n%s", out.String())
	}
}

// TestProgressForAProgram: whole lines, each marked.
func TestProgressForAProgram(t *testing.T) {
	var out bytes.Buffer
	p := NewLines(&out)
	p.Say("starting")
	p.Watch("millrace  256 clients", &fakeLoad{elapsed: time.Second, answered: 1000}, 2*time.Second, 10*time.Second).draw()
	p.Clear()
	if got, want := out.String(), "> starting\n> millrace  256 clients  warm-up  1.0 of 2.0 s  1,000 put/s\n"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestProgressFitsAnyTerminal: nothing that is shown reaches the last column.
func TestProgressFitsAnyTerminal(t *testing.T) {
	l := &fakeLoad{elapsed: 11 * time.Hour, answered: 1 << 50}
	for columns := range 130 {
		var out bytes.Buffer
		p := NewProgress(&out, func() int { return columns })
		p.Watch("ceiling-handoff  65536 clients x 4096  round 1000", l, time.Hour, 24*time.Hour).draw()
		if n := out.Len() - len("\r\x1b[K"); n > max(0, columns-1) {
			t.Errorf("%d characters on a terminal of %d: %q", n, columns, out.String())
		}
	}
}

// TestRateIsSteady: puts that are answered in bursts further apart than two looks make a rate, not a flicker.
func TestRateIsSteady(t *testing.T) {
	var out bytes.Buffer
	l := &fakeLoad{}
	w := NewProgress(&out, func() int { return 200 }).Watch("", l, 0, time.Minute)
	for l.elapsed < 5*time.Second {
		l.elapsed += redraw
		l.answered = 50_000 * uint64(l.elapsed/(500*time.Millisecond))
		out.Reset()
		w.draw()
		if got := out.String(); l.elapsed > time.Second && !strings.HasSuffix(got, "  100,000 put/s") {
			t.Errorf("after %v: %q, want 100,000 put/s", l.elapsed, got)
		}
	}
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
