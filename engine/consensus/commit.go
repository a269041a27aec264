package consensus

// advanceCommit commits what a write quorum of every voter set has flushed, if the last entry of it is of this
// leadership; what stands before is committed with it (Raft 5.4.2: an older leader's entry is never committed by
// counting). The leader's own disk is one of those counted, and may be behind.
func (c *Core) advanceCommit() {
	l := &c.lead
	for i := range l.peers {
		l.matches[i] = l.peers[i].holds()
	}
	if c.members.self >= 0 {
		l.matches[c.members.self] = c.log.flushed
	}
	if index := reached(&c.members, l.matches, l.matchesScratch); index >= l.first && index > c.commit {
		c.commit = index
		c.verified = index
	}
}
