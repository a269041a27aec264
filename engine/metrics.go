package engine

import (
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
)

// Metrics is a copy of a node's state at one moment.
type Metrics struct {
	Role   consensus.Role
	Vote   codec.Vote
	Leader codec.NodeID // 0 when unknown

	// Membership is the effective one, as [Raft.Membership] returns it; Voter says that this node is a voter of it.
	Membership EffectiveMembership
	Voter      bool
	// Blocked says that this leader takes no proposals because it is handing over, to Transferee, or, where that is 0,
	// because it is no voter any more.
	Blocked    bool
	Transferee codec.NodeID
	Switches   Switches

	// The log pointers: Applied <= Commit, and Flushed <= Last.
	Applied codec.Index
	Commit  codec.Index
	Flushed codec.LogID
	Last    codec.LogID

	// Peers is a leader's view of the others, nil elsewhere.
	Peers []PeerMetrics

	Elections uint64 // campaigns started since Open
	Frames    uint64 // proposed as leader since Open
	Entries   uint64 // in those frames
	ColdReads uint64 // frames read back from the log for peers

	Snapshots SnapshotMetrics

	UnappliedBytes int    // proposed or committed, and not yet applied
	Dropped        uint64 // packets dropped because too many waited for the loop
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
	Streaming     bool          // false while probing for the match
	CaughtUp      bool          // all was sent, and what is not acknowledged is on its way
	InflightBytes int           // sent and not acknowledged
	WindowBytes   int           // how much may be, as adapted to the peer
	Lost          bool          // the peer denies holding what it had acknowledged: it gets nothing from this leader
	Silent        time.Duration // since the sending of the newest message it answered
}

// collect makes the metrics; it runs in the loop.
func (l *loop) collect() Metrics {
	s := l.core.Status()
	m := Metrics{
		Role: s.Role, Vote: s.Vote, Leader: s.Leader, Membership: l.raft.Membership(), Voter: s.Voter,
		Blocked: s.Blocked, Transferee: s.Transferee, Switches: s.Switches,
		Applied: l.applier.Applied(), Commit: s.Commit, Flushed: s.Flushed, Last: s.LastLog,
		Elections: s.Elections, Frames: l.frames, Entries: l.entries, ColdReads: l.streams.ColdReads(),
		UnappliedBytes: l.bytes + l.applier.QueuedBytes(),
		Dropped:        l.box.droppedPackets(), Untrusted: l.untrusted, Malformed: l.malformed + s.Malformed,
		Disagreed: s.Disagreed, Snapshots: l.keeper.metrics(&s),
	}
	if s.Role == consensus.Leader {
		for _, p := range l.core.Peers(nil) {
			m.Peers = append(m.Peers, PeerMetrics{
				Node: p.Node, Voter: p.Voter, Match: p.Match, Streaming: p.Streaming, CaughtUp: p.CaughtUp,
				InflightBytes: p.InflightBytes, WindowBytes: p.WindowBytes, Lost: p.Lost,
				Silent: time.Duration(l.clock() - p.LastAnswer),
			})
		}
	}
	return m
}
