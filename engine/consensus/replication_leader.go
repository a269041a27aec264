package consensus

import (
	"fmt"

	"github.com/millrace/millrace/codec"
)

// leadership is what a leader keeps beside the log.
//
// Owner: the [Core] it is part of.
type leadership struct {
	// since is when this node became leader, first the index of its blank entry: the first one it may commit by count.
	since Instant
	first codec.Index
	// peers are in the order of the membership's nodes, this node among them. Empty while another role lasts.
	peers []progress
	// streams is the last stream number given out. It is never reused in this life of the node.
	streams uint64
	// heartbeatAt is when the next heartbeats are due.
	heartbeatAt Instant
	// Scratch for counting, by position.
	matches, matchesScratch   []codec.Index
	answered, answeredScratch []Instant
}

func (l *leadership) end() { l.peers = nil }

// becomeLeader establishes this node's leadership: the vote a quorum granted is committed, a blank entry opens the term
// (Raft 8), every peer is probed from there.
func (c *Core) becomeLeader() {
	c.setVote(codec.Vote{Leader: c.vote.Leader, Committed: true})
	l := &c.lead
	l.since, l.first = c.now, c.log.last.Index+1
	nodes := c.members.membership.Nodes
	l.peers = make([]progress, len(nodes))
	l.matches, l.matchesScratch = make([]codec.Index, len(nodes)), make([]codec.Index, len(nodes))
	l.answered, l.answeredScratch = make([]Instant, len(nodes)), make([]Instant, len(nodes))
	for i := range l.peers {
		p := &l.peers[i]
		p.node, p.voter = nodes[i].ID, c.members.voter[i]
		p.probeFrom(l.first, c.newStream())
	}
	c.appendFrame(codec.FrameMeta{
		Group:  c.cfg.Group,
		Leader: c.vote.Leader,
		First:  l.first,
		Count:  1,
		Kind:   codec.EntryBlank,
		Size:   codec.FrameHeaderSize + 1,
	}, nil)
	c.heartbeats()
	for i := range l.peers {
		if i != c.members.self {
			c.probe(&l.peers[i])
		}
	}
}

func (c *Core) newStream() uint64 {
	c.lead.streams++
	return c.lead.streams
}

// peer returns the progress of another member, nil for anybody else.
func (c *Core) peer(id codec.NodeID) *progress {
	if i := c.members.position(id); i >= 0 && i != c.members.self {
		return &c.lead.peers[i]
	}
	return nil
}

// propose appends the caller's entries and sends them on.
func (c *Core) propose(in *Input) {
	f := codec.FrameMeta{
		Group:  c.cfg.Group,
		Leader: c.vote.Leader,
		First:  c.log.last.Index + 1,
		Count:  in.Frame.Count,
		Kind:   codec.EntryNormal,
		Size:   in.Frame.Size,
	}
	if !plausible(&f) {
		panic(fmt.Sprintf("BUG: proposal of %d entries, %d bytes", f.Count, f.Size))
	}
	c.appendFrame(f, nil)
	for i := range c.lead.peers {
		if i != c.members.self {
			c.stream(&c.lead.peers[i])
		}
	}
}

// request returns a leader's message whose log id is that at index.
func (c *Core) request(kind codec.MessageKind, index codec.Index, stream uint64) codec.Message {
	id, ok := c.log.idAt(index)
	if !ok {
		panic(fmt.Sprintf("BUG: %v about index %d, last entry is %v", kind, index, c.log.last))
	}
	return codec.Message{
		Kind:   kind,
		Vote:   c.vote,
		Log:    id,
		Commit: c.commit,
		Stream: stream,
		Stamp:  int64(c.now),
	}
}

// stream sends a streaming peer every frame that the window takes. Frames go whole: where next falls inside one, the
// peer skips what it holds of it.
func (c *Core) stream(p *progress) {
	for p.state == stateStream && p.next <= c.log.last.Index {
		f := c.log.frameAt(p.next)
		if !p.roomFor(f.Size, &c.cfg) {
			return
		}
		c.sendNow(p.node, codec.LaneAppend, c.request(codec.MessageAppend, f.First-1, p.stream), f)
		p.sent(&f, c.now)
	}
}

// probe asks a peer whether it holds the entry before next.
func (c *Core) probe(p *progress) {
	p.probeOut, p.probeAt = true, c.now
	c.sendNow(p.node, codec.LaneAppend, c.request(codec.MessageAppend, p.next-1, p.stream), codec.FrameMeta{})
}

// heartbeats makes this leader heard, on the lane that never waits behind appends.
func (c *Core) heartbeats() {
	c.lead.heartbeatAt = c.now.Add(c.cfg.HeartbeatInterval)
	for i := range c.lead.peers {
		if p := &c.lead.peers[i]; i != c.members.self {
			c.sendNow(p.node, codec.LaneControl, c.request(codec.MessageHeartbeat, p.match, 0), codec.FrameMeta{})
		}
	}
}

// breakStream goes back to probing, from the last entry known to match or the better guess next.
func (c *Core) breakStream(p *progress, next codec.Index) {
	p.probeFrom(next, c.newStream())
	c.probe(p)
}

// peerDown breaks the stream to a peer whose lane failed. A probe may have been lost too; it is sent again by its
// timer, so that a lane that refuses at once does not make this a busy loop.
func (c *Core) peerDown(in *Input) {
	if p := c.peer(in.Peer); p != nil && p.state == stateStream {
		c.breakStream(p, p.match+1)
	}
}

// appendReply takes an answer on the append lane. Only one to this leadership counts, and only one to the present
// stream moves anything.
func (c *Core) appendReply(in *Input) {
	m := &in.Message
	p := c.peer(in.Peer)
	if p == nil || !c.answers(p, m) || m.Stream != p.stream {
		return
	}
	if m.Status == codec.StatusOK {
		c.matched(p, m.Log)
	} else {
		c.conflicted(p, m.Log)
	}
}

// heartbeatReply takes an answer to a heartbeat.
func (c *Core) heartbeatReply(in *Input) {
	m := &in.Message
	p := c.peer(in.Peer)
	if p == nil || !c.answers(p, m) {
		return
	}
	if m.Status == codec.StatusConflict && p.state == stateStream {
		c.breakStream(p, p.match+1) // the probe finds out whether the peer lost what it had acknowledged
	}
}

// answers notes when an answer to this leadership had been asked for. It returns false for any other answer. One that
// shows a greater vote ends the leadership, if it comes from a voter: others can't elect anybody.
func (c *Core) answers(p *progress, m *codec.Message) bool {
	if m.Status == codec.StatusRefused {
		// A vote that does not cover ours but is greater is that of a node that does not know the mode yet. It will
		// refuse this leadership for good; one of a greater term it will take. Only an answer to this leadership
		// shows that it is still so.
		if p.voter && m.Vote.Compare(c.vote) > 0 &&
			(c.covers(uncommitted(m.Vote)) || Instant(m.Stamp) >= c.lead.since) {
			c.resign(m.Vote)
		}
		return false
	}
	if m.Vote != c.vote {
		return false
	}
	if stamp := Instant(m.Stamp); stamp >= c.lead.since && stamp <= c.now {
		p.answered = max(p.answered, stamp)
	}
	return true
}

// matched takes a peer's word that its log equals ours, durably, up to id.
func (c *Core) matched(p *progress, id codec.LogID) {
	if !c.log.holds(id) {
		c.malformed++
		return
	}
	news := p.acknowledged(id.Index, c.now)
	if p.state == stateProbe {
		p.streamOn()
	}
	c.stream(p)
	if news {
		c.advanceCommit()
	}
}

// conflicted takes a peer's word that it does not hold the entry before what was sent, and looks for the match further
// down: where the peer's hint, and what this log says of the hint's leader, allow it at the highest (Raft 5.3). A probe
// always goes below the one that failed; the match found before is never gone below.
func (c *Core) conflicted(p *progress, hint codec.LogID) {
	top := hint.Index
	if p.state == stateProbe {
		if p.next-1 <= p.match {
			// The peer denies what it has acknowledged: its disk lost it. It is asked again, at the pace of the probe
			// timer, and gets nothing more from this leader; nobody else waits for it.
			p.lost = true
			return
		}
		top = min(top, p.next-2)
	}
	c.breakStream(p, c.log.lastNotAbove(top, hint.Leader).Index+1)
}

// flushedAsLeader counts the leader's own copy like any other.
func (c *Core) flushedAsLeader(in *Input) {
	c.flushed(in)
	c.advanceCommit()
}

// stallAfter is how long frames may be in flight without any ack before the stream is taken for broken.
func (c *Core) stallAt(p *progress) Instant { return p.movedAt.Add(2 * c.cfg.ElectionTimeoutMax) }

// leaderTimers sends what is due: heartbeats, probes again, and a probe where a stream has stalled.
func (c *Core) leaderTimers() {
	if c.now >= c.lead.heartbeatAt {
		c.heartbeats()
	}
	for i := range c.lead.peers {
		p := &c.lead.peers[i]
		switch {
		case i == c.members.self:
		case p.state == stateProbe && p.probeOut && c.now >= p.probeAt.Add(c.cfg.HeartbeatInterval):
			c.probe(p)
		case p.inflight.n > 0 && c.now >= c.stallAt(p):
			c.breakStream(p, p.match+1)
		}
	}
}

func (c *Core) leaderDeadline() Instant {
	next := c.lead.heartbeatAt
	for i := range c.lead.peers {
		p := &c.lead.peers[i]
		switch {
		case i == c.members.self:
		case p.state == stateProbe && p.probeOut:
			next = min(next, p.probeAt.Add(c.cfg.HeartbeatInterval))
		case p.inflight.n > 0:
			next = min(next, c.stallAt(p))
		}
	}
	return next
}
