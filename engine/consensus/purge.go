package consensus

import (
	"fmt"

	"github.com/millrace/millrace/codec"
)

// purge removes entries that a snapshot holds the effect of, whole frames, and only what is durable: so the log never
// begins behind its own disk.
func (c *Core) purge(in *Input) {
	limit, why := c.purgeLimit()
	to := c.log.frameEnd(min(in.Index, limit))
	if to <= c.log.base.Index {
		c.refuse(fmt.Errorf("%w: the log begins behind %v; entries up to %d were asked for, those up to %d may go, %s",
			ErrNothingToPurge, c.log.base, in.Index, limit, why))
		return
	}
	id, _ := c.log.idAt(to)
	base := c.log.baseAt(id)
	c.log.purge(id)
	c.write().Purge = base
	for i := range c.lead.peers {
		if p := &c.lead.peers[i]; i != c.members.self {
			c.purged(p)
		}
	}
}

// purged looks at a peer after a purge. One that is probed before the base is asked at the base next time: whether its log
// matches there is all that counts.
func (c *Core) purged(p *progress) {
	if p.state == stateStream {
		c.stream(p)
	} else {
		p.next = max(p.next, c.log.base.Index+1)
	}
}

// purgeLimit returns up to which index entries may be purged, and what holds those behind it. A witness has no state
// machine that could need entries, nor anybody to send them to.
func (c *Core) purgeLimit() (limit codec.Index, why string) {
	limit, why = c.commit, "which is committed"
	if !c.members.isWitness(c.members.self) && c.snapshot.Index < limit {
		limit, why = c.snapshot.Index, "the last entry of the newest snapshot"
	}
	if c.log.flushed < limit {
		limit, why = c.log.flushed, "which is durable"
	}
	for i := range c.lead.peers {
		p := &c.lead.peers[i]
		if behind, kept := c.keptFor(p); kept && behind < limit && i != c.members.self {
			limit, why = behind, fmt.Sprintf("behind which node %d, which gets a snapshot, goes on", p.node)
		}
	}
	return limit, why
}
