package session

import (
	"fmt"
	"slices"

	"github.com/millrace/millrace/codec"
)

// WindowMax is how far a command's serial may lie above the answers that its client has acknowledged.
const WindowMax = 1024

// Table holds the open sessions of a group.
//
// Owner: whoever applies the group's entries.
type Table struct {
	sessions map[ID]*session
	// The sessions as a ring by the time of their last entry in the log: next of root is the oldest, before it the newest.
	root    session
	pending int // commands begun and neither finished nor lost
}

// session is one client's.
type session struct {
	id         ID
	bytesMax   uint64
	answered   uint64   // acknowledged by the client
	bytes      uint64   // of answers kept. Invariant: bytes <= bytesMax
	pending    int      // records whose answer is pending
	records    []record // by serial. Invariant: answered < serial <= answered + WindowMax
	prev, next *session
}

// record is a command that took effect, or is about to.
type record struct {
	serial uint64
	at     codec.LogID // of the entry that took effect
	answer answer
	data   []byte
}

// answer says what is known of a command's answer.
type answer uint8

const (
	pending answer = iota // the state machine was not asked yet
	lost
	kept

	answerEnd
)

// NewTable returns an empty table.
func NewTable() *Table {
	t := &Table{sessions: map[ID]*session{}}
	t.root.prev, t.root.next = &t.root, &t.root
	return t
}

// Len returns the number of sessions.
func (t *Table) Len() int { return len(t.sessions) }

// Verdict says what to do with an entry.
type Verdict struct {
	// Do: the command is new. Give its data to the state machine, then call [Table.Finish] or [Table.Lose].
	Do bool
	// Wait: the entry repeats a command, and answers of the session are pending, perhaps that one, perhaps one before which
	// it gives way. Finish what was begun, then ask again.
	Wait bool
	// At is the log id of the entry that takes or took effect, Data the answer to it, nil for none; where Err is nil.
	At   codec.LogID
	Data []byte
	// Err says why the entry has no effect, or why its answer can't be told: one of the types in errors.go.
	Err error
}

// Begin takes the next entry of the log. Entries must come in index order.
func (t *Table) Begin(at codec.LogID, e *Entry) Verdict {
	if e.Op == OpRegister {
		t.register(&session{id: ID(at.Index), bytesMax: e.BytesMax}, e.Capacity)
		return Verdict{At: at}
	}
	s := t.sessions[e.Session]
	if s == nil {
		return Verdict{Err: &ExpiredError{e.Session}}
	}
	if e.Op == OpClose {
		t.remove(s)
		return Verdict{At: at}
	}
	t.detach(s)
	t.attach(s)
	t.acknowledge(s, e.Answered)
	switch i, found := s.find(e.Serial); {
	case e.Serial <= s.answered:
		return Verdict{Err: &AnsweredError{s.id, e.Serial, s.answered}}
	case e.Serial-s.answered > WindowMax:
		return Verdict{Err: &WindowError{s.id, e.Serial, s.answered}}
	case !found:
		s.records = slices.Insert(s.records, i, record{serial: e.Serial, at: at})
		t.pending++
		s.pending++
		return Verdict{Do: true, At: at}
	case s.pending > 0:
		return Verdict{Wait: true}
	case s.records[i].answer == lost:
		return Verdict{Err: &AppliedError{s.id, e.Serial, s.records[i].at}}
	default:
		return Verdict{At: s.records[i].at, Data: slices.Clone(s.records[i].data)}
	}
}

// Finish notes the answer to a command that Begin said to do, and copies it. Answers come in the order of their entries.
func (t *Table) Finish(id ID, serial uint64, data []byte) {
	s, r := t.begun(id, serial)
	if r == nil {
		return
	}
	r.answer = kept
	if len(data) > 0 {
		r.data = slices.Clone(data)
	}
	s.bytes += uint64(len(data))
	for i := 0; s.bytes > s.bytesMax; i++ {
		if r := &s.records[i]; r.answer == kept {
			s.bytes -= uint64(len(r.data))
			r.answer, r.data = lost, nil
		}
	}
}

// Lose notes that a command which Begin said to do has taken effect, with an answer that nobody knows.
func (t *Table) Lose(id ID, serial uint64) {
	if _, r := t.begun(id, serial); r != nil {
		r.answer = lost
	}
}

// begun returns a pending command's record, nil where it went meanwhile with its session or was acknowledged.
func (t *Table) begun(id ID, serial uint64) (*session, *record) {
	if t.pending == 0 {
		panic(fmt.Sprintf("BUG: answer to command %d of session %d, and none is pending", serial, id))
	}
	t.pending--
	s := t.sessions[id]
	if s == nil {
		return nil, nil
	}
	i, found := s.find(serial)
	if !found {
		return nil, nil
	}
	s.pending--
	return s, &s.records[i]
}

// find returns where the record of a serial stands, or would.
func (s *session) find(serial uint64) (int, bool) {
	if n := len(s.records); n == 0 || s.records[n-1].serial < serial {
		return n, false // the usual case: the next one
	}
	return slices.BinarySearchFunc(s.records, serial, func(r record, serial uint64) int {
		switch {
		case r.serial < serial:
			return -1
		case r.serial > serial:
			return 1
		}
		return 0
	})
}

// acknowledge forgets the answers up to a serial.
func (t *Table) acknowledge(s *session, answered uint64) {
	if answered <= s.answered {
		return
	}
	s.answered = answered
	n := 0
	for n < len(s.records) && s.records[n].serial <= answered {
		s.bytes -= uint64(len(s.records[n].data))
		if s.records[n].answer == pending {
			s.pending--
		}
		n++
	}
	s.records = slices.Delete(s.records, 0, n)
}

// register adds a session and evicts those that were not heard of for longest.
func (t *Table) register(s *session, capacity uint64) {
	t.add(s)
	for uint64(len(t.sessions)) > capacity {
		t.remove(t.root.next)
	}
}

func (t *Table) add(s *session) {
	t.sessions[s.id] = s
	t.attach(s)
}

func (t *Table) remove(s *session) {
	delete(t.sessions, s.id)
	t.detach(s)
}

// attach makes s the newest.
func (t *Table) attach(s *session) {
	s.prev, s.next = t.root.prev, &t.root
	s.prev.next, s.next.prev = s, s
}

func (t *Table) detach(s *session) { s.prev.next, s.next.prev = s.next, s.prev }
