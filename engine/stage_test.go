package engine

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
	"github.com/millrace/millrace/pipeline"
)

// stageBook adds up what a node's observer is told.
type stageBook struct {
	mu    sync.Mutex
	count [StageEnd]int
	sum   [StageEnd]time.Duration
	peers map[codec.NodeID]int // of StageNetwork
	least time.Duration
}

func (b *stageBook) observe(st StageTime) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count[st.Stage]++
	b.sum[st.Stage] += st.Duration
	b.least = min(b.least, st.Duration)
	if st.Peer != 0 {
		if b.peers == nil {
			b.peers = map[codec.NodeID]int{}
		}
		b.peers[st.Peer]++
	}
}

func (b *stageBook) counts() [StageEnd]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.count
}

// stageBooks gives each node a book that is told of every put.
func stageBooks(o *clusterOptions) map[codec.NodeID]*stageBook {
	books := map[codec.NodeID]*stageBook{}
	before := o.adjust
	o.adjust = func(cfg *Config) {
		if before != nil {
			before(cfg)
		}
		books[cfg.NodeID] = &stageBook{}
		cfg.Stages, cfg.StageInterval = books[cfg.NodeID].observe, time.Nanosecond
	}
	return books
}

// TestStages: of every put the leader tells every stage it has, and intake, quorum, apply and answer add up to its latency.
func TestStages(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		const clients, puts = 8, 50
		o.adjust = calm
		books := stageBooks(&o)
		c := startCluster(t, o)
		leader := c.leader()
		var wg sync.WaitGroup
		var waited [clients]time.Duration
		for client := range clients {
			wg.Go(func() {
				for range puts {
					begun := time.Now()
					if _, err := leader.Propose(t.Context(), []byte("x")); err != nil {
						t.Error(err)
					}
					waited[client] += time.Since(begun)
				}
			})
		}
		wg.Wait()
		c.agree(clients * puts)
		book := books[leader.NodeID()]
		const all = clients * puts
		want := [StageEnd]int{StageIntake: all, StageQuorum: all, StageApply: all, StageAnswer: all}
		if !o.memory {
			want[StageWALWrite], want[StageWALSync] = all, all
		}
		until(t, "the last answers of peers and the log", func() bool {
			got := book.counts()
			want[StageNetwork] = max(all, got[StageNetwork])
			return got == want
		})
		latency := time.Duration(0)
		for _, d := range waited {
			latency += d
		}
		book.mu.Lock()
		defer book.mu.Unlock()
		sum := book.sum[StageIntake] + book.sum[StageQuorum] + book.sum[StageApply] + book.sum[StageAnswer]
		if sum > latency || sum < latency/2 || book.least < 0 {
			t.Errorf("stages of %v in all, of latencies of %v in all; least is %v", sum, latency, book.least)
		}
		peers := slices.Sorted(maps.Keys(book.peers))
		if !slices.Equal(peers, c.others(leader.NodeID())) || book.count[StageNetwork] > 2*all {
			t.Errorf("%d times of the network, of peers %v", book.count[StageNetwork], book.peers)
		}
		for id, other := range books {
			if id != leader.NodeID() && other.count != [StageEnd]int{} {
				t.Errorf("follower %d was told of %v", id, other.count)
			}
		}
	})
}

// TestStagesHoldWhatTheyAreNamedFor: the disk of a node that is alone lies within quorum, a slow state machine in apply.
func TestStagesHoldWhatTheyAreNamedFor(t *testing.T) {
	const slow = 20 * time.Millisecond
	var book stageBook
	c := startCluster(t, clusterOptions{nodes: 1,
		adjust: func(cfg *Config) { cfg.Stages, cfg.StageInterval = book.observe, time.Nanosecond },
		machine: func(codec.NodeID) (StateMachine, *register) {
			sm := newRegister()
			return &slowMachine{register: sm, by: slow}, sm
		},
	})
	c.propose("x")
	until(t, "the log", func() bool { return book.counts()[StageWALSync] == 1 })
	book.mu.Lock()
	defer book.mu.Unlock()
	if book.sum[StageApply] < slow {
		t.Errorf("apply took %v, and the state machine %v", book.sum[StageApply], slow)
	}
	if disk := book.sum[StageWALWrite] + book.sum[StageWALSync]; disk > book.sum[StageQuorum] || disk == 0 {
		t.Errorf("the log took %v of %v to the commit", disk, book.sum[StageQuorum])
	}
	if book.count[StageNetwork] != 0 {
		t.Errorf("told of the network %d times, without peers", book.count[StageNetwork])
	}
}

// slowMachine is a register whose Apply takes a while.
type slowMachine struct {
	*register
	by time.Duration
}

func (m *slowMachine) Apply(entries []Entry, results []Result) error {
	for begun := time.Now(); time.Since(begun) < m.by; { // a state machine at work
	}
	return m.register.Apply(entries, results)
}

// TestStagesOfPutsThatAreLost: those of a leader that is cut off are told up to where they came, and leave nothing behind.
func TestStagesOfPutsThatAreLost(t *testing.T) {
	o := clusterOptions{nodes: 3, memory: true, cables: true}
	books := stageBooks(&o)
	c := startCluster(t, o)
	cut := c.leader()
	book := books[cut.NodeID()]
	c.cable.part([]codec.NodeID{cut.NodeID()}, c.others(cut.NodeID()))
	if _, err := cut.Propose(t.Context(), []byte("x")); !errors.As(err, new(*UnknownError)) {
		t.Fatalf("a put on a leader that is cut off: %v", err)
	}
	if got, want := book.counts(), ([StageEnd]int{StageIntake: 1}); got != want {
		t.Errorf("told of %v, want %v", got, want)
	}
	left := make(chan stageWatch, 1)
	cut.box.post(func(m *mail) { m.asks = append(m.asks, func(l *loop) { left <- l.stages }) })
	if s := <-left; len(s.open) > 0 || len(s.away) > 0 {
		t.Errorf("%+v is left", s)
	}
	c.cable.heal()
	c.propose("y")
	leader := c.leader()
	until(t, "the stages of the next put", func() bool { return books[leader.NodeID()].counts()[StageAnswer] >= 1 })
}

// TestStagesOff: a node that measures nothing keeps nothing for it.
func TestStagesOff(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true})
	leader := c.leader()
	for n := range 100 {
		c.propose(fmt.Sprint(n))
	}
	left := make(chan stageWatch, 1)
	leader.box.post(func(m *mail) { m.asks = append(m.asks, func(l *loop) { left <- l.stages }) })
	if s := <-left; s.open != nil || s.away != nil {
		t.Errorf("%+v is kept", s)
	}
}

// TestStageOfTheNetwork holds frames to the answers that acknowledge them, through all that happens to a lane.
func TestStageOfTheNetwork(t *testing.T) {
	var told []StageTime
	in, err := pipeline.NewIntake(pipeline.IntakeConfig{Sampling: pipeline.Sampling{
		Observe: func(st StageTime) { told = append(told, st) }, Interval: time.Nanosecond,
	}})
	if err != nil {
		t.Fatal(err)
	}
	leader := codec.LeaderID{Term: 1, Node: 1}
	vote := codec.Vote{Leader: leader, Committed: true}
	var s stageWatch
	l := &loop{start: time.Now()}
	submit := func(first codec.Index) codec.FrameMeta {
		if err := in.ProposeAsync(nil, func(Result, error) {}); err != nil {
			t.Fatal(err)
		}
		meta := codec.FrameMeta{Leader: leader, First: first, Count: 1}
		s.submitted(meta, in.Take(nil)[0].Traces())
		return meta
	}
	send := func(to codec.NodeID, meta codec.FrameMeta) { s.sent(&consensus.Send{To: to, Frame: meta}, l) }
	answer := func(from codec.NodeID, index codec.Index, change func(*codec.Message)) {
		m := codec.Message{Kind: codec.MessageAppendReply, Status: codec.StatusOK, Vote: vote, Log: codec.LogID{Leader: leader, Index: index}}
		if change != nil {
			change(&m)
		}
		s.answered(&codec.Packet{Node: from, Message: m}, vote, l.clock())
	}
	want := func(what string, peers ...codec.NodeID) {
		t.Helper()
		var got []codec.NodeID
		for _, st := range told {
			if st.Stage == StageNetwork {
				got = append(got, st.Peer)
			}
		}
		if !slices.Equal(got, peers) {
			t.Errorf("%s: answers of %v, want %v", what, got, peers)
		}
		told = nil
	}
	one, two, three := submit(1), submit(2), submit(3)
	send(2, one)
	send(2, two)
	send(3, one)
	send(2, codec.FrameMeta{})
	send(2, codec.FrameMeta{Leader: leader, First: 9, Count: 1})
	want("sending")
	answer(2, 0, nil)
	answer(2, 2, func(m *codec.Message) { m.Status = codec.StatusConflict })
	answer(2, 2, func(m *codec.Message) { m.Vote.Leader.Term++ })
	answer(2, 2, func(m *codec.Message) { m.Kind = codec.MessageHeartbeatReply })
	want("what acknowledges nothing")
	answer(3, 1, nil)
	answer(2, 2, nil)
	answer(2, 2, nil)
	want("an answer for each, and one for two", 3, 2, 2)
	send(2, two)
	send(2, three)
	send(2, two) // a stream that begins anew
	send(2, three)
	answer(2, 3, nil)
	want("frames that are sent again", 2, 2)
	send(2, three)
	s.lost(2)
	answer(2, 3, nil)
	want("a lane that broke")
	send(2, three)
	s.committed(3)
	send(3, three)
	answer(2, 3, nil)
	answer(3, 3, nil)
	want("a peer that answers after the commit, and one that is sent it then", 2)
	s.end()
}
