package simulation

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
	"github.com/millrace/millrace/pipeline"
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
		n.mend()
	}
	if s.crippled() {
		if s.given = s.lenient; !s.given { // there a node may find that committed entries are gone, and stop
			s.record("too many nodes were lost for %v", describe(s.check.newest()))
		}
		return
	}
	// A leader that was paused or cut off takes itself for one until it hears of another.
	end := s.now + 4*2*int64(s.shape.timeout)
	s.loop(func() bool { return s.now > end })
	s.await("a leader that everybody follows", func() bool { return s.unsettled() == "" })
	if s.given {
		return
	}
	for range freshWrites {
		s.freshWrite()
	}
	for _, n := range s.nodes {
		if s.member(n) && !n.partial {
			s.freshRead(n)
		}
	}
	s.await("equal logs after fresh writes", func() bool { return s.unsettled() == "" && !s.workload.pending() })
	s.finally()
}

// mend ends what is wrong with a node. One with a damaged disk is started again, so that it finds out.
func (n *node) mend() {
	d := n.disk
	n.paused, d.until, d.full, d.eio, d.short, d.badRead, d.lose, d.stray = 0, 0, 0, false, false, false, false, false
	if n.up && d.damaged {
		n.stop()
	}
	n.start()
	n.switches.NoElections, n.switches.NoHeartbeats = false, false
	n.s.admin.put(n, consensus.Input{Kind: consensus.InputSwitch, Switches: n.switches}, func(bool, error) {})
}

// await runs until something is so, or says that it took too long. A node that has everything to catch up on gets the
// time that one frame after the other takes.
func (s *run) await(what string, so func() bool) {
	end := s.now + healTimeouts*2*int64(s.shape.timeout) + int64(len(s.check.pasts))*int64(8*s.shape.delay+8*s.shape.flush)
	next := s.now
	s.loop(func() bool {
		if s.now < next {
			return false
		}
		next = s.now + int64(s.shape.timeout)/10
		s.admin.allowReversions()
		return so() || s.now > end
	})
	switch {
	case s.failure != nil || s.given || so():
	case s.lenient && s.crippled(): // a node found only now that committed entries are gone
		s.given = true
	default: // also when nothing is left to happen
		s.record("%d election timeouts after the faults ended there is not yet %s: %s%s", healTimeouts, what, s.unsettled(), s.portrait())
	}
}

// crippled reports whether the nodes that are not lost for good are too few for the newest membership.
func (s *run) crippled() bool {
	m := s.check.newest()
	there := func(id codec.NodeID) bool { return !s.node(id).lost() }
	return m != nil && (!elects(m, there) || !writes(m, there))
}

// portrait says how the nodes stand.
func (s *run) portrait() string {
	var b strings.Builder
	for _, n := range s.nodes {
		switch st := &n.status; {
		case n.gone:
		case !n.up:
			fmt.Fprintf(&b, "; node %d: down", n.id)
		default:
			fmt.Fprintf(&b, "; node %d: %v, vote %v, last %v, flushed %d, commit %d, wiped %v, in %v (%v)", n.id, st.Role, st.Vote,
				st.LastLog, st.Flushed.Index, st.Commit, n.wiped, describe(s.check.seen[n.id].member), st.MemberAt)
		}
	}
	return b.String()
}

// leader returns the leader, nil when there is none or more than one.
func (s *run) leader() *node {
	var found *node
	for _, n := range s.nodes {
		if n.leads() && s.member(n) {
			if found != nil {
				return nil
			}
			found = n
		}
	}
	return found
}

// member reports whether a node belongs to the newest committed membership and has its disk. Where committed entries were lost
// with the old image of a disk the checker knows no newer one; there it is the membership of the newest leader.
func (s *run) member(n *node) bool {
	m := s.check.newest()
	if s.lenient {
		var newest *node
		for _, l := range s.nodes {
			if l.leads() && (newest == nil || l.status.Vote.Leader.Compare(newest.status.Vote.Leader) > 0) {
				newest = l
			}
		}
		if newest != nil {
			m = s.check.seen[newest.id].member
		}
	}
	if m == nil {
		_, ok := s.shape.membership.Node(n.id)
		return ok && !n.lost()
	}
	_, ok := m.Node(n.id)
	return ok && !n.lost()
}

// freshWrite proposes one entry to the leader and waits for its answer. A leader may still change, if the network and
// the disks of the seed are slow beside its election timeout, or for a node of greater priority; then the write is made
// again.
func (s *run) freshWrite() {
	fate := waiting
	for range 4 {
		s.await("one leader", func() bool { return s.leader() != nil })
		if s.failure != nil || s.given {
			return
		}
		number := s.workload.add(op{})
		s.workload.submit(s.leader(), number)
		s.await("an answer to a fresh write", func() bool { return s.workload.ops[number].fate != waiting })
		if s.given {
			return
		}
		if fate = s.workload.ops[number].fate; fate == acked {
			return
		}
	}
	s.record("a fresh write in a healthy cluster ends as %d", fate)
}

// freshRead reads at a node and waits for the answer. A leader that hands over meanwhile may refuse it.
func (s *run) freshRead(n *node) {
	for range 4 {
		asked, answered, ok := false, false, false
		s.await("an answer to a fresh read", func() bool {
			if !asked && s.unsettled() == "" {
				asked = true
				s.workload.read(n, s.shape.leaseReads, func(good bool) { answered, ok = true, good })
			}
			return answered
		})
		if ok || s.failure != nil || s.given {
			return
		}
	}
	s.record("node %d answers no read in a healthy cluster", n.id)
}

// unsettled says what a healthy cluster still lacks, or nothing.
func (s *run) unsettled() string {
	l := s.leader()
	if l == nil {
		return "no leader, or more than one"
	}
	want := l.ghost.mem.last()
	m := s.check.seen[l.id].member
	switch {
	case m.Transient:
		return "a joint membership is not left"
	case l.status.Blocked || l.status.Transferee != 0:
		return "the leadership is being handed over"
	case s.promotes(m):
		return "a learner waits to be promoted"
	}
	for _, n := range s.nodes {
		if !s.member(n) {
			continue
		}
		switch {
		case !n.up:
			return fmt.Sprintf("node %d is down", n.id)
		case n.status.Leader != l.id:
			return fmt.Sprintf("node %d follows nobody, or another", n.id)
		case n.ghost.mem.last() != want || n.ghost.disk.last() != want || len(n.ghost.pending) > 0:
			return fmt.Sprintf("log of node %d differs, or is not durable", n.id)
		case n.status.MemberAt != l.status.MemberAt:
			return fmt.Sprintf("node %d goes by another membership", n.id)
		case n.out.Commit != want.Index || n.fed != want.Index || n.appliedTo() != want.Index:
			return fmt.Sprintf("not everything is committed and applied at node %d", n.id)
		case len(n.proposed) > 0 || n.bytes != 0 || len(n.batches) > 0 || len(n.outstanding) > 0 || n.disk.busy || n.status.Flushed != want:
			return fmt.Sprintf("work is pending at node %d", n.id)
		}
	}
	for _, p := range l.core.Peers(nil) {
		if !s.node(p.Node).lost() && (p.InflightBytes != 0 || !p.Streaming || p.Match != want.Index || p.Lost) {
			return fmt.Sprintf("stream to node %d is not idle", p.Node)
		}
	}
	return ""
}

// promotes reports whether a leader is still to make a voter of a learner.
func (s *run) promotes(m *codec.Membership) bool {
	for _, n := range m.Nodes {
		if n.Promote && !s.node(n.ID).lost() {
			next := m.Clone()
			next.Configs = next.Configs[len(next.Configs)-1:]
			if next.Configs[0].Quorum.Kind != codec.QuorumMajority {
				return false
			}
			next.Configs[0] = codec.MajorityConfig(append(next.Configs[0].Voters, n.ID)...)
			return flaw(&next) == ""
		}
	}
	return false
}

// finally compares the nodes, and what clients were told with what is there.
func (s *run) finally() {
	if s.failure != nil || s.given {
		return
	}
	first := s.leader()
	for _, n := range s.nodes {
		if !s.member(n) || s.lenient {
			continue
		}
		last := n.ghost.disk.last().Index
		same := n.partial || n.machine.index == first.machine.index && n.machine.hash == first.machine.hash && bytes.Equal(n.sessions(), first.sessions())
		if n.ghost.disk.chainAt(last) != first.ghost.disk.chainAt(first.ghost.disk.last().Index) || !same {
			s.violate("nodes %d and %d differ: state %+v and %+v, or their sessions", n.id, first.id, n.machine.index, first.machine.index)
		}
	}
	for serial, o := range s.workload.ops {
		if o.fate == acked && (o.index == 0 || o.index > first.fed) {
			s.violate("entry %d was acknowledged and is gone", serial)
		}
	}
	s.note(60, first.machine.hash, uint64(s.events), uint64(time.Duration(s.now)))
}

// sessions returns the session table of a node that has applied everything.
func (n *node) sessions() (b []byte) {
	n.applier.Capture(func(c pipeline.Captured, err error) {
		if err != nil {
			n.s.violate("node %d can't capture its state: %v", n.id, err)
		}
		b = c.Sessions
	})
	n.applier.Pump()
	return b
}
