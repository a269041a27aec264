package consensus

import (
	"errors"
	"fmt"
	"time"

	"github.com/millrace/millrace/codec"
)

// ErrConfig is wrapped by the error of [New] for a [Config] whose field is out of its bounds. The caller corrects it.
var ErrConfig = errors.New("consensus config")

// ErrLogState is wrapped by the error of [New] for a log whose parts contradict each other: frames with a gap, a
// membership entry without its membership, an entry of a leader above the stored vote, a snapshot that ends before the log
// begins or contradicts what is committed. The log is damaged in a way its checksums do not show; the node must not
// start.
var ErrLogState = errors.New("log state")

// ErrCommittedConflict is wrapped by [Output.Fatal] when an established leader's log contradicts an entry that is
// committed here. That can't happen while every node keeps what it promised: somewhere a durable log was lost, replaced
// or damaged, or a peer does not follow the protocol. The caller stops the node; going on could only spread it.
var ErrCommittedConflict = errors.New("leader's log contradicts a committed entry")

// ErrTermsExhausted is wrapped by [Output.Fatal] when the next campaign would need a term above the greatest one that
// is accepted from others. Only a peer that invents terms can bring a cluster there. The caller stops the node.
var ErrTermsExhausted = errors.New("no terms left")

// Reasons why a core refuses what its caller asked for; nothing was changed. [Output.Reason] is one of them, wraps one of
// them, or is one of the error types below.
var (
	// ErrNotLeader: only the leader does that. The caller asks the leader.
	ErrNotLeader = errors.New("not the leader")
	// ErrInitialized: the node has a log or a vote already.
	ErrInitialized = errors.New("initialized already")
	// ErrMembership is wrapped with what is wrong with the membership that was asked for.
	ErrMembership = errors.New("membership refused")
	// ErrChangeInProgress: the newest membership is not committed, or is joint and on its way to the next. The caller
	// waits for that.
	ErrChangeInProgress = errors.New("another membership change is in progress")
	// ErrTermNotCommitted: this leader has not committed an entry of its own leadership yet. The caller tries again soon.
	ErrTermNotCommitted = errors.New("the leader has committed nothing yet")
	// ErrTransferInProgress: the leader is handing over. The caller waits for the next leader.
	ErrTransferInProgress = errors.New("leadership is being transferred")
	// ErrLeaderLeaves: the leader is none of the voters-to-be and steps down as soon as that is committed. The caller waits
	// for the next leader.
	ErrLeaderLeaves = errors.New("the leader is about to leave")
	// ErrTransferTarget is wrapped with why a node can't be handed the leadership.
	ErrTransferTarget = errors.New("no target for the leadership")
	// ErrMayNotCampaign is wrapped with why this node can't be elected.
	ErrMayNotCampaign = errors.New("may not campaign")
	// ErrNoLeaderToForget: this node leads, campaigns, or follows nobody.
	ErrNoLeaderToForget = errors.New("no leader to forget")
	// ErrNotMember: the node that is named does not belong to the group.
	ErrNotMember = errors.New("not a member")
	// ErrLeaseReads: the leader may be answering reads on the promise that was to be forgotten.
	ErrLeaseReads = errors.New("leases are kept for reads")
	// ErrSnapshot is wrapped with why a snapshot that was brought by hand is not installed.
	ErrSnapshot = errors.New("snapshot refused")
	// ErrNothingToPurge is wrapped with what the log still needs of the entries that were to be removed. The caller takes a
	// snapshot first, or waits for the peer that is named.
	ErrNothingToPurge = errors.New("nothing to purge")
)

// Reasons in [Read] why a read was not confirmed. The caller may ask again, under a new token.
var (
	// ErrNoLeader: no leader is known here.
	ErrNoLeader = errors.New("no leader")
	// ErrReadLost: who was to confirm the read led no longer, or did not answer in time.
	ErrReadLost = errors.New("read not confirmed")
	// ErrTooManyReads: more reads wait than a core keeps.
	ErrTooManyReads = errors.New("too many reads wait")
)

// ChangedError is the reason when a change expected to replace another membership than the effective one. The caller
// reads the membership again and decides anew.
type ChangedError struct {
	Want, Have codec.LogID
}

// Error implements error.
func (e *ChangedError) Error() string {
	return fmt.Sprintf("membership is that of entry %v, the change expects %v", e.Have, e.Want)
}

// BehindError is the reason when a change makes a voter of a node that has not caught up, or does not answer: until it has,
// no write that needs it could be committed. The caller adds it as a learner first and waits.
type BehindError struct {
	Node        codec.NodeID
	Match, Last codec.Index   // what it is known to hold, and the leader's last entry
	Silent      time.Duration // since what it answered last was sent
}

// Error implements error.
func (e *BehindError) Error() string {
	if e.Match == e.Last {
		return fmt.Sprintf("node %d can't become a voter while it does not answer: it has been silent for %v", e.Node, e.Silent)
	}
	return fmt.Sprintf("node %d can't become a voter before it has caught up: it holds entries up to %d of %d", e.Node, e.Match, e.Last)
}

// ErrWitnessLog is wrapped by [Output.Fatal] and by the error of [New] when a node whose log holds headers of frames
// without their entries, as a witness keeps them, is an ordinary member. It could lead with a log it can't serve. The
// caller stops the node; it must come back under a new id with an empty log.
var ErrWitnessLog = errors.New("log of a witness")

// IntersectionError is returned by [ProveQuorums], and wrapped in the reason for refusing a membership, when two quorums
// that have to meet can miss each other: a leader could be elected without what was committed, or two in one term. The
// caller asks for greater thresholds.
type IntersectionError struct {
	// Position is the config's place in the membership's list, from 0; Config is a copy of it.
	Position int
	Config   codec.VoterConfig
	// Uses says what each of the two quorums is for.
	Uses [2]QuorumUse
	// Quorums have no voter in common; sorted, and none of them can spare a voter. Both are nil where the weights add up
	// to so many different sums that neither such quorums nor a proof were found.
	Quorums [2][]codec.NodeID
}

// Error implements error.
func (e *IntersectionError) Error() string {
	if e.Quorums[0] == nil {
		return fmt.Sprintf("config %d (%v): no proof that each %v quorum meets each %v quorum, the weights having too many different sums; "+
			"want both thresholds together above the sum of all weights", e.Position, e.Config, e.Uses[0], e.Uses[1])
	}
	return fmt.Sprintf("config %d (%v): %v quorum %v and %v quorum %v have no voter in common, want one in all of both",
		e.Position, e.Config, e.Uses[0], e.Quorums[0], e.Uses[1], e.Quorums[1])
}

// WitnessQuorumError is returned by [ProveQuorums], and wrapped in the reason for refusing a membership, when witnesses
// alone can commit: they hold no entries, so what they committed would be nowhere. The caller makes ordinary members of
// some, under new ids, or asks for a greater write threshold.
type WitnessQuorumError struct {
	// Position is the config's place in the membership's list, from 0; Config is a copy of it.
	Position int
	Config   codec.VoterConfig
	// Quorum is a write quorum of witnesses; sorted, and it can spare none of them.
	Quorum []codec.NodeID
}

// Error implements error.
func (e *WitnessQuorumError) Error() string {
	return fmt.Sprintf("config %d (%v): write quorum %v holds witnesses only, want an ordinary member in each",
		e.Position, e.Config, e.Quorum)
}
