package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
	"github.com/millrace/millrace/netio"
)

// eachNetwork runs a test on both networks, for what needs a log that outlives its node.
func eachNetwork(t *testing.T, test func(t *testing.T, o clusterOptions)) {
	for _, tcp := range []bool{false, true} {
		t.Run(fmt.Sprintf("tcp=%v", tcp), func(t *testing.T) {
			t.Parallel()
			test(t, clusterOptions{nodes: 3, tcp: tcp})
		})
	}
}

// TestLeaderResumesAfterACleanRestart: all nodes are closed and opened again, and the one that led leads on without an
// election, unless that is switched off.
func TestLeaderResumesAfterACleanRestart(t *testing.T) {
	eachNetwork(t, func(t *testing.T, o clusterOptions) {
		o.adjust = calm
		c := startCluster(t, o)
		c.propose("x")
		c.agree(1)
		leader := c.leader()
		id, vote := leader.NodeID(), leader.Metrics().Vote
		reopen := func() {
			for _, id := range c.others() {
				c.close(id)
			}
			for id := range c.cfgs {
				c.open(id)
			}
		}
		for round := range 3 {
			reopen()
			c.propose(fmt.Sprint(round))
			if m := c.nodes[id].Metrics(); m.Role != consensus.Leader || m.Vote != vote || m.Elections != 0 {
				t.Fatalf("after a restart node %d is a %v with vote %v after %d elections, want it to lead under %v still",
					id, m.Role, m.Vote, m.Elections, vote)
			}
		}
		c.agree(4)
		for id, cfg := range c.cfgs {
			cfg.NoLeaderRestore = true
			c.cfgs[id] = cfg
		}
		reopen()
		c.propose("y")
		if m := c.leader().Metrics(); m.Vote.Leader.Term <= vote.Leader.Term || m.Elections == 0 {
			t.Errorf("without restoring the leader its vote is %v after %d elections", m.Vote, m.Elections)
		}
		c.agree(5)
	})
}

// TestNodeThatMovesIsFoundAtItsNewAddress: it comes back on another port with the same directory, and SetNode tells.
func TestNodeThatMovesIsFoundAtItsNewAddress(t *testing.T) {
	for _, memory := range []bool{false, true} {
		t.Run(fmt.Sprint("memory=", memory), func(t *testing.T) {
			c := startCluster(t, clusterOptions{nodes: 3, tcp: true, memory: memory})
			c.propose("x")
			c.agree(1)
			id := c.others(c.leader().NodeID())[0]
			old := c.nodes[id].Addr()
			if memory {
				// A log in memory would not outlive the node: only the address changes, to that of another node.
				fourth := c.add(4)
				c.change(AddLearner(codec.Node{ID: 4, Address: "127.0.0.1:1"}))
				c.propose("y")
				c.change(SetNode(fourth))
				c.sms[4].await(t, 2)
				return
			}
			c.close(id)
			cfg := c.cfgs[id]
			cfg.Listen = "127.0.0.1:0"
			c.cfgs[id] = cfg
			taken, err := netio.NewTCP(netio.Config{Node: 9, ClusterID: "other", Incarnation: codec.Incarnation{1}, Listen: old})
			if err == nil { // the old address belongs to somebody else now
				err = taken.Start(codec.Link{
					Verify: func(codec.NodeID, codec.Incarnation) error { return errors.New("another cluster") }, Deliver: func([]codec.Packet) {},
					Down: func(codec.NodeID, codec.Lane) {},
				})
			}
			if err != nil {
				t.Fatal(err)
			}
			defer taken.Close()
			c.open(id)
			c.propose("y")
			moved := c.node(id)
			if moved.Address == old {
				t.Fatal("the node did not move")
			}
			c.change(SetNode(moved))
			c.agree(2)
			for _, n := range c.nodes {
				m := n.Membership()
				if known, _ := m.Node(id); known.Address != moved.Address {
					t.Errorf("node %d has %q for its address, want %q", n.NodeID(), known.Address, moved.Address)
				}
			}
			// It can lead there, so that the others know it is at the new address both ways.
			if err := c.leader().TransferLeadership(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			c.propose("z")
			c.agree(3)
		})
	}
}

// TestNodeWithAnEmptyDiskIsRefused: its id was seen with another one, so nobody talks to it; under a new id it is welcome.
func TestNodeWithAnEmptyDiskIsRefused(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		c := startCluster(t, o)
		c.propose("0")
		c.agree(1)
		id := c.others(c.leader().NodeID())[0]
		c.close(id)
		if !o.memory { // a log in memory is empty anyway
			if err := os.RemoveAll(c.cfgs[id].Dir); err != nil {
				t.Fatal(err)
			}
		}
		fourth := c.add(4) // it has never met the first disk, but is told of it
		c.change(AddLearner(fourth))
		leader := c.leader()
		if err := leader.WaitCaughtUp(t.Context(), 4); err != nil {
			t.Fatal(err)
		}
		before := leader.Metrics()
		c.open(id)
		for n := range 20 {
			c.propose(fmt.Sprint(n + 1))
		}
		wiped := c.nodes[id]
		c.awaitMembership(4, "to name the first disk of each", func(m EffectiveMembership) bool {
			n, _ := m.Node(id)
			return !n.Incarnation.IsZero()
		})
		var refused *IncarnationError
		if err := c.nodes[4].loop.book.verify(id, wiped.log.Incarnation()); !errors.As(err, &refused) {
			t.Errorf("node 4 answers the wiped node with %v, want an incarnation error", err)
		}
		if m := wiped.Metrics(); m.Applied != 0 || !m.Last.IsZero() || wiped.Membership().LogID.Index != 0 {
			t.Fatalf("the wiped node was let in: %+v", m)
		}
		if m := leader.Metrics(); m.Untrusted != before.Untrusted || m.Malformed != before.Malformed {
			t.Errorf("the leader got messages of it: %d before it was trusted, %d malformed", m.Untrusted-before.Untrusted, m.Malformed-before.Malformed)
		}
		c.close(id)
		c.change(AddVoter(fourth), Remove(id))
		c.settled(c.others(), c.others()...)
		c.propose("last")
		c.agree(22)
	})
}

// TestRemovedNodeThatDoesNotKnowHarmsNobody: it was cut off when it was removed, so it asks for votes again and again.
func TestRemovedNodeThatDoesNotKnowHarmsNobody(t *testing.T) {
	for _, switches := range []Switches{{}, {NoPreVote: true}} {
		t.Run(fmt.Sprintf("preVote=%v", !switches.NoPreVote), func(t *testing.T) {
			eachKind(t, func(t *testing.T, o clusterOptions) {
				const away = 4
				o.cables, o.nodes, o.adjust = true, 4, calmBut(away)
				c := startCluster(t, o)
				c.propose("x")
				c.agree(1)
				leader := c.leader()
				if err := c.nodes[away].SetSwitches(switches); err != nil {
					t.Fatal(err)
				}
				c.cable.part([]codec.NodeID{away}, c.others(away))
				c.change(Remove(away))
				c.awaitSent(away, codec.MessageVote, 1) // it has lost patience
				vote := leader.Metrics().Vote
				c.cable.heal()
				load := c.startLoad(2)
				c.awaitSent(away, codec.MessageVote, 3*5)
				load.stop()
				if m := leader.Metrics(); m.Role != consensus.Leader || m.Vote != vote {
					t.Errorf("the leader is a %v with vote %v, want it to lead under %v still", m.Role, m.Vote, vote)
				}
				if load.count() == 0 || len(load.unknown) > 0 {
					t.Errorf("%d puts acknowledged, %d unknown", load.count(), len(load.unknown))
				}
				c.close(away)
				load.check()
			})
		})
	}
}

// TestNodeThatLagsAcceptsALeaderItDoesNotKnow: while it was away everybody else was replaced.
func TestNodeThatLagsAcceptsALeaderItDoesNotKnow(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.cables = true
		c := startCluster(t, o)
		c.propose("0")
		c.agree(1)
		away := c.others(c.leader().NodeID())[0]
		rest := c.others(away)
		fourth, fifth := c.add(4), c.add(5)
		c.cable.part([]codec.NodeID{away}, []codec.NodeID{1, 2, 3, 4, 5})
		c.change(AddVoter(fourth), AddVoter(fifth))
		c.propose("1")
		c.change(Remove(rest[0]), Remove(rest[1]))
		c.settled([]codec.NodeID{4, 5}, away, 4, 5)
		for _, id := range rest {
			c.close(id)
		}
		c.propose("2")
		if m := c.nodes[away].Membership(); m.IsVoter(4) {
			t.Fatal("the node that is away knows of the change: the test does not test what it is for")
		}
		c.cable.heal()
		c.settled([]codec.NodeID{away, 4, 5}, away, 4, 5)
		c.agree(3)
		c.close(c.leader().NodeID()) // now its vote is needed
		c.propose("3")
		c.agree(4)
	})
}

// TestPeerThatLostItsLogIsLeftAlone: its directory is brought back from a copy, so it denies what it acknowledged. The
// leader gives it nothing until told that it may, once or for ever.
func TestPeerThatLostItsLogIsLeftAlone(t *testing.T) {
	for _, always := range []bool{false, true} {
		t.Run(fmt.Sprint("always=", always), func(t *testing.T) {
			eachNetwork(t, func(t *testing.T, o clusterOptions) {
				o.adjust = func(cfg *Config) {
					calm(cfg)
					cfg.AllowLogReversion = always
				}
				c := startCluster(t, o)
				c.propose("0")
				c.agree(1)
				leader := c.leader()
				id := c.others(leader.NodeID())[0]
				c.close(id)
				backup := filepath.Join(c.dir, "copy")
				copyDir(t, c.cfgs[id].Dir, backup)
				c.open(id)
				for n := range 10 {
					c.propose(fmt.Sprint(n + 1))
				}
				c.agree(11)
				until(t, "the peer's acknowledgement", func() bool { return peerOf(leader, id).Match == leader.Metrics().Last.Index })
				lost := events(t, leader, EventPeerLost)
				acknowledged := leader.Metrics().Last.Index
				c.close(id)
				if err := os.RemoveAll(c.cfgs[id].Dir); err != nil {
					t.Fatal(err)
				}
				copyDir(t, backup, c.cfgs[id].Dir)
				c.open(id)
				if !always {
					until(t, "the peer to be shown as lost", func() bool { return peerOf(leader, id).Lost })
					if e := awaitEvent(t, lost, anyEvent[PeerLost]); e.Peer != id || e.Match != acknowledged {
						t.Errorf("%+v, want node %d, which had acknowledged %d", e, id, acknowledged)
					}
					c.propose("11")
					if m := c.nodes[id].Metrics(); m.Last.Index >= leader.Metrics().Last.Index {
						t.Errorf("a peer that lost its log was filled up to %v", m.Last)
					}
					if err := leader.Trigger().AllowReversion(id); err != nil {
						t.Fatal(err)
					}
					c.agree(12)
				} else {
					c.agree(11)
				}
				if c.leader() != leader {
					t.Error("the leader changed: the test does not test what it is for")
				}
			})
		})
	}
}

// peerOf returns a leader's view of a peer, the zero value when it has none.
func peerOf(n *Raft, id codec.NodeID) PeerMetrics {
	for _, p := range n.Metrics().Peers {
		if p.Node == id {
			return p
		}
	}
	return PeerMetrics{}
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil || d.IsDir() {
			return errors.Join(err, os.MkdirAll(filepath.Join(to, name), 0o755))
		}
		data, err := os.ReadFile(path)
		return errors.Join(err, os.WriteFile(filepath.Join(to, name), data, 0o644))
	})
	if err != nil {
		t.Fatal(err)
	}
}
