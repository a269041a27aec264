package result

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// TestHistogramInTheLine: what is read is what was written, value by value, and any reader of HdrHistogram can read it.
func TestHistogramInTheLine(t *testing.T) {
	h := hdrhistogram.New(1, int64(time.Hour), 3)
	for i := range int64(10_000) {
		_ = h.RecordValues(i*i*7, i%5+1)
	}
	_ = h.RecordValue(int64(time.Hour))
	r := sample()
	r.Histogram = h
	name := filepath.Join(t.TempDir(), "r.jsonl")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	empty, none := sample(), sample()
	empty.Histogram = hdrhistogram.New(1, int64(time.Hour), 3)
	for _, one := range []*Result{&r, &empty, &none} {
		if err := WriteLine(f, one); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	read, err := ReadFile(name)
	if err != nil || len(read) != 3 {
		t.Fatalf("%d results, %v", len(read), err)
	}
	if !read[0].Histogram.Equals(h) || NewLatency(read[0].Histogram) != NewLatency(h) {
		t.Errorf("read %+v\nwrote %+v", NewLatency(read[0].Histogram), NewLatency(h))
	}
	if read[1].Histogram == nil || read[1].Histogram.TotalCount() != 0 || read[2].Histogram != nil {
		t.Errorf("an empty histogram and none are read as %v and %v", read[1].Histogram, read[2].Histogram)
	}
	line, err := json.Marshal(r) // a value is written as a pointer is
	if err != nil {
		t.Fatal(err)
	}
	var fields struct{ Histogram string }
	if err := json.Unmarshal(line, &fields); err != nil {
		t.Fatal(err)
	}
	// The base64 of the cookie of the V2 compressed encoding, as HdrHistogram's log files have it.
	if !strings.HasPrefix(fields.Histogram, "HISTFAAA") {
		t.Errorf("histogram begins with %.20q", fields.Histogram)
	}
}

func TestBrokenHistogramIsNoResult(t *testing.T) {
	r := sample()
	r.Histogram = hdrhistogram.New(1, 1000, 3)
	_ = r.Histogram.RecordValue(7)
	var line bytes.Buffer
	if err := WriteLine(&line, &r); err != nil {
		t.Fatal(err)
	}
	good := line.String()
	for _, broken := range []string{"!", "HISTFAAA", "AAAAAAAAAAAA"} {
		i := strings.Index(good, `"histogram":"`) + len(`"histogram":"`)
		j := i + strings.Index(good[i:], `"`)
		var read Result
		if err := json.Unmarshal([]byte(good[:i]+broken+good[j:]), &read); err == nil || !strings.HasPrefix(err.Error(), "histogram: ") {
			t.Errorf("%q: %v, want an error of the histogram", broken, err)
		}
	}
}

// TestStagesInTheLine: the figures by name, and the histograms that they were read off.
func TestStagesInTheLine(t *testing.T) {
	r := sample()
	histograms := map[string]*hdrhistogram.Histogram{}
	for i, name := range []string{"intake", "wal_sync"} {
		histograms[name] = hdrhistogram.New(1, int64(time.Hour), 3)
		_ = histograms[name].RecordValues(int64(i+1)*1e6, 10)
	}
	r.SetStages(histograms)
	line, err := json.Marshal(&r)
	if err != nil {
		t.Fatal(err)
	}
	var fields struct {
		Stages     map[string]map[string]float64 `json:"stages_us"`
		Histograms map[string]string             `json:"stage_histograms"`
	}
	if err := json.Unmarshal(line, &fields); err != nil {
		t.Fatal(err)
	}
	if p99 := fields.Stages["wal_sync"]["p99"]; len(fields.Stages) != 2 || p99 < 1999 || p99 > 2002 || len(fields.Stages["intake"]) != 7 ||
		!strings.HasPrefix(fields.Histograms["intake"], "HISTFAAA") {
		t.Errorf("the line has %v and %v", fields.Stages, fields.Histograms)
	}
	var read Result
	if err := json.Unmarshal(line, &read); err != nil {
		t.Fatal(err)
	}
	if len(read.StageHistograms) != 2 || !read.StageHistograms["intake"].Equals(histograms["intake"]) || read.Stages["intake"] != r.Stages["intake"] {
		t.Errorf("read %+v", read)
	}
	broken := strings.Replace(string(line), fields.Histograms["wal_sync"], "HISTFAAA", 1)
	if err := json.Unmarshal([]byte(broken), &read); err == nil || !strings.HasPrefix(err.Error(), "stage_histograms: wal_sync: ") {
		t.Errorf("a broken histogram: %v", err)
	}
	r.SetStages(nil)
	if line, err = json.Marshal(&r); err != nil || strings.Contains(string(line), "stage") {
		t.Errorf("without stages the line is %s, %v", line, err)
	}
	if err := json.Unmarshal(line, &read); err != nil || read.StageHistograms != nil {
		t.Errorf("without stages it is read as %v, %v", read.StageHistograms, err)
	}
}

// TestThisBuild: the toolchain says which Go it is; what nobody says is not left empty.
func TestThisBuild(t *testing.T) {
	if b := ThisBuild(); !strings.HasPrefix(b.Go, "go1.") || b.Version == "" || b.Commit == "" {
		t.Errorf("this build is %+v", b)
	}
}
