package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/netio"
)

// must fails unless err is the named error with that fate.
func must(t *testing.T, err error, name string, fate Fate) {
	t.Helper()
	if !called(err, name) || FateOf(err) != fate {
		t.Errorf("the call ended with %v, %v; want %s, %v", err, FateOf(err), name, fate)
	}
}

// TestFatesOfCommands: what was done is in the state once, what was not is not.
func TestFatesOfCommands(t *testing.T) {
	sm := newRegister()
	r := openAlone(t, sm, func(cfg *Config) { cfg.SessionsMax, cfg.SessionBytesMax = 1, 1 })
	s, ctx := openSession(t, r), t.Context()
	for range 4 {
		if _, err := s.Reserve(); err != nil {
			t.Fatal(err)
		}
	}
	for _, serial := range []uint64{2, 3, 4} { // of whose answers, of one byte each, the last one is kept
		if _, err := s.Retry(ctx, serial, fmt.Append(nil, serial)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.Retry(ctx, 2, []byte("2"))
	must(t, err, "SessionAnsweredError", FateUnknown) // of this attempt; the first one has its answer
	restarted := resume(t, r, SessionState{ID: s.ID(), Next: 5, Open: []uint64{1, 2}})
	_, err = restarted.Retry(ctx, 2, []byte("2"))
	must(t, err, "AppliedError", FateDone)
	openSession(t, r) // takes the place of the first
	_, err = restarted.Retry(ctx, 1, []byte("1"))
	must(t, err, "SessionExpiredError", FateUnknown)
	if want := strings.Fields("2 3 4"); !slices.Equal(sm.datas, want) {
		t.Errorf("the state is %v, want %v", sm.datas, want)
	}
}

// TestFatesWhileBusy: a loop that is held up, and a state machine that is.
func TestFatesWhileBusy(t *testing.T) {
	sm := newGatedRegister()
	r := openAlone(t, sm, func(cfg *Config) { cfg.IntakeBytesMax, cfg.ProposalBytesMax = 1<<10, 1<<10 })
	s, ctx := openSession(t, r), t.Context()
	serial, err := s.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithCancel(ctx)
	unknown := make(chan error, 1)
	go func() {
		_, err := s.Retry(short, serial, []byte("command"))
		unknown <- err
	}()
	<-sm.entered
	_, err = s.Retry(ctx, serial, []byte("command"))
	must(t, err, "ErrInFlight", FateNotDone)
	cancel()
	must(t, <-unknown, "OpenCommandError", FateUnknown)
	soon, end := context.WithTimeout(ctx, 20*time.Millisecond)
	defer end()
	must(t, second(r.EnsureLinearizable(soon)), "LagError", FateNotDone)

	answered := make(chan error, 1)
	inLoop(t, r, func(*loop) { // takes nothing meanwhile
		if err := r.ProposeAsync(make([]byte, 800), func(_ Result, err error) { answered <- err }); err != nil {
			t.Error(err)
		}
		err := r.ProposeAsync(make([]byte, 801), func(Result, error) { t.Error("a refused proposal is answered") })
		must(t, err, "BusyError", FateNotDone)
		must(t, err, "ErrBusy", FateNotDone)
	})
	close(sm.gate)
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	if result, err := s.Retry(ctx, serial, []byte("command")); err != nil || string(result.Data) != "1" {
		t.Errorf("the command's answer: %s, %v", result.Data, err)
	}
	if got := sm.len(); got != 2 {
		t.Errorf("%d entries were applied, want the command once, and the proposal that found room", got)
	}
}

// TestFatesOfStates: snapshots, purged logs, exports and restores.
func TestFatesOfStates(t *testing.T) {
	sm := &keptRegister{register: register{changed: make(chan struct{})}}
	r := openAlone(t, sm, quiet)
	ctx, dir := t.Context(), t.TempDir()
	if _, err := r.Propose(ctx, []byte("x")); err != nil {
		t.Fatal(err)
	}
	sm.failing = errors.New("of the state machine")
	must(t, second(r.Trigger().Snapshot(ctx)), "StateMachineError", FateNotDone)
	must(t, second(r.Export(ctx, filepath.Join(dir, "none"))), "StateMachineError", FateNotDone)
	if taken := r.Metrics().Snapshots.Newest; !taken.IsZero() {
		t.Errorf("a snapshot of %v was taken", taken)
	}
	_, err := OpenExport(filepath.Join(dir, "none"))
	must(t, err, "fs.ErrNotExist", FateNotDone)
	sm.failing = nil

	hold := make(chan struct{})
	sm.mu.Lock()
	sm.hold = hold
	sm.mu.Unlock()
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	must(t, second(r.Trigger().Snapshot(short)), "UnknownError", FateUnknown)
	must(t, second(r.Export(short, filepath.Join(dir, "late"))), "context.DeadlineExceeded", FateNotDone)
	close(hold) // and it is taken
	if _, err := r.Wait(ctx, SnapshotAtLeast(r.Metrics().Applied)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Wait(ctx, PurgedAtLeast(1)); err != nil {
		t.Fatal(err)
	}
	_, err = readAll(ctx, r, 1, 0)
	must(t, err, "PurgedError", FateNotDone)
	must(t, err, "ErrPurged", FateNotDone)

	out := filepath.Join(dir, "export")
	if _, err := r.Export(ctx, out); err != nil {
		t.Fatal(err)
	}
	must(t, second(r.Export(ctx, out)), "fs.ErrExist", FateNotDone)
	rot(t, filepath.Join(out, "state.snapshot"))
	_, err = OpenExport(out)
	must(t, err, "codec.ErrCorrupt", FateNotDone)
	must(t, Import(Config{NodeID: 1, ClusterID: "other", Dir: filepath.Join(dir, "import"), Listen: "127.0.0.1:0"}, out,
		codec.NewMembership(codec.SeveralLeadersPerTerm, codec.Node{ID: 1})), "codec.ErrCorrupt", FateNotDone)

	last := errors.New("the last of it is missing")
	must(t, second(r.Restore(ctx, &brokenReader{bytes.NewReader(foreign(t, "new")), last})), "ErrRestoreGivenUp", FateNotDone)
	if _, err := r.Propose(ctx, []byte("y")); err != nil || !slices.Equal(sm.datas, []string{"x", "y"}) {
		t.Errorf("the state is %v, %v", sm.datas, err)
	}
}

// brokenReader ends with an error where its reader ends.
type brokenReader struct {
	of  *bytes.Reader
	err error
}

func (b *brokenReader) Read(p []byte) (int, error) {
	if b.of.Len() == 0 {
		return 0, b.err
	}
	return b.of.Read(p)
}

// TestFatesOfOpen: a node that is not opened leaves a directory as it was, and can be opened there.
func TestFatesOfOpen(t *testing.T) {
	dir := t.TempDir()
	good := Config{NodeID: 1, ClusterID: "test", Dir: filepath.Join(dir, "node"), Listen: "127.0.0.1:0"}
	open := func(sm StateMachine, change func(*Config)) error {
		cfg := good
		change(&cfg)
		r, err := Open(cfg, sm)
		if err == nil {
			_ = r.Close()
		}
		return err
	}
	must(t, open(nil, func(*Config) {}), "ConfigError", FateNotDone)
	must(t, open(newRegister(), func(cfg *Config) { cfg.Listen = "nowhere" }), "netio.ErrConfig", FateNotDone)
	must(t, open(newRegister(), func(cfg *Config) { cfg.Listen = "0.0.0.0:0" }), "netio.ErrInsecure", FateNotDone)
	r, err := Open(good, newRegister())
	if err != nil {
		t.Fatal(err)
	}
	must(t, open(newRegister(), func(*Config) {}), "vfs.ErrLocked", FateNotDone)
	must(t, second(r.Trigger().Snapshot(t.Context())), "ErrNotSnapshotter", FateNotDone)
	if err := r.Initialize(t.Context(), codec.NewMembership(codec.SeveralLeadersPerTerm, codec.Node{ID: 1, Address: r.Addr()})); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	must(t, open(newRegister(), func(cfg *Config) { cfg.ClusterID = "other" }), "wal.ErrIdentity", FateNotDone)
	must(t, open(nil, func(cfg *Config) { cfg.Witness = true }), "WitnessError", FateNotDone)
	if err := open(newRegister(), func(*Config) {}); err != nil {
		t.Errorf("after all those: %v", err)
	}
	for name, misuse := range map[string]func(Transport) error{
		"netio.ErrClosed": Transport.Close, "netio.ErrStarted": func(t Transport) error { return t.Start(deafLink) },
	} {
		log := MemoryLog()
		transport := netio.NewNetwork().Transport(1, "test", log.Incarnation())
		if err := misuse(transport); err != nil {
			t.Fatal(err)
		}
		must(t, open(newRegister(), func(cfg *Config) { cfg.Dir, cfg.Listen, cfg.Log, cfg.Transport = "", "", log, transport }), name, FateNotDone)
	}
}

// deafLink takes nothing.
var deafLink = codec.Link{
	Verify: func(codec.NodeID, codec.Incarnation) error { return nil }, Deliver: func([]codec.Packet) {}, Down: func(codec.NodeID, codec.Lane) {},
}

// TestFatesOfSpecialNodes: witnesses, nodes that have applied nothing, and state machines that can't do what is asked for.
func TestFatesOfSpecialNodes(t *testing.T) {
	ctx := t.Context()
	open := func(sm StateMachine, change func(*Config)) *Raft {
		log := MemoryLog()
		cfg := Config{NodeID: 1, ClusterID: "test", Log: log, Transport: netio.NewNetwork().Transport(1, "test", log.Incarnation())}
		change(&cfg)
		r, err := Open(cfg, sm)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.Close() })
		return r
	}
	witness := open(nil, func(cfg *Config) { cfg.Witness = true })
	_, err := readAll(ctx, witness, 1, 0)
	must(t, err, "ErrHeaderOnly", FateNotDone)
	must(t, second(witness.EnsureLinearizable(ctx)), "ErrNoState", FateNotDone)
	fresh := open(&keptRegister{register: register{changed: make(chan struct{})}}, func(*Config) {})
	must(t, second(fresh.Trigger().Snapshot(ctx)), "ErrNothingApplied", FateNotDone)
	must(t, fresh.LeaseRead(ctx, func() error { return nil }), "ErrLeaseReadsOff", FateNotDone)
	must(t, fresh.ForgetLeader(), "ErrNoLeaderToForget", FateNotDone)

	owner := openAlone(t, newDiskRegister(&registerDisk{}), func(*Config) {})
	must(t, second(owner.Restore(ctx, strings.NewReader("x"))), "ErrNotAdopter", FateNotDone)
	if err := owner.Close(); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"Propose": second(owner.Propose(ctx, nil)), "ChangeMembership": second(owner.ChangeMembership(ctx, Remove(1))),
		"Snapshot": second(owner.Trigger().Snapshot(ctx)), "Purge": owner.Trigger().Purge(ctx, 1), "ReadIndex": second(owner.ReadIndex(ctx)),
		"Restore": second(owner.Restore(ctx, strings.NewReader("x"))), "Elect": owner.Trigger().Elect(),
		"Submit": second(owner.Submit(ctx, Proposal{Forward: true})), "TransferLeadership": owner.TransferLeadership(ctx, 0),
		"Export": second(owner.Export(ctx, filepath.Join(t.TempDir(), "x"))), "SetSwitches": owner.SetSwitches(Switches{}),
		"WaitLeader": second(owner.WaitLeader(ctx)), "Inspect": owner.Inspect(ctx, func(*View) { t.Error("it runs") }),
	} {
		if !errors.Is(err, ErrStopped) || FateOf(err) != FateNotDone {
			t.Errorf("%s on a closed node: %v, %v", name, err, FateOf(err))
		}
	}
	if _, err := os.Stat(filepath.Join(t.TempDir(), "x")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
