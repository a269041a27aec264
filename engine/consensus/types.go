package consensus

import (
	"math"
	"time"

	"github.com/millrace/millrace/codec"
)

// Instant is a moment on the caller's monotonic clock, in nanoseconds since an origin of the caller's choice that is not
// later than the core's first one: it is never negative. It never goes back between two calls of [Core.Step].
type Instant int64

// Never is the deadline of a core that waits for nothing but input.
const Never Instant = math.MaxInt64

// Add returns the instant d later.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Role is what a node is at the moment. It follows from its vote and the membership (openraft's rule): an own committed
// vote makes a leader, an own uncommitted one a candidate; else a voter is a follower and anybody else a learner.
type Role uint8

// The roles, in the order of the dispatch table.
const (
	Learner Role = iota
	Follower
	Candidate
	Leader

	roleEnd
)

// String returns the role's name.
func (r Role) String() string {
	return [...]string{"learner", "follower", "candidate", "leader"}[r]
}

// Ending is why a leader stepped down although no greater vote was seen.
type Ending uint8

// The endings.
const (
	EndedNot    Ending = iota // it leads, never led, or was deposed, or is no voter any more
	EndedQuorum               // no write quorum answered for a minimum election timeout (thesis 6.2)
	EndedDisk                 // its disk made nothing durable for DiskStallTimeout
)

// Config holds the settings of one core. It is validated once by [New].
type Config struct {
	// Node is this node's id, not 0.
	Node codec.NodeID
	// Group is the group this core belongs to; messages of another group are a bug of the caller.
	Group codec.GroupID
	// ElectionTimeoutMin and ElectionTimeoutMax bound the randomized time without a leader's message after which a
	// voter campaigns (Raft 5.2). The minimum is also the lease during which a follower refuses other votes
	// (thesis 4.2.3). Want 0 < min < max.
	ElectionTimeoutMin time.Duration
	ElectionTimeoutMax time.Duration
	// HeartbeatInterval is how often a leader makes itself heard. Want 0 < interval, 2 x interval <= ElectionTimeoutMin.
	HeartbeatInterval time.Duration
	// WindowBytesMax and WindowFramesMax bound what is sent to one peer and not yet acknowledged. One frame is
	// always let through. Want both above 0.
	WindowBytesMax  int
	WindowFramesMax int
	// DiskStallTimeout is how long a leader's own disk may flush nothing of what waits for it before the leader steps
	// down; 0 for ever.
	DiskStallTimeout time.Duration
	// RestoreLeader lets a node whose log was closed cleanly while it led resume that leadership at start, without an
	// election. A greater vote elsewhere ends it at first contact.
	RestoreLeader bool
	// AllowLogReversion lets a leader fill up a peer again whose log lost entries that it had acknowledged. Those
	// entries may have been committed with the peer's copies: it is for data that may be lost.
	AllowLogReversion bool
	// LeaseReads lets reads that ask for it be answered by the leader's lease, which rests on clocks; see lease_read.go. All
	// members must have it or none, and no member an ElectionTimeoutMin below that of another.
	LeaseReads bool
	// ClockDriftMax is by how much, in millionths, the clocks of two members may differ in rate. Want above 0 and below
	// 500,000 with LeaseReads. Quartz is right to 100; 1,000 leaves room for clocks that are being corrected.
	ClockDriftMax int
	// Switches are what runs at start; [InputSwitch] changes them.
	Switches Switches
	// Seed starts the core's own random numbers; a run is a function of the seed and the inputs.
	Seed uint64
	// Life is to be another random number in each life of a node, which names its reads by it; where the instant of [New] is
	// another in each it may be 0.
	Life uint64
}

// Switches turn parts of the protocol off while a node runs. The zero value has everything on.
type Switches struct {
	// NoElections: this node does not campaign by timeout, only when told to.
	NoElections bool
	// NoHeartbeats: this leader sends no heartbeats by time, only when told to.
	NoHeartbeats bool
	// NoPreVote: this node campaigns without asking first whether it would win. Questions of others are answered.
	NoPreVote bool
}

// InputKind says what happened.
type InputKind uint8

// The kinds of input.
const (
	// InputTick: nothing but time. Any step also looks at the time.
	InputTick InputKind = iota
	// InputPropose: Frame.Count entries (Frame.Size bytes) of a kind that carries commands wait to be appended. Leader only, else
	// Output.Refused.
	InputPropose
	// InputMessage: Message came from Peer; Frame describes the frame it carried, if any.
	InputMessage
	// InputFlushed: all writes up to Seq are durable.
	InputFlushed
	// InputPeerDown: what was sent to Peer on the append lane may be lost.
	InputPeerDown
	// InputInitialize: make Membership the first entry of an empty log. Refused where log or vote exist.
	InputInitialize
	// InputChange: make Membership the membership, through a joint one where they share no config. See change.go for
	// what is refused. Leader only.
	InputChange
	// InputElect: campaign now, with a pre-vote unless that is off. The lease of a live leader is respected by all, also
	// by this node: refused while one was heard, on who may not campaign, and on who leads already.
	InputElect
	// InputHeartbeat: send heartbeats now. Leader only.
	InputHeartbeat
	// InputTransfer: hand the leadership to Peer, or, for 0, to the voter whose log is the most complete. Proposals are
	// refused until it has happened, or Timeout (0: a minimum election timeout) has passed, or Peer has answered nothing
	// for a minimum election timeout. Leader only.
	InputTransfer
	// InputForgetLeader: keep no lease for the leader any more, so that a vote can be given at once. Followers only, and not
	// with Config.LeaseReads.
	InputForgetLeader
	// InputSwitch: Switches replace those in force.
	InputSwitch
	// InputAllowReversion: Peer may once deny what it acknowledged, and is filled up again. Leader only.
	InputAllowReversion
	// InputSnapshot: a snapshot of this node's state machine, up to and including the entry Log, is durable; for one that
	// keeps its own state on disk, that state. Entries up to it may be purged.
	InputSnapshot
	// InputPurge: remove the entries up to Index from the log. Whole frames go, none above the newest snapshot, and none that
	// a peer which is being sent one still needs to follow it. Refused where nothing is left to remove.
	InputPurge
	// InputInstall: the snapshot described by Base is complete and durable on this node. Peer sent its last piece with
	// Message, or, where Peer is 0, somebody brought it by hand; then it may be refused. It is installed unless more than
	// that is committed here.
	InputInstall
	// InputSnapshotLost: the transfer of a snapshot to Peer ended before its end. Leader only.
	InputSnapshotLost
	// InputRead: confirm that this node leads, and since when, for a linearizable read. Token comes back in Output.Reads, in
	// this step or a later one. With Lease the leader's lease counts, where Config.LeaseReads allows it and there is one; else
	// a quorum is asked all the same. A node that follows asks its leader, once, and gives up after a maximum election
	// timeout or when the leader changes.
	InputRead
	// InputBarrier: append a blank entry. Leader only.
	InputBarrier

	inputKindEnd
)

// Input is one event. Fields that its kind does not name are zero.
type Input struct {
	Kind       InputKind
	Peer       codec.NodeID
	Message    codec.Message
	Frame      codec.FrameMeta
	Membership *codec.Membership // decoded content, when Frame is a membership frame, or for InputInitialize, InputChange
	Seq        uint64
	// If, when not nil, is the log id of the membership entry that an InputChange expects to replace.
	If       *codec.LogID
	Timeout  time.Duration  // for InputTransfer
	Switches Switches       // for InputSwitch
	Log      codec.LogID    // for InputSnapshot
	Index    codec.Index    // for InputPurge
	Base     *codec.LogBase // for InputInstall
	Token    uint64         // for InputRead: never used before in this life of the node
	Lease    bool           // for InputRead
	// MetadataOnly says that the snapshot of an InputInstall came without a state, as a witness gets it.
	MetadataOnly bool
}

// Send is one message to one peer. When Frame is not zero the message is an append and the caller attaches the log's
// frame of exactly that description, which for Frame.HeaderOnly is [codec.HeaderFrame] of it. If the log holds it no
// longer (a later step overwrote it) the message is dropped and InputPeerDown reported.
type Send struct {
	To      codec.NodeID
	Lane    codec.Lane
	Message codec.Message
	Frame   codec.FrameMeta
}

// Write is what must go to the log, in one piece and in the order of the fields, before anything in Output.AfterFlush
// may leave. The caller reports it with InputFlushed and Seq.
type Write struct {
	Seq         uint64 // 0: nothing to write
	HasVote     bool
	Vote        codec.Vote
	HasTruncate bool
	Truncate    codec.Index // every entry above it goes
	// Frame is zero for none. For a proposal it is what the caller is to encode, with the ids the entries got; for a
	// frame that came in, that frame, or what follows the prefix of it that is already held (First moved, Count
	// reduced, Size still that of the whole); for a blank the caller builds the bytes, and for a membership that came in
	// no frame, from Membership, which is that of any membership frame.
	Frame      codec.FrameMeta
	Membership *codec.Membership
	Commit     codec.Index // newest commit, to be saved with it
	// Jump and Purge go to the log as they are; see [codec.LogWrite]. Jump comes before the frame, Purge after it.
	Jump, Purge *codec.LogBase
}

// SnapshotSend asks for a snapshot to be sent to a peer on the snapshot lane, in messages that carry Stream, until
// [PeerStatus].Snapshot is no longer so. Where one that reaches AtLeast is on its way already it goes on, under the new
// stream number.
type SnapshotSend struct {
	To      codec.NodeID
	Stream  uint64
	AtLeast codec.Index // the last entry of the snapshot must not be below it; a newer one is to be taken if need be
	// MetadataOnly says that the peer is a witness, which applies nothing: it gets Base, which is nil otherwise, without any
	// state.
	MetadataOnly bool
	Base         *codec.LogBase
}

// Read is the answer to an [InputRead]: once everything up to Index is applied, the state machine may be read. With
// Reason, which is then not nil, nothing was confirmed.
type Read struct {
	Token  uint64
	Index  codec.Index
	Reason error
	// Lease says that the answer rests on the leader's lease: what was read is good only if [Status].LeaseUntil is still to
	// come afterwards.
	Lease bool
}

// Output is what a step asks for. The caller may send Now at once, even before it starts the write: nothing in it
// promises anything about this node's disk that is not durable yet (thesis 10.2.1). AfterFlush holds promises: votes
// asked for or given and entries held. It waits for Write.Seq and is empty when there is no write; a promise that rests
// on an earlier write comes in Now of the step that learns of its completion. Among the append replies with StatusOK
// that wait for one peer, the last one of a stream says all that those before it say; they may be left out.
// The slices are reused by the next step.
type Output struct {
	Write      Write
	Now        []Send
	AfterFlush []Send
	Commit     codec.Index // everything up to it is committed and held in this node's log; never goes back
	Deadline   Instant     // call Step again then at the latest
	Refused    bool        // what the caller asked for was not taken and left no trace
	Reason     error       // why, when Refused; nil for a proposal on a node that does not lead
	// Reads are confirmed, or given up.
	Reads []Read
	// Snapshots are asked for by peers that lack entries which are purged.
	Snapshots []SnapshotSend
	// Install, when not nil, is the snapshot that replaces the state machine's state; Write.Jump may come with it. Entries
	// behind it are applied afterwards.
	Install *codec.LogBase
	// Fatal, when not nil, ends this core: what arrived can't happen while every node keeps its promises (see
	// errors.go). Nothing is to be written or sent, a proposal is refused, and every later step says the same. The
	// caller stops the node.
	Fatal error
}

// reset empties o for the next step.
func (o *Output) reset() {
	*o = Output{Now: o.Now[:0], AfterFlush: o.AfterFlush[:0], Reads: o.Reads[:0], Snapshots: o.Snapshots[:0]}
}

// Status is a copy of what others want to know of a core. Getting one allocates nothing.
type Status struct {
	Role     Role
	Vote     codec.Vote
	Leader   codec.NodeID // known leader, 0 when none
	LastLog  codec.LogID
	Flushed  codec.LogID
	Commit   codec.Index
	MemberAt codec.LogID // log id of the effective membership; zero before initialization
	// Purged is the last entry before the log's first, Snapshot the last one in the newest snapshot. Invariant: Purged.Index
	// <= Snapshot.Index <= Commit, where a snapshot of this node's own is not lost.
	Purged, Snapshot codec.LogID
	// WantsSnapshot says that the log does not hold what must be applied next: the node waits for a snapshot.
	WantsSnapshot bool
	Voter         bool // this node is a voter of it
	// LeaseUntil is up to when, exclusively, this leader's lease answers reads: 0 for not at all, [Never] where nobody else
	// can be elected.
	LeaseUntil Instant
	// Blocked says that a leader takes no proposals: it hands over, to Transferee if it was told to, or leaves.
	Blocked    bool
	Transferee codec.NodeID
	Switches   Switches
	// Ended says why the newest leadership of this node ended, where the node ended it by itself.
	Ended     Ending
	Elections uint64 // campaigns started since New
	Malformed uint64 // messages dropped since New because no correct peer sends them
	// Disagreed counts messages dropped since New because their sender has another vote mode; DisagreedWith is the last.
	Disagreed     uint64
	DisagreedWith codec.NodeID
	// Denials counts how often since New a peer was found [PeerStatus.Lost]; DeniedBy is the last.
	Denials  uint64
	DeniedBy codec.NodeID
}

// PeerStatus is a leader's view of one peer.
type PeerStatus struct {
	Node          codec.NodeID
	Match         codec.Index // highest index known to be flushed there
	Next          codec.Index
	Voter         bool
	Streaming     bool // false while probing for the match
	CaughtUp      bool // everything was sent, and what is not acknowledged is in the window
	InflightBytes int
	WindowBytes   int     // as adapted to the peer
	LastAnswer    Instant // when the newest answered message had been sent, 0 for none
	// Lost says that the peer denies holding the entry at Match, which it had acknowledged: its log lost durable
	// entries. It counts for no commit and gets no entries until it proves to hold that entry.
	Lost bool
	// Snapshot says that the peer lacks entries which are purged, and is to be sent a snapshot.
	Snapshot bool
}
