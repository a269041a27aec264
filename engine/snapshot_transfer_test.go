package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
)

// fill proposes entries of a thousand bytes.
func (c *cluster) fill(n int) {
	c.t.Helper()
	for i := range n {
		c.propose(fmt.Sprint(i, strings.Repeat(".", 1000)))
	}
}

// purge lets nodes take a snapshot and purge everything behind it.
func (c *cluster) purge(ids ...codec.NodeID) (at codec.LogID) {
	c.t.Helper()
	for _, id := range ids {
		at = c.snapshot(id)
		if purged := c.nodes[id].Metrics().Snapshots.Purged; purged != at {
			c.t.Fatalf("node %d purged up to %v, want %v", id, purged, at)
		}
	}
	return at
}

// TestLaggingFollowerGetsASnapshot and goes on behind it, also with another leader and after a restart.
func TestLaggingFollowerGetsASnapshot(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.adjust, o.cables = quiet, true
		o, machines := kept(o)
		c := startCluster(t, o)
		leader := c.leader().NodeID()
		away := c.others(leader)[0]
		c.propose("first")
		c.agree(1)
		if o.memory { // one that forgets what it promised may not come back
			c.isolate(away)
		} else {
			c.close(away)
		}
		c.fill(40)
		at := c.purge(leader)
		c.purge(c.others(away, leader)...)
		c.fill(10)
		if o.memory {
			c.cable.heal()
		} else {
			c.open(away)
		}
		c.agree(51)
		c.propose("behind")
		c.agree(52)
		m := c.nodes[away].Metrics().Snapshots
		if m.RestoreBytes == 0 || m.RestoredBytes != m.RestoreBytes {
			t.Fatalf("%d of %d bytes of the state were read", m.RestoredBytes, m.RestoreBytes)
		}
		if m.Installed != 1 || m.Newest != at || m.Receiving.Snapshot != at || m.Receiving.Held != m.Receiving.Bytes || machines[away].restores != 1 {
			t.Fatalf("the follower: %+v, %d states restored, want the snapshot of %v once", m, machines[away].restores, at)
		}
		until(t, "the leader to end the sending", func() bool { return len(c.nodes[leader].Metrics().Snapshots.Sending) == 0 })
		if err := c.nodes[leader].TransferLeadership(t.Context(), away); err != nil {
			t.Fatal(err)
		}
		c.propose("with the follower as leader")
		c.agree(53)
		if o.memory {
			return
		}
		for id := range c.cfgs {
			c.close(id)
		}
		for id := range c.cfgs {
			c.open(id)
		}
		c.propose("after the restart")
		c.agree(54)
	})
}

// TestLearnerOfAnIdleLeader: the leader has purged its whole log, the membership that adds the learner included, and nothing
// is written any more (R7).
func TestLearnerOfAnIdleLeader(t *testing.T) {
	for _, tcp := range []bool{false, true} {
		t.Run(fmt.Sprintf("tcp=%v", tcp), func(t *testing.T) {
			t.Parallel()
			o, _ := kept(clusterOptions{nodes: 1, tcp: tcp, adjust: quiet})
			c := startCluster(t, o)
			c.fill(20)
			learner := c.add(2)
			c.close(2)
			if _, err := c.nodes[1].ChangeMembership(t.Context(), AddLearner(learner)); err != nil {
				t.Fatal(err)
			}
			c.purge(1)
			c.open(2)
			c.agree(20)
			until(t, "the learner to know the membership", func() bool { return len(c.nodes[2].Membership().Nodes) == 2 })
			if _, err := c.nodes[1].ChangeMembership(t.Context(), AddVoter(learner)); err != nil {
				t.Fatal(err)
			}
			c.propose("with a quorum of two")
			c.agree(21)
		})
	}
}

// TestWitnessBehindAPurgedLog is sent the beginning of the log and no state.
func TestWitnessBehindAPurgedLog(t *testing.T) {
	o, _ := kept(clusterOptions{nodes: 3, tcp: true, adjust: func(cfg *Config) { quiet(cfg); cfg.Witness = cfg.NodeID == 3 }})
	c := startCluster(t, o)
	c.propose("first")
	c.close(3)
	c.fill(20)
	c.agree(21)
	at := c.purge(1, 2)
	c.open(3)
	c.propose("with the witness")
	c.agree(22)
	until(t, "the witness to follow", func() bool { return c.nodes[3].Metrics().Commit > at.Index })
	if m := c.nodes[3].Metrics().Snapshots; m.Purged != at || m.Receiving.Bytes != 0 {
		t.Fatalf("the witness: %+v, want that its log begins behind %v", m, at)
	}
	c.close(1) // it counts
	c.propose("one of two and the witness")
	c.close(3)
	c.open(3)
	c.open(1)
	c.propose("all")
	c.agree(24)
}

// TestWitnessPurgesItsLog by the number of entries alone.
func TestWitnessPurgesItsLog(t *testing.T) {
	o, _ := kept(clusterOptions{nodes: 3, memory: true, adjust: func(cfg *Config) {
		calm(cfg)
		cfg.Witness = cfg.NodeID == 3
		cfg.Snapshot, cfg.Keep = SnapshotPolicy{Entries: 20}, LogKeep{Entries: 7}
	}})
	c := startCluster(t, o)
	for n := range 60 {
		c.propose(fmt.Sprint(n))
	}
	var m Metrics
	until(t, "the witness to purge", func() bool { m = c.nodes[3].Metrics(); return m.Snapshots.Purged.Index >= 13 })
	if m.Snapshots.Purged.Index > m.Commit-7 {
		t.Fatalf("purged up to %v of %d, want 7 kept", m.Snapshots.Purged, m.Commit)
	}
}

// TestBrokenTransferIsResumed cuts the snapshot lane again and again; what is sent again is what was on its way.
func TestBrokenTransferIsResumed(t *testing.T) {
	o, _ := kept(clusterOptions{nodes: 3, tcp: true, cables: true, adjust: func(cfg *Config) {
		quiet(cfg)
		cfg.SnapshotChunkBytes, cfg.SnapshotWindowBytes, cfg.SnapshotBytesPerSecond = 4<<10, 16<<10, 200<<10
	}})
	c := startCluster(t, o)
	leader := c.leader().NodeID()
	away := c.others(leader)[0]
	c.close(away)
	c.fill(150)
	c.purge(leader)
	c.open(away)
	held := func() int64 { return c.nodes[away].Metrics().Snapshots.Receiving.Held }
	breaks := int64(0)
	for _, at := range []int64{20 << 10, 60 << 10, 100 << 10} {
		until(t, fmt.Sprint("the follower to hold ", at), func() bool { return held() >= at })
		c.cable.part([]codec.NodeID{leader}, []codec.NodeID{away})
		breaks++
		pause := time.NewTimer(50 * time.Millisecond)
		<-pause.C
		c.cable.heal()
	}
	var sent ShipmentMetrics
	until(t, "the follower to install it", func() bool {
		if s := c.nodes[leader].Metrics().Snapshots.Sending; len(s) == 1 && s[0].Moved > 0 {
			sent = s[0]
		}
		return c.nodes[away].Metrics().Snapshots.Installed == 1
	})
	c.agree(150)
	if sent.Again > breaks*(16<<10+4<<10) || sent.Bytes < 150_000 {
		t.Fatalf("%+v after %d breaks, want at most a window again after each", sent, breaks)
	}
}

// TestReceiverThatRestartsGoesOn from what its disk has kept.
func TestReceiverThatRestartsGoesOn(t *testing.T) {
	o, _ := kept(clusterOptions{nodes: 3, tcp: true, adjust: func(cfg *Config) {
		quiet(cfg)
		cfg.SnapshotChunkBytes, cfg.SnapshotWindowBytes, cfg.SnapshotBytesPerSecond = 4<<10, 16<<10, 200<<10
	}})
	c := startCluster(t, o)
	leader := c.leader().NodeID()
	away := c.others(leader)[0]
	c.close(away)
	c.fill(150)
	c.purge(leader)
	c.open(away)
	until(t, "half of it", func() bool { return c.nodes[away].Metrics().Snapshots.Receiving.Held >= 80<<10 })
	c.close(away)
	c.open(away)
	c.agree(150)
	if m := c.nodes[away].Metrics().Snapshots.Receiving; m.Moved > m.Bytes-70<<10 {
		t.Fatalf("%d of %d bytes came after half of them were there", m.Moved, m.Bytes)
	}
}

// TestLeaderChangesMidTransfer: another leader finishes what the first one began, with a snapshot of its own.
func TestLeaderChangesMidTransfer(t *testing.T) {
	o, _ := kept(clusterOptions{nodes: 3, tcp: true, adjust: func(cfg *Config) {
		quiet(cfg)
		cfg.SnapshotChunkBytes, cfg.SnapshotWindowBytes, cfg.SnapshotBytesPerSecond = 4<<10, 16<<10, 200<<10
	}})
	c := startCluster(t, o)
	first := c.leader().NodeID()
	others := c.others(first)
	away, second := others[0], others[1]
	c.close(away)
	c.fill(150)
	c.purge(first, second)
	c.open(away)
	until(t, "some of it", func() bool { return c.nodes[away].Metrics().Snapshots.Receiving.Held >= 40<<10 })
	if err := c.nodes[first].TransferLeadership(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	c.propose("under the second leader")
	c.agree(151)
	if m := c.nodes[first].Metrics(); len(m.Snapshots.Sending) > 0 || m.Role == consensus.Leader {
		t.Fatalf("the first leader still sends: %+v", m.Snapshots)
	}
	if m := c.nodes[away].Metrics().Snapshots; m.Receiving.Peer != second {
		t.Fatalf("the snapshot came from node %d, want %d", m.Receiving.Peer, second)
	}
}

// isolate cuts a node off.
func (c *cluster) isolate(id codec.NodeID) {
	c.cable.part([]codec.NodeID{id}, c.others(id))
}
