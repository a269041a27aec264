package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

func withWitness(o clusterOptions) clusterOptions {
	o.adjust = func(cfg *Config) {
		calm(cfg)
		cfg.Witness = cfg.NodeID == 3
	}
	return o
}

// TestWitnessStandsInForALostNode: two nodes and a witness go on when either of the two is lost, and the witness holds
// none of the entries.
func TestWitnessStandsInForALostNode(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		c := startCluster(t, withWitness(o))
		const secret = "which only ordinary members keep"
		for n := range 20 {
			c.propose(fmt.Sprint(n, secret))
		}
		c.agree(20)
		first := c.leader()
		if first.NodeID() == 3 {
			t.Fatal("the witness leads")
		}
		second := 3 - first.NodeID()
		c.close(second)
		for n := range 20 {
			if _, err := first.Propose(t.Context(), fmt.Append(nil, n, secret)); err != nil {
				t.Fatalf("put %d with a witness for the second node: %v", n, err)
			}
		}
		witness := c.nodes[3]
		until(t, "the witness to follow", func() bool {
			m := witness.Metrics()
			return m.Applied == first.Metrics().Applied
		})
		if err := witness.Trigger().Elect(); !errors.Is(err, ErrMayNotCampaign) {
			t.Errorf("a witness told to campaign: %v", err)
		}
		if err := first.TransferLeadership(t.Context(), 3); !errors.Is(err, ErrTransferTarget) {
			t.Errorf("a transfer to the witness: %v", err)
		}
		if o.memory {
			return // a node that comes back needs its log
		}
		c.open(second)
		c.agree(40)
		c.close(3)
		c.open(3)
		c.close(first.NodeID())
		c.propose("the other one leads" + secret)
		if leader := c.leader().NodeID(); leader != second {
			t.Errorf("node %d leads, want node %d", leader, second)
		}
		c.close(3)
		c.holdsNothingOf(3, secret)
	})
}

// holdsNothingOf fails the test where a text stands in a closed node's directory.
func (c *cluster) holdsNothingOf(id codec.NodeID, text string) {
	c.t.Helper()
	holds := func(dir string) (found bool) {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			found = found || bytes.Contains(data, []byte(text))
			return err
		})
		if err != nil {
			c.t.Fatal(err)
		}
		return found
	}
	if holds(c.cfgs[id].Dir) {
		c.t.Errorf("the directory of node %d holds entries", id)
	}
	if !holds(c.cfgs[1].Dir) {
		c.t.Error("the text is in no directory: the test does not test what it is for")
	}
}

// TestWitnessIsAddedAndRemoved: one takes part in changes like any other node, and a quorum of witnesses is refused.
func TestWitnessIsAddedAndRemoved(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.nodes = 1
		o = withWitness(o)
		c := startCluster(t, o)
		c.propose("0")
		second, third := c.add(2), c.add(3)
		c.change(AddVoter(second), AddVoter(third))
		c.settled(c.others(), 1, 2, 3)
		c.propose("1")
		_, err := c.leader().ChangeMembership(t.Context(), SetQuorum(codec.QuorumSystem{
			Kind: codec.QuorumWeighted, Election: 3, Write: 2, Weights: []uint32{1, 1, 2},
		}))
		var alone *WitnessQuorumError
		if !errors.As(err, &alone) || !errors.Is(err, ErrMembership) {
			t.Errorf("a witness that could commit alone: %v", err)
		}
		c.change(Remove(3))
		c.close(3)
		c.propose("2")
		c.agree(3)
	})
}

// TestNodeMustBeOpenedAsWhatItIs: a member that is no witness needs a state machine, a witness can't have one, and the
// membership says which it is.
func TestNodeMustBeOpenedAsWhatItIs(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 1, tcp: true, adjust: func(cfg *Config) { cfg.Witness = cfg.NodeID == 2 }})
	second := c.add(2)
	second.Witness = false
	if _, err := c.leader().ChangeMembership(t.Context(), AddLearner(second)); err != nil {
		t.Fatal(err)
	}
	node := c.nodes[2]
	within(t, "a witness that was made an ordinary member", node.Done())
	var as *WitnessError
	if err := node.Err(); !errors.As(err, &as) || as.Member || !as.Opened || as.Node != 2 {
		t.Errorf("it stopped with %v, want a WitnessError", err)
	}
	if err := node.Close(); !errors.As(err, &as) {
		t.Errorf("Close: %v", err)
	}
	delete(c.nodes, 2)
	cfg := c.cfgs[2]
	if _, err := Open(cfg, nil); !errors.As(err, &as) || !strings.Contains(err.Error(), "node 2 is an ordinary member") {
		t.Errorf("opened again: %v, want a WitnessError", err)
	}
	cfg.Witness = false
	c.cfgs[2] = cfg
	c.open(2)
	c.propose("x")
	c.agree(1)

	third := c.add(3)
	third.Witness = true
	if _, err := c.leader().ChangeMembership(t.Context(), AddLearner(third)); err != nil {
		t.Fatal(err)
	}
	within(t, "a node with a state machine that was made a witness", c.nodes[3].Done())
	if err := c.nodes[3].Err(); !errors.As(err, &as) || !as.Member || as.Opened {
		t.Errorf("it stopped with %v, want a WitnessError", err)
	}
	_ = c.nodes[3].Close()
	delete(c.nodes, 3)
}

// TestWitnessCantBeInitialized: it could never lead what it began.
func TestWitnessCantBeInitialized(t *testing.T) {
	log := MemoryLog()
	n, err := Open(Config{NodeID: 1, ClusterID: "test", Listen: "127.0.0.1:0", Log: log, Witness: true, CloseTimeout: time.Second}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	m := codec.NewMembership(codec.OneLeaderPerTerm, codec.Node{ID: 1, Address: "127.0.0.1:1", Witness: true},
		codec.Node{ID: 2, Address: "127.0.0.1:2"}, codec.Node{ID: 3, Address: "127.0.0.1:3"})
	if err := n.Initialize(t.Context(), m); !errors.Is(err, ErrMembership) || !strings.Contains(err.Error(), "is a witness") {
		t.Errorf("Initialize on a witness: %v", err)
	}
}
