package load

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/millrace/millrace/codec"
)

// Reader reads the state that puts make, so that it is linearizable: as if on the leader at one moment of the call.
type Reader interface {
	// Read returns the index of the last entry in the state that it has read.
	Read(ctx context.Context) (codec.Index, error)
}

// ReadSource is a [Source] that knows where to read, too.
type ReadSource interface {
	Source
	// Reader returns where the client of this number reads at the moment, as [Source].Proposer does for puts. Clients ask it
	// at the start and whenever a read failed.
	Reader(client int) (Reader, error)
}

// Reads is what the clients saw of their reads.
type Reads struct {
	// Ops counts reads answered within the measured time, Errors failed ones since the start of the warm-up.
	Ops, Errors uint64
	// FirstError is one of the errors, nil without any.
	FirstError error
	// Latency holds nanoseconds.
	Latency *hdrhistogram.Histogram
	// Stale counts reads since the start of the warm-up that missed a put which was acknowledged before they began.
	Stale uint64
	// FirstStale says of one of them what it missed.
	FirstStale string
}

// reading is what a client needs to read between its puts.
//
// Owner: the client's goroutine, until it has ended.
type reading struct {
	source  ReadSource
	reader  Reader
	client  int
	chance  *rand.Rand
	samples []sample
	seen    Reads // without the histogram, which its shard has
}

// newReading returns nil where nothing is read. The order of reads and puts is the same in every run.
func newReading(r *Run, client int) *reading {
	if r.cfg.ReadRatio == 0 {
		return nil
	}
	return &reading{
		source: r.source.(ReadSource), client: client,
		chance: rand.New(rand.NewPCG(uint64(client), 2)), samples: make([]sample, 0, samplesMax),
	}
}

// mixed reads and puts, one at a time.
func (c *client) mixed() {
	if !c.findReader() {
		return
	}
	issued, ok := c.run.now(), true
	for ok && issued < c.run.end.Load() {
		if c.reads.chance.Float64() < c.run.cfg.ReadRatio {
			issued, ok = c.read(issued)
		} else {
			issued, ok = c.put(issued)
		}
	}
	c.recordReads()
}

// put puts one, and returns the time when it was answered, or false when nothing is put any more.
func (c *client) put(issued int64) (int64, bool) {
	payload := c.payloads[0]
	serial := c.book.Issue(payload)
	result, err := c.proposer.Propose(context.Background(), payload)
	if err != nil {
		c.failed(serial, err)
		if !c.pause() || !c.find() {
			return 0, false
		}
		return c.run.now(), true
	}
	c.book.Acknowledge(serial, result.LogID)
	c.run.acknowledge(result.LogID.Index)
	return c.answered(issued, 1), true
}

// acknowledge notes for those who read up to where puts are answered.
func (r *Run) acknowledge(index codec.Index) {
	for {
		newest := r.acknowledged.Load()
		if uint64(index) <= newest || r.acknowledged.CompareAndSwap(newest, uint64(index)) {
			return
		}
	}
}

// read reads once, and returns as put does. What any client was answered before must be in what is read.
func (c *client) read(issued int64) (int64, bool) {
	seen := &c.reads.seen
	least := c.run.acknowledged.Load()
	index, err := c.reads.reader.Read(context.Background())
	if err != nil {
		seen.Errors++
		c.noteRead(err)
		if !c.pause() || !c.findReader() {
			return 0, false
		}
		return c.run.now(), true
	}
	if uint64(index) < least {
		if seen.Stale++; seen.Stale == 1 {
			seen.FirstStale = fmt.Sprintf("a read of client %d got the state at index %d, after a put had been acknowledged at index %d",
				c.reads.client, index, least)
		}
	}
	now := c.run.now()
	if now >= c.run.warmEnd {
		if now < c.run.end.Load() {
			seen.Ops++
		}
		if c.reads.samples = append(c.reads.samples, sample{now - issued, 1}); len(c.reads.samples) == samplesMax {
			c.recordReads()
		}
	}
	return now, true
}

// findReader is find for reads.
func (c *client) findReader() bool {
	r := c.reads
	for {
		var err error
		if r.reader, err = r.source.Reader(r.client); err == nil {
			return true
		}
		c.noteRead(err)
		if isGone(err) || !c.pause() {
			return false
		}
	}
}

func (c *client) noteRead(err error) {
	if c.reads.seen.FirstError == nil {
		c.reads.seen.FirstError = err
	}
}

// recordReads takes the samples to the histogram.
func (c *client) recordReads() {
	c.shard.addReads(c.reads.samples)
	c.reads.samples = c.reads.samples[:0]
}

// addReads takes the latencies of reads.
func (s *shard) addReads(samples []sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range samples {
		record(s.reads, v)
	}
}

// sumReads adds up what the clients saw of their reads; nil where nothing was to be read.
func (r *Run) sumReads() *Reads {
	if r.cfg.ReadRatio == 0 {
		return nil
	}
	sum := &Reads{Latency: newHistogram()}
	for _, c := range r.clients {
		seen := &c.reads.seen
		sum.Ops += seen.Ops
		sum.Errors += seen.Errors
		sum.Stale += seen.Stale
		if sum.FirstError == nil {
			sum.FirstError = seen.FirstError
		}
		if sum.FirstStale == "" {
			sum.FirstStale = seen.FirstStale
		}
	}
	for _, s := range r.shards {
		sum.Latency.Merge(s.reads)
	}
	return sum
}
