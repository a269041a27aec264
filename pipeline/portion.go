package pipeline

import (
	"fmt"
	"runtime/debug"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline/session"
)

// Bounds of what is given to one Apply, so that the first callers of a long run are answered while the rest is still
// being applied, and so that frames that were stored compressed are not unpacked all at once. One frame is always given.
const (
	applyEntriesMax = 4096
	applyBytesMax   = 4 << 20
)

// portion is a run of frames that is applied together: the entries for the state machine, and how the answers of each
// frame come from their results.
type portion struct {
	entries  []Entry
	results  []Result  // of the entries that the state machine was given
	ran      int       // entries that it was given
	commands []command // of sessions, among the entries not given yet
	frames   []answers // one for each frame
	outcomes []outcome // of the entries of frames that are no normal ones
	raw      []Entry   // scratch
}

// answers says where the results of a frame's entries are: count of them in results, or in outcomes, from the first on.
type answers struct {
	kind         codec.EntryKind
	first, count int
}

// command is a session's command that waits for its answer.
type command struct {
	id     session.ID
	serial uint64
	slot   int // of its entry in the portion
}

// outcome is the answer to one entry: the result in a slot, or, where that is below 0, what is known without the state
// machine.
type outcome struct {
	slot   int
	result Result
	err    error
}

// reset empties p for the next portion and lets go of what it held.
func (p *portion) reset() {
	clear(p.entries)
	clear(p.results)
	clear(p.outcomes)
	p.entries, p.results, p.ran = p.entries[:0], p.results[:0], 0
	p.commands, p.frames, p.outcomes = p.commands[:0], p.frames[:0], p.outcomes[:0]
}

// applyPortion applies the next frames among items and returns how many they are.
func (a *Applier) applyPortion(items []applyItem) (int, error) {
	p := &a.portion
	p.reset()
	n, bytes := 0, 0
	for ; n < len(items) && !items[n].frame.IsZero(); n++ {
		f := items[n].frame
		if n > 0 && (len(p.entries) >= applyEntriesMax || bytes+f.BodySize() > applyBytesMax) {
			break
		}
		bytes += f.BodySize()
		if err := a.take(f); err != nil {
			return 0, err
		}
		a.state.base.ID = f.Meta().LastID()
	}
	return n, a.runPortion()
}

// take puts a frame's entries into the portion.
func (a *Applier) take(f codec.Frame) (err error) {
	p, meta := &a.portion, f.Meta()
	if meta.First <= a.held.Index && a.held.Index <= meta.Last() && (meta.Leader != a.held.Leader || !meta.Kind.Commands()) {
		return &StateMachineError{Call: "Applied", First: a.held.Index, Last: a.held.Index,
			Cause: fmt.Errorf("it holds the entries up to %v, where the log has %v entries of %v", a.held, meta.Kind, meta.Leader)}
	}
	switch meta.Kind {
	case codec.EntryNormal:
		if meta.Last() <= a.held.Index {
			p.frames = append(p.frames, answers{kind: meta.Kind})
			a.state.given = meta.LastID()
			return nil
		}
		first := len(p.entries)
		p.entries, err = f.AppendEntries(p.entries)
		if err == nil && meta.First <= a.held.Index {
			p.entries = append(p.entries[:first], p.entries[first+int(a.held.Index-meta.First)+1:]...)
		}
		p.frames = append(p.frames, answers{meta.Kind, first, len(p.entries) - first})
		a.state.given = meta.LastID()
		return err
	case codec.EntrySession, codec.EntryRestore:
		if p.raw, err = f.AppendEntries(p.raw[:0]); err != nil {
			return err
		}
		first := len(p.outcomes)
		for i := 0; i < len(p.raw) && err == nil; i++ {
			if meta.Kind == codec.EntrySession {
				err = a.session(p.raw[i])
			} else {
				err = a.collect(p.raw[i])
			}
		}
		clear(p.raw)
		p.frames = append(p.frames, answers{meta.Kind, first, len(p.outcomes) - first})
		return err
	case codec.EntryMembership:
		err = a.state.noteMembership(f)
	}
	p.frames = append(p.frames, answers{kind: meta.Kind})
	return err
}

// session takes a session's entry. A command that is new goes to the state machine as what a caller proposed.
func (a *Applier) session(raw Entry) error {
	p := &a.portion
	e, err := session.ReadEntry(raw.Data)
	if err != nil {
		return fmt.Errorf("entry %v: %w", raw.ID, err)
	}
	v := a.state.sessions.Begin(raw.ID, &e)
	if v.Wait {
		if err := a.runPortion(); err != nil {
			return err
		}
		v = a.state.sessions.Begin(raw.ID, &e)
	}
	switch {
	case !v.Do:
		p.outcomes = append(p.outcomes, outcome{slot: -1, result: Result{LogID: v.At, Data: v.Data}, err: v.Err})
		return nil
	case raw.ID.Index <= a.held.Index:
		a.state.sessions.Lose(e.Session, e.Serial)
		p.outcomes = append(p.outcomes, outcome{slot: -1, err: &session.AppliedError{Session: e.Session, Serial: e.Serial, LogID: v.At}})
	default:
		p.outcomes = append(p.outcomes, outcome{slot: len(p.entries)})
		p.commands = append(p.commands, command{e.Session, e.Serial, len(p.entries)})
		p.entries = append(p.entries, Entry{ID: raw.ID, Kind: codec.EntryNormal, Data: e.Data})
	}
	a.state.given = raw.ID
	return nil
}

// collect hands an entry of kind restore to the collector, and replaces the state machine's state where it completes one.
func (a *Applier) collect(raw Entry) error {
	if a.collector == nil {
		return fmt.Errorf("entry %v is a part of a state that is to be restored, and nothing here takes it", raw.ID)
	}
	if err := a.runPortion(); err != nil {
		return err
	}
	c, err := a.collector.Collect(raw)
	if err != nil {
		return fmt.Errorf("entry %v: %w", raw.ID, err)
	}
	o := outcome{slot: -1, result: Result{LogID: raw.ID}, err: c.Refusal}
	if c.State != nil && raw.ID.Index > a.held.Index {
		err = a.restoreState(raw.ID, true, c.State)
	}
	if c.State != nil {
		a.state.given = raw.ID
	}
	a.portion.outcomes = append(a.portion.outcomes, o)
	return err
}

// runPortion gives the state machine what the portion holds for it and notes the answers to sessions' commands.
func (a *Applier) runPortion() error {
	p := &a.portion
	if p.ran == len(p.entries) {
		return nil
	}
	entries := p.entries[p.ran:]
	for i := range entries {
		p.results = append(p.results, Result{LogID: entries[i].ID})
	}
	results := p.results[p.ran:]
	first, last := entries[0].ID.Index, entries[len(entries)-1].ID.Index
	if err := guard("Apply", first, last, func() error { return a.sm.Apply(entries, results) }); err != nil {
		return err
	}
	p.ran = len(p.entries)
	for _, c := range p.commands {
		a.state.sessions.Finish(c.id, c.serial, p.results[c.slot].Data)
	}
	p.commands = p.commands[:0]
	return nil
}

// AskApplied returns what an on-disk state machine holds. The error is a [StateMachineError], also where it panics.
func AskApplied(sm OnDisk) (held codec.LogID, err error) {
	err = guard("Applied", 0, 0, func() (err error) {
		held, err = sm.Applied()
		return err
	})
	return held, err
}

// guard makes of what a call to the state machine returns, or panics with, a [StateMachineError].
func guard(call string, first, last codec.Index, fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &StateMachineError{call, first, last, &panicError{p, debug.Stack()}}
		}
	}()
	if err := fn(); err != nil {
		return &StateMachineError{call, first, last, err}
	}
	return nil
}

// answer tells those who wait for the frames of items, which the portion holds. Nobody waits for entries that the state
// machine held at start: they are of an earlier life of the node.
func (p *portion) answer(items []applyItem) {
	for i := range items {
		b, from := items[i].batch, p.frames[i]
		if b == nil {
			continue
		}
		items[i].batch = nil
		switch {
		case from.kind == codec.EntryNormal:
			b.Answer(p.results[from.first : from.first+from.count])
		default:
			outcomes := p.outcomes[from.first : from.first+from.count]
			for i := range outcomes {
				if o := &outcomes[i]; o.slot >= 0 {
					o.result = p.results[o.slot]
				}
			}
			b.answerEach(outcomes)
		}
	}
	p.reset()
}
