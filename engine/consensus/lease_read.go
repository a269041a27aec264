package consensus

import "time"

// Reads by lease answer at once, without asking anybody: what a leader has committed is all there is for as long as nobody
// else can have been elected. They rest on clocks, so they are off unless [Config.LeaseReads] says otherwise.
//
// A follower that hears its leader refuses votes to others for ElectionTimeoutMin, counted from when the message came in, on
// its own clock. The leader counts from when it stamped the message, which is earlier, on its own clock. Let two nodes'
// clocks differ in rate by at most a part d ([Config.ClockDriftMax] in millionths): while one advances by T, any other
// advances by at least T(1-d). While the leader's clock advances by less than ElectionTimeoutMin(1-d) from the stamp on,
// the follower's therefore advances by less than ElectionTimeoutMin: were it by that much, the leader's would have
// advanced by at least ElectionTimeoutMin(1-d). So the lease is
//
//	the stamp that a write quorum has answered + ElectionTimeoutMin - ElectionTimeoutMin x d
//
// and within it every election quorum contains a voter that refuses everybody else. That holds where every member has at
// least this node's ElectionTimeoutMin and none forgets its leader (which a node with LeaseReads refuses), where clocks go on
// while a machine sleeps, and where a step's instant is never before the arrival of what it is given. Clocks that are each
// right by a part e differ by less than 2e.
//
// There is no lease
//
//   - before the leader has committed an entry of its own: it does not know yet what is committed;
//   - while somebody that it asked to campaign may still do so, by votes that pass all leases (thesis 3.10);
//   - after a change of membership until a quorum of the new one has answered something sent since.
//
// A lease proves something about the moment when it is looked at. Who reads a state machine by it must look again
// afterwards: a process may stop at any instruction, for longer than any lease.

// leaseUntil returns the instant up to which, exclusively, nobody else can have been elected; 0 where nothing is known of that,
// [Never] where it is so for ever, because nobody else is needed.
func (c *Core) leaseUntil() Instant {
	l := &c.lead
	if c.role != Leader || !c.cfg.LeaseReads || c.commit < l.first || c.leaseLent() {
		return 0
	}
	heard := c.quorumHeard()
	switch {
	case heard == Never:
		return Never
	case heard <= l.settling:
		return 0
	}
	return heard.Add(leaseLength(&c.cfg))
}

// leaseLength returns how long a lease lasts on this node's clock.
func leaseLength(cfg *Config) time.Duration {
	least := int64(cfg.ElectionTimeoutMin)
	whole, part := least/driftParts, least%driftParts
	drift := int64(cfg.ClockDriftMax)
	return time.Duration(least - whole*drift - (part*drift+driftParts-1)/driftParts)
}

// driftParts is what [Config.ClockDriftMax] counts in.
const driftParts = 1_000_000
