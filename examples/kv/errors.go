package main

import "errors"

// errBadRequest is wrapped where a client asks for what can't be; it is answered with 400.
var errBadRequest = errors.New("bad request")

// errNoSuchKey says that a key has no value; it is answered with 404.
var errNoSuchKey = errors.New("no such key")
