package engine

import (
	"fmt"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
)

// Role is what a node is at the moment.
type Role = consensus.Role

// The roles.
const (
	RoleLearner   = consensus.Learner   // gets entries and decides nothing, or knows no membership
	RoleFollower  = consensus.Follower  // a voter that does not campaign
	RoleCandidate = consensus.Candidate // a voter that does
	RoleLeader    = consensus.Leader
)

// EventKind names a kind of event, for [Raft.Events] to filter by.
type EventKind uint8

// The kinds, with the type of their events.
const (
	EventLeaderChanged       EventKind = iota // [LeaderChanged]
	EventRoleChanged                          // [RoleChanged]
	EventElectionStarted                      // [ElectionStarted]
	EventElectionWon                          // [ElectionWon]
	EventElectionLost                         // [ElectionLost]
	EventMembershipChanged                    // [MembershipChanged]
	EventTransferStarted                      // [TransferStarted]
	EventTransferEnded                        // [TransferEnded]
	EventPeerConnected                        // [PeerConnected]
	EventPeerFailed                           // [PeerFailed]
	EventPeerRefused                          // [PeerRefused]
	EventPeerLost                             // [PeerLost]
	EventDiskStalled                          // [DiskStalled]
	EventDiskRecovered                        // [DiskRecovered]
	EventNodeFailed                           // [NodeFailed]
	EventSnapshotStarted                      // [SnapshotStarted]
	EventSnapshotTaken                        // [SnapshotTaken]
	EventSnapshotFailed                       // [SnapshotFailed]
	EventSnapshotSendStarted                  // [SnapshotSendStarted]
	EventSnapshotSendEnded                    // [SnapshotSendEnded]
	EventSnapshotInstalled                    // [SnapshotInstalled]
	EventStateRestored                        // [StateRestored]
	EventLogPurged                            // [LogPurged]

	eventKindEnd
)

var eventNames = [...]string{
	"leader-changed", "role-changed", "election-started", "election-won", "election-lost", "membership-changed",
	"transfer-started", "transfer-ended", "peer-connected", "peer-failed", "peer-refused", "peer-lost",
	"disk-stalled", "disk-recovered", "node-failed", "snapshot-started", "snapshot-taken", "snapshot-failed",
	"snapshot-send-started", "snapshot-send-ended", "snapshot-installed", "state-restored", "log-purged",
}

// String returns the kind's name.
func (k EventKind) String() string {
	if k < eventKindEnd {
		return eventNames[k]
	}
	return fmt.Sprintf("EventKind(%d)", uint8(k))
}

// Event is something that happened on a node, as it saw it: one of the types that [EventKind] names. An event and what it
// points to is shared between all who get it and must not be changed.
type Event interface{ Kind() EventKind }

// LeaderChanged: this node knows of another leader, or of none any more.
type LeaderChanged struct {
	Leader codec.Node // the zero Node for none
	Vote   codec.Vote // of the node that tells
}

// RoleChanged: this node became what it was not.
type RoleChanged struct {
	Before, Now Role
	Vote        codec.Vote
	// Cause says why a leader stepped down by itself: a [QuorumError] or a [DiskStallError]. Nil everywhere else.
	Cause error
}

// ElectionStarted: this node asks for votes.
type ElectionStarted struct{ Vote codec.Vote }

// ElectionWon: this node was elected.
type ElectionWon struct{ Vote codec.Vote }

// ElectionLost: this node's campaign ended without a quorum of votes.
type ElectionLost struct{ Vote codec.Vote }

// MembershipChanged: this node goes by another membership, or knows it to be committed now.
type MembershipChanged struct{ Membership EffectiveMembership }

// TransferStarted: this leader began to hand over.
type TransferStarted struct{ Target codec.NodeID }

// TransferEnded: this leader handed over, or gave that up.
type TransferEnded struct {
	Target  codec.NodeID
	Leading bool // it leads on
}

// PeerConnected: a message of the peer arrived, the first one ever or since it failed.
type PeerConnected struct{ Peer codec.NodeID }

// PeerFailed: packets to the peer may have been lost, since its connection ended, could not be made, or is full.
type PeerFailed struct{ Peer codec.NodeID }

// PeerRefused: a connection was refused, for example with an [IncarnationError].
type PeerRefused struct {
	Peer  codec.NodeID
	Cause error
}

// PeerLost: the peer denies holding what it had acknowledged to this leader.
type PeerLost struct {
	Peer  codec.NodeID
	Match codec.Index // it had acknowledged everything up to here
}

// DiskStalled: nothing was flushed for an election timeout although something waits.
type DiskStalled struct{ Waits time.Duration }

// DiskRecovered: a disk that had stalled flushed something.
type DiskRecovered struct{ Stalled time.Duration }

// NodeFailed: the node stops because of Cause, as [Raft.Err] will say.
type NodeFailed struct{ Cause error }

// SnapshotStarted: the state machine is asked for its state after an entry at this index or a later one.
type SnapshotStarted struct{ AtLeast codec.Index }

// SnapshotTaken: a snapshot of this node's state is durable.
type SnapshotTaken struct {
	Snapshot codec.LogID // last entry in it
	Bytes    int64
}

// SnapshotFailed: no snapshot came of it. It is tried again.
type SnapshotFailed struct{ Cause error }

// SnapshotSendStarted: this leader sends a peer its snapshot.
type SnapshotSendStarted struct {
	Peer     codec.NodeID
	Snapshot codec.LogID
	Bytes    int64
}

// SnapshotSendEnded: the peer needs it no more, or it could not be sent, for which Cause says why.
type SnapshotSendEnded struct {
	Peer     codec.NodeID
	Snapshot codec.LogID
	Cause    error
}

// SnapshotInstalled: a snapshot has taken the place of this node's log and is given to its state machine.
type SnapshotInstalled struct {
	Snapshot codec.LogID
	Bytes    int64
	Peer     codec.NodeID // who sent it; 0 where it was brought by hand
}

// StateRestored: the state machine's state is that of a snapshot.
type StateRestored struct {
	Snapshot codec.LogID
	Bytes    int64
}

// LogPurged: this node's log begins behind that entry.
type LogPurged struct{ Purged codec.LogID }

func (LeaderChanged) Kind() EventKind       { return EventLeaderChanged }
func (RoleChanged) Kind() EventKind         { return EventRoleChanged }
func (ElectionStarted) Kind() EventKind     { return EventElectionStarted }
func (ElectionWon) Kind() EventKind         { return EventElectionWon }
func (ElectionLost) Kind() EventKind        { return EventElectionLost }
func (MembershipChanged) Kind() EventKind   { return EventMembershipChanged }
func (TransferStarted) Kind() EventKind     { return EventTransferStarted }
func (TransferEnded) Kind() EventKind       { return EventTransferEnded }
func (PeerConnected) Kind() EventKind       { return EventPeerConnected }
func (PeerFailed) Kind() EventKind          { return EventPeerFailed }
func (PeerRefused) Kind() EventKind         { return EventPeerRefused }
func (PeerLost) Kind() EventKind            { return EventPeerLost }
func (DiskStalled) Kind() EventKind         { return EventDiskStalled }
func (DiskRecovered) Kind() EventKind       { return EventDiskRecovered }
func (NodeFailed) Kind() EventKind          { return EventNodeFailed }
func (SnapshotStarted) Kind() EventKind     { return EventSnapshotStarted }
func (SnapshotTaken) Kind() EventKind       { return EventSnapshotTaken }
func (SnapshotFailed) Kind() EventKind      { return EventSnapshotFailed }
func (SnapshotSendStarted) Kind() EventKind { return EventSnapshotSendStarted }
func (SnapshotSendEnded) Kind() EventKind   { return EventSnapshotSendEnded }
func (SnapshotInstalled) Kind() EventKind   { return EventSnapshotInstalled }
func (StateRestored) Kind() EventKind       { return EventStateRestored }
func (LogPurged) Kind() EventKind           { return EventLogPurged }
