package engine

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/netio"
)

// blindLog is a log that forgets its memory, and can't read its disk, from the moment it is told to.
type blindLog struct {
	Log
	blind atomic.Bool
}

var errBlind = errors.New("the disk can't be read")

func (l *blindLog) Group(g codec.GroupID, flushed func(uint64, error)) (GroupLog, codec.LogState, error) {
	group, state, err := l.Log.Group(g, flushed)
	return &blindGroup{group, &l.blind}, state, err
}

type blindGroup struct {
	GroupLog
	blind *atomic.Bool
}

func (g *blindGroup) Frame(index codec.Index) (codec.Frame, bool) {
	if g.blind.Load() {
		return codec.Frame{}, false
	}
	return g.GroupLog.Frame(index)
}

func (g *blindGroup) ReadFrame(index codec.Index, done func(codec.Frame, error)) {
	if g.blind.Load() {
		done(codec.Frame{}, errBlind)
		return
	}
	g.GroupLog.ReadFrame(index, done)
}

// TestLogThatCantBeRead: who reads it from outside is told so; the node stops once it needs an entry itself.
func TestLogThatCantBeRead(t *testing.T) {
	logs := map[codec.NodeID]*blindLog{}
	c := startCluster(t, clusterOptions{nodes: 3, memory: true, cables: true, adjust: func(cfg *Config) {
		calm(cfg)
		logs[cfg.NodeID] = &blindLog{Log: MemoryLog()}
		cfg.Log = logs[cfg.NodeID]
	}})
	c.propose("a")
	leader := c.leader()
	behind := c.others(leader.NodeID())[0]
	c.cable.part([]codec.NodeID{behind}, c.others(behind))
	c.propose("b")
	logs[leader.NodeID()].blind.Store(true)
	entries, err := readAll(t.Context(), leader, 1, 0)
	if len(entries) > 0 || !errors.Is(err, errBlind) {
		t.Errorf("ReadLog returns %d entries and %v, want none and %v", len(entries), err, errBlind)
	}
	if err := leader.Err(); err != nil {
		t.Fatalf("the leader has stopped with %v", err)
	}
	c.cable.heal() // now a peer needs what the leader's memory has not
	within(t, "a leader that can't read what a peer lacks", leader.Done())
	if err := leader.Close(); !errors.Is(err, errBlind) {
		t.Errorf("it stopped with %v, want %v", err, errBlind)
	}
	delete(c.nodes, leader.NodeID())
	c.propose("c")
	c.agree(3)
}

// TestLogThatCantBeAppliedAtStart: a node that can't read what it has to apply skips none of it.
func TestLogThatCantBeAppliedAtStart(t *testing.T) {
	cfg := Config{NodeID: 1, ClusterID: "test", Dir: t.TempDir(), Listen: "127.0.0.1:0"}
	open := func(blind bool, sm StateMachine) *Raft {
		log, err := openLog(mustDefaults(t, cfg))
		if err != nil {
			t.Fatal(err)
		}
		own := cfg
		own.Dir, own.Log = "", &blindLog{Log: log}
		own.Log.(*blindLog).blind.Store(blind)
		r, err := Open(own, sm)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.Close() })
		return r
	}
	r := open(false, newRegister())
	if err := r.Initialize(t.Context(), codec.NewMembership(codec.SeveralLeadersPerTerm, codec.Node{ID: 1, Address: r.Addr()})); err != nil {
		t.Fatal(err)
	}
	if _, err := r.WaitLeader(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Propose(t.Context(), []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	sm := newRegister()
	r = open(true, sm)
	within(t, "a node that can't read its log", r.Done())
	if err := r.Err(); !errors.Is(err, errBlind) || sm.len() > 0 {
		t.Errorf("it stopped with %v, having applied %d entries", err, sm.len())
	}
}

// TestBytesThatCantBeMeant: what a leader sends that can't be read, or is of another group, is dropped and counted.
func TestBytesThatCantBeMeant(t *testing.T) {
	net := netio.NewNetwork()
	log := MemoryLog()
	r, err := Open(Config{NodeID: 1, ClusterID: "test", Log: log, Transport: net.Transport(1, "test", log.Incarnation()),
		ElectionTimeoutMin: 10 * time.Second, ElectionTimeoutMax: 20 * time.Second}, &keptRegister{register: register{changed: make(chan struct{})}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	leader := codec.LeaderID{Term: 1, Node: 2}
	peer := newRawPeer(t, net, 2)
	send := func(lane codec.Lane, m codec.Message, f codec.Frame, d codec.Data) {
		m.Vote, m.Stream = codec.Vote{Leader: leader, Committed: true}, 1
		peer.net.Send(lane, []codec.Packet{{Node: 1, Message: m, Frame: f, Data: d}})
	}
	membership := func(data []byte) codec.Frame {
		return leaderFrameOf(t, codec.FrameMeta{Group: theGroup, Leader: leader, First: 1, Count: 1, Kind: codec.EntryMembership}, data)
	}
	send(codec.LaneControl, codec.Message{Kind: codec.MessageHeartbeat, Group: theGroup}, codec.Frame{}, codec.Data{})
	if _, err := r.Wait(t.Context(), LeaderIs(2)); err != nil {
		t.Fatal(err)
	}
	members := codec.NewMembership(codec.SeveralLeadersPerTerm, codec.Node{ID: 2, Address: "2"})
	appended := codec.Message{Kind: codec.MessageAppend, Group: theGroup}
	send(codec.LaneAppend, appended, membership([]byte("no membership")), codec.Data{})
	send(codec.LaneAppend, appended, membership(append(codec.AppendMembership(nil, &members), 0)), codec.Data{})
	send(codec.LaneControl, codec.Message{Kind: codec.MessageHeartbeat, Group: theGroup + 1}, codec.Frame{}, codec.Data{})
	send(codec.LaneSnapshot, codec.Message{Kind: codec.MessageSnapshot, Group: theGroup}, codec.Frame{},
		codec.SealData(append(make([]byte, codec.DataHeaderSize), "no piece"...)))
	m, err := r.Wait(t.Context(), When("all of it to be dropped", func(m Metrics) bool { return m.Malformed == 4 }))
	if err != nil || m.Last.Index != 0 {
		t.Errorf("the log reaches %v, %v", m.Last, err)
	}
	send(codec.LaneAppend, appended, membership(codec.AppendMembership(nil, &members)), codec.Data{})
	if _, err := r.Wait(t.Context(), LastAtLeast(1)); err != nil {
		t.Errorf("after all that: %v", err)
	}
}

// leaderFrameOf returns a frame of one entry.
func leaderFrameOf(t *testing.T, meta codec.FrameMeta, data []byte) codec.Frame {
	t.Helper()
	f, err := codec.SealFrame(codec.AppendEntry(make([]byte, codec.FrameHeaderSize), data), meta, codec.CompressionNone)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestPacketsBeyondTheBound are dropped from the first one on that has no room; one alone always has.
func TestPacketsBeyondTheBound(t *testing.T) {
	b := &mailbox{bytesMax: 3 * codec.MessageHeaderSize, wake: make(chan struct{}, 1)}
	packets := make([]codec.Packet, 5)
	b.deliver(packets[:2])
	b.deliver(packets)
	var got mail
	b.take(&got)
	if len(got.packets) != 3 || b.droppedPackets() != 4 {
		t.Errorf("%d packets wait, %d were dropped; want 3 and 4", len(got.packets), b.droppedPackets())
	}
	b.bytesMax = 1
	b.deliver(packets[:1])
	b.take(&got)
	if len(got.packets) != 1 || b.droppedPackets() != 4 {
		t.Errorf("%d packets wait, %d were dropped; want the one, and 4 as before", len(got.packets), b.droppedPackets())
	}
}

// TestImpostorThatWasLetIn: a membership names another disk than the one that had come by an id. From then on nothing of
// that one is taken.
func TestImpostorThatWasLetIn(t *testing.T) {
	net := netio.NewNetwork()
	log := MemoryLog()
	r, err := Open(Config{NodeID: 1, ClusterID: "test", Log: log, Transport: net.Transport(1, "test", log.Incarnation()),
		ElectionTimeoutMin: 10 * time.Second, ElectionTimeoutMax: 20 * time.Second}, newRegister())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	impostor, leader := newRawPeer(t, net, 2), newRawPeer(t, net, 3)
	vote := codec.Vote{Leader: codec.LeaderID{Term: 1, Node: 3}, Committed: true}
	hello := codec.Packet{Node: 1, Message: codec.Message{Kind: codec.MessageVote, Group: theGroup + 1}}
	impostor.net.Send(codec.LaneControl, []codec.Packet{hello})
	if _, err := r.Wait(t.Context(), When("the impostor to be let in", func(m Metrics) bool { return m.Malformed == 1 })); err != nil {
		t.Fatal(err)
	}
	members := codec.NewMembership(codec.SeveralLeadersPerTerm, codec.Node{ID: 1, Address: "1", Incarnation: log.Incarnation()},
		codec.Node{ID: 2, Address: "2", Incarnation: codec.Incarnation{99}}, codec.Node{ID: 3, Address: "3", Incarnation: codec.Incarnation{3}})
	f := leaderFrameOf(t, codec.FrameMeta{Group: theGroup, Leader: vote.Leader, First: 1, Count: 1, Kind: codec.EntryMembership},
		codec.AppendMembership(nil, &members))
	leader.net.Send(codec.LaneAppend, []codec.Packet{{Node: 1, Frame: f,
		Message: codec.Message{Kind: codec.MessageAppend, Group: theGroup, Vote: vote, Stream: 1}}})
	if _, err := r.Wait(t.Context(), MembershipHas(1, 2, 3)); err != nil {
		t.Fatal(err)
	}
	before := r.Metrics()
	impostor.net.Send(codec.LaneControl, []codec.Packet{hello})
	if m, err := r.Wait(t.Context(), When("its message to be dropped", func(m Metrics) bool { return m.Untrusted > before.Untrusted })); err != nil || m.Malformed != 1 {
		t.Errorf("it is heard: %d malformed, %v", m.Malformed, err)
	}
}
