package result

import (
	"fmt"
	"io"
	"strings"

	"golang.org/x/perf/benchfmt"
)

// BenchWriter writes results in the format of Go benchmarks, which benchstat reads: a line each, rounds below each other.
//
// What tells machines apart stands in configuration lines, by which benchstat makes separate tables. What tells two runs
// on a machine apart (version, commit, time) stands in comments, so that it compares them.
type BenchWriter struct {
	to     io.Writer
	format *benchfmt.Writer
	told   string // comments that stand above already
}

// NewBenchWriter returns a writer that has written nothing yet.
func NewBenchWriter(w io.Writer) *BenchWriter {
	return &BenchWriter{to: w, format: benchfmt.NewWriter(w)}
}

// benchUnits are the figures of a line and which way they are better; ns/op and B/op are known.
var benchUnits = []struct {
	unit   string
	better string
	of     func(*Result) float64
}{
	{"ns/op", "", func(r *Result) float64 { return 1e9 / r.PutPerS }},
	{"put/s", "higher", func(r *Result) float64 { return r.PutPerS }},
	{"mean-us", "lower", func(r *Result) float64 { return r.Latency.Mean }},
	{"p50-us", "lower", func(r *Result) float64 { return r.Latency.P50 }},
	{"p90-us", "lower", func(r *Result) float64 { return r.Latency.P90 }},
	{"p99-us", "lower", func(r *Result) float64 { return r.Latency.P99 }},
	{"p99.9-us", "lower", func(r *Result) float64 { return r.Latency.P999 }},
	{"p99.99-us", "lower", func(r *Result) float64 { return r.Latency.P9999 }},
	{"max-us", "lower", func(r *Result) float64 { return r.Latency.Max }},
	{"cpu-us/op", "lower", func(r *Result) float64 { return 1e6 * r.Cores() / r.PutPerS }},
	{"B/op", "", func(r *Result) float64 { return r.AllocPerOp }},
}

// Write writes one result; of one whose figures can't be used only that it was left out.
func (b *BenchWriter) Write(r *Result) error {
	if b.told == "" {
		for _, u := range benchUnits {
			if u.better == "" {
				continue
			}
			if err := b.format.Write(&benchfmt.UnitMetadata{UnitMetadataKey: benchfmt.UnitMetadataKey{Unit: u.unit, Key: "better"}, OrigUnit: u.unit, Value: u.better}); err != nil {
				return err
			}
		}
	}
	if err := b.comment(r); err != nil {
		return err
	}
	if !r.OK() || r.PutPerS <= 0 {
		_, err := fmt.Fprintf(b.to, "# left out: %s, round %d: its figures can't be used\n", r.Target, r.Round)
		return err
	}
	line := benchfmt.Result{Name: benchfmt.Name(benchName(r)), Iters: int(r.Ops)}
	for _, c := range []Condition{
		{"goos", r.Machine.OS}, {"goarch", r.Machine.Arch}, {"pkg", "github.com/millrace/millrace/cluster_benchmark"},
		{"cpu", r.Machine.CPU}, {"cores", fmt.Sprint(r.Machine.Cores)}, {"filesystem", r.Machine.Filesystem},
	} {
		if c.Value != "" {
			line.SetConfig(c.Name, c.Value)
			line.Config[len(line.Config)-1].File = true
		}
	}
	for _, u := range benchUnits {
		line.Values = append(line.Values, benchfmt.Value{Value: u.of(r), Unit: u.unit})
	}
	return b.format.Write(&line)
}

// comment says what the following results were measured with, where that is not said yet.
func (b *BenchWriter) comment(r *Result) error {
	var text strings.Builder
	for _, c := range append(r.buildConditions(), known(Condition{"kernel", r.Machine.Kernel}, Condition{"memory_bytes", fmt.Sprint(r.Machine.Memory)})...) {
		fmt.Fprintf(&text, "# %s: %s\n", c.Name, c.Value)
	}
	if text.String() == b.told {
		return nil
	}
	b.told = text.String()
	_, err := fmt.Fprintf(b.to, "%s# started: %s\n", b.told, r.Started.UTC().Format("2006-01-02T15:04:05Z"))
	return err
}

// benchName returns what a scenario is called: its settings as benchstat takes them apart, and the processors.
func benchName(r *Result) string {
	name := "Put"
	for _, c := range append([]Condition{{"profile", r.Profile}}, r.Key.conditions()...) {
		name += "/" + c.Name + "=" + strings.NewReplacer("/", "_", " ", "_").Replace(c.Value)
	}
	return fmt.Sprintf("%s-%d", name, max(r.GOMAXPROCS, 1))
}
