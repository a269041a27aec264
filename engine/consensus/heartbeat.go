package consensus

import "github.com/millrace/millrace/codec"

// heartbeats makes this leader heard, on the lane that never waits behind appends. Unless all are asked for, a peer that
// needs none gets none: one that lately answered an append and knows the commit. Now and then it gets one all the same:
// what its answer says of snapshots no other answer says.
func (c *Core) heartbeats(all bool) {
	c.lead.heartbeatAt = c.now.Add(c.cfg.HeartbeatInterval)
	for i := range c.lead.peers {
		p := &c.lead.peers[i]
		quiet := p.answered > c.now.Add(-c.cfg.HeartbeatInterval/2) && p.told == c.commit &&
			p.beat > c.now.Add(-c.cfg.ElectionTimeoutMax)
		if i != c.members.self && (all || !quiet) {
			c.sendNow(p.node, codec.LaneControl, c.request(codec.MessageHeartbeat, p, c.known(p), c.lead.base), codec.FrameMeta{})
		}
	}
}

// known returns the last entry that a peer is known to hold and that this log can name, 0 for none.
func (c *Core) known(p *progress) codec.Index {
	if p.match < c.log.base.Index {
		return 0
	}
	return p.match
}

// heartbeatNow sends heartbeats because the caller says so.
func (c *Core) heartbeatNow(*Input) { c.heartbeats(true) }

// heartbeatTimer sends heartbeats when they are due.
func (c *Core) heartbeatTimer() {
	switch {
	case c.now < c.lead.heartbeatAt:
	case c.switches.NoHeartbeats:
		c.lead.heartbeatAt = c.now.Add(c.cfg.HeartbeatInterval)
	default:
		c.heartbeats(false)
	}
}

// heartbeatReply takes an answer to a heartbeat.
func (c *Core) heartbeatReply(in *Input) {
	m := &in.Message
	p := c.peer(in.Peer)
	if p == nil || !c.answers(p, m) || m.Stream != c.lead.base {
		return
	}
	p.beat = max(p.beat, min(Instant(m.Stamp), c.now))
	c.snapshotHeard(p, m)
	if m.Status == codec.StatusConflict && p.state == stateStream {
		c.breakStream(p, p.match+1) // the probe finds out whether the peer lost what it had acknowledged
	}
}

// heartbeatRequest takes a heartbeat. The log id in it is the last one the leader knows to match; a log that does not
// hold it has lost it, and the answer says so.
func (c *Core) heartbeatRequest(in *Input) {
	m := &in.Message
	if !c.follow(m) {
		c.refuseLeader(in, codec.LaneControl)
		return
	}
	if c.contradicted(in, m.Log) {
		return
	}
	reply := c.answer(m)
	reply.Log = c.log.last
	if c.wantsSnapshot() {
		reply.WantSnapshot, reply.Commit = true, c.log.base.Index
	}
	if c.log.matches(m.Log) {
		reply.Status = codec.StatusOK
		c.verify(m.Log.Index, m.Commit)
	} else {
		reply.Status = codec.StatusConflict
	}
	c.sendDurable(in.Peer, codec.LaneControl, reply, c.voteSeq)
}
