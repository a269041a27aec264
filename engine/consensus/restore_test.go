package consensus

import (
	"testing"

	"github.com/millrace/millrace/codec"
)

// A leader that removed itself and was closed cleanly does not resume: it is no voter of the membership that it holds.
func TestRemovedLeaderDoesNotResume(t *testing.T) {
	for _, removed := range []bool{true, false} {
		rest := testMembership(one, 3)
		if removed {
			rest.Nodes, rest.Configs[0].Voters = rest.Nodes[1:], rest.Configs[0].Voters[1:]
		}
		st := logOf(won(1, 1), testMembership(one, 3), by(1, 1))
		st.Frames[1].Kind = codec.EntryMembership
		st.Memberships = append(st.Memberships, codec.MembershipRecord{ID: at(1, 1, 2), Membership: *rest})
		st.Commit, st.CleanClose = 2, true
		cfg := testConfig(1)
		cfg.RestoreLeader = true
		c, err := New(cfg, st, 0)
		if err != nil {
			t.Fatal(err)
		}
		l := &lone{t: t, c: c, node: 1}
		out := l.step(Input{Kind: InputTick})
		want(t, "leads", c.role == Leader, !removed)
		want(t, "writes", out.Write.Seq != 0, !removed)
	}
}
