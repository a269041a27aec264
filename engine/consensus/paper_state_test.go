package consensus

import (
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

// snapshotCluster returns a cluster of n with a leader that has committed some entries everywhere.
func snapshotCluster(t *testing.T, n int) (*testCluster, *testNode) {
	t.Helper()
	c := newTestCluster(t, 3, n)
	c.snapshotDelay = func() (time.Duration, bool) { return 5 * ms, true }
	c.startAll(one)
	l := c.elect()
	for range 10 {
		c.propose(l, 2)
	}
	c.run(2*testHeartbeat, nil)
	return c, l
}

// others returns the nodes besides one.
func (c *testCluster) others(n *testNode) []*testNode {
	var out []*testNode
	for _, o := range c.nodes {
		if o != n {
			out = append(out, o)
		}
	}
	return out
}

// Thesis 5.1: each server takes snapshots by itself, of what it has applied; the log that remains begins behind the last entry of
// it, whose log id and membership stay known, since the first append behind it is checked against them.
func TestThesis51ServersCompactByThemselves(t *testing.T) {
	c, l := snapshotCluster(t, 3)
	for i, n := range c.nodes {
		commit := n.core.commit
		c.takeSnapshot(n)
		c.step(n, &Input{Kind: InputPurge, Index: commit - 2*codec.Index(i)})
	}
	c.settle()
	var purged []codec.Index
	for _, n := range c.nodes {
		st := n.core.Status()
		id, ok := n.core.LogIDAt(st.Purged.Index)
		want(t, "base known", ok, true)
		want(t, "base", id, st.Purged)
		want(t, "member at", st.MemberAt, first)
		purged = append(purged, st.Purged.Index)
	}
	if purged[0] == purged[1] || purged[1] == purged[2] {
		t.Fatalf("purged up to %v, want three different places", purged)
	}
	c.propose(l, 1)
	if !c.run(testTimeouts, c.converged) {
		t.Fatal("nothing is appended behind the bases")
	}
}

// Thesis 5.1: a server that restarts loads its newest snapshot and goes on with the log behind it.
func TestThesis51RestartFromASnapshot(t *testing.T) {
	c, l := snapshotCluster(t, 3)
	n := c.others(l)[0]
	c.takeSnapshot(n)
	c.step(n, &Input{Kind: InputPurge, Index: n.applied})
	c.propose(l, 3)
	c.run(2*testHeartbeat, nil)
	applied, state := n.applied, n.state
	c.crash(n, len(n.writes))
	c.start(n)
	if n.applied >= applied {
		t.Fatalf("applied %d at start, %d before: want less", n.applied, applied)
	}
	c.run(2*testHeartbeat, nil)
	want(t, "applied", n.applied, applied)
	want(t, "state", n.state, state)
}

// Thesis 5.1, 5.3: the leader sends its snapshot to a follower so far behind that the entries which it needs are gone; and to
// a server that is new.
func TestThesis51SnapshotsForThoseBehind(t *testing.T) {
	c, l := snapshotCluster(t, 3)
	slow := c.others(l)[0]
	c.isolate(slow.id)
	for range 5 {
		c.propose(l, 2)
	}
	c.settle()
	c.takeSnapshot(l)
	c.step(l, &Input{Kind: InputPurge, Index: l.applied})
	fresh := &testNode{id: 4}
	c.nodes = append(c.nodes, fresh)
	c.start(fresh)
	m := l.core.Membership().Clone()
	m.Nodes = append(m.Nodes, codec.Node{ID: 4, Address: "node4"})
	c.step(l, &Input{Kind: InputChange, Membership: &m})
	c.heal()
	if !c.run(10*testTimeouts, c.converged) {
		t.Fatal("they are still behind")
	}
	for _, n := range []*testNode{slow, fresh} {
		want(t, "state", n.state, l.state)
		if n.core.Status().Purged.Index < l.core.Status().Purged.Index {
			t.Errorf("node %d holds entries that the leader had purged", n.id)
		}
	}
	want(t, "members of the new one", len(fresh.core.Membership().Nodes), 4)
}

// Raft 7 (thesis 5.1): a snapshot that contradicts the follower's log, or goes beyond it, takes its place; of one that describes
// a prefix of it only the entries covered go, those behind stay.
func TestThesis51WhatASnapshotReplaces(t *testing.T) {
	c, l := snapshotCluster(t, 3)
	n := c.others(l)[0]
	last := n.core.log.last
	base, _ := l.core.BaseAt(last.Index - 4)
	c.takeSnapshot(l)
	n.keepSnapshot(testSnapshot{base: *base, state: c.check.states[base.ID.Index]})
	c.crash(n, len(n.writes))
	n.disk.commit, n.snapshots = 0, nil // what is committed it does not know any more
	c.start(n)
	n.keepSnapshot(testSnapshot{base: *base, state: c.check.states[base.ID.Index]})
	c.step(n, &Input{Kind: InputInstall, Peer: l.id, Base: base, Message: codec.Message{
		Kind: codec.MessageSnapshot, Group: testGroup, Vote: l.core.vote, Log: base.ID, Stream: 1,
	}})
	want(t, "commit", n.core.commit, base.ID.Index)
	want(t, "entries behind it", n.core.log.last, last)
	want(t, "log begins", n.core.log.base, codec.LogID{})

	c.isolate(l.id)
	c.propose(l, 5) // never committed
	c.settle()
	c.run(2*testTimeouts, nil)
	next := c.elect()
	for range 5 {
		c.propose(next, 2)
	}
	c.settle()
	c.takeSnapshot(next)
	c.step(next, &Input{Kind: InputPurge, Index: next.applied})
	c.heal()
	if !c.run(10*testTimeouts, c.converged) {
		t.Fatal("the old leader is still behind")
	}
	want(t, "the whole log was replaced", l.core.log.base.Index >= next.core.log.base.Index, true)
}

// Thesis 5.2: a snapshot of an exact index is made while later entries are committed and applied; it names the membership in
// force at that index.
func TestThesis52SnapshotsAreConcurrent(t *testing.T) {
	c, l := snapshotCluster(t, 3)
	index := l.applied
	base, _ := l.core.BaseAt(index)
	m := l.core.Membership().Clone()
	m.Nodes[0].Priority = 7
	c.step(l, &Input{Kind: InputChange, Membership: &m})
	c.propose(l, 5)
	c.settle()
	if l.applied <= index+5 {
		t.Fatalf("applied %d, want more than %d", l.applied, index+5)
	}
	again, _ := l.core.BaseAt(index)
	want(t, "base", again.ID, base.ID)
	want(t, "membership", again.Membership.ID, base.Membership.ID)
	later, _ := l.core.BaseAt(l.applied)
	want(t, "membership later", later.Membership.ID.Index, index+1)
	c.step(l, &Input{Kind: InputSnapshot, Log: base.ID})
	c.step(l, &Input{Kind: InputPurge, Index: l.applied})
	want(t, "purged", l.core.log.base, base.ID)
	want(t, "effective membership", l.core.Status().MemberAt.Index, index+1)
}

// Thesis 5.3: a state machine on disk is its own snapshot: as it makes more durable the log behind it may go, little by little.
func TestThesis53StateOnDisk(t *testing.T) {
	c, l := snapshotCluster(t, 1)
	for index := codec.Index(3); index+2 < l.core.commit; index += 4 {
		id, _ := l.core.LogIDAt(index)
		c.step(l, &Input{Kind: InputSnapshot, Log: id})
		c.step(l, &Input{Kind: InputPurge, Index: l.core.commit})
		if st := l.core.Status(); st.Purged.Index > index || st.Purged.Index < index-2 || st.Snapshot != id {
			t.Fatalf("durable up to %v: purged %v, snapshot %v", id, st.Purged, st.Snapshot)
		}
		c.settle()
	}
}

// Thesis 6.4: a leader answers reads without writing, once a majority has answered since, and only with what was committed
// before; a deposed one that does not know it yet answers none.
func TestThesis64ReadsByReadIndex(t *testing.T) {
	c, l := snapshotCluster(t, 5)
	writes := l.core.seq
	c.read(l, false)
	c.run(ms, nil)
	want(t, "answered", c.check.counts.confirmed, 1)
	want(t, "writes", l.core.seq, writes)

	other := c.others(l)[0]
	c.isolate(l.id, other.id)
	c.read(l, false)
	c.read(other, false)
	c.run(testTimeout/2, nil)
	want(t, "answered in a minority", c.check.counts.confirmed, 1)
	c.run(2*testTimeouts, nil)
	want(t, "leader", l.core.role == Leader, false)
	want(t, "given up", c.check.counts.lost, 2)
}

// Thesis 6.4: followers take over part of the reads, by asking the leader for its read index.
func TestThesis64ReadsOnFollowers(t *testing.T) {
	c, l := snapshotCluster(t, 3)
	for _, n := range c.others(l) {
		c.read(n, false)
	}
	c.run(ms, nil)
	want(t, "answered", c.check.counts.confirmed, 2)
}

// Thesis 6.4.1: while followers keep the lease of their leader it answers reads without a round of messages; and as long as
// clocks drift by no more than the bound nobody else is elected within it.
func TestThesis641Leases(t *testing.T) {
	for _, drift := range []time.Duration{-90 * ms, 0, 90 * ms} {
		c := newTestCluster(t, 5, 3)
		c.config = func(id codec.NodeID) Config {
			cfg := testConfig(id)
			cfg.LeaseReads, cfg.ClockDriftMax = true, 170_000
			return cfg
		}
		for i, n := range c.nodes {
			n.drift = []time.Duration{drift, -drift, -drift}[i]
		}
		c.startAll(one)
		l := c.elect()
		c.propose(l, 1)
		c.settle()
		sent := 0
		c.delay = func(*testPacket) (time.Duration, bool) { sent++; return 0, true }
		c.read(l, true)
		want(t, "answered", c.check.counts.byLease, 1)
		want(t, "messages", sent, 0)

		// Cut off, it answers for as long as its lease lasts, and nobody is elected before that has ended.
		c.isolate(l.id)
		until := l.core.Status().LeaseUntil
		elected := c.run(20*testTimeouts, func() bool {
			if c.read(l, true); l.core.role == Leader {
				want(t, "lease", l.core.Status().LeaseUntil, until)
			}
			other := c.leader()
			return other != nil && other != l
		})
		if !elected || l.clock(c.now) < until {
			t.Fatalf("drift %v: elected %v at %d by the clock of the first leader, whose lease ends at %d", drift, elected, l.clock(c.now), until)
		}
		if c.check.counts.byLease < 2 {
			t.Error("no read was answered by the lease after the cut")
		}
	}
}
