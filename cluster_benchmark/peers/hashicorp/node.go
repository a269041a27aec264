package main

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
)

// asyncMax bounds the puts of ProposeAsync that are not yet answered, per node.
const asyncMax = 1 << 16

// node is one raft node. Its methods that propose may be called from any goroutine.
type node struct {
	id      raft.ServerID
	raft    *raft.Raft
	machine *machine
	logs    raft.LogStore
	stable  raft.StableStore
	trans   raft.Transport
	shut    []func() error // what is closed after raft, in order

	closed      atomic.Bool
	outstanding atomic.Int64
	async       atomic.Int64
	waiting     chan waiting  // capacity asyncMax; async counts what is in it or about to be
	done        chan struct{} // closed when the goroutine that answers has ended
}

// waiting is a put whose caller does not wait.
type waiting struct {
	future raft.ApplyFuture
	answer func(pipeline.Result, error)
}

// apply hands a put to the library. Each call that returns without an error must be followed by one of finish.
func (n *node) apply(data []byte) (raft.ApplyFuture, error) {
	n.outstanding.Add(1)
	if n.closed.Load() {
		n.outstanding.Add(-1)
		return nil, pipeline.ErrStopped
	}
	// The library keeps what it is given; the caller uses its bytes again.
	return n.raft.Apply(bytes.Clone(data), 0), nil
}

// finish waits for the put's answer.
func (n *node) finish(future raft.ApplyFuture) (pipeline.Result, error) {
	err := future.Error()
	n.outstanding.Add(-1)
	switch {
	case err == nil:
		return pipeline.Result{LogID: logID(future.Response().(uint64), future.Index())}, nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return pipeline.Result{}, err // refused before it was appended
	}
	return pipeline.Result{}, &pipeline.UnknownError{LogID: codec.LogID{}, Cause: err}
}

// Propose puts data and waits. The context is looked at before that only: the library has no way to stop waiting.
func (n *node) Propose(ctx context.Context, data []byte) (pipeline.Result, error) {
	if ctx.Err() != nil {
		return pipeline.Result{}, context.Cause(ctx)
	}
	future, err := n.apply(data)
	if err != nil {
		return pipeline.Result{}, err
	}
	return n.finish(future)
}

// ProposeAsync puts data; fn gets the answer on the goroutine that answers.
func (n *node) ProposeAsync(data []byte, fn func(pipeline.Result, error)) error {
	if n.async.Add(1) > asyncMax {
		n.async.Add(-1)
		return &pipeline.BusyError{What: "queue of answers", Bytes: asyncMax, Limit: asyncMax}
	}
	future, err := n.apply(data)
	if err != nil {
		n.async.Add(-1)
		return err
	}
	n.waiting <- waiting{future, fn}
	return nil
}

// answer answers the puts of ProposeAsync, in the order in which the library took them.
func (n *node) answer() {
	defer close(n.done)
	for w := range n.waiting {
		result, err := n.finish(w.future)
		n.async.Add(-1)
		w.answer(result, err)
	}
}

// ProposeBatch puts several entries and waits for all of them.
func (n *node) ProposeBatch(ctx context.Context, datas [][]byte) ([]pipeline.Result, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	futures := make([]raft.ApplyFuture, 0, len(datas))
	var failure error
	for _, data := range datas {
		future, err := n.apply(data)
		if err != nil {
			failure = err
			break
		}
		futures = append(futures, future)
	}
	results := make([]pipeline.Result, 0, len(datas))
	for _, future := range futures {
		result, err := n.finish(future)
		results = append(results, result)
		if failure == nil {
			failure = err
		}
	}
	if failure != nil && len(futures) > 0 {
		return nil, &pipeline.UnknownError{Cause: failure} // some of them may have happened
	}
	return results, failure
}

// refuse ends proposing and waits until everyone is answered. The library leaves callers waiting that come while it
// shuts down, so they must be gone before. A leader without a majority steps down after a while and answers them then.
func (n *node) refuse() {
	n.closed.Store(true)
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for n.outstanding.Load() > 0 {
		<-look.C
	}
}

// close ends the node. Puts must have been refused before.
func (n *node) close() error {
	var errs []error
	if n.raft != nil {
		errs = append(errs, n.raft.Shutdown().Error())
		close(n.waiting)
		<-n.done
	}
	for _, shut := range n.shut {
		errs = append(errs, shut())
	}
	return errors.Join(errs...)
}
