package storagetest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
)

// toyMachine keeps the commands it was given, one a line. bug names what is wrong with it; none for one that is right.
type toyMachine struct {
	bug     string
	lines   []string
	count   int
	last    codec.LogID
	raw     [][]byte
	buffer  []byte
	shared  *toySource
	restore int
	disk    *toyMachineDisk
	foreign codec.LogID // what an adopted state came with
}

// toyMachineDisk is what a toyDiskMachine has made durable.
type toyMachineDisk struct {
	lines, atClose []string
	last           codec.LogID
	torn           bool
	synced         bool
}

var toyMachines int

func (m *toyMachine) is(bugs ...string) bool { return slices.Contains(bugs, m.bug) }

func (m *toyMachine) Apply(entries []pipeline.Entry, results []pipeline.Result) error {
	for i, e := range entries {
		switch {
		case m.is("every third command is dropped") && len(m.lines) == 2, m.is("a batch is cut") && i >= 100:
			continue
		case m.is("entries are changed"):
			e.Data[0] = 'X'
		case m.is("log ids are changed"):
			results[i].LogID.Index++
		case m.is("entries are kept"):
			m.raw = append(m.raw, e.Data)
		}
		m.lines = append(m.lines, string(e.Data))
		if m.count++; m.is("a batch counts once") && i > 0 {
			m.count--
		}
		answer := fmt.Appendf(nil, "%d: %s", m.count, e.Data)
		if m.is("answers differ") {
			toyMachines++
			answer = fmt.Append(nil, toyMachines)
		}
		if m.is("answers share a buffer") {
			m.buffer = append(m.buffer[:0], answer...)
			answer = m.buffer
		}
		results[i].Data = answer
		m.last = e.ID
	}
	if m.disk != nil && m.count%4 == 0 { // a database writes by itself, now and then
		if m.persist(); m.is("state and log id are written apart") {
			m.disk.last = m.disk.last2(m.last)
		}
	}
	return nil
}

// last2 is a log id that is one command old.
func (d *toyMachineDisk) last2(id codec.LogID) codec.LogID {
	for i := 1; ; i++ {
		if idOf(i) == id {
			return idOf(i - 1)
		}
	}
}

func (m *toyMachine) persist() {
	m.disk.lines, m.disk.last = slices.Clone(m.lines), m.last
	if m.is("where Adopt puts it is not durable") && !m.foreign.IsZero() {
		m.disk.last = m.foreign
	}
}

func (m *toyMachine) state() string {
	if m.is("entries are kept") {
		return string(bytes.Join(m.raw, []byte{'\n'}))
	}
	return strings.Join(m.lines, "\n")
}

func (m *toyMachine) Snapshot() (pipeline.SnapshotSource, error) {
	s := &toySource{m: m, lines: slices.Clone(m.lines), last: m.last}
	switch m.bug {
	case "Restore uses the frozen page again":
		s.lines = m.lines
	case "an adopted state has its old log id in a snapshot":
		if !m.foreign.IsZero() {
			s.last = m.foreign
		}
	case "capturing clears":
		m.lines = nil
	case "a capture takes the place of the one before":
		if m.shared != nil {
			*m.shared = *s
		}
		m.shared = s
	case "a snapshot holds what was synced":
		s.lines, s.last = m.disk.lines, m.disk.last
	case "a snapshot has no log id":
		s.last = codec.LogID{}
	case "a restored state is not captured":
		if m.restore > 0 {
			s.lines = nil
		}
	}
	return s, nil
}

// toySource is the captured state of a toyMachine: the log id, then each line behind its length.
type toySource struct {
	m       *toyMachine
	lines   []string
	last    codec.LogID
	written bool
}

func (s *toySource) WriteTo(w io.Writer) (int64, error) {
	s.written = true
	m := s.m
	if m.is("what is captured goes on") {
		s.lines, s.last = m.lines, m.last
	}
	if m.is("a capture reads the disk") && m.disk.synced {
		s.lines, s.last = m.disk.lines, m.disk.last
	}
	b := binary.LittleEndian.AppendUint64(nil, uint64(s.last.Leader.Term))
	b = binary.LittleEndian.AppendUint64(b, uint64(s.last.Leader.Node))
	b = binary.LittleEndian.AppendUint64(b, uint64(s.last.Index))
	for i, l := range s.lines {
		if m.is("the last line is lost") && i == len(s.lines)-1 {
			break
		}
		b = append(binary.LittleEndian.AppendUint64(b, uint64(len(l))), l...)
	}
	n, err := w.Write(b)
	switch {
	case m.is("bytes are miscounted"):
		n++
	case m.is("a writer's error is hidden"):
		err = nil
	case m.is("a writer's error is another") && err != nil:
		err = errors.New("could not be written")
	}
	return int64(n), err
}

func (s *toySource) Close() error {
	if !s.written && s.m.is("a captured state must be written") {
		return errors.New("it was not written")
	}
	return nil
}

func (m *toyMachine) Restore(r io.Reader) error {
	if m.restore++; m.restore > 1 && m.is("it restores once") {
		return errors.New("once is enough")
	}
	b, err := m.read(r)
	if err != nil && !m.is("a reader's error is hidden") {
		return err
	}
	if len(b) <= 24 && m.is("an empty state is an error") {
		return io.ErrUnexpectedEOF
	}
	lines, le := []string(nil), binary.LittleEndian
	switch m.bug {
	case "what was there stays":
		lines = m.lines
	case "Restore uses the frozen page again":
		clear(m.lines)
		lines = m.lines[:0]
	}
	var last codec.LogID
	if len(b) >= 24 {
		last = codec.LogID{Leader: codec.LeaderID{Term: codec.Term(le.Uint64(b)), Node: codec.NodeID(le.Uint64(b[8:]))}, Index: codec.Index(le.Uint64(b[16:]))}
		for b = b[24:]; len(b) >= 8; {
			n := min(int(le.Uint64(b)), len(b)-8)
			lines = append(lines, string(b[8:8+n]))
			b = b[8+n:]
		}
	}
	m.lines, m.last = lines, last
	if m.count = len(lines); m.is("answers begin anew") {
		m.count = 0
	}
	if m.disk != nil && m.is("a restore is written in two steps") {
		m.disk.lines, m.disk.torn = m.lines, true
	}
	return nil
}

func (m *toyMachine) read(r io.Reader) ([]byte, error) {
	switch m.bug {
	case "it reads once":
		b := make([]byte, 1<<20)
		n, err := r.Read(b)
		if err == io.EOF {
			err = nil
		}
		return b[:n], err
	case "it does not read to the end":
		return io.ReadAll(io.LimitReader(r, 24))
	}
	return io.ReadAll(r)
}

// toyDiskMachine is a toyMachine that is OnDisk.
type toyDiskMachine struct{ *toyMachine }

func (m toyDiskMachine) Applied() (codec.LogID, error) {
	switch m.bug {
	case "a new one holds an entry":
		if m.last.IsZero() {
			return idOf(0), nil
		}
	case "Applied is one too few":
		if len(m.lines) > 1 {
			return m.disk.last2(m.last), nil
		}
	case "Applied is always zero":
		return codec.LogID{}, nil
	}
	return m.last, nil
}

func (m toyDiskMachine) Sync() (codec.LogID, error) {
	switch {
	case m.is("Sync does nothing"):
	case m.is("a restored state is not synced") && m.restore > 0:
	case m.is("Sync works once") && m.disk.synced:
	case m.is("written at Close"):
		m.disk.atClose = slices.Clone(m.lines)
	default:
		m.persist()
		m.disk.torn = false
	}
	last := m.last
	if m.is("Sync returns what is held") {
		last = m.disk.last2(idOf(len(m.lines)))
		if len(m.lines) > 3 {
			last = idOf(3)
		}
	}
	if m.is("Sync returns nothing twice") && m.disk.synced {
		last = codec.LogID{}
	}
	m.disk.synced = true
	return last, nil
}

// toyAdopter is a toyDiskMachine that is an Adopter.
type toyAdopter struct{ toyDiskMachine }

func (m toyAdopter) Adopt(r io.Reader, at codec.LogID) error {
	before, lines := m.last, slices.Clone(m.lines)
	switch m.bug {
	case "Adopt panics":
		panic("it can't")
	case "Adopt stops at the first piece":
		r = &piece{r: r}
	case "Adopt takes half a state":
		b, _ := io.ReadAll(r)
		r = bytes.NewReader(b)
	}
	if err := m.Restore(r); err != nil {
		return err
	}
	m.foreign, m.last = m.last, at
	switch m.bug {
	case "Adopt keeps the log id that came with the state":
		m.last = m.foreign
	case "Adopt keeps the log id that was there":
		m.last = before
	case "an adopted state is added to what was there":
		m.lines = append(lines, m.lines...)
	case "answers begin anew behind Adopt":
		m.count = 0
	case "Adopt writes where it stands first":
		m.disk.last = at
	}
	return nil
}

// piece ends behind its first piece.
type piece struct {
	r    io.Reader
	read bool
}

func (p *piece) Read(b []byte) (int, error) {
	if p.read {
		return 0, io.EOF
	}
	p.read = true
	return p.r.Read(b)
}

// toyKind says which of the interfaces a toy has.
type toyKind uint8

const (
	toyPlain toyKind = iota
	toySnapshotter
	toyOnDisk
	toyWhole // an Adopter too
)

type plainMachine struct{ m *toyMachine }

func (p plainMachine) Apply(e []pipeline.Entry, r []pipeline.Result) error { return p.m.Apply(e, r) }

func toyMachineConfig(bug string, kind toyKind) MachineConfig {
	return MachineConfig{
		New: func(testing.TB) MachinePlace {
			disk := &toyMachineDisk{}
			p := MachinePlace{Open: func() (pipeline.StateMachine, error) {
				m := &toyMachine{bug: bug}
				if m.is("each begins with its number") {
					toyMachines++
					m.lines = append(m.lines, fmt.Sprint(toyMachines))
				}
				switch kind {
				case toyPlain:
					return plainMachine{m}, nil
				case toySnapshotter:
					return m, nil
				}
				m.disk, m.lines, m.last, m.count = disk, append(m.lines, disk.lines...), disk.last, len(disk.lines)
				if m.is("answers begin anew at a restart") {
					m.count = 0
				}
				if !disk.synced && len(disk.lines) > 0 && m.is("what was never synced can't be opened") {
					return nil, errors.New("it was never synced")
				}
				if kind == toyWhole {
					return toyAdopter{toyDiskMachine{m}}, nil
				}
				return toyDiskMachine{m}, nil
			}}
			if kind >= toyOnDisk {
				p.Close = func(m pipeline.StateMachine) error {
					t, ok := m.(toyDiskMachine)
					if !ok {
						t = m.(toyAdopter).toyDiskMachine
					}
					if t.is("written at Close") {
						t.persist()
					}
					return nil
				}
				p.Crash = func() {}
			}
			return p
		},
		Command: func(i int) []byte { return fmt.Appendf(nil, "command %d", i) },
		State: func(m pipeline.StateMachine) (string, error) {
			switch m := m.(type) {
			case plainMachine:
				return m.m.state(), nil
			case *toyMachine:
				return m.state(), nil
			case toyDiskMachine:
				return m.state(), nil
			case toyAdopter:
				return m.state(), nil
			}
			return "", fmt.Errorf("%T is no toy", m)
		},
	}
}
