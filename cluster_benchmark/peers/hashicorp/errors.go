package main

import "errors"

// errNotLeading is returned while the cluster elects. The caller asks again a little later.
var errNotLeading = errors.New("no node leads")

// errNoState is what stops a node that lags so far behind that it would need a snapshot: the state machine, which only
// checks, can't be given another one's state.
var errNoState = errors.New("the state machine takes no state of another node")
