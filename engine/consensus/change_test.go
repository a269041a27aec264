package consensus

import (
	"errors"
	"testing"

	"github.com/millrace/millrace/codec"
)

// incarnated returns a membership of three voters, each of a disk of its own.
func incarnated() *codec.Membership {
	m := testMembership(one, 3)
	for i := range m.Nodes {
		m.Nodes[i].Incarnation = codec.Incarnation{byte(i + 1)}
	}
	return m
}

// What the membership says of a member's disk stays where a change leaves it out, and can't be changed.
func TestChangeKeepsIncarnations(t *testing.T) {
	l := leading(t, nil)
	if out := l.step(Input{Kind: InputChange, Membership: incarnated()}); out.Refused {
		t.Fatal(out.Reason)
	}
	l.flush()
	l.ack(2, codec.StatusOK, l.last())
	want(t, "commit", l.c.commit, l.last().Index)
	other := incarnated()
	other.Nodes[1].Incarnation = codec.Incarnation{9}
	out := l.step(Input{Kind: InputChange, Membership: other})
	want(t, "another disk is refused", errors.Is(out.Reason, ErrMembership), true)
	silent := testMembership(one, 3)
	silent.Nodes[0].Priority = 5
	if out := l.step(Input{Kind: InputChange, Membership: silent}); out.Refused {
		t.Fatal(out.Reason)
	}
	for i, n := range l.c.Membership().Nodes {
		want(t, "disk", n.Incarnation, incarnated().Nodes[i].Incarnation)
	}
}

// Two learners that have caught up can't both become voters, since a write quorum would then be of witnesses alone; one can.
func TestOneIsPromotedWhereAllCannotBe(t *testing.T) {
	m := configsAmong(3, codec.MajorityConfig(1))
	for i := range m.Nodes[1:] {
		m.Nodes[i+1].Witness, m.Nodes[i+1].Promote = true, true
	}
	l := open(t, 1, logOf(codec.Vote{}, m))
	l.lead()
	for range 4 {
		l.flush()
		for _, peer := range []codec.NodeID{2, 3} {
			l.ack(peer, codec.StatusOK, first)
			l.ack(peer, codec.StatusOK, l.last())
		}
		l.wait(testHeartbeat)
	}
	want(t, "transient", l.c.Membership().Transient, false)
	want(t, "voters", len(l.c.Membership().Configs[0].Voters), 2)
}
