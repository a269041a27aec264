package codec

// Packet is one message between nodes with the frame it carries, if any. Going out, Node is the receiver; coming in,
// the sender as its handshake proved. A frame that came in belongs to the receiver; one that goes out is shared and
// must not be changed.
type Packet struct {
	Node    NodeID
	Message Message
	Frame   Frame
}

// Link is what a transport reports to. Every function may be called from any of the transport's goroutines, must not
// block, and none is called after the transport's Close has returned.
type Link struct {
	// Verify is asked before a peer's connection is accepted, with the node id and incarnation that its handshake
	// claims. An error refuses the connection.
	Verify func(NodeID, Incarnation) error
	// Deliver hands over what one peer sent, in order of its lane. The slice may be reused after the call.
	Deliver func([]Packet)
	// Down says that packets sent to this peer on this lane may have been lost: a connection ended, or could not be
	// made, or a full lane refused a packet.
	Down func(NodeID, Lane)
}

// LogWrite is one step's writes for a group, to be made durable together and in the order of the fields. Seq grows with
// each write of a group; the log answers with it.
type LogWrite struct {
	Seq         uint64
	Vote        Vote  // when HasVote
	Truncate    Index // when HasTruncate: every entry above it is removed
	Commit      Index // newest known commit; rides along, never causes a sync
	Frame       Frame // zero when none
	HasVote     bool
	HasTruncate bool
}

// LogState is what a log holds of a group when it is opened.
type LogState struct {
	Vote        Vote
	Frames      []FrameMeta        // without gaps, ascending; cut where a truncation fell inside a frame
	Memberships []MembershipRecord // every membership entry in Frames, ascending
	Commit      Index              // newest saved commit; may lie beyond or far below what is committed
	// CleanClose says that nothing accepted since Vote was written was lost: this life of the log and every one since then
	// ended with everything flushed and a seal behind it. A leader may resume only then.
	CleanClose bool
}

// MembershipRecord is a membership with the log id of the entry that holds it.
type MembershipRecord struct {
	ID         LogID
	Membership Membership
}
