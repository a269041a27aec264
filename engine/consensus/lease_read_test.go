package consensus

import (
	"errors"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

const testDrift = 100_000 // a tenth

// leadByLease makes node 1 of some the leader, with leases, everything committed and nobody heard for a while.
func leadByLease(t *testing.T, m *codec.Membership) *lone {
	t.Helper()
	cfg := testConfig(1)
	cfg.LeaseReads, cfg.ClockDriftMax = true, testDrift
	c, err := New(cfg, logOf(won(1, 2), m), 0)
	if err != nil {
		t.Fatal(err)
	}
	l := &lone{t: t, c: c, node: 1}
	l.lead(2)
	l.flush()
	l.ack(2, codec.StatusOK, l.last())
	return l
}

// leaseRead asks for a read by lease and reports whether the lease answered it.
func (l *lone) leaseRead(token uint64) bool {
	l.t.Helper()
	out := l.step(Input{Kind: InputRead, Token: token, Lease: true})
	if len(out.Reads) == 0 {
		return false
	}
	want(l.t, "answered by the lease", out.Reads[0], Read{Token: token, Index: l.c.commit, Lease: true})
	return true
}

// A lease lasts for the election timeout less the drift, counted from when what a quorum has answered was sent (Q5).
func TestLeaseRead(t *testing.T) {
	l := leadByLease(t, testMembership(one, 3))
	sent := l.now
	l.now = l.now.Add(40 * ms)
	l.beatAt(2, sent) // takes a while to come
	until := sent.Add(testTimeout * 9 / 10)
	want(t, "until", l.c.Status().LeaseUntil, until)
	want(t, "read", l.leaseRead(1), true)
	l.now = until - 1
	want(t, "the last instant", l.leaseRead(2), true)
	l.now = until
	want(t, "the end", l.leaseRead(3), false)
	out := l.beatAt(3, l.now)
	want(t, "then a quorum answers", l.answered(out), Read{Token: 3, Index: l.c.commit})
	want(t, "and the lease runs again", l.c.Status().LeaseUntil, l.now.Add(testTimeout*9/10))
}

// What a follower promises outlasts what its leader counts on, for clocks that drift as far apart as the bound allows, and
// not much longer.
func TestLeaseLengthAgainstDrift(t *testing.T) {
	for _, drift := range []int{1, 3, 100, 1000, 99_999, 100_000, 333_333, driftParts/2 - 1} {
		for _, timeout := range []time.Duration{2, 999_999, 1_000_001, 150 * ms, 7*time.Second + 13, timeoutMax - 1} {
			cfg := Config{ElectionTimeoutMin: timeout, ClockDriftMax: drift}
			length := leaseLength(&cfg)
			// length <= timeout (1-d), with whole numbers; one more would be too much.
			exact := func(n time.Duration) bool {
				whole, part := int64(timeout)/driftParts, int64(timeout)%driftParts
				over := int64(n) - whole*int64(driftParts-drift) // n driftParts <= timeout (driftParts-drift), without overflow
				return over <= part*int64(driftParts-drift)/driftParts
			}
			if !exact(length) || exact(length+1) {
				t.Errorf("timeout %v, drift %d: a lease of %v", timeout, drift, length)
			}
		}
	}
}

// Nobody else is needed where this node alone is a write quorum: its lease never ends.
func TestLeaseOfASingleNode(t *testing.T) {
	cfg := testConfig(1)
	cfg.LeaseReads, cfg.ClockDriftMax = true, testDrift
	c, err := New(cfg, logOf(won(1, 2), testMembership(one, 1)), 0)
	if err != nil {
		t.Fatal(err)
	}
	l := &lone{t: t, c: c, node: 1}
	l.now = c.election.deadline
	l.step(Input{Kind: InputTick})
	l.flush()
	want(t, "before its first entry is committed", l.c.Status().LeaseUntil, 0)
	l.flush()
	want(t, "until", l.c.Status().LeaseUntil, Never)
	want(t, "read", l.leaseRead(1), true)
}

// There is no lease before an entry of this leadership is committed, without the setting, or in another role.
func TestNoLease(t *testing.T) {
	l := leadByLease(t, testMembership(one, 3))
	fresh := func() *lone {
		cfg := l.c.cfg
		c, err := New(cfg, logOf(won(1, 2), testMembership(one, 3)), 0)
		if err != nil {
			t.Fatal(err)
		}
		f := &lone{t: t, c: c, node: 1}
		f.lead(2)
		f.now++
		f.step(Input{Kind: InputHeartbeat})
		f.beatAt(2, f.now)
		return f
	}
	f := fresh()
	want(t, "before its first entry is committed", f.c.Status().LeaseUntil, 0)
	want(t, "read", f.leaseRead(1), false)
	f.flush()
	f.ack(2, codec.StatusOK, f.last())
	want(t, "after it", f.leaseRead(2), true)
	f.heartbeat(won(9, 3), codec.LogID{}, 0)
	want(t, "as a follower", f.c.Status().LeaseUntil, 0)

	off := openOf(t, 1, one, won(1, 2))
	off.lead(2)
	off.flush()
	off.ack(2, codec.StatusOK, off.last())
	want(t, "switched off", off.c.Status().LeaseUntil, 0)
	want(t, "read", off.leaseRead(1), false)
}

// Q5: a leader that has asked somebody to campaign has no lease, until that node holds an entry that makes it disobey.
func TestNoLeaseAfterATransfer(t *testing.T) {
	l := leadByLease(t, testMembership(one, 3))
	l.ack(3, codec.StatusOK, l.last())
	want(t, "before", l.leaseRead(1), true)
	out := l.step(Input{Kind: InputTransfer, Peer: 3, Timeout: 20 * ms})
	want(t, "asked", len(to(out.Now, 3, codec.MessageTransfer)), 1)
	want(t, "asked to campaign", l.leaseRead(2), false)
	want(t, "until", l.c.Status().LeaseUntil, 0)
	l.now = l.now.Add(20 * ms)
	l.step(Input{Kind: InputTick}) // gives up, and appends an entry
	want(t, "gave up", l.c.Status().Transferee, 0)
	l.flush()
	l.beatAt(2, l.now)
	l.beatAt(3, l.now)
	l.ack(2, codec.StatusOK, l.last())
	want(t, "while the target may still obey", l.leaseRead(3), false)
	l.ack(3, codec.StatusOK, l.last())
	want(t, "once it will not", l.leaseRead(4), true)
}

// Q5: no lease survives a change of membership; a quorum of the new one has to answer something sent since.
func TestNoLeaseAcrossAChange(t *testing.T) {
	m := testMembership(one, 3)
	l := leadByLease(t, m)
	l.ack(3, codec.StatusOK, l.last())
	want(t, "before", l.leaseRead(1), true)
	sent := l.now
	l.step(Input{Kind: InputHeartbeat}) // at the same instant as the change, before it
	next := m.Clone()
	next.Nodes = append(next.Nodes, codec.Node{ID: 4, Address: "node4"})
	want(t, "refused", l.step(Input{Kind: InputChange, Membership: &next}).Reason, nil)
	want(t, "after it", l.leaseRead(2), false)
	l.beatAt(2, sent)
	l.beatAt(3, sent)
	want(t, "by what was sent before", l.leaseRead(3), false)
	l.now++
	l.flush()
	l.ack(4, codec.StatusOK, first)
	want(t, "by a learner", l.leaseRead(4), false)
	l.beatAt(2, l.now)
	want(t, "by a quorum", l.leaseRead(5), true)
}

// A node with leases does not forget its leader, whom others may be reading from.
func TestLeasesAreNotForgotten(t *testing.T) {
	cfg := testConfig(1)
	cfg.LeaseReads, cfg.ClockDriftMax = true, testDrift
	c, err := New(cfg, logOf(won(1, 2), testMembership(one, 3)), 0)
	if err != nil {
		t.Fatal(err)
	}
	l := &lone{t: t, c: c, node: 1}
	l.heartbeat(won(1, 2), first, 1)
	want(t, "forget", l.step(Input{Kind: InputForgetLeader}).Reason, ErrLeaseReads)
	want(t, "leader", l.c.Status().Leader, 2)
	want(t, "votes", l.only(l.voteRequest(asked(2, 3), at(1, 2, 9)).Now).Status, codec.StatusRefused)
	want(t, "elect", errors.Is(l.step(Input{Kind: InputElect}).Reason, ErrMayNotCampaign), true)
}

// A follower keeps its promise from when a message came in, through a restart and an installed snapshot, up to its last
// instant.
func TestPromiseOfAFollower(t *testing.T) {
	refuses := func(l *lone) bool {
		return l.only(l.voteRequest(asked(l.c.vote.Leader.Term+1, 3), at(1, 2, 99)).Now).Status == codec.StatusRefused
	}
	l := openOf(t, 1, one, won(1, 2))
	l.now = Instant(time.Second)
	l.heartbeat(won(1, 2), first, 1)
	l.now = l.now.Add(testTimeout - 1)
	want(t, "at its last instant", refuses(l), true)
	l.now++
	l.voteRequest(asked(2, 3), at(1, 2, 99))
	want(t, "after it", l.c.vote, asked(2, 3))

	again := openOf(t, 1, one, won(1, 2))
	again.now = Instant(testTimeout - 1)
	want(t, "after a restart", refuses(again), true)

	l = openOf(t, 1, one, won(1, 2))
	l.now = Instant(time.Second)
	l.heartbeat(won(1, 2), first, 1)
	base := baseOf(at(1, 2, 20), testMembership(one, 3))
	l.step(Input{Kind: InputInstall, Base: &base})
	l.now = l.now.Add(testTimeout - 1)
	want(t, "after a snapshot by hand", refuses(l), true)
}

// New asks for a bound where clocks are relied on.
func TestConfigOfLeases(t *testing.T) {
	for drift, ok := range map[int]bool{0: false, -1: false, driftParts / 2: false, 1: true, driftParts/2 - 1: true} {
		cfg := testConfig(1)
		cfg.LeaseReads, cfg.ClockDriftMax = true, drift
		if _, err := New(cfg, codec.LogState{}, 0); errors.Is(err, ErrConfig) == ok {
			t.Errorf("drift %d: %v", drift, err)
		}
	}
}
