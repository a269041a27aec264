package consensus

import "github.com/millrace/millrace/codec"

// Status returns what others want to know.
func (c *Core) Status() Status {
	s := Status{
		Role:      c.role,
		Vote:      c.vote,
		LastLog:   c.log.last,
		Flushed:   c.log.flushedID(),
		Commit:    c.commit,
		MemberAt:  c.members.at,
		Purged:    c.log.base,
		Snapshot:  c.snapshot,
		Elections: c.election.campaigns,
		Malformed: c.malformed,
		Switches:  c.switches,
		Ended:     c.ended,

		Disagreed:     c.disagreed,
		DisagreedWith: c.disagreedWith,
		Denials:       c.denials,
		DeniedBy:      c.deniedBy,
	}
	s.WantsSnapshot = c.wantsSnapshot()
	s.Voter = c.members.self >= 0 && c.members.voter[c.members.self]
	if c.role == Leader {
		s.Blocked, s.Transferee = c.blocked(), c.lead.transfer.to
	}
	s.Leader, s.LeaseUntil = c.knownLeader(), c.leaseUntil()
	return s
}

// Membership returns the effective membership, nil before initialization. It is never changed afterwards and may be
// kept; the caller must not change it either.
func (c *Core) Membership() *codec.Membership { return c.members.membership }

// Peers appends a leader's view of its peers to dst, in the order of their ids; nothing in another role.
func (c *Core) Peers(dst []PeerStatus) []PeerStatus {
	for i := range c.lead.peers {
		p := &c.lead.peers[i]
		if i == c.members.self {
			continue
		}
		dst = append(dst, PeerStatus{
			Node:          p.node,
			Match:         p.match,
			Next:          p.next,
			Voter:         p.voter,
			Streaming:     p.state == stateStream,
			CaughtUp:      c.caughtUp(p),
			InflightBytes: p.inflightBytes,
			WindowBytes:   p.window.bytes,
			LastAnswer:    p.answered,
			Lost:          p.lost,
			Snapshot:      p.snapshot.active,
		})
	}
	return dst
}

// QuorumAnswered returns when a leader last sent something that a write quorum has answered, itself included; at the earliest
// when it became leader, or when the quorum it needs changed. 0 in another role.
func (c *Core) QuorumAnswered() Instant {
	if c.role != Leader {
		return 0
	}
	return c.quorumAnswered()
}

// Holds reports whether the log has exactly this entry, durable or not, or begins right behind it. Of entries purged
// before that it knows nothing.
func (c *Core) Holds(id codec.LogID) bool { return c.log.holds(id) }

// LogIDAt returns the log id at an index, that of the last purged entry included; false before it and beyond the end of the
// log. Index 0 has the zero log id.
func (c *Core) LogIDAt(index codec.Index) (codec.LogID, bool) { return c.log.idAt(index) }

// BaseAt describes a log that begins behind the entry at index, with the membership in force there: what a snapshot up to
// it is named by. False beyond what is committed, and before the last purged entry. It may be kept, never changed.
func (c *Core) BaseAt(index codec.Index) (*codec.LogBase, bool) {
	id, ok := c.log.idAt(index)
	if !ok || index == 0 || index > c.commit {
		return nil, false
	}
	return c.log.baseAt(id), true
}

// FrameAt describes the frame that holds the entry at index, false when the log has none. After a truncation inside a
// frame its Size is still that of the whole.
func (c *Core) FrameAt(index codec.Index) (codec.FrameMeta, bool) {
	if index <= c.log.base.Index || index > c.log.last.Index {
		return codec.FrameMeta{}, false
	}
	return c.log.frameAt(index), true
}
