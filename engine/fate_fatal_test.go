package engine

import (
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/netio"
)

// TestLeaderThatLeavesTakesNothing: a leader that waits for its own leaving to be committed is no voter any more.
func TestLeaderThatLeavesTakesNothing(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true, cables: true, adjust: sleepy})
	leader := c.leader()
	others := c.others(leader.NodeID())
	all := leader.Membership().Configs[0]
	rest := all
	rest.Voters = others
	c.change(SetConfigs(all, rest))
	c.settle()
	c.cable.part([]codec.NodeID{leader.NodeID()}, others)
	leaving := make(chan error, 1)
	go func() { leaving <- second(leader.ChangeMembership(t.Context(), SetConfigs(rest))) }()
	if _, err := leader.Wait(t.Context(), When("the leader to be no voter", func(m Metrics) bool { return !m.Voter })); err != nil {
		t.Fatal(err)
	}
	c.provoke(
		provocation{"ErrLeaderLeaves", func() error { return second(leader.Barrier(t.Context())) }},
		provocation{"ErrLeaderLeaves", func() error { return leader.TransferLeadership(t.Context(), others[0]) }},
	)
	c.cable.heal()
	if err := <-leaving; err != nil {
		t.Error(err)
	}
}

// TestLogOfAWitness can't become that of an ordinary member.
func TestLogOfAWitness(t *testing.T) {
	c := startCluster(t, withWitness(clusterOptions{nodes: 3, tcp: true}))
	c.propose("x")
	if _, err := c.nodes[3].Wait(t.Context(), CommittedAtLeast(c.leader().Metrics().Last.Index)); err != nil {
		t.Fatal(err)
	}
	again := c.node(3)
	again.Witness = false
	c.change(Remove(3))
	if _, err := c.leader().ChangeMembership(t.Context(), AddLearner(again)); err != nil {
		t.Fatal(err)
	}
	witness, cfg := c.nodes[3], c.cfgs[3]
	within(t, "a witness that was made an ordinary member", witness.Done())
	must(t, witness.Close(), "ErrWitnessLog", FateNotDone)
	delete(c.nodes, 3)
	cfg.Witness = false
	_, err := Open(cfg, newRegister())
	must(t, err, "ErrWitnessLog", FateNotDone)
}

// TestWhatStopsANode: a leader's log that contradicts what is committed here. Callers are told so from then on.
func TestWhatStopsANode(t *testing.T) {
	net := netio.NewNetwork()
	log := MemoryLog()
	r, err := Open(Config{NodeID: 1, ClusterID: "test", Log: log, Transport: net.Transport(1, "test", log.Incarnation()),
		ElectionTimeoutMin: 5 * time.Second, ElectionTimeoutMax: 8 * time.Second}, newRegister())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	peer := newRawPeer(t, net, 2)
	lead := func(term codec.Term, f codec.Frame, commit codec.Index) {
		m := codec.Message{Kind: codec.MessageAppend, Group: theGroup, Stream: 1, Commit: commit,
			Vote: codec.Vote{Leader: codec.LeaderID{Term: term, Node: 2}, Committed: true}}
		peer.net.Send(codec.LaneAppend, []codec.Packet{{Node: 1, Frame: f, Message: m}})
	}
	first := codec.LeaderID{Term: 1, Node: 2}
	lead(1, leaderFrame(t, first, 1, codec.CompressionNone), 1)
	if _, err := r.Wait(t.Context(), AppliedAtLeast(1)); err != nil {
		t.Fatal(err)
	}
	lead(2, leaderFrame(t, codec.LeaderID{Term: 2, Node: 2}, 1, codec.CompressionNone), 0)
	within(t, "the node", r.Done())
	must(t, r.Err(), "consensus.ErrCommittedConflict", FateNotDone)
	_, err = r.ReadIndex(t.Context())
	must(t, err, "ErrStopped", FateNotDone)
	must(t, err, "consensus.ErrCommittedConflict", FateNotDone)
}

// lyingLog says that it holds frames of which the first ones are missing.
type lyingLog struct{ Log }

func (l lyingLog) Group(g codec.GroupID, flushed func(uint64, error)) (GroupLog, codec.LogState, error) {
	group, state, err := l.Log.Group(g, flushed)
	leader := codec.LeaderID{Term: 1, Node: 1}
	state.Vote = codec.Vote{Leader: leader, Committed: true}
	state.Frames = []codec.FrameMeta{{Group: g, Leader: leader, First: 7, Count: 1, Kind: codec.EntryNormal, Size: 100}}
	return group, state, err
}

// TestStorageOfSomebodyElse: logs and snapshots that can't be this node's.
func TestStorageOfSomebodyElse(t *testing.T) {
	snapshots := filepath.Join(t.TempDir(), "snapshots")
	open := func(cluster string, log Log) (*Raft, error) {
		return Open(Config{NodeID: 1, ClusterID: cluster, Log: log, SnapshotDir: snapshots, Snapshot: SnapshotPolicy{Bytes: -1},
			Transport: netio.NewNetwork().Transport(1, cluster, log.Incarnation())}, &keptRegister{register: register{changed: make(chan struct{})}})
	}
	_, err := open("test", lyingLog{MemoryLog()})
	must(t, err, "consensus.ErrLogState", FateNotDone)
	r, err := open("test", MemoryLog())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Initialize(t.Context(), codec.NewMembership(codec.SeveralLeadersPerTerm, codec.Node{ID: 1})); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Wait(t.Context(), Established()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Propose(t.Context(), []byte("x")); err != nil {
		t.Fatal(err)
	}
	export := filepath.Join(t.TempDir(), "export")
	if _, err := r.Export(t.Context(), export); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = open("other", MemoryLog())
	must(t, err, "snapshot.ErrForeign", FateNotDone)

	state, err := OpenExport(export)
	if err != nil {
		t.Fatal(err)
	}
	if err := state.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadAll(state)
	must(t, err, "snapshot.ErrClosed", FateNotDone)
}
