package show

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/verdict"
)

func TestCompare(t *testing.T) {
	before := []result.Result{sample("millrace", 256, 100_000), sample("millrace", 1, 900)}
	after := []result.Result{sample("millrace", 256, 150_000), sample("millrace", 256, 250_000), sample("millrace", 64, 900)}
	after[1].Round, after[0].Latency.P99, after[1].Latency.P99 = 2, 617, 617
	after[0].Machine.Cores, after[1].Machine.Cores, after[2].Machine.Cores = 4, 4, 4
	after[0].GOGC, after[2].GOGC, after[0].GOMAXPROCS = 100, 100, 4
	after[0].Duration, after[1].Interrupted, after[1].Duration = 5, true, 3.21
	after[1].Safety = &result.Safety{Reasons: []string{"node 2: lost"}}
	var out bytes.Buffer
	if err := Compare(&out, []verdict.Source{{Name: "old.jsonl", Results: before}, {Name: "new.jsonl", Results: after}}, false); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for first, want := range map[string]string{
		"A":         "A old.jsonl",
		"put/s":     "put/s 100,000 200,000 50 % 2.00x",
		"p99":       "p99 1.23 ms 617 µs 0 % 0.50x",
		"rounds":    "rounds 1 2",
		"millrace,": "millrace, 3 nodes, store wal, net tcp, 256 clients, 1 in flight each, batch 1, payload 128 B",
	} {
		if got := fields(t, text, first); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	for _, want := range []string{
		"B  new.jsonl", "B differs in machine: cpu, 4 cores, 6, ext4, 0 GiB, A cpu, 2 cores, 6, ext4, 0 GiB.",
		"B differs in GOGC: 100 and 400, A 400.", "B differs in GOMAXPROCS: 4 and 0, A 0.", "B differs in measured time: 5 s, A 10 s.",
		"B: 1 of 2 rounds ended before their time.", "A has no histogram to draw.",
		"Too few rounds to tell a difference from noise: A 1, B 2, want at least 6 each.",
		"B can't be used: SAFETY CHECK FAILED: millrace, 256 clients, 1 in flight, batch 1, 128 B, 3 nodes, round 2: node 2: lost.",
		"Only in A: millrace, 3 nodes, store wal, net tcp, 1 clients", "Only in B: millrace, 3 nodes, store wal, net tcp, 64 clients",
	} {
		if strings.Count(text, want) != 1 {
			t.Errorf("%d times %q in\n%s", strings.Count(text, want), want, text)
		}
	}
	for _, unwanted := range []string{"verdict", "Mann-Whitney", "better", "worse"} {
		if strings.Contains(text, unwanted) {
			t.Errorf("%q without enough rounds in\n%s", unwanted, text)
		}
	}
	out.Reset()
	same := []verdict.Source{{Name: "a", Results: before}, {Name: "b", Results: before}}
	if err := Compare(&out, same, false); err != nil || strings.Contains(out.String(), "differs") || strings.Contains(out.String(), "before") {
		t.Errorf("a result differs from itself: %v\n%s", err, out.String())
	}
	apart := []verdict.Source{{Name: "a", Results: before[1:]}, {Name: "b", Results: after[:1]}}
	if err := Compare(&out, apart, false); !errors.Is(err, ErrNothingShared) {
		t.Errorf("nothing shared: %v", err)
	}
}

// sixRounds makes rounds whose figures are scaled by a factor, with histograms.
func sixRounds(target string, by float64) []result.Result {
	var list []result.Result
	for i := range 6 {
		r := sample(target, 256, by*100_000*(1+0.01*float64(i)))
		r.Round = i + 1
		r.Latency.P99 /= by * (1 + 0.01*float64(i))
		r.Histogram = hdrhistogram.New(1, 3_600_000_000_000, 3)
		for v := range 10_000 {
			_ = r.Histogram.RecordValue(int64(float64(100_000+v*v/100) / by))
		}
		list = append(list, r)
	}
	return list
}

func TestCompareJudges(t *testing.T) {
	var out bytes.Buffer
	sources := []verdict.Source{{Name: "old", Results: sixRounds("millrace", 1)}, {Name: "new", Results: sixRounds("millrace", 2)}}
	if err := Compare(&out, sources, false); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for first, want := range map[string]string{
		"put/s":   "put/s 102,500 5 % 205,000 5 % 2.00x better p=0.002",
		"p99":     "p99 1.20 ms 5 % 602 µs 5 % 0.50x better p=0.002",
		"p50":     "p50 200 µs 0 % 200 µs 0 % 1.00x noise p=1.000",
		"syncs/s": "syncs/s 2,000 0 % 2,000 0 % 1.00x noise p=1.000",
		"noise:":  "noise: the rounds differ among themselves by as much (Mann-Whitney U test over the rounds, p of at least 0.05).",
	} {
		if got := fields(t, text, first); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	for line := range strings.Lines(text) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 && !strings.HasPrefix(line, "   ") &&
			!strings.HasPrefix(line, "millrace,") && !strings.HasPrefix(line, "noise:") {
			t.Errorf("%d columns, want 80 at most: %s", n, line)
		}
	}
	out.Reset()
	slow := sixRounds("millrace", 0.5)
	if err := Compare(&out, append(sources, verdict.Source{Name: "slow", Results: slow}), false); err != nil {
		t.Fatal(err)
	}
	if got := fields(t, out.String(), "put/s"); got != "put/s 102,500 5 % 205,000 5 % 2.00x better p=0.002 51,250 5 % 0.50x worse p=0.002" {
		t.Errorf("three results: %s", got)
	}
	if !strings.Contains(out.String(), "22 figures were judged, each by itself: without any real difference about 1 would look like one.") {
		t.Errorf("nothing of chance in\n%s", out.String())
	}
}

func TestCompareWithin(t *testing.T) {
	peer := sixRounds("etcd", 0.5)
	for i := range peer {
		peer[i].WALBackend, peer[i].Library = "etcd", "go.etcd.io/raft/v3 v3.6.0"
	}
	alone := sample("etcd", 1, 10)
	sources := verdict.Targets(append(append(sixRounds("millrace", 1), peer...), alone))
	var out bytes.Buffer
	if err := Compare(&out, sources, true); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"A  millrace\nB  etcd\n   go.etcd.io/raft/v3 v3.6.0\nv1 (0123456789ab), go1, GOGC 400",
		"\n3 nodes, store wal, net tcp, 256 clients,", "\nOnly in B: 3 nodes, store wal, net tcp, 1 clients,",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if got := fields(t, out.String(), "put/s"); !strings.HasSuffix(got, "0.50x worse p=0.002") {
		t.Errorf("targets of a file: %s", got)
	}
}

func TestRegressions(t *testing.T) {
	sources := []verdict.Source{{Name: "a", Results: sixRounds("millrace", 1)}, {Name: "b", Results: sixRounds("millrace", 0.5)}}
	cases, _ := verdict.Share(sources, verdict.Same)
	worse, err := verdict.Gate(cases, 10)
	got := strings.Join(Regressions(worse), "\n")
	where := "B: millrace, 3 nodes, store wal, net tcp, 256 clients, 1 in flight each, batch 1, payload 128 B: "
	if want := where + "put/s 51,250, A 102,500 (-50.0 %, p=0.002)\n" + where + "p99 2.41 ms, A 1.20 ms (+100.0 %, p=0.002)"; err != nil || got != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
}

// drawn returns the lines of the drawing below its title.
func drawn(t *testing.T, groups ...result.Group) []string {
	t.Helper()
	var out bytes.Buffer
	curves(&out, groups)
	_, text, ok := strings.Cut(out.String(), "latency by percentile, all rounds together")
	if !ok {
		t.Fatalf("no drawing in\n%s", out.String())
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")[1:]
	if len(lines) != plotRows+2 {
		t.Fatalf("%d lines, want %d:\n%s", len(lines), plotRows+2, text)
	}
	for _, line := range lines {
		if n := utf8.RuneCountInString(line); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	return lines
}

// recorded makes a group with a histogram of microseconds.
func recorded(us ...int64) result.Group {
	h := hdrhistogram.New(1, 3_600_000_000_000, 3)
	for _, v := range us {
		_ = h.RecordValue(v * 1000)
	}
	return result.Group{Rounds: []result.Result{{Histogram: h}}}
}

func TestCurves(t *testing.T) {
	var a, b []int64
	for i := range 1000 {
		latency := int64(100)
		if i >= 900 {
			latency = 1000
		}
		if i >= 990 {
			latency = 10_000
		}
		a = append(a, latency)
		b = append(b, 50_000)
	}
	lines := drawn(t, recorded(a...), recorded(b...))
	plot := func(row int) string { return string([]rune(lines[row])[10:]) }
	if !strings.HasPrefix(lines[0], "   50 ms ┤B") || strings.Count(plot(0), "B") != plotColumns {
		t.Errorf("B is not the flat line at the top: %q", lines[0])
	}
	if !strings.HasPrefix(lines[plotRows-1], "  100 µs ┤A") {
		t.Errorf("A does not begin at the bottom: %q", lines[plotRows-1])
	}
	// A stays low up to 90 %, a third of the way, and high from 99 % on.
	if n := strings.Count(plot(plotRows-1), "A"); n < plotColumns/3-1 || n > plotColumns/3+1 {
		t.Errorf("A lies at 100 µs in %d columns, want %d", n, plotColumns/3)
	}
	last := 0
	for row := range plotRows {
		if strings.HasSuffix(plot(row), "A") && utf8.RuneCountInString(plot(row)) == plotColumns {
			last = row
		}
	}
	if label := strings.Fields(lines[last]); len(label) < 2 || label[0] != "10" || label[1] != "ms" {
		t.Errorf("A ends in row %d, want that of 10 ms: %q", last, lines[last])
	}
	if got := strings.Fields(lines[plotRows+1]); fmt.Sprint(got) != "[0% 90% 99% 99.9%]" {
		t.Errorf("percentiles are %v", got)
	}
	if strings.ContainsRune(strings.Join(lines, ""), together) {
		t.Errorf("curves that never meet are drawn as one:\n%s", strings.Join(lines, "\n"))
	}
}

func TestCurvesOnEachOther(t *testing.T) {
	var out bytes.Buffer
	g := recorded(100, 200, 300, 400)
	curves(&out, []result.Group{g, g})
	if !strings.Contains(out.String(), "* where they lie on each other") || strings.ContainsAny(out.String(), "AB") {
		t.Errorf("two equal curves:\n%s", out.String())
	}
}

// TestCurvesOfFewAndMany: whatever was recorded, the drawing keeps its size.
func TestCurvesOfFewAndMany(t *testing.T) {
	h := hdrhistogram.New(1, 3_600_000_000_000, 3)
	_ = h.RecordValues(1, 500_000_000)
	_ = h.RecordValues(3_600_000_000_000, 1)
	many := result.Group{Rounds: []result.Result{{Histogram: h}}}
	for name, g := range map[string]result.Group{"one put": recorded(123), "equal": recorded(100, 100), "far apart": many} {
		if lines := drawn(t, g); !strings.Contains(strings.Join(lines, ""), "A") || !strings.Contains(lines[plotRows+1], "0%") {
			t.Errorf("%s:\n%s", name, strings.Join(lines, "\n"))
		}
	}
	lines := drawn(t, many, recorded(1000))
	if got := strings.Fields(lines[plotRows+1]); fmt.Sprint(got) != "[0% 90% 99% 99.9% 99.99% 99.999% 99.9999%]" {
		t.Errorf("percentiles are %v", got)
	}
	var out bytes.Buffer
	curves(&out, []result.Group{recorded(), many})
	if !strings.Contains(out.String(), "A has no histogram to draw.") || !strings.Contains(out.String(), "BBB") {
		t.Errorf("an empty one:\n%s", out.String())
	}
}
