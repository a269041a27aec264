package session

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/millrace/millrace/codec"
)

// model is the table as one would write it down: one entry at a time, everything in plain maps and slices.
type model struct {
	order    []ID // the one not heard of for longest first
	sessions map[ID]*modelSession
}

type modelSession struct {
	bytesMax uint64
	answered uint64
	done     map[uint64]modelRecord
}

type modelRecord struct {
	at   codec.LogID
	data []byte
	lost bool
}

func newModel() *model { return &model{sessions: map[ID]*modelSession{}} }

// take applies an entry; answer is called for a command that takes effect, once. It returns what its caller is told.
func (m *model) take(at codec.LogID, e *Entry, answer func() []byte) string {
	if e.Op == OpRegister {
		m.order = append(m.order, ID(at.Index))
		m.sessions[ID(at.Index)] = &modelSession{bytesMax: e.BytesMax, done: map[uint64]modelRecord{}}
		for uint64(len(m.order)) > e.Capacity {
			delete(m.sessions, m.order[0])
			m.order = m.order[1:]
		}
		return fmt.Sprint(at)
	}
	s := m.sessions[e.Session]
	if s == nil {
		return (&ExpiredError{e.Session}).Error()
	}
	m.order = slices.DeleteFunc(m.order, func(id ID) bool { return id == e.Session })
	if e.Op == OpClose {
		delete(m.sessions, e.Session)
		return fmt.Sprint(at)
	}
	m.order = append(m.order, e.Session)
	if e.Answered > s.answered {
		s.answered = e.Answered
		for serial := range s.done {
			if serial <= e.Answered {
				delete(s.done, serial)
			}
		}
	}
	if e.Serial <= s.answered {
		return (&AnsweredError{e.Session, e.Serial, s.answered}).Error()
	}
	if e.Serial-s.answered > WindowMax {
		return (&WindowError{e.Session, e.Serial, s.answered}).Error()
	}
	if r, ok := s.done[e.Serial]; ok {
		if r.lost {
			return (&AppliedError{e.Session, e.Serial, r.at}).Error()
		}
		return fmt.Sprintf("%v %q", r.at, r.data)
	}
	data := answer()
	s.done[e.Serial] = modelRecord{at: at, data: data}
	s.forget()
	return fmt.Sprintf("%v %q", at, data)
}

// forget gives up the answers of the lowest serials that do not fit.
func (s *modelSession) forget() {
	for {
		total, lowest := uint64(0), uint64(0)
		for serial, r := range s.done {
			if !r.lost {
				total += uint64(len(r.data))
				if lowest == 0 || serial < lowest {
					lowest = serial
				}
			}
		}
		if total <= s.bytesMax {
			return
		}
		s.done[lowest] = modelRecord{at: s.done[lowest].at, lost: true}
	}
}

// check compares a table with the model, field by field.
func (m *model) check(t *testing.T, table *Table) {
	t.Helper()
	var order []ID
	for s := table.root.next; s != &table.root; s = s.next {
		order = append(order, s.id)
	}
	if !slices.Equal(order, m.order) || table.Len() != len(order) {
		t.Fatalf("the table holds %v in %d sessions, want %v", order, table.Len(), m.order)
	}
	for id, want := range m.sessions {
		s := table.sessions[id]
		if s.answered != want.answered || len(s.records) != len(want.done) {
			t.Fatalf("session %d: answered %d, %d records, want %d and %d", id, s.answered, len(s.records), want.answered, len(want.done))
		}
		for _, r := range s.records {
			w := want.done[r.serial]
			if r.at != w.at || (r.answer == lost) != w.lost || r.answer == pending || !bytes.Equal(r.data, w.data) {
				t.Fatalf("session %d, command %d: %+v, want %+v", id, r.serial, r, w)
			}
		}
	}
}

type begunCommand struct {
	entry *Entry
	at    codec.LogID
}

// driver feeds a table in batches: commands are begun, and finished together.
type driver struct {
	table *Table
	begun []begunCommand
}

func answerTo(at codec.LogID) []byte { return bytes.Repeat([]byte{byte(at.Index)}, int(at.Index*7%40)) }

func (d *driver) flush() {
	for _, c := range d.begun {
		d.table.Finish(c.entry.Session, c.entry.Serial, answerTo(c.at))
	}
	d.begun = nil
}

// take returns what the caller is told.
func (d *driver) take(at codec.LogID, e *Entry) string {
	v := d.table.Begin(at, e)
	if v.Wait {
		d.flush()
		if v = d.table.Begin(at, e); v.Wait {
			panic("it waits again")
		}
	}
	switch {
	case v.Err != nil:
		return v.Err.Error()
	case v.Do:
		d.begun = append(d.begun, begunCommand{e, at})
		return fmt.Sprintf("%v %q", at, answerTo(at))
	case e.Op == OpCommand:
		return fmt.Sprintf("%v %q", v.At, v.Data)
	}
	return fmt.Sprint(v.At)
}

// randomEntries returns a log of entries that a few clients, not all of them careful, might have written.
func randomEntries(r *rand.Rand, n int) []Entry {
	var entries []Entry
	var ids []ID
	serials := map[ID]uint64{}
	for index := 1; index <= n; index++ {
		if len(ids) == 0 || r.IntN(12) == 0 {
			entries = append(entries, Entry{Op: OpRegister, Capacity: 1 + r.Uint64N(5), BytesMax: r.Uint64N(120)})
			ids = append(ids, ID(index))
			continue
		}
		id := ids[max(0, len(ids)-1-r.IntN(6))]
		switch r.IntN(30) {
		case 0:
			entries = append(entries, Entry{Op: OpClose, Session: id})
			continue
		case 1:
			id = ID(r.IntN(n)) // perhaps of no session
		}
		serial := serials[id] + 1
		switch r.IntN(4) {
		case 0: // a retry, or one that was lost before
			serial -= min(serial-1, r.Uint64N(5))
		case 1: // some are on their way
			serial += r.Uint64N(4)
			if r.IntN(50) == 0 {
				serial += WindowMax
			}
		}
		serials[id] = max(serials[id], serial)
		e := Entry{Op: OpCommand, Session: id, Serial: serial, Answered: serial - 1 - min(serial-1, r.Uint64N(6))}
		if r.IntN(30) == 0 {
			e.Answered += 2
		}
		entries = append(entries, e)
	}
	return entries
}

// TestTableAgreesWithModel: for any split of the entries into batches the table is that of the model, which takes them one
// by one, and so are the answers and the encoding.
func TestTableAgreesWithModel(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		entries := randomEntries(r, 200)
		m, one, many := newModel(), &driver{table: NewTable()}, &driver{table: NewTable()}
		for i := range entries {
			at := codec.LogID{Leader: codec.LeaderID{Term: codec.Term(1 + i/50), Node: 1}, Index: codec.Index(i + 1)}
			want := m.take(at, &entries[i], func() []byte { return answerTo(at) })
			if got := one.take(at, &entries[i]); got != want {
				t.Fatalf("seed %d, entry %d, %+v: one by one %q, want %q", seed, i+1, entries[i], got, want)
			}
			one.flush()
			if got := many.take(at, &entries[i]); got != want {
				t.Fatalf("seed %d, entry %d, %+v: in batches %q, want %q", seed, i+1, entries[i], got, want)
			}
			if r.IntN(10) > 0 {
				continue
			}
			many.flush()
			m.check(t, one.table)
			m.check(t, many.table)
			a, b := one.table.AppendTo(nil), many.table.AppendTo(nil)
			if !bytes.Equal(a, b) {
				t.Fatalf("seed %d, entry %d: %x one by one, %x in batches", seed, i+1, a, b)
			}
			again, err := ReadTable(b) // it goes on from a snapshot
			if err != nil {
				t.Fatalf("seed %d, entry %d: %v", seed, i+1, err)
			}
			many.table = again
		}
	}
}

func begin(t *testing.T, table *Table, index codec.Index, e Entry) Verdict {
	t.Helper()
	v := table.Begin(codec.LogID{Leader: codec.LeaderID{Term: 1, Node: 1}, Index: index}, &e)
	if v.Do {
		table.Finish(e.Session, e.Serial, fmt.Appendf(nil, "%s at %d", e.Data, index))
	}
	return v
}

func register(capacity uint64) Entry {
	return Entry{Op: OpRegister, Capacity: capacity, BytesMax: 100}
}

func put(id ID, serial, answered uint64) Entry {
	return Entry{Op: OpCommand, Session: id, Serial: serial, Answered: answered, Data: []byte("put")}
}

func TestRetryGetsTheFirstAnswer(t *testing.T) {
	table := NewTable()
	begin(t, table, 5, register(10))
	if v := begin(t, table, 6, put(5, 1, 0)); !v.Do || v.At.Index != 6 {
		t.Fatalf("a new command: %+v", v)
	}
	if v := begin(t, table, 9, put(5, 1, 0)); v.Do || v.At.Index != 6 || string(v.Data) != "put at 6" {
		t.Fatalf("its retry: %+v", v)
	}
	if v := begin(t, table, 10, put(5, 2, 1)); !v.Do {
		t.Fatalf("the next command: %+v", v)
	}
	var answered *AnsweredError
	if v := begin(t, table, 11, put(5, 1, 0)); v.Do || !errors.As(v.Err, &answered) || answered.Answered != 1 {
		t.Fatalf("a straggler behind its acknowledgement: %+v", v)
	}
	begin(t, table, 12, Entry{Op: OpClose, Session: 5})
	var expired *ExpiredError
	if v := begin(t, table, 13, put(5, 2, 1)); v.Do || !errors.As(v.Err, &expired) || expired.Session != 5 {
		t.Fatalf("a retry after the session was closed: %+v", v)
	}
	if v := begin(t, table, 14, Entry{Op: OpClose, Session: 5}); !errors.As(v.Err, &expired) {
		t.Fatalf("closed twice: %+v", v)
	}
}

func TestEvictionIsByLastUse(t *testing.T) {
	table := NewTable()
	for index := codec.Index(1); index <= 3; index++ {
		begin(t, table, index, register(3))
	}
	begin(t, table, 4, put(1, 1, 0)) // 2 is now the one not heard of for longest
	begin(t, table, 5, register(3))
	var expired *ExpiredError
	if v := begin(t, table, 6, put(2, 1, 0)); v.Do || !errors.As(v.Err, &expired) {
		t.Fatalf("a command of the evicted session: %+v", v)
	}
	if v := begin(t, table, 7, put(1, 1, 0)); v.Do || v.Err != nil {
		t.Fatalf("a retry in one that was kept: %+v", v)
	}
	begin(t, table, 8, register(1)) // a leader with another configuration
	if table.Len() != 1 || table.sessions[8] == nil {
		t.Fatalf("%d sessions after a registration with room for one", table.Len())
	}
}

func TestEvictedWhileItsCommandIsWithTheStateMachine(t *testing.T) {
	table := NewTable()
	begin(t, table, 1, register(1))
	e := put(1, 1, 0)
	if v := table.Begin(codec.LogID{Index: 2}, &e); !v.Do {
		t.Fatalf("%+v", v)
	}
	if v := table.Begin(codec.LogID{Index: 3}, &e); !v.Wait {
		t.Fatalf("its retry before the answer is there: %+v", v)
	}
	begin(t, table, 4, register(1))
	table.Finish(1, 1, []byte("answer"))
	if got := table.AppendTo(nil); len(got) == 0 || table.Len() != 1 {
		t.Fatalf("encoded as %x with %d sessions", got, table.Len())
	}
}

func TestWindowOfOpenCommands(t *testing.T) {
	table := NewTable()
	begin(t, table, 1, register(1))
	if v := begin(t, table, 2, put(1, WindowMax, 0)); !v.Do {
		t.Fatalf("the last command in the window: %+v", v)
	}
	var window *WindowError
	if v := begin(t, table, 3, put(1, WindowMax+1, 0)); v.Do || !errors.As(v.Err, &window) {
		t.Fatalf("the first beyond it: %+v", v)
	}
	if v := begin(t, table, 4, put(1, WindowMax+1, 1)); !v.Do {
		t.Fatalf("it after an acknowledgement: %+v", v)
	}
	for serial := uint64(WindowMax); serial > 1; serial-- {
		begin(t, table, 5, put(1, serial, 1))
	}
	if n := len(table.sessions[1].records); n != WindowMax {
		t.Fatalf("%d records, want the whole window", n)
	}
	again, err := ReadTable(table.AppendTo(nil))
	if err != nil || len(again.sessions[1].records) != WindowMax {
		t.Fatalf("a full window does not survive its encoding: %v", err)
	}
}

func TestLostAnswersAreNeverExecutedAgain(t *testing.T) {
	table := NewTable()
	begin(t, table, 1, register(1))
	e := put(1, 1, 0)
	table.Begin(codec.LogID{Index: 2}, &e)
	table.Lose(1, 1)
	var applied *AppliedError
	if v := begin(t, table, 3, put(1, 1, 0)); v.Do || !errors.As(v.Err, &applied) || applied.LogID.Index != 2 {
		t.Fatalf("a retry of what an on-disk state machine held: %+v", v)
	}
	large := put(1, 2, 0)
	if v := table.Begin(codec.LogID{Index: 4}, &large); !v.Do {
		t.Fatalf("%+v", v)
	}
	table.Finish(1, 2, make([]byte, 101))
	if v := begin(t, table, 5, put(1, 2, 0)); v.Do || !errors.As(v.Err, &applied) || applied.LogID.Index != 4 {
		t.Fatalf("a retry of a command whose answer exceeds the bound: %+v", v)
	}
}

func TestAnswerThatNobodyWaitsForIsABug(t *testing.T) {
	for name, fn := range map[string]func(*Table){
		"finish": func(table *Table) { table.Finish(1, 1, nil) },
		"encode": func(table *Table) {
			begin(t, table, 1, register(1))
			e := put(1, 1, 0)
			table.Begin(codec.LogID{Index: 2}, &e)
			table.AppendTo(nil)
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			fn(NewTable())
		}()
	}
}
