package engine

import (
	"context"
	"errors"
	"fmt"
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
// An error that this package does not know has an unknown fate. Of a membership change that is not done a first step may
// be: see [StagedError].
func FateOf(err error) Fate {
	if err == nil {
		return FateDone
	}
	// An error of one of these kinds wraps why, and that would mean something else by itself: they come first.
	switch {
	case is[*AppliedError](err):
		return FateDone
	case is[*UnknownError](err), is[*OpenCommandError](err), is[*SessionExpiredError](err), is[*SessionAnsweredError](err),
		is[*TransferError](err):
		return FateUnknown
	case is[*NotLeaderError](err), is[*LeadershipError](err), is[*ForwardError](err), is[*QuorumError](err), is[*LagError](err),
		is[*BehindError](err), is[*StagedError](err), is[*ChangedError](err), is[*IntersectionError](err),
		is[*WitnessQuorumError](err), is[*PurgedError](err), is[*BusyError](err), is[*ConfigError](err), is[*ArgumentError](err),
		is[*WitnessError](err), is[*IncarnationError](err):
		return FateNotDone
	}
	for _, known := range notDone {
		if errors.Is(err, known) {
			return FateNotDone
		}
	}
	return FateUnknown
}

// notDone lists the errors that are values and after which nothing was done.
var notDone = []error{
	ErrBusy, ErrStopped, ErrTooLarge, ErrInitialized, ErrMembership, ErrNotMember, ErrChangeInProgress, ErrTransferInProgress,
	ErrLeaderLeaves, ErrTransferTarget, ErrMayNotCampaign, ErrNoLeaderToForget, ErrWitnessLog, ErrPurged, ErrNotSnapshotter,
	ErrNotAdopter, ErrRestoreGivenUp, ErrRestoreMismatch, ErrNothingApplied, ErrNothingToPurge, ErrNoState, ErrLeaseReadsOff,
	ErrLeaseReads, ErrInFlight, context.Canceled, context.DeadlineExceeded,
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
