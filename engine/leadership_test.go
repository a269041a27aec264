package engine

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
	"github.com/millrace/millrace/netio"
)

// TestTransferUnderLoadLosesNothing hands the leadership round while clients put: to each node by name, and to the best.
func TestTransferUnderLoadLosesNothing(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.adjust = calm
		c := startCluster(t, o)
		load := c.startLoad(8)
		load.await(50)
		for n := range 6 {
			from := c.leader()
			target := codec.NodeID(0)
			if n%2 == 0 {
				target = from.NodeID()%3 + 1
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			if err := from.TransferLeadership(ctx, target); err != nil {
				t.Fatalf("transfer %d from node %d to %d: %v", n, from.NodeID(), target, err)
			}
			cancel()
			next, known := from.Leader()
			if !known || next.ID == from.NodeID() || target != 0 && next.ID != target {
				t.Errorf("after a transfer from node %d to %d node %d leads", from.NodeID(), target, next.ID)
			}
			load.await(load.count() + 50)
		}
		load.stop()
		load.check()
		if len(load.unknown) > 0 {
			t.Errorf("of %d puts %d had an unknown fate; a leader that hands over knows", load.count(), len(load.unknown))
		}
	})
}

// TestProposalsWaitForTheNextLeader: what waits while a leader hands over is answered with the name of the next one.
func TestProposalsWaitForTheNextLeader(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.cables, o.adjust = true, calm
		c := startCluster(t, o)
		c.propose("x")
		c.agree(1)
		leader := c.leader()
		target := leader.NodeID()%3 + 1
		// The target misses an entry and can't be asked to campaign until it has it.
		c.cable.part([]codec.NodeID{leader.NodeID()}, []codec.NodeID{target})
		if _, err := leader.Propose(t.Context(), []byte("y")); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- leader.TransferLeadership(ctx, target) }()
		until(t, "the leader to be blocked", func() bool {
			m := leader.Metrics()
			return m.Blocked && m.Transferee == target
		})
		if _, err := leader.ChangeMembership(ctx, Demote(target)); !errors.Is(err, ErrTransferInProgress) {
			t.Errorf("a change during a transfer: %v", err)
		}
		if err := leader.TransferLeadership(ctx, 0); !errors.Is(err, ErrTransferInProgress) {
			t.Errorf("a second transfer: %v", err)
		}
		answers := make(chan error, 10)
		for range 10 {
			if err := leader.ProposeAsync([]byte("z"), func(_ Result, err error) { answers <- err }); err != nil {
				t.Fatal(err)
			}
		}
		if m := leader.Metrics(); m.Entries != 2 || len(answers) > 0 {
			t.Errorf("%d entries were taken and %d answered while the leader was blocked", m.Entries-2, len(answers))
		}
		c.cable.heal()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		for range 10 {
			var elsewhere *NotLeaderError
			if err := <-answers; !errors.As(err, &elsewhere) || elsewhere.Leader.ID != target {
				t.Fatalf("a proposal that waited was answered with %v, want the next leader's name, %d", err, target)
			}
		}
		c.propose("w")
		c.agree(3)
	})
}

// TestTransferThatFails: the leader goes on by itself, and what waited meanwhile with it.
func TestTransferThatFails(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.cables, o.adjust = true, calm
		c := startCluster(t, o)
		c.propose("x")
		leader := c.leader()
		target := leader.NodeID()%3 + 1
		c.close(target)
		if _, err := leader.Propose(t.Context(), []byte("y")); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- leader.TransferLeadership(t.Context(), target) }()
		until(t, "the leader to be blocked", func() bool { return leader.Metrics().Blocked })
		waited := make(chan error, 1)
		if err := leader.ProposeAsync([]byte("z"), func(_ Result, err error) { waited <- err }); err != nil {
			t.Fatal(err)
		}
		err := <-done
		var failed *TransferError
		if !errors.As(err, &failed) || failed.Target != target || failed.Leader != leader.NodeID() {
			t.Errorf("a transfer to a dead node: %v, want a TransferError that says node %d leads", err, leader.NodeID())
		}
		if err := <-waited; err != nil {
			t.Errorf("a proposal that waited for a transfer that failed: %v", err)
		}
		if leader != c.leader() || leader.Metrics().Blocked {
			t.Error("the leader does not go on")
		}
	})
}

func TestTransferRefusals(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true})
	c.propose("x")
	leader := c.leader()
	fourth := c.add(4)
	c.change(AddLearner(fourth))
	for _, target := range []codec.NodeID{leader.NodeID(), 4, 9} {
		if err := leader.TransferLeadership(t.Context(), target); !errors.Is(err, ErrTransferTarget) {
			t.Errorf("to node %d: %v", target, err)
		}
	}
	var elsewhere *NotLeaderError
	if err := c.nodes[4].TransferLeadership(t.Context(), 1); !errors.As(err, &elsewhere) {
		t.Errorf("on a learner: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := leader.TransferLeadership(ended, 0); err != context.Canceled {
		t.Errorf("with a context that has ended: %v", err)
	}
	if err := c.nodes[4].Trigger().Elect(); !errors.Is(err, ErrMayNotCampaign) {
		t.Errorf("a learner told to campaign: %v", err)
	}
	if err := leader.Trigger().Elect(); !errors.Is(err, ErrMayNotCampaign) {
		t.Errorf("a leader told to campaign: %v", err)
	}
	if err := c.nodes[4].Trigger().Heartbeat(); !errors.As(err, &elsewhere) {
		t.Errorf("a learner told to send heartbeats: %v", err)
	}
	if err := leader.Trigger().AllowReversion(9); !errors.Is(err, ErrNotMember) {
		t.Errorf("a stranger that may lose its log: %v", err)
	}
	if err := leader.ForgetLeader(); !errors.Is(err, ErrNoLeaderToForget) {
		t.Errorf("a leader told to forget itself: %v", err)
	}
}

// TestElectionsCanBeSwitchedOff: nobody campaigns by time then, only when told to; switched on again they do.
func TestElectionsCanBeSwitchedOff(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.cables = true
		c := startCluster(t, o)
		c.propose("x")
		c.agree(1)
		for _, n := range c.nodes {
			if err := n.SetSwitches(Switches{NoElections: true}); err != nil {
				t.Fatal(err)
			}
			if s := n.Metrics().Switches; s != (Switches{NoElections: true}) {
				t.Errorf("switches %+v", s)
			}
		}
		old := c.leader().NodeID()
		c.close(old)
		rest := c.others()
		for _, id := range rest {
			until(t, "the leader's death to be noticed", func() bool { return c.nodes[id].ForgetLeader() == nil })
			if _, err := c.nodes[id].Propose(t.Context(), nil); err == nil || c.nodes[id].Metrics().Elections > 0 {
				t.Errorf("node %d: %v, %d elections", id, err, c.nodes[id].Metrics().Elections)
			}
		}
		if err := c.nodes[rest[0]].Trigger().Elect(); err != nil {
			t.Fatal(err)
		}
		if leader := c.leader(); leader.NodeID() != rest[0] {
			t.Errorf("node %d leads, want node %d, which was told to campaign", leader.NodeID(), rest[0])
		}
		c.propose("y")
		c.agree(2)
	})
}

// TestForgottenLeaderIsFollowedAgain: a follower that forgets a leader who is alive hears it again; one whose leader is
// cut off can lead at once, with the vote of another that forgets it too.
func TestForgottenLeaderIsFollowedAgain(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.cables = true
		o.adjust = func(cfg *Config) {
			cfg.ElectionTimeoutMin, cfg.ElectionTimeoutMax = 2*time.Second, 4*time.Second
		}
		c := startCluster(t, o)
		c.propose("x")
		c.agree(1)
		leader := c.leader()
		rest := c.others(leader.NodeID())
		if err := c.nodes[rest[0]].ForgetLeader(); err != nil {
			t.Fatal(err)
		}
		known, err := c.nodes[rest[0]].WaitLeader(t.Context())
		if err != nil || known.ID != leader.NodeID() {
			t.Errorf("after it forgot a living leader it knows %v, %v", known, err)
		}
		c.cable.part([]codec.NodeID{leader.NodeID()}, rest)
		c.awaitSent(leader.NodeID(), codec.MessageHeartbeat, 2*3) // what was on its way has arrived
		began := time.Now()
		for _, id := range rest {
			if err := c.nodes[id].ForgetLeader(); err != nil {
				t.Fatal(err)
			}
			if err := c.nodes[id].ForgetLeader(); !errors.Is(err, ErrNoLeaderToForget) {
				t.Errorf("forgetting twice: %v", err)
			}
		}
		if err := c.nodes[rest[1]].Trigger().Elect(); err != nil {
			t.Fatal(err)
		}
		if next := c.awaitLeaderAmong(rest); next.NodeID() != rest[1] || time.Since(began) > time.Second {
			t.Errorf("node %d leads after %v, want node %d before any timeout", next.NodeID(), time.Since(began), rest[1])
		}
	})
}

// TestHeartbeatsCanBeSwitchedOff: without them, and without puts, a leader is deposed; unless it is told to send them.
func TestHeartbeatsCanBeSwitchedOff(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.cables = true
		c := startCluster(t, o)
		c.propose("x")
		c.agree(1)
		leader := c.leader()
		until(t, "the last put's commit to be known", func() bool {
			for _, n := range c.nodes {
				if n.Metrics().Commit != leader.Metrics().Last.Index {
					return false
				}
			}
			return true
		})
		if err := leader.SetSwitches(Switches{NoHeartbeats: true}); err != nil {
			t.Fatal(err)
		}
		before, _ := c.cable.count(leader.NodeID(), codec.MessageHeartbeat)
		if err := leader.Trigger().Heartbeat(); err != nil {
			t.Fatal(err)
		}
		if after, _ := c.cable.count(leader.NodeID(), codec.MessageHeartbeat); after != before+2 {
			t.Errorf("%d heartbeats were sent when told to, want 2", after-before)
		}
		until(t, "another leader, or another term", func() bool {
			m := leader.Metrics()
			return m.Role != consensus.Leader || m.Vote.Leader.Term > 1
		})
		c.propose("y")
		c.agree(2)
	})
}

// TestLeaderWithoutItsQuorumStepsDown: it can't commit, and must not hold back those who can.
func TestLeaderWithoutItsQuorumStepsDown(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.cables = true
		c := startCluster(t, o)
		c.propose("x")
		leader := c.leader()
		c.cable.part([]codec.NodeID{leader.NodeID()}, c.others(leader.NodeID()))
		until(t, "the leader to step down", func() bool { return leader.Metrics().Role != consensus.Leader })
		if _, known := leader.Leader(); known {
			t.Error("it still takes itself for the leader")
		}
		if m := leader.Metrics(); m.Vote.Leader.Node != leader.NodeID() {
			t.Errorf("it stepped down for %v and not by itself", m.Vote)
		}
		c.awaitLeaderAmong(c.others(leader.NodeID()))
	})
}

// TestPreVoteKeepsACutOffNodeFromRaisingTheTerm: it asks again and again and disturbs nobody when it comes back.
func TestPreVoteKeepsACutOffNodeFromRaisingTheTerm(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		const away = 3
		o.cables, o.adjust = true, calmBut(away)
		c := startCluster(t, o)
		c.propose("x")
		c.agree(1)
		leader := c.leader()
		term := leader.Metrics().Vote
		if err := c.nodes[away].SetSwitches(Switches{}); err != nil {
			t.Fatal(err)
		}
		c.cable.part([]codec.NodeID{away}, c.others(away))
		c.awaitSent(away, codec.MessageVote, 2*5)
		if m := c.nodes[away].Metrics(); m.Vote != term || m.Elections != 0 {
			t.Errorf("the node that is cut off has vote %v after %d elections, want still %v", m.Vote, m.Elections, term)
		}
		c.cable.heal()
		c.propose("y")
		c.agree(2)
		if m := leader.Metrics(); m.Role != consensus.Leader || m.Vote != term {
			t.Errorf("the leader is a %v with vote %v, want it to lead under %v still", m.Role, m.Vote, term)
		}
		if err := c.nodes[away].SetSwitches(Switches{NoPreVote: true}); err != nil {
			t.Fatal(err)
		}
		c.cable.part([]codec.NodeID{away}, c.others(away))
		until(t, "a node without pre-vote to raise its term", func() bool {
			m := c.nodes[away].Metrics()
			return m.Elections >= 2 && m.Vote.Leader.Term > term.Leader.Term
		})
	})
}

// TestLeaseOfALiveLeaderRefusesVotes: a voter that only the leader can't reach campaigns for real, with a complete log, and
// gets no vote of the follower that still hears the leader.
func TestLeaseOfALiveLeaderRefusesVotes(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		const away = 3
		o.cables, o.adjust = true, calmBut(away)
		c := startCluster(t, o)
		c.propose("x")
		c.agree(1)
		leader := c.leader()
		vote, other := leader.Metrics().Vote, c.others(leader.NodeID(), away)[0]
		until(t, "everybody to hold everything", func() bool {
			return c.nodes[away].Metrics().Last == leader.Metrics().Last && c.nodes[other].Metrics().Last == leader.Metrics().Last
		})
		c.cable.part([]codec.NodeID{leader.NodeID()}, []codec.NodeID{away})
		if err := c.nodes[away].SetSwitches(Switches{NoPreVote: true}); err != nil {
			t.Fatal(err)
		}
		until(t, "five campaigns", func() bool { return c.nodes[away].Metrics().Elections >= 5 })
		if m := c.nodes[other].Metrics(); m.Vote != vote || m.Leader != leader.NodeID() {
			t.Errorf("the follower has vote %v and follows node %d, want %v and node %d", m.Vote, m.Leader, vote, leader.NodeID())
		}
		if m := leader.Metrics(); m.Role != consensus.Leader || m.Vote != vote {
			t.Errorf("the leader is a %v with vote %v, want it to lead under %v still", m.Role, m.Vote, vote)
		}
	})
}

// awaitSent waits until a node has sent so many messages of a kind more, whether they passed or not.
func (c *cluster) awaitSent(id codec.NodeID, kind codec.MessageKind, n int) {
	c.t.Helper()
	before, _ := c.cable.count(id, kind)
	timeout := time.After(20 * time.Second)
	for {
		have, changed := c.cable.count(id, kind)
		if have >= before+n {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			c.t.Fatalf("node %d sent %d of %d messages of kind %v in 20 s", id, have-before, n, kind)
		}
	}
}

// TestLeaderWhoseDiskStallsStepsDown: the others can write, so one of them should lead.
func TestLeaderWhoseDiskStallsStepsDown(t *testing.T) {
	for _, o := range []clusterOptions{{memory: true}, {memory: true, tcp: true}, {}, {tcp: true}} {
		t.Run("", func(t *testing.T) {
			logs := map[codec.NodeID]*stallingLog{}
			o.nodes = 3
			o.adjust = func(cfg *Config) {
				log := MemoryLog()
				if !o.memory {
					var err error
					full := *cfg
					full.Listen = "127.0.0.1:0"
					if log, err = openLog(mustDefaults(t, full)); err != nil {
						t.Fatal(err)
					}
				}
				logs[cfg.NodeID] = &stallingLog{Log: log}
				cfg.Log, cfg.Dir = logs[cfg.NodeID], ""
				cfg.DiskStallTimeout = 300 * time.Millisecond
			}
			c := startCluster(t, o)
			c.propose("x")
			c.agree(1)
			leader := c.leader()
			logs[leader.NodeID()].stall(true)
			if _, err := leader.Propose(t.Context(), []byte("y")); err != nil {
				t.Fatalf("the others commit without the leader's disk, but: %v", err)
			}
			next := c.awaitLeaderAmong(c.others(leader.NodeID()))
			if _, err := next.Propose(t.Context(), []byte("z")); err != nil {
				t.Fatal(err)
			}
			logs[leader.NodeID()].stall(false)
			c.propose("w")
			c.agree(4)
		})
	}
}

// TestLeadershipMovesToThePreferredNode: one whose priority is greater is handed the leadership.
func TestLeadershipMovesToThePreferredNode(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		c := startCluster(t, o)
		c.propose("x")
		preferred := c.node(c.others(c.leader().NodeID())[0])
		preferred.Priority = 7
		c.change(SetNode(preferred))
		until(t, "the preferred node to lead", func() bool { return c.nodes[preferred.ID].Metrics().Role == consensus.Leader })
		c.propose("y")
		c.agree(2)
	})
}

// logLines counts lines of a log.
type logLines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logLines) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

// TestVoteModesThatDisagree: two nodes that were initialized each in its own way drop each other's messages, count that
// and say so once.
func TestVoteModesThatDisagree(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		var lines logLines
		o.adjust = func(cfg *Config) {
			cfg.ElectionTimeoutMin, cfg.ElectionTimeoutMax = 20*time.Millisecond, 40*time.Millisecond
			cfg.HeartbeatInterval, cfg.Logger = 5*time.Millisecond, slog.New(slog.NewTextHandler(&lines, nil))
		}
		c := &cluster{t: t, dir: t.TempDir(), kind: o, nodes: map[codec.NodeID]*Raft{}, sms: map[codec.NodeID]*register{}, cfgs: map[codec.NodeID]Config{}}
		if !o.tcp {
			c.net = netio.NewNetwork()
		}
		members := []codec.Node{c.add(1), c.add(2)}
		defer c.close(1)
		defer c.close(2)
		for id, mode := range map[codec.NodeID]codec.VoteMode{1: codec.OneLeaderPerTerm, 2: codec.SeveralLeadersPerTerm} {
			if err := c.nodes[id].Initialize(t.Context(), codec.NewMembership(mode, members...)); err != nil {
				t.Fatal(err)
			}
		}
		for _, n := range c.nodes {
			until(t, "messages to be dropped", func() bool { return n.Metrics().Disagreed >= 3 })
		}
		if n := lines.count("another vote mode"); n != 2 {
			t.Errorf("%d warnings, want one of each node", n)
		}
	})
}
