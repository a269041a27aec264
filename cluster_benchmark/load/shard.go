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

// shard is a histogram and a counter that some of the clients share.
type shard struct {
	answered atomic.Uint64 // puts that clients have told of

	// mu guards histogram. No owner would do: the clients that share it bring a buffer each now and then, which costs
	// less than handing it to an owner.
	mu        sync.Mutex
	histogram *hdrhistogram.Histogram
}

// newShards returns enough shards that clients seldom meet at one.
func newShards() []*shard {
	shards := make([]*shard, 2*runtime.GOMAXPROCS(0))
	for i := range shards {
		shards[i] = &shard{histogram: newHistogram()}
	}
	return shards
}

// sample is the latency of some puts that were issued and answered together.
type sample struct {
	nanoseconds int64
	puts        int64
}

func (s *shard) add(samples []sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range samples {
		if err := s.histogram.RecordValues(min(v.nanoseconds, int64(latencyMax)), v.puts); err != nil {
			panic("BUG: a latency within the bound does not fit its histogram: " + err.Error())
		}
	}
}
