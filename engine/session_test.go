package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
)

func openSession(t *testing.T, r *Raft) *Session {
	t.Helper()
	s, err := r.OpenSession(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func resume(t *testing.T, r *Raft, state SessionState, options ...SessionOption) *Session {
	t.Helper()
	s, err := ResumeSession(r, state, options...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// once checks that every node applied each entry exactly once, n in all.
func (c *cluster) once(n int) {
	c.t.Helper()
	c.agree(n)
	for id, sm := range c.sms {
		sm.mu.Lock()
		seen := map[string]int{}
		for _, data := range sm.datas {
			if seen[data]++; seen[data] > 1 {
				c.t.Errorf("node %d applied %q %d times", id, data, seen[data])
			}
		}
		if len(sm.datas) != n {
			c.t.Errorf("node %d applied %d entries, want %d", id, len(sm.datas), n)
		}
		sm.mu.Unlock()
	}
}

// retry proposes an open command at whoever leads until it is answered.
func (c *cluster) retry(state SessionState, serial uint64, data string) Result {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	for {
		s, err := ResumeSession(c.leader(), state)
		if err != nil {
			c.t.Fatal(err)
		}
		r, err := s.Retry(ctx, serial, []byte(data))
		if err == nil {
			return r
		}
		if settled(err) || ctx.Err() != nil {
			c.t.Fatalf("command %d, %q: %v", serial, data, err)
		}
	}
}

// proposeOnce proposes on whoever leads until it succeeds, and so that it stands once in the state.
func (c *cluster) proposeOnce(data string) {
	c.t.Helper()
	for {
		if s, err := c.leader().OpenSession(c.t.Context()); err == nil {
			c.retry(SessionState{ID: s.ID(), Next: 2, Open: []uint64{1}}, 1, data)
			return
		}
	}
}

// TestRetryAcrossFailoverIsAppliedOnce: many goroutines share a session while the leader is cut off under them; each
// command that stays open is proposed again at the next leader until it is answered. Afterwards every command has been
// applied once on every node, and each caller has the answer of its own.
func TestRetryAcrossFailoverIsAppliedOnce(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.cables = true
		c := startCluster(t, o)
		first := c.leader()
		s := openSession(t, first)
		var wg sync.WaitGroup
		type failed struct {
			serial uint64
			data   string
		}
		var mu sync.Mutex
		var open []failed
		answers := map[string]string{} // of the state machine, which counts
		propose := func(data string, attempt func() (Result, error)) {
			result, err := attempt()
			mu.Lock()
			defer mu.Unlock()
			var still *OpenCommandError
			switch {
			case err == nil && answers[string(result.Data)] != "":
				t.Errorf("%q and %q have the answer %s", data, answers[string(result.Data)], result.Data)
			case err == nil:
				answers[string(result.Data)] = data
			case errors.As(err, &still):
				open = append(open, failed{still.Serial, data})
			case !errors.As(err, new(*NotLeaderError)) && !errors.Is(err, ErrStopped):
				t.Errorf("%q: %v", data, err)
			}
		}
		started := make(chan struct{}, 400)
		for n := range 400 {
			wg.Go(func() {
				started <- struct{}{}
				propose(fmt.Sprint(n), func() (Result, error) { return s.Propose(t.Context(), fmt.Append(nil, n)) })
			})
		}
		for range 200 {
			<-started
		}
		c.cable.part([]codec.NodeID{first.NodeID()}, c.others(first.NodeID()))
		propose("behind the cut", func() (Result, error) { return s.Propose(t.Context(), []byte("behind the cut")) })
		wg.Wait()
		if len(open) == 0 {
			t.Error("no command was open: the test did not test what it is for")
		}
		for len(open) > 0 {
			retry := resume(t, c.leader(), s.State())
			s = retry
			again := open
			open = nil
			for _, f := range again {
				propose(f.data, func() (Result, error) { return retry.Retry(t.Context(), f.serial, []byte(f.data)) })
			}
		}
		if len(s.State().Open) != 0 {
			t.Errorf("open in the end: %v", s.State().Open)
		}
		c.cable.heal()
		c.proposeOnce("the last")
		c.once(len(answers) + 1)
	})
}

// deposed returns the state of a session one of whose commands, "lost?", was proposed to a leader that could not commit it
// any more, and the serial of it.
func deposed(t *testing.T, c *cluster) (SessionState, uint64) {
	t.Helper()
	old := c.leader()
	s := openSession(t, old)
	if _, err := s.Propose(t.Context(), []byte("before")); err != nil {
		t.Fatal(err)
	}
	others := c.others(old.NodeID())
	c.cable.part([]codec.NodeID{old.NodeID()}, others)
	_, err := s.Propose(t.Context(), []byte("lost?"))
	var open *OpenCommandError
	var unknown *UnknownError
	if !errors.As(err, &open) || open.Session != s.ID() || open.Serial != 2 || !errors.As(err, &unknown) || unknown.LogID.IsZero() {
		t.Fatalf("the deposed leader's client was told %v", err)
	}
	if got := s.State(); got.Next != 3 || !slices.Equal(got.Open, []uint64{2}) {
		t.Fatalf("state %+v", got)
	}
	c.awaitLeaderAmong(others)
	return s.State(), open.Serial
}

func TestOpenCommandGoesOnAtTheNextLeader(t *testing.T) {
	for _, tcp := range []bool{false, true} {
		t.Run(fmt.Sprint("tcp=", tcp), func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, clusterOptions{nodes: 3, tcp: tcp, cables: true})
			state, serial := deposed(t, c)
			first := c.retry(state, serial, "lost?")
			c.cable.heal()
			// A client that forgot that it has the answer asks again, at any leader, also after all nodes were restarted.
			for round := range 2 {
				result := c.retry(state, serial, "lost?")
				if result.LogID != first.LogID || string(result.Data) != string(first.Data) {
					t.Errorf("round %d: %v %q, first it was %v %q", round, result.LogID, result.Data, first.LogID, first.Data)
				}
				for id := range c.cfgs {
					c.close(id)
				}
				for id := range c.cfgs {
					c.open(id)
				}
			}
			c.proposeOnce("after")
			c.once(3)
		})
	}
}

func TestEvictedSessionIsAnError(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true, adjust: func(cfg *Config) { calm(cfg); cfg.SessionsMax = 2 }})
	leader := c.leader()
	old := openSession(t, leader)
	serial, err := old.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old.Retry(t.Context(), serial, []byte("x")); err != nil {
		t.Fatal(err)
	}
	state := SessionState{ID: old.ID(), Next: 2, Open: []uint64{1}}
	openSession(t, leader)
	if _, err := resume(t, leader, state).Retry(t.Context(), serial, []byte("x")); err != nil {
		t.Fatalf("with room for both: %v", err)
	}
	openSession(t, leader)
	openSession(t, leader)
	var expired *SessionExpiredError
	if _, err := resume(t, leader, state).Retry(t.Context(), serial, []byte("x")); !errors.As(err, &expired) || expired.Session != old.ID() {
		t.Fatalf("a late retry after eviction: %v", err)
	}
	if _, err := old.Propose(t.Context(), []byte("y")); !errors.As(err, &expired) {
		t.Fatalf("a new command after eviction: %v", err)
	}
	if got := old.State().Open; got != nil {
		t.Errorf("commands of a session that is over stay open: %v", got)
	}
	if err := old.Close(t.Context()); err != nil {
		t.Errorf("closing what is gone: %v", err)
	}
	c.propose("z")
	c.once(2)
}

func TestSessionCloses(t *testing.T) {
	r := openAlone(t, newRegister(), func(*Config) {})
	s := openSession(t, r)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Do(t.Context(), []byte("x")); !errors.As(err, new(*SessionExpiredError)) {
		t.Fatalf("a command of a closed session: %v", err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatalf("closed twice: %v", err)
	}
}

// gatedRegister holds Apply back until its gate is opened.
type gatedRegister struct {
	register
	gate    chan struct{}
	entered chan struct{}
}

func newGatedRegister() *gatedRegister {
	return &gatedRegister{register: register{changed: make(chan struct{})}, gate: make(chan struct{}), entered: make(chan struct{}, 100)}
}

func (s *gatedRegister) Apply(entries []Entry, results []Result) error {
	s.entered <- struct{}{}
	<-s.gate
	return s.register.Apply(entries, results)
}

func TestCommandInFlight(t *testing.T) {
	sm := newGatedRegister()
	r := openAlone(t, sm, func(*Config) {})
	s := openSession(t, r)
	serial, err := s.Reserve()
	if err != nil || serial != 1 {
		t.Fatal(serial, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	fate := make(chan error, 1)
	go func() {
		_, err := s.Retry(ctx, serial, []byte("x"))
		fate <- err
	}()
	<-sm.entered
	if _, err := s.Retry(t.Context(), serial, []byte("x")); !errors.Is(err, ErrInFlight) {
		t.Errorf("the same command beside it: %v", err)
	}
	if err := s.GiveUp(serial); !errors.Is(err, ErrInFlight) {
		t.Errorf("given up on its way: %v", err)
	}
	cancel()
	var open *OpenCommandError
	if err := <-fate; !errors.As(err, &open) || open.Serial != serial || !errors.Is(err, context.Canceled) {
		t.Fatalf("the caller whose context ended was told %v", err)
	}
	close(sm.gate)
	if result, err := s.Retry(t.Context(), serial, []byte("x")); err != nil || string(result.Data) != "1" {
		t.Errorf("the retry: %q, %v", result.Data, err)
	}
	var answered *SessionAnsweredError
	if _, err := s.Retry(t.Context(), serial, []byte("x")); !errors.As(err, &answered) || answered.Answered != 1 {
		t.Errorf("once more: %v", err)
	}
	if err := s.GiveUp(9); !errors.As(err, &answered) {
		t.Errorf("given up without being open: %v", err)
	}
}

func TestFailedAttemptLeavesNothingOpen(t *testing.T) {
	r := openAlone(t, newRegister(), func(c *Config) { c.ProposalBytesMax = 100 })
	s := openSession(t, r)
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("too late"))
	if _, err := s.Propose(t.Context(), make([]byte, 101)); !errors.Is(err, ErrTooLarge) || err.Error() != "command of 101 bytes, limit 100: too large" {
		t.Errorf("too large: %v", err)
	}
	if _, err := s.Propose(t.Context(), make([]byte, 100)); err != nil {
		t.Errorf("of the largest size: %v", err)
	}
	if _, err := s.Do(ended, nil); err == nil {
		t.Error("a context that had ended before is no obstacle")
	}
	for range 1024 {
		if _, err := s.Reserve(); err != nil {
			t.Fatal(err)
		}
	}
	state := s.State()
	_, err := s.Propose(t.Context(), nil)
	if !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), fmt.Sprint("command open since serial ", state.Open[0])) {
		t.Errorf("beyond the window: %v", err)
	}
	if _, err := s.Do(t.Context(), nil); !errors.Is(err, ErrBusy) {
		t.Errorf("beyond the window: %v", err)
	}
	if err := s.GiveUp(state.Open[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Retry(t.Context(), state.Open[len(state.Open)-1], nil); err != nil {
		t.Errorf("the last of the window: %v", err)
	}
	r.Close()
	if _, err := s.Do(t.Context(), nil); !errors.Is(err, ErrStopped) || errors.As(err, new(*OpenCommandError)) {
		t.Errorf("on a node that has ended: %v", err)
	}
	if got := s.State().Open; len(got) != 1022 {
		t.Errorf("%d commands are open, want the 1022 that were reserved", len(got))
	}
}

func TestSessionStateThatCannotBe(t *testing.T) {
	for _, state := range []SessionState{
		{}, {ID: 1}, {Next: 1}, {ID: 1, Next: 3, Open: []uint64{3}}, {ID: 1, Next: 9, Open: []uint64{2, 2}},
		{ID: 1, Next: 9, Open: []uint64{0}}, {ID: 1, Next: 1031, Open: []uint64{6, 1030}},
	} {
		if _, err := ResumeSession(nil, state); !errors.As(err, new(*ArgumentError)) {
			t.Errorf("%+v: %v, want an ArgumentError", state, err)
		}
	}
	if _, err := ResumeSession(nil, SessionState{ID: 1, Next: 1031, Open: []uint64{6, 1029}}); err != nil {
		t.Errorf("1024 serials, the first and the last open: %v", err)
	}
	r := openAlone(t, newRegister(), func(*Config) {})
	if _, err := r.Submit(t.Context(), Proposal{Serial: 4}); !errors.As(err, new(*ArgumentError)) {
		t.Errorf("a serial without a session: %v", err)
	}
}

// TestOnDiskRetryIsAppliedOnce: over a state machine that keeps its state by itself the answers of before a restart are
// gone, and the commands known.
func TestOnDiskRetryIsAppliedOnce(t *testing.T) {
	o, _ := onDisks(clusterOptions{nodes: 1})
	c := startCluster(t, o)
	s := openSession(t, c.nodes[1])
	first, err := s.Propose(t.Context(), []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	synced := make(chan error, 1)
	c.nodes[1].loop.applier.Sync(func(_ pipeline.Captured, err error) { synced <- err })
	if err := <-synced; err != nil {
		t.Fatal(err)
	}
	c.close(1)
	c.open(1)
	again := resume(t, c.leader(), SessionState{ID: s.ID(), Next: 2, Open: []uint64{1}})
	var applied *AppliedError
	if _, err := again.Do(t.Context(), []byte("y")); err != nil {
		t.Fatal(err)
	}
	if _, err := again.Retry(t.Context(), 1, []byte("x")); !errors.As(err, &applied) || applied.LogID != first.LogID {
		t.Fatalf("the retry: %v, want an AppliedError with %v", err, first.LogID)
	}
	if got := again.State().Open; got != nil {
		t.Errorf("open: %v", got)
	}
	c.once(2)
}

// TestDoRepeatsWhatIsUnknown: a leader that loses its office and gets it back answers a command that Do kept proposing.
func TestDoRepeatsWhatIsUnknown(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true, cables: true, adjust: func(cfg *Config) { cfg.Switches.NoElections = true }})
	leader := c.leader()
	s := openSession(t, leader)
	others := c.others(leader.NodeID())
	c.cable.part([]codec.NodeID{leader.NodeID()}, others)
	type answer struct {
		r   Result
		err error
	}
	got := make(chan answer, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	go func() {
		r, err := s.Do(ctx, []byte("x"))
		got <- answer{r, err}
	}()
	until(t, "the leader to step down", func() bool { return !leader.leads.Load() })
	if a := <-got; !errors.As(a.err, new(*OpenCommandError)) {
		t.Fatalf("without a leader: %v, %v", a.r, a.err)
	}
	c.cable.heal()
	until(t, "the leader to lead again", func() bool { _ = leader.Trigger().Elect(); return leader.leads.Load() })
	if r, err := s.Retry(ctx, 1, []byte("x")); err != nil || string(r.Data) != "1" {
		t.Fatalf("the retry: %q, %v", r.Data, err)
	}
	if r, err := s.Do(ctx, []byte("y")); err != nil || string(r.Data) != "2" {
		t.Fatalf("Do: %q, %v", r.Data, err)
	}
	c.once(2)
}
