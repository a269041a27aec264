package consensus

import "testing"

// BenchmarkLeaderPut is one batch through a leader of three: four steps (proposal, two acks, its own flush).
func BenchmarkLeaderPut(b *testing.B) {
	c, put := steadyLeader(b, false)
	b.ReportAllocs()
	for b.Loop() {
		put()
	}
	if c.commit != c.log.last.Index {
		b.Fatalf("commit %d, last entry %v", c.commit, c.log.last)
	}
}

// BenchmarkFollowerPut is one frame through a follower: three steps (append, flush, heartbeat).
func BenchmarkFollowerPut(b *testing.B) {
	c, put := steadyFollower(b, false)
	b.ReportAllocs()
	for b.Loop() {
		put()
	}
	if c.commit != c.log.last.Index {
		b.Fatalf("commit %d, last entry %v", c.commit, c.log.last)
	}
}

// BenchmarkSimulation is one random run of about twenty virtual seconds.
func BenchmarkSimulation(b *testing.B) {
	for seed := uint64(1); b.Loop(); seed++ {
		simulate(b, seed)
	}
}
