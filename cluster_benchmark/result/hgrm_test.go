package result

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// TestHGRM reads the file as the plotters of HdrHistogram do.
func TestHGRM(t *testing.T) {
	h := hdrhistogram.New(1, int64(time.Hour), 3)
	for i := range 1000 {
		_ = h.RecordValue(int64(i+1) * 1000)
	}
	r := sample()
	r.Histogram = h
	var out bytes.Buffer
	if err := WriteHGRM(&out, &r); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if fields := strings.Fields(lines[0]); !slices.Equal(fields, []string{"Value", "Percentile", "TotalCount", "1/(1-Percentile)"}) {
		t.Errorf("header is %q", lines[0])
	}
	lastValue, lastPart, rows := 0.0, -1.0, 0
	for _, line := range lines[1:] {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		var value, part float64
		var total int
		var inverse string
		if _, err := fmt.Sscan(line, &value, &part, &total, &inverse); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		if value < lastValue || part < lastPart || math.Abs(value-math.Max(1, part*1000)) > 3 || total < int(part*1000) {
			t.Errorf("line %q after value %v at %v", line, lastValue, lastPart)
		}
		lastValue, lastPart = value, part
		rows++
	}
	if rows < 20 || lastPart != 1 || !strings.Contains(out.String(), "#[Max     =     1000.447, Total count    =         1000]") {
		t.Errorf("%d rows up to %v:\n%s", rows, lastPart, out.String())
	}
	for _, want := range []string{"\n# commit: abc, modified\n", "\n# clients: 256\n", "\n# cpu: cpu\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// readLog reads a log as the library's own reader does.
func readLog(t *testing.T, text string) []*hdrhistogram.Histogram {
	t.Helper()
	var list []*hdrhistogram.Histogram
	reader := hdrhistogram.NewHistogramLogReader(strings.NewReader(text))
	for {
		h, err := reader.NextIntervalHistogram()
		if err != nil {
			t.Fatal(err)
		}
		if h == nil {
			return list
		}
		list = append(list, h)
	}
}

// TestHLog: intervals come back with their times and all that they hold, under comments.
func TestHLog(t *testing.T) {
	r := sample()
	r.Series, r.Started, r.Warmup, r.Duration = nil, r.Started.Add(250*time.Millisecond), 2, 1.25
	r.Histogram = hdrhistogram.New(1, int64(time.Hour), 3)
	for i, part := range []struct {
		end   float64
		value int64
	}{{0.5, 1_000_000}, {1, 0}, {1.25, 3_000_000}} {
		p := Interval{End: part.end}
		if part.value > 0 { // none is answered in the second
			h := hdrhistogram.New(1, int64(time.Hour), 3)
			_ = h.RecordValues(part.value, int64(10+i))
			p.Histogram, _ = encodeHistogram(h)
			r.Histogram.Merge(h)
		}
		r.Series = append(r.Series, p)
	}
	var out bytes.Buffer
	if err := WriteHLog(&out, &r); err != nil {
		t.Fatal(err)
	}
	list := readLog(t, out.String())
	if len(list) != 3 {
		t.Fatalf("%d intervals, want 3, in\n%s", len(list), out.String())
	}
	begin := r.Started.Add(2 * time.Second).UnixMilli()
	for i, want := range []struct{ from, to, count, max int64 }{{0, 500, 10, 1_000_447}, {500, 1000, 0, 0}, {1000, 1250, 12, 3_000_319}} {
		h := list[i]
		if from, to := h.StartTimeMs()-begin, h.EndTimeMs()-begin; max(from-want.from, want.from-from) > 1 || max(to-want.to, want.to-to) > 1 {
			t.Errorf("interval %d is %d to %d ms, want %d to %d", i, from, to, want.from, want.to)
		}
		if h.TotalCount() != want.count || want.count > 0 && math.Abs(float64(h.Max()-want.max)) > 4096 {
			t.Errorf("interval %d holds %d up to %d, want %d up to %d", i, h.TotalCount(), h.Max(), want.count, want.max)
		}
	}
	for _, want := range []string{
		"#[Histogram log format version 1.3]\n", "# commit: abc, modified\n", "# target: millrace\n", "# cpu: cpu\n", "# warmup_s: 2\n",
		"#[StartTime: 1767323047 (seconds since epoch), 2026-01-02T03:04:07Z]\n", "\"StartTimestamp\",\"Interval_Length\"",
		"\n0.250000,0.500000,1.000", // relative, and the greatest in milliseconds
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// TestHLogOfOneInterval: what was measured without histograms of intervals is one.
func TestHLogOfOneInterval(t *testing.T) {
	r := sample()
	r.Series = []Interval{{End: 5, Ops: 3}, {End: 10, Ops: 4}}
	r.Histogram = hdrhistogram.New(1, int64(time.Hour), 3)
	_ = r.Histogram.RecordValues(1000, 7)
	var out bytes.Buffer
	if err := WriteHLog(&out, &r); err != nil {
		t.Fatal(err)
	}
	list := readLog(t, out.String())
	if len(list) != 1 || list[0].TotalCount() != 7 || list[0].EndTimeMs()-list[0].StartTimeMs() != 10_000 {
		t.Errorf("%d intervals, want one of 10 s with 7 puts, in\n%s", len(list), out.String())
	}
}
