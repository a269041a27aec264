package consensus

import (
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/millrace/millrace/codec"
)

// step feeds one node and does what it asks for.
func (c *testCluster) step(n *testNode, in *Input) { c.stepWith(n, in, nil) }

func (c *testCluster) stepWith(n *testNode, in *Input, entries []testEntry) {
	c.check.before(n)
	was := n.core.Status()
	n.core.Step(n.clock(c.now), in, &n.out)
	out := &n.out
	if out.Fatal != nil {
		c.note("%d: stops: %v", n.id, out.Fatal)
		n.faulted = out.Fatal
		n.core = nil
		return
	}
	c.changes(n, &was)
	if out.Write.Seq != 0 {
		w := testWrite{Write: out.Write, entries: c.contents(&out.Write, entries)}
		n.mem.apply(&w)
		n.writes = append(n.writes, w)
		c.note("%d: %s", n.id, writeString(&w))
	}
	c.machine(n)
	for _, s := range out.Now {
		c.send(n, c.packet(n, s))
	}
	for _, s := range out.AfterFlush {
		n.held, n.heldSeq = append(n.held, c.packet(n, s)), append(n.heldSeq, out.Write.Seq)
	}
	c.check.after(n)
	for _, r := range out.Reads {
		c.check.answered(n, &r)
	}
	for _, s := range out.Snapshots {
		c.moveSnapshot(n, s)
	}
	c.check.counts.step(n, in)
	c.flushSoon(n)
}

// changes notes what a step changed that others can see.
func (c *testCluster) changes(n *testNode, was *Status) {
	is, out := n.core.Status(), &n.out
	switch {
	case out.Refused && out.Reason != nil:
		c.note("%d: refused: %v", n.id, out.Reason)
	case out.Refused:
		c.note("%d: refused", n.id)
	}
	if is.Role != was.Role || is.Leader != was.Leader || is.Role >= Candidate && is.Vote.Leader != was.Vote.Leader {
		switch {
		case is.Role >= Candidate:
			c.note("%d: %v of %v", n.id, is.Role, is.Vote.Leader)
		case is.Leader != 0:
			c.note("%d: %v of node %d", n.id, is.Role, is.Leader)
		default:
			c.note("%d: %v without a leader", n.id, is.Role)
		}
	}
	if is.MemberAt != was.MemberAt {
		c.note("%d: membership of %v: %s", n.id, is.MemberAt, membershipString(n.core.Membership()))
	}
	if out.Commit > c.check.commit {
		c.note("%d: commits %d", n.id, out.Commit)
	}
	if is.Blocked && !was.Blocked {
		c.note("%d: blocked", n.id)
	} else if was.Blocked && !is.Blocked && is.Role == Leader {
		c.note("%d: no longer blocked", n.id)
	}
}

// note adds what happened to the hash of the run.
func (c *testCluster) note(format string, args ...any) {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %d ", c.hash, c.now)
	fmt.Fprintf(h, format, args...)
	c.hash = h.Sum64()
	if c.trace != nil {
		c.trace(format, args...)
	}
}

// contents returns the entries of the frame that a step writes: those that came with it, or new ones.
func (c *testCluster) contents(w *Write, came []testEntry) []testEntry {
	f := &w.Frame
	switch {
	case f.IsZero():
		return nil
	case len(came) > 0:
		return came[len(came)-int(f.Count):]
	}
	var entries []testEntry
	for i := range codec.Index(f.Count) {
		e := testEntry{id: codec.LogID{Leader: f.Leader, Index: f.First + i}, kind: f.Kind}
		switch f.Kind {
		case codec.EntryNormal:
			c.nextData++
			e.data = c.nextData
		case codec.EntryMembership:
			m := w.Membership.Clone()
			e.membership = &m
		}
		entries = append(entries, e)
	}
	return entries
}

func (c *testCluster) packet(n *testNode, s Send) testPacket {
	p := testPacket{from: n.id, to: s.To, send: s}
	if f := s.Frame; !f.IsZero() {
		p.entries = slices.Clone(n.mem.entries[n.mem.upTo(f.First-1):n.mem.upTo(f.Last())])
		if f.HeaderOnly {
			for i := range p.entries {
				p.entries[i].data, p.entries[i].header = 0, true
			}
		}
	}
	return p
}

// send puts a packet on its way.
func (c *testCluster) send(n *testNode, p testPacket) {
	c.check.leaves(n, &p)
	if c.network != nil {
		c.network(p)
		return
	}
	c.note("%s", p.String())
	copies := 1
	if c.duplicate != nil && c.duplicate() {
		copies = 2
	}
	for range copies {
		d := time.Duration(0)
		if c.delay != nil {
			var arrives bool
			if d, arrives = c.delay(&p); !arrives {
				continue
			}
		}
		c.after(d, func() { c.deliver(p) })
	}
}

// deliver hands a packet to its receiver, if that runs.
func (c *testCluster) deliver(p testPacket) {
	if n := c.node(p.to); n != nil && n.up() {
		in := Input{Kind: InputMessage, Peer: p.from, Message: c.overTheWire(&p.send.Message), Frame: p.send.Frame}
		if len(p.entries) > 0 {
			in.Membership = p.entries[0].membership
		}
		c.stepWith(n, &in, p.entries)
	}
}

// overTheWire returns the message as its receiver reads it: whatever a core sends must have bytes, and survive them.
func (c *testCluster) overTheWire(m *codec.Message) codec.Message {
	read, _, err := codec.ReadMessage(codec.AppendMessage(nil, m, 0), codec.MessageHeaderSize)
	if err != nil || read.Message != *m {
		c.t.Fatalf("%+v is read as %+v, %v", *m, read.Message, err)
	}
	return read.Message
}

func (c *testCluster) node(id codec.NodeID) *testNode {
	if id == 0 || int(id) > len(c.nodes) {
		return nil
	}
	return c.nodes[id-1]
}

// flushSoon starts the disk on what waits, as one group commit.
func (c *testCluster) flushSoon(n *testNode) {
	if n.busy || n.stuck || len(n.writes) == 0 {
		return
	}
	n.busy = true
	d, life, seq := time.Duration(0), n.life, n.writes[len(n.writes)-1].Seq
	if c.flushDelay != nil {
		d = c.flushDelay(n)
	}
	c.after(d, func() {
		if n.up() && n.life == life {
			n.busy = false
			c.flush(n, seq)
		}
	})
}

// flush makes a node's writes up to seq durable and reports it.
func (c *testCluster) flush(n *testNode, seq uint64) {
	c.note("%d: flushed #%d", n.id, seq)
	for len(n.writes) > 0 && n.writes[0].Seq <= seq {
		n.disk.apply(&n.writes[0])
		n.writes = n.writes[1:]
	}
	for len(n.held) > 0 && n.heldSeq[0] <= seq {
		p := n.held[0]
		n.held, n.heldSeq = n.held[1:], n.heldSeq[1:]
		c.send(n, p)
	}
	c.step(n, &Input{Kind: InputFlushed, Seq: seq})
}
