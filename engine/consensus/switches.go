package consensus

// switchOver takes new switches. A node that may campaign again waits a fresh timeout.
func (c *Core) switchOver(in *Input) {
	elections := c.switches.NoElections && !in.Switches.NoElections
	c.switches = in.Switches
	if elections && c.role != Leader {
		c.election.reset(c)
	}
}
