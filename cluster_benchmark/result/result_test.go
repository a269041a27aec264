package result

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

func sample() Result {
	return Result{
		Schema: Schema, Profile: "quick", Build: Build{"v1", "abc", true, "go1"}, Machine: Machine{"linux", "amd64", "cpu", 2, 1 << 30, "6", "ext4"},
		Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Round: 1,
		Key: Key{Target: "millrace", Nodes: 3, Groups: 1, Clients: 256, Inflight: 1, Batch: 1, Payload: 128, Store: "wal",
			WALBackend: "tidwall", Net: "tcp"},
		Duration: 10, Ops: 1000, PutPerS: 100, CPU: 15, WALSyncs: 300, Frames: 10, EntriesPerFrame: 100,
		Latency: Latency{1, 2, 3, 4, 5, 6, 7},
		Safety:  &Safety{Acknowledged: 1000, Applied: []uint64{1000}, StateHash: []string{"ff"}, OK: true},
		Series:  []Interval{{End: 0.5, Ops: 600, P50: 1, P99: 2, Max: 3}, {End: 1, Ops: 400}},
	}
}

// TestFields holds the contract: these names and kinds, and nothing renamed.
func TestFields(t *testing.T) {
	r := sample()
	var line bytes.Buffer
	if err := WriteLine(&line, &r); err != nil {
		t.Fatal(err)
	}
	if strings.Count(line.String(), "\n") != 1 || !strings.HasSuffix(line.String(), "\n") {
		t.Errorf("not one line: %q", line.String())
	}
	want := map[string]string{
		"schema": "float64", "profile": "string", "target": "string", "version": "string", "commit": "string", "dirty": "bool",
		"go": "string", "machine": "map", "started": "string", "round": "float64", "nodes": "float64", "groups": "float64",
		"clients": "float64", "inflight": "float64", "batch": "float64", "payload_bytes": "float64", "rate": "float64",
		"store": "string", "wal_backend": "string", "net": "string", "processes": "bool", "read_ratio": "float64",
		"duration_s": "float64", "ops": "float64", "put_per_s": "float64", "errors": "float64", "latency_us": "map",
		"cpu_s": "float64", "max_rss_bytes": "float64", "alloc_bytes_per_op": "float64", "wal_bytes": "float64",
		"wal_syncs": "float64", "frames": "float64", "entries_per_frame": "float64", "safety": "map",
		"warmup_s": "float64", "gogc": "float64", "gomaxprocs": "float64", "counted_s": "float64", "series": "interface",
	}
	got := map[string]any{}
	if err := json.Unmarshal(line.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for name, kind := range want {
		v, ok := got[name]
		if k := strings.TrimPrefix(fmt.Sprintf("%T", v), "[]"); !ok || !strings.HasPrefix(k, kind) {
			t.Errorf("field %q is a %T, want a %s", name, v, kind)
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("fields that nothing describes: %v", slices.Sorted(maps.Keys(got)))
	}
	for part, fields := range map[string]string{
		`"machine":`:    `{"os":"linux","arch":"amd64","cpu":"cpu","cores":2,"memory_bytes":1073741824,"kernel":"6","filesystem":"ext4"}`,
		`"latency_us":`: `{"mean":1,"p50":2,"p90":3,"p99":4,"p99_9":5,"p99_99":6,"max":7}`,
		`"safety":`:     `{"acknowledged":1000,"unknown":0,"applied":[1000],"state_hash":["ff"],"ok":true}`,
		`"series":`:     `[{"t_s":0.5,"ops":600,"p50":1,"p99":2,"max":3},{"t_s":1,"ops":400,"p50":0,"p99":0,"max":0}]`,
		`"started":`:    `"2026-01-02T03:04:05Z"`,
	} {
		if !strings.Contains(line.String(), part+fields) {
			t.Errorf("want %s%s in %s", part, fields, line.String())
		}
	}
}

func TestFieldsThatAreThereOnlyWhenTheySaySomething(t *testing.T) {
	r := sample()
	r.Safety = nil
	r.Ratios, r.Invalid, r.Interrupted, r.FirstError = map[string]float64{"ceiling-disk": 0.5}, "above", true, "busy"
	r.Rate, r.Arrivals = 5000, "poisson"
	r.Generator = &Generator{Offered: 50_000, Late99: 80.5, Waited: 3, Unissued: 2, Behind: true}
	r.Library, r.Configuration = "example.org/raft v1.2.3", "batched"
	var line bytes.Buffer
	if err := WriteLine(&line, &r); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"safety":null`, `"ceiling_ratio":{"ceiling-disk":0.5}`, `"invalid":"above"`, `"interrupted":true`, `"first_error":"busy"`,
		`"rate":5000,"arrivals":"poisson"`, `"generator":{"offered":50000,"late_p99_us":80.5,"waited":3,"unissued":2,"behind":true}`,
		`"library":"example.org/raft v1.2.3"`, `"configuration":"batched"`} {
		if !strings.Contains(line.String(), part) {
			t.Errorf("want %s in %s", part, line.String())
		}
	}
}

// TestRatesAreByTheirOwnTime: what was counted is divided by the time between the readings, not by that of the puts.
func TestRatesAreByTheirOwnTime(t *testing.T) {
	r := sample()
	r.Duration, r.Counted, r.WALSyncs, r.CPU = 10, 12, 2400, 18
	if r.SyncsPerS() != 200 || r.Cores() != 1.5 {
		t.Errorf("%v syncs/s and %v cores, want 200 and 1.5", r.SyncsPerS(), r.Cores())
	}
	r.Counted = 0 // as results have it that were written before there was such a field
	if r.SyncsPerS() != 240 || r.Cores() != 1.8 {
		t.Errorf("%v syncs/s and %v cores, want 240 and 1.8", r.SyncsPerS(), r.Cores())
	}
}

func TestNotANumberIsAnError(t *testing.T) {
	r := sample()
	r.PutPerS = math.NaN()
	if err := WriteLine(&bytes.Buffer{}, &r); err == nil {
		t.Error("a result with a NaN was written")
	}
}

func TestFilesAreNeverOverwritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var names []string
	for range 3 {
		f, err := Create(dir, "quick", now)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(f.Name()); err != nil {
			t.Fatal(err)
		}
		f.Close()
		names = append(names, f.Name())
	}
	if filepath.Base(names[0]) != "20260102T030405Z-quick.jsonl" || filepath.Base(names[2]) != "20260102T030405Z-quick-3.jsonl" {
		t.Errorf("names are %v", names)
	}
	for _, n := range names {
		if data, err := os.ReadFile(n); err != nil || string(data) != n {
			t.Errorf("%s holds %q, %v", n, data, err)
		}
	}
}

func TestReadFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "r.jsonl")
	var data bytes.Buffer
	first, second := sample(), sample()
	second.Round = 2
	for _, r := range []*Result{&first, &second} {
		if err := WriteLine(&data, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(name, data.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := ReadFile(name)
	if err != nil || !reflect.DeepEqual(got, []Result{first, second}) {
		t.Errorf("read %+v, %v", got, err)
	}
	for _, c := range []struct{ content, want string }{
		{"", "r.jsonl: no results in it, want one JSON object a line"},
		{"\n\n", "r.jsonl: no results in it, want one JSON object a line"},
		{`{"schema":1}` + "\n" + `{"schema":2}`, "r.jsonl:2: schema 2, want 1"},
		{`{}`, "r.jsonl:1: schema 0, want 1"},
		{"put/s 100", "r.jsonl:1: not a result: "},
		{`{"schema":1,"ops":"many"}`, "r.jsonl:1: not a result: "},
	} {
		if err := os.WriteFile(name, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := ReadFile(name)
		var format *FormatError
		if !errors.As(err, &format) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %s", c.content, err, c.want)
		}
	}
	if _, err := ReadFile(name + "x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestMediansOverRounds(t *testing.T) {
	var results []Result
	for round, v := range []float64{30, 10, 20} {
		r := sample()
		r.Round, r.PutPerS, r.Latency.P99, r.CPU, r.WALSyncs = round+1, v, v, v, uint64(v)
		r.Ratios = map[string]float64{"ceiling-disk": v / 100}
		other := sample()
		other.Clients, other.PutPerS = 1, v*2
		results = append(results, r, other)
	}
	results[1].Safety.OK = false
	groups := Groups(results)
	if len(groups) != 2 || len(groups[0].Rounds) != 3 || groups[0].Key.Clients != 256 {
		t.Fatalf("groups are %+v", groups)
	}
	s, other := groups[0].Summary(), groups[1].Summary()
	if s.PutPerS != 20 || s.Latency.P99 != 20 || s.Latency.P50 != 2 || s.Cores != 2 || s.SyncsPerS != 2 || s.Ratios["ceiling-disk"] != 0.2 || !s.OK {
		t.Errorf("summary is %+v", s)
	}
	if other.PutPerS != 40 || other.OK {
		t.Errorf("the other summary is %+v, want a failed check in it", other)
	}
	if m := Median([]float64{4, 1, 3, 2}); m != 2.5 {
		t.Errorf("median of four is %v, want 2.5", m)
	}
}

func TestLatencyIsMicroseconds(t *testing.T) {
	h := hdrhistogram.New(1, int64(time.Hour), 3)
	for range 9990 {
		_ = h.RecordValue(int64(time.Millisecond))
	}
	_ = h.RecordValues(int64(time.Second), 10)
	l := NewLatency(h)
	near := func(got, want float64) bool { return math.Abs(got-want) <= want/500 }
	if !near(l.P50, 1e3) || !near(l.P99, 1e3) || !near(l.P9999, 1e6) || !near(l.Max, 1e6) || !near(l.Mean, 1999) {
		t.Errorf("latency is %+v", l)
	}
	if got := NewLatency(hdrhistogram.New(1, 1000, 3)); got != (Latency{}) {
		t.Errorf("latency of nothing is %+v", got)
	}
}

func TestThisMachine(t *testing.T) {
	m := ThisMachine(t.TempDir())
	if m.Cores < 1 || m.CPU == "" || m.Kernel == "" || m.Filesystem == "" {
		t.Errorf("machine is %+v", m)
	}
	if got := ThisMachine(filepath.Join(t.TempDir(), "missing")); got.Filesystem == "" {
		t.Errorf("filesystem of a directory that is to be made: %q", got.Filesystem)
	}
	for _, c := range []struct {
		path, mount string
		want        bool
	}{{"/a/b", "/", true}, {"/a/b", "/a", true}, {"/ab", "/a", false}, {"/a", "/a", true}, {"/a", "/a/b", false}} {
		if below(c.path, c.mount) != c.want {
			t.Errorf("%s below %s: want %v", c.path, c.mount, c.want)
		}
	}
}

func TestUsage(t *testing.T) {
	before, err := ReadUsage()
	if err != nil {
		t.Fatal(err)
	}
	keep := make([]byte, 8<<20)
	for i := range keep { // touch every page
		keep[i] = byte(i)
	}
	for until := time.Now().Add(30 * time.Millisecond); time.Now().Before(until); {
		keep[0]++
	}
	after, err := ReadUsage()
	if used := after.Sub(before); err != nil || used.Alloc < 8<<20 || used.CPU < 0.005 {
		t.Errorf("used %+v, %v, want 8 MiB and some time", used, err)
	}
	ResetPeak()
	if peak, err := Peak(); err != nil || peak < 8<<20 {
		t.Errorf("peak %d, %v, want at least 8 MiB", peak, err)
	}
	_ = keep
}
