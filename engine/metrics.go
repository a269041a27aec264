package engine

import (
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
	"github.com/millrace/millrace/netio"
	"github.com/millrace/millrace/wal"
)

// Metrics is a copy of a node's state at one moment between two steps of its loop. Counts are since [Open]. What it points to
// must not be changed: it may be shared with others who look at the same moment.
type Metrics struct {
	Office
	LogPointers
	Queues
	Lags
	Counts

	// Membership is the effective one, as [Raft.Membership] returns it.
	Membership EffectiveMembership
	// Peers is a leader's view of the others, by id; nil elsewhere.
	Peers []PeerMetrics
	// Snapshots says what becomes of them.
	Snapshots SnapshotMetrics
	// Transport is what the transport counts, nil where it is no [TransportCounter].
	Transport *netio.Stats
	// WAL is what the log counts, nil where it is no [LogCounter].
	WAL *wal.Stats
}

// TransportCounter is a [Transport] that counts what it does, as ours over TCP does. Stats may be called from any goroutine.
type TransportCounter interface{ Stats() netio.Stats }

// LogCounter is a [Log] that counts what it does, as ours on disk does. Stats may be called from any goroutine.
type LogCounter interface{ Stats() wal.Stats }

// Office is what a node is in its group.
type Office struct {
	Role   Role
	Term   codec.Term   // of Vote
	Vote   codec.Vote   // greatest one given or followed
	Leader codec.NodeID // 0 when unknown
	Voter  bool         // this node is a voter of the effective membership
	// Established says that this leader's first entry is committed: it has been answered by a write quorum, and knows of all
	// that was committed before it.
	Established bool
	// Blocked says that this leader takes no proposals because it is handing over, to Transferee, or, where that is 0,
	// because it is no voter any more.
	Blocked    bool
	Transferee codec.NodeID
	Switches   Switches
	// QuorumAge is how long ago this leader sent the newest message that a write quorum has answered, itself included:
	// the age of its lease. Before a quorum has answered it for the first time it counts from the election, after a
	// change of membership from that. 0 elsewhere.
	QuorumAge time.Duration
}

// LogPointers say how far each stage is: Purged <= Snapshot <= Applied <= Commit, and Flushed <= Last.
type LogPointers struct {
	Purged   codec.LogID // last entry that is no longer in the log
	Snapshot codec.LogID // last entry in the newest snapshot
	Applied  codec.Index // last one whose effect is in the state machine; its proposer is answered next
	Commit   codec.Index // last one known to be committed
	Flushed  codec.LogID // last one that is durable in this node's log
	// Last is the last entry, accepted by the Consensus Module and submitted to the log. The two are one: what a step
	// accepts is submitted before the next one, and this copy is made between two steps.
	Last codec.LogID
}

// Queues say how many bytes wait in each of the places that [Config] bounds.
type Queues struct {
	IntakeBytes      int // proposals that the loop has not taken; up to IntakeBytesMax
	ReceiveBytes     int // packets from peers that the loop has not taken; up to ReceiveBytesMax
	UncommittedBytes int // proposed by this leader and not yet known to be committed, with 128 bytes for each entry's caller
	UnflushedBytes   int // frames submitted to this node's log and not yet durable
	UnappliedBytes   int // proposed or committed, and not yet applied: UncommittedBytes and what the applier holds; up to UnappliedBytesMax
}

// Lags say how far this node's own disk and state machine are behind.
type Lags struct {
	UnflushedEntries uint64        // in the log and not yet durable
	DiskWaits        time.Duration // since the log last flushed something of what waits; 0 when nothing waits
	UnappliedEntries uint64        // committed and not yet applied
	ApplyWaits       time.Duration // for how long at least what was given to the state machine has waited for it; 0 when nothing waits
}

// Counts are what a node has counted.
type Counts struct {
	Elections uint64 // campaigns begun
	Frames    uint64 // proposed as leader
	Entries   uint64 // in those frames
	Reads     uint64 // rounds in which reads were confirmed, however many shared each
	ColdReads uint64 // frames read back from the log for peers
	Dropped   uint64 // packets dropped because too many waited for the loop
	// Untrusted counts packets dropped because their sender's incarnation was not yet durable, or because another disk had
	// come by that id before the membership told which one it is; the latter lasts until this node is opened again.
	Untrusted uint64
	Malformed uint64 // packets dropped because they can't be meant for this node
	Disagreed uint64 // packets dropped because their sender has another vote mode
}

// PeerMetrics is a leader's view of one peer.
type PeerMetrics struct {
	Node          codec.NodeID
	Voter         bool
	Match         codec.Index   // highest index known to be flushed there
	Next          codec.Index   // first one that was not sent, as far as the peer's answers say that it arrived
	Streaming     bool          // false while probing for the match
	CaughtUp      bool          // all was sent, and what is not acknowledged is on its way
	InflightBytes int           // sent and not acknowledged
	WindowBytes   int           // how much may be, as adapted to the peer
	Lost          bool          // the peer denies holding what it had acknowledged: it gets nothing from this leader
	Snapshot      bool          // the peer lacks what is purged here, and is sent a snapshot
	Silent        time.Duration // since the sending of the newest message it answered
}

// Metrics returns a copy of the node's state, taken between two steps of its loop; after the node has ended, its last.
func (r *Raft) Metrics() Metrics {
	reply := make(chan Metrics, 1)
	if r.box.post(func(m *mail) { m.queries = append(m.queries, reply) }) {
		return <-reply
	}
	return *r.last.Load()
}

// collect makes the metrics; it runs in the loop.
func (l *loop) collect() Metrics {
	s, now := l.core.Status(), l.clock()
	m := Metrics{
		Office: Office{
			Role: s.Role, Term: s.Vote.Leader.Term, Vote: s.Vote, Leader: s.Leader, Voter: s.Voter,
			Blocked: s.Blocked, Transferee: s.Transferee, Switches: s.Switches,
		},
		LogPointers: LogPointers{
			Purged: s.Purged, Snapshot: s.Snapshot, Applied: l.applier.Applied(), Commit: s.Commit, Flushed: s.Flushed, Last: s.LastLog,
		},
		Queues: Queues{
			IntakeBytes: l.intake.Bytes(), ReceiveBytes: l.box.waitingBytes(), UncommittedBytes: l.bytes,
			UnflushedBytes: l.commits.UnflushedBytes(), UnappliedBytes: l.bytes + l.applier.QueuedBytes(),
		},
		Counts: Counts{
			Elections: s.Elections, Frames: l.frames, Entries: l.entries, Reads: l.reading.rounds, ColdReads: l.streams.ColdReads(),
			Dropped: l.box.droppedPackets(), Untrusted: l.untrusted, Malformed: l.malformed + s.Malformed, Disagreed: s.Disagreed,
		},
		Membership: l.sharedMembership(), Snapshots: l.keeper.metrics(&s),
	}
	m.Lags = l.lags(&m, now)
	if s.Role == consensus.Leader {
		last, known := l.core.LogIDAt(s.Commit)
		m.Established = known && last.Leader == s.Vote.Leader
		m.QuorumAge = max(0, time.Duration(now-l.core.QuorumAnswered()))
		m.Peers = l.peerMetrics(now)
	}
	if t, ok := l.transport.(TransportCounter); ok {
		stats := t.Stats()
		m.Transport = &stats
	}
	if c, ok := l.raft.log.(LogCounter); ok {
		stats := c.Stats()
		m.WAL = &stats
	}
	return m
}

func (l *loop) peerMetrics(now consensus.Instant) (peers []PeerMetrics) {
	l.peers = l.core.Peers(l.peers[:0])
	for _, p := range l.peers {
		peers = append(peers, PeerMetrics{
			Node: p.Node, Voter: p.Voter, Match: p.Match, Next: p.Next, Streaming: p.Streaming, CaughtUp: p.CaughtUp,
			InflightBytes: p.InflightBytes, WindowBytes: p.WindowBytes, Lost: p.Lost, Snapshot: p.Snapshot,
			Silent: time.Duration(now - p.LastAnswer),
		})
	}
	return peers
}

// lags tells how far disk and state machine are behind.
func (l *loop) lags(m *Metrics, now consensus.Instant) Lags {
	lags := Lags{UnflushedEntries: uint64(m.Last.Index - m.Flushed.Index), UnappliedEntries: uint64(m.Commit - min(m.Applied, m.Commit))}
	if l.flushedSeq < l.submittedSeq {
		lags.DiskWaits = time.Duration(now - l.waitingSince)
	}
	if m.Applied < l.sample.index {
		lags.ApplyWaits = time.Duration(now - l.sample.at)
	}
	return lags
}

// applySample is an entry that was given to the applier, and when: it shows for how long the state machine is behind.
type applySample struct {
	index codec.Index
	at    consensus.Instant
}

// sampleApply notes when the newest entry was given to the applier, unless an earlier one that was noted still waits.
func (l *loop) sampleApply() {
	if l.fed > l.sample.index && l.applier.Applied() >= l.sample.index {
		l.sample = applySample{l.fed, l.now}
	}
}

// sharedMembership returns the effective membership, in a copy that all metrics share.
func (l *loop) sharedMembership() EffectiveMembership {
	if at := l.raft.members.Load(); at != l.membersAt {
		l.membersAt, l.members = at, l.raft.Membership()
	}
	return l.members
}
