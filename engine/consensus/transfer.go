package consensus

import (
	"fmt"

	"github.com/millrace/millrace/codec"
)

// handover is a transfer of leadership in progress (thesis 3.10).
type handover struct {
	to       codec.NodeID // 0: none
	deadline Instant      // when the leader gives it up and goes on
	asked    bool         // a request to campaign was sent, the newest one at askedAt
	askedAt  Instant
}

// transfer begins to hand the leadership over. Until it has happened or its time is up nothing is proposed, so that the
// target can catch up; then it is told to campaign at once, by votes that pass the leases this leader holds.
func (c *Core) transfer(in *Input) {
	to := in.Peer
	if to == 0 {
		if best := c.bestPeer(); best != nil {
			to = best.node
		}
	}
	if err := c.checkTarget(to); err != nil {
		c.refuse(err)
		return
	}
	timeout := in.Timeout
	if timeout <= 0 {
		timeout = c.cfg.ElectionTimeoutMin
	}
	c.lead.transfer = handover{to: to, deadline: c.now.Add(timeout)}
	c.handOver()
}

// checkTarget says why the leadership can't be handed to a node.
func (c *Core) checkTarget(to codec.NodeID) error {
	i := c.members.position(to)
	switch {
	case c.blocked():
		return fmt.Errorf("%w: to node %d", ErrTransferInProgress, c.lead.transfer.to)
	case to == 0:
		return fmt.Errorf("%w: no other voter follows", ErrTransferTarget)
	case to == c.cfg.Node:
		return fmt.Errorf("%w: node %d leads already", ErrTransferTarget, to)
	case i < 0 || !c.members.voter[i]:
		return fmt.Errorf("%w: node %d is no voter", ErrTransferTarget, to)
	case c.members.witness[i]:
		return fmt.Errorf("%w: node %d is a witness", ErrTransferTarget, to)
	}
	return nil
}

// bestPeer returns the peer to hand the leadership to: of the ordinary voters that stream the one with the longest match,
// then the greatest priority; nil when there is none.
func (c *Core) bestPeer() *progress {
	best := -1
	for i := range c.lead.peers {
		p := &c.lead.peers[i]
		if i == c.members.self || !p.voter || p.witness || p.lost || p.state != stateStream {
			continue
		}
		if best < 0 || p.match > c.lead.peers[best].match ||
			p.match == c.lead.peers[best].match && c.members.priority[i] > c.members.priority[best] {
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	return &c.lead.peers[best]
}

// blocked reports whether this leader takes no proposals: it hands over, or it is none of the voters-to-be and leaves as
// soon as that is committed (thesis 4.2.2).
func (c *Core) blocked() bool { return c.lead.transfer.to != 0 || c.leaving() }

// handOver does what a transfer needs next: it asks the target to campaign once that holds everything durably, again and
// again, or gives the transfer up.
func (c *Core) handOver() {
	t := &c.lead.transfer
	if t.to == 0 {
		return
	}
	p := c.peer(t.to)
	switch {
	case p == nil || !p.voter || c.now >= t.deadline:
		*t = handover{}
	case !c.complete(p):
	case !t.asked || c.now >= t.askedAt.Add(c.cfg.HeartbeatInterval):
		t.asked, t.askedAt = true, c.now
		c.askToCampaign(p)
	}
}

// handOverDeadline returns when handOver has to be called again if nothing else happens.
func (c *Core) handOverDeadline() Instant {
	t := &c.lead.transfer
	switch {
	case t.to == 0:
		return Never
	case !t.asked || !c.complete(c.peer(t.to)):
		return t.deadline
	}
	return min(t.deadline, t.askedAt.Add(c.cfg.HeartbeatInterval))
}

// complete reports whether a peer holds everything durably.
func (c *Core) complete(p *progress) bool { return p.match == c.log.last.Index && !p.lost }

// askToCampaign sends the request that lets a peer campaign at once. From then on this leader's lease protects it no more,
// until the peer has answered a later heartbeat: by that it has heard a newer stamp and obeys no older request.
func (c *Core) askToCampaign(p *progress) {
	p.lent, p.lentAt = true, c.now
	c.sendNow(p.node, codec.LaneControl, c.request(codec.MessageTransfer, p, c.log.last.Index, c.lead.base), codec.FrameMeta{})
}

// transferRequest campaigns because the leader asks for it. A request is obeyed only under the leader that this node
// follows and has heard in this life, when no later word of it came first, and with all of its log held durably: one that
// was on its way while the leader gave the transfer up does nothing.
func (c *Core) transferRequest(in *Input) {
	m, e := &in.Message, &c.election
	stale := m.Stream < e.heardLife || m.Stream == e.heardLife && m.Stamp < e.heardStamp
	if m.Vote == c.vote && e.heard && !stale && c.electable() && c.log.last == m.Log && c.log.flushed >= m.Log.Index {
		c.campaign(true)
		return
	}
	reply := c.answer(m)
	reply.Status, reply.Log = codec.StatusRefused, c.log.last
	c.sendNow(in.Peer, codec.LaneControl, reply, codec.FrameMeta{})
}

// transferReply takes a target's refusal, which ends the transfer that it answers.
func (c *Core) transferReply(in *Input) {
	m, t := &in.Message, &c.lead.transfer
	p := c.peer(in.Peer)
	if p == nil || m.Stream != c.lead.base {
		return
	}
	if m.Vote != c.vote {
		c.answers(p, m)
		return
	}
	if t.to == in.Peer && t.asked && Instant(m.Stamp) == t.askedAt {
		*t = handover{}
	}
}

// prompt reports whether a peer has lately answered and acknowledged what was sent.
func (c *Core) prompt(p *progress) bool {
	lately := c.now.Add(-2 * c.cfg.HeartbeatInterval)
	return p.answered > lately && (p.inflight.n == 0 || p.movedAt > lately)
}

// preferOther hands the leadership to a voter of greater priority that holds everything, if there is one. It tries again
// only after a while, since a target that can't win would else block proposals over and over.
func (c *Core) preferOther() {
	l := &c.lead
	if c.members.self < 0 || c.blocked() || c.now < max(l.preferAt, l.since.Add(c.cfg.ElectionTimeoutMax)) {
		return
	}
	own, best := c.members.priority[c.members.self], -1
	for i := range l.peers {
		p := &l.peers[i]
		if i != c.members.self && p.voter && !p.witness && c.members.priority[i] > own && c.caughtUp(p) &&
			c.prompt(p) && (best < 0 || c.members.priority[i] > c.members.priority[best]) {
			best = i
		}
	}
	if best >= 0 {
		l.preferAt = c.now.Add(4 * c.cfg.ElectionTimeoutMax)
		l.transfer = handover{to: l.peers[best].node, deadline: c.now.Add(c.cfg.ElectionTimeoutMin)}
		c.handOver()
	}
}
