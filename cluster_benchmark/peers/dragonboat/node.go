package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/client"

	"github.com/millrace/millrace/pipeline"
)

const (
	// answerTimeout is how long the library keeps a put that has no answer.
	answerTimeout = time.Minute
	// asyncMax bounds the puts of ProposeAsync that are not yet answered, per node.
	asyncMax = 1 << 16
	// busyPause is how long a put that found the library's queue full waits at most before it tries again. Mostly an answer
	// to another wakes it earlier.
	busyPause = 5 * time.Millisecond
)

// node is one of the library's hosts with its replica. Its methods that propose may be called from any goroutine.
type node struct {
	replica uint64
	host    *dragonboat.NodeHost
	session *client.Session // one for all: NoOP sessions have no state
	machine *machine

	// open guards closed, and holds the host open while a put is handed over, which it would not survive otherwise. A
	// counter would do the same; callers share this lock, and only close takes it for itself.
	open   sync.RWMutex
	closed bool

	// Puts that found the library's queue full wait for a token, of which each answer gives one while somebody waits.
	queuing atomic.Int64
	room    chan struct{}

	async   atomic.Int64
	waiting chan waiting  // capacity asyncMax; async counts what is in it or about to be
	done    chan struct{} // closed when the goroutine that answers has ended
}

// waiting is a put whose caller does not wait.
type waiting struct {
	request *dragonboat.RequestState
	answer  func(pipeline.Result, error)
}

// hand hands a put to the library, which copies it. The error is that it has no room, or why the put can't happen.
func (n *node) hand(data []byte) (*dragonboat.RequestState, error) {
	n.open.RLock()
	defer n.open.RUnlock()
	if n.closed {
		return nil, pipeline.ErrStopped
	}
	return n.host.Propose(n.session, data, answerTimeout)
}

// handWhenFree hands a put to the library as soon as it has room. It ends early when ctx does.
func (n *node) handWhenFree(ctx context.Context, data []byte) (*dragonboat.RequestState, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	request, err := n.hand(data)
	if !errors.Is(err, dragonboat.ErrSystemBusy) {
		return request, err
	}
	n.queuing.Add(1)
	defer n.queuing.Add(-1)
	pause := time.NewTicker(busyPause)
	defer pause.Stop()
	for {
		if request, err = n.hand(data); !errors.Is(err, dragonboat.ErrSystemBusy) {
			return request, err
		}
		select {
		case <-n.room:
		case <-pause.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// finish waits for a put's answer. The library answers each, at the latest when its time is over or the host is closed.
func (n *node) finish(request *dragonboat.RequestState) (pipeline.Result, error) {
	answer := <-request.AppliedC()
	request.Release()
	if n.queuing.Load() > 0 {
		select {
		case n.room <- struct{}{}:
		default:
		}
	}
	switch {
	case answer.Completed():
		return pipeline.Result{LogID: logID(answer.GetResult().Value)}, nil
	case answer.Dropped():
		return pipeline.Result{}, errDropped
	case answer.Terminated():
		return pipeline.Result{}, &pipeline.UnknownError{Cause: errTerminated}
	case answer.Timeout():
		return pipeline.Result{}, &pipeline.UnknownError{Cause: errTimeout}
	}
	return pipeline.Result{}, &pipeline.UnknownError{Cause: errRejected}
}

// Propose puts data and waits. The context is looked at only until the library has taken it.
func (n *node) Propose(ctx context.Context, data []byte) (pipeline.Result, error) {
	request, err := n.handWhenFree(ctx, data)
	if err != nil {
		return pipeline.Result{}, err
	}
	return n.finish(request)
}

// ProposeAsync puts data; fn gets the answer on the goroutine that answers.
func (n *node) ProposeAsync(data []byte, fn func(pipeline.Result, error)) error {
	if n.async.Add(1) > asyncMax {
		n.async.Add(-1)
		return &pipeline.BusyError{What: "queue of answers", Bytes: asyncMax, Limit: asyncMax}
	}
	request, err := n.hand(data)
	if err != nil {
		n.async.Add(-1)
		if errors.Is(err, dragonboat.ErrSystemBusy) {
			return &pipeline.BusyError{What: "queue of the library"}
		}
		return err
	}
	n.waiting <- waiting{request, fn}
	return nil
}

// answer answers the puts of ProposeAsync, in the order in which the library took them.
func (n *node) answer() {
	defer close(n.done)
	for w := range n.waiting {
		result, err := n.finish(w.request)
		w.answer(result, err)
		n.async.Add(-1)
	}
}

// ProposeBatch puts several entries and waits for all of them.
func (n *node) ProposeBatch(ctx context.Context, datas [][]byte) ([]pipeline.Result, error) {
	requests := make([]*dragonboat.RequestState, 0, len(datas))
	var failure error
	for _, data := range datas {
		request, err := n.handWhenFree(ctx, data)
		if err != nil {
			failure = err
			break
		}
		requests = append(requests, request)
	}
	results := make([]pipeline.Result, 0, len(datas))
	for _, request := range requests {
		result, err := n.finish(request)
		results = append(results, result)
		if failure == nil {
			failure = err
		}
	}
	if failure != nil && len(requests) > 0 {
		return nil, &pipeline.UnknownError{Cause: failure} // some of them may have happened
	}
	return results, failure
}

// close answers everyone and ends the node.
func (n *node) close() {
	n.open.Lock()
	n.closed = true
	n.open.Unlock()
	if n.host != nil {
		n.host.Close() // which answers what waits; it panics where its files can't be closed
	}
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for n.async.Load() > 0 { // answered, or about to be put into waiting
		<-look.C
	}
	close(n.waiting)
	<-n.done
}
