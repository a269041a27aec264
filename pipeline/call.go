package pipeline

import (
	"context"
	"sync"
	"time"
)

// call is one caller waiting for the answers to the entries it proposed.
//
// Owner: the caller until it is enqueued and again after done; in between the one goroutine that ends batches. A call may
// have entries in several of them, so all batches of an Intake must be ended by the same goroutine: in a node that of
// the [Applier].
//
// It is written on the answering goroutine's core and read on the caller's, so each cache line counts: it fills two.
type call struct {
	pool    *callPool
	done    chan struct{}       // capacity 1; one token per use
	fn      func(Result, error) // instead of done, for calls that do not wait
	one     [1]Result           // room for the common case
	results []Result            // one per entry
	filled  int32               // results set
	missing int32               // entries not yet answered. Invariant: the call is complete when it reaches 0
	err     error
	trace   *Trace // nil for almost every call
}

// callPool holds calls for reuse. Each Intake has its own, so that a channel never wanders from one test's synctest
// bubble into another.
type callPool struct{ pool sync.Pool }

func (p *callPool) get(entries int, fn func(Result, error)) *call {
	c, _ := p.pool.Get().(*call)
	if c == nil {
		c = &call{pool: p, done: make(chan struct{}, 1)}
	}
	c.fn, c.missing, c.filled, c.err = fn, int32(entries), 0, nil
	if entries == 1 {
		c.results = c.one[:]
	} else {
		c.results = make([]Result, entries)
	}
	return c
}

// release gives the call back for reuse. Only its last holder may: a caller that stopped waiting may not, since the
// answer is still to come.
func (c *call) release() {
	c.one[0], c.results, c.fn, c.err, c.trace = Result{}, nil, nil, nil, nil
	c.pool.pool.Put(c)
}

// wait blocks until the call is complete or the context ends. After an error the call belongs to its batches for good.
func (c *call) wait(ctx context.Context) error {
	if ctx.Done() == nil {
		<-c.done
		c.woken()
		return nil
	}
	select {
	case <-c.done:
		c.woken()
		return nil
	case <-ctx.Done():
	}
	select {
	case <-c.done: // at the same moment
		c.woken()
		return nil
	default:
		return &UnknownError{Cause: context.Cause(ctx)}
	}
}

// woken ends the way of a call that is followed.
func (c *call) woken() {
	if c.trace != nil {
		c.trace.pass(StageAnswer, time.Now())
	}
}

// waitOne waits for the answer to a call of one entry and gives the call back.
func (c *call) waitOne(ctx context.Context) (Result, error) {
	if err := c.wait(ctx); err != nil {
		return Result{}, err
	}
	result, err := c.one[0], c.err
	c.release()
	return result, err
}

// answer takes the results of the call's next entries.
func (c *call) answer(results []Result) {
	c.filled += int32(copy(c.results[c.filled:], results))
	c.missing -= int32(len(results))
	if c.missing == 0 {
		c.complete()
	}
}

// fail ends the next entries without a result. What is known of the whole call is what is known least of any part.
func (c *call) fail(entries int, err error) {
	if c.err == nil || isUnknown(err) && !isUnknown(c.err) {
		c.err = err
	}
	c.missing -= int32(entries)
	if c.missing == 0 {
		c.complete()
	}
}

func (c *call) complete() {
	if c.err != nil && c.filled > 0 && !isUnknown(c.err) {
		c.err = &UnknownError{LogID: c.results[0].LogID, Cause: c.err}
	}
	if c.fn == nil {
		c.done <- struct{}{}
		return
	}
	c.woken()
	fn, result, err := c.fn, c.results[0], c.err
	c.release()
	fn(result, err)
}
