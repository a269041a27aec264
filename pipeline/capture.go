package pipeline

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline/session"
)

// Captured is a group's replicated state as of exactly one entry.
type Captured struct {
	// Base is the last entry that is applied, with the newest membership up to it.
	Base codec.LogBase
	// Source writes the state machine's state; nil where [Applier.Sync] made that durable instead. Who gets it closes it.
	Source SnapshotSource
	// Sessions is the session table, and which entry the state machine was given last; see [SessionsGiven].
	Sessions []byte
}

// Capture calls fn, on the applier's goroutine, with the state after everything pushed before. fn must not block: it hands
// the source on to where it is written while entries are applied here. It gets an error instead, and nothing to close: one
// that wraps [ErrNotSnapshotter]; one that wraps [ErrBusy] while what an [OnDisk] state machine held at start is pushed
// again; a [StateMachineError] with what Snapshot returned, after which the node goes on, except after a panic; what
// stopped the state machine before.
func (a *Applier) Capture(fn func(Captured, error)) {
	a.put(applyItem{turn: func(failure error) error {
		if failure != nil {
			fn(Captured{}, failure)
			return nil
		}
		c, err := a.capture()
		fn(c, err)
		if errors.As(err, new(*panicError)) {
			return err
		}
		return nil
	}})
}

func (a *Applier) capture() (Captured, error) {
	sm, ok := a.sm.(Snapshotter)
	at := a.state.base.ID.Index
	switch {
	case !ok:
		return Captured{}, fmt.Errorf("%T is %w", a.sm, ErrNotSnapshotter)
	case at < a.held.Index:
		return Captured{}, fmt.Errorf("the sessions are being rebuilt and have reached %d of %d: %w", at, a.held.Index, ErrBusy)
	}
	c := Captured{Base: a.state.base}
	err := guard("Snapshot", at, at, func() (err error) {
		if c.Source, err = sm.Snapshot(); c.Source == nil && err == nil {
			err = errors.New("it returned neither a source nor an error")
		}
		return err
	})
	if err != nil {
		return Captured{}, err
	}
	c.Sessions = a.state.append(nil)
	return c, nil
}

// Sync makes the state of an [OnDisk] state machine durable and calls fn, on the applier's goroutine, with everything but
// that state. fn must not block. It gets an error instead: one that wraps [ErrNotSnapshotter]; a [StateMachineError], after
// which the node stops, where Sync failed or did not return the last entry it was given; what stopped it before.
func (a *Applier) Sync(fn func(Captured, error)) {
	a.put(applyItem{turn: func(failure error) error {
		sm, ok := a.sm.(OnDisk)
		switch {
		case failure != nil:
			fn(Captured{}, failure)
			return nil
		case !ok:
			fn(Captured{}, fmt.Errorf("%T is %w that keeps its state on disk", a.sm, ErrNotSnapshotter))
			return nil
		}
		given, at := a.state.given, a.state.base.ID.Index
		if given.Index < a.held.Index {
			given = a.held
		}
		err := guard("Sync", at, at, func() error {
			durable, err := sm.Sync()
			if err == nil && durable != given {
				err = fmt.Errorf("it returned %v, want %v, the last entry it was given", durable, given)
			}
			return err
		})
		if err != nil {
			fn(Captured{}, err)
			return err
		}
		fn(Captured{Base: a.state.base, Sessions: a.state.append(nil)}, nil)
		return nil
	}})
}

// Restore replaces the state machine's state and the sessions, behind everything pushed before, and goes on behind base;
// the next frame pushed must begin there. open returns the state that a [SnapshotSource] has written; it is read to its
// end, where a damaged one is to return its error. sessions is what was captured with it. done is called on the applier's
// goroutine and must not block; after an error the node stops. Without a state machine only the place changes.
func (a *Applier) Restore(base codec.LogBase, sessions []byte, open func() (io.ReadCloser, error), done func(error)) {
	a.put(applyItem{turn: func(failure error) error {
		if failure == nil {
			failure = a.restore(base, sessions, open)
			done(failure)
			return failure
		}
		done(failure)
		return nil
	}})
}

func (a *Applier) restore(base codec.LogBase, sessions []byte, open func() (io.ReadCloser, error)) error {
	if at := a.state.base.ID; base.ID.Index < at.Index {
		return fmt.Errorf("a state as of %v can't replace one as of %v, which is newer", base.ID, at)
	}
	state, err := readState(base, sessions)
	if err != nil {
		return err
	}
	if a.sm != nil {
		if err := a.restoreState(base.ID, base.ID.Leader.IsZero(), open); err != nil {
			return err
		}
	}
	a.state, a.held = state, codec.LogID{}
	a.applied.store(base.ID)
	return nil
}

// restoreState gives the state machine another state as of an entry. A foreign one was taken of another log.
func (a *Applier) restoreState(id codec.LogID, foreign bool, open func() (io.ReadCloser, error)) error {
	sm, ok := a.sm.(Snapshotter)
	if !ok {
		return fmt.Errorf("%T is %w", a.sm, ErrNotSnapshotter)
	}
	at, call, restore := id.Index, "Restore", sm.Restore
	if _, onDisk := sm.(OnDisk); onDisk && foreign {
		adopter, ok := sm.(Adopter)
		if !ok {
			return fmt.Errorf("%T is %w", a.sm, ErrNotAdopter)
		}
		call, restore = "Adopt", func(r io.Reader) error { return adopter.Adopt(r, id) }
	}
	r, err := open()
	if err != nil {
		return err
	}
	err = guard(call, at, at, func() error { return restore(r) })
	if err == nil {
		// The end of what it must have read to its end says whether all before it was whole.
		var more [1]byte
		switch n, end := r.Read(more[:]); {
		case n > 0:
			err = &StateMachineError{call, at, at, errors.New("it did not read the state to its end")}
		case end != io.EOF:
			err = end
		}
	}
	return errors.Join(err, r.Close())
}

// appliedState is what is replicated beside the state machine's own state.
type appliedState struct {
	base     codec.LogBase // last entry applied, and newest membership
	given    codec.LogID   // last entry with an effect on the state machine
	sessions *session.Table
}

// Layout of [Captured].Sessions: version, then term, node and index of the last entry that the state machine was given, 8
// bytes little endian each, then the table.
const (
	sessionsVersion    = 1
	sessionsHeaderSize = 25
)

func (s *appliedState) append(dst []byte) []byte {
	dst = append(dst, sessionsVersion)
	for _, v := range [...]uint64{uint64(s.given.Leader.Term), uint64(s.given.Leader.Node), uint64(s.given.Index)} {
		dst = binary.LittleEndian.AppendUint64(dst, v)
	}
	return s.sessions.AppendTo(dst)
}

// SessionsGiven returns the last entry that the state machine was given before sessions, a [Captured].Sessions, were
// captured: entries behind it are blank, of memberships, or of sessions alone. An [OnDisk] state machine that holds it
// holds the state that was captured. Errors wrap [codec.ErrVersion] or [codec.ErrCorrupt].
func SessionsGiven(sessions []byte) (codec.LogID, error) {
	switch {
	case len(sessions) == 0:
		return codec.LogID{}, nil
	case sessions[0] != sessionsVersion:
		return codec.LogID{}, fmt.Errorf("captured sessions of version %d, want %d: %w", sessions[0], sessionsVersion, codec.ErrVersion)
	case len(sessions) < sessionsHeaderSize:
		return codec.LogID{}, fmt.Errorf("captured sessions of %d bytes, want at least %d: %w", len(sessions), sessionsHeaderSize, codec.ErrCorrupt)
	}
	le := binary.LittleEndian
	leader := codec.LeaderID{Term: codec.Term(le.Uint64(sessions[1:])), Node: codec.NodeID(le.Uint64(sessions[9:]))}
	return codec.LogID{Leader: leader, Index: codec.Index(le.Uint64(sessions[17:]))}, nil
}

// readState returns the state as of base; without sessions that of a group which had none.
func readState(base codec.LogBase, sessions []byte) (appliedState, error) {
	s := appliedState{base: base, sessions: session.NewTable()}
	if len(sessions) == 0 {
		return s, nil
	}
	var err error
	if s.given, err = SessionsGiven(sessions); err != nil {
		return s, err
	}
	s.sessions, err = session.ReadTable(sessions[sessionsHeaderSize:])
	return s, err
}

// noteMembership notes the membership that a frame holds.
func (s *appliedState) noteMembership(f codec.Frame) error {
	entries, err := f.AppendEntries(nil)
	if err != nil {
		return err
	}
	m, n, err := codec.ReadMembership(entries[0].Data)
	if err == nil && n != len(entries[0].Data) {
		err = fmt.Errorf("%d bytes after the membership: %w", len(entries[0].Data)-n, codec.ErrCorrupt)
	}
	if err != nil {
		return fmt.Errorf("entry %v: %w", entries[0].ID, err)
	}
	s.base.Membership = codec.MembershipRecord{ID: entries[0].ID, Membership: m}
	return nil
}
