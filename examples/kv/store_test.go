package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/millrace/millrace/engine"
)

// apply applies commands as the node does, all in one batch, and returns what they answer.
func (s *store) applyAll(t *testing.T, commands ...command) []answer {
	t.Helper()
	entries, results, answers := make([]engine.Entry, len(commands)), make([]engine.Result, len(commands)), make([]answer, len(commands))
	for i, c := range commands {
		data, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		entries[i].Data = data
	}
	if err := s.Apply(entries, results); err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if err := json.Unmarshal(r.Data, &answers[i]); err != nil {
			t.Fatal(err)
		}
	}
	return answers
}

func TestCommands(t *testing.T) {
	s := &store{values: map[string]string{}}
	for i, c := range []struct {
		command command
		want    answer
	}{
		{command{Op: "swap", Key: "k", Old: "", Value: "1"}, answer{}}, // no value is not the empty value
		{command{Op: "put", Key: "k", Value: "1"}, answer{Done: true}},
		{command{Op: "swap", Key: "k", Old: "2", Value: "3"}, answer{Found: true, Value: "1"}},
		{command{Op: "swap", Key: "k", Old: "1", Value: ""}, answer{true, true, "1"}},
		{command{Op: "swap", Key: "k", Old: "", Value: "4"}, answer{true, true, ""}},
		{command{Op: "delete", Key: "k"}, answer{true, true, "4"}},
		{command{Op: "delete", Key: "k"}, answer{Done: true}},
	} {
		if got := s.applyAll(t, c.command)[0]; got != c.want {
			t.Errorf("command %d, %+v: %+v, want %+v", i, c.command, got, c.want)
		}
	}
	if err := s.Apply([]engine.Entry{{Data: []byte("{")}}, make([]engine.Result, 1)); err == nil {
		t.Error("an entry that is no command is skipped")
	}
}

// A snapshot holds the map as it was, whatever is applied while it is written.
func TestSnapshot(t *testing.T) {
	s := &store{values: map[string]string{}}
	s.applyAll(t, command{Op: "put", Key: "a", Value: "1"}, command{Op: "put", Key: "b\n\"", Value: "ü\x00"})
	want := maps.Clone(s.values)
	source, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	s.applyAll(t, command{Op: "put", Key: "a", Value: "2"}, command{Op: "delete", Key: "b\n\""})
	var file bytes.Buffer
	if n, err := source.WriteTo(&file); err != nil || n != int64(file.Len()) {
		t.Fatalf("%d bytes written, %v; want %d", n, err, file.Len())
	}
	bytes := file.String()
	if err := s.Restore(&file); err != nil || !maps.Equal(s.values, want) {
		t.Errorf("restored %q, %v; want %q", s.values, err, want)
	}
	if err := s.Restore(strings.NewReader(bytes[:len(bytes)-1])); err == nil {
		t.Error("half a snapshot is restored")
	}
	full := errors.New("disk full")
	if _, err := source.WriteTo(failing{full}); !errors.Is(err, full) {
		t.Errorf("written to a full disk: %v", err)
	}
	if err := source.Close(); err != nil {
		t.Error(err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
