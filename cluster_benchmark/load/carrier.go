package load

import "context"

// carry issues one call after the other as they become due, until none is any more. A call's clock starts when it is due,
// also where no carrier is free then, and goes on where it is refused: it is then put again, which is how a cluster without a
// leader shows in latencies.
func (c *client) carry() {
	defer c.run.schedule.leave()
	if !c.find() {
		return
	}
	for {
		k, ok := c.run.schedule.take(c)
		if !ok {
			break
		}
		if !c.carryOne(k) {
			break
		}
	}
	c.record()
	c.publish()
}

// carryOne issues a call until it is answered or its fate is unknown, and returns false when nothing is put any more.
func (c *client) carryOne(k call) bool {
	issued := c.run.now()
	for {
		err := c.issueCall()
		if err == nil {
			c.carried(k, issued)
			return true
		}
		lost := isUnknown(err)
		goOn := c.pause() && c.find()
		if lost || !goOn {
			c.errors += uint64(len(c.payloads))
			return goOn
		}
	}
}

// issueCall puts what one call carries and awaits it.
func (c *client) issueCall() error {
	ctx := context.Background()
	c.lock()
	for i, payload := range c.payloads {
		c.serials[i] = c.book.Issue(payload)
	}
	c.unlock()
	if len(c.payloads) == 1 {
		result, err := c.proposer.Propose(ctx, c.payloads[0])
		c.lock()
		defer c.unlock()
		if err != nil {
			c.unanswered(c.serials[0], err)
			return err
		}
		c.book.Acknowledge(c.serials[0], result.LogID)
		return nil
	}
	results, err := c.proposer.ProposeBatch(ctx, c.payloads)
	c.lock()
	defer c.unlock()
	for i, serial := range c.serials {
		if err != nil {
			c.unanswered(serial, err)
			continue
		}
		c.book.Acknowledge(serial, results[i].LogID)
	}
	return err
}

// lock and unlock guard the book that the carriers of one client share.
func (c *client) lock() {
	if c.sharing != nil {
		c.sharing.Lock()
	}
}

func (c *client) unlock() {
	if c.sharing != nil {
		c.sharing.Unlock()
	}
}

// carried records a call that is answered. It belongs to the measured time when it was due in it; its puts are counted
// when they are answered in it.
func (c *client) carried(k call, issued int64) {
	now, end := c.run.now(), c.run.end.Load()
	puts := int64(len(c.payloads))
	counted := now >= c.run.warmEnd && now < end
	if counted {
		c.ops += uint64(puts)
		if now >= c.intervalEnd {
			c.enter(c.run.intervalAt(now))
		}
	} else if now >= end && c.interval != beyond {
		c.enter(beyond)
	}
	s := sample{now - k.due, puts}
	switch {
	case k.due >= c.run.warmEnd:
		late := max(0, issued-k.free)
		if issued >= end && k.free < end {
			c.short += uint64(puts)
		}
		c.lates = append(c.lates, sample{late, puts})
		c.sample(s)
	case counted: // due in the warm-up: seen over time, no part of the whole
		c.run.series.add(c.run.intervalAt(now), []sample{s})
	}
	c.answeredBy(now, puts)
}
