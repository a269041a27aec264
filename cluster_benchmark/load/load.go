package load

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/millrace/millrace/cluster_benchmark/safety"
	"github.com/millrace/millrace/pipeline"
)

// Proposer takes puts: an engine's leader, or a ceiling's intake.
type Proposer interface {
	Propose(ctx context.Context, data []byte) (pipeline.Result, error)
	ProposeAsync(data []byte, fn func(pipeline.Result, error)) error
	ProposeBatch(ctx context.Context, datas [][]byte) ([]pipeline.Result, error)
}

// Source knows where puts go at the moment. Clients ask it at the start and whenever a put failed.
type Source interface {
	// Proposer returns where to put. An error means nobody takes puts now: the client asks again a little later, or
	// ends when it wraps [ErrGone]. It must not block for long.
	Proposer() (Proposer, error)
}

// Config says what load to make.
type Config struct {
	Clients  int
	Inflight int // puts outstanding per client; 1 unless Batch is 1
	Batch    int // puts per call
	Payload  int // bytes
	// Rate is how many puts a second become due, whether earlier ones are answered or not: an open loop. 0 is a closed
	// loop, in which a client puts when it has its answer. In an open loop Clients x Inflight calls can be outstanding.
	Rate     float64
	Arrivals Arrivals // with a rate
	// ReadRatio is which part of what a client does is a read, 0 or more and below 1. Above 0 the source must be a
	// [ReadSource], and it needs Inflight 1, Batch 1 and no rate.
	ReadRatio float64
	Warmup    time.Duration
	Duration  time.Duration
	// Intervals says that each interval of the series is to keep its histogram, which is encoded when it is over: about a
	// millisecond of a client's time.
	Intervals bool
	// Interval is the length of the intervals; 0 for what [Interval] says.
	Interval time.Duration
}

// Run is load being made. Its methods may be called from any goroutine.
type Run struct {
	cfg      Config
	source   Source
	base     time.Time     // origin of the run's clock
	warmEnd  int64         // on that clock, nanoseconds
	interval time.Duration // of the series
	end      atomic.Int64  // on that clock; brought forward by Stop
	stopped  chan struct{} // closed by Stop
	stopOnce sync.Once
	warm     chan struct{} // closed at the end of the warm-up
	over     chan struct{} // closed at the end of the measured time
	drained  chan struct{} // closed when every client has ended
	series   *series
	shards   []*shard
	schedule *schedule // of an open loop, else nil
	clients  []*client // in an open loop carriers
	// acknowledged is the highest index that a put was answered with, where there are reads.
	acknowledged atomic.Uint64
}

// Start starts the clients and, once all are there, the clock.
func Start(cfg Config, source Source) *Run { return start(cfg, source, newPauser) }

func start(cfg Config, source Source, newPauser func() pauser) *Run {
	r := &Run{
		cfg: cfg, source: source,
		stopped: make(chan struct{}), warm: make(chan struct{}), over: make(chan struct{}), drained: make(chan struct{}),
		warmEnd: int64(cfg.Warmup), interval: cfg.Interval, series: newSeries(cfg.Intervals),
	}
	if r.interval == 0 {
		r.interval = Interval(cfg.Duration)
	}
	r.shards = newShards(r.series, cfg)
	for i := range cfg.Clients {
		if cfg.Rate > 0 {
			r.clients = append(r.clients, newCarriers(r, i)...)
		} else {
			r.clients = append(r.clients, newClient(r, i))
		}
	}
	begin := make(chan struct{})
	var ready, ended sync.WaitGroup
	for _, c := range r.clients {
		ready.Add(1)
		ended.Go(func() {
			ready.Done()
			<-begin
			c.loop()
		})
	}
	ready.Wait()
	if cfg.Rate > 0 {
		r.schedule = newSchedule(r, len(r.clients))
	}
	r.base = time.Now()
	r.end.Store(int64(cfg.Warmup + cfg.Duration))
	close(begin)
	if r.schedule != nil {
		ended.Go(func() { r.schedule.pace(newPauser()) })
	}
	go r.keepTime()
	go func() {
		ended.Wait()
		close(r.drained)
	}()
	return r
}

// keepTime tells the phases to those who wait for them. Clients look at the clock themselves.
func (r *Run) keepTime() {
	r.sleep(r.cfg.Warmup)
	close(r.warm)
	r.sleep(r.cfg.Warmup + r.cfg.Duration)
	close(r.over)
}

// sleep returns at a time of the run's clock, or when the run is stopped, or when every client has given up.
func (r *Run) sleep(until time.Duration) {
	timer := time.NewTimer(until - time.Since(r.base))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.stopped:
	case <-r.drained:
	}
}

func (r *Run) now() int64 { return int64(time.Since(r.base)) }

// intervalAt returns the interval of a time within the measured one.
func (r *Run) intervalAt(now int64) int { return int((now - r.warmEnd) / int64(r.interval)) }

// early reports whether the run was stopped before its time.
func (r *Run) early() bool { return r.end.Load() < int64(r.cfg.Warmup+r.cfg.Duration) }

// giveUp returns until when puts are issued: to the end, and in an open loop longer for those that were due before it, as
// long as the measured time but not beyond [overrunMax].
func (r *Run) giveUp() int64 {
	end := r.end.Load()
	if r.schedule == nil || r.early() {
		return end
	}
	return end + int64(min(r.cfg.Duration, overrunMax))
}

// Warm is closed at the end of the warm-up, early when the run is stopped or every client has given up.
func (r *Run) Warm() <-chan struct{} { return r.warm }

// Over is closed at the end of the measured time, or as early as Warm.
func (r *Run) Over() <-chan struct{} { return r.over }

// Elapsed returns the time since the clock started.
func (r *Run) Elapsed() time.Duration { return time.Since(r.base) }

// Answered returns how many puts were answered since the start, warm-up included. Puts of the last [publishEvery] may
// still be missing, and those of a client whose window is not yet answered as a whole.
func (r *Run) Answered() uint64 {
	sum := uint64(0)
	for _, s := range r.shards {
		sum += s.answered.Load()
	}
	return sum
}

// Stop ends the measured time now, if it is not over.
func (r *Run) Stop() {
	r.stopOnce.Do(func() {
		r.end.Store(min(r.now(), r.end.Load()))
		close(r.stopped)
	})
}

// Drain waits until everything outstanding is answered and every client has ended, or until ctx ends. It returns false
// when clients still wait: close the target, which answers them, and drain again.
func (r *Run) Drain(ctx context.Context) bool {
	select {
	case <-r.drained:
		return true
	default:
	}
	select {
	case <-r.drained:
		return true
	case <-ctx.Done():
		return false
	}
}

// Measurement is what the clients saw.
type Measurement struct {
	// Duration is the measured time, shorter than asked for when stopped; 0 when stopped before the warm-up ended.
	Duration time.Duration
	// Ops counts puts answered within it, Errors failed ones since the start of the warm-up.
	Ops, Errors uint64
	// FirstError is one of the errors, nil without any.
	FirstError error
	// Latency holds nanoseconds.
	Latency *hdrhistogram.Histogram
	// Series is the measured time in intervals; see [Interval].
	Series []Point
	// Books hold each client's puts, warm-up included.
	Books []*safety.Book
	// Generator is how the puts of an open loop were issued, nil in a closed one.
	Generator *Generator
	// Reads is what was read beside the puts, nil where nothing was to be.
	Reads *Reads
}

// Generator says how well the puts of an open loop were issued. All but Late count puts that were due in the measured
// time.
type Generator struct {
	// Offered is all of them.
	Offered uint64
	// Waited found every carrier busy. Their clock went on.
	Waited uint64
	// Unissued were never issued: the target was not done with others long after the end, or the run was stopped. In the
	// former case they are in the histogram with the time that they had waited.
	Unissued uint64
	// Short were not issued within the measured time although a carrier was free: what the generator owes.
	Short uint64
	// Late is how many nanoseconds after they could be puts were issued: after they were due, or after a carrier was free.
	Late *hdrhistogram.Histogram
}

// Measurement returns the result. It must be called after Drain has returned true.
func (r *Run) Measurement() Measurement {
	m := Measurement{Latency: newHistogram(), Reads: r.sumReads()}
	m.Duration = max(0, time.Duration(r.end.Load()-r.warmEnd))
	for _, c := range r.clients {
		m.Ops += c.ops
		m.Errors += c.errors
		if m.FirstError == nil {
			m.FirstError = c.firstError
		}
		if n := len(m.Books); n == 0 || m.Books[n-1] != c.book { // carriers of a client follow each other
			m.Books = append(m.Books, c.book)
		}
	}
	for _, s := range r.shards {
		m.Latency.Merge(s.finish())
	}
	m.Series = r.series.finish(r.interval, m.Duration)
	if s := r.schedule; s != nil {
		s.rest(m.Latency)
		m.Generator = &Generator{Offered: s.offered + s.unissued, Waited: s.waited, Unissued: s.unissued, Short: s.owed, Late: newHistogram()}
		for _, c := range r.clients {
			m.Generator.Short += c.short
		}
		for _, shard := range r.shards {
			m.Generator.Late.Merge(shard.late)
		}
	}
	return m
}
