package consensus

import (
	"errors"
	"testing"

	"github.com/millrace/millrace/codec"
)

// A node whose log holds a witness's headers must not become an ordinary member: neither by a membership that it is
// given, nor by the one that it starts with.
func TestWitnessLogMakesNoOrdinaryMember(t *testing.T) {
	m := testMembership(one, 3)
	m.Nodes[2].Witness = true
	st := logOf(won(1, 1), m, by(1, 1))
	st.Frames[1].HeaderOnly, st.Frames[1].Size = true, codec.FrameHeaderSize
	l := open(t, 3, st)
	give := func(index codec.Index, m *codec.Membership) *Output {
		f := membershipFrame(m)
		f.Group, f.Leader, f.First = testGroup, by(1, 1), index
		return l.step(Input{
			Kind: InputMessage, Peer: 1, Frame: f, Membership: m,
			Message: codec.Message{Kind: codec.MessageAppend, Group: testGroup, Vote: won(1, 1), Log: l.last(), Commit: index - 1, Stream: 1},
		})
	}
	if out := give(3, testMembership(one, 2)); out.Fatal != nil {
		t.Fatalf("the witness is removed: %v", out.Fatal)
	}
	if out := give(4, testMembership(one, 3)); !errors.Is(out.Fatal, ErrWitnessLog) || out.Write.Seq != 0 || len(out.AfterFlush) > 0 {
		t.Errorf("it comes back as an ordinary member: %v, write %d, want ErrWitnessLog and nothing written", out.Fatal, out.Write.Seq)
	}
	st.Memberships[0].Membership = *testMembership(one, 3)
	if _, err := New(testConfig(3), st, 0); !errors.Is(err, ErrWitnessLog) {
		t.Errorf("it starts as an ordinary member: %v, want ErrWitnessLog", err)
	}
}

// A witness that its newest membership leaves out is not needed to lead while that is not committed, as others may be.
func TestRemovedWitnessNeverCampaigns(t *testing.T) {
	for _, witness := range []bool{true, false} {
		m, rest := testMembership(one, 3), testMembership(one, 2)
		m.Nodes[2].Witness = witness
		st := logOf(won(1, 1), m, by(1, 1))
		st.Frames[1].Kind = codec.EntryMembership
		st.Memberships = append(st.Memberships, codec.MembershipRecord{ID: at(1, 1, 2), Membership: *rest})
		l := open(t, 3, st)
		l.now = 10 * Instant(testTimeouts)
		out := l.step(Input{Kind: InputElect})
		want(t, "refused", errors.Is(out.Reason, ErrMayNotCampaign), witness)
		want(t, "candidate", l.c.role == Candidate, !witness)
	}
}
