package engine

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/netio"
	"github.com/millrace/millrace/pipeline"
)

// inLoop runs fn in a node's loop and waits for it.
func inLoop(t *testing.T, r *Raft, fn func(*loop)) {
	t.Helper()
	done := make(chan struct{})
	if !r.box.post(func(m *mail) { m.asks = append(m.asks, func(l *loop) { fn(l); close(done) }) }) {
		t.Fatal("the node has ended")
	}
	within(t, "the loop", done)
}

// gatedCluster is a cluster whose state machines wait for a gate that all have in common.
func gatedCluster(t *testing.T) (c *cluster, open func(), entered map[codec.NodeID]chan struct{}) {
	gate, entered := make(chan struct{}), map[codec.NodeID]chan struct{}{}
	open = sync.OnceFunc(func() { close(gate) })
	c = startCluster(t, clusterOptions{
		nodes: 3, memory: true, cables: true,
		adjust: func(cfg *Config) { calm(cfg); cfg.CloseTimeout = time.Minute },
		machine: func(id codec.NodeID) (StateMachine, *register) {
			sm := newGatedRegister()
			sm.gate, entered[id] = gate, sm.entered
			return sm, &sm.register
		},
	})
	t.Cleanup(open) // before the nodes are closed, which wait for it
	return c, open, entered
}

// TestAnswerThatCameBeforeTheLaneBroke: the loop finds both in its mail, and the caller gets the answer.
func TestAnswerThatCameBeforeTheLaneBroke(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true, cables: true, adjust: func(cfg *Config) {
		cfg.ElectionTimeoutMin, cfg.ElectionTimeoutMax = 30*time.Second, 60*time.Second
	}})
	leader, follower := c.follower()
	c.cable.oneWay(leader.NodeID(), follower.NodeID())
	fate := fateOf(t.Context(), follower, "a")
	c.sms[leader.NodeID()].await(t, 1)
	reply := codec.Packet{Node: leader.NodeID(), Message: codec.Message{Kind: codec.MessageForwardReply, Group: theGroup, Status: codec.StatusOK}}
	inLoop(t, follower, func(l *loop) {
		for _, f := range l.forwarding.sent {
			reply.Message.Stream, reply.Message.Stamp = f.token, f.stamp
		}
	})
	follower.box.post(func(m *mail) {
		m.packets, m.downs = append(m.packets, reply), append(m.downs, leader.NodeID())
	})
	if err := <-fate; err != nil {
		t.Fatalf("got %v", err)
	}
}

// TestAnswerAtTheEndOfItsContext: where both are there, the answer counts.
func TestAnswerAtTheEndOfItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := &Raft{done: make(chan struct{}), box: &mailbox{closed: true}}
	for range 100 { // select takes either
		f := &forwarded{ctx: ctx, reply: make(chan fate, 1)}
		f.answer(Result{Data: []byte("x")}, nil)
		if got, err := r.awaitForward(f); err != nil || string(got.Data) != "x" {
			t.Fatalf("got %q, %v", got.Data, err)
		}
	}
}

// TestProposalOfNobodyIsNotSent: its caller's context ended before the loop came to it.
func TestProposalOfNobodyIsNotSent(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l := &loop{forwarding: newForwarding(), cfg: &Config{NodeID: 1}}
	l.status.Leader = 2
	l.sendForward(&forwarded{ctx: ctx, reply: make(chan fate, 1)}) // nothing is there to send it with
	if !l.forwarding.idle() {
		t.Error("it waits for an answer")
	}
}

// TestStrangersProposeNothing: a node that was removed, or never belonged here, may not write.
func TestStrangersProposeNothing(t *testing.T) {
	net, log := netio.NewNetwork(), MemoryLog()
	r := openAlone(t, newRegister(), func(c *Config) { c.Log, c.Transport = log, net.Transport(1, "test", log.Incarnation()) })
	p := newRawPeer(t, net, 2)
	var refused *ForwardError
	if _, err := p.ask(normal("a")); !errors.As(err, &refused) || err.Error() != "node 1: node 2: not a member" {
		t.Errorf("before it was added: %v", err)
	}
	if n := r.Metrics().Entries; n != 0 {
		t.Errorf("%d proposals are in the log", n)
	}
	p.join(r)
	if _, err := p.ask(normal("a")); err != nil {
		t.Errorf("as a learner: %v", err)
	}
	if _, err := r.ChangeMembership(t.Context(), Remove(2)); err != nil {
		t.Fatal(err)
	}
	if _, err := p.ask(normal("b")); !errors.As(err, &refused) {
		t.Errorf("after it was removed: %v", err)
	}
}

// TestCloseWaitsForForwardedProposals: what another node is about to answer was taken in here.
func TestCloseWaitsForForwardedProposals(t *testing.T) {
	c, open, entered := gatedCluster(t)
	leader, follower := c.follower()
	fate := fateOf(t.Context(), follower, "a")
	<-entered[leader.NodeID()]
	closed := make(chan error, 1)
	go func() { closed <- follower.Close() }()
	until(t, "the follower to be closing", func() (closing bool) {
		inLoop(t, follower, func(l *loop) { closing = l.draining })
		return closing
	})
	open()
	if err := <-fate; err != nil {
		t.Errorf("what was proposed before Close: %v", err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// TestDoGoesOnWhenItsLeaderCloses: a leader that is being closed refuses, and the next one answers.
func TestDoGoesOnWhenItsLeaderCloses(t *testing.T) {
	c, open, entered := gatedCluster(t)
	leader, follower := c.follower()
	s, err := follower.OpenSession(t.Context(), Forwarding())
	if err != nil {
		t.Fatal(err)
	}
	last := fateOf(t.Context(), c.nodes[c.others(leader.NodeID(), follower.NodeID())[0]], "a") // Close waits for it
	<-entered[leader.NodeID()]
	closed := make(chan error, 1)
	go func() { closed <- leader.Close() }()
	until(t, "the leader to be closing", func() (closing bool) {
		inLoop(t, leader, func(l *loop) { closing = l.draining })
		return closing
	})
	answers, _ := c.cable.count(leader.NodeID(), codec.MessageForwardReply)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	fate := make(chan error, 1)
	go func() {
		_, err := s.Do(ctx, []byte("b"))
		fate <- err
	}()
	until(t, "the leader to refuse", func() bool {
		n, _ := c.cable.count(leader.NodeID(), codec.MessageForwardReply)
		return n > answers || len(fate) > 0
	})
	open()
	for _, answer := range []<-chan error{last, closed, fate} {
		if err := <-answer; err != nil {
			t.Error(err)
		}
	}
	delete(c.nodes, leader.NodeID())
	delete(c.sms, leader.NodeID())
	c.once(2)
}

// coldLog has every frame on disk and answers no read.
type coldLog struct{ GroupLog }

func (coldLog) Frame(codec.Index) (codec.Frame, bool) { return codec.Frame{}, false }

func (coldLog) ReadFrame(codec.Index, func(codec.Frame, error)) {}

// TestAnswersBehindAColdFrameAreBounded: a peer that is sent frames from disk gets its answers behind them. Those that are
// more than may wait are left out, and their callers told.
func TestAnswersBehindAColdFrameAreBounded(t *testing.T) {
	l := &loop{cfg: &Config{ForwardBytesMax: 250}, streams: pipeline.NewStreamStage(coldLog{}, nil, nil)}
	at := codec.LogID{Leader: codec.LeaderID{Term: 3, Node: 1}, Index: 40}
	answer := func(to codec.NodeID, size int) codec.Message {
		a := forwardAnswer{packet: codec.Packet{Node: to}}
		fillAnswer(&a.packet, Result{LogID: at, Data: make([]byte, size)}, nil, 1000)
		answers := []forwardAnswer{a}
		l.sendAnswers(answers)
		return answers[0].packet.Message
	}
	l.streams.Send(codec.LaneAppend, codec.Packet{Node: 2}, codec.FrameMeta{First: 1, Count: 1})
	for _, want := range []codec.Status{codec.StatusOK, codec.StatusOK, codec.StatusRefused, codec.StatusRefused} {
		if m := answer(2, 100); m.Status != want || m.Log != at {
			t.Errorf("answered %+v, want status %v", m, want)
		}
	}
	if m := answer(3, 300); m.Status != codec.StatusOK {
		t.Errorf("a peer that waits for nothing was answered %+v", m)
	}
	if held := l.streams.HeldData(2); held < 200 || held > 250+2*200 {
		t.Errorf("%d bytes wait", held)
	}
}

// TestDeposedLeaderRefusesWhatWaitsForItsDisk: proposals that wait for room are refused once the leadership is lost, though
// the disk does not recover, and no election wakes the loop.
func TestDeposedLeaderRefusesWhatWaitsForItsDisk(t *testing.T) {
	o, logs := stalling(clusterOptions{nodes: 3, cables: true, adjust: func(cfg *Config) {
		cfg.DiskStallTimeout, cfg.UnappliedBytesMax, cfg.Switches.NoElections = -1, 1<<20, true
	}})
	c := startCluster(t, o)
	leader := c.leader()
	logs[leader.NodeID()].stall(true)
	defer logs[leader.NodeID()].stall(false)
	const logged, proposals = 16, 40 // with what frames add, 16 are more than the bound
	answers := make(chan error, proposals)
	propose := func(n int) {
		for range n {
			if err := leader.ProposeAsync(make([]byte, 64<<10), func(_ Result, err error) { answers <- err }); err != nil {
				t.Fatal(err)
			}
		}
	}
	before := leader.Metrics().Entries
	propose(logged)
	until(t, "more than the bound to be in the log", func() bool { return leader.Metrics().Entries >= before+logged })
	propose(proposals - logged)
	c.cable.part([]codec.NodeID{leader.NodeID()}, c.others(leader.NodeID()))
	refused := 0
	timeout := time.After(20 * time.Second)
	for n := range proposals {
		select {
		case err := <-answers:
			if errors.As(err, new(*NotLeaderError)) {
				refused++
			} else if err != nil && !errors.As(err, new(*UnknownError)) {
				t.Errorf("answered %v", err)
			}
		case <-timeout:
			t.Fatalf("%d of %d proposals were answered in 20 s", n, proposals)
		}
	}
	if refused == 0 {
		t.Error("none was refused: nothing waited")
	}
}

// TestEveryForwardedCallEnds: callers whose contexts have no end propose at every node while connections break in either
// direction, the leadership moves, leaders are forgotten and nodes close. Each is told something, and nothing is left waiting.
func TestEveryForwardedCallEnds(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true, cables: true, adjust: func(cfg *Config) {
		cfg.ForwardTimeout = 300 * time.Millisecond
	}})
	ids := c.others()
	stop := make(chan struct{})
	var callers sync.WaitGroup
	for n := range 4 * len(ids) {
		r := c.nodes[ids[n%len(ids)]]
		callers.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-r.done:
					return
				default:
				}
				if _, err := r.Submit(context.Background(), Proposal{Data: []byte{byte(n)}, Forward: true}); err != nil {
					_, _ = r.OpenSession(context.Background(), Forwarding())
				}
			}
		})
	}
	for round := range 4 {
		leader := c.leader()
		others := c.others(leader.NodeID())
		switch round {
		case 0:
			c.cable.oneWay(leader.NodeID(), others[0])
			c.cable.oneWay(others[1], leader.NodeID())
		case 1:
			c.cable.part([]codec.NodeID{leader.NodeID()}, others)
			c.awaitLeaderAmong(others)
		case 2:
			_ = leader.TransferLeadership(t.Context(), others[0]) // it may go elsewhere
		case 3:
			_ = c.nodes[others[0]].ForgetLeader() // it may have none
		}
		for range 20 {
			c.propose("x")
		}
		c.cable.heal()
	}
	closed := c.leader()
	c.close(closed.NodeID())
	c.propose("x")
	close(stop)
	ended := make(chan struct{})
	go func() { callers.Wait(); close(ended) }()
	within(t, "a caller", ended)
	for _, r := range c.nodes {
		until(t, "nothing to be left waiting", func() (idle bool) {
			inLoop(t, r, func(l *loop) { idle = l.forwarding.idle() && l.forwarding.sentBytes == 0 })
			return idle
		})
	}
}
