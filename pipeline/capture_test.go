package pipeline

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline/session"
)

// keeper is a journal whose state can be taken and given: its lines.
type keeper struct {
	journal
	snapshotErr error
	snapshotNil bool
	panics      string // name of the call that panics
	restoreErr  error
	leaves      bool // Restore reads nothing
}

func (k *keeper) Snapshot() (SnapshotSource, error) {
	if k.panics == "Snapshot" {
		panic("in Snapshot")
	}
	if k.snapshotErr != nil || k.snapshotNil {
		return nil, k.snapshotErr
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return &source{bytes.NewBufferString(strings.Join(k.entries, "\n"))}, nil
}

func (k *keeper) Restore(r io.Reader) error {
	if k.panics == "Restore" {
		panic("in Restore")
	}
	if k.restoreErr != nil || k.leaves {
		return k.restoreErr
	}
	b, err := io.ReadAll(r)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.entries = strings.Split(string(b), "\n")
	return err
}

type source struct{ *bytes.Buffer }

func (s *source) Close() error { return nil }

// disk is a keeper that also says what it holds.
type disk struct {
	keeper
	given   codec.LogID
	held    codec.LogID
	forgets bool
	syncErr error
}

func (d *disk) Apply(entries []Entry, results []Result) error {
	d.given = entries[len(entries)-1].ID
	return d.keeper.Apply(entries, results)
}

func (d *disk) Applied() (codec.LogID, error) { return d.held, nil }

func (d *disk) Sync() (codec.LogID, error) {
	if d.panics == "Sync" {
		panic("in Sync")
	}
	if !d.forgets && d.given.Index > d.held.Index {
		d.held = d.given
	}
	return d.held, d.syncErr
}

var leader11 = codec.LeaderID{Term: 1, Node: 1}

func at(index codec.Index) codec.LogID { return codec.LogID{Leader: leader11, Index: index} }

// sealed returns a frame of any kind.
func sealed(t *testing.T, kind codec.EntryKind, first codec.Index, entries ...[]byte) codec.Frame {
	t.Helper()
	buf := make([]byte, codec.FrameHeaderSize)
	for _, e := range entries {
		buf = codec.AppendEntry(buf, e)
	}
	f, err := codec.SealFrame(buf, codec.FrameMeta{Group: 1, Leader: leader11, First: first, Count: uint32(len(entries)), Kind: kind},
		codec.CompressionNone)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// pushSession pushes a frame of session entries, and returns what its callers were told so far.
func pushSession(t *testing.T, a *Applier, first codec.Index, entries ...session.Entry) func() string {
	t.Helper()
	encoded := make([][]byte, len(entries))
	for i := range entries {
		encoded[i] = session.AppendEntry(nil, &entries[i])
	}
	_, b, got := frameWith(t, first, make([]string, len(entries))...)
	a.Push(sealed(t, codec.EntrySession, first, encoded...), b)
	return got
}

func register(capacity uint64) session.Entry {
	return session.Entry{Op: session.OpRegister, Capacity: capacity, BytesMax: 1000}
}

func commandEntry(id session.ID, serial, answered uint64, data string) session.Entry {
	return session.Entry{Op: session.OpCommand, Session: id, Serial: serial, Answered: answered, Data: []byte(data)}
}

// settle returns when everything pushed is applied.
func settle(t *testing.T, a *Applier) error {
	t.Helper()
	done := make(chan error, 1)
	a.Await(func(err error) { done <- err })
	return <-done
}

func TestSessionCommandIsAppliedOnce(t *testing.T) {
	sm := &journal{}
	a := newTestApplier(t, sm, ApplierEvents{})
	got := []func() string{
		pushSession(t, a, 1, register(10)),
		pushSession(t, a, 2, commandEntry(1, 1, 0, "a"), commandEntry(1, 1, 0, "a"), commandEntry(1, 2, 0, "b")),
		pushSession(t, a, 5, commandEntry(1, 2, 1, "b"), commandEntry(1, 1, 0, "a"), commandEntry(9, 1, 0, "x")),
		pushSession(t, a, 8, session.Entry{Op: session.OpClose, Session: 1}, commandEntry(1, 3, 2, "c")),
	}
	a.Push(testFrame(t, 1, 10, "plain"), nil)
	a.Close()
	want := []string{
		"1::<nil>",
		"2:1:<nil> 2:1:<nil> 4:2:<nil>", // the retry in the same frame gets the first one's answer and log id
		"4:2:<nil> 0::command 1 of session 1: its client has acknowledged the answers up to 1 " +
			"0::session 9 is not known: it was closed, or evicted for newer ones",
		"8::<nil> 0::session 1 is not known: it was closed, or evicted for newer ones",
	}
	for i := range want {
		if got[i]() != want[i] {
			t.Errorf("frame %d was answered %q, want %q", i, got[i](), want[i])
		}
	}
	if fmt.Sprint(sm.entries) != "[2=a 4=b 10=plain]" {
		t.Errorf("applied %v", sm.entries)
	}
}

func TestUnreadableSessionEntryStopsTheNode(t *testing.T) {
	failed := make(chan error, 1)
	a := newTestApplier(t, &journal{}, ApplierEvents{Failed: func(err error) { failed <- err }})
	a.Push(sealed(t, codec.EntrySession, 1, []byte{1, 99}), nil)
	if err := <-failed; !errors.Is(err, codec.ErrCorrupt) || !strings.HasPrefix(err.Error(), "entry T1-N1-1: ") {
		t.Errorf("stopped with %v", err)
	}
	a.Close()
}

func capture(t *testing.T, a *Applier) (Captured, error) {
	t.Helper()
	var c Captured
	var err error
	done := make(chan struct{})
	a.Capture(func(got Captured, gotErr error) { c, err = got, gotErr; close(done) })
	<-done
	return c, err
}

func sync1(t *testing.T, a *Applier) (Captured, error) {
	t.Helper()
	var c Captured
	var err error
	done := make(chan struct{})
	a.Sync(func(got Captured, gotErr error) { c, err = got, gotErr; close(done) })
	<-done
	return c, err
}

// TestCaptureIsExact: what was captured is the state at its entry, whatever is applied before it is written, and a restored
// node goes on from there as the captured one does, with its membership and sessions.
func TestCaptureIsExact(t *testing.T) {
	members := codec.NewMembership(codec.SeveralLeadersPerTerm, codec.Node{ID: 1, Address: "a"})
	a := newTestApplier(t, &keeper{}, ApplierEvents{})
	a.Push(sealed(t, codec.EntryMembership, 1, codec.AppendMembership(nil, &members)), nil)
	pushSession(t, a, 2, register(10))
	pushSession(t, a, 3, commandEntry(2, 1, 0, "x"))
	a.Push(testFrame(t, 1, 4, "y"), nil)
	a.Push(sealed(t, codec.EntryBlank, 5, nil), nil)
	got := make(chan Captured, 1)
	a.Capture(func(c Captured, err error) {
		if err != nil {
			t.Error(err)
		}
		got <- c
	})
	a.Push(testFrame(t, 1, 6, "late"), nil)
	if err := settle(t, a); err != nil {
		t.Fatal(err)
	}
	c := <-got
	if c.Base.ID != at(5) || c.Base.Membership.ID != at(1) || c.Base.Membership.Membership.Nodes[0].Address != "a" {
		t.Fatalf("captured at %+v", c.Base)
	}
	if given, err := SessionsGiven(c.Sessions); err != nil || given != at(4) {
		t.Fatalf("the state machine was given the entries up to %v, %v, want T1-N1-4", given, err)
	}
	if a.AppliedID() != at(6) {
		t.Fatalf("applied %v", a.AppliedID())
	}
	var state bytes.Buffer
	if _, err := c.Source.WriteTo(&state); err != nil {
		t.Fatal(err)
	}
	if state.String() != "3=x\n4=y" {
		t.Fatalf("the state at entry 5 is %q", state.String())
	}

	sm := &keeper{}
	b := newTestApplier(t, sm, ApplierEvents{})
	b.Push(testFrame(t, 1, 1, "other"), nil)
	restored := make(chan error, 1)
	b.Restore(c.Base, c.Sessions, func() (io.ReadCloser, error) { return io.NopCloser(&state), nil }, func(err error) { restored <- err })
	told := pushSession(t, b, 6, commandEntry(2, 1, 0, "x"))
	if err := <-restored; err != nil {
		t.Fatal(err)
	}
	if err := settle(t, b); err != nil {
		t.Fatal(err)
	}
	if told() != "3:1:<nil>" || fmt.Sprint(sm.entries) != "[3=x 4=y]" || b.AppliedID() != at(6) {
		t.Fatalf("the retry was told %q, the state is %v at %v", told(), sm.entries, b.AppliedID())
	}
	again, err := capture(t, b)
	if err != nil || again.Base.Membership.ID != at(1) || !bytes.Equal(again.Sessions, c.Sessions) {
		t.Fatalf("captured again: %+v, %v", again, err)
	}
	a.Close()
	b.Close()
}

func TestWhatCannotBeCaptured(t *testing.T) {
	for name, c := range map[string]struct {
		sm    StateMachine
		want  string
		fatal bool
	}{
		"no Snapshotter": {&journal{}, "*pipeline.journal is no Snapshotter", false},
		"error":          {&keeper{snapshotErr: errors.New("not now")}, "state machine failed in Snapshot at entry 1: not now", false},
		"no source":      {&keeper{snapshotNil: true}, "state machine failed in Snapshot at entry 1: it returned neither", false},
		"panic":          {&keeper{panics: "Snapshot"}, "state machine failed in Snapshot at entry 1: panic: in Snapshot", true},
	} {
		t.Run(name, func(t *testing.T) {
			failed := make(chan error, 1)
			a := newTestApplier(t, c.sm, ApplierEvents{Failed: func(err error) { failed <- err }})
			a.Push(testFrame(t, 1, 1, "a"), nil)
			if _, err := capture(t, a); err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if _, err := sync1(t, a); err == nil || !c.fatal && !errors.Is(err, ErrNotSnapshotter) {
				t.Errorf("Sync: %v", err)
			}
			if err := settle(t, a); (err != nil) != c.fatal || len(failed) == 1 != c.fatal {
				t.Errorf("the node goes on with %v", err)
			}
			a.Close()
		})
	}
}

func TestFailedRestoreStopsTheNode(t *testing.T) {
	damaged := errors.New("damaged at its end")
	base := codec.LogBase{ID: at(7)}
	for name, c := range map[string]struct {
		sm       StateMachine
		base     codec.LogBase
		sessions []byte
		open     func() (io.ReadCloser, error)
		want     string
	}{
		"no Snapshotter":    {sm: &journal{}, base: base, want: "*pipeline.journal is no Snapshotter"},
		"error":             {sm: &keeper{restoreErr: errors.New("no")}, base: base, want: "state machine failed in Restore at entry 7: no"},
		"panic":             {sm: &keeper{panics: "Restore"}, base: base, want: "state machine failed in Restore at entry 7: panic"},
		"not read":          {sm: &keeper{leaves: true}, base: base, want: "state machine failed in Restore at entry 7: it did not read"},
		"bad sessions":      {sm: &keeper{}, base: base, sessions: make([]byte, 30), want: "captured sessions of version 0, want 1"},
		"cut sessions":      {sm: &keeper{}, base: base, sessions: []byte{1}, want: "captured sessions of 1 bytes, want at least 25"},
		"bad table":         {sm: &keeper{}, base: base, sessions: append([]byte{1}, make([]byte, 24)...), want: "session table of 0 bytes"},
		"older":             {sm: &keeper{}, want: "a state as of T0-N0-0 can't replace one as of T1-N1-1"},
		"can not be opened": {sm: &keeper{}, base: base, open: func() (io.ReadCloser, error) { return nil, damaged }, want: "damaged"},
		"damaged": {sm: &keeper{leaves: true}, base: base, want: "damaged",
			open: func() (io.ReadCloser, error) { return io.NopCloser(&failingReader{damaged}), nil }},
	} {
		t.Run(name, func(t *testing.T) {
			failed := make(chan error, 1)
			a := newTestApplier(t, c.sm, ApplierEvents{Failed: func(err error) { failed <- err }})
			a.Push(testFrame(t, 1, 1, "a"), nil)
			if c.open == nil {
				c.open = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("1=z")), nil }
			}
			done := make(chan error, 2)
			note := func(err error) { done <- err }
			a.Restore(c.base, c.sessions, c.open, note)
			a.Restore(c.base, c.sessions, c.open, note)
			for range 2 {
				if err := <-done; err == nil || !strings.HasPrefix(err.Error(), c.want) {
					t.Errorf("got %v, want %q", err, c.want)
				}
			}
			if err := <-failed; err == nil || a.Applied() != 1 {
				t.Errorf("the node stops with %v at entry %d", err, a.Applied())
			}
			if _, err := capture(t, a); err == nil {
				t.Error("a state was captured after the failure")
			}
			a.Close()
		})
	}
}

type failingReader struct{ err error }

func (r *failingReader) Read([]byte) (int, error) { return 0, r.err }

func TestRestoreWithoutStateMachine(t *testing.T) {
	a := newTestApplier(t, nil, ApplierEvents{})
	done := make(chan error, 1)
	a.Restore(codec.LogBase{ID: at(9)}, nil, nil, func(err error) { done <- err })
	if err := <-done; err != nil || a.AppliedID() != at(9) {
		t.Errorf("%v, applied %v", err, a.AppliedID())
	}
	a.Close()
}

// TestAppliedIDIsOfOneMoment: a log id that is read while it changes is the one before or the one after.
func TestAppliedIDIsOfOneMoment(t *testing.T) {
	var cell logIDCell
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range uint64(20_000) {
			cell.store(codec.LogID{Leader: codec.LeaderID{Term: codec.Term(i), Node: codec.NodeID(i)}, Index: codec.Index(i)})
		}
	}()
	last := codec.Index(0)
	for last < 19_999 {
		id := cell.load()
		if uint64(id.Leader.Term) != uint64(id.Index) || uint64(id.Leader.Node) != uint64(id.Index) || id.Index < last {
			t.Fatalf("read %v after %d", id, last)
		}
		last = id.Index
	}
	<-done
}

// TestSessionsThatCanNotBeRead: a capture of another build is told from a damaged one, and none at all says that the state
// machine was given nothing.
func TestSessionsThatCanNotBeRead(t *testing.T) {
	if given, err := SessionsGiven(nil); err != nil || !given.IsZero() {
		t.Errorf("no sessions: %v, %v", given, err)
	}
	if _, err := SessionsGiven([]byte{sessionsVersion + 1}); !errors.Is(err, codec.ErrVersion) {
		t.Errorf("a later version: %v, want ErrVersion", err)
	}
	short := append([]byte{sessionsVersion}, make([]byte, sessionsHeaderSize-2)...)
	if _, err := SessionsGiven(short); !errors.Is(err, codec.ErrCorrupt) {
		t.Errorf("%d bytes: %v, want ErrCorrupt", len(short), err)
	}
}

// TestMembershipWithMoreBehindIt: an applier that can't tell the membership applies nothing more.
func TestMembershipWithMoreBehindIt(t *testing.T) {
	members := codec.NewMembership(codec.OneLeaderPerTerm, codec.Node{ID: 1, Address: "a"})
	a := newTestApplier(t, &keeper{}, ApplierEvents{Failed: func(error) {}})
	defer a.Close()
	a.Push(sealed(t, codec.EntryMembership, 1, append(codec.AppendMembership(nil, &members), 0)), nil)
	a.Push(testFrame(t, 1, 2, "y"), nil)
	if err := settle(t, a); !errors.Is(err, codec.ErrCorrupt) || a.AppliedID() != (codec.LogID{}) {
		t.Fatalf("%v, applied %v; want ErrCorrupt and nothing applied", err, a.AppliedID())
	}
}
