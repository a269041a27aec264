package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/netio"
)

// A failure and a query for metrics in the same mail.
func TestMetricsAreAnsweredInTheRoundThatFails(t *testing.T) {
	r := openAlone(t, newRegister(), func(*Config) {})
	reply := make(chan Metrics, 1)
	r.box.post(func(m *mail) { m.failure = errors.New("disk"); m.queries = append(m.queries, reply) })
	<-r.Done()
	select {
	case <-reply:
	case <-time.After(2 * time.Second):
		t.Error("the query of Metrics is never answered: Raft.Metrics blocks for ever")
	}
}

// The edits of a call are made again when a voter is staged.
func TestReplaceVotersIsMadeTwice(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true, adjust: calm})
	c.propose("x")
	leader := c.leader()
	fourth := c.add(4)
	gone := leader.NodeID()%3 + 1
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err := leader.ChangeMembership(ctx, AddLearner(fourth), ReplaceVoters(1, 2, 3, 4), Remove(gone))
	if err != nil {
		t.Errorf("replace and remove with a new voter: %v", err)
	}
	t.Logf("%+v", leader.Membership().Configs)
}

func TestChangeValueIsUsedTwice(t *testing.T) {
	m := codec.NewMembership(codec.SeveralLeadersPerTerm, codec.Node{ID: 1}, codec.Node{ID: 2}, codec.Node{ID: 3})
	changes := []Change{ReplaceVoters(1, 2, 3), Demote(2)}
	for n := range 2 {
		e, err := applyChanges(&m, changes)
		if err != nil {
			t.Fatalf("time %d: %v", n+1, err)
		}
		if v := e.membership.Configs[0].Voters; len(v) != 2 {
			t.Errorf("time %d: %v", n+1, v)
		}
	}
}

// A node opened as a witness, initialized with a membership in which it is none, and the reverse.
func TestInitializeAsWhatItIsNot(t *testing.T) {
	for _, witness := range []bool{true, false} {
		var sm StateMachine = newRegister()
		if witness {
			sm = nil
		}
		r, err := Open(Config{NodeID: 1, ClusterID: "t", Dir: t.TempDir(), Listen: "127.0.0.1:0", Witness: witness}, sm)
		if err != nil {
			t.Fatal(err)
		}
		err = r.Initialize(t.Context(), codec.NewMembership(codec.SeveralLeadersPerTerm, codec.Node{ID: 1, Witness: !witness}, codec.Node{ID: 2}, codec.Node{ID: 3}))
		t.Logf("opened with Witness %v: %v", witness, err)
		if !errors.Is(err, ErrMembership) {
			t.Errorf("want a refusal that changes nothing")
		}
		select {
		case <-r.Done():
			t.Errorf("the node is dead: %v", r.Err())
		default:
		}
		r.Close()
	}
}

// An address that no transport can dial.
func TestSetNodeWithoutItsAddress(t *testing.T) {
	for _, address := range []string{"", "no port"} {
		for _, self := range []bool{true, false} {
			t.Run(fmt.Sprintf("%q self=%v", address, self), func(t *testing.T) {
				c := startCluster(t, clusterOptions{nodes: 2, tcp: true})
				c.propose("x")
				c.agree(1)
				leader := c.leader()
				id := leader.NodeID()
				if !self {
					id = 3 - id
				}
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				_, err := leader.ChangeMembership(ctx, SetNode(codec.Node{ID: id, Address: address, Priority: 5}))
				t.Logf("SetNode: %v", err)
				if errors.Is(err, ErrMembership) {
					return
				}
				dead := time.Now().Add(6 * time.Second)
				for time.Now().Before(dead) {
					for _, n := range c.nodes {
						ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
						_, err = n.Propose(ctx, []byte("y"))
						cancel()
						if err == nil {
							return
						}
					}
				}
				t.Errorf("no put for 6 s after a priority was set without repeating the address: %v", err)
				for _, n := range c.nodes {
					m := n.Metrics()
					t.Logf("node %d %v %v", n.NodeID(), m.Role, m.Vote)
				}
			})
		}
	}
}

// SetNode with another incarnation than the member's.
func TestSetNodeCantChangeTheIncarnation(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true, adjust: calm})
	c.propose("x")
	c.agree(1)
	leader := c.leader()
	other := c.node(leader.NodeID()%3 + 1)
	c.change(SetNode(other)) // writes the incarnations down
	other.Incarnation = codec.Incarnation{9, 9}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	_, err := leader.ChangeMembership(ctx, SetNode(other))
	m := leader.Metrics()
	t.Logf("%v; role %v untrusted %d", err, m.Role, m.Untrusted)
	if err == nil {
		t.Error("a member's incarnation was changed while it is a member: its own disk is an impostor now")
	}
	third := 6 - leader.NodeID() - other.ID
	ctx, cancel = context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	c.close(third)
	_, err = c.nodes[leader.NodeID()].Propose(ctx, []byte("y"))
	t.Logf("a put with two of three nodes alive: %v", err)
	if err != nil {
		t.Error("two of three living nodes can't commit")
	}
}

// A nil Change.
func TestNilChangeIsRefused(t *testing.T) {
	r := openAlone(t, newRegister(), func(*Config) {})
	if _, err := r.ChangeMembership(t.Context(), nil); !errors.Is(err, ErrMembership) {
		t.Errorf("a nil change: %v, want one that wraps ErrMembership", err)
	}
}

// A member that lost its disk before any change of membership wrote incarnations down, and one that never met it.
func TestWipedNodeIsRefusedByOneThatNeverMetIt(t *testing.T) {
	for _, tcp := range []bool{false, true} {
		t.Run(fmt.Sprint("tcp=", tcp), func(t *testing.T) {
			c := &cluster{t: t, dir: t.TempDir(), kind: clusterOptions{tcp: tcp}, nodes: map[codec.NodeID]*Raft{}, sms: map[codec.NodeID]*register{}, cfgs: map[codec.NodeID]Config{}}
			if !tcp {
				c.net = netio.NewNetwork()
			}
			var members []codec.Node
			for id := codec.NodeID(1); id <= 3; id++ {
				members = append(members, c.add(id))
			}
			// Node 3 was started once to get its address, and is down while the cluster begins.
			c.close(3)
			if err := c.nodes[1].Initialize(t.Context(), codec.NewMembership(codec.SeveralLeadersPerTerm, members...)); err != nil {
				t.Fatal(err)
			}
			c.propose("a")
			c.agree(1)
			c.close(2) // node 3 comes for the first time while node 2 is away
			c.open(3)
			c.sms[3].await(t, 1)
			c.close(3)
			c.open(2)
			c.propose("b") // durable on 1 and 2
			c.agree(2)
			c.close(2)
			if err := os.RemoveAll(filepath.Join(c.dir, "2")); err != nil {
				t.Fatal(err)
			}
			c.close(1) // for a while, not for good
			c.open(2)  // empty, under its old id: "refused by all"
			c.open(3)
			defer func() {
				for id := range c.nodes {
					c.nodes[id].Close()
				}
			}()
			deadline := time.Now().Add(5 * time.Second)
			for time.Now().Before(deadline) {
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				r, err := c.nodes[3].Propose(ctx, []byte("c"))
				cancel()
				if err == nil {
					t.Errorf("node 3 led with the vote of a node with an empty disk and committed %q at %v, where %q was acknowledged", "c", r.LogID, "b")
					c.open(1)
					select {
					case <-c.nodes[1].Done():
						t.Logf("node 1 comes back and stops: %v", c.nodes[1].Err())
					case <-time.After(3 * time.Second):
						c.sms[1].mu.Lock()
						t.Logf("node 1 comes back with %v", c.sms[1].datas)
						c.sms[1].mu.Unlock()
					}
					return
				}
				pause, end := context.WithTimeout(t.Context(), 20*time.Millisecond)
				_, _ = c.nodes[3].WaitLeader(pause) // only the wait counts
				end()
			}
		})
	}
}

// A change that waits for an unreachable node without a deadline, and Close.
func TestCloseWhileAVoterIsStaged(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, tcp: true, adjust: calm})
	c.propose("x")
	leader := c.leader()
	const callers = 8
	done := make(chan error, 3*callers)
	for n := range callers {
		go func() {
			_, err := leader.ChangeMembership(context.Background(), AddVoter(codec.Node{ID: codec.NodeID(10 + n), Address: "127.0.0.1:1"}))
			done <- err
		}()
		go func() { done <- leader.WaitCaughtUp(context.Background(), codec.NodeID(10+n)) }()
		go func() { leader.Metrics(); done <- leader.Trigger().Heartbeat() }()
	}
	until(t, "a node to be staged", func() bool { return len(leader.Membership().Nodes) > 3 })
	c.close(leader.NodeID())
	for range 3 * callers {
		select {
		case err := <-done:
			t.Log(err)
		case <-time.After(5 * time.Second):
			t.Fatal("a call hangs after Close")
		}
	}
}

// The entry of the membership in force may be purged; it is committed all the same.
func TestChangeAfterItsMembershipWasPurged(t *testing.T) {
	o, _ := kept(clusterOptions{nodes: 3, tcp: true, adjust: quiet})
	c := startCluster(t, o)
	for n := range 20 {
		c.propose(fmt.Sprint(n))
	}
	c.agree(20)
	leader := c.leader()
	before := leader.Membership().LogID
	c.snapshot(leader.NodeID())
	until(t, "the membership's entry to be purged", func() bool { return leader.Metrics().Snapshots.Purged.Index > before.Index })
	preferred := c.node(leader.NodeID())
	preferred.Priority = 9
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if id, err := leader.ChangeMembership(ctx, SetNode(preferred)); err != nil || id.Index <= before.Index {
		t.Errorf("a change after a purge: %v, %v", id, err)
	}
	if same, err := leader.ChangeMembership(ctx, SetNode(preferred)); err != nil || same != leader.Membership().LogID {
		t.Errorf("a change that changes nothing: %v, %v", same, err)
	}
}
