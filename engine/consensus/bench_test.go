package consensus

import (
	"testing"

	"github.com/millrace/millrace/codec"
)

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

// BenchmarkReadIndex is a batch through a leader of three with a read of its own and one of a follower: six steps.
func BenchmarkReadIndex(b *testing.B) {
	_, put := steadyLeader(b, true)
	b.ReportAllocs()
	for b.Loop() {
		put()
	}
}

// BenchmarkHeartbeat is one heartbeat of a quiet leader of three, with both answers: three steps.
func BenchmarkHeartbeat(b *testing.B) {
	c, _ := steadyLeader(b, false)
	var in Input
	var out Output
	now := c.lead.heartbeatAt
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(c.cfg.HeartbeatInterval)
		in = Input{Kind: InputHeartbeat}
		c.Step(now, &in, &out)
		for peer := codec.NodeID(2); peer <= 3; peer++ {
			in = Input{Kind: InputMessage, Peer: peer, Message: codec.Message{
				Kind: codec.MessageHeartbeatReply, Status: codec.StatusOK, Group: testGroup, Vote: c.vote, Log: c.log.last, Stamp: int64(now),
			}}
			c.Step(now, &in, &out)
		}
	}
	if c.Status().Role != Leader {
		b.Fatalf("a %v at the end, want a leader", c.Status().Role)
	}
}

// BenchmarkSimulation is one random run of about twenty virtual seconds.
func BenchmarkSimulation(b *testing.B) {
	for seed := uint64(1); b.Loop(); seed++ {
		simulate(b, seed)
	}
}
