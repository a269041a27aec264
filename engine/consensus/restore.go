package consensus

// resumeLeadership takes up the leadership that this node's stored vote names, without an election. New allows it only
// after a clean close: then all that was ever sent under this leader id is in the log here, so an entry appended behind
// it gets a log id that no other entry has. A blank entry opens it like any other leadership.
func (c *Core) resumeLeadership() {
	c.spent, c.resume = false, false
	// Stream numbers and stamps start anew with a life. Peers may still answer what an earlier life sent under the same
	// vote; the log is longer in each life, so numbers that start from its length are higher in each.
	c.lead.streams = uint64(c.log.last.Index) << 20
	c.becomeLeader()
}
