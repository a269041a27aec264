package main

import "errors"

// errBadRequest is wrapped where a client asks for what can't be; it is answered with 400.
var errBadRequest = errors.New("bad request")

// errNoSuchKey says that a key has no value; it is answered with 404.
var errNoSuchKey = errors.New("no such key")

// errNotRead is wrapped where a node could not make sure that it is up to date; it is answered with 503: another node may be.
var errNotRead = errors.New("nothing was read")

// errNoAnswer is wrapped by a client whose time has run out: what it asked for may have happened or may not.
var errNoAnswer = errors.New("no node has answered")
