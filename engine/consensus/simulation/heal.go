package simulation

import (
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
)

// healTimeouts is how many election timeouts a cluster without faults has to become one again, and once more for fresh
// writes; freshWrites how many of these.
const (
	healTimeouts = 50
	freshWrites  = 10
)

// leads reports whether a running node takes itself for the leader.
func (n *node) leads() bool { return n.up && n.status.Role == consensus.Leader }

// heal ends all faults and asks for what a healthy cluster does: one leader, fresh writes, equal logs and states, every
// write that was acknowledged in its place, nothing pending.
func (s *run) heal() {
	if s.failure != nil {
		return
	}
	s.tracef("all faults end")
	s.healing = true
	for _, a := range s.nodes {
		for _, b := range s.nodes {
			if l := s.net.links[[2]codec.NodeID{a.id, b.id}]; l != nil {
				l.cuts, l.clogged, l.slow = 0, 0, 0
			}
		}
	}
	for _, n := range s.nodes {
		n.paused, n.disk.until, n.disk.full, n.disk.eio, n.disk.short = 0, 0, 0, false, false
		n.start()
	}
	// A leader that was paused or cut off takes itself for one until it hears of another.
	end := s.now + 4*2*int64(s.shape.timeout)
	s.loop(func() bool { return s.now > end })
	s.await("a leader that everybody follows", func() bool { return s.unsettled() == "" })
	for range freshWrites {
		s.freshWrite()
	}
	s.await("equal logs after fresh writes", func() bool { return s.unsettled() == "" && !s.workload.pending() })
	s.finally()
}

// await runs until something is so, or says that it took too long. A node that has everything to catch up on gets the
// time that one frame after the other takes.
func (s *run) await(what string, so func() bool) {
	end := s.now + healTimeouts*2*int64(s.shape.timeout) + int64(len(s.check.chains))*int64(8*s.shape.delay+8*s.shape.flush)
	next := s.now
	s.loop(func() bool {
		if s.now < next {
			return false
		}
		next = s.now + int64(s.shape.timeout)/10
		return so() || s.now > end
	})
	if s.failure == nil && !so() { // also when nothing is left to happen
		s.violate("%d election timeouts after the faults ended there is not yet %s: %s", healTimeouts, what, s.unsettled())
	}
}

// leader returns the leader, nil when there is none or more than one.
func (s *run) leader() *node {
	var found *node
	for _, n := range s.nodes {
		if n.leads() {
			if found != nil {
				return nil
			}
			found = n
		}
	}
	return found
}

// freshWrite proposes one entry to the leader and waits for its answer. A leader may still change, if the network and
// the disks of the seed are slow beside its election timeout; then the write is made again.
func (s *run) freshWrite() {
	fate := waiting
	for range 4 {
		s.await("one leader", func() bool { return s.leader() != nil })
		if s.failure != nil {
			return
		}
		q := s.workload.propose(s.leader(), 1)
		s.await("an answer to a fresh write", func() bool { return s.workload.ops[q.first].fate != waiting })
		if fate = s.workload.ops[q.first].fate; fate == acked {
			return
		}
	}
	s.violate("a fresh write in a healthy cluster ends as %d", fate)
}

// unsettled says what a healthy cluster still lacks, or nothing.
func (s *run) unsettled() string {
	l := s.leader()
	if l == nil {
		return "no leader, or more than one"
	}
	want := l.ghost.mem.last()
	for _, n := range s.nodes {
		switch {
		case !n.up:
			return "a node is down"
		case n.status.Leader != l.id:
			return "a node that follows nobody, or another"
		case n.ghost.mem.last() != want || n.ghost.disk.last() != want || len(n.ghost.pending) > 0:
			return "logs differ, or are not durable"
		case n.out.Commit != want.Index || n.fed != want.Index:
			return "not everything is committed and applied"
		case len(n.proposed) > 0 || n.bytes != 0 || len(n.box.proposals) > 0 || n.disk.busy || n.status.Flushed != want:
			return "work is pending"
		}
	}
	for _, p := range l.core.Peers(nil) {
		if p.InflightBytes != 0 || !p.Streaming || p.Match != want.Index || p.Lost {
			return "a peer's stream is not idle"
		}
	}
	return ""
}

// finally compares the nodes, and what clients were told with what is there.
func (s *run) finally() {
	if s.failure != nil {
		return
	}
	first := s.nodes[0]
	for _, n := range s.nodes {
		last := n.ghost.disk.last().Index
		if n.ghost.disk.chainAt(last) != first.ghost.disk.chainAt(first.ghost.disk.last().Index) || n.applied != first.applied {
			s.violate("nodes %d and %d differ: state %+v and %+v", n.id, first.id, n.applied, first.applied)
		}
	}
	for serial, o := range s.workload.ops {
		if o.fate == acked && (o.index == 0 || o.index > first.applied.index) {
			s.violate("entry %d was acknowledged and is gone", serial)
		}
	}
	s.note(60, first.applied.hash, uint64(s.events), uint64(time.Duration(s.now)))
}
