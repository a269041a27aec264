package report

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/verdict"
)

// measured is a round with so many clients, whose puts took from 1 to 1000 times the given microseconds.
func measured(target string, clients, round int, putPerS, us float64) result.Result {
	h := hdrhistogram.New(1, int64(time.Hour), 3)
	for i := range 100_000 {
		_ = h.RecordValue(int64(us * 1e3 * math.Pow(1000, float64(i)/100_000)))
	}
	r := result.Result{
		Schema: result.Schema, Profile: "a <profile>", Build: result.Build{Version: "v1", Commit: "abc", Go: "go1"},
		Machine: result.Machine{CPU: "a cpu", Cores: 2}, Started: time.Unix(1e9, 0), Round: round,
		Key:     result.Key{Target: target, Nodes: 3, Clients: clients, Inflight: 1, Batch: 1, Payload: 128, Store: "wal", Net: "tcp"},
		PutPerS: putPerS, Ops: 100_000, Duration: 10, Latency: result.NewLatency(h), Histogram: h,
		Safety: &result.Safety{OK: true, Acknowledged: 100_000},
	}
	for i := range 10 {
		r.Series = append(r.Series, result.Interval{End: float64(i + 1), Ops: uint64(putPerS) + uint64(i), P50: us, P99: us * 900, Max: us * 1000})
	}
	stages := map[string]*hdrhistogram.Histogram{}
	for _, name := range []string{"intake", "quorum", "apply", "answer", "wal_sync"} {
		stages[name] = h
	}
	r.SetStages(stages)
	return r
}

func written(t *testing.T, sources ...verdict.Source) string {
	t.Helper()
	var out bytes.Buffer
	if err := Write(&out, sources); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestReport(t *testing.T) {
	page := written(t,
		verdict.Source{Name: "old.jsonl", Results: []result.Result{measured("millrace", 64, 1, 1000, 10), measured("millrace", 64, 2, 3000, 10), measured("millrace", 256, 1, 123456, 20)}},
		verdict.Source{Name: "new.jsonl", Results: []result.Result{measured("millrace", 64, 1, 2000, 10)}})
	for _, want := range []string{
		Mark, "<title>a &lt;profile&gt;: millrace on a cpu, 2 cores</title>", "A millrace<small>64 clients</small>", "B millrace<small>64 clients</small>",
		"<b>2,000</b> <small>±50 %</small>", "<b>123,456</b>", `style="width:100.0%"`, "intake</span>", "wal_write, wal_sync, network lie within quorum", "A · old.jsonl", "B · new.jsonl",
		"<dt>clients</dt><dd>64, 256</dd>", "A 300,000 acknowledged puts, warm-up included: all applied, once, on every replica (checks made: 3)", "B 100,000 acknowledged puts", `data-state="safe"`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in the page", want)
		}
	}
	for _, bad := range []string{"a <profile>", "http://", "<link rel=\"stylesheet", "src=", "ZgotmplZ", "can&#39;t be used"} {
		if strings.Contains(strings.ReplaceAll(page, "github.com/leeoniya/uPlot", ""), bad) {
			t.Errorf("%q is in the page", bad)
		}
	}
}

// TestWhatCanNotBeUsedIsSaid: a failed check stands above everything, and its row is marked.
func TestWhatCanNotBeUsedIsSaid(t *testing.T) {
	r := measured("millrace", 64, 1, 1000, 10)
	r.Safety = &result.Safety{Reasons: []string{"node 2: put 7 is <lost>"}}
	ceiling := measured("ceiling-disk", 64, 1, 2000, 10)
	ceiling.Safety = nil
	page := written(t, verdict.Source{Name: "f", Results: []result.Result{r, ceiling}})
	for _, want := range []string{`role="alert"`, "SAFETY CHECK FAILED", "put 7 is &lt;lost&gt;", `data-state="not usable"`, `data-state="no replicas"`} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in the page", want)
		}
	}
	if strings.Contains(page, `class="safe"`) {
		t.Error("claims safety")
	}
}

// TestEventsAreListed: each of every round, and the round in the middle has them in its charts.
func TestEventsAreListed(t *testing.T) {
	var results []result.Result
	for round, recovery := range []float64{1500, 0} {
		r := measured("millrace", 64, round+1, 1000, 10)
		r.Event = "leader-kill"
		r.Events = []result.Event{{Kind: "leader-kill", At: 3, Took: 1500, Node: 2, Recovery: recovery, Before: &result.Stretch{PutPerS: 4321, P99: 1}}}
		results = append(results, r)
	}
	page := written(t, verdict.Source{Name: "f", Results: results})
	for _, want := range []string{
		`<h2 id="events">`, `<td class="n">1</td><td class="n">3.0 s</td><td class="what">node 2, the leader, was killed; the next put was acknowledged 1.50 s later`,
		"<td class=\"n\">4,321</td><td class=\"n\">–</td><td class=\"n\">–</td><td class=\"n\"><b>1.50 s</b></td>", "<b>–</b>", `"events":[[3,4.5]]`, "Bands are events",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in the page", want)
		}
	}
	if plain := written(t, verdict.Source{Name: "f", Results: []result.Result{measured("millrace", 64, 1, 1000, 10)}}); strings.Contains(plain, `id="events"`) || strings.Contains(plain, "Bands are") {
		t.Error("events where there are none")
	}
}

// TestResultsWithoutHistograms: what an older build or a ceiling does not have is left out.
func TestResultsWithoutHistograms(t *testing.T) {
	r := measured("millrace", 64, 1, 1000, 10)
	r.Histogram, r.Series, r.Stages, r.StageHistograms = nil, nil, nil, nil
	page := written(t, verdict.Source{Name: "f", Results: []result.Result{r}})
	if strings.Contains(page, `id="chart-percentiles"`) || strings.Contains(page, `id="stages"`) {
		t.Error("a chart of nothing, or stages that nobody told")
	}
}

func TestCurve(t *testing.T) {
	g := result.Group{Rounds: []result.Result{measured("a", 1, 1, 1, 10), measured("a", 1, 2, 1, 10)}}
	points, x := curve(&g), axis()
	for i, p := range points {
		if told := i > 0 && x[i] <= 200_000; told != (p != nil) {
			t.Fatalf("point %d at %g is told: %v", i, x[i], p != nil)
		}
		if p == nil {
			continue
		}
		if want := 10 * math.Pow(1000, 1-1/x[i]); math.Abs(*p-want) > want*0.01 {
			t.Errorf("at %g: %g µs, want %g", x[i], *p, want)
		}
	}
	if got := middle(&result.Group{Rounds: []result.Result{measured("a", 1, 1, 30, 1), measured("a", 1, 2, 10, 1), measured("a", 1, 3, 20, 1)}}).PutPerS; got != 20 {
		t.Errorf("the round in the middle has %g put/s, want 20", got)
	}
}
