package pipeline

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline/session"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// journal is a state machine that notes what it is given and answers with the running number.
type journal struct {
	mu      sync.Mutex
	entries []string
	failAt  string
	panicAt string
	gate    chan struct{} // when set, each Apply waits for a token
}

func (j *journal) Apply(entries []Entry, results []Result) error {
	if j.gate != nil {
		<-j.gate
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for i, e := range entries {
		switch {
		case j.failAt != "" && string(e.Data) == j.failAt:
			return errors.New("can't take " + j.failAt)
		case j.panicAt != "" && string(e.Data) == j.panicAt:
			panic("at " + j.panicAt)
		}
		j.entries = append(j.entries, fmt.Sprintf("%d=%s", e.ID.Index, e.Data))
		results[i].Data = fmt.Append(nil, len(j.entries))
	}
	return nil
}

func newTestApplier(t testing.TB, sm StateMachine, events ApplierEvents) *Applier {
	t.Helper()
	a, err := NewApplier(sm, ApplierStart{}, events)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// frameWith returns a frame with the batch that made it, and a function that collects the batch's answers.
func frameWith(t *testing.T, first codec.Index, entries ...string) (codec.Frame, *Batch, func() string) {
	t.Helper()
	in := newTestIntake(t, IntakeConfig{})
	var mu sync.Mutex
	var got []string
	for _, e := range entries {
		if err := in.ProposeAsync([]byte(e), func(r Result, err error) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, fmt.Sprintf("%d:%s:%v", r.LogID.Index, r.Data, err))
		}); err != nil {
			t.Fatal(err)
		}
	}
	b := in.Take(nil)[0]
	f, err := b.Seal(1, codec.LeaderID{Term: 1, Node: 1}, first, codec.CompressionNone)
	if err != nil {
		t.Fatal(err)
	}
	return f, b, func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(got, " ")
	}
}

func TestApplierAppliesInOrderAndAnswers(t *testing.T) {
	sm := &journal{}
	a := newTestApplier(t, sm, ApplierEvents{})
	f1, b1, got1 := frameWith(t, 1, "a", "b")
	f4, b4, got4 := frameWith(t, 4, "d")
	blank, err := codec.SealFrame(codec.AppendEntry(make([]byte, codec.FrameHeaderSize), nil),
		codec.FrameMeta{Group: 1, First: 5, Count: 1, Kind: codec.EntryBlank}, codec.CompressionNone)
	if err != nil {
		t.Fatal(err)
	}
	a.Push(f1, b1)
	a.Push(testFrame(t, 1, 3, "c"), nil)
	a.Push(f4, b4)
	a.Push(blank, nil)
	a.Close()
	if got := fmt.Sprint(sm.entries); got != "[1=a 2=b 3=c 4=d]" {
		t.Fatalf("applied %s", got)
	}
	if got1() != "1:1:<nil> 2:2:<nil>" || got4() != "4:4:<nil>" {
		t.Fatalf("answers %q and %q", got1(), got4())
	}
	if a.Applied() != 5 || a.QueuedBytes() != 0 {
		t.Fatalf("applied to %d with %d bytes queued, want 5 and 0", a.Applied(), a.QueuedBytes())
	}
}

func TestStateMachineFailureStopsEverythingBehindIt(t *testing.T) {
	for _, c := range []struct {
		name string
		sm   *journal
		want string
	}{
		{"error", &journal{failAt: "b"}, "state machine failed on entries 2 to 2: can't take b"},
		{"panic", &journal{panicAt: "b"}, "state machine failed on entries 2 to 2: panic: at b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.sm.gate = make(chan struct{})
			failed := make(chan error, 2)
			a := newTestApplier(t, c.sm, ApplierEvents{Failed: func(err error) { failed <- err }})
			f1, b1, got1 := frameWith(t, 1, "a")
			f2, b2, got2 := frameWith(t, 2, "b")
			f3, b3, got3 := frameWith(t, 3, "c")
			a.Push(f1, b1)
			c.sm.gate <- struct{}{}
			a.Push(f2, b2)
			close(c.sm.gate)
			err := <-failed
			var smErr *StateMachineError
			if !errors.As(err, &smErr) || !strings.HasPrefix(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			a.Push(f3, b3)
			a.Close()
			if got1() != "1:1:<nil>" {
				t.Fatalf("the first was answered %q", got1())
			}
			for _, got := range []string{got2(), got3()} {
				if !strings.Contains(got, "unknown") {
					t.Fatalf("an entry that was not applied was answered %q", got)
				}
			}
			if len(c.sm.entries) != 1 || a.Applied() != 1 || len(failed) != 0 {
				t.Fatalf("applied %v to %d after the failure, %d more failures", c.sm.entries, a.Applied(), len(failed))
			}
		})
	}
}

func TestApplierReportsRoomWhenAsked(t *testing.T) {
	sm := &journal{gate: make(chan struct{})}
	room := make(chan struct{}, 10)
	a := newTestApplier(t, sm, ApplierEvents{Room: func() { room <- struct{}{} }})
	a.Push(testFrame(t, 1, 1, "a"), nil)
	a.AwaitRoom()
	if a.QueuedBytes() == 0 {
		t.Fatal("a queued frame has no size")
	}
	close(sm.gate)
	<-room
	a.Push(testFrame(t, 1, 2, "b"), nil)
	a.Close()
	if len(room) != 0 {
		t.Fatal("room was reported without being asked for")
	}
}

// TestAwaitKeepsItsPlace: what waits is called after everything that was pushed before it, and with the failure of a
// state machine that stopped.
func TestAwaitKeepsItsPlace(t *testing.T) {
	sm := &journal{failAt: "c"}
	failed := make(chan error, 1)
	a := newTestApplier(t, sm, ApplierEvents{Failed: func(err error) { failed <- err }})
	reached := make(chan string, 2)
	note := func(err error) { reached <- fmt.Sprint(a.Applied(), " ", err != nil) }
	f1, b1, _ := frameWith(t, 1, "a", "b")
	f3, b3, got3 := frameWith(t, 3, "c")
	a.Push(f1, b1)
	a.Await(note)
	if got := <-reached; got != "2 false" {
		t.Errorf("reached with %q, want it after index 2", got)
	}
	a.Push(f3, b3)
	a.Await(note)
	if got := <-reached; got != "2 true" {
		t.Errorf("behind a failed entry it was called with %q", got)
	}
	<-failed
	a.Await(note)
	if got := <-reached; got != "2 true" {
		t.Errorf("after the failure it was called with %q", got)
	}
	a.Close()
	if got := got3(); !strings.Contains(got, "unknown") {
		t.Errorf("the failed entry's caller was told %q", got)
	}
}

// TestFailureEndsEachItemOnce: refused batches and functions in front of a frame that the state machine fails on have
// been ended when the failure comes, and are not ended again: a batch that is ended twice is given out twice.
func TestFailureEndsEachItemOnce(t *testing.T) {
	a := &Applier{sm: &journal{failAt: "b"}, state: appliedState{sessions: session.NewTable()}}
	_, refused, told := frameWith(t, 1, "x")
	f1, b1, lost := frameWith(t, 1, "b")
	reached := 0
	items := []applyItem{{batch: refused, cause: errors.New("no")}, {turn: func(error) error { reached++; return nil }}, {frame: f1, batch: b1}}
	failure := a.work(items)
	if failure == nil || items[0].batch != nil {
		t.Fatalf("work returned %v and left batch %p behind, which was ended", failure, items[0].batch)
	}
	a.failItems(items, failure)
	if told() != "0::no" || reached != 1 || !strings.Contains(lost(), "unknown") {
		t.Errorf("the refused caller was told %q, the lost one %q, the function was called %d times; want each once", told(), lost(), reached)
	}
}

func TestSkipMovesApplied(t *testing.T) {
	a := newTestApplier(t, nil, ApplierEvents{})
	a.Skip(17)
	reached := make(chan codec.Index, 1)
	a.Await(func(error) { reached <- a.Applied() })
	if got := <-reached; got != 17 {
		t.Errorf("applied %d after 17 was skipped to", got)
	}
	a.Close()
}
