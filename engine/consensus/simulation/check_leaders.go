package simulation

import (
	"math"
	"slices"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
)

// leading is what the checks remember of a leadership.
type leading struct {
	since, changed consensus.Instant // when it began, and when its membership changed last
	first          codec.Index       // of its blank entry
	// stamps says when the newest message that each peer has answered was sent.
	stamps map[codec.NodeID]consensus.Instant
	// quorumDue is when to look again whether a quorum answers; grace is the time that a node gets that overslept.
	quorumDue, grace consensus.Instant
	// transferEnd is when a transfer must have come to its end; transferee is its target, 0 for none.
	transferee  codec.NodeID
	transferEnd consensus.Instant
	// reads says of each that waits to be confirmed when the oldest message may be sent whose answer counts; sent is when the
	// newest message was sent.
	reads map[asking]consensus.Instant
	sent  consensus.Instant
}

// elected checks election safety and leader completeness (Raft figure 3).
func (k *checker) elected(n *node, have *seen) {
	id := n.status.Vote.Leader
	k.s.tracef("node %d leads as %v", n.id, id)
	restored := id == have.restores
	if restored {
		k.s.restores++
	}
	if life, led := k.leaders[id]; led && life != n.life && !restored {
		k.s.violate("node %d leads again as %v, in life %d after %d", n.id, id, n.life, life)
	}
	if other, led := k.terms[id.Term]; led && other != id && k.s.shape.mode == codec.OneLeaderPerTerm {
		k.s.violate("%v and %v lead in one term", other, id)
	}
	if id.Node != n.id {
		k.s.violate("node %d leads as %v", n.id, id)
	}
	k.leaders[id], k.terms[id.Term] = n.life, id
	if !k.mayLead(n, have) {
		k.s.violate("node %d leads in the membership %v", n.id, describe(have.member))
	}
	own := n.ghost.disk.vote == (codec.Vote{Leader: id})
	granted := func(voter codec.NodeID) bool {
		return voter == n.id && own || slices.Contains(k.granted[id], voter)
	}
	if !restored && !elects(have.member, granted) {
		k.s.violate("node %d leads as %v with the votes of %v, its own durable: %v, in the membership %v", n.id, id, k.granted[id],
			own, describe(have.member))
	}
	k.leasesOver(n)
	have.restores = codec.LeaderID{}
	have.lead = leading{since: n.now, first: n.status.LastLog.Index, stamps: map[codec.NodeID]consensus.Instant{},
		reads: map[asking]consensus.Instant{}}
	clear(n.pipes)
	for i := range n.out.Now {
		k.sends(n, &n.out.Now[i])
	}
	// What a lower leadership committed must be here; a log that holds the last of it holds all of it. An older entry
	// that a higher one committed need not be: this leader was elected first and has not heard of it.
	i, _ := slices.BinarySearchFunc(k.by, id, codec.LeaderID.Compare)
	if i > 0 && !n.ghost.mem.holds(k.committed[i-1].id) {
		k.s.violate("leader %v lacks the committed %v, its last entry is %v", id, k.committed[i-1].id, n.ghost.mem.last())
	}
}

// leasesOver checks that no lower leader may still answer reads by its lease, by its own clock, when one is elected.
func (k *checker) leasesOver(n *node) {
	for _, o := range k.s.nodes {
		if o != n && o.up && o.leads() && o.status.Vote.Compare(n.status.Vote) < 0 && o.clock.local(k.s.now) < o.status.LeaseUntil {
			k.s.violate("node %d leads as %v while node %d, as %v, answers reads by its lease until %d, now is %d", n.id, n.status.Vote, o.id,
				o.status.Vote, o.status.LeaseUntil, o.clock.local(k.s.now))
		}
	}
}

// mayLead reports whether a node may be elected: an ordinary voter, or one of the membership before, as long as it does
// not know the newer one to be committed: nobody else may hold that (thesis 4.2.2). And a learner that had to refuse its
// vote to somebody with less log.
func (k *checker) mayLead(n *node, have *seen) bool {
	if have.member == nil || ordinaryVoter(have.member, n.id) {
		return have.member != nil
	}
	if have.called && !isWitness(have.member, n.id) {
		return true
	}
	before := n.ghost.mem.memberBefore(1)
	return have.memberAt.Index > have.commit && !before.IsZero() && ordinaryVoter(k.pasts[before].membership, n.id)
}

// leading looks at a leader after one of its steps.
func (k *checker) leading(n *node, have *seen) {
	st, l, m := &n.status, &have.lead, &n.in.Message
	if n.now > have.deadline && time.Duration(n.now-have.deadline) > n.s.shape.heartbeat {
		l.grace = n.now.Add(2 * n.s.shape.heartbeat)
	}
	if n.in.Kind == consensus.InputMessage && m.Status != codec.StatusRefused && m.Vote == st.Vote &&
		(m.Kind == codec.MessageAppendReply || m.Kind == codec.MessageHeartbeatReply) && consensus.Instant(m.Stamp) <= n.now {
		l.stamps[n.in.Peer] = max(l.stamps[n.in.Peer], consensus.Instant(m.Stamp))
	}
	k.quorum(n, have)
	k.reads(n, have)
	k.handover(n, have)
	stall := k.s.shape.diskStall
	if stall > 0 && n.flushedSeq < n.writtenSeq && n.now >= n.waitingSince.Add(stall) {
		k.s.violate("node %d leads although its disk has done nothing for %v, bound %v: write %d of %d, input %d", n.id,
			time.Duration(n.now-n.waitingSince), stall, n.flushedSeq, n.writtenSeq, n.in.Kind)
	}
	if n.in.Kind == consensus.InputMessage && m.Kind == codec.MessageAppendReply || n.in.Kind == consensus.InputFlushed {
		k.counts(n, have)
	}
	if have.member.Transient || have.member.IsVoter(n.id) || st.Commit < st.MemberAt.Index || st.Commit < l.first || n.out.Write.Seq != 0 {
		return
	}
	k.s.violate("node %d leads, though it is no voter of the committed membership %v", n.id, describe(have.member))
}

// quorum checks that a leader steps down that no write quorum has answered for the time of a lease.
func (k *checker) quorum(n *node, have *seen) {
	l := &have.lead
	if n.now < max(l.quorumDue, l.grace) {
		return
	}
	answered := k.reached(have.member, func(id codec.NodeID) int64 {
		if id == n.id {
			return int64(n.now)
		}
		if at, ok := l.stamps[id]; ok {
			return int64(at)
		}
		return math.MinInt64
	})
	l.quorumDue = max(consensus.Instant(answered), l.since, l.changed).Add(k.s.shape.timeout)
	if n.now >= max(l.quorumDue, l.grace) {
		k.s.violate("node %d leads %v after it last sent what a write quorum of %v answered", n.id,
			time.Duration(n.now-max(consensus.Instant(answered), l.since, l.changed)), describe(have.member))
	}
}

// reached returns the greatest value that a write quorum of every config has.
func (k *checker) reached(m *codec.Membership, value func(codec.NodeID) int64) int64 {
	best := int64(math.MinInt64)
	for i := range m.Nodes {
		v := value(m.Nodes[i].ID)
		if v > best && writes(m, func(id codec.NodeID) bool { return value(id) >= v }) {
			best = v
		}
	}
	return best
}

// handover checks that a transfer ends by its deadline.
func (k *checker) handover(n *node, have *seen) {
	l, st := &have.lead, &n.status
	switch {
	case st.Transferee == 0:
		l.transferee = 0
		return
	case n.in.Kind == consensus.InputTransfer && !n.out.Refused && n.in.Timeout > 0:
		l.transferee, l.transferEnd = st.Transferee, n.now.Add(n.in.Timeout)
	case st.Transferee != l.transferee:
		l.transferee, l.transferEnd = st.Transferee, n.now.Add(k.s.shape.timeout)
	}
	if !st.Blocked || n.now >= l.transferEnd {
		k.s.violate("node %d hands over to node %d, blocked: %v, until %d, now is %d", n.id, st.Transferee, st.Blocked, l.transferEnd, n.now)
	}
}

// counts checks that a leader commits what a write quorum of voters has: it needs nobody else.
func (k *checker) counts(n *node, have *seen) {
	st := &n.status
	if st.Commit == st.LastLog.Index {
		return
	}
	k.peers = n.core.Peers(k.peers[:0])
	index := codec.Index(max(0, k.reached(have.member, func(id codec.NodeID) int64 {
		if id == n.id {
			return int64(st.Flushed.Index)
		}
		for i := range k.peers {
			if p := &k.peers[i]; p.Node == id && !p.Lost {
				return int64(p.Match)
			}
		}
		return 0
	})))
	// A membership counts from its first answer on.
	if index >= max(have.lead.first, st.MemberAt.Index) && index > st.Commit {
		k.s.violate("node %d does not commit index %d, which a write quorum of %v has; commit is %d", n.id, index, describe(have.member), st.Commit)
	}
}
