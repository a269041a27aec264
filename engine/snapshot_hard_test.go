package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
	"github.com/millrace/millrace/wal/vfs"
)

// TestManyPeersAreSentSnapshots five learners at once, two at a time (S8).
func TestManyPeersAreSentSnapshots(t *testing.T) {
	o, _ := kept(clusterOptions{nodes: 1, tcp: true, adjust: func(cfg *Config) {
		quiet(cfg)
		cfg.SnapshotChunkBytes, cfg.SnapshotWindowBytes, cfg.SnapshotBytesPerSecond = 4<<10, 16<<10, 400<<10
	}})
	c := startCluster(t, o)
	c.fill(50)
	var changes []Change
	for id := codec.NodeID(2); id <= 6; id++ {
		changes = append(changes, AddLearner(c.add(id)))
		c.close(id)
	}
	if _, err := c.nodes[1].ChangeMembership(t.Context(), changes...); err != nil {
		t.Fatal(err)
	}
	c.purge(1)
	for id := codec.NodeID(2); id <= 6; id++ {
		c.open(id)
	}
	most := 0
	until(t, "all to install it", func() bool {
		now := 0
		for _, s := range c.nodes[1].Metrics().Snapshots.Sending {
			if !s.Began.IsZero() {
				now++
			}
		}
		most = max(most, now)
		for id := codec.NodeID(2); id <= 6; id++ {
			if c.nodes[id].Metrics().Snapshots.Installed == 0 {
				return false
			}
		}
		return true
	})
	c.agree(50)
	if most != 2 {
		t.Fatalf("up to %d were sent it at once, want 2", most)
	}
}

// TestOnDiskPeersAreSentAState: the files kept for an on-disk state machine have none, so that one is made.
func TestOnDiskPeersAreSentAState(t *testing.T) {
	o, disks := onDisks(clusterOptions{nodes: 3, tcp: true, adjust: quiet})
	c := startCluster(t, o)
	leader := c.leader().NodeID()
	away := c.others(leader)[0]
	c.propose("first")
	c.agree(1)
	c.close(away)
	c.fill(30)
	c.purge(c.others(away)...)
	c.open(away)
	c.agree(31)
	if m := c.nodes[away].Metrics().Snapshots; disks[away].restores != 1 || m.Installed != 1 {
		t.Fatalf("the follower restored %d states: %+v", disks[away].restores, m)
	}
	c.close(away)
	c.open(away)
	c.propose("after the restart")
	c.agree(32)
	if disks[away].restores != 1 {
		t.Fatalf("%d states were restored, want none at the restart: the state machine holds it", disks[away].restores)
	}
	// It loses its disk, and still has the file with the state.
	c.close(away)
	delete(disks, away)
	c.open(away)
	c.agree(32)
	if disks[away].restores != 1 {
		t.Fatalf("%d states were restored, want the one that was sent", disks[away].restores)
	}
}

// snapshotFiles returns the paths of a node's snapshots, oldest first.
func (c *cluster) snapshotFiles(id codec.NodeID) (paths []string) {
	c.t.Helper()
	dir := filepath.Join(c.cfgs[id].Dir, "snapshot", "1")
	if c.net != nil || c.cable != nil {
		dir = filepath.Join(c.cfgs[id].Dir, "snapshots", "1")
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, n := range names {
		if strings.HasSuffix(n.Name(), ".snapshot") {
			paths = append(paths, filepath.Join(dir, n.Name()))
		}
	}
	return paths
}

// rot flips a bit in the middle of a file.
func rot(t testing.TB, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestNodeWithoutAnIntactSnapshotAsksItsLeader: the log does not reach back to what is damaged (S7). Until it gets one it
// applies nothing, and counts for commits all the same.
func TestNodeWithoutAnIntactSnapshotAsksItsLeader(t *testing.T) {
	for _, kind := range []string{"rot", "gone"} {
		t.Run(kind, func(t *testing.T) {
			o, machines := kept(clusterOptions{nodes: 3, tcp: true, adjust: quiet})
			c := startCluster(t, o)
			leader := c.leader().NodeID()
			hurt, other := c.others(leader)[0], c.others(leader)[1]
			c.fill(20)
			c.agree(20)
			c.purge(hurt)
			c.fill(5)
			c.close(hurt)
			for _, path := range c.snapshotFiles(hurt) {
				if kind == "rot" {
					rot(t, path)
				} else if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
			// The leader has no snapshot at all yet: one is taken for the node that asks.
			c.close(other) // the hurt node is needed for commits
			c.open(hurt)
			c.propose("with the node that waits")
			c.sms[hurt].await(t, 26)
			c.open(other)
			c.agree(26)
			m := c.nodes[hurt].Metrics()
			if m.Snapshots.Wanted || m.Snapshots.Installed != 1 || machines[hurt].restores != 1 {
				t.Fatalf("%+v", m.Snapshots)
			}
			if m := c.nodes[leader].Metrics().Snapshots; m.Taken != 1 {
				t.Fatalf("the leader took %d snapshots, want 1 for the node that asked", m.Taken)
			}
		})
	}
}

// TestPiecesOfAStaleLeaderAreRefused, and those of whom this node does not follow.
func TestPiecesOfAStaleLeaderAreRefused(t *testing.T) {
	o, _ := kept(clusterOptions{nodes: 3, memory: true, adjust: quiet})
	c := startCluster(t, o)
	c.propose("x")
	c.agree(1)
	leader := c.leader()
	follower := c.nodes[c.others(leader.NodeID())[0]]
	vote := leader.Metrics().Vote
	at := codec.LogID{Leader: vote.Leader, Index: 100}
	chunk := codec.AppendSnapshotChunk(make([]byte, codec.DataHeaderSize),
		&codec.SnapshotChunk{ID: codec.SnapshotID{Log: at, Size: 1000}, Bytes: make([]byte, 10)})
	piece := codec.Packet{
		Node: leader.NodeID(), Data: codec.SealData(chunk),
		Message: codec.Message{Kind: codec.MessageSnapshot, Group: theGroup, Vote: vote, Log: at, Mode: codec.SeveralLeadersPerTerm},
	}
	give := func(change func(*codec.Packet)) {
		p := piece
		change(&p)
		follower.box.post(func(m *mail) { m.asks = append(m.asks, func(l *loop) { l.receive(&p) }) })
	}
	give(func(p *codec.Packet) { p.Message.Vote.Leader.Term-- })
	give(func(p *codec.Packet) { p.Message.Vote.Leader.Term++ })
	give(func(p *codec.Packet) { p.Message.Vote.Committed = false })
	give(func(p *codec.Packet) { p.Node = c.others(leader.NodeID())[1] })
	give(func(p *codec.Packet) {})
	var m ShipmentMetrics
	until(t, "the leader's piece", func() bool { m = follower.Metrics().Snapshots.Receiving; return m.Moved > 0 })
	if m.Moved != 10 || m.Peer != leader.NodeID() {
		t.Fatalf("%+v, want the 10 bytes of the leader's piece alone", m)
	}
}

// TestSendingToAPeerThatIsGone ends by itself, holds up neither commits nor Close, and keeps no entries for ever (S8).
func TestSendingToAPeerThatIsGone(t *testing.T) {
	o, _ := kept(clusterOptions{nodes: 3, tcp: true, adjust: func(cfg *Config) {
		quiet(cfg)
		cfg.SnapshotChunkBytes, cfg.SnapshotWindowBytes, cfg.SnapshotBytesPerSecond = 4<<10, 16<<10, 100<<10
	}})
	c := startCluster(t, o)
	leader := c.leader().NodeID()
	away := c.others(leader)[0]
	c.close(away)
	c.fill(50)
	c.purge(leader)
	c.open(away)
	until(t, "some of it", func() bool { return c.nodes[away].Metrics().Snapshots.Receiving.Held >= 8<<10 })
	c.close(away)
	c.fill(5)
	until(t, "the log to be purged although it was held for the peer", func() bool {
		at := c.snapshot(leader)
		c.propose("x")
		return c.nodes[leader].Metrics().Snapshots.Purged == at
	})
	began := time.Now()
	c.close(leader)
	if took := time.Since(began); took > 5*time.Second {
		t.Fatalf("Close took %v", took)
	}
}

// TestDamagedSnapshotIsNotSentAgain: the peer finds out, the leader looks at its own, and sends another one.
func TestDamagedSnapshotIsNotSentAgain(t *testing.T) {
	o, _ := kept(clusterOptions{nodes: 3, tcp: true, adjust: quiet})
	c := startCluster(t, o)
	leader := c.leader().NodeID()
	away := c.others(leader)[0]
	c.close(away)
	c.fill(50)
	c.purge(leader)
	rot(t, c.snapshotFiles(leader)[0])
	c.open(away)
	c.agree(50)
	if m := c.nodes[leader].Metrics().Snapshots; m.Taken != 2 {
		t.Fatalf("the leader took %d snapshots, want another one for the peer", m.Taken)
	}
}

// TestFullDiskOfAReceiver: it refuses, and gets the snapshot when there is room.
func TestFullDiskOfAReceiver(t *testing.T) {
	var full atomic.Bool
	disk := vfs.NewFault(vfs.NewMem())
	disk.InjectIf(vfs.OpWrite, full.Load, vfs.Fail, syscall.ENOSPC)
	var away codec.NodeID
	o, _ := kept(clusterOptions{nodes: 3, tcp: true, adjust: func(cfg *Config) {
		quiet(cfg)
		if cfg.NodeID == 3 {
			cfg.SnapshotFS, cfg.SnapshotDir = disk, "/snapshots"
		}
	}})
	c := startCluster(t, o)
	if away = 3; c.leader().NodeID() == away {
		if err := c.leader().TransferLeadership(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
	}
	leader := c.leader().NodeID()
	c.close(away)
	c.fill(30)
	c.purge(leader)
	full.Store(true)
	c.open(away)
	until(t, "the receiver to meet its full disk twice", func() bool { return disk.Injected() >= 2 })
	c.propose("meanwhile")
	full.Store(false)
	c.agree(31)
}

// TestSlowTransferUnderLoad: the leader snapshots and purges faster than one travels, and yet the peer gets there (S8).
func TestSlowTransferUnderLoad(t *testing.T) {
	o, _ := kept(clusterOptions{nodes: 3, tcp: true, adjust: func(cfg *Config) {
		calm(cfg)
		cfg.Snapshot, cfg.Keep = SnapshotPolicy{Entries: 20}, LogKeep{Entries: -1}
		cfg.SnapshotChunkBytes, cfg.SnapshotWindowBytes, cfg.SnapshotBytesPerSecond = 4<<10, 16<<10, 100<<10
	}})
	c := startCluster(t, o)
	leader := c.leader()
	away := c.others(leader.NodeID())[0]
	c.close(away)
	c.fill(100)
	c.taken(leader.NodeID(), 1)
	stop, load := make(chan struct{}), make(chan int, 1)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				load <- n
				return
			default:
			}
			if _, err := leader.Propose(t.Context(), []byte("small")); err != nil {
				t.Errorf("put %d: %v", n, err)
				load <- n
				return
			}
		}
	}()
	before := leader.Metrics().Snapshots.Taken
	c.open(away)
	until(t, "the follower to catch up", func() bool {
		for _, p := range leader.Metrics().Peers {
			if p.Node == away {
				return p.CaughtUp && c.nodes[away].Metrics().Snapshots.Installed > 0
			}
		}
		return false
	})
	close(stop)
	n := <-load
	c.agree(100 + n)
	if m := leader.Metrics().Snapshots; m.Taken-before < 3 {
		t.Fatalf("%d snapshots were taken meanwhile, want several", m.Taken-before)
	}
	t.Logf("%d snapshots meanwhile, %d installed", leader.Metrics().Snapshots.Taken-before, c.nodes[away].Metrics().Snapshots.Installed)
}

// TestProposalsCoveredByASnapshot: a leader that is cut off accepts what is never committed; what it gets then is a snapshot.
// Everybody is answered (C8).
func TestProposalsCoveredByASnapshot(t *testing.T) {
	o, _ := kept(clusterOptions{nodes: 3, tcp: true, cables: true, adjust: quiet})
	c := startCluster(t, o)
	c.propose("first")
	c.agree(1)
	old := c.leader()
	c.isolate(old.NodeID())
	const waiting = 50
	answers := make(chan error, waiting)
	for n := range waiting {
		if err := old.ProposeAsync(fmt.Append(nil, "lost", n), func(_ Result, err error) { answers <- err }); err != nil {
			t.Fatal(err)
		}
	}
	next := c.awaitLeaderAmong(c.others(old.NodeID()))
	for n := range 2 * waiting {
		if _, err := next.Propose(t.Context(), fmt.Append(nil, "kept", n)); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range c.others(old.NodeID()) {
		c.sms[id].await(t, 2*waiting+1)
	}
	c.purge(c.others(old.NodeID())...)
	c.cable.heal()
	for range waiting {
		err := <-answers
		var unknown *UnknownError
		if !errors.As(err, &unknown) && !errors.As(err, new(*NotLeaderError)) {
			t.Fatalf("a proposal of the old leader was answered with %v", err)
		}
	}
	c.agree(2*waiting + 1)
	if m := old.Metrics(); m.Snapshots.Installed != 1 || m.Role == consensus.Leader {
		t.Fatalf("the old leader: %+v", m.Snapshots)
	}
}

// TestSnapshotForAStateMachineThatCannotTakeIt: the node is refused nothing but the snapshot, and the others go on.
func TestSnapshotForAStateMachineThatCannotTakeIt(t *testing.T) {
	o, machines := kept(clusterOptions{nodes: 3, tcp: true, adjust: quiet})
	able := o.machine
	o.machine = func(id codec.NodeID) (StateMachine, *register) {
		if id == 3 {
			sm := newRegister()
			return sm, sm
		}
		return able(id)
	}
	c := startCluster(t, o)
	if c.leader().NodeID() == 3 {
		if err := c.leader().TransferLeadership(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
	}
	leader := c.leader().NodeID()
	c.close(3)
	c.fill(20)
	c.purge(leader)
	c.open(3)
	until(t, "the sending to fail twice", func() bool {
		tries := make(chan time.Duration, 1)
		c.nodes[leader].box.post(func(m *mail) {
			m.asks = append(m.asks, func(l *loop) {
				if s := l.keeper.sends[3]; s != nil {
					tries <- s.backoff
				} else {
					tries <- 0
				}
			})
		})
		return <-tries > sendRetryMin
	})
	c.propose("without it")
	if machines[leader].await(t, 21); c.sms[3].len() != 0 {
		t.Fatal("node 3 applied something")
	}
}

// TestCloseWhileASnapshotIsOnItsWay at either end, while one waits for the byte rate.
func TestCloseWhileASnapshotIsOnItsWay(t *testing.T) {
	o, _ := kept(clusterOptions{nodes: 3, tcp: true, adjust: func(cfg *Config) {
		quiet(cfg)
		cfg.SnapshotChunkBytes, cfg.SnapshotWindowBytes, cfg.SnapshotBytesPerSecond = 16<<10, 64<<10, 1<<10
	}})
	c := startCluster(t, o)
	leader := c.leader().NodeID()
	away := c.others(leader)[0]
	c.close(away)
	c.fill(50)
	c.purge(leader)
	c.open(away)
	until(t, "the first chunk", func() bool { return c.nodes[away].Metrics().Snapshots.Receiving.Held > 0 })
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for _, id := range []codec.NodeID{leader, away} {
		closed := make(chan struct{})
		go func() { c.close(id); close(closed) }()
		select {
		case <-closed:
		case <-ctx.Done():
			t.Fatalf("node %d does not close", id)
		}
	}
}
