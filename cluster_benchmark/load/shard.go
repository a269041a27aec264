package load

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// latencyMax bounds what a histogram can hold; a longer wait is recorded as this.
const latencyMax = time.Hour

// newHistogram returns a histogram of nanoseconds with three significant digits.
func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, int64(latencyMax), 3) }

// shard is the histograms and the counter that some of the clients share.
type shard struct {
	answered atomic.Uint64 // puts that clients have told of
	series   *series

	// mu guards what follows. No owner would do: the clients that share it bring a buffer each now and then, which costs
	// less than handing it to an owner.
	mu       sync.Mutex
	total    *hdrhistogram.Histogram // without what current holds
	current  *hdrhistogram.Histogram // of the latest interval that any of the clients was answered in
	interval int
	late     *hdrhistogram.Histogram // how late puts were issued in an open loop; nil in a closed one
	reads    *hdrhistogram.Histogram // latencies; nil without reads
}

// newShards returns enough shards that clients seldom meet at one.
func newShards(s *series, cfg Config) []*shard {
	shards := make([]*shard, 2*runtime.GOMAXPROCS(0))
	for i := range shards {
		shards[i] = &shard{series: s, total: newHistogram(), current: newHistogram()}
		if cfg.Rate > 0 {
			shards[i].late = newHistogram()
		}
		if cfg.ReadRatio > 0 {
			shards[i].reads = newHistogram()
		}
	}
	return shards
}

// sample is the latency of some puts that were issued and answered together.
type sample struct {
	nanoseconds int64
	puts        int64
}

func record(h *hdrhistogram.Histogram, v sample) {
	if err := h.RecordValues(min(v.nanoseconds, int64(latencyMax)), v.puts); err != nil {
		panic("BUG: a latency within the bound does not fit its histogram: " + err.Error())
	}
}

// add takes samples that were answered in one interval, and how late they were issued in an open loop. Each is recorded once: the histogram of an interval goes into
// that of the whole time when the next one begins.
func (s *shard) add(interval int, samples, lates []sample) {
	if len(samples) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	into := s.total
	switch {
	case interval == beyond:
	case interval < s.interval:
		s.series.add(interval, samples)
	case interval > s.interval:
		s.turn()
		s.interval = interval
		into = s.current
	default:
		into = s.current
	}
	for _, v := range samples {
		record(into, v)
	}
	for _, v := range lates {
		record(s.late, v)
	}
}

// turn ends the current interval.
func (s *shard) turn() {
	if s.current.TotalCount() == 0 {
		return
	}
	s.total.Merge(s.current)
	s.series.merge(s.interval, s.current)
	s.current.Reset()
}

// finish ends the last interval and returns the histogram of the whole time.
func (s *shard) finish() *hdrhistogram.Histogram {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turn()
	return s.total
}
