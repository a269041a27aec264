package consensus

import "time"

// testRead is a read that waits for an answer.
type testRead struct {
	at Instant
	// floor is up to where anything was committed anywhere when the read was asked for: what it must see.
	floor int
}

// read asks a node for a linearizable read.
func (c *testCluster) read(n *testNode, lease bool) {
	c.nextToken++
	n.reads[c.nextToken] = testRead{at: c.now, floor: len(c.check.committed)}
	n.failedRead = nil
	c.step(n, &Input{Kind: InputRead, Token: c.nextToken, Lease: lease})
}

// answered checks an answer to a read: nothing that was committed anywhere before it was asked for may be missing; where it
// rests on a lease, nothing that is committed now. Each read is answered once.
func (k *testChecker) answered(n *testNode, r *Read) {
	asked, waits := n.reads[r.Token]
	if !waits {
		k.failf("node %d answers read %d, which nobody waits for", n.id, r.Token)
	}
	delete(n.reads, r.Token)
	if d := time.Duration(k.c.now - asked.at); d > 5*testTimeouts {
		k.failf("node %d answers read %d after %v", n.id, r.Token, d)
	}
	floor := asked.floor
	switch {
	case r.Reason != nil:
		k.c.note("%d: read %d: %v", n.id, r.Token, r.Reason)
		n.failedRead = r.Reason
		k.counts.lost++
		return
	case r.Lease:
		floor = len(k.committed)
		k.counts.byLease++
	default:
		k.counts.confirmed++
	}
	k.c.note("%d: read %d at %d", n.id, r.Token, r.Index)
	if int(r.Index) < floor {
		k.failf("node %d reads at %d (by lease: %v), committed up to %d", n.id, r.Index, r.Lease, floor)
	}
}

// reading asks for reads at random times for the given time, often several at once.
func (c *testCluster) reading(d, gap time.Duration) {
	end := c.now.Add(d)
	var again func()
	again = func() {
		if c.now >= end {
			return
		}
		if n := c.nodes[c.rng.IntN(len(c.nodes))]; n.up() {
			for range 1 + c.rng.IntN(3) {
				c.read(n, c.rng.IntN(2) == 0)
			}
		}
		c.after(c.upTo(gap), again)
	}
	c.after(0, again)
}
