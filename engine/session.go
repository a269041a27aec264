package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline/session"
)

// SessionID names a session: the index of the entry that opened it.
type SessionID = session.ID

// Session is a client whose commands take effect at most once, however often they are proposed and on whichever nodes (Raft
// thesis 6.3). Each command has a serial. One whose fate is unknown stays open: [Session.Retry] proposes it again under the
// same serial, and gives the answer of the first time where it had taken effect. Every node keeps the sessions with their
// answers beside the state machine and in snapshots.
//
// Any number of goroutines may use a Session. What they propose at the same time has no order among it, as with
// [Raft.Propose]; each has a serial of its own. At most 1024 commands lie between the oldest open one and the newest. The
// same session must not be used through two Sessions at the same time.
//
// Sessions are bounded in number by [Config.SessionsMax]: a new one may evict the one that was not heard of for longest. An
// evicted session is over, and its open commands stay unknown: they are refused, never executed again.
type Session struct {
	raft    *Raft
	id      SessionID
	forward bool

	// mu guards what follows. No owner would do: callers share it and do not wait for each other. It is held for a look at
	// a short list.
	mu   sync.Mutex
	next uint64 // serial of the next command
	open []openCommand
}

// openCommand is a serial that was given out and whose fate is not settled. Session.open has them in ascending order.
type openCommand struct {
	serial  uint64
	waiting bool // a call waits for its answer
	unknown bool // an attempt may have had effect
}

// SessionState is what a client keeps of its session to go on after a restart, or at another node.
type SessionState struct {
	ID SessionID
	// Next is the serial of the next command.
	Next uint64
	// Open are the serials below it whose fate is not settled, in ascending order.
	Open []uint64
}

// SessionOption says how a [Session] works.
type SessionOption func(*Session)

// Forwarding lets a session work at a node that does not lead: what it proposes, its opening and end included, goes to the
// leader, as with [Proposal].Forward.
func Forwarding() SessionOption { return func(s *Session) { s.forward = true } }

// OpenSession opens a session by an entry of its own. It must be called on the leader, but with [Forwarding]. Errors as
// [Raft.Propose]; after an [UnknownError] a session may have been opened that nobody uses: it goes by eviction.
func (r *Raft) OpenSession(ctx context.Context, options ...SessionOption) (*Session, error) {
	s := &Session{raft: r, next: 1}
	for _, option := range options {
		option(s)
	}
	result, err := r.submit(ctx, &Proposal{Data: registration(&r.cfg), Forward: s.forward}, codec.EntrySession)
	if err != nil {
		return nil, err
	}
	s.id = SessionID(result.LogID.Index)
	return s, nil
}

// registration returns the entry that opens a session on a leader with that configuration.
func registration(cfg *Config) []byte {
	e := session.Entry{Op: session.OpRegister, Capacity: uint64(cfg.SessionsMax), BytesMax: uint64(cfg.SessionBytesMax)}
	return session.AppendEntry(nil, &e)
}

// ResumeSession returns the session that a state describes, for use at node r, which need not be the one it was opened at.
// Its open commands wait to be proposed again or given up. The state must be the newest: a serial that was used since for
// another command would be taken for a retry of that. The first command shows whether the session still exists. Errors: an
// [ArgumentError] for a state that can't be.
func ResumeSession(r *Raft, state SessionState, options ...SessionOption) (*Session, error) {
	s := &Session{raft: r, id: state.ID, next: state.Next}
	for _, option := range options {
		option(s)
	}
	if state.ID == 0 || state.Next == 0 {
		return nil, &ArgumentError{"ResumeSession", fmt.Sprintf("id %d and next serial %d", state.ID, state.Next), "both above 0"}
	}
	last := uint64(0)
	for _, serial := range state.Open {
		if serial <= last || serial >= state.Next || serial-state.Open[0] >= session.WindowMax {
			what := fmt.Sprintf("the open serial %d behind %d, and %d to come next", serial, last, state.Next)
			return nil, &ArgumentError{"ResumeSession", what, fmt.Sprintf("them ascending, within %d", session.WindowMax)}
		}
		s.open = append(s.open, openCommand{serial: serial, unknown: true})
		last = serial
	}
	return s, nil
}

// ID returns the session's id.
func (s *Session) ID() SessionID { return s.id }

// State returns what [ResumeSession] needs. Commands on their way are among the open ones.
func (s *Session) State() SessionState {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := SessionState{ID: s.id, Next: s.next}
	for _, c := range s.open {
		state.Open = append(state.Open, c.serial)
	}
	return state
}

// Propose proposes data once, as a command under the next serial, and returns the state machine's answer. Errors beside
// those of [Raft.Propose]: [SessionExpiredError]; one that wraps [ErrBusy] where too many commands are open. An
// [UnknownError] comes in an [OpenCommandError] that names the serial: the command stays open, to be proposed again by
// [Session.Retry].
func (s *Session) Propose(ctx context.Context, data []byte) (Result, error) {
	return s.raft.Submit(ctx, Proposal{Data: data, Session: s})
}

// Retry proposes an open command: one whose fate is unknown, or that was reserved. data must be the same each time. The
// answer is that of the attempt that took effect, with its log id. Errors beside those of [Session.Propose]: an
// [AppliedError] where that answer is not known any more; [ErrInFlight] while another call waits for it;
// [SessionAnsweredError] for a serial that is not open. After an error that says that this attempt did not happen the
// command is still open if it was.
func (s *Session) Retry(ctx context.Context, serial uint64, data []byte) (Result, error) {
	return s.raft.Submit(ctx, Proposal{Data: data, Session: s, Serial: serial})
}

// Do proposes data as a command and proposes it again, under the same serial, for as long as its fate is not known and ctx
// allows: for ever where ctx has no deadline and the cluster no quorum. Errors as [Session.Propose]; an [OpenCommandError]
// when ctx ended, or when this node leads no more. With [Forwarding] it also goes on while no leader is known, and at the
// next one.
func (s *Session) Do(ctx context.Context, data []byte) (Result, error) {
	serial, err := s.Reserve()
	if err != nil {
		return Result{}, err
	}
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-pause.C:
		case <-ctx.Done():
		case <-s.raft.done:
		}
		result, err := s.Retry(ctx, serial, data)
		if settled(err) || ctx.Err() != nil || !s.worthAnother(err) {
			return result, s.release(serial, err)
		}
		pause.Reset(s.raft.cfg.HeartbeatInterval)
	}
}

// worthAnother reports whether the same command may have better luck soon at the same node.
func (s *Session) worthAnother(err error) bool {
	if s.forward && errors.As(err, new(*NotLeaderError)) {
		return true
	}
	return errors.As(err, new(*UnknownError)) && !errors.Is(err, ErrStopped) || errors.Is(err, ErrBusy)
}

// Reserve returns the next serial, whose command is open from then on. A client that has to survive a crash of its own
// writes down the serial and the data, then proposes them with [Session.Retry]. Errors: one that wraps [ErrBusy].
func (s *Session) Reserve() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reserve()
}

// reserve is called with the lock held.
func (s *Session) reserve() (uint64, error) {
	if len(s.open) > 0 && s.next-s.answered() > session.WindowMax {
		return 0, fmt.Errorf("session %d has a command open since serial %d, want it settled by Retry or GiveUp before %d: %w",
			s.id, s.open[0].serial, s.next, ErrBusy)
	}
	serial := s.next
	s.next++
	s.open = append(s.open, openCommand{serial: serial})
	return serial, nil
}

// answered returns the serial up to which everything is settled. The lock is held.
func (s *Session) answered() uint64 {
	if len(s.open) > 0 {
		return s.open[0].serial - 1
	}
	return s.next - 1
}

// GiveUp settles an open command without an answer. If it has not taken effect yet it still may, until a command of the
// session is applied that was proposed when neither this one nor any with a lower serial was open: then it never will.
// Errors: [ErrInFlight], [SessionAnsweredError].
func (s *Session) GiveUp(serial uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.find(serial)
	if err == nil {
		s.open = slices.Delete(s.open, i, i+1)
	}
	return err
}

// Close ends the session, which must have no call waiting: its answers are forgotten on every node. Errors as
// [Raft.Propose]; it may be called again. A session that had gone already is no error.
func (s *Session) Close(ctx context.Context) error {
	e := session.Entry{Op: session.OpClose, Session: s.id}
	_, err := s.raft.submit(ctx, &Proposal{Data: session.AppendEntry(nil, &e), Forward: s.forward}, codec.EntrySession)
	if _, gone := err.(*session.ExpiredError); gone && !endedBy(ctx, err) {
		return nil
	}
	return err
}

// submit proposes a command of the session on node r.
func (s *Session) submit(ctx context.Context, r *Raft, p *Proposal) (Result, error) {
	if len(p.Data) > r.cfg.ProposalBytesMax {
		return Result{}, fmt.Errorf("command of %d bytes, limit %d: %w", len(p.Data), r.cfg.ProposalBytesMax, ErrTooLarge)
	}
	serial, answered, err := s.begin(p.Serial)
	if err != nil {
		return Result{}, err
	}
	e := session.Entry{Op: session.OpCommand, Session: s.id, Serial: serial, Answered: answered, Data: p.Data}
	entry := *p
	entry.Forward = p.Forward || s.forward
	entry.Data = session.AppendEntry(make([]byte, 0, session.HeaderBytesMax+len(p.Data)), &e)
	result, err := r.submit(ctx, &entry, codec.EntrySession)
	return result, s.end(ctx, serial, p.Serial == 0, err)
}

// begin takes a serial, or the next one for 0, for a call that waits.
func (s *Session) begin(serial uint64) (taken, answered uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if serial == 0 {
		if serial, err = s.reserve(); err != nil {
			return 0, 0, err
		}
	}
	i, err := s.find(serial)
	if err != nil {
		return 0, 0, err
	}
	s.open[i].waiting = true
	return serial, s.answered(), nil
}

// find returns where an open command stands that no call waits for. The lock is held.
func (s *Session) find(serial uint64) (int, error) {
	i, found := s.locate(serial)
	switch {
	case !found:
		return 0, &SessionAnsweredError{Session: s.id, Serial: serial, Answered: s.answered()}
	case s.open[i].waiting:
		return 0, fmt.Errorf("command %d of session %d: %w", serial, s.id, ErrInFlight)
	}
	return i, nil
}

// locate returns where an open command stands, or would. The lock is held.
func (s *Session) locate(serial uint64) (int, bool) {
	return slices.BinarySearchFunc(s.open, serial, func(c openCommand, serial uint64) int { return cmp.Compare(c.serial, serial) })
}

// end notes what became of a call's attempt. own says that the call took the serial itself: then nobody else knows it, and
// it need not stay open after an attempt that did not happen. It returns the error that the caller is told.
func (s *Session) end(ctx context.Context, serial uint64, own bool, err error) error {
	over, harmless := settled(err), certain(err)
	if endedBy(ctx, err) {
		over, harmless = false, true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i, _ := s.locate(serial)
	c := &s.open[i]
	c.waiting = false
	if over || own && harmless {
		s.open = slices.Delete(s.open, i, i+1)
		return err
	}
	c.unknown = c.unknown || !harmless
	if c.unknown {
		return &OpenCommandError{Session: s.id, Serial: serial, Cause: err}
	}
	return err
}

// release settles a serial that only [Session.Do] knows where no attempt may have had effect.
func (s *Session) release(serial uint64, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, missing := s.find(serial); missing == nil && !s.open[i].unknown {
		s.open = slices.Delete(s.open, i, i+1)
	}
	return err
}
