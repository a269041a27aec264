package engine

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

func TestProposeIfHoldsToItsLeadership(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.cables = true
		c := startCluster(t, o)
		leader := c.leader()
		r, err := leader.Propose(t.Context(), []byte("a"))
		if err != nil {
			t.Fatal(err)
		}
		lead := r.LogID.Leader
		if r, err = leader.ProposeIf(t.Context(), lead, []byte("b")); err != nil || r.LogID.Leader != lead {
			t.Fatalf("under its own leadership: %v, %v", r.LogID, err)
		}
		for _, other := range []codec.LeaderID{{Term: lead.Term + 1, Node: lead.Node}, {Term: lead.Term, Node: lead.Node + 1}} {
			var refused *LeadershipError
			_, err := leader.ProposeIf(t.Context(), other, []byte("never"))
			if !errors.As(err, &refused) || refused.Want != other || refused.Vote.Leader != lead || refused.Node != leader.NodeID() {
				t.Fatalf("under another: %v", err)
			}
		}
		c.cable.part([]codec.NodeID{leader.NodeID()}, c.others(leader.NodeID()))
		next := c.awaitLeaderAmong(c.others(leader.NodeID()))
		if _, err := next.ProposeIf(t.Context(), lead, []byte("never")); !errors.As(err, new(*LeadershipError)) {
			t.Fatalf("at the next leader: %v", err)
		}
		c.cable.heal()
		if _, err := next.Propose(t.Context(), []byte("c")); err != nil {
			t.Fatal(err)
		}
		until(t, "the old leader to follow", func() bool { return !leader.leads.Load() })
		if _, err := leader.ProposeIf(t.Context(), lead, []byte("never")); !errors.As(err, new(*NotLeaderError)) {
			t.Fatalf("at the old leader: %v", err)
		}
		c.once(3)
	})
}

// TestCommitIsNoticedBeforeItIsApplied: while the state machine is busy with an entry, those behind it are known to be
// committed.
func TestCommitIsNoticedBeforeItIsApplied(t *testing.T) {
	sm := newGatedRegister()
	r := openAlone(t, sm, func(*Config) {})
	ids, answers := make(chan codec.LogID, 3), make(chan Result, 3)
	for n := range 3 {
		go func() {
			result, err := r.Submit(t.Context(), Proposal{Data: []byte{byte(n)}, Committed: func(id codec.LogID) { ids <- id }})
			if err != nil {
				t.Error(err)
			}
			answers <- result
		}()
	}
	noticed := map[codec.LogID]bool{}
	for range 3 {
		noticed[<-ids] = true
	}
	if n := sm.len(); n != 0 || len(answers) != 0 {
		t.Fatalf("%d entries are applied, %d answered", n, len(answers))
	}
	close(sm.gate)
	for range 3 {
		if result := <-answers; !noticed[result.LogID] {
			t.Errorf("the entry %v was answered without its notice; noticed were %v", result.LogID, noticed)
		}
	}
	if len(noticed) != 3 || len(ids) != 0 {
		t.Errorf("notices of %v, and %d more", noticed, len(ids))
	}
}

// TestNoNoticeOfWhatIsNotCommitted: a leader without a quorum gives no notice, nor does it for what another leader put in
// the place of its entries.
func TestNoNoticeOfWhatIsNotCommitted(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, cables: true})
	c.propose("before")
	old := c.leader()
	c.cable.part([]codec.NodeID{old.NodeID()}, c.others(old.NodeID()))
	_, err := old.Submit(t.Context(), Proposal{Data: []byte("lost"), Committed: func(id codec.LogID) {
		t.Errorf("%v is said to be committed", id)
	}})
	if !errors.As(err, new(*UnknownError)) {
		t.Fatalf("got %v", err)
	}
	next := c.awaitLeaderAmong(c.others(old.NodeID()))
	for n := range 3 {
		if _, err := next.Propose(t.Context(), fmt.Append(nil, n)); err != nil {
			t.Fatal(err)
		}
	}
	c.cable.heal()
	c.once(4)
	if l := old.loop; old.Close() != nil || len(l.noticed) != 0 {
		t.Errorf("%d notices are left", len(l.noticed))
	}
	delete(c.nodes, old.NodeID())
}

func TestSubmitWithAnEndedContext(t *testing.T) {
	sm := newGatedRegister()
	r := openAlone(t, sm, func(*Config) {})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := r.Submit(ctx, Proposal{Data: []byte("x"), Committed: func(codec.LogID) {}})
	if !errors.As(err, new(*UnknownError)) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	close(sm.gate)
}

// TestProposeIfWithoutALeadership: the zero one, as of a call that failed, is no fence at all.
func TestProposeIfWithoutALeadership(t *testing.T) {
	r := sole(t, t.TempDir(), &blob{}, nil)
	if _, err := r.ProposeIf(t.Context(), codec.LeaderID{}, []byte("x")); !errors.As(err, new(*ArgumentError)) {
		t.Errorf("%v, want that it is refused", err)
	}
}

// TestConditionsOfNothing are refused, also within others.
func TestConditionsOfNothing(t *testing.T) {
	r := sole(t, t.TempDir(), &blob{}, nil)
	for _, c := range []Condition{{What: "nothing"}, All(LeaderIs(1), Condition{What: "nothing"}), Any(Condition{What: "nothing"}, LeaderIs(1))} {
		if _, err := r.Wait(t.Context(), c); !errors.As(err, new(*ArgumentError)) {
			t.Errorf("%s: %v, want that it is refused", c.What, err)
		}
	}
}
