package pipeline

import (
	"errors"
	"fmt"

	"github.com/millrace/millrace/codec"
)

// ErrBusy is what a [BusyError] is, and what some others wrap: something is full or not ready yet, and nothing was done. Try
// again later, or use a call that waits.
var ErrBusy = errors.New("busy")

// BusyError is returned by calls that do not wait when a bound is reached: nothing was proposed.
type BusyError struct {
	What         string // what is full
	Bytes, Limit int    // what it holds, and may hold at most
}

// Error names what is full.
func (e *BusyError) Error() string {
	return fmt.Sprintf("%s holds %d of %d bytes: busy", e.What, e.Bytes, e.Limit)
}

// Is reports that the error is [ErrBusy].
func (e *BusyError) Is(target error) bool { return target == ErrBusy }

// ErrStopped is returned, or wrapped, after the node was closed or stopped itself. What was not yet proposed certainly
// did not happen.
var ErrStopped = errors.New("stopped")

// ErrTooLarge is wrapped when a proposal exceeds the limit of the configuration. It certainly did not happen.
var ErrTooLarge = codec.ErrTooLarge

// UnknownError is the answer to a proposal that was accepted but whose fate is not known: it may have been committed,
// may yet be, or may never. The caller must find out (or make the proposal idempotent) before it repeats it. So it is the
// answer to whatever else was begun and may still come about.
type UnknownError struct {
	// LogID is where the entry stood in the log of the leader that accepted it, with several entries in one call the
	// first one's; zero when that is not known, as for a caller that stopped waiting when its context ended.
	LogID codec.LogID
	// Cause says why nobody waits any more: a context's error, lost leadership, or what stopped the node.
	Cause error
}

// Error returns a sentence with the log id and the cause.
func (e *UnknownError) Error() string {
	if e.LogID.IsZero() {
		return fmt.Sprintf("fate unknown: %v", e.Cause)
	}
	return fmt.Sprintf("fate of the entry %v unknown: %v", e.LogID, e.Cause)
}

// Unwrap returns the cause.
func (e *UnknownError) Unwrap() error { return e.Cause }

func isUnknown(err error) bool {
	var u *UnknownError
	return errors.As(err, &u)
}

// ErrNotSnapshotter is wrapped by [Applier.Capture] and [Applier.Sync] for a state machine without what they need. The
// caller does without snapshots.
var ErrNotSnapshotter = errors.New("no Snapshotter")

// ErrNotAdopter is wrapped where a state of another log comes to an [OnDisk] state machine that is no [Adopter].
var ErrNotAdopter = errors.New("no Adopter")

// StateMachineError is what stops a node whose state machine failed: a call of it returned an error or panicked. The entries
// First to Last are committed and were given to Apply; none is skipped, so the node can't go on. In other calls they are the
// last entry applied. Only what Snapshot returns does not stop the node.
type StateMachineError struct {
	Call        string // Apply, Applied, Snapshot, WriteTo, Sync, Restore or Adopt
	First, Last codec.Index
	Cause       error
}

// Error names the call, the entries and the cause.
func (e *StateMachineError) Error() string {
	switch {
	case e.Call == "Apply":
		return fmt.Sprintf("state machine failed on entries %d to %d: %v", e.First, e.Last, e.Cause)
	case e.First == e.Last:
		return fmt.Sprintf("state machine failed in %s at entry %d: %v", e.Call, e.Last, e.Cause)
	}
	return fmt.Sprintf("state machine failed in %s at entries %d to %d: %v", e.Call, e.First, e.Last, e.Cause)
}

// Unwrap returns the cause.
func (e *StateMachineError) Unwrap() error { return e.Cause }

// panicError is the cause in the [StateMachineError] of a call that panicked.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.value, e.stack) }
