package consensus

import (
	"fmt"
	"time"

	"github.com/millrace/millrace/codec"
)

// handover is a transfer of leadership in progress (thesis 3.10).
type handover struct {
	to       codec.NodeID // 0: none
	began    Instant
	deadline Instant // when the leader gives it up and goes on
	asked    bool    // a request to campaign was sent, the newest one at askedAt
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
	timeout := min(in.Timeout, timeoutMax)
	if timeout <= 0 {
		timeout = c.cfg.ElectionTimeoutMin
	}
	c.lead.transfer = handover{to: to, began: c.now, deadline: c.now.Add(timeout)}
	c.handOver()
}

// checkTarget says why the leadership can't be handed to a node.
func (c *Core) checkTarget(to codec.NodeID) error {
	i := c.members.position(to)
	switch {
	case c.leaving():
		return ErrLeaderLeaves
	case c.lead.transfer.to != 0:
		return fmt.Errorf("%w: to node %d", ErrTransferInProgress, c.lead.transfer.to)
	case to == 0:
		return fmt.Errorf("%w: no other voter follows", ErrTransferTarget)
	case to == c.cfg.Node:
		return fmt.Errorf("%w: node %d leads already", ErrTransferTarget, to)
	case i < 0 || !c.members.voter[i]:
		return fmt.Errorf("%w: node %d is no voter", ErrTransferTarget, to)
	case c.members.witness[i]:
		return fmt.Errorf("%w: node %d is a witness", ErrTransferTarget, to)
	case !c.members.membership.Stays(to):
		return fmt.Errorf("%w: node %d is about to be no voter any more", ErrTransferTarget, to)
	case c.lead.peers[i].snapshot.wanted:
		return fmt.Errorf("%w: node %d has lost its snapshot and waits for another", ErrTransferTarget, to)
	}
	return nil
}

// bestPeer returns the peer to hand the leadership to: of the ordinary voters that stream the one with the longest match,
// then the greatest priority; nil when there is none.
func (c *Core) bestPeer() *progress {
	best := -1
	for i := range c.lead.peers {
		p := &c.lead.peers[i]
		if i == c.members.self || p.witness || p.lost || p.snapshot.wanted || p.state != stateStream || !c.members.membership.Stays(p.node) {
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
	case p == nil || !p.voter || c.now >= min(t.deadline, c.silentAt(p)):
		c.keepLeading()
	case !c.complete(p):
	case !t.asked || c.now >= t.askedAt.Add(c.cfg.HeartbeatInterval):
		t.asked, t.askedAt = true, c.now
		c.askToCampaign(p)
	}
}

// keepLeading gives the transfer up. A target that was asked may get the request only now; a blank entry makes it void as
// soon as it is held there.
func (c *Core) keepLeading() {
	asked := c.lead.transfer.asked
	c.lead.transfer = handover{}
	if asked && c.leaseLent() && c.out.Write.Frame.IsZero() {
		c.appendBlank()
		c.streamAll()
	}
}

// handOverDeadline returns when handOver has to be called again if nothing else happens.
func (c *Core) handOverDeadline() Instant {
	t := &c.lead.transfer
	if t.to == 0 {
		return Never
	}
	p := c.peer(t.to)
	end := min(t.deadline, c.silentAt(p))
	if !t.asked || !c.complete(p) {
		return end
	}
	return min(end, t.askedAt.Add(c.cfg.HeartbeatInterval))
}

// silentAt returns when the target of a transfer, if it answers nothing until then, counts as dead: proposals wait for it.
func (c *Core) silentAt(p *progress) Instant {
	return max(p.answered, c.lead.transfer.began).Add(c.cfg.ElectionTimeoutMin)
}

// complete reports whether a peer holds everything durably.
func (c *Core) complete(p *progress) bool { return p.match == c.log.last.Index && !p.lost }

// askToCampaign sends the request that lets a peer campaign at once. From then on this leader's lease protects it no more,
// until the peer holds an entry above the one that the request names: then it will never obey it.
func (c *Core) askToCampaign(p *progress) {
	p.lent = c.log.last.Index
	c.sendNow(p.node, codec.LaneControl, c.request(codec.MessageTransfer, p, c.log.last.Index, c.lead.base), codec.FrameMeta{})
}

// transferRequest campaigns because the leader asks for it. A request is obeyed only under the leader that this node
// follows, and with exactly the log that it names, held durably: one that was on its way while the leader gave the transfer
// up and went on does nothing.
func (c *Core) transferRequest(in *Input) {
	m := &in.Message
	if m.Vote == c.vote && c.electable() && c.log.last == m.Log && c.log.flushed >= m.Log.Index {
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
		c.keepLeading()
	}
}

// prompt reports whether a peer has lately answered and acknowledged what was sent.
func (c *Core) prompt(p *progress) bool {
	lately := c.now.Add(-2 * c.cfg.HeartbeatInterval)
	return p.answered > lately && (p.inflight.n == 0 || p.movedAt > lately)
}

// preference says when the leadership may be handed to a node of greater priority again. It outlasts leaderships: a target
// that is elected and can't stay would else be tried over and over.
//
// Owner: the [Core] it is part of.
type preference struct {
	at   Instant
	wait time.Duration // what the newest attempt put between itself and at
}

// attempted notes an attempt: the wait doubles, unless the last attempt is long past.
func (p *preference) attempted(cfg *Config, now Instant) {
	least := 4 * cfg.ElectionTimeoutMax
	if p.wait == 0 || now > p.at.Add(p.wait) {
		p.wait = least
	} else {
		p.wait = min(2*p.wait, 64*least)
	}
	p.at = now.Add(p.wait)
}

// preferOther hands the leadership to a voter of greater priority that holds everything, if there is one. A leader that
// waits for a snapshot, and could apply nothing, prefers any other, also while it leaves: it has no snapshot to give to those
// who lack what it has purged, and may need them to commit that it leaves.
func (c *Core) preferOther() {
	l, own, best := &c.lead, -1, -1
	switch {
	case l.transfer.to != 0, c.now < max(c.prefer.at, l.since.Add(c.cfg.ElectionTimeoutMax)):
		return
	case c.wantsSnapshot():
	case c.members.self < 0 || c.leaving():
		return
	default:
		own = int(c.members.priority[c.members.self])
	}
	for i := range l.peers {
		p := &l.peers[i]
		if i != c.members.self && int(c.members.priority[i]) > own && !p.witness && c.members.membership.Stays(p.node) &&
			c.caughtUp(p) && c.prompt(p) && (best < 0 || c.members.priority[i] > c.members.priority[best]) {
			best = i
		}
	}
	if best >= 0 {
		c.prefer.attempted(&c.cfg, c.now)
		l.transfer = handover{to: l.peers[best].node, began: c.now, deadline: c.now.Add(c.cfg.ElectionTimeoutMin)}
		c.handOver()
	}
}
