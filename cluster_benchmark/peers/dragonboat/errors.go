package main

import "errors"

// errNotLeading is returned while the cluster elects. The caller asks again a little later.
var errNotLeading = errors.New("no node leads")

// errNoState is what stops a node that lags so far behind that it would need a snapshot: the state machine, which only
// checks, can't be given another one's state.
var errNoState = errors.New("the state machine takes no state of another node")

// errDropped is returned for a put that the library dropped before it was appended, since nobody led.
var errDropped = errors.New("dropped as nobody leads")

// errTerminated is why the fate of a put is unknown when the node was closed before its answer, errTimeout when there was
// no answer in time, and errRejected when the library would not say what became of it.
var (
	errTerminated = errors.New("the node was closed")
	errTimeout    = errors.New("no answer in time")
	errRejected   = errors.New("rejected or aborted")
)
