package wal

import "errors"

// ErrPoisoned is wrapped by the error that every group is told, and that Close and everything after returns, once a
// write or a sync has failed. It wraps the operating system's error too (so that a full disk is
// errors.Is(err, syscall.ENOSPC)). What was not reported as durable before may or may not be on the disk. The caller
// stops the node; opening the directory again repairs it.
var ErrPoisoned = errors.New("log is poisoned: a write or sync failed")

// ErrIdentity is wrapped by Open when the directory belongs to another node, another cluster or another format
// version. Nothing was changed. The caller corrects its configuration.
var ErrIdentity = errors.New("directory belongs to somebody else")

// ErrClosed is wrapped by what was asked of a log after its Close, or was still waiting when it closed.
var ErrClosed = errors.New("log is closed")

// ErrNotHeld is wrapped by ReadFrame for an index that the group's log does not hold. The caller has forgotten a
// truncation, or asks for what was never written.
var ErrNotHeld = errors.New("index is not in the log")

// ErrStale is wrapped by ReadFrame when the group's log was truncated while the frame was being read. The caller asks
// again if it still wants the index.
var ErrStale = errors.New("log was truncated during the read")

// ErrGroupOpen is wrapped by Group for a group that was opened before. A group has one owner.
var ErrGroupOpen = errors.New("group is open already")

// errForeign says that a record is whole and was written to another log. The scan turns it into damage.
var errForeign = errors.New("record belongs to another log")
