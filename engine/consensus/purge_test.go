package consensus

import (
	"errors"
	"strings"
	"testing"

	"github.com/millrace/millrace/codec"
)

// A purge takes whole frames up to the snapshot, and its record brings the membership in force there.
func TestPurge(t *testing.T) {
	l := openOf(t, 1, one, won(1, 2))
	for index := codec.Index(1); index < 30; index += 3 { // frames of three: 2..4, 5..7, ...
		prev, _ := l.c.LogIDAt(index)
		l.frame(won(1, 2), prev, by(1, 2), 3, index+3)
	}
	l.flush()
	want(t, "commit", l.c.Status().Commit, 31)
	refused := func(index codec.Index, why string) {
		t.Helper()
		out := l.step(Input{Kind: InputPurge, Index: index})
		if !out.Refused || !errors.Is(out.Reason, ErrNothingToPurge) || !strings.Contains(out.Reason.Error(), why) {
			t.Fatalf("purge up to %d: %v, want it refused for %q", index, out.Reason, why)
		}
		want(t, "write", out.Write.Seq, 0)
	}
	refused(20, "those up to 0 may go, the last entry of the newest snapshot")
	l.step(Input{Kind: InputSnapshot, Log: at(1, 2, 12)})
	want(t, "snapshot", l.c.Status().Snapshot, at(1, 2, 12))
	out := l.step(Input{Kind: InputPurge, Index: 20})
	want(t, "base: the frame 11..13 stays", out.Write.Purge.ID, at(1, 2, 10))
	want(t, "membership", out.Write.Purge.Membership.ID, first)
	want(t, "purged", l.c.Status().Purged, at(1, 2, 10))
	refused(20, "those up to 12 may go")
	refused(3, "the log begins behind T1-N2-10")
	l.step(Input{Kind: InputSnapshot, Log: at(1, 2, 7)}) // comes late
	want(t, "snapshot", l.c.Status().Snapshot, at(1, 2, 12))
	l.step(Input{Kind: InputSnapshot, Log: at(1, 2, 31)})
	want(t, "less than all", l.step(Input{Kind: InputPurge, Index: 15}).Write.Purge.ID, at(1, 2, 13))
	want(t, "all", l.step(Input{Kind: InputPurge, Index: 1000}).Write.Purge.ID, at(1, 2, 31))
	want(t, "last", l.last(), at(1, 2, 31))
	want(t, "next", l.frame(won(1, 2), at(1, 2, 31), by(1, 2), 1, 31).Write.Frame.First, 32)
}

// Nothing is purged that is not durable here: after a crash the log would end before it begins.
func TestPurgeOnlyWhatIsDurable(t *testing.T) {
	l := openOf(t, 1, one, won(1, 2))
	l.frame(won(1, 2), first, by(1, 2), 1, 2)
	l.flush()
	l.frame(won(1, 2), at(1, 2, 2), by(1, 2), 1, 3)
	l.step(Input{Kind: InputSnapshot, Log: at(1, 2, 3)})
	want(t, "base", l.step(Input{Kind: InputPurge, Index: 3}).Write.Purge.ID, at(1, 2, 2))
	l.flush()
	want(t, "base", l.step(Input{Kind: InputPurge, Index: 3}).Write.Purge.ID, at(1, 2, 3))
}

// A purge keeps the newest membership up to it, and what comes after.
func TestPurgeAcrossMemberships(t *testing.T) {
	l := openOf(t, 1, one, won(1, 2))
	prev := first
	for n := 4; n <= 6; n++ {
		l.step(Input{
			Kind: InputMessage, Peer: 2, Membership: testMembership(one, n),
			Message: codec.Message{Kind: codec.MessageAppend, Group: testGroup, Vote: won(1, 2), Log: prev, Commit: prev.Index + 1, Stream: 1},
			Frame:   codec.FrameMeta{Group: testGroup, Leader: by(1, 2), First: prev.Index + 1, Count: 1, Kind: codec.EntryMembership, Size: 100},
		})
		l.frame(won(1, 2), l.last(), by(1, 2), 1, prev.Index+2)
		prev = l.last()
	}
	l.flush()
	for _, test := range []struct{ to, membership codec.Index }{{2, 2}, {3, 2}, {5, 4}, {7, 6}} {
		out := l.purge(test.to)
		want(t, "membership", out.Write.Purge.Membership.ID.Index, test.membership)
		want(t, "voters", len(out.Write.Purge.Membership.Membership.Nodes), int(3+test.membership/2))
		want(t, "effective", l.c.Status().MemberAt.Index, 6)
		l.flush()
	}
}

// A witness applies nothing, so that it needs no snapshot to purge.
func TestPurgeOfAWitness(t *testing.T) {
	m := testMembership(one, 3)
	m.Nodes[0].Witness = true
	st := logOf(won(1, 2), m, by(1, 2), by(1, 2))
	st.Frames[1].HeaderOnly, st.Frames[1].Size, st.Commit = true, codec.FrameHeaderSize, 2
	l := open(t, 1, st)
	want(t, "base", l.step(Input{Kind: InputPurge, Index: 3}).Write.Purge.ID, at(1, 2, 2))
	want(t, "wants a snapshot", l.c.Status().WantsSnapshot, false)
	want(t, "headers", l.c.log.headersTo, 0)
}
