package consensus

import (
	"fmt"
	"math"
	"slices"

	"github.com/millrace/millrace/codec"
)

// leadership is what a leader keeps beside the log.
//
// Owner: the [Core] it is part of.
type leadership struct {
	// since is when this node became leader, first the index of its blank entry: the first one it may commit by count.
	since Instant
	first codec.Index
	// changed is when the effective membership last changed during this leadership.
	changed Instant
	// settling is the instant up to which answers say nothing of a lease, since what they answer was sent before that change.
	settling Instant
	// peers are in the order of the membership's nodes, this node among them. Empty while another role lasts.
	peers []progress
	// streams is the last stream number given out. It is never reused in this life of the node.
	streams uint64
	// base is the stream number that heartbeats carry: the last one before this leadership began. Answers with a lower
	// one belong to an earlier life under the same vote.
	base uint64
	// heartbeatAt is when the next heartbeats are due.
	heartbeatAt Instant
	// sentAt is the newest stamp on anything that was sent.
	sentAt Instant
	// quorumDue is when it is to be looked at next whether a quorum answers, not before graceEnd. graceFor is what
	// quorumAnswered returned when the last grace was given.
	quorumDue, graceEnd, graceFor Instant
	transfer                      handover
	// overtake is the greatest term that a member other than the voters has shown, and overtakeAt when the leader may
	// rise above it; that outlasts a leadership.
	overtake   codec.Term
	overtakeAt Instant
	// lent says that a peer that may still obey a request to campaign is a member no more: the lease is lost for good.
	lent bool
	// Scratch for counting, by position.
	matches, matchesScratch   []codec.Index
	answered, answeredScratch []Instant
}

// end forgets the peers; the stream number goes on.
func (l *leadership) end() { *l = leadership{streams: l.streams, overtakeAt: l.overtakeAt} }

// becomeLeader establishes this node's leadership: the vote a quorum granted is committed, a blank entry opens the term
// (Raft 8), every peer is probed from there.
func (c *Core) becomeLeader() {
	l := &c.lead
	c.ended = EndedNot
	*l = leadership{
		streams: l.streams, base: l.streams, since: c.now, first: c.log.last.Index + 1, graceFor: math.MinInt64,
		overtakeAt: max(l.overtakeAt, c.now.Add(c.cfg.ElectionTimeoutMax)),
	}
	c.setVote(codec.Vote{Leader: c.vote.Leader, Committed: true})
	l.quorumDue = c.now.Add(c.cfg.ElectionTimeoutMin)
	c.election.stood, c.election.called = false, false
	c.layPeers()
	c.appendBlank()
	c.heartbeats(true)
	for i := range l.peers {
		if i != c.members.self {
			c.probe(&l.peers[i])
		}
	}
}

// appendBlank appends an entry that carries nothing.
func (c *Core) appendBlank() {
	c.appendFrame(codec.FrameMeta{
		Group:  c.cfg.Group,
		Leader: c.vote.Leader,
		First:  c.log.last.Index + 1,
		Count:  1,
		Kind:   codec.EntryBlank,
		Size:   codec.FrameHeaderSize + 1,
	}, nil)
}

// layPeers lays out the leader's peers in the order of the effective membership. Those that were there before keep their
// streams; new ones are probed.
func (c *Core) layPeers() {
	l, nodes := &c.lead, c.members.membership.Nodes
	before := l.peers
	l.peers = make([]progress, len(nodes))
	for i := range nodes {
		p := &l.peers[i]
		k := slices.IndexFunc(before, func(o progress) bool { return o.node == nodes[i].ID })
		if k >= 0 {
			*p = before[k]
			before[k].lent = 0
		} else {
			*p = progress{node: nodes[i].ID, window: newWindow(&c.cfg)}
			p.probeFrom(c.log.last.Index+1, c.newStream())
		}
		p.voter, p.witness = c.members.voter[i], c.members.witness[i]
		if k < 0 && before != nil && i != c.members.self {
			c.probe(p)
		}
	}
	for i := range before {
		l.lent = l.lent || before[i].lent != 0
	}
	n := len(nodes)
	l.matches, l.matchesScratch = make([]codec.Index, n), make([]codec.Index, n)
	l.answered, l.answeredScratch = make([]Instant, n), make([]Instant, n)
	l.changed, l.settling = c.now, max(l.sentAt, c.now-1)
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
	if in.Frame.Kind.Commands() {
		f.Kind = in.Frame.Kind
	}
	if !plausible(&f) {
		panic(fmt.Sprintf("BUG: proposal of %d entries, %d bytes", f.Count, f.Size))
	}
	if c.mayPropose() {
		c.appendFrame(f, nil)
		c.streamAll()
	}
}

// mayPropose reports whether this leader takes proposals, and refuses this one if not.
func (c *Core) mayPropose() bool {
	switch {
	case c.leaving():
		c.refuse(ErrLeaderLeaves)
	case c.blocked():
		c.refuse(ErrTransferInProgress)
	default:
		return true
	}
	return false
}

// streamAll sends every streaming peer what its window takes.
func (c *Core) streamAll() {
	for i := range c.lead.peers {
		if i != c.members.self {
			c.stream(&c.lead.peers[i])
		}
	}
}

// request returns a leader's message whose log id is that at index.
func (c *Core) request(kind codec.MessageKind, p *progress, index codec.Index, stream uint64) codec.Message {
	id, ok := c.log.idAt(index)
	if !ok {
		panic(fmt.Sprintf("BUG: %v about index %d, last entry is %v", kind, index, c.log.last))
	}
	p.told = c.commit
	c.lead.sentAt = c.now
	if kind != codec.MessageTransfer {
		p.sentAt = c.now
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
		if p.next <= c.log.base.Index {
			c.needSnapshot(p)
			return
		}
		f := c.log.frameAt(p.next)
		if p.witness && f.Last() > c.log.flushed {
			return // see witness.go
		}
		if p.witness && f.Kind.Commands() {
			f.HeaderOnly, f.Size = true, codec.FrameHeaderSize
		}
		if !p.roomFor(f.Size, &c.cfg) {
			return
		}
		c.sendNow(p.node, codec.LaneAppend, c.request(codec.MessageAppend, p, f.First-1, p.stream), f)
		p.sent(&f, c.now)
	}
}

// probe asks a peer whether it holds the entry before next.
func (c *Core) probe(p *progress) {
	p.probeOut, p.probeAt = true, c.now
	c.sendNow(p.node, codec.LaneAppend, c.request(codec.MessageAppend, p, p.next-1, p.stream), codec.FrameMeta{})
}

// breakStream goes back to probing, from the last entry known to match or the better guess next, and not from before the
// base.
func (c *Core) breakStream(p *progress, next codec.Index) {
	p.window.broken(&c.cfg, p.inflight.n > 0)
	p.probeFrom(max(next, c.log.base.Index+1), c.newStream())
	c.probe(p)
}

// peerDown breaks the stream to a peer whose lane failed. A probe may have been lost too; it is sent again by its
// timer, so that a lane that refuses at once does not make this a busy loop.
func (c *Core) peerDown(in *Input) {
	p := c.peer(in.Peer)
	switch {
	case p == nil:
	case p.state == stateStream:
		c.breakStream(p, p.match+1)
	case p.state == stateSnapshot: // the answer to a snapshot may be lost, whose transfer goes on
		p.stream = c.newStream()
		p.snapshot.at = min(p.snapshot.at, c.now.Add(c.cfg.HeartbeatInterval))
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
		c.matched(p, m)
	} else {
		c.conflicted(p, m.Log)
	}
}

// answers notes when an answer to this leadership had been asked for. It returns false for any other answer. One that
// shows a greater vote ends the leadership, if it comes from a voter: others can't elect anybody.
func (c *Core) answers(p *progress, m *codec.Message) bool {
	if m.Stream < c.lead.base || m.Stream > c.lead.streams {
		return false
	}
	if m.Status == codec.StatusRefused {
		c.refusedBy(p, m)
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

// refusedBy takes a member's word that it holds a greater vote. From a voter that ends the leadership. A vote that does
// not cover ours but is greater is that of a node that does not know the mode yet: it will refuse this leadership for
// good, one of a greater term it will take; only an answer to this leadership shows that it is still so. Others can't elect
// anybody, so their votes end nothing; but they would never follow this leader, see [Core.rise].
func (c *Core) refusedBy(p *progress, m *codec.Message) {
	if m.Vote.Compare(c.vote) <= 0 || !c.covers(uncommitted(m.Vote)) && Instant(m.Stamp) < c.lead.since {
		return
	}
	switch {
	case p.voter:
		c.resign(m.Vote)
	case m.Vote.Leader.Term > c.vote.Leader.Term+termStepMax:
		c.malformed++ // no campaigns led there; following it would use up the terms
	default:
		c.lead.overtake = max(c.lead.overtake, m.Vote.Leader.Term)
	}
}

// termStepMax is how far a learner's term may be above the leader's to be believed: more than a campaign every millisecond
// for a month.
const termStepMax = 1 << 32

// rise lets a leader that a quorum follows campaign anew above the vote of a learner that refuses it: one that campaigned
// as a voter and was demoted before it heard of it. The lease that the followers keep is this leader's own and does not
// stand in its way. It is rare, and a few timeouts lie between two.
func (c *Core) rise() bool {
	l := &c.lead
	if l.overtake < c.vote.Leader.Term || c.now < l.overtakeAt || c.blocked() || !c.electable() ||
		c.diskWaits() >= c.cfg.HeartbeatInterval {
		return true
	}
	l.overtakeAt = c.now.Add(4 * c.cfg.ElectionTimeoutMax)
	if c.now >= c.quorumAnswered().Add(2*c.cfg.HeartbeatInterval) {
		return true
	}
	c.election.termSeen = max(c.election.termSeen, l.overtake)
	c.campaign(false)
	return false
}

// matched takes a peer's word that its log equals ours, durably, up to the entry in m.
func (c *Core) matched(p *progress, m *codec.Message) {
	if !c.log.matches(m.Log) {
		c.malformed++
		c.lacks(p, m.Log)
		return
	}
	acked := p.inflightBytes
	news := p.acknowledged(m.Log.Index, c.now)
	if acked -= p.inflightBytes; acked > 0 {
		p.window.acknowledged(&c.cfg, acked, Instant(m.Stamp), c.now)
	}
	if news {
		c.advanceCommit()
	}
	switch p.state {
	case stateSnapshot:
		c.snapshotTaken(p)
	case stateProbe:
		if next, more := p.searchOn(); more {
			c.breakStream(p, next)
			return
		}
		p.streamOn()
	}
	c.stream(p)
	if p.snapshot.behind && p.next > c.log.last.Index {
		p.snapshot.behind = false
	}
}

// flushedAsLeader counts the leader's own copy like any other, and sends witnesses what became durable.
func (c *Core) flushedAsLeader(in *Input) {
	c.flushed(in)
	for i := range c.lead.peers {
		if p := &c.lead.peers[i]; p.witness && i != c.members.self {
			c.stream(p)
		}
	}
	c.advanceCommit()
}

// stallAt returns when a stream with frames in flight and no ack is taken for broken.
func (c *Core) stallAt(p *progress) Instant { return p.movedAt.Add(2 * c.cfg.ElectionTimeoutMax) }

// leaderTimers does what is due: it ends a leadership without a quorum or a disk, and sends heartbeats, probes again, and
// a probe where a stream has stalled.
func (c *Core) leaderTimers() {
	if !c.checkQuorum() || !c.checkDisk() || !c.advanceMembership() || !c.rise() {
		return
	}
	if c.now >= c.lead.heartbeatAt {
		c.heartbeatTimer()
		c.promote()
		c.preferOther()
	}
	c.handOver()
	for i := range c.lead.peers {
		p := &c.lead.peers[i]
		switch {
		case i == c.members.self:
		case p.state == stateProbe && p.probeOut && c.now >= p.probeAt.Add(c.cfg.HeartbeatInterval):
			c.probe(p)
		case p.inflight.n > 0 && c.now >= c.stallAt(p):
			c.breakStream(p, p.match+1)
		}
		if p.snapshot.active {
			c.snapshotTimer(p)
		}
	}
	c.confirmReads()
}

func (c *Core) leaderDeadline() Instant {
	l := &c.lead
	next := min(l.heartbeatAt, l.quorumDue, c.diskDeadline(), c.handOverDeadline(), c.readDeadline())
	for i := range l.peers {
		p := &l.peers[i]
		switch {
		case i == c.members.self:
		case p.state == stateProbe && p.probeOut:
			next = min(next, p.probeAt.Add(c.cfg.HeartbeatInterval))
		case p.inflight.n > 0:
			next = min(next, c.stallAt(p))
		}
		if p.snapshot.active {
			next = min(next, p.snapshot.at)
		}
	}
	return next
}
