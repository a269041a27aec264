package consensus

import "github.com/millrace/millrace/codec"

// probesByHint is how many probes follow the hints of the two logs alone. Each skips a whole leadership of one of them
// (Raft 5.3); logs of many short leaderships that alternate would take one probe for each, so from then on every probe
// also halves what is left to search.
const probesByHint = 3

// searchGap is how many entries between the match and what is known not to match are sent again rather than searched.
const searchGap = 1024

// conflicted takes a peer's word that it does not hold the entry before what was sent, and looks for the match further
// down: where the peer's hint, and what this log says of the hint's leader, allow it at the highest. A probe always goes
// below the one that failed; the match found before is never gone below, unless the peer may have lost it.
func (c *Core) conflicted(p *progress, hint codec.LogID) {
	top := hint.Index
	switch p.state {
	case stateSnapshot:
		return
	case stateProbe:
		if p.next == 1 {
			c.malformed++ // every log holds what stands before the first entry
			return
		}
		if p.next-1 <= p.match && !c.reverts(p) {
			return
		}
		p.end = p.next - 1
		p.probes++
		top = min(top, p.next-2)
	}
	if top < c.log.base.Index {
		c.conflictedBelow(p, hint)
		return
	}
	guess := c.log.lastNotAbove(top, hint.Leader).Index
	if p.probes > probesByHint {
		guess = min(guess, p.match+(p.end-p.match)/2)
	}
	c.breakStream(p, guess+1)
}

// conflictedBelow takes a peer's word that it lacks what is purged here. Where it denies what it has acknowledged too, it
// is asked at the base first.
func (c *Core) conflictedBelow(p *progress, hint codec.LogID) {
	switch {
	case hint.Index >= p.match:
		c.needSnapshot(p)
	case p.state == stateStream:
		c.breakStream(p, p.match+1)
	case c.reverts(p):
		c.needSnapshot(p)
	}
}

// searchOn returns where to probe next after a probe that was confirmed, if the match may still lie far above it.
func (p *progress) searchOn() (next codec.Index, more bool) {
	if p.probes <= probesByHint || p.end <= p.match+searchGap {
		return 0, false
	}
	return p.match + (p.end-p.match)/2 + 1, true
}

// reverts takes the word of a peer that denies what it has acknowledged: its disk lost it. Unless that is allowed, the
// peer is lost: its copies count for nothing, it is asked again at the pace of the probe timer, and it gets nothing more
// from this leader; nobody else waits for it. Where it is allowed, it is filled up again from wherever it stands.
func (c *Core) reverts(p *progress) bool {
	if !c.cfg.AllowLogReversion && !p.mayRevert {
		if !p.lost {
			c.denials, c.deniedBy = c.denials+1, p.node
		}
		p.lost = true
		return false
	}
	p.mayRevert, p.lost = false, false
	p.match = 0
	return true
}

// allowReversion lets a peer deny once what it acknowledged.
func (c *Core) allowReversion(in *Input) {
	p := c.peer(in.Peer)
	if p == nil {
		c.refuse(ErrNotMember)
		return
	}
	p.mayRevert = true
}

// lacks takes the word of a peer that it holds, in agreement with this leader, an entry of an older one that is not in this
// log: it has committed that, and takes for granted that every later leader has it. So committed entries were lost. A
// probe where that entry stands, or at the end of a shorter log, shows the peer what is here instead; it ends with
// [ErrCommittedConflict]. Otherwise both would repeat themselves for ever.
func (c *Core) lacks(p *progress, id codec.LogID) {
	at := min(id.Index, c.log.last.Index)
	if id.Index > p.match && id.Leader.Compare(c.vote.Leader) < 0 && (p.end == 0 || at < p.end) {
		c.breakStream(p, at+1)
	}
}
