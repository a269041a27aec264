package simulation

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/millrace/millrace/codec"
)

// membership checks that the effective membership is the newest one in the log, and that at most one of a log is not
// committed anywhere.
func (k *checker) membership(n *node, have *seen) {
	at := n.ghost.mem.memberAt()
	if n.status.MemberAt != at {
		k.s.violate("node %d goes by the membership of %v, its log says that of %v", n.id, n.status.MemberAt, at)
		return
	}
	if at == have.memberAt {
		return
	}
	m, got := k.pasts[at].membership, n.core.Membership()
	if (m == nil) != (got == nil) || m != nil && !bytes.Equal(codec.AppendMembership(nil, m), codec.AppendMembership(nil, got)) {
		k.s.violate("node %d goes by another membership than the one of %v", n.id, at)
		return
	}
	if before := n.ghost.mem.memberBefore(1); before.Index > max(n.out.Commit, codec.Index(len(k.committed))) {
		k.s.violate("node %d holds the memberships of %v and %v, neither of which is committed", n.id, before, at)
	}
	have.memberAt, have.member = at, m
	have.lead.changed = n.now
	n.setPeers(m)
	k.s.tracef("node %d goes by the membership of %v: %v", n.id, at, describe(m))
	if m != nil && n.status.Voter != m.IsVoter(n.id) {
		k.s.violate("node %d takes itself for a voter: %v, in the membership of %v", n.id, n.status.Voter, at)
	}
}

// proposed reads the membership in a frame that nobody had written before and checks whoever proposes it.
func (k *checker) proposed(n *node, e ghostEntry, f codec.Frame) *codec.Membership {
	m, err := readMembership(f)
	if err != nil {
		k.s.violate("node %d writes a membership at %v that can't be read: %v", n.id, e.id, err)
		return nil
	}
	if why := flaw(&m); why != "" {
		k.s.violate("node %d writes the membership %v at %v: %s", n.id, describe(&m), e.id, why)
	}
	if e.id.Leader.IsZero() {
		return &m
	}
	// The write belongs to the step whose output n.out is; the ghost holds it already.
	before := n.ghost.mem.memberBefore(1)
	old := k.pasts[before].membership
	switch {
	case e.id.Leader.Node != n.id:
		k.s.violate("node %d writes the membership of %v, which its leader has not written", n.id, e.id)
	case old == nil:
		k.s.violate("node %d proposes the membership of %v after none", n.id, e.id)
	case before.Index > n.out.Commit:
		k.s.violate("node %d proposes the membership of %v, that of %v is not committed", n.id, e.id, before)
	case n.out.Commit == 0 || n.ghost.mem.entries[n.out.Commit-1].id.Leader != e.id.Leader:
		k.s.violate("node %d proposes the membership of %v before it has committed an entry of its own", n.id, e.id)
	case !sharedConfig(old, &m):
		k.s.violate("node %d proposes %v after %v, which share no config", n.id, describe(&m), describe(old))
	case m.Mode != old.Mode:
		k.s.violate("node %d proposes the vote mode %v, it was %v", n.id, m.Mode, old.Mode)
	default:
		k.follows(n, old, &m)
	}
	return &m
}

// follows checks what a membership does to single nodes, and that a transient one is followed by what it leads to.
func (k *checker) follows(n *node, old, m *codec.Membership) {
	last := codec.Index(len(n.ghost.mem.entries)) - 1 // the proposal itself comes behind it
	sent := func(witness bool) codec.Index {
		if witness { // which gets only what is durable here
			return n.core.Status().Flushed.Index
		}
		return last
	}
	for _, now := range m.Nodes {
		was, ok := old.Node(now.ID)
		switch {
		case ok && was.Witness != now.Witness:
			k.s.violate("node %d proposes to make node %d a witness: %v", n.id, now.ID, now.Witness)
		case ok && !was.Incarnation.IsZero() && was.Incarnation != now.Incarnation:
			k.s.violate("node %d proposes node %d with another disk", n.id, now.ID)
		case m.IsVoter(now.ID) && !old.IsVoter(now.ID) && now.ID != n.id && n.reaches(now.ID) < sent(now.Witness):
			k.s.violate("node %d proposes to make a voter of node %d, which got entries up to %d of %d", n.id, now.ID,
				n.reaches(now.ID), last)
		}
	}
	if old.Transient {
		want := old.Clone()
		want.Transient, want.Configs = false, want.Configs[len(want.Configs)-1:]
		want.Nodes = slices.DeleteFunc(want.Nodes, func(o codec.Node) bool { return o.Leaving })
		if !bytes.Equal(codec.AppendMembership(nil, &want), codec.AppendMembership(nil, m)) {
			k.s.violate("node %d proposes %v after %v, which leads to %v", n.id, describe(m), describe(old), describe(&want))
		}
	}
	if !m.Transient {
		return
	}
	if len(m.Configs) != len(old.Configs)+1 || !slices.EqualFunc(old.Configs, m.Configs[:len(old.Configs)],
		func(a, b codec.VoterConfig) bool { return a.Equal(&b) }) {
		k.s.violate("node %d proposes the transient %v after %v", n.id, describe(m), describe(old))
	}
	for _, was := range old.Nodes {
		if _, ok := m.Node(was.ID); !ok {
			k.s.violate("node %d proposes the transient %v, which drops node %d at once", n.id, describe(m), was.ID)
		}
	}
}

// describe puts a membership into a few words.
func describe(m *codec.Membership) string {
	if m == nil {
		return "none"
	}
	var b strings.Builder
	for i := range m.Configs {
		if i > 0 {
			b.WriteString(" and ")
		}
		fmt.Fprintf(&b, "%v", m.Configs[i])
	}
	if m.Transient {
		b.WriteString(", transient")
	}
	for _, n := range m.Nodes {
		fmt.Fprintf(&b, ", %d", n.ID)
		for _, mark := range []struct {
			on   bool
			sign string
		}{{n.Witness, "w"}, {n.Promote, "+"}, {n.Leaving, "-"}, {!m.IsVoter(n.ID), "l"}} {
			if mark.on {
				b.WriteString(mark.sign)
			}
		}
	}
	return b.String()
}
