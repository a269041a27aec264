package vfs

import "errors"

// ErrLocked is wrapped by [FS.Lock] when somebody else holds the lock. The caller gives up: two owners of one
// directory destroy it.
var ErrLocked = errors.New("locked by another process")
