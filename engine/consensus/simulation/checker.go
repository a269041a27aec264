package simulation

import (
	"cmp"
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
	// leaders says which life of its node led under a leader id; terms who led in a term; granted who is known there to
	// have granted its vote.
	leaders map[codec.LeaderID]int
	terms   map[codec.Term]codec.LeaderID
	granted map[codec.LeaderID][]codec.NodeID
	// pasts says what stood at a log id, and before it, when it was first written anywhere.
	pasts map[codec.LogID]past
	// committed are the entries committed anywhere, by the leadership in by, which ascends; both by index from 1. effects are
	// the states of the state machine, ascending; memberships the indexes of entries that hold one.
	committed   []ghostEntry
	by          []codec.LeaderID
	effects     []effect
	memberships []codec.Index
	// open are the membership entries ever written that may still be committed.
	open []codec.LogID
	// seen is what was last seen of each node's life.
	seen map[codec.NodeID]*seen

	decoded []codec.Entry // scratch
	peers   []consensus.PeerStatus
}

// seen is what may not go back in one life, and the durable vote, which may not in any; and what the checks of one life
// must remember.
type seen struct {
	role   consensus.Role
	vote   codec.Vote
	commit codec.Index
	fed    codec.Index
	disk   codec.Vote

	blank     bool // the life began without a membership, so that the vote mode was not known
	memberAt  codec.LogID
	member    *codec.Membership // of memberAt; nil before initialization
	elections uint64
	deadline  consensus.Instant // that the last step returned
	// restores is the leadership that this life may take up again; zero when none.
	restores codec.LeaderID

	// leaseEnd is until when the node has promised by silence to give no vote.
	leaseEnd consensus.Instant
	// called says that a candidate with less log asked this learner for its vote, since it last heard a leader.
	called bool

	lead leading
}

func (k *checker) init(s *run) {
	*k = checker{s: s, leaders: map[codec.LeaderID]int{}, terms: map[codec.Term]codec.LeaderID{},
		granted: map[codec.LeaderID][]codec.NodeID{}, pasts: map[codec.LogID]past{}, seen: map[codec.NodeID]*seen{}}
}

// started notes a new life: commit and applied may begin lower, the vote may not.
func (k *checker) started(n *node, state *codec.LogState) {
	st := n.core.Status()
	disk := codec.Vote{}
	if have := k.seen[n.id]; have != nil {
		disk = have.disk
	}
	if !st.Vote.Covers(disk, k.s.shape.mode) {
		k.s.violate("node %d starts with vote %v, its durable vote was %v", n.id, st.Vote, disk)
	}
	n.status = st
	n.out.Commit = st.Commit
	have := &seen{role: st.Role, vote: st.Vote, disk: st.Vote, blank: st.MemberAt.IsZero()}
	k.seen[n.id] = have
	if st.Vote.Committed && st.Vote.Leader.Node != n.id {
		have.leaseEnd = n.now.Add(k.s.shape.timeout)
	}
	if n.restoreLeader && state.CleanClose && st.Vote.Committed && st.Vote.Leader.Node == n.id {
		have.restores = st.Vote.Leader
	}
	k.membership(n, have)
	if st.Role == consensus.Leader {
		k.s.violate("node %d starts as a leader", n.id)
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
	case st.Disagreed > 0:
		k.s.violate("node %d dropped %d messages of node %d for its vote mode", n.id, st.Disagreed, st.DisagreedWith)
	case n.out.Refused && (n.out.Reason == nil) != (n.in.Kind == consensus.InputPropose && have.role != consensus.Leader):
		k.s.violate("node %d, %v, refuses input %d for the reason %v", n.id, st.Role, n.in.Kind, n.out.Reason)
	}
	k.membership(n, have)
	k.message(n, have)
	led := have.role == consensus.Leader && st.Role == consensus.Leader && have.vote.Leader == st.Vote.Leader
	if st.Role == consensus.Leader && !led {
		k.elected(n, have)
	}
	if st.Commit > have.commit {
		k.commits(n, have.commit, st.Commit, led)
	}
	if st.Role == consensus.Leader {
		k.leading(n, have)
	}
	have.role, have.vote, have.commit = st.Role, st.Vote, st.Commit
	have.elections, have.deadline = st.Elections, n.out.Deadline
}

// wrote checks log matching (Raft figure 3): one id, one entry, one past. f is the frame that held the entries, before
// the chain of what stands before them.
func (k *checker) wrote(n *node, f codec.Frame, before uint64, entries []ghostEntry) {
	for _, e := range entries {
		p, ok := k.pasts[e.id]
		switch {
		case !ok:
			p = past{before: before, chain: e.chain, kind: e.kind}
			if e.kind == codec.EntryMembership {
				p.membership = k.proposed(n, e, f)
				k.open = append(k.open, e.id)
			}
			k.pasts[e.id] = p
		case p.chain != e.chain || p.before != before:
			k.s.violate("node %d: %v is not the entry, or does not follow the log, that another node wrote under that id", n.id, e.id)
		}
		before = e.chain
	}
	if have := codec.Index(len(n.ghost.mem.entries)) - codec.Index(len(entries)); have < k.seen[n.id].commit {
		k.s.violate("node %d cuts its log to %d, below its commit %d", n.id, have, k.seen[n.id].commit)
	}
}

// commits checks state machine safety: what is committed at an index is so everywhere and for ever, and every leader
// above holds it. A leader, one that led before the step, commits what is durable on a write quorum.
func (k *checker) commits(n *node, from, to codec.Index, led bool) {
	if k.s.lenient && from > codec.Index(len(k.committed)) {
		return // it goes on from what was lost with the old image of a disk
	}
	for i := from + 1; i <= to; i++ {
		e := n.ghost.mem.entries[i-1]
		if i > codec.Index(len(k.committed)) {
			k.committed, k.by = append(k.committed, e), append(k.by, n.status.Vote.Leader)
			if e.kind == codec.EntryMembership {
				k.memberships = append(k.memberships, i)
				k.s.tracef("membership of %v is committed: %v", e.id, describe(k.pasts[e.id].membership))
			}
			k.s.note(40, uint64(i), e.chain)
		} else if have := k.committed[i-1]; have.id != e.id || have.chain != e.chain {
			k.s.violate("node %d commits %v, elsewhere %v is committed", n.id, e.id, have.id)
			return
		}
	}
	last := n.ghost.mem.entries[to-1].id
	if led {
		if last.Leader != n.status.Vote.Leader {
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

// durable checks that an entry is on the disks of a write quorum of each config in force. One that the same step proposes
// is not in force yet: a leader counts first.
func (k *checker) durable(n *node, id codec.LogID) {
	m := k.seen[n.id].member
	if n.out.Write.Frame.Kind == codec.EntryMembership {
		m = k.pasts[n.ghost.mem.memberBefore(1)].membership
	}
	if !writes(m, func(voter codec.NodeID) bool { return k.s.node(voter).promised(id) }) {
		var holders []codec.NodeID
		for _, o := range k.s.nodes {
			if o.promised(id) {
				holders = append(holders, o.id)
			}
		}
		k.s.violate("node %d takes %v for committed, it is durable on %v of %v", n.id, id, holders, describe(m))
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

// effect is the state of the state machine behind an entry that changed it.
type effect struct {
	index codec.Index
	hash  uint64
}

// feeds checks a frame on its way into an applier, or past it: the next entries, committed, the same as everywhere.
func (k *checker) feeds(n *node, f codec.Frame) {
	meta := f.Meta()
	if meta.HeaderOnly {
		for i := range codec.Index(meta.Count) {
			k.passes(n, codec.LogID{Leader: meta.Leader, Index: meta.First + i}, n.fed+i)
		}
		return
	}
	entries, err := f.AppendEntries(k.decoded[:0])
	if err != nil {
		k.s.violate("node %d: frame at index %d: %v", n.id, meta.First, err)
		return
	}
	k.decoded = entries
	for i := range entries {
		e := &entries[i]
		k.passes(n, e.ID, n.fed+codec.Index(i))
		if k.s.failure == nil && !k.s.lenient && k.committed[e.ID.Index-1].chain != chainWith(k.before(e.ID.Index), e) {
			k.s.violate("node %d applies %v, whose bytes are not those that were committed", n.id, e.ID)
		}
	}
}

// effect checks a change of a state machine: it must come to what every other one had behind the same entry, having missed
// nothing before.
func (k *checker) effect(n *node, before codec.Index, m *machine) {
	switch last := len(k.effects) - 1; {
	case m.index > n.fed || m.index <= before:
		k.s.violate("node %d applies index %d after %d, fed %d", n.id, m.index, before, n.fed)
	case last < 0 && before == 0 || last >= 0 && m.index > k.effects[last].index && before == k.effects[last].index:
		k.effects = append(k.effects, effect{m.index, m.hash})
	case k.stateAt(m.index) != effect{m.index, m.hash}:
		k.s.violate("node %d: the state behind index %d is not what another node had there, or an entry was left out after %d", n.id, m.index, before)
	}
}

// stateAt returns the state behind an index.
func (k *checker) stateAt(i codec.Index) effect {
	at, found := slices.BinarySearchFunc(k.effects, i, func(e effect, i codec.Index) int { return cmp.Compare(e.index, i) })
	switch {
	case found:
		return k.effects[at]
	case at == 0:
		return effect{}
	}
	return k.effects[at-1]
}

// applied looks at a state machine after a turn of its applier: nothing that changes it was left out.
func (k *checker) applied(n *node) {
	if n.partial {
		return
	}
	if want := k.stateAt(n.appliedTo()); want != (effect{n.machine.index, n.machine.hash}) {
		k.s.violate("node %d has applied %d, its state is that behind %d; want that behind %d, or the two differ", n.id, n.appliedTo(),
			n.machine.index, want.index)
	}
}

// passes checks the id of an entry that is committed and goes to the applier, or that a witness passes over.
func (k *checker) passes(n *node, id codec.LogID, after codec.Index) {
	i := id.Index
	if i != after+1 || i > codec.Index(len(k.committed)) || i > n.out.Commit || k.committed[i-1].id != id {
		k.s.violate("node %d applies or passes over %v after index %d, commit %d", n.id, id, after, n.out.Commit)
	}
}

func (k *checker) before(i codec.Index) uint64 {
	if i == 1 {
		return 0
	}
	return k.committed[i-2].chain
}

// answered checks an entry whose client is told that it happened: it is committed and applied here. That it was durable
// on a write quorum was checked when it was committed.
func (k *checker) answered(n *node, id codec.LogID) {
	if id.Index > n.fed || id.Index > codec.Index(len(k.committed)) || k.committed[id.Index-1].id != id {
		k.s.violate("node %d answers %v, fed is %d", n.id, id, n.fed)
	}
}

// round looks at a node at the end of a round: the order of the pointers, and the caps.
func (k *checker) round(n *node) {
	have := k.seen[n.id]
	if n.appliedTo() > n.fed || n.fed < have.fed || n.fed > n.out.Commit || n.out.Commit > n.status.LastLog.Index {
		k.s.violate("node %d: applied %d after %d, fed %d, commit %d, last entry %v", n.id, n.appliedTo(), have.fed, n.fed,
			n.out.Commit, n.status.LastLog)
	}
	have.fed = n.fed
	if n.bytes > unappliedBytesMax+k.s.shape.frameBytes()+k.s.shape.data+64+codec.FrameHeaderSize {
		k.s.violate("node %d: %d bytes proposed and not applied, bound %d", n.id, n.bytes, unappliedBytesMax)
	}
}

// newest returns the newest committed membership, nil before the first.
func (k *checker) newest() *codec.Membership {
	if len(k.memberships) == 0 {
		return nil
	}
	return k.pasts[k.committed[k.memberships[len(k.memberships)-1]-1].id].membership
}

// grants notes that a candidate has got a vote.
func (k *checker) grants(candidate codec.LeaderID, voter codec.NodeID) {
	if have := k.granted[candidate]; !slices.Contains(have, voter) {
		k.granted[candidate] = append(have, voter)
	}
}
