package consensus

import (
	"fmt"
	"slices"

	"github.com/millrace/millrace/codec"
)

// testChecker checks after each step, over all nodes and all their lives, what Raft promises.
type testChecker struct {
	c *testCluster
	// leaders says which life of its node led under a leader id; terms who led in a term.
	leaders map[codec.LeaderID]int
	terms   map[codec.Term]codec.LeaderID
	// entries says what stood at a log id, and what before it, when it was first written anywhere.
	entries map[codec.LogID]testSeen
	// committed are the entries committed anywhere, by index from 1, and by whom.
	committed []testEntry
	by        []codec.LeaderID
	// promised is the greatest durable vote of each node over all its lives.
	promised map[codec.NodeID]codec.Vote
	// states says what a state machine that has applied everything up to an index holds.
	states map[codec.Index]uint64
	mode   codec.VoteMode
	role   Role
	commit codec.Index
	counts simCounts
}

type testSeen struct {
	data uint64
	kind codec.EntryKind
	prev codec.LogID
}

func newTestChecker(c *testCluster) *testChecker {
	return &testChecker{
		c:        c,
		leaders:  map[codec.LeaderID]int{},
		terms:    map[codec.Term]codec.LeaderID{},
		entries:  map[codec.LogID]testSeen{},
		promised: map[codec.NodeID]codec.Vote{},
		states:   map[codec.Index]uint64{0: 0},
	}
}

// opened notes what a node finds committed in its log, which may be from before the play.
func (k *testChecker) opened(n *testNode) {
	for i := len(k.committed); i < int(n.core.Status().Commit); i++ {
		e := *n.disk.at(codec.Index(i + 1))
		k.committed, k.by = append(k.committed, e), append(k.by, e.id.Leader)
	}
}

func (k *testChecker) failf(format string, args ...any) {
	k.c.t.Fatalf("at %v: %s", k.c.now, fmt.Sprintf(format, args...))
}

func (k *testChecker) before(n *testNode) { k.role, k.commit = n.core.role, n.core.commit }

func (k *testChecker) after(n *testNode) {
	if m := n.core.Membership(); m != nil {
		k.mode = m.Mode
	}
	if n.core.role == Leader && k.role != Leader {
		k.elected(n)
	}
	if !n.out.Write.Frame.IsZero() {
		k.wrote(n)
	}
	k.membership(n)
	if n.out.Commit != n.core.commit || n.out.Commit < k.commit {
		k.failf("node %d: output commit %d, status %d, before %d", n.id, n.out.Commit, n.core.commit, k.commit)
	}
	for i := k.commit + 1; i <= n.out.Commit; i++ {
		k.commits(n, i)
	}
	if n.core.role == Leader && n.out.Commit > k.commit {
		k.durable(n, n.mem.at(n.out.Commit).id)
	}
	k.pointers(n)
	if n.core.log.last != n.mem.lastID() {
		k.failf("node %d: last entry %v, written %v", n.id, n.core.log.last, n.mem.lastID())
	}
}

// pointers checks the order of what a node says of itself: purged, snapshot, applied, commit, last.
func (k *testChecker) pointers(n *testNode) {
	st := n.core.Status()
	if st.Purged != n.mem.base.ID || st.Purged.Index > st.Commit || st.Snapshot.Index > n.applied || n.applied > st.Commit ||
		st.Commit > st.LastLog.Index || st.WantsSnapshot != (st.Snapshot.Index < st.Purged.Index && !n.witness()) {
		k.failf("node %d: purged %v, as written %v, snapshot %v (wants one: %v), applied %d, commit %d, last entry %v",
			n.id, st.Purged, n.mem.base.ID, st.Snapshot, st.WantsSnapshot, n.applied, st.Commit, st.LastLog)
	}
}

// applied checks that whoever has applied the same entries holds the same state.
func (k *testChecker) applied(n *testNode) {
	if state, known := k.states[n.applied]; known && state != n.state {
		k.failf("node %d: state %x after entry %d, elsewhere %x", n.id, n.state, n.applied, state)
	}
	k.states[n.applied] = n.state
}

// membership checks that a node goes by the newest membership of its log, and that at most one is not committed.
func (k *testChecker) membership(n *testNode) {
	var newest codec.LogID
	open := 0
	for i := len(n.mem.entries) - 1; i >= 0; i-- {
		if e := &n.mem.entries[i]; e.kind == codec.EntryMembership {
			if newest.IsZero() {
				newest = e.id
			}
			if e.id.Index <= n.core.commit {
				break
			}
			open++
		}
	}
	if newest.IsZero() {
		newest = n.mem.base.Membership.ID
	}
	if at := n.core.Status().MemberAt; at != newest {
		k.failf("node %d goes by the membership of %v, its log has %v", n.id, at, newest)
	}
	if n.core.role == Leader && open > 1 {
		k.failf("node %d leads with %d memberships that are not committed", n.id, open)
	}
}

// elected checks election safety and leader completeness (Raft figure 3).
func (k *testChecker) elected(n *testNode) {
	id := n.core.vote.Leader
	if life, led := k.leaders[id]; led && life != n.life && !n.resumes {
		k.failf("node %d leads again as %v, in life %d after %d", n.id, id, n.life, life)
	}
	if other, led := k.terms[id.Term]; led && other != id && k.mode == codec.OneLeaderPerTerm {
		k.failf("%v and %v lead in one term", other, id)
	}
	k.leaders[id], k.terms[id.Term] = n.life, id
	if n.resumes {
		k.counts.restored++
	}
	for i, e := range k.committed {
		if k.by[i].Compare(id) <= 0 && !n.mem.holds(e.id) {
			k.failf("leader %v lacks %v, which %v committed", id, e.id, k.by[i])
		}
	}
}

// wrote checks log matching (Raft figure 3): one id, one entry, one past.
func (k *testChecker) wrote(n *testNode) {
	f := n.out.Write.Frame
	for i := f.First; i <= f.Last(); i++ {
		e := *n.mem.at(i)
		seen := testSeen{data: e.data, kind: e.kind}
		if have, ok := k.entries[e.id]; ok && e.header {
			seen.data = have.data
		}
		if i > n.mem.base.ID.Index+1 {
			seen.prev = n.mem.at(i - 1).id
		} else {
			seen.prev = n.mem.base.ID
		}
		if e.id.Index != i || e.id.Leader != f.Leader {
			k.failf("node %d: entry %v at %d of frame %+v", n.id, e.id, i, f)
		}
		if have, ok := k.entries[e.id]; ok && have != seen {
			k.failf("node %d: %v is %+v here and %+v elsewhere", n.id, e.id, seen, have)
		}
		k.entries[e.id] = seen
	}
}

// commits checks state machine safety: what is committed at an index is so everywhere and for ever.
func (k *testChecker) commits(n *testNode, i codec.Index) {
	base := n.mem.base.ID
	switch {
	case i > n.mem.lastID().Index:
		k.failf("node %d commits %d, holds up to %v", n.id, i, n.mem.lastID())
	case i <= base.Index: // by a snapshot
		if int(base.Index) > len(k.committed) || k.committed[base.Index-1].id != base {
			k.failf("node %d begins its log behind %v, which nobody has committed", n.id, base)
		}
		return
	}
	e := *n.mem.at(i)
	if i > codec.Index(len(k.committed)) {
		k.committed, k.by = append(k.committed, e), append(k.by, n.core.vote.Leader)
	} else if k.committed[i-1].id != e.id {
		k.failf("node %d commits %v, elsewhere %v", n.id, e.id, k.committed[i-1].id)
	}
}

// durable checks that what a leader commits is on the disks of a write quorum of every config.
func (k *testChecker) durable(n *testNode, id codec.LogID) {
	for _, config := range n.core.Membership().Configs {
		var holders []codec.NodeID
		for _, voter := range config.Voters {
			if k.c.node(voter).disk.holds(id) {
				holders = append(holders, voter)
			}
		}
		if !writes(&config, holders) {
			k.failf("node %d commits %v, durable on %v of %+v", n.id, id, holders, config)
		}
	}
}

// writes reports whether these voters are a write quorum of a config, by the words of [codec.QuorumSystem].
func writes(config *codec.VoterConfig, holders []codec.NodeID) bool {
	q := &config.Quorum
	switch q.Kind {
	case codec.QuorumMajority:
		return 2*len(holders) > len(config.Voters)
	case codec.QuorumFlexible:
		return len(holders) >= int(q.Write)
	case codec.QuorumWeighted:
		sum := uint32(0)
		for i, voter := range config.Voters {
			if slices.Contains(holders, voter) {
				sum += q.Weights[i]
			}
		}
		return sum >= q.Write
	case codec.QuorumHierarchical:
		groups := uint32(0)
		for _, g := range q.Groups {
			count := uint32(0)
			for _, voter := range g.Voters {
				if slices.Contains(holders, voter) {
					count++
				}
			}
			if count >= g.Write {
				groups++
			}
		}
		return groups >= q.Write
	}
	panic(fmt.Sprintf("quorum system %v", q.Kind))
}

// leaves checks that a message promises no more than what is durable.
func (k *testChecker) leaves(n *testNode, p *testPacket) {
	m := &p.send.Message
	if d := n.disk.vote; !d.Covers(k.promised[n.id], k.mode) {
		k.failf("node %d: durable vote %v after %v", n.id, d, k.promised[n.id])
	}
	k.promised[n.id] = n.disk.vote
	surpassed := n.disk.vote != m.Vote && n.disk.vote.Covers(m.Vote, k.mode)
	for i, e := range p.entries {
		f := &p.send.Frame
		if e.id != (codec.LogID{Leader: f.Leader, Index: f.First + codec.Index(i)}) || e.kind != f.Kind || e.header != f.HeaderOnly {
			k.failf("node %d sends %v entry %v as number %d of frame %+v", n.id, e.kind, e.id, i, f)
		}
	}
	switch {
	case m.Group != testGroup:
		k.failf("node %d sends for group %d", n.id, m.Group)
	case m.PreVote, m.Kind == codec.MessageReadReply: // a question, and answers that promise nothing
	case m.Kind == codec.MessageVote, m.Status == codec.StatusOK, m.Status == codec.StatusConflict:
		if n.disk.vote != m.Vote && !surpassed {
			k.failf("node %d sends %v %v of %v, durable vote is %v", n.id, m.Kind, m.Status, m.Vote, n.disk.vote)
		}
	}
	switch {
	case m.Kind == codec.MessageVote && !m.PreVote && !n.disk.holds(m.Log) && !surpassed,
		m.Kind == codec.MessageAppendReply && m.Status == codec.StatusOK && !n.disk.holds(m.Log) && !surpassed:
		k.failf("node %d sends %v %v of %v, durable up to %v", n.id, m.Kind, m.Status, m.Log, n.disk.lastID())
	}
}
