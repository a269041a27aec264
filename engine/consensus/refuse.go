package consensus

// refuse answers what the caller asked for and does not get; the step changes nothing.
func (c *Core) refuse(reason error) { c.out.Refused, c.out.Reason = true, reason }

func (c *Core) refuseProposal(*Input)    { c.refuse(nil) }
func (c *Core) refuseNotLeader(*Input)   { c.refuse(ErrNotLeader) }
func (c *Core) refuseInitialized(*Input) { c.refuse(ErrInitialized) }
