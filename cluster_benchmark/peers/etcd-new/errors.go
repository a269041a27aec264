package main

import "errors"

// errNotLeading is returned while the cluster elects, and for puts that reached a node which does not lead any more:
// they were not proposed. The caller asks again a little later.
var errNotLeading = errors.New("no node leads")

// errOverwritten is the cause given for puts whose place in the log another leader's entries took.
var errOverwritten = errors.New("another leader's entries took their place")
