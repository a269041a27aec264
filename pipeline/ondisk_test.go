package pipeline

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/millrace/millrace/codec"
)

// diskApplier returns an applier over a state machine that holds the entries up to held.
func diskApplier(t *testing.T, held codec.Index, failed func(error)) (*Applier, *disk) {
	t.Helper()
	sm := &disk{}
	if held > 0 {
		sm.held = at(held)
	}
	a, err := NewApplier(sm, ApplierStart{Held: sm.held}, ApplierEvents{Failed: failed})
	if err != nil {
		t.Fatal(err)
	}
	return a, sm
}

// TestOnDiskRebuildsItsSessions: what the state machine holds is not given to it again, but its commands are known, and a
// retry of one is told that it was applied.
func TestOnDiskRebuildsItsSessions(t *testing.T) {
	a, sm := diskApplier(t, 5, nil)
	pushSession(t, a, 1, register(10))
	a.Push(testFrame(t, 1, 2, "old"), nil)
	if _, err := capture(t, a); !errors.Is(err, ErrBusy) || err.Error() != "the sessions are being rebuilt and have reached 2 of 5: busy" {
		t.Errorf("a state that is ahead of its entry was captured: %v", err)
	}
	if c, err := sync1(t, a); err != nil || c.Base.ID != at(2) {
		t.Errorf("Sync: %+v, %v", c, err)
	}
	a.Push(sealed(t, codec.EntryBlank, 3, nil), nil)
	a.Push(testFrame(t, 1, 4, "old", "old", "new"), nil) // the frame is held up to its second entry
	pushSession(t, a, 7, commandEntry(1, 1, 0, "fresh"))
	if err := settle(t, a); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(sm.entries); got != "[6=new 7=fresh]" {
		t.Fatalf("applied %s", got)
	}
	c, err := sync1(t, a)
	if given, _ := SessionsGiven(c.Sessions); err != nil || c.Base.ID != at(7) || given != at(7) || c.Source != nil {
		t.Fatalf("Sync: %+v, %v", c, err)
	}
	if c, err := capture(t, a); err != nil || c.Source == nil {
		t.Fatalf("Capture: %+v, %v", c, err)
	}
	a.Close()

	// It starts again, from what Sync returned, and from the beginning.
	for _, from := range []ApplierStart{{Base: c.Base, Sessions: c.Sessions, Held: at(7)}, {Held: at(7)}} {
		sm := &disk{held: at(7)}
		b, err := NewApplier(sm, from, ApplierEvents{})
		if err != nil {
			t.Fatal(err)
		}
		if from.Sessions == nil {
			pushSession(t, b, 1, register(10))
			b.Push(testFrame(t, 1, 2, "old", "old", "old", "old", "old"), nil)
			pushSession(t, b, 7, commandEntry(1, 1, 0, "fresh"))
		}
		told := pushSession(t, b, 8, commandEntry(1, 1, 0, "fresh"), commandEntry(1, 2, 0, "next"))
		b.Close()
		want := "7:2:<nil> 9:1:<nil>" // the sessions of a snapshot hold the answer
		if from.Sessions == nil {
			want = "0::command 1 of session 1 was applied as T1-N1-7, its answer is lost 9:1:<nil>"
		}
		if told() != want || fmt.Sprint(sm.entries) != "[9=next]" {
			t.Errorf("told %q, want %q; applied %v", told(), want, sm.entries)
		}
	}
}

func TestOnDiskThatLostItsState(t *testing.T) {
	a, _ := diskApplier(t, 0, nil)
	a.Push(testFrame(t, 1, 1, "a", "b"), nil)
	c, err := sync1(t, a)
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
	_, err = NewApplier(&disk{held: at(1)}, ApplierStart{Base: c.Base, Sessions: c.Sessions, Held: at(1)}, ApplierEvents{})
	var smErr *StateMachineError
	if !errors.As(err, &smErr) || smErr.Call != "Applied" ||
		err.Error() != "state machine failed in Applied at entries 1 to 2: it holds the entries up to T1-N1-1, and those up to T1-N1-2 had been made durable" {
		t.Errorf("got %v", err)
	}
	if _, err := NewApplier(&disk{}, ApplierStart{Sessions: []byte{9}}, ApplierEvents{}); !errors.Is(err, codec.ErrVersion) {
		t.Errorf("sessions of another version: %v", err)
	}
}

func TestOnDiskOfAnotherLog(t *testing.T) {
	for name, c := range map[string]struct {
		frame func(t *testing.T) codec.Frame
		held  codec.LogID
		want  string
	}{
		"leader": {func(t *testing.T) codec.Frame { return testFrame(t, 1, 1, "a", "b") }, codec.LogID{Leader: codec.LeaderID{Term: 3, Node: 1}, Index: 2},
			"state machine failed in Applied at entry 2: it holds the entries up to T3-N1-2, where the log has normal entries of T1-N1"},
		"kind": {func(t *testing.T) codec.Frame { return sealed(t, codec.EntryBlank, 1, nil) }, at(1),
			"state machine failed in Applied at entry 1: it holds the entries up to T1-N1-1, where the log has blank entries of T1-N1"},
	} {
		t.Run(name, func(t *testing.T) {
			failed := make(chan error, 1)
			a, err := NewApplier(&disk{}, ApplierStart{Held: c.held}, ApplierEvents{Failed: func(err error) { failed <- err }})
			if err != nil {
				t.Fatal(err)
			}
			a.Push(c.frame(t), nil)
			if err := <-failed; err.Error() != c.want {
				t.Errorf("stopped with %v, want %q", err, c.want)
			}
			a.Close()
		})
	}
}

func TestFailedSyncStopsTheNode(t *testing.T) {
	for name, c := range map[string]struct {
		break1 func(*disk)
		want   string
	}{
		"error":   {func(d *disk) { d.syncErr = errors.New("no space") }, "state machine failed in Sync at entry 1: no space"},
		"panic":   {func(d *disk) { d.panics = "Sync" }, "state machine failed in Sync at entry 1: panic: in Sync"},
		"forgets": {func(d *disk) { d.forgets = true }, "state machine failed in Sync at entry 1: it returned T0-N0-0, want T1-N1-1, the last entry it was given"},
	} {
		t.Run(name, func(t *testing.T) {
			failed := make(chan error, 1)
			a, sm := diskApplier(t, 0, func(err error) { failed <- err })
			c.break1(sm)
			a.Push(testFrame(t, 1, 1, "a"), nil)
			if _, err := sync1(t, a); err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if err := <-failed; err == nil {
				t.Error("the node goes on")
			}
			if _, err := sync1(t, a); err == nil {
				t.Error("it was synced after the failure")
			}
			a.Close()
		})
	}
}

// parts is a Collector that puts a state together from lines, refuses "no", fails at "bad", and ends a state at ".".
type parts struct{ lines []string }

func (p *parts) Collect(e Entry) (Collected, error) {
	switch line := string(e.Data); line {
	case "no":
		return Collected{Refusal: errors.New("refused")}, nil
	case "bad":
		return Collected{}, errors.New("unreadable")
	case ".":
		state := strings.Join(p.lines, "\n")
		return Collected{State: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(state)), nil }}, nil
	default:
		p.lines = append(p.lines, line)
		return Collected{}, nil
	}
}

func TestStateThatComesThroughTheLog(t *testing.T) {
	failed := make(chan error, 1)
	sm := &keeper{}
	a, err := NewApplier(sm, ApplierStart{Collector: &parts{}}, ApplierEvents{Failed: func(err error) { failed <- err }})
	if err != nil {
		t.Fatal(err)
	}
	a.Push(testFrame(t, 1, 1, "before"), nil)
	_, b, told := frameWith(t, 2, "", "", "", "")
	a.Push(sealed(t, codec.EntryRestore, 2, []byte("x"), []byte("y"), []byte("no"), []byte(".")), b)
	a.Push(testFrame(t, 1, 6, "after"), nil)
	if err := settle(t, a); err != nil {
		t.Fatal(err)
	}
	if told() != "2::<nil> 3::<nil> 0::refused 5::<nil>" || fmt.Sprint(sm.entries) != "[x y 6=after]" {
		t.Errorf("told %q, state %v", told(), sm.entries)
	}
	a.Push(sealed(t, codec.EntryRestore, 7, []byte("bad")), nil)
	if err := <-failed; err.Error() != "entry T1-N1-7: unreadable" {
		t.Errorf("stopped with %v", err)
	}
	a.Close()

	a = newTestApplier(t, sm, ApplierEvents{Failed: func(err error) { failed <- err }})
	a.Push(sealed(t, codec.EntryRestore, 1, []byte("x")), nil)
	if err := <-failed; !strings.Contains(err.Error(), "nothing here takes it") {
		t.Errorf("without a collector it stopped with %v", err)
	}
	a.Close()
}
