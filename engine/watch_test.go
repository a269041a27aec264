package engine

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

// TestWatchSeesWhatChanges follows the applied index through puts and the leader through a transfer, without anything else
// that would wake the loop.
func TestWatchSeesWhatChanges(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.adjust = calm
		c := startCluster(t, o)
		leader := c.leader()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		n := 0
		for applied := range Watch(ctx, leader, func(m Metrics) codec.Index { return m.Applied }) {
			if n++; n > 20 {
				break
			}
			r := c.propose(fmt.Sprint(n))
			if r.LogID.Index <= applied {
				t.Fatalf("entry %v was seen to be applied up to %d before it was proposed", r.LogID, applied)
			}
		}
		if n <= 20 {
			t.Fatalf("the watch ended after %d values: %v", n, ctx.Err())
		}
		target := c.others(leader.NodeID())[0]
		var seen []codec.NodeID
		for id := range Watch(ctx, leader, func(m Metrics) codec.NodeID { return m.Leader }) {
			if seen = append(seen, id); id == target {
				break
			}
			if len(seen) == 1 {
				if err := leader.TransferLeadership(ctx, target); err != nil {
					t.Fatal(err)
				}
			}
		}
		if seen[0] != leader.NodeID() || seen[len(seen)-1] != target {
			t.Errorf("leaders seen: %v, want first %d, last %d", seen, leader.NodeID(), target)
		}
	})
}

// TestSlowWatcherGetsTheNewest: what happens while the caller is busy is told once, by the newest value.
func TestSlowWatcherGetsTheNewest(t *testing.T) {
	r := openAlone(t, newRegister(), func(*Config) {})
	var seen []uint64
	for entries := range Watch(t.Context(), r, func(m Metrics) uint64 { return m.Entries }) {
		seen = append(seen, entries)
		if len(seen) == 2 {
			break
		}
		for range 100 {
			if _, err := r.Propose(t.Context(), []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if fmt.Sprint(seen) != "[0 100]" {
		t.Errorf("seen %v, want the first and the newest value", seen)
	}
}

// TestWatchEnds with its context, and with the node, whose last state it shows.
func TestWatchEnds(t *testing.T) {
	r := openAlone(t, newRegister(), func(*Config) {})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	values := 0
	for range Watch(ctx, r, func(m Metrics) codec.Index { return m.Commit }) {
		values++
		cancel()
	}
	if values != 1 {
		t.Errorf("%d values after the context ended with the first", values)
	}
	for range Watch(ctx, r, func(m Metrics) codec.Index { return m.Commit }) {
		t.Error("a value although the context had ended before")
	}
	sum, ended := uint64(0), make(chan struct{})
	first := make(chan struct{}, 1000)
	go func() {
		defer close(ended)
		for entries := range Watch(t.Context(), r, func(m Metrics) uint64 { return m.Entries }) {
			sum = entries
			first <- struct{}{}
		}
	}()
	<-first
	if _, err := r.Propose(t.Context(), []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	within(t, "the watch of a closed node", ended)
	if sum != 1 {
		t.Errorf("the last value is %d, want 1", sum)
	}
	for range Watch(t.Context(), r, func(m Metrics) uint64 { return m.Entries }) {
		values++
	}
	if values != 2 {
		t.Errorf("a closed node shows its last value %d times", values-1)
	}
}

// TestNoCopiesWithoutWatchers: where nobody waits for news the loop makes no copies.
func TestNoCopiesWithoutWatchers(t *testing.T) {
	r := openAlone(t, newRegister(), func(*Config) {})
	for range Watch(t.Context(), r, func(m Metrics) codec.Index { return m.Commit }) {
		break
	}
	number := func() uint64 {
		r.watch.mu.Lock()
		defer r.watch.mu.Unlock()
		return r.watch.number
	}
	before := number()
	for range 100 {
		if _, err := r.Propose(t.Context(), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if now := number(); now != before {
		t.Errorf("%d copies were made for nobody", now-before)
	}
}

// TestWait waits for each of the conditions, on a cluster in which it comes about.
func TestWait(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.adjust = calm
		c := startCluster(t, o)
		leader := c.leader()
		follower := c.nodes[c.others(leader.NodeID())[0]]
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		wait := func(r *Raft, conditions ...Condition) {
			t.Helper()
			for _, condition := range conditions {
				m, err := r.Wait(ctx, condition)
				if err != nil || !condition.Holds(m) {
					t.Errorf("%s: %v", condition.What, err)
				}
			}
		}
		index := leader.Metrics().Last.Index + 1
		ended := make(chan error, 1)
		go func() {
			_, err := follower.Wait(ctx, AppliedAtLeast(index))
			ended <- err
		}()
		c.propose("x")
		if err := <-ended; err != nil {
			t.Error(err)
		}
		wait(leader, RoleIs(RoleLeader), Established(), LeaderIs(leader.NodeID()), TermAtLeast(1), QuorumWithin(time.Second))
		wait(follower, RoleIs(RoleFollower), HasLeader(), LastAtLeast(index), FlushedAtLeast(index), CommittedAtLeast(index), AppliedAtLeast(index),
			MembershipHas(3, 1), VotersAre(2, 3, 1), All(HasLeader(), VotersAre(1, 2, 3)), Any(RoleIs(RoleLeader), RoleIs(RoleFollower)),
			When("an entry", func(m Metrics) bool { return m.Last.Index > 0 }))
		c.change(Demote(follower.NodeID()))
		wait(follower, RoleIs(RoleLearner), VotersAre(c.others(follower.NodeID())...), MembershipHas(follower.NodeID()))
	})
}

// TestWaitSaysWhatItWaitedFor when it ends without it.
func TestWaitSaysWhatItWaitedFor(t *testing.T) {
	r := openAlone(t, newRegister(), func(*Config) {})
	ctx, cancel := context.WithCancelCause(t.Context())
	var argument *ArgumentError
	if _, err := r.Wait(ctx, Condition{What: "nothing"}); !errors.As(err, &argument) || argument.Error() != "Wait with a condition without Holds, want a function there" {
		t.Errorf("a condition without a function: %v", err)
	}
	enough := errors.New("enough")
	ended, looked := make(chan error, 1), make(chan struct{}, 1000)
	go func() {
		watched := When("a look", func(Metrics) bool { looked <- struct{}{}; return false })
		m, err := r.Wait(ctx, Any(LeaderIs(7), All(MembershipHas(7), VotersAre(7)), QuorumWithin(-1), watched))
		if m.Leader != 1 {
			t.Errorf("the newest metrics say node %d leads", m.Leader)
		}
		ended <- err
	}()
	<-looked
	cancel(enough)
	err := <-ended
	want := "waiting for node 7 to lead or nodes [7] to be members and nodes [7] to be the voters or an answer of a write quorum within -1ns or a look: enough"
	if !errors.Is(err, enough) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	for _, condition := range []Condition{LeaderIs(7), CommittedAtLeast(1 << 40), SnapshotAtLeast(1 << 40), PurgedAtLeast(1 << 40)} {
		go func() {
			_, err := r.Wait(t.Context(), condition)
			ended <- err
		}()
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if err := <-ended; !errors.Is(err, ErrStopped) {
			t.Errorf("on a closed node: %v", err)
		}
	}
	if _, err := r.Wait(t.Context(), MembershipHas(1)); err != nil {
		t.Errorf("a condition that holds in the last metrics: %v", err)
	}
}

// BenchmarkProposeWatched shows what those who watch cost those who propose.
func BenchmarkProposeWatched(b *testing.B) {
	for _, watchers := range []int{0, 1, 16} {
		b.Run(fmt.Sprintf("watchers=%d", watchers), func(b *testing.B) {
			c := startCluster(b, clusterOptions{nodes: 3, memory: true, blind: true})
			leader := c.leader()
			ctx, cancel := context.WithCancel(b.Context())
			ended := make(chan uint64, watchers)
			for range watchers {
				go func() {
					values := uint64(0)
					for range Watch(ctx, leader, func(m Metrics) codec.Index { return m.Applied }) {
						values++
					}
					ended <- values
				}()
			}
			closedLoop(b, leader, 256)
			cancel()
			values := uint64(0)
			for range watchers {
				values += <-ended
			}
			b.ReportMetric(float64(values)/b.Elapsed().Seconds(), "values/s")
		})
	}
}
