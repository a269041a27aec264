package load

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/cluster_benchmark/safety"
	"github.com/millrace/millrace/pipeline"
)

// samplesMax is how many calls a client measures between two visits to its shard's histogram.
const samplesMax = 32

// publishEvery is how often a client says, at an answer, how many puts were answered: well within what an eye that
// watches the rate can tell.
const publishEvery = 50 * time.Millisecond

// retryPause is how long a client waits after a failed put before it asks where to put the next one.
const retryPause = 5 * time.Millisecond

// client is one closed loop, or in an open loop one carrier of its puts.
//
// Owner: its goroutine, until it has ended.
type client struct {
	// What each call touches comes first and lies together: with thousands of clients every cache line is a miss.
	run         *Run
	proposer    Proposer
	payloads    [][]byte // one per put of a call
	sampled     int
	interval    int    // of the measured time, in which the samples were answered
	intervalEnd int64  // on the run's clock, nanoseconds
	publishAt   int64  // on that clock
	unpublished uint64 // puts answered and not yet in shard.answered
	ops         uint64
	book        *safety.Book

	samples    [samplesMax]sample
	shard      *shard
	errors     uint64
	firstError error

	reads *reading // nil without

	// Of a carrier alone.
	serials []uint64
	lates   []sample    // how late the calls in samples were issued
	short   uint64      // puts that were due in the measured time and issued after it, although a carrier was free
	sharing *sync.Mutex // guards book where other carriers have the same; else nil
	calls   chan call   // capacity 1; the pacer gives a call to who waits, and closes it when none comes any more
	given   call        // of the pacer, on its way into calls
}

// newClient returns one that writes into a book of its own.
func newClient(r *Run, number int) *client {
	book := safety.NewBook(number, r.cfg.Payload)
	c := &client{run: r, shard: r.shards[number%len(r.shards)], book: &book, reads: newReading(r, number)}
	c.intervalEnd = r.warmEnd + int64(r.interval)
	random := rand.New(rand.NewPCG(uint64(number), 1))
	for range r.cfg.Batch {
		payload := make([]byte, r.cfg.Payload)
		for i := range payload {
			payload[i] = byte(random.Uint32())
		}
		c.payloads = append(c.payloads, payload)
	}
	return c
}

// newCarriers returns the carriers of one client of an open loop: as many as it keeps in flight, with one book.
func newCarriers(r *Run, number int) []*client {
	carriers := make([]*client, r.cfg.Inflight)
	var sharing *sync.Mutex
	if len(carriers) > 1 {
		sharing = &sync.Mutex{}
	}
	for i := range carriers {
		c := newClient(r, number)
		if i > 0 {
			c.book = carriers[0].book
		}
		c.shard = r.shards[(number*len(carriers)+i)%len(r.shards)]
		c.sharing, c.serials = sharing, make([]uint64, r.cfg.Batch)
		c.lates, c.calls = make([]sample, 0, samplesMax), make(chan call, 1)
		carriers[i] = c
	}
	return carriers
}

func (c *client) loop() {
	if c.run.schedule != nil {
		c.carry()
		return
	}
	if !c.find() {
		return
	}
	switch {
	case c.reads != nil:
		c.mixed()
	case c.run.cfg.Inflight > 1:
		c.windows()
	case c.run.cfg.Batch > 1:
		c.batches()
	default:
		c.singles()
	}
	c.record()
	c.publish()
}

// singles puts one at a time.
func (c *client) singles() {
	ctx, payload := context.Background(), c.payloads[0]
	issued := c.run.now()
	for issued < c.run.end.Load() {
		serial := c.book.Issue(payload)
		result, err := c.proposer.Propose(ctx, payload)
		if err != nil {
			c.failed(serial, err)
			if !c.pause() || !c.find() {
				return
			}
			issued = c.run.now()
			continue
		}
		c.book.Acknowledge(serial, result.LogID)
		issued = c.answered(issued, 1)
	}
}

// batches puts several in one call.
func (c *client) batches() {
	ctx := context.Background()
	serials := make([]uint64, len(c.payloads))
	issued := c.run.now()
	for issued < c.run.end.Load() {
		for i, payload := range c.payloads {
			serials[i] = c.book.Issue(payload)
		}
		results, err := c.proposer.ProposeBatch(ctx, c.payloads)
		if err != nil {
			for _, serial := range serials {
				c.failed(serial, err)
			}
			if !c.pause() || !c.find() {
				return
			}
			issued = c.run.now()
			continue
		}
		for i, serial := range serials {
			c.book.Acknowledge(serial, results[i].LogID)
		}
		issued = c.answered(issued, len(serials))
	}
}

// window is the puts that a client has outstanding.
type window struct {
	slots []slot
	// missing counts unanswered puts. It is set before the first is issued; whoever brings it to 0 is the last.
	missing atomic.Int32
	wake    chan struct{} // capacity 1; one token per window whose last answer came from elsewhere
}

// slot is one put of a window. The answering goroutine writes it before it counts window.missing down, the client
// reads it after missing has reached 0.
type slot struct {
	serial uint64
	result pipeline.Result
	err    error
	answer func(pipeline.Result, error)
}

func newWindow(size int) *window {
	w := &window{slots: make([]slot, size), wake: make(chan struct{}, 1)}
	for i := range w.slots {
		s := &w.slots[i]
		s.answer = func(result pipeline.Result, err error) {
			s.result, s.err = result, err
			if w.missing.Add(-1) == 0 {
				w.wake <- struct{}{}
			}
		}
	}
	return w
}

// windows puts as many as may be outstanding, then awaits them all.
func (c *client) windows() {
	w := newWindow(c.run.cfg.Inflight)
	issued := c.run.now()
	for issued < c.run.end.Load() {
		w.missing.Store(int32(len(w.slots)))
		for i := range w.slots {
			c.issue(&w.slots[i])
		}
		<-w.wake
		acknowledged := 0
		for i := range w.slots {
			s := &w.slots[i]
			if s.err != nil {
				c.failed(s.serial, s.err)
				continue
			}
			c.book.Acknowledge(s.serial, s.result.LogID)
			acknowledged++
		}
		issued = c.answered(issued, acknowledged)
		if acknowledged < len(w.slots) {
			if !c.pause() || !c.find() {
				return
			}
			issued = c.run.now()
		}
	}
}

// issue puts one without waiting for its answer; where there is no room it waits for that, as a caller would.
func (c *client) issue(s *slot) {
	payload := c.payloads[0]
	s.serial = c.book.Issue(payload)
	err := c.proposer.ProposeAsync(payload, s.answer)
	if err == nil {
		return
	}
	var result pipeline.Result
	if errors.Is(err, pipeline.ErrBusy) {
		result, err = c.proposer.Propose(context.Background(), payload)
	}
	s.answer(result, err)
}

// answered records puts that were issued together and are now answered, and returns the time.
func (c *client) answered(issued int64, puts int) int64 {
	now := c.run.now()
	if now >= c.run.warmEnd && puts > 0 {
		if now < c.run.end.Load() {
			c.ops += uint64(puts)
			if now >= c.intervalEnd {
				c.enter(c.run.intervalAt(now))
			}
		} else if c.interval != beyond {
			c.enter(beyond)
		}
		c.sample(sample{now - issued, int64(puts)})
	}
	c.answeredBy(now, int64(puts))
	return now
}

// sample keeps one until there are enough for a visit to the histogram.
func (c *client) sample(s sample) {
	c.samples[c.sampled] = s
	if c.sampled++; c.sampled == samplesMax {
		c.record()
	}
}

// answeredBy notes for who watches how many puts are answered.
func (c *client) answeredBy(now, puts int64) {
	c.unpublished += uint64(puts)
	if now >= c.publishAt {
		c.publish()
		c.publishAt = now + int64(publishEvery)
	}
}

// enter begins an interval: the samples kept so far are of another.
func (c *client) enter(interval int) {
	c.record()
	c.interval = interval
	c.intervalEnd = c.run.warmEnd + int64(interval+1)*int64(c.run.interval)
}

// record takes the samples to the histogram.
func (c *client) record() {
	c.shard.add(c.interval, c.samples[:c.sampled], c.lates)
	c.sampled, c.lates = 0, c.lates[:0]
}

// publish makes the answered puts known to [Run.Answered].
func (c *client) publish() {
	c.shard.answered.Add(c.unpublished)
	c.unpublished = 0
}

// failed counts a put that was not acknowledged.
func (c *client) failed(serial uint64, err error) {
	c.unanswered(serial, err)
	c.errors++
}

// unanswered notes a put that was not acknowledged. Anything but an unknown fate means that it certainly did not happen.
func (c *client) unanswered(serial uint64, err error) {
	if isUnknown(err) {
		c.book.Unknown(serial)
	} else {
		c.book.Refuse(serial)
	}
	c.note(err)
}

// find asks where to put until somebody takes puts. It returns false when the run is over or the target is gone.
func (c *client) find() bool {
	for {
		var err error
		if c.proposer, err = c.run.source.Proposer(); err == nil {
			return true
		}
		c.note(err)
		if isGone(err) || !c.pause() {
			return false
		}
	}
}

// pause returns false when nothing is put any more.
func (c *client) pause() bool {
	timer := time.NewTimer(retryPause)
	defer timer.Stop()
	over := c.run.over
	if c.run.schedule != nil {
		over = c.run.stopped
	}
	select {
	case <-timer.C:
		return c.run.now() < c.run.giveUp()
	case <-over:
		return false
	}
}

func isGone(err error) bool { return errors.Is(err, ErrGone) }

func isUnknown(err error) bool { return errors.As(err, new(*pipeline.UnknownError)) }

func (c *client) note(err error) {
	if c.firstError == nil {
		c.firstError = err
	}
}
