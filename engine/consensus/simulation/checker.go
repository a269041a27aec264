package simulation

import (
	"slices"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
)

// checker holds what all nodes do, over all their lives, to what Raft promises. Each check looks at what the newest
// event changed. With several leaders per term a leadership is a (term, node), and log ids are compared whole.
//
// Owner: the run.
type checker struct {
	s *run
	// leaders says which life of its node led under a leader id; terms who led in a term.
	leaders map[codec.LeaderID]int
	terms   map[codec.Term]codec.LeaderID
	// chains says what stood at a log id, and before it, when it was first written anywhere.
	chains map[codec.LogID]uint64
	// committed are the entries committed anywhere, by the leadership in by, which ascends, and states the state
	// machine's hash behind each; all by index from 1.
	committed []ghostEntry
	by        []codec.LeaderID
	states    []uint64
	// seen is what was last seen of each node's life.
	seen map[codec.NodeID]*seen
}

// seen is what may not go back in one life, and the durable vote, which may not in any.
type seen struct {
	role   consensus.Role
	vote   codec.Vote
	commit codec.Index
	fed    codec.Index
	disk   codec.Vote
}

func (k *checker) init(s *run) {
	*k = checker{s: s, leaders: map[codec.LeaderID]int{}, terms: map[codec.Term]codec.LeaderID{},
		chains: map[codec.LogID]uint64{}, seen: map[codec.NodeID]*seen{}}
}

// started notes a new life: commit and applied may begin lower, the vote may not.
func (k *checker) started(n *node) {
	st := n.core.Status()
	have := k.seen[n.id]
	if have == nil {
		have = &seen{}
		k.seen[n.id] = have
	}
	if !st.Vote.Covers(have.disk, k.s.shape.mode) {
		k.s.violate("node %d starts with vote %v, its durable vote was %v", n.id, st.Vote, have.disk)
	}
	n.status = st
	n.out.Commit = st.Commit
	*have = seen{role: st.Role, vote: st.Vote, commit: 0, disk: st.Vote}
	if st.Role == consensus.Leader {
		k.elected(n, st.Vote.Leader)
	}
}

// step looks at one step of a node.
func (k *checker) step(n *node) {
	st, have := &n.status, k.seen[n.id]
	switch {
	case st.Vote.Leader.Term < have.vote.Leader.Term || !st.Vote.Covers(have.vote, k.s.shape.mode):
		k.s.violate("node %d: vote %v after %v", n.id, st.Vote, have.vote)
	case n.out.Commit < have.commit || n.out.Commit != st.Commit:
		k.s.violate("node %d: commit %d, status %d, before %d", n.id, n.out.Commit, st.Commit, have.commit)
	case st.LastLog != n.ghost.mem.last():
		k.s.violate("node %d: last entry %v, written %v", n.id, st.LastLog, n.ghost.mem.last())
	case st.Commit > st.LastLog.Index:
		k.s.violate("node %d: commit %d beyond the last entry %v", n.id, st.Commit, st.LastLog)
	case st.Malformed > 0:
		k.s.violate("node %d dropped %d messages as malformed", n.id, st.Malformed)
	}
	if st.Role == consensus.Leader && (have.role != consensus.Leader || have.vote.Leader != st.Vote.Leader) {
		k.elected(n, st.Vote.Leader)
	}
	if st.Commit > have.commit {
		k.commits(n, have.commit, st.Commit)
	}
	have.role, have.vote, have.commit = st.Role, st.Vote, st.Commit
}

// elected checks election safety and leader completeness (Raft figure 3).
func (k *checker) elected(n *node, id codec.LeaderID) {
	k.s.tracef("node %d leads as %v", n.id, id)
	if life, led := k.leaders[id]; led && life != n.life {
		k.s.violate("node %d leads again as %v, in life %d after %d", n.id, id, n.life, life)
	}
	if other, led := k.terms[id.Term]; led && other != id && k.s.shape.mode == codec.OneLeaderPerTerm {
		k.s.violate("%v and %v lead in one term", other, id)
	}
	if id.Node != n.id {
		k.s.violate("node %d leads as %v", n.id, id)
	}
	k.leaders[id], k.terms[id.Term] = n.life, id
	// What a lower leadership committed must be here; a log that holds the last of it holds all of it. An older entry
	// that a higher one committed need not be: this leader was elected first and has not heard of it.
	i, _ := slices.BinarySearchFunc(k.by, id, codec.LeaderID.Compare)
	if i > 0 && !n.ghost.mem.holds(k.committed[i-1].id) {
		k.s.violate("leader %v lacks the committed %v, its last entry is %v", id, k.committed[i-1].id, n.ghost.mem.last())
	}
}

// wrote checks log matching (Raft figure 3): one id, one entry, one past.
func (k *checker) wrote(n *node, entries []ghostEntry) {
	for _, e := range entries {
		if chain, ok := k.chains[e.id]; ok && chain != e.chain {
			k.s.violate("node %d: %v is not the entry, or does not follow the log, that another node wrote under that id", n.id, e.id)
		}
		k.chains[e.id] = e.chain
	}
	if have := codec.Index(len(n.ghost.mem.entries)) - codec.Index(len(entries)); have < k.seen[n.id].commit {
		k.s.violate("node %d cuts its log to %d, below its commit %d", n.id, have, k.seen[n.id].commit)
	}
}

// commits checks state machine safety: what is committed at an index is so everywhere and for ever, and every leader
// above holds it. A leader commits what is durable on a write quorum.
func (k *checker) commits(n *node, from, to codec.Index) {
	for i := from + 1; i <= to; i++ {
		e := n.ghost.mem.entries[i-1]
		if i > codec.Index(len(k.committed)) {
			k.committed, k.by = append(k.committed, e), append(k.by, n.status.Vote.Leader)
			k.s.note(40, uint64(i), e.chain)
		} else if have := k.committed[i-1]; have != e {
			k.s.violate("node %d commits %v, elsewhere %v is committed", n.id, e.id, have.id)
			return
		}
	}
	last := n.ghost.mem.entries[to-1].id
	if n.status.Role == consensus.Leader {
		if last.Leader != n.status.Vote.Leader && n.status.Vote == k.seen[n.id].vote && k.seen[n.id].role == consensus.Leader {
			k.s.violate("node %d as %v commits %v by counting", n.id, n.status.Vote, last)
		}
		k.durable(n, last)
	}
	for _, o := range k.s.nodes {
		if o.up && o.status.Role == consensus.Leader && o.status.Vote.Leader.Compare(k.by[to-1]) > 0 && !o.ghost.mem.holds(last) {
			k.s.violate("node %d commits %v, which the leader %v lacks, as %v did", n.id, last, o.status.Vote.Leader, k.by[to-1])
		}
	}
}

// durable checks that an entry is on the disks of a write quorum of each config in force.
func (k *checker) durable(n *node, id codec.LogID) {
	m := n.core.Membership()
	for i := range m.Configs {
		count := 0
		for _, voter := range m.Configs[i].Voters {
			if k.s.node(voter).ghost.disk.holds(id) {
				count++
			}
		}
		if count <= len(m.Configs[i].Voters)/2 {
			k.s.violate("node %d takes %v for committed, it is durable on %d of %d", n.id, id, count, len(m.Configs[i].Voters))
		}
	}
}

// disk looks at a node whose log reported progress.
func (k *checker) disk(n *node) {
	have := k.seen[n.id]
	if v := n.ghost.disk.vote; !v.Covers(have.disk, k.s.shape.mode) {
		k.s.violate("node %d: durable vote %v after %v", n.id, v, have.disk)
	}
	have.disk = n.ghost.disk.vote
}

// leaves checks that a message promises no more than what is durable, and that a frame is what its sender's log holds.
func (k *checker) leaves(n *node, p *codec.Packet) {
	m, d := &p.Message, &n.ghost.disk
	surpassed := d.vote != m.Vote && d.vote.Covers(m.Vote, k.s.shape.mode)
	answer := m.Kind == codec.MessageAppendReply || m.Kind == codec.MessageHeartbeatReply
	promise := m.Kind == codec.MessageVote || m.Kind == codec.MessageVoteReply && m.Status == codec.StatusOK ||
		answer && m.Status != codec.StatusRefused
	if !promise && !p.Frame.IsZero() {
		k.frame(n, p)
	}
	if !promise {
		return
	}
	if d.vote != m.Vote && !surpassed {
		k.s.violate("node %d sends %v %v of %v, durable vote is %v", n.id, m.Kind, m.Status, m.Vote, d.vote)
	}
	held := m.Kind == codec.MessageVote || m.Kind == codec.MessageAppendReply && m.Status == codec.StatusOK
	if held && !d.holds(m.Log) && !surpassed {
		k.s.violate("node %d sends %v %v of %v, durable up to %v", n.id, m.Kind, m.Status, m.Log, d.last())
	}
	if n.poisoned {
		k.s.violate("node %d sends %v %v of %v after its log was poisoned", n.id, m.Kind, m.Status, m.Log)
	}
}

// frame checks that a frame carries the entries that its log holds there, unless they were cut meanwhile.
func (k *checker) frame(n *node, p *codec.Packet) {
	f := p.Frame.Meta()
	entries, err := chained(k.chainBefore(&p.Message), p.Frame)
	if err != nil {
		k.s.violate("node %d sends a frame that can't be read: %v", n.id, err)
		return
	}
	if e := entries[len(entries)-1]; k.chains[e.id] != e.chain {
		k.s.violate("node %d sends %v behind %v with other bytes than were written under that id", n.id, f.LastID(), p.Message.Log)
	}
}

func (k *checker) chainBefore(m *codec.Message) uint64 {
	if m.Log.Index == 0 {
		return 0
	}
	return k.chains[m.Log]
}

// applies checks an entry on its way into a state machine: the next one, committed, the same as everywhere.
func (k *checker) applies(n *node, e *codec.Entry) {
	i := e.ID.Index
	switch {
	case i != n.applied.index+1:
		k.s.violate("node %d applies %v after index %d", n.id, e.ID, n.applied.index)
	case i > codec.Index(len(k.committed)) || i > n.out.Commit:
		k.s.violate("node %d applies %v, which is not committed", n.id, e.ID)
	case k.committed[i-1].id != e.ID || k.committed[i-1].chain != chainWith(k.before(i), e):
		k.s.violate("node %d applies %v, committed is %v, or its bytes differ", n.id, e.ID, k.committed[i-1].id)
	}
}

func (k *checker) before(i codec.Index) uint64 {
	if i == 1 {
		return 0
	}
	return k.committed[i-2].chain
}

// state checks that state machines that applied the same have the same state.
func (k *checker) state(n *node) {
	i, hash := n.applied.index, n.applied.hash
	switch {
	case i == 0 || i > codec.Index(len(k.states))+1:
	case i == codec.Index(len(k.states))+1:
		k.states = append(k.states, hash)
	case k.states[i-1] != hash:
		k.s.violate("node %d: the state behind index %d is not what another node had there", n.id, i)
	}
}

// answered checks an entry whose client is told that it happened: it is committed and applied here, and a write quorum
// holds it durably.
func (k *checker) answered(n *node, id codec.LogID) {
	if id.Index > n.applied.index || id.Index > codec.Index(len(k.committed)) || k.committed[id.Index-1].id != id {
		k.s.violate("node %d answers %v, applied is %d", n.id, id, n.applied.index)
		return
	}
	k.durable(n, id)
}

// round looks at a node at the end of a round: the order of the pointers, and the caps.
func (k *checker) round(n *node) {
	have := k.seen[n.id]
	if n.applied.index != n.fed || n.fed < have.fed || n.fed > n.out.Commit || n.out.Commit > n.status.LastLog.Index {
		k.s.violate("node %d: applied %d after %d, fed %d, commit %d, last entry %v", n.id, n.applied.index, have.fed, n.fed,
			n.out.Commit, n.status.LastLog)
	}
	have.fed = n.fed
	if n.bytes > unappliedBytesMax+k.s.shape.batch*(k.s.shape.data+64)+codec.FrameHeaderSize {
		k.s.violate("node %d: %d bytes proposed and not applied, bound %d", n.id, n.bytes, unappliedBytesMax)
	}
}
