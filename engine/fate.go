package engine

import (
	"context"
	"fmt"
	"io/fs"
	"slices"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
	"github.com/millrace/millrace/netio"
	"github.com/millrace/millrace/wal"
	"github.com/millrace/millrace/wal/snapshot"
	"github.com/millrace/millrace/wal/vfs"
)

// Fate says what became of what a call asked for, as far as its error tells: what a caller has to know before it tries
// again.
type Fate uint8

// The fates. The zero value is the one that promises nothing.
const (
	// FateUnknown: it may have taken effect, may yet, or may never.
	FateUnknown Fate = iota
	// FateNotDone: it certainly did not take effect, and will not.
	FateNotDone
	// FateDone: it took effect. For a nil error, and for an [AppliedError], whose answer can't be given any more.
	FateDone
)

// String returns the fate's name.
func (f Fate) String() string {
	switch f {
	case FateUnknown:
		return "unknown"
	case FateNotDone:
		return "not done"
	case FateDone:
		return "done"
	}
	return fmt.Sprintf("Fate(%d)", uint8(f))
}

// FateOf returns the fate of what a call of this package asked for when it returned this error, also when it comes wrapped.
// An error that this package does not know has an unknown fate; so has one of the operating system's, after which a file may
// be there or not. The cause that a caller has given a context is taken for what it is. Of a membership change that is not
// done a first step may be: see [StagedError].
func FateOf(err error) Fate {
	if err == nil {
		return FateDone
	}
	fate, _ := fateIn(err)
	return fate
}

// fateIn returns the fate by the outermost error that this package knows, and whether there is one. What that wraps says why,
// and would mean something else by itself.
func fateIn(err error) (fate Fate, known bool) {
	switch err.(type) {
	case *AppliedError:
		return FateDone, true
	case *UnknownError, *OpenCommandError, *SessionExpiredError, *SessionAnsweredError, *TransferError, *DiskStallError:
		return FateUnknown, true
	case *NotLeaderError, *LeadershipError, *ForwardError, *QuorumError, *LagError, *BehindError, *StagedError, *ChangedError,
		*IntersectionError, *WitnessQuorumError, *PurgedError, *BusyError, *ConfigError, *ArgumentError, *WitnessError,
		*IncarnationError, *StateMachineError:
		return FateNotDone, true
	}
	if slices.ContainsFunc(notDone, func(value error) bool { return isItself(err, value) }) {
		return FateNotDone, true
	}
	var inner []error
	switch err := err.(type) {
	case interface{ Unwrap() error }:
		inner = append(inner, err.Unwrap())
	case interface{ Unwrap() []error }:
		inner = err.Unwrap()
	}
	for _, e := range inner {
		if fate, known = fateIn(e); known {
			return fate, true
		}
	}
	return FateUnknown, false
}

// isItself does as errors.Is, without a look at what the error wraps.
func isItself(err, value error) bool {
	if err == value {
		return true
	}
	also, ok := err.(interface{ Is(error) bool })
	return ok && also.Is(value)
}

// notDone lists the errors that are values and after which nothing was done.
var notDone = []error{
	ErrBusy, ErrStopped, ErrTooLarge, ErrInitialized, ErrMembership, ErrNotMember, ErrChangeInProgress, ErrTransferInProgress,
	ErrLeaderLeaves, ErrTransferTarget, ErrMayNotCampaign, ErrNoLeaderToForget, ErrWitnessLog, ErrPurged, ErrNotSnapshotter,
	ErrNotAdopter, ErrRestoreGivenUp, ErrRestoreMismatch, ErrNothingApplied, ErrNothingToPurge, ErrNoState, ErrHeaderOnly,
	ErrLeaseReadsOff, ErrLeaseReads, ErrInFlight, context.Canceled, context.DeadlineExceeded, fs.ErrExist, fs.ErrNotExist,
	codec.ErrCorrupt, codec.ErrVersion, consensus.ErrLogState, consensus.ErrCommittedConflict, consensus.ErrTermsExhausted,
	netio.ErrClosed, netio.ErrConfig, netio.ErrInsecure, netio.ErrStarted, snapshot.ErrClosed, snapshot.ErrForeign,
	vfs.ErrLocked, wal.ErrIdentity,
}
