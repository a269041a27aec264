package result

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Schema is the version of the format.
const Schema = 1

// Build says what was measured with.
type Build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Dirty   bool   `json:"dirty"`
	Go      string `json:"go"`
}

// Key says which results may be compared: two with equal keys differ only in machine, build and time.
type Key struct {
	Target     string  `json:"target"`
	Nodes      int     `json:"nodes"`
	Groups     int     `json:"groups"`
	Clients    int     `json:"clients"`
	Inflight   int     `json:"inflight"`
	Batch      int     `json:"batch"`
	Payload    int     `json:"payload_bytes"`
	Rate       float64 `json:"rate"` // puts per second that became due, 0 in a closed loop
	Arrivals   string  `json:"arrivals,omitempty"`
	Store      string  `json:"store"`
	WALBackend string  `json:"wal_backend"`
	Net        string  `json:"net"`
	Processes  bool    `json:"processes"`         // each node in a process of its own, on this machine
	Connect    bool    `json:"connect,omitempty"` // nodes that were running already, here or on other machines
	ReadRatio  float64 `json:"read_ratio"`
	Read       string  `json:"read,omitempty"`  // how reads were made, "" without
	Event      string  `json:"event,omitempty"` // what happened to the cluster in the measured time, "" for nothing
}

// Latency holds microseconds.
type Latency struct {
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p99_9"`
	// P9999 needs 10,000 puts to mean anything.
	P9999 float64 `json:"p99_99"`
	Max   float64 `json:"max"`
}

// Interval is a part of the measured time. Latencies are microseconds, 0 in an interval without an answer.
type Interval struct {
	// End is when it ended, in seconds since the measured time began. The first begins at 0, each other at the end of the
	// one before.
	End float64 `json:"t_s"`
	// Ops counts puts answered within it.
	Ops uint64  `json:"ops"`
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
	// Histogram is what [WriteHLog] writes: encoded like that of the whole, for who asked for it and "" otherwise. A file
	// of results does not hold it.
	Histogram string `json:"histogram,omitempty"`
}

// Generator says how the puts of an open loop were issued. What it counts was due in the measured time.
type Generator struct {
	// Offered counts all that were due.
	Offered uint64 `json:"offered"`
	// Late99 is how late puts were issued, at the 99th percentile, in microseconds: after they were due and a client was
	// free. It is a part of their latency that the target is not to blame for.
	Late99 float64 `json:"late_p99_us"`
	// Waited counts those that found every client busy. Their clock went on.
	Waited uint64 `json:"waited"`
	// Unissued counts those that were given up, or left over when the run was interrupted.
	Unissued uint64 `json:"unissued"`
	// Behind says that the generator could not keep up; the result is invalid then.
	Behind bool `json:"behind"`
}

// Safety is the verdict on an engine's run.
type Safety struct {
	Acknowledged uint64   `json:"acknowledged"`
	Unknown      uint64   `json:"unknown"`
	Applied      []uint64 `json:"applied"`    // per node
	StateHash    []string `json:"state_hash"` // per node
	OK           bool     `json:"ok"`
	Reasons      []string `json:"reasons,omitempty"`  // what is wrong
	Unproven     []string `json:"unproven,omitempty"` // why something could not be looked at
}

// Result is one line.
type Result struct {
	Schema  int    `json:"schema"`
	Profile string `json:"profile"`
	Build
	Machine Machine   `json:"machine"`
	Started time.Time `json:"started"`
	Round   int       `json:"round"`
	Key
	GOGC       int `json:"gogc"`
	GOMAXPROCS int `json:"gomaxprocs"`
	// Warmup is the time under load between Started and the measured time.
	Warmup float64 `json:"warmup_s"`
	// Library is the module path and version of another library that was measured, Configuration how it is set up, on a
	// line. Both are empty for this engine and for ceilings.
	Library       string `json:"library,omitempty"`
	Configuration string `json:"configuration,omitempty"`
	// Places says where each node ran and what it was made of, when they were connected to; Machine and Build are the
	// clients' then.
	Places []string `json:"places,omitempty"`

	Duration   float64 `json:"duration_s"`
	Ops        uint64  `json:"ops"`
	PutPerS    float64 `json:"put_per_s"`
	Errors     uint64  `json:"errors"`
	FirstError string  `json:"first_error,omitempty"`
	Latency    Latency `json:"latency_us"`
	// Generator is nil in a closed loop.
	Generator *Generator `json:"generator,omitempty"`
	// Reads is what was read beside the puts, nil where nothing was.
	Reads *Reads `json:"reads,omitempty"`
	// Events is what happened to the cluster in the measured time, in the order in which it began.
	Events []Event `json:"events,omitempty"`

	// Counted is how long the following were counted: between two readings close to the ends of the measured time.
	Counted         float64 `json:"counted_s"`
	CPU             float64 `json:"cpu_s"`
	MaxRSS          uint64  `json:"max_rss_bytes"`
	AllocPerOp      float64 `json:"alloc_bytes_per_op"`
	WALBytes        uint64  `json:"wal_bytes"`
	WALSyncs        uint64  `json:"wal_syncs"`
	Frames          uint64  `json:"frames"`
	EntriesPerFrame float64 `json:"entries_per_frame"`

	// Stages is how long some puts, chosen by chance, took in each stage of their way, by its name ([StageNames]); absent where
	// the target does not tell.
	Stages map[string]Latency `json:"stages_us,omitempty"`

	// Ratios holds put_per_s as a part of each ceiling's of the same scenario and round; absent where none was measured.
	Ratios map[string]float64 `json:"ceiling_ratio,omitempty"`
	// Safety is nil for a ceiling.
	Safety *Safety `json:"safety"`
	// Invalid says why the figures can't be used; empty where they can.
	Invalid string `json:"invalid,omitempty"`
	// Interrupted says that the run was ended before its time.
	Interrupted bool `json:"interrupted,omitempty"`

	// Series is the measured time in intervals; their Ops add up to Ops.
	Series []Interval `json:"series,omitempty"`
	// Histogram is the latency in nanoseconds, nil for a result that was written without. In the line it is "histogram",
	// see [Result.MarshalJSON]; as text see [WriteHGRM].
	Histogram *hdrhistogram.Histogram `json:"-"`
	// StageHistograms are the same of each stage, in the line "stage_histograms".
	StageHistograms map[string]*hdrhistogram.Histogram `json:"-"`
}

// OK reports whether the figures can be used: safe, and valid.
func (r *Result) OK() bool { return r.Invalid == "" && (r.Safety == nil || r.Safety.OK) }

// SyncsPerS returns syncs per second, all nodes together.
func (r *Result) SyncsPerS() float64 { return ratio(float64(r.WALSyncs), r.counted()) }

// Cores returns how many cores were busy on average.
func (r *Result) Cores() float64 { return ratio(r.CPU, r.counted()) }

// counted returns the time between the readings, the measured time for a result that does not say.
func (r *Result) counted() float64 {
	if r.Counted > 0 {
		return r.Counted
	}
	return r.Duration
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// NewLatency reads the figures off a histogram of nanoseconds.
func NewLatency(h *hdrhistogram.Histogram) Latency {
	at := func(percentile float64) float64 { return float64(h.ValueAtPercentile(percentile)) / 1e3 }
	if h.TotalCount() == 0 {
		return Latency{}
	}
	return Latency{
		Mean: h.Mean() / 1e3,
		P50:  at(50), P90: at(90), P99: at(99), P999: at(99.9), P9999: at(99.99),
		Max: float64(h.Max()) / 1e3,
	}
}
