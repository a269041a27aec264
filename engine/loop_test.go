package engine

import (
	"testing"
	"time"

	"github.com/millrace/millrace/engine/consensus"
)

// TestNodeThatWasFrozenDoesNotBlameItsLeader: a follower that wakes long after its own deadline waits one heartbeat
// interval more; one that wakes in time, and any other role, does not.
func TestNodeThatWasFrozenDoesNotBlameItsLeader(t *testing.T) {
	const interval = 50 * time.Millisecond
	for _, c := range []struct {
		name    string
		role    consensus.Role
		late    time.Duration
		excused bool
	}{
		{"frozen follower", consensus.Follower, time.Second, true},
		{"punctual follower", consensus.Follower, 0, false},
		{"frozen candidate", consensus.Candidate, time.Second, false},
		{"frozen leader", consensus.Leader, time.Second, false},
	} {
		l := &loop{cfg: &Config{HeartbeatInterval: interval}, start: time.Now().Add(-time.Hour)}
		l.status.Role = c.role
		l.armed = l.clock().Add(-c.late)
		l.excuse()
		if got := l.excused > l.clock().Add(interval/2); got != c.excused {
			t.Errorf("%s: excused %v, want %v", c.name, got, c.excused)
		}
	}
}
