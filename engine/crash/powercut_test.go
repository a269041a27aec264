package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/netio"
	"github.com/millrace/millrace/wal"
	"github.com/millrace/millrace/wal/vfs"
)

// grid is a cluster in this process whose nodes' disks can lose power. It lives in a synctest bubble.
//
// Owner: the test's goroutine; clients reach the nodes through seats.
type grid struct {
	r        *rand.Rand
	net      *netio.Network
	seats    seats
	disks    [3]*powerDisk
	machines []*machine
	book     *book
	opened   int // lives of nodes, the failed ones included
	cuts     int
	repairs  int // cuts that fell into the opening of a node
	deposed  int // leaders cut off
	taken    int // bytes
	takers   int // cuts that took any
	journal  journal

	keeps     bool // snapshots
	policy    engine.SnapshotPolicy
	kept      engine.LogKeep
	snapshots uint64
	installs  uint64
}

func newGrid(seed uint64) *grid {
	g := &grid{r: rand.New(rand.NewPCG(seed, 0)), net: netio.NewNetwork(), machines: make([]*machine, 3), book: newBook()}
	for i := range g.disks {
		g.insert(i, vfs.NewMem())
	}
	return g
}

// insert gives a node a disk, which is fast, or slow, or so slow that a quorum of the others commits without it.
func (g *grid) insert(i int, mem *vfs.Mem) {
	slow := []time.Duration{0, 2 * time.Millisecond, 20 * time.Millisecond}[g.r.IntN(3)]
	g.disks[i] = newPowerDisk(mem, slow, g.r.Uint64())
}

// open starts a node on its disk.
func (g *grid) open(i int) error {
	g.opened++
	id := codec.NodeID(i + 1)
	log, err := wal.OpenSimulation(memConfig(id), wal.Simulation{FS: g.disks[i], Random: rand.NewChaCha8([32]byte{byte(i)})})
	if err != nil {
		return err
	}
	cfg := nodeConfig(id, uint64(g.opened)*10)
	cfg.Log, cfg.Transport = simLog{log}, g.net.Transport(id, clusterID, log.Incarnation())
	cfg.Logger = g.journal.logger(i+1, g.opened)
	g.machines[i] = newMachine()
	var sm engine.StateMachine = g.machines[i]
	if g.keeps {
		g.keep(i, &cfg)
		sm = keptMachine{g.machines[i]}
	}
	n, err := engine.Open(cfg, sm)
	if err != nil {
		return err
	}
	g.seats[i].Store(n)
	return nil
}

// found opens all nodes for the first time and makes them a cluster.
func (g *grid) found(ctx context.Context) error {
	for i := range g.disks {
		if err := g.open(i); err != nil {
			return err
		}
	}
	return g.initialize(ctx)
}

// initialize makes the nodes a cluster.
func (g *grid) initialize(ctx context.Context) error {
	var members []codec.Node
	for i := range g.seats {
		n := g.seats[i].Load()
		members = append(members, codec.Node{ID: n.NodeID(), Address: n.Addr()})
	}
	return g.seats[0].Load().Initialize(ctx, codec.NewMembership(codec.SeveralLeadersPerTerm, members...))
}

// victims chooses who loses power: one node, preferably the leader, two, or all; in random order.
func (g *grid) victims() []int {
	all := g.r.Perm(3)
	switch n := g.r.IntN(4); n {
	case 0:
		for i := range g.seats {
			if l, ok := g.seats[i].Load().Leader(); ok && l.ID == codec.NodeID(i+1) {
				return []int{i}
			}
		}
		return all[:1]
	default:
		return all[:n]
	}
}

// cut cuts the power of the victims: of the first at a random operation, or after a while in which it had nothing to do,
// as a node that is cut off may; of the others right then.
func (g *grid) cut(ctx context.Context, victims []int) error {
	first := g.disks[victims[0]]
	first.cutAt(1 + g.r.IntN(60))
	select {
	case <-first.tripped:
	case <-time.After(100 * time.Millisecond):
	case <-ctx.Done():
		return ctx.Err()
	}
	for _, i := range victims {
		g.disks[i].cut()
	}
	g.cuts += len(victims)
	return nil
}

// check holds what the logs would be after the cut, and those of the nodes that have power as if theirs were cut now,
// against what was acknowledged. It returns the victims' disks with the power back.
func (g *grid) check(victims []int) (map[int]*vfs.Mem, error) {
	promised := g.book.promises()
	left, logs := map[int]*vfs.Mem{}, map[codec.NodeID]diskLog{}
	for i, d := range g.disks {
		crash := vfs.LoseAll()
		if contains(victims, i) {
			crash = vfs.RandomCrash(g.r.Uint64())
		}
		disk, taken, err := d.afterCut(crash)
		if err != nil {
			return nil, err
		}
		if contains(victims, i) {
			left[i] = disk
			g.count(taken)
		}
		if g.keeps {
			if err := checkKept(codec.NodeID(i+1), disk); err != nil {
				return nil, fmt.Errorf("node %d after %+v: %w", i+1, crash, err)
			}
			continue
		}
		if logs[codec.NodeID(i+1)], err = readLog(codec.NodeID(i+1), disk); err != nil {
			return nil, fmt.Errorf("node %d after %+v: %w", i+1, crash, err)
		}
	}
	if g.keeps {
		return left, nil
	}
	return left, promised.check(logs)
}

func (g *grid) count(taken int) {
	g.taken += taken
	if taken > 0 {
		g.takers++
	}
}

func contains(victims []int, i int) bool {
	for _, v := range victims {
		if v == i {
			return true
		}
	}
	return false
}

// stop ends what runs of a node without power.
func (g *grid) stop(i int) error {
	n := g.seats[i].Load()
	if n == nil {
		return nil
	}
	m := n.Metrics().Snapshots
	g.snapshots += m.Taken
	g.installs += m.Installed
	if err := n.Close(); !errors.Is(err, errPowerOff) {
		return fmt.Errorf("node %d was closed with %v, want an error that wraps %q", i+1, err, errPowerOff)
	}
	return nil
}

// restart opens a node on what the cut left. Now and then the power goes again while it does.
func (g *grid) restart(i int, left *vfs.Mem) error {
	if err := g.stop(i); err != nil {
		return err
	}
	for {
		g.insert(i, left)
		again := g.r.IntN(3) == 0
		if again {
			g.disks[i].cutAt(1 + g.r.IntN(8))
		}
		err := g.open(i)
		if err == nil {
			g.disks[i].cutAt(0)
			select {
			case <-g.disks[i].tripped: // after it was open
			default:
				return nil
			}
			if err := g.stop(i); err != nil {
				return err
			}
		} else if !again || !errors.Is(err, errPowerOff) {
			return fmt.Errorf("node %d does not open after a power cut: %w", i+1, err)
		}
		g.cuts++
		g.repairs++
		var taken int
		if left, taken, err = g.disks[i].afterCut(vfs.RandomCrash(g.r.Uint64())); err != nil {
			return err
		}
		g.count(taken)
	}
}

// progress waits until puts are acknowledged again.
func (g *grid) progress(ctx context.Context) error {
	before, _ := g.book.counts()
	for {
		g.book.mu.Lock()
		changed, now := g.book.changed, len(g.book.ack)
		g.book.mu.Unlock()
		if now >= before+20 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("the cluster does not go on: %d puts acknowledged since the power is back: %w", now-before, ctx.Err())
		}
	}
}

// depose cuts the leader off and waits until another one commits. Now and then the leader is only deaf at first, so that
// the others get entries whose fate it never learns.
func (g *grid) depose(ctx context.Context) error {
	leader, err := g.seats.leader(ctx, 0)
	if err != nil {
		return err
	}
	var others []codec.NodeID
	for i := range g.seats {
		if id := codec.NodeID(i + 1); id != leader.NodeID() {
			others = append(others, id)
		}
	}
	if g.r.IntN(2) == 0 {
		for _, id := range others {
			g.net.Cut(id, leader.NodeID())
		}
		rest(ctx, time.Duration(1+g.r.IntN(50))*time.Millisecond)
	}
	g.net.Partition([]codec.NodeID{leader.NodeID()}, others)
	g.deposed++
	return g.progress(ctx)
}

// round is one power cut and what comes after it. Now and then a leader is deposed before, and comes back before the
// cut or after it.
func (g *grid) round(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	defer g.net.HealAll()
	if g.r.IntN(3) == 0 {
		if err := g.depose(ctx); err != nil {
			return err
		}
		if g.r.IntN(2) == 0 {
			g.net.HealAll()
		}
	}
	victims := g.victims()
	if err := g.cut(ctx, victims); err != nil {
		return err
	}
	left, err := g.check(victims)
	if err != nil {
		return err
	}
	for _, i := range victims {
		if err := g.restart(i, left[i]); err != nil {
			return err
		}
	}
	g.net.HealAll()
	return g.progress(ctx)
}

// underLoad runs a test on a cluster under load, and ends both.
func (g *grid) underLoad(t *testing.T, seed uint64, test func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := g.found(ctx); err != nil {
		t.Fatal(err)
	}
	clients := load{
		seats: &g.seats, record: g.book, closed: 4, windowed: 2, window: 8, first: 1, seed: seed,
		failed: func(err error) { t.Error(err) }, pause: 2 * time.Millisecond,
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		clients.run(ctx)
	}()
	if err := g.progress(ctx); err != nil {
		t.Error(err)
	} else if err := test(ctx); err != nil {
		t.Error(err)
	}
	if t.Failed() {
		t.Log(g.explain())
	}
	cancel()
	if t.Failed() { // the nodes may be in any state: they answer everyone when they are closed
		_ = g.seats.close()
		<-done
		return
	}
	<-done
	if err := finish(t.Context(), &g.seats, g.machines, g.book, 1000); err != nil {
		t.Error(err)
	}
	if err := g.seats.close(); err != nil {
		t.Error(err)
	}
}

// TestPowerCut cuts the power of one node, two or all, again and again, under load.
func TestPowerCut(t *testing.T) {
	seed := newSeed(t)
	synctest.Test(t, func(t *testing.T) {
		g := newGrid(seed)
		g.underLoad(t, seed, func(ctx context.Context) error {
			for n := range rounds(60, 15) {
				if err := g.round(ctx); err != nil {
					return fmt.Errorf("seed %d, round %d: %w", seed, n+1, err)
				}
			}
			return nil
		})
		acked, _ := g.book.counts()
		t.Logf("%d power cuts, %d of them while a node was opened; %d took %d bytes; %d leaders deposed; %d puts acknowledged, %d answered as unknown",
			g.cuts, g.repairs, g.takers, g.taken, g.deposed, acked, g.book.lost)
		if g.takers < g.cuts/20 || g.repairs == 0 || g.deposed == 0 {
			t.Errorf("too little happened: %d of %d cuts took any byte, %d fell into an opening, %d leaders were deposed",
				g.takers, g.cuts, g.repairs, g.deposed)
		}
	})
}

// TestCheckerNoticesDisksThatLie proves the checker: disks that only claim to sync lose what was acknowledged.
func TestCheckerNoticesDisksThatLie(t *testing.T) {
	seed := newSeed(t)
	synctest.Test(t, func(t *testing.T) {
		g := newGrid(seed)
		g.underLoad(t, seed, func(ctx context.Context) error {
			for _, d := range g.disks {
				d.lie()
			}
			if err := g.progress(ctx); err != nil {
				return err
			}
			logs := map[codec.NodeID]diskLog{}
			promised := g.book.promises()
			for i, d := range g.disks {
				left, _, err := d.afterCut(vfs.LoseAll())
				if err == nil {
					logs[codec.NodeID(i+1)], err = readLog(codec.NodeID(i+1), left)
				}
				if err != nil {
					return err
				}
			}
			if err := promised.check(logs); !errors.Is(err, errLost) {
				return fmt.Errorf("the disks lied and lost power, and the checker says %v, want %q", err, errLost)
			}
			return nil
		})
	})
}
