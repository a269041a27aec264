package engine

import (
	"errors"
	"fmt"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/pipeline/session"
)

// ErrBusy is what calls that do not wait return when a bound is reached. Nothing was proposed; try again later.
var ErrBusy = pipeline.ErrBusy

// BusyError is the [ErrBusy] that says what is full.
type BusyError = pipeline.BusyError

// ErrStopped is wrapped by what is returned after [Raft.Close], or after the node stopped itself (see [Raft.Err]).
var ErrStopped = pipeline.ErrStopped

// ErrTooLarge is wrapped when a proposal exceeds [Config.ProposalBytesMax]. Nothing was proposed.
var ErrTooLarge = pipeline.ErrTooLarge

// ErrInitialized is returned by [Raft.Initialize] on a node that already holds a log or a vote: it belongs to a cluster.
var ErrInitialized = consensus.ErrInitialized

// ErrMembership is wrapped by [Raft.Initialize] and [Raft.ChangeMembership] for a membership that can't be: its form, a
// quorum system in which two quorums miss each other, another vote mode, a change of what a witness is. The error says
// which; nothing was changed.
var ErrMembership = consensus.ErrMembership

// IntersectionError is wrapped beside [ErrMembership] where two quorums can miss each other, and names them.
type IntersectionError = consensus.IntersectionError

// WitnessQuorumError is wrapped beside [ErrMembership] where witnesses alone could commit, and names them.
type WitnessQuorumError = consensus.WitnessQuorumError

// ErrNotMember is wrapped by calls that name a node which the membership does not hold. Nothing was changed.
var ErrNotMember = consensus.ErrNotMember

// ErrChangeInProgress is wrapped by [Raft.ChangeMembership] while the membership before is not committed, or is a joint
// one on its way to the next. Nothing was changed; try again when [Raft.Membership] says Committed and not Transient.
var ErrChangeInProgress = consensus.ErrChangeInProgress

// ErrTransferInProgress is wrapped by [Raft.ChangeMembership] and [Raft.TransferLeadership] on a leader that is handing
// over. Nothing was changed; ask the next leader.
var ErrTransferInProgress = consensus.ErrTransferInProgress

// ErrLeaderLeaves is wrapped by [Raft.ChangeMembership] and [Raft.TransferLeadership] on a leader that is no voter of the
// newest membership and steps down when that is committed. The caller asks the next leader.
var ErrLeaderLeaves = consensus.ErrLeaderLeaves

// ErrTransferTarget is wrapped by [Raft.TransferLeadership] for a node that can't lead, or leads already.
var ErrTransferTarget = consensus.ErrTransferTarget

// ErrMayNotCampaign is wrapped by [Trigger.Elect] on a node that can't be elected, or leads already.
var ErrMayNotCampaign = consensus.ErrMayNotCampaign

// ErrNoLeaderToForget is returned by [Raft.ForgetLeader] on a node that leads, campaigns, or follows nobody.
var ErrNoLeaderToForget = consensus.ErrNoLeaderToForget

// ErrWitnessLog is wrapped by [Open], or stops a node (see [Raft.Err]), when a log that holds frames without their
// entries, as a witness keeps them, is to be that of an ordinary member. The node must come back under a new id with an
// empty log.
var ErrWitnessLog = consensus.ErrWitnessLog

// ChangedError is what [Raft.ChangeMembership] returns where [IfMembership] named another membership than the effective
// one. Nothing was changed; read the membership again.
type ChangedError = consensus.ChangedError

// BehindError says which new voter had not caught up when the wait for it ended; see [Raft.ChangeMembership].
type BehindError = consensus.BehindError

// ErrPurged is wrapped by a [PurgedError].
var ErrPurged = errors.New("purged")

// PurgedError is what [Raft.ReadLog] ends with where an entry that is asked for is not in the log any more. The caller
// goes on from First, or looks for the entry's effect in the state.
type PurgedError struct {
	Index codec.Index // asked for
	// First and Last are the committed entries that the log holds; it holds none where First is above Last.
	First, Last codec.Index
}

// Error names the entry and what the log holds.
func (e *PurgedError) Error() string {
	if e.First > e.Last {
		return fmt.Sprintf("entry %d is %v: the log holds no committed entry, the next one is %d", e.Index, ErrPurged, e.First)
	}
	return fmt.Sprintf("entry %d is %v: the log holds the committed entries %d to %d", e.Index, ErrPurged, e.First, e.Last)
}

// Unwrap returns [ErrPurged].
func (e *PurgedError) Unwrap() error { return ErrPurged }

// ErrNotSnapshotter is wrapped by what needs snapshots, as [Trigger.Snapshot], on a node whose state machine is no
// [Snapshotter], and by [Open] with one where the log was purged already.
var ErrNotSnapshotter = pipeline.ErrNotSnapshotter

// ErrNotAdopter is wrapped by [Raft.Restore] and [Import] where the state machine keeps its state on disk and is no
// [Adopter].
var ErrNotAdopter = pipeline.ErrNotAdopter

// ErrRestoreGivenUp is wrapped by [Raft.Restore] with why, when it ended before the last part was proposed: by another call,
// the end of the leadership, the context, or an error of what it reads. The state is as it was.
var ErrRestoreGivenUp = errors.New("the state that was coming is given up")

// ErrRestoreMismatch is wrapped where a state that came through the log is not the one that was announced. It is not used.
var ErrRestoreMismatch = errors.New("the state that came is not the one announced")

// errRestoring is why no snapshot was taken at an entry: a state was coming. It is tried again behind that.
var errRestoring = errors.New("a state is being restored")

// ErrNothingApplied is wrapped by [Trigger.Snapshot] on a node that has applied nothing yet. The caller waits for entries.
var ErrNothingApplied = errors.New("nothing is applied yet")

// ErrNothingToPurge is wrapped by [Trigger.Purge] where no entry may go. The error says which ones may, and why no more.
var ErrNothingToPurge = consensus.ErrNothingToPurge

// ErrHeaderOnly is wrapped by [Raft.ReadLog] on a witness, which keeps no entries. Ask another node.
var ErrHeaderOnly = codec.ErrHeaderOnly

// errLostLeadership is the cause in the [UnknownError] of proposals that a leader had accepted and not committed when it
// lost its office. The caller asks the next leader what became of them.
var errLostLeadership = errors.New("this node lost its leadership")

// errTransferEnded is the cause in the [TransferError] of a leader that gave up to hand over.
var errTransferEnded = errors.New("the target refused, or did not take over in time")

// QuorumError says that a leader could not show that it still is one, since too few voters answered it. As the cause of an
// [UnknownError] it says that the leader stepped down for that; see there for the proposal's fate. Returned by a read it
// says that nothing was read: try again, here or elsewhere.
type QuorumError struct {
	Node   codec.NodeID // that was asked, or led
	Leader codec.NodeID // that it knew of: itself, or who did not answer it either
	// Waited is for how long no write quorum has answered: a read since it began, a leader that stepped down for at least
	// that.
	Waited time.Duration
	// Cause is the error of the context that ended first; nil where the leader stepped down.
	Cause error
}

// Error names the node, how long it waited and the cause.
func (e *QuorumError) Error() string {
	s := fmt.Sprintf("no write quorum has answered node %d for %v", e.Node, e.Waited)
	if e.Leader != e.Node {
		s = fmt.Sprintf("node %d has not told node %d for %v that it still leads", e.Leader, e.Node, e.Waited)
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *QuorumError) Unwrap() error { return e.Cause }

// LagError is wrapped by a read whose context ended before this node had applied what it must have: nothing was read. Ask a
// node that is not behind, or wait longer.
type LagError struct {
	Node           codec.NodeID
	Index, Applied codec.Index // to be applied, and applied
	Cause          error       // the context's
}

// Error names the node, both indexes and the cause.
func (e *LagError) Error() string {
	return fmt.Sprintf("node %d has applied entries up to %d, the read needs those up to %d: %v", e.Node, e.Applied, e.Index, e.Cause)
}

// Unwrap returns the cause.
func (e *LagError) Unwrap() error { return e.Cause }

// ErrNoState is wrapped by reads on a witness, which has no state machine. Ask another node.
var ErrNoState = errors.New("no state to read")

// ErrLeaseReadsOff is wrapped by [Raft.LeaseRead] on a node without [Config.LeaseReads]. Set that on all nodes, or use
// [Raft.EnsureLinearizable].
var ErrLeaseReadsOff = errors.New("lease reads are off")

// ErrLeaseReads is returned by [Raft.ForgetLeader] on a node with [Config.LeaseReads]: the leader may be answering reads on
// the promise that was to be forgotten.
var ErrLeaseReads = consensus.ErrLeaseReads

// DiskStallError is the cause in the [UnknownError] of proposals whose leader stepped down because its disk flushed nothing
// for [Config.DiskStallTimeout].
type DiskStallError struct {
	Node  codec.NodeID
	Waits time.Duration // since something was flushed last
}

// Error names the node and the time.
func (e *DiskStallError) Error() string {
	return fmt.Sprintf("the disk of node %d has flushed nothing for %v", e.Node, e.Waits)
}

// StagedError is what [Raft.ChangeMembership] returns when it ended after it had added new voters as learners and before
// it proposed the change itself. They stay learners; make the same call again, or remove them.
type StagedError struct {
	// LogID is that of the membership entry that added them.
	LogID    codec.LogID
	Learners []codec.NodeID
	// Cause says what ended the call: a context's error, lost leadership, or why the change was refused after all.
	Cause error
}

// Error names the learners and the cause.
func (e *StagedError) Error() string {
	return fmt.Sprintf("nodes %v are learners by the entry %v and no voters yet: %v", e.Learners, e.LogID, e.Cause)
}

// Unwrap returns the cause.
func (e *StagedError) Unwrap() error { return e.Cause }

// TransferError is what [Raft.TransferLeadership] returns when another node than the wanted one leads at its end. The
// caller looks who does, and may try again.
type TransferError struct {
	Target codec.NodeID // 0: any other
	Leader codec.NodeID // known at the end, 0 for none
	Cause  error        // nil where another node was elected
}

// Error names the target, the leader and the cause.
func (e *TransferError) Error() string {
	target := "another node"
	if e.Target != 0 {
		target = fmt.Sprintf("node %d", e.Target)
	}
	leader := "no leader is known"
	if e.Leader != 0 {
		leader = fmt.Sprintf("node %d leads", e.Leader)
	}
	if e.Cause == nil {
		return fmt.Sprintf("leadership was not transferred to %s: %s", target, leader)
	}
	return fmt.Sprintf("leadership was not transferred to %s: %s: %v", target, leader, e.Cause)
}

// Unwrap returns the cause.
func (e *TransferError) Unwrap() error { return e.Cause }

// WitnessError is returned by [Open], or stops a node (see [Raft.Err]), when [Config.Witness] does not agree with the
// membership. A witness has no state, so it must not be an ordinary member; a node with a state machine would get none
// of the entries as a witness. Open the node as what it is, or remove it and add it as what it is to be under a new id.
type WitnessError struct {
	Node codec.NodeID
	// Opened and Member say what the node is by its [Config] and by the membership: true for a witness.
	Opened, Member bool
	// LogID is that of the membership.
	LogID codec.LogID
}

// Error names the node, the membership and what it was opened as.
func (e *WitnessError) Error() string {
	what := map[bool]string{true: "a witness", false: "an ordinary member"}
	return fmt.Sprintf("node %d is %s by the membership of %v, but was opened as %s (Config.Witness is %v)",
		e.Node, what[e.Member], e.LogID, what[e.Opened], e.Opened)
}

// UnknownError is the answer to a proposal whose fate is not known, or to something else that was begun and may still come
// about. Find out what became of it before it is asked for again, or use a [Session].
type UnknownError = pipeline.UnknownError

// StateMachineError is what stops a node whose state machine failed.
type StateMachineError = pipeline.StateMachineError

// LeadershipError is the answer to a proposal whose [Proposal].IfLeader is not the leadership of this node. Nothing was
// proposed. The caller has lost its office, or never had it: it looks anew before it proposes anything that rests on it.
type LeadershipError struct {
	Node codec.NodeID
	Want codec.LeaderID
	Vote codec.Vote // of the node at that moment
}

// Error names both.
func (e *LeadershipError) Error() string {
	return fmt.Sprintf("node %d does not lead under %v: its vote is %v", e.Node, e.Want, e.Vote)
}

// SessionExpiredError is the answer to a command of a [Session] that is gone: closed, or evicted for newer ones. This entry
// had no effect; whether an earlier one with the same serial had can't be told any more. Open a new session.
type SessionExpiredError = session.ExpiredError

// AppliedError is the answer to a command that took effect, once, and whose answer can't be given any more. Don't repeat it
// under another serial.
type AppliedError = session.AppliedError

// SessionAnsweredError is the answer to a command whose serial is not open any more: its answer was given, or it was given
// up. This entry had no effect.
type SessionAnsweredError = session.AnsweredError

// ErrInFlight is wrapped by [Session.Retry] and [Session.GiveUp] while another call waits for the same command's answer.
var ErrInFlight = errors.New("another call waits for its answer")

// OpenCommandError is the answer to a session's command whose fate is unknown, from this attempt or an earlier one. Propose
// it again with [Session.Retry], at any node, or give it up.
type OpenCommandError struct {
	Session SessionID
	Serial  uint64
	Cause   error // of the newest attempt: an [UnknownError], or why nothing came of that one
}

// Error names the command and the cause.
func (e *OpenCommandError) Error() string {
	return fmt.Sprintf("command %d of session %d is open: %v", e.Serial, e.Session, e.Cause)
}

// Unwrap returns the cause.
func (e *OpenCommandError) Unwrap() error { return e.Cause }

// ForwardError is what another node said of a proposal that was forwarded to it: why it refused, after which the proposal
// certainly did not happen, or, in an [UnknownError], why it does not know.
type ForwardError struct {
	Node codec.NodeID
	Text string
}

// Error returns the node and its words.
func (e *ForwardError) Error() string { return fmt.Sprintf("node %d: %s", e.Node, e.Text) }

// errNoAnswer, errLaneBroke, errLeaderChanged and errAnswerDropped are causes in the [UnknownError] of a forwarded proposal:
// no answer in [Config.ForwardTimeout]; the connection broke, and with it either the proposal was lost or not; another leader
// is known, or none; there was a result, for which this node has fallen too far behind to be sent it. The caller finds out
// what became of it, or uses a [Session].
var (
	errNoAnswer      = errors.New("the leader did not answer in time")
	errLaneBroke     = errors.New("the connection to the leader broke")
	errLeaderChanged = errors.New("the leader changed before it had answered")
	errAnswerDropped = errors.New("too many answers wait to be sent, the one to this proposal was dropped")
)

// NotLeaderError is the answer of a node that does not lead. Nothing was proposed; ask the leader.
type NotLeaderError struct {
	// Node is the node that was asked.
	Node codec.NodeID
	// Leader is the leader it knows of, with its address; the zero Node when it knows none.
	Leader codec.Node
}

// Error names the node and the leader.
func (e *NotLeaderError) Error() string {
	if e.Leader.ID == 0 {
		return fmt.Sprintf("node %d is not the leader and knows none", e.Node)
	}
	return fmt.Sprintf("node %d is not the leader; node %d at %q is", e.Node, e.Leader.ID, e.Leader.Address)
}

// ConfigError says which field of a [Config] can't be used, with its value and what was expected.
type ConfigError struct {
	Field string
	Value any
	Want  string
}

// Error returns the field, the value and what is wanted.
func (e *ConfigError) Error() string {
	return fmt.Sprintf("config: %s is %v, want %s", e.Field, e.Value, e.Want)
}

// ArgumentError says which argument of a call can't be used, and what was expected. Nothing was done.
type ArgumentError struct {
	Call  string
	Value any
	Want  string
}

// Error returns the call, the value and what is wanted.
func (e *ArgumentError) Error() string {
	return fmt.Sprintf("%s with %v, want %s", e.Call, e.Value, e.Want)
}

// IncarnationError refuses a peer that claims a node id which another data directory has used before. A node that lost
// its data may have forgotten votes and acknowledgements; it must come back under a new id.
type IncarnationError struct {
	Node      codec.NodeID
	Seen, Got codec.Incarnation
}

// Error names both incarnations.
func (e *IncarnationError) Error() string {
	return fmt.Sprintf("node %d comes with incarnation %v, seen before with %v: its data directory is another one", e.Node, e.Got, e.Seen)
}
