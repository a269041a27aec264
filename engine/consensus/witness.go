package consensus

import "fmt"

// A witness is a voter that keeps the headers of frames without the entries. It promises what others promise: that a
// vote is given once, that an entry of this log id stands in its log. So it counts for elections and commits; but it has
// nothing to apply or to serve, and must never lead. Blank and membership frames it gets whole, since it must know who
// votes. It gets a frame only when that is durable at the leader: else a leader that loses its unflushed tail in a crash
// could leave the witness alone with the longest log, and nobody could be elected. No quorum system may let
// witnesses alone commit (see ProveQuorums): the entry itself would be nowhere. Where it lacks purged entries it gets the base of
// the leader's log, without a state; what it purges itself needs no snapshot.

// ordinary reports whether this node is a member that keeps whole entries.
func (c *Core) ordinary() bool { return c.members.self >= 0 && !c.members.witness[c.members.self] }

// checkWitnessLog stops a node that holds a witness's log and is to be an ordinary member: it would count as holding
// entries that it can't give to anybody.
func (c *Core) checkWitnessLog() {
	if c.log.headersTo > 0 && c.ordinary() {
		c.fail(fmt.Errorf("%w: entries up to index %d are without their content, and node %d is an ordinary member by the membership of %v",
			ErrWitnessLog, c.log.headersTo, c.cfg.Node, c.members.at))
	}
}
