package target

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/safety"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/pipeline"
)

// snapshotParts are the parts of the measured time at which snapshots begin, learnerFrom the one at which a learner joins.
var snapshotParts = []float64{0.15, 0.35}

const learnerFrom = 0.5

// ballastBytes is what a snapshot holds beside the machine's own state, which is small: as much as a program with a state of
// that size would write.
const ballastBytes = 64 << 20

// ballast is a piece of it: random, so that nothing can compress it.
var ballast = sync.OnceValue(func() []byte {
	piece := make([]byte, 1<<20)
	random := rand.New(rand.NewPCG(1, 1))
	for i := range len(piece) / 8 {
		binary.LittleEndian.PutUint64(piece[8*i:], random.Uint64())
	}
	return piece
})

// portable is the benchmark's state machine as one whose state can be taken and given.
type portable struct{ *safety.Machine }

// Snapshot captures the machine's own state.
func (p *portable) Snapshot() (pipeline.SnapshotSource, error) {
	return &captured{p.Append(nil)}, nil
}

// Restore reads what a captured state has written: the length of the machine's own state, that, and the ballast.
func (p *portable) Restore(r io.Reader) error {
	var size uint32
	if err := binary.Read(r, binary.LittleEndian, &size); err != nil {
		return err
	}
	state, err := io.ReadAll(io.LimitReader(r, int64(size)))
	if err != nil {
		return err
	}
	machine, err := safety.ReadMachine(state)
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, r)
	if err == nil && n != ballastBytes {
		err = fmt.Errorf("%d bytes of ballast, want %d: %w", n, ballastBytes, codec.ErrCorrupt)
	}
	if err == nil {
		p.Set(machine)
	}
	return err
}

// captured is a state on its way into a snapshot.
type captured struct{ state []byte }

// WriteTo writes it, with the ballast.
func (c *captured) WriteTo(w io.Writer) (int64, error) {
	head := binary.LittleEndian.AppendUint32(nil, uint32(len(c.state)))
	readers := []io.Reader{bytes.NewReader(head), bytes.NewReader(c.state)}
	for range ballastBytes / len(ballast()) {
		readers = append(readers, bytes.NewReader(ballast()))
	}
	return io.Copy(w, io.MultiReader(readers...))
}

// Close has nothing to free.
func (c *captured) Close() error { return nil }

// playSnapshots makes all nodes take a snapshot at the same time, which is when a policy would make them, several times.
// Then a learner joins, whose log must begin with one.
func (c *cluster) playSnapshots(s *stage) ([]result.Event, error) {
	var events []result.Event
	for _, part := range snapshotParts {
		if !s.until(part) {
			return events, fmt.Errorf("%d of %d were taken: %w", len(events), len(snapshotParts), ErrOver)
		}
		e := result.Event{Kind: setting.EventSnapshot, At: s.now()}
		begun := time.Now()
		if err := c.snapshot(); err != nil {
			return events, err
		}
		e.Took = milliseconds(begun)
		for _, m := range c.all() {
			taken := m.node.Metrics().Snapshots
			e.Bytes += taken.NewestBytes
			if taken.Taken != uint64(len(events)+1) {
				return events, fmt.Errorf("node %d has taken %d, want %d", m.node.NodeID(), taken.Taken, len(events)+1)
			}
		}
		events = append(events, e)
	}
	if !s.until(learnerFrom) {
		return events, fmt.Errorf("no learner joined: %w", ErrOver)
	}
	e, err := c.playLearner(s)
	return append(events, e), err
}

// playLearner has a new node join. Logs are purged up to their snapshots before, so that it is sent one.
func (c *cluster) playLearner(s *stage) (result.Event, error) {
	leader := c.leading().node
	id := codec.NodeID(c.scenario.Nodes + 1)
	e := result.Event{Kind: result.Learner, At: s.now(), Node: uint64(id)}
	if leader == nil {
		return e, errNoLeader
	}
	for _, m := range c.all() {
		if err := m.node.Trigger().Purge(s.ctx, m.node.Metrics().Snapshots.Newest.Index); err != nil {
			return e, s.over(fmt.Errorf("purge the log of node %d: %w", m.node.NodeID(), err))
		}
	}
	begun := time.Now()
	e.At = s.now()
	learner, err := c.join(s.ctx, leader, id)
	if err != nil {
		return e, s.over(fmt.Errorf("learner %d joins: %w", id, err))
	}
	sent := engine.When("a snapshot", func(m engine.Metrics) bool { return m.Snapshots.Installed > 0 && !m.Snapshots.Installing })
	metrics, err := learner.Wait(s.ctx, sent)
	if err != nil {
		return e, s.over(fmt.Errorf("learner %d was sent no snapshot: %w", id, err))
	}
	e.Installed, e.Bytes = milliseconds(begun), metrics.Snapshots.NewestBytes
	if err := leader.WaitCaughtUp(s.ctx, id); err == nil {
		if _, ok := caughtUp(s.ctx, learner, leader.Metrics().Commit); ok {
			e.Recovery = milliseconds(begun)
		}
	}
	e.Took = milliseconds(begun)
	return e, nil
}

// join opens a node and makes it a learner of the cluster.
func (c *cluster) join(ctx context.Context, leader *engine.Raft, id codec.NodeID) (*engine.Raft, error) {
	m, err := c.open(id, "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	if _, err := leader.ChangeMembership(ctx, engine.AddLearner(codec.Node{ID: id, Address: m.node.Addr()})); err != nil {
		return nil, errors.Join(err, m.node.Close())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.joined = append(c.joined, m)
	return m.node, nil
}

// snapshotTimeout bounds how long a snapshot may take, which a measured time that ends does not wait for longer.
const snapshotTimeout = 20 * time.Second

// snapshot takes one on each node.
func (c *cluster) snapshot() error {
	ctx, cancel := context.WithTimeout(context.Background(), snapshotTimeout)
	defer cancel()
	all := c.all()
	errs := make([]error, len(all))
	var taking sync.WaitGroup
	for i, m := range all {
		taking.Go(func() {
			if _, err := m.node.Trigger().Snapshot(ctx); err != nil {
				errs[i] = fmt.Errorf("node %d: %w", m.node.NodeID(), err)
			}
		})
	}
	taking.Wait()
	return errors.Join(errs...)
}
