package target

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
)

// slowSync is how long each sync of a slow disk takes beside its usual time.
const slowSync = 100 * time.Millisecond

// Parts of the measured time between which a follower is slow.
const slowFrom, slowTo = 0.25, 0.75

// slowDisk is a node's log on a disk that may become slow: one sync at a time, each answered late, and the next one begins
// after it for all that was written meanwhile.
type slowDisk struct {
	engine.Log

	// mu guards what follows. No owner would do: the log reports from a goroutine of its own, a timer from another.
	mu      sync.Mutex
	slow    bool
	closed  bool
	flushed func(uint64, error)
	timer   *time.Timer // of the sync under way, nil without
	syncing uint64      // what that will have made durable
	written uint64      // what the next one will, 0 without
	held    uint64      // syncs answered late
}

// Group opens the log's part and stands between it and whom it reports to.
func (d *slowDisk) Group(g codec.GroupID, flushed func(uint64, error)) (engine.GroupLog, codec.LogState, error) {
	d.flushed = flushed
	return d.Log.Group(g, d.report)
}

// report passes on what is durable, late if the disk is slow.
func (d *slowDisk) report(seq uint64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
	case err != nil:
		d.stop()
		d.flushed(seq, err)
	case d.timer != nil:
		d.written = seq
	case d.slow:
		d.sync(seq)
	default:
		d.flushed(seq, nil)
	}
}

// sync begins one.
func (d *slowDisk) sync(seq uint64) {
	d.syncing, d.written = seq, 0
	d.timer = time.AfterFunc(slowSync, d.synced)
}

// synced ends the one under way.
func (d *slowDisk) synced() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer == nil {
		return // everything was told meanwhile, or there is nobody to tell
	}
	d.timer = nil
	d.held++
	d.flushed(d.syncing, nil)
	if d.written > 0 {
		d.sync(d.written)
	}
}

// stop ends the sync under way without a report.
func (d *slowDisk) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

// set makes the disk slow, or as it was, and returns how many syncs were answered late so far. As it was, it has made all
// durable at once that waited for that.
func (d *slowDisk) set(slow bool) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.slow = slow
	if !slow && d.timer != nil && !d.closed {
		d.stop()
		d.flushed(max(d.syncing, d.written), nil)
	}
	return d.held
}

// Close closes the log. Nothing is reported any more.
func (d *slowDisk) Close() error {
	err := d.Log.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	d.stop()
	return err
}

// lookPause is the time between two looks at how far a slow follower is behind.
const lookPause = 20 * time.Millisecond

// playSlowFollower makes the disk of a follower slow for half of the measured time.
func (c *cluster) playSlowFollower(s *stage) ([]result.Event, error) {
	if !s.until(slowFrom) {
		return nil, fmt.Errorf("no follower was slow: %w", ErrOver)
	}
	leader := c.leading()
	if leader.node == nil {
		return nil, errNoLeader
	}
	all := c.all()
	i := slices.IndexFunc(all, func(m member) bool { return m.node != leader.node })
	slow := all[i]
	e := result.Event{Kind: setting.EventSlowFollower, At: s.now(), Node: uint64(slow.node.NodeID())}
	begun := time.Now()
	slow.disk.set(true)
	over := !watchBehind(s, leader.node, slow.node.NodeID(), &e)
	e.Held = slow.disk.set(false)
	e.Took = milliseconds(begun)
	switch {
	case over:
		return []result.Event{e}, fmt.Errorf("node %d was not slow for as long as it should have been: %w", e.Node, ErrOver)
	case e.Held == 0:
		return []result.Event{e}, fmt.Errorf("no sync of node %d was answered late", e.Node)
	case c.leading().node != leader.node:
		return []result.Event{e}, fmt.Errorf("node %d did not lead all the time", leader.node.NodeID())
	}
	if recovery, ok := caughtUp(s.ctx, slow.node, leader.node.Metrics().Last.Index); ok {
		e.Recovery = recovery
	}
	return []result.Event{e}, nil
}

// watchBehind looks how far a follower is behind until it is to be slow no more, and returns false when the measured time is
// over before.
func watchBehind(s *stage, leader *engine.Raft, follower codec.NodeID, e *result.Event) bool {
	ticker := time.NewTicker(lookPause)
	defer ticker.Stop()
	for s.now() < slowTo*s.duration.Seconds() {
		select {
		case <-ticker.C:
		case <-s.ctx.Done():
			return false
		}
		m := leader.Metrics()
		for _, p := range m.Peers {
			if p.Node == follower && m.Last.Index > p.Match {
				e.Behind = max(e.Behind, uint64(m.Last.Index-p.Match))
			}
		}
	}
	return true
}

// caughtUp returns after how many milliseconds a node has applied up to an index, false when ctx ends before.
func caughtUp(ctx context.Context, node *engine.Raft, index codec.Index) (float64, bool) {
	begun := time.Now()
	_, err := node.Wait(ctx, engine.When("what was missed", func(m engine.Metrics) bool { return m.Applied >= index }))
	return milliseconds(begun), err == nil
}
