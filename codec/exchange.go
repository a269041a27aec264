package codec

import "time"

// Packet is one message between nodes with the frame or data it carries, if any. Going out, Node is the receiver; coming
// in, the sender as its handshake proved. A frame or data that came in belongs to the receiver; one that goes out is
// shared and must not be changed.
type Packet struct {
	Node    NodeID
	Message Message
	Frame   Frame
	Data    Data
}

// Body returns the bytes that follow the message's own: those of its frame or data, nil for neither.
func (p *Packet) Body() []byte {
	if !p.Data.IsZero() {
		return p.Data.Bytes()
	}
	return p.Frame.Bytes()
}

// Link is what a transport reports to. Every function may be called from any of the transport's goroutines, must not
// block, and none is called after the transport's Close has returned.
type Link struct {
	// Incarnation is the identity of this node's log: what the transport must name to peers, whose Verify is given it. A
	// transport that names another one is cut off as soon as the cluster has written down which disk belongs to whom.
	Incarnation Incarnation
	// Verify is asked before a peer's connection is accepted, with the node id and incarnation that its handshake
	// claims. An error refuses the connection. No acceptance outlives the transport of either node: one that restarts is
	// asked about every peer again, since a crash may have taken what it had noted of them, and until it has noted a peer
	// it hears nothing of what that one sends.
	Verify func(NodeID, Incarnation) error
	// Deliver hands over what one peer sent, in order of its lane. The slice may be reused after the call.
	Deliver func([]Packet)
	// Down says that packets sent to this peer on this lane may have been lost: a connection ended, or could not be
	// made, or a full lane refused a packet.
	Down func(NodeID, Lane)
}

// LogWrite is one step's writes for a group, to be made durable together and in this order: vote, jump, truncation,
// frame, purge. Seq grows with each write of a group; the log answers with it.
type LogWrite struct {
	Seq         uint64
	Vote        Vote  // when HasVote
	Truncate    Index // when HasTruncate: every entry above it is removed
	Commit      Index // newest known commit; rides along, never causes a sync
	Frame       Frame // zero when none
	HasVote     bool
	HasTruncate bool
	// Jump, when not nil, replaces the whole log: every entry is removed, and the next one stands behind Jump.ID. It is the
	// mark of a snapshot that took the log's place.
	Jump *LogBase
	// Purge, when not nil, removes every entry up to Purge.ID, which is the last entry of a frame that the log holds. The
	// space comes back later.
	Purge *LogBase
	// Timed, when not nil, may be called once, from any goroutine, by a log that measures: with when the frame was with the
	// operating system and when it was durable. It does not block. Few writes ask for it, all with a frame.
	Timed func(written, durable time.Time)
}

// LogBase is where a group's log begins: the entries up to and including ID are not in it any more. Their effect is in a
// snapshot, or in what an on-disk state machine has made durable. It is never changed once it was handed out.
type LogBase struct {
	ID LogID
	// Membership is the newest membership entry up to ID; its ID is zero where there is none.
	Membership MembershipRecord
}

// LogState is what a log holds of a group when it is opened.
type LogState struct {
	Vote        Vote
	Base        LogBase            // where the log begins; zero while it begins with the first entry
	Frames      []FrameMeta        // without gaps, ascending, from Base on; cut where a truncation fell inside a frame
	Memberships []MembershipRecord // every membership entry in Frames, ascending
	Commit      Index              // newest saved commit; may lie beyond or far below what is committed
	// CleanClose says that nothing accepted since Vote was written was lost: this life of the log and every one since then
	// ended with everything flushed and a seal behind it. A leader may resume only then.
	CleanClose bool
	// Snapshot describes the newest state that the node can start from, at or beyond Base: zero for none. The log knows
	// nothing of it; who keeps the snapshots fills it in.
	Snapshot LogBase
}

// MembershipRecord is a membership with the log id of the entry that holds it.
type MembershipRecord struct {
	ID         LogID
	Membership Membership
}
