package target

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/cluster_benchmark/load"
	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/safety"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/pipeline"
)

// play plays an event of a cluster while clients put, and checks that nothing was lost.
func play(t *testing.T, s setting.Scenario, duration, over time.Duration) ([]result.Event, *cluster, error) {
	t.Helper()
	s.Nodes, s.Clients, s.Inflight, s.Batch, s.Payload = 3, 4, 1, 1, 16
	opened, _ := open(t, setting.Millrace, s)
	c := opened.(*cluster)
	run := load.Start(load.Config{Clients: 4, Inflight: 1, Batch: 1, Payload: 16, Duration: time.Minute}, c)
	ctx, cancel := context.WithTimeout(t.Context(), over)
	defer cancel()
	events, failure := c.Play(ctx, duration)
	run.Stop()
	if !run.Drain(t.Context()) {
		t.Fatal("clients still wait")
	}
	if err := c.Settle(t.Context()); err != nil {
		t.Error(err)
	}
	c.Counters()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if v := safety.Check(run.Measurement().Books, c.Replicas(), nil); !v.OK {
		t.Errorf("safety: %+v", v)
	}
	return events, c, failure
}

// TestLeaderKill: another node leads, which acknowledges, and the killed one comes back with its log and catches up.
func TestLeaderKill(t *testing.T) {
	for _, network := range []string{setting.NetInproc, setting.NetTCP} {
		t.Run(network, func(t *testing.T) {
			s := setting.Scenario{Store: setting.StoreWAL, Net: network, Event: setting.EventLeaderKill}
			events, c, err := play(t, s, 800*time.Millisecond, time.Minute)
			if err != nil || len(events) != 1 {
				t.Fatalf("%+v, %v", events, err)
			}
			e := events[0]
			// Followers take a leader for dead after a second at the least.
			if e.Kind != setting.EventLeaderKill || e.At < 0.2 || e.Recovery < 500 || e.Took < e.Recovery || e.Rejoined <= 0 || e.Node == 0 {
				t.Errorf("%+v", e)
			}
			if k := c.former; len(k) != 1 || k[0].node.NodeID() != codec.NodeID(e.Node) || c.members[e.Node-1].node == k[0].node {
				t.Errorf("node %d was not replaced: %+v", e.Node, k)
			}
		})
	}
}

// TestLeaderKillWithoutRecovery: when the measured time is over first, that is said, and the node comes back all the same.
func TestLeaderKillWithoutRecovery(t *testing.T) {
	s := setting.Scenario{Store: setting.StoreWAL, Net: setting.NetInproc, Event: setting.EventLeaderKill}
	events, c, err := play(t, s, 100*time.Millisecond, 100*time.Millisecond)
	if !errors.Is(err, ErrOver) || len(events) != 1 || events[0].Recovery != 0 || len(c.former) != 1 {
		t.Errorf("%+v, %v, want %v", events, err, ErrOver)
	}
}

// TestKillIsNotRecovery: what the killed leader still answers is no sign of life, and the first sign counts.
func TestKillIsNotRecovery(t *testing.T) {
	killed, other := &engine.Raft{}, &engine.Raft{}
	synctest.Test(t, func(t *testing.T) {
		var none *kill
		none.acknowledged(other)
		k := &kill{leader: killed, at: time.Now(), next: make(chan float64, 1)}
		k.acknowledged(killed)
		time.AfterFunc(2*time.Second, func() { k.acknowledged(other); k.acknowledged(other) })
		if got := <-k.next; got != 2000 || len(k.next) != 0 {
			t.Errorf("next put after %v ms, want 2000", got)
		}
	})
}

// TestSlowFollower: syncs of one follower are answered late while puts go on.
func TestSlowFollower(t *testing.T) {
	for _, store := range []string{setting.StoreMemory, setting.StoreWAL} {
		t.Run(store, func(t *testing.T) {
			s := setting.Scenario{Store: store, Net: setting.NetInproc, Event: setting.EventSlowFollower}
			events, c, err := play(t, s, 1200*time.Millisecond, time.Minute)
			if err != nil || len(events) != 1 {
				t.Fatalf("%+v, %v", events, err)
			}
			// 600 ms have room for five syncs of 100 ms.
			if e := events[0]; e.Kind != setting.EventSlowFollower || e.At < 0.3 || e.Took < 500 || e.Held == 0 || e.Held > uint64(e.Took)/100 || e.Behind == 0 || e.Recovery <= 0 {
				t.Errorf("%+v", e)
			}
			held := 0
			for _, m := range c.members {
				if m.disk.held > 0 {
					held++
				}
			}
			if held != 1 {
				t.Errorf("%d disks were slow", held)
			}
		})
	}
}

// TestEventsOfAShortTime: what has no time to happen did not, and leaves nothing behind.
func TestEventsOfAShortTime(t *testing.T) {
	for _, event := range setting.Events()[1:] {
		s := setting.Scenario{Store: setting.StoreMemory, Net: setting.NetInproc, Event: event.Name}
		if events, c, err := play(t, s, time.Hour, 10*time.Millisecond); !errors.Is(err, ErrOver) || len(events) != 0 || len(c.former)+len(c.joined) != 0 {
			t.Errorf("%s: %+v, %v, want %v", event.Name, events, err, ErrOver)
		}
	}
}

// TestSnapshots: every node takes two while puts go on; then a learner is sent one, and goes on from there as the others do.
func TestSnapshots(t *testing.T) {
	for _, network := range []string{setting.NetInproc, setting.NetTCP} {
		t.Run(network, func(t *testing.T) {
			s := setting.Scenario{Store: setting.StoreMemory, Net: network, Event: setting.EventSnapshot}
			events, c, err := play(t, s, 200*time.Millisecond, time.Minute)
			if err != nil || len(events) != 3 {
				t.Fatalf("%+v, %v", events, err)
			}
			for _, e := range events[:2] {
				if e.Kind != setting.EventSnapshot || e.Took <= 0 || e.Bytes < 3*ballastBytes || e.Bytes > 3*ballastBytes*21/20 {
					t.Errorf("%+v", e)
				}
			}
			for _, m := range c.members {
				if got := m.node.Metrics().Snapshots; got.Taken != 2 || got.Newest.Index == 0 || got.Purged.Index == 0 {
					t.Errorf("%+v", got)
				}
			}
			e := events[2]
			if e.Kind != result.Learner || e.Node != 4 || e.Installed <= 0 || e.Recovery < e.Installed || e.Took < e.Recovery || e.Bytes < ballastBytes || e.Bytes > ballastBytes*21/20 {
				t.Errorf("%+v", e)
			}
			if len(c.joined) != 1 || len(c.Replicas()) != 4 || c.joined[0].node.Metrics().Snapshots.Installed != 1 || c.joined[0].machine.Last() != c.members[0].machine.Last() {
				t.Errorf("learners %+v", c.joined)
			}
		})
	}
}

// TestLearnerWithoutTime: one that was sent nothing when the measured time was over is told of, and is a node like the others
// at the end; nobody reads there.
func TestLearnerWithoutTime(t *testing.T) {
	s := setting.Scenario{Store: setting.StoreMemory, Net: setting.NetInproc, Event: setting.EventSnapshot, Nodes: 3, Clients: 1, Payload: 16, ReadRatio: 0.5, Read: setting.ReadFollower}
	opened, _ := open(t, setting.Millrace, s)
	c := opened.(*cluster)
	put(t, opened, 1, 10, 16)
	if err := c.snapshot(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	leader := c.leading().node
	go func() {
		defer cancel()
		_, _ = leader.Wait(t.Context(), engine.When("a learner", func(m engine.Metrics) bool {
			_, ok := m.Membership.Node(4)
			return ok && m.Membership.Committed
		}))
	}()
	e, err := c.playLearner(&stage{ctx: ctx, begun: time.Now(), duration: time.Hour})
	if !errors.Is(err, ErrOver) || e.Kind != result.Learner || e.Installed != 0 || e.Recovery != 0 {
		t.Errorf("%+v, %v, want %v", e, err, ErrOver)
	}
	for client := range 6 {
		reader, err := c.Reader(client)
		if err != nil || reader.(linearizable).node.NodeID() == 4 {
			t.Errorf("client %d reads at %+v, %v", client, reader, err)
		}
	}
	if err := errors.Join(c.Settle(t.Context()), c.Close()); err != nil {
		t.Error(err)
	}
}

// TestNodesArePrepared: snapshots lie on disk, whatever the store; a leader that is killed does not end as a closed one does.
func TestNodesArePrepared(t *testing.T) {
	c := &cluster{scenario: setting.Scenario{Event: setting.EventSnapshot}, dir: "data"}
	var cfg engine.Config
	cfg.NodeID = 2
	if state := c.arm(&cfg, &member{}); cfg.SnapshotDir != "data/node-2-snapshots" || cfg.Snapshot.Bytes >= 0 {
		t.Errorf("%T, %q, %+v", state, cfg.SnapshotDir, cfg.Snapshot)
	}
	c.scenario.Event = setting.EventLeaderKill
	var killed engine.Config
	if c.arm(&killed, &member{}); killed.CloseTimeout != killTimeout || killTimeout > time.Microsecond || !killed.NoLeaderRestore || killed.SnapshotDir != "" {
		t.Errorf("a node that is killed still answers what it has taken, or leads again: %+v", killed)
	}
	c.scenario.Event = ""
	var plain engine.Config
	m := &member{machine: safety.NewMachine(1, 16)}
	if _, ok := c.arm(&plain, m).(pipeline.Snapshotter); ok || plain.Log != nil || m.disk != nil {
		t.Error("a cluster without an event is prepared for one")
	}
}

// TestStateTravels: what a machine captured makes another one the same, and less or more than that is refused.
func TestStateTravels(t *testing.T) {
	from := &portable{safety.NewMachine(1, 16)}
	book := safety.NewBook(0, 16)
	data := make([]byte, 16)
	for index := range codec.Index(5) {
		book.Acknowledge(book.Issue(data), codec.LogID{Index: index + 1})
		if err := from.Apply([]pipeline.Entry{{ID: codec.LogID{Index: index + 1}, Data: data}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	source, err := from.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	var written bytes.Buffer
	if n, err := source.WriteTo(&written); err != nil || n != int64(written.Len()) || n < ballastBytes {
		t.Fatalf("%d bytes, %v", n, err)
	}
	to := &portable{safety.NewMachine(1, 16)}
	if err := to.Restore(bytes.NewReader(written.Bytes())); err != nil || to.Last() != 5 {
		t.Errorf("restored up to %d, %v", to.Last(), err)
	}
	if v := safety.Check([]*safety.Book{&book}, []*safety.Machine{from.Machine, to.Machine}, nil); !v.OK {
		t.Errorf("%+v", v)
	}
	for name, bad := range map[string]io.Reader{
		"nothing":  bytes.NewReader(nil),
		"cut":      bytes.NewReader(written.Bytes()[:written.Len()-1]),
		"cut soon": bytes.NewReader(written.Bytes()[:9]),
		"more":     io.MultiReader(bytes.NewReader(written.Bytes()), bytes.NewReader([]byte{1})),
	} {
		if err := (&portable{safety.NewMachine(1, 16)}).Restore(bad); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// fastLog makes all durable when it is told to.
type fastLog struct {
	engine.Log
	flushed func(uint64, error)
}

func (f *fastLog) Group(_ codec.GroupID, flushed func(uint64, error)) (engine.GroupLog, codec.LogState, error) {
	f.flushed = flushed
	return nil, codec.LogState{}, nil
}

func (f *fastLog) Close() error { return nil }

// report is what a disk has said, and when.
type report struct {
	seq uint64
	at  time.Duration
	err error
}

// TestSlowDisk: one sync at a time, each late, for all that was written before it began; as it was, nothing waits.
func TestSlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &fastLog{}
		d := &slowDisk{Log: log}
		begun := time.Now()
		var mu sync.Mutex
		var told []report
		if _, _, err := d.Group(1, func(seq uint64, err error) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, report{seq, time.Since(begun), err})
		}); err != nil {
			t.Fatal(err)
		}
		at := func(ms int, do func()) { time.AfterFunc(time.Duration(ms)*time.Millisecond, do) }
		broken := errors.New("broken")
		log.flushed(1, nil)
		at(10, func() { d.set(true); log.flushed(2, nil) })
		at(20, func() { log.flushed(3, nil) })
		at(30, func() { log.flushed(4, nil) })
		at(220, func() { log.flushed(5, nil) })
		at(230, func() { log.flushed(6, nil) })
		at(240, func() { d.set(false) })
		at(250, func() { log.flushed(7, nil) })
		at(260, func() { d.set(true); log.flushed(8, nil); log.flushed(0, broken) })
		timer := time.NewTimer(time.Second)
		<-timer.C
		synctest.Wait()
		ms := time.Millisecond
		want := []report{{1, 0, nil}, {2, 110 * ms, nil}, {4, 210 * ms, nil}, {6, 240 * ms, nil}, {7, 250 * ms, nil}, {0, 260 * ms, broken}}
		if !slices.Equal(told, want) || d.held != 2 {
			t.Errorf("told %v, held %d\nwant %v, 2", told, d.held, want)
		}
		log.flushed(9, nil)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		log.flushed(10, nil)
		d.set(false)
		timer.Reset(time.Second)
		<-timer.C
		synctest.Wait()
		if len(told) != len(want) {
			t.Errorf("told %v after Close", told[len(want):])
		}
	})
}
