package target

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/pipeline"
)

// Eventful is a [Target] that things can be done to while it is under load.
type Eventful interface {
	Target
	// Play does what the scenario's event names, in a measured time that has just begun and lasts that long, and returns what
	// was done. When ctx ends that time is over: Play puts everything right again, starts what it had stopped, and returns.
	// The error says what did not happen, as it should have; it wraps [ErrOver] where only the time was lacking.
	Play(ctx context.Context, duration time.Duration) ([]result.Event, error)
}

// Play implements [Eventful].
func (c *cluster) Play(ctx context.Context, duration time.Duration) ([]result.Event, error) {
	s := &stage{ctx: ctx, begun: time.Now(), duration: duration}
	switch c.scenario.Event {
	case setting.EventSnapshot:
		return c.playSnapshots(s)
	case setting.EventSlowFollower:
		return c.playSlowFollower(s)
	case setting.EventLeaderKill:
		return c.playLeaderKill(s)
	}
	panic("BUG: unknown event " + c.scenario.Event)
}

// arm prepares a node for the scenario's event, and returns the state machine that it is to have.
func (c *cluster) arm(cfg *engine.Config, m *member) pipeline.StateMachine {
	switch c.scenario.Event {
	case setting.EventSnapshot:
		cfg.Snapshot.Bytes = -1 // taken when the event says so, not by policy
		cfg.SnapshotDir = filepath.Join(c.dir, fmt.Sprintf("node-%d-snapshots", cfg.NodeID))
		return &portable{m.machine}
	case setting.EventSlowFollower:
		m.disk = &slowDisk{Log: cfg.Log}
		cfg.Log = m.disk
	case setting.EventLeaderKill:
		cfg.CloseTimeout, cfg.NoLeaderRestore = killTimeout, true
	}
	return m.machine
}

// stage is the measured time that an event happens in.
type stage struct {
	ctx      context.Context
	begun    time.Time
	duration time.Duration
}

// until returns at a part of the measured time, or false when that is over before.
func (s *stage) until(part float64) bool {
	timer := time.NewTimer(time.Duration(part*float64(s.duration)) - time.Since(s.begun))
	defer timer.Stop()
	select {
	case <-timer.C:
		return s.ctx.Err() == nil
	case <-s.ctx.Done():
		return false
	}
}

// now returns the time since the measured time began, in seconds.
func (s *stage) now() float64 { return time.Since(s.begun).Seconds() }

// over returns an error, and where the measured time is over says that this is why.
func (s *stage) over(err error) error {
	if s.ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ErrOver, err)
	}
	return err
}

// milliseconds returns how many have passed.
func milliseconds(since time.Time) float64 {
	return float64(time.Since(since)) / float64(time.Millisecond)
}
