package consensus

import (
	"time"

	"github.com/millrace/millrace/codec"
)

// leaseRuns reports whether an established leader is not to be disturbed by a candidate (thesis 4.2.3): one that was heard
// less than a minimum election timeout ago, or this node itself while a write quorum answers it. A lease does not protect
// a leader from itself: it campaigns after it has stepped down.
func (c *Core) leaseRuns(candidate codec.NodeID) bool {
	if c.role == Leader {
		return !c.leaseLent() && c.now < c.quorumAnswered().Add(c.cfg.ElectionTimeoutMin)
	}
	return c.now < c.election.leaseEnd && c.vote.Leader.Node != candidate
}

// leaseLent reports whether this leader has given its lease up: somebody it asked to campaign may still do so, by votes
// that pass all leases.
func (c *Core) leaseLent() bool {
	for i := range c.lead.peers {
		if c.lead.peers[i].lent != 0 {
			return true
		}
	}
	return c.lead.lent
}

// quorumAnswered returns when this leader last sent something that a write quorum has answered, itself included; at the
// earliest when it became leader, or when the quorum it needs changed. Those two are no answers: votes may be refused and
// office kept on them, but nothing may be read.
func (c *Core) quorumAnswered() Instant {
	l := &c.lead
	for i := range l.peers {
		l.answered[i] = l.peers[i].answered
	}
	if c.members.self >= 0 {
		l.answered[c.members.self] = c.now
	}
	return max(l.since, l.changed, reached(&c.members, l.answered, l.answeredScratch))
}

// checkQuorum ends a leadership that no write quorum has answered for a minimum election timeout (thesis 6.2). It can
// commit nothing, and its heartbeats would hold back followers that could elect another. It returns false then.
//
// A node that itself overslept, because it was frozen or starved, first gets the time to hear the answers that wait, once
// for each time that a quorum answered.
func (c *Core) checkQuorum() bool {
	l := &c.lead
	if c.now > c.due && time.Duration(c.now-c.due) > c.cfg.HeartbeatInterval {
		if answered := c.quorumAnswered(); answered > l.graceFor {
			l.graceFor, l.graceEnd = answered, c.now.Add(2*c.cfg.HeartbeatInterval)
			l.quorumDue = max(l.quorumDue, l.graceEnd)
		}
	}
	if c.now < l.quorumDue {
		return true
	}
	l.quorumDue = max(c.quorumAnswered().Add(c.cfg.ElectionTimeoutMin), l.graceEnd)
	if c.now < l.quorumDue {
		return true
	}
	c.ended = EndedQuorum
	c.stepDown()
	return false
}

// diskWaits returns for how long the log has made no progress with what waits to be durable, 0 when nothing waits.
func (c *Core) diskWaits() time.Duration {
	if c.flushedSeq == c.seq {
		return 0
	}
	return time.Duration(c.now - c.waitingSince)
}

// checkDisk ends a leadership whose own disk hangs. Others may still commit with their copies, but a node that can write
// nothing should not decide for those that can. It returns false then.
func (c *Core) checkDisk() bool {
	if c.cfg.DiskStallTimeout == 0 || c.diskWaits() < c.cfg.DiskStallTimeout {
		return true
	}
	c.ended = EndedDisk
	c.stepDown()
	return false
}

// diskDeadline returns when checkDisk will end the leadership if nothing is flushed until then.
func (c *Core) diskDeadline() Instant {
	if c.cfg.DiskStallTimeout == 0 || c.flushedSeq == c.seq {
		return Never
	}
	return c.waitingSince.Add(c.cfg.DiskStallTimeout)
}

// forgetLeader gives up the lease that protects the leader this node follows, so that a vote can be given at once: the
// caller knows that the leader is gone. A leader that is not gone is followed again as soon as it is heard.
func (c *Core) forgetLeader(*Input) {
	e := &c.election
	if c.cfg.LeaseReads {
		c.refuse(ErrLeaseReads)
		return
	}
	if c.role >= Candidate || !c.vote.Committed || c.spent || e.forgot {
		c.refuse(ErrNoLeaderToForget)
		return
	}
	e.leaseEnd, e.forgot = c.now, true
}
