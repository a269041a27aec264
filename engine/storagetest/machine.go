package storagetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
)

// MachinePlace is where one state machine lives.
type MachinePlace struct {
	// Open makes the state machine: an empty one, or, for a [pipeline.OnDisk] one whose place was used before, one with what
	// that has made durable. Required.
	Open func() (pipeline.StateMachine, error)
	// Close, where it is not nil, ends a state machine before the place is opened again.
	Close func(m pipeline.StateMachine) error
	// Crash, where it is not nil, does to the place of an on-disk state machine what a power cut does while it is open. That
	// one is not used any more, nor closed.
	Crash func()
}

// MachineConfig says what [StateMachine] tests.
type MachineConfig struct {
	// New makes an empty place. It is called for each case, more than once. What it needs for cleaning up it leaves to t.
	// Required.
	New func(t testing.TB) MachinePlace
	// Command returns the data of the i-th command, from 0 on, the same at each call. Each must change the state. Required.
	Command func(i int) []byte
	// State describes the state of a state machine: the same for the same state and something else for any other. It is
	// called where Apply is. Required.
	State func(m pipeline.StateMachine) (string, error)
}

// StateMachine tests a state machine: every case is a subtest of t. The cases of a [pipeline.Snapshotter], of a
// [pipeline.OnDisk] and of a [pipeline.Adopter] run where it is one. What a case demands is written in the package's comment.
func StateMachine(t *testing.T, c MachineConfig) {
	if c.New == nil || c.Command == nil || c.State == nil {
		t.Fatal("storagetest: MachineConfig wants New, Command and State, all of them")
	}
	for _, group := range machineGroups() {
		t.Run(group.name, func(t *testing.T) {
			for _, one := range group.cases {
				t.Run(one.name, func(t *testing.T) {
					if why := c.runMachine(t, group.needs, one); why != "" {
						t.Skip(why)
					}
				})
			}
		})
	}
}

// machineNeed says what a case needs.
type machineNeed uint8

const (
	needSnapshotter machineNeed = 1 << iota
	needOnDisk
	needPower // a place with Crash
	needAdopter
)

type machineCase struct {
	name string
	run  func(s *machineRun)
}

type machineGroup struct {
	name  string
	needs machineNeed
	cases []machineCase
}

func machineGroups() []machineGroup {
	return []machineGroup{
		{"apply", 0, applyCases}, {"snapshot", needSnapshotter, snapshotCases}, {"restore", needSnapshotter, restoreCases},
		{"disk", needOnDisk, diskCases}, {"power", needOnDisk | needPower, powerCases},
		{"adopt", needOnDisk | needAdopter, adoptCases}, {"adopt power", needOnDisk | needAdopter | needPower, adoptPowerCases},
	}
}

// runMachine runs a case, or returns why it does not apply.
func (c MachineConfig) runMachine(t testing.TB, needs machineNeed, one machineCase) (why string) {
	s := &machineRun{TB: t, config: c}
	l := s.life()
	_, snapshots := l.m.(pipeline.Snapshotter)
	_, onDisk := l.m.(pipeline.OnDisk)
	_, adopts := l.m.(pipeline.Adopter)
	switch {
	case needs&needSnapshotter != 0 && !snapshots:
		why = fmt.Sprintf("%T is no Snapshotter", l.m)
	case needs&needOnDisk != 0 && !onDisk:
		why = fmt.Sprintf("%T is not OnDisk", l.m)
	case needs&needAdopter != 0 && !adopts:
		why = fmt.Sprintf("%T is no Adopter", l.m)
	case needs&needPower != 0 && l.place.Crash == nil:
		why = "the place has no Crash"
	default:
		one.run(s)
	}
	for _, l := range s.lives {
		l.checkAnswers()
		if l.m != nil {
			l.close()
		}
	}
	return why
}

// machineRun is a case at work.
type machineRun struct {
	testing.TB
	config MachineConfig
	lives  []*life
	states []string // after so many commands, applied one by one to a state machine that nobody disturbs
	judge  pipeline.StateMachine
}

// idOf is the log id of the i-th command. Entries between are of the log's own, and leaders change.
func idOf(i int) codec.LogID {
	return codec.LogID{Leader: codec.LeaderID{Term: codec.Term(1 + i/10), Node: 1}, Index: codec.Index(i + i/4 + 1)}
}

// numberOf returns how many commands are applied when the last is id, which must be one's.
func (s *machineRun) numberOf(id codec.LogID) int {
	s.Helper()
	if id.IsZero() {
		return 0
	}
	for i := range int(min(id.Index, 1<<16)) { // no case applies so many
		if idOf(i) == id {
			return i + 1
		}
	}
	s.Fatalf("%v is the log id of no entry that was applied", id)
	return 0
}

func (s *machineRun) entries(from, to int) []pipeline.Entry {
	var out []pipeline.Entry
	for i := from; i < to; i++ {
		out = append(out, pipeline.Entry{ID: idOf(i), Kind: codec.EntryNormal, Data: bytes.Clone(s.config.Command(i))})
	}
	return out
}

func resultsFor(entries []pipeline.Entry) []pipeline.Result {
	out := make([]pipeline.Result, len(entries))
	for i := range entries {
		out[i].LogID = entries[i].ID
	}
	return out
}

// want returns the state after n commands.
func (s *machineRun) want(n int) string {
	s.Helper()
	if s.judge == nil {
		l := s.life()
		s.judge = l.m
		s.states = []string{l.state()}
	}
	for i := len(s.states) - 1; i < n; i++ {
		e := s.entries(i, i+1)
		if err := s.judge.Apply(e, resultsFor(e)); err != nil {
			s.Fatalf("Apply of command %d: %v", i, err)
		}
		s.states = append(s.states, s.stateOf(s.judge))
	}
	return s.states[n]
}

func (s *machineRun) stateOf(m pipeline.StateMachine) string {
	s.Helper()
	state, err := s.config.State(m)
	if err != nil {
		s.Fatalf("State: %v", err)
	}
	return state
}

// life is a place and the state machine that is open there.
type life struct {
	s       *machineRun
	place   MachinePlace
	m       pipeline.StateMachine // nil once ended
	n       int                   // commands applied
	answers []kept
	adopted adopted
}

// kept is an answer as it was given, and a copy.
type kept struct{ given, copy []byte }

// life makes a place and opens it.
func (s *machineRun) life() *life {
	s.Helper()
	l := &life{s: s, place: s.config.New(s.TB)}
	if l.place.Open == nil {
		s.Fatal("storagetest: MachinePlace.Open is nil, want a function that makes the state machine")
	}
	s.lives = append(s.lives, l)
	l.open()
	return l
}

func (l *life) open() {
	l.s.Helper()
	m, err := l.place.Open()
	if err != nil || m == nil {
		l.s.Fatalf("Open returned %v, %v", m, err)
	}
	l.m = m
}

func (l *life) close() {
	l.s.Helper()
	m := l.m
	l.m = nil
	if l.place.Close == nil {
		return
	}
	if err := l.place.Close(m); err != nil {
		l.s.Fatalf("Close: %v", err)
	}
}

func (l *life) state() string { l.s.Helper(); return l.s.stateOf(l.m) }

// apply applies the next n commands in one call. What it hands over is the caller's: it is overwritten afterwards, and must
// not have been changed before.
func (l *life) apply(n int) {
	l.s.Helper()
	entries := l.s.entries(l.n, l.n+n)
	for i := range entries {
		entries[i].ID = l.id(l.n + i)
	}
	results := resultsFor(entries)
	if err := l.m.Apply(entries, results); err != nil {
		l.s.Fatalf("Apply of commands %d to %d: %v", l.n, l.n+n-1, err)
	}
	for i, e := range entries {
		if e.ID != l.id(l.n+i) || !bytes.Equal(e.Data, l.s.config.Command(l.n+i)) {
			l.s.Fatalf("Apply changed entry %d to %v with %.80q", l.n+i, e.ID, e.Data)
		}
		if results[i].LogID != l.id(l.n+i) {
			l.s.Fatalf("Apply changed the log id of result %d to %v, was %v", l.n+i, results[i].LogID, l.id(l.n+i))
		}
		l.answers = append(l.answers, kept{results[i].Data, bytes.Clone(results[i].Data)})
		for j := range e.Data {
			e.Data[j] ^= 0xFF
		}
		entries[i], results[i] = pipeline.Entry{}, pipeline.Result{}
	}
	l.n += n
}

// applyTo applies commands one by one until n are.
func (l *life) applyTo(n int) {
	l.s.Helper()
	for l.n < n {
		l.apply(1)
	}
}

// checkAnswers: an answer that was given stays as it is.
func (l *life) checkAnswers() {
	l.s.Helper()
	for i, a := range l.answers {
		if !bytes.Equal(a.given, a.copy) {
			l.s.Errorf("answer %d is %.80q now, was %.80q when Apply gave it", i, a.given, a.copy)
		}
	}
}

// check compares the state with that after as many commands.
func (l *life) check() {
	l.s.Helper()
	if got, want := l.state(), l.s.want(l.n); got != want {
		l.s.Fatalf("state after %d commands: %.200q, want %.200q", l.n, got, want)
	}
}

// capture captures the state.
func (l *life) capture() pipeline.SnapshotSource {
	l.s.Helper()
	source, err := l.m.(pipeline.Snapshotter).Snapshot()
	if err != nil || source == nil {
		l.s.Fatalf("Snapshot returned %v, %v", source, err)
	}
	return source
}

// written writes a captured state and closes it.
func (s *machineRun) written(source pipeline.SnapshotSource) []byte {
	s.Helper()
	var buf bytes.Buffer
	n, err := source.WriteTo(&buf)
	if err = errors.Join(err, source.Close()); err != nil || n != int64(buf.Len()) {
		s.Fatalf("WriteTo returned %d, %v, and has written %d bytes", n, err, buf.Len())
	}
	return buf.Bytes()
}

// restore gives a life the state after n commands as another has written it.
func (l *life) restore(state []byte, n int) {
	l.s.Helper()
	l.restoreFrom(bytes.NewReader(state), n)
}

func (l *life) restoreFrom(r io.Reader, n int) {
	l.s.Helper()
	if err := l.m.(pipeline.Snapshotter).Restore(r); err != nil {
		l.s.Fatalf("Restore: %v", err)
	}
	l.n, l.adopted = n, adopted{}
}
