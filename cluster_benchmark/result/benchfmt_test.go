package result

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/perf/benchfmt"
)

// readBench reads what was written as benchstat does.
func readBench(t *testing.T, text string) (results []*benchfmt.Result, units []string) {
	t.Helper()
	reader := benchfmt.NewReader(strings.NewReader(text), "test")
	for reader.Scan() {
		switch r := reader.Result().(type) {
		case *benchfmt.Result:
			results = append(results, r.Clone())
		case *benchfmt.UnitMetadata:
			units = append(units, r.OrigUnit+" "+r.Key+"="+r.Value)
		default:
			t.Errorf("not understood: %v", r)
		}
	}
	if err := reader.Err(); err != nil {
		t.Fatal(err)
	}
	return results, units
}

func written(t *testing.T, results ...Result) string {
	t.Helper()
	var out bytes.Buffer
	w := NewBenchWriter(&out)
	for i := range results {
		if err := w.Write(&results[i]); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

func TestBenchFormat(t *testing.T) {
	first, second, unsafe, other := sample(), sample(), sample(), sample()
	first.GOMAXPROCS, second.GOMAXPROCS, second.Round, second.PutPerS = 2, 2, 2, 200
	unsafe.Round, unsafe.Safety, unsafe.GOMAXPROCS = 3, &Safety{}, 2
	other.GOMAXPROCS, other.Commit, other.Machine.CPU, other.Clients, other.Profile = 2, "def", "other", 64, "my profile"
	text := written(t, first, second, unsafe, other)
	results, units := readBench(t, text)
	if len(results) != 3 {
		t.Fatalf("%d results, want 3, in\n%s", len(results), text)
	}
	scenario := "Put/profile=%s/target=millrace/nodes=3/groups=1/clients=%d/inflight=1/batch=1/payload_bytes=128/store=wal/wal_backend=tidwall/net=tcp-2"
	for i, want := range []string{fmt.Sprintf(scenario, "quick", 256), fmt.Sprintf(scenario, "quick", 256), fmt.Sprintf(scenario, "my_profile", 64)} {
		if got := string(results[i].Name.Full()); got != want {
			t.Errorf("name %s, want %s", got, want)
		}
	}
	r := results[1]
	for unit, want := range map[string]float64{
		"sec/op": 0.005, "put/s": 200, "mean-us": 1, "p50-us": 2, "p90-us": 3, "p99-us": 4, "p99.9-us": 5, "p99.99-us": 6, "max-us": 7,
		"cpu-us/op": 7500, "B/op": 0,
	} {
		if got, ok := r.Value(unit); !ok || got != want {
			t.Errorf("%s is %v, %v, want %v", unit, got, ok, want)
		}
	}
	for key, want := range map[string]string{
		"goos": "linux", "goarch": "amd64", "cpu": "cpu", "cores": "2", "filesystem": "ext4", "pkg": "github.com/millrace/millrace/cluster_benchmark",
	} {
		if got := r.GetConfig(key); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
	if got := results[2].GetConfig("cpu"); got != "other" || r.Iters != 1000 {
		t.Errorf("cpu %q, %d iterations", got, r.Iters)
	}
	if got := strings.Join(units, ","); !strings.HasPrefix(got, "put/s better=higher,mean-us better=lower,") {
		t.Errorf("units are %s", got)
	}
	for want, times := range map[string]int{
		"# commit: abc, modified\n": 1, "# commit: def, modified\n": 1, "# kernel: 6\n": 2, "# go: go1\n": 2, "# started: 2026-01-02T03:04:05Z\n": 2,
		"# left out: millrace, round 3: its figures can't be used\n": 1, "Unit ": 9,
	} {
		if n := strings.Count(text, want); n != times {
			t.Errorf("%d times %q, want %d, in\n%s", n, want, times, text)
		}
	}
}

// TestBenchFormatOfTwoCommits: benchstat makes a table of what has the same configuration; two commits must.
func TestBenchFormatOfTwoCommits(t *testing.T) {
	old, new := sample(), sample()
	new.Commit, new.Version, new.Go, new.Machine.Kernel, new.Started = "def", "v2", "go2", "7", new.Started.Add(1e9)
	a, _ := readBench(t, written(t, old))
	b, _ := readBench(t, written(t, new))
	if fmt.Sprint(a[0].Config) != fmt.Sprint(b[0].Config) || len(a[0].Config) != 6 || string(a[0].Name) != string(b[0].Name) {
		t.Errorf("%v\n%v", a[0].Config, b[0].Config)
	}
}

type failing struct{}

var errFull = errors.New("disk full")

func (failing) Write([]byte) (int, error) { return 0, errFull }

func TestTextThatCantBeWritten(t *testing.T) {
	r := sample()
	r.Histogram = hdrhistogram.New(1, 1000, 3)
	_ = r.Histogram.RecordValue(1)
	for name, err := range map[string]error{
		"benchfmt": NewBenchWriter(failing{}).Write(&r), "hlog": WriteHLog(failing{}, &r), "hgrm": WriteHGRM(failing{}, &r),
	} {
		if !errors.Is(err, errFull) {
			t.Errorf("%s: %v, want %v", name, err, errFull)
		}
	}
}
