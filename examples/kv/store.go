package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"

	"github.com/millrace/millrace/engine"
)

// command is what a proposal holds, as JSON.
type command struct {
	Op    string // "put", "delete" or "swap"
	Key   string
	Value string // of put and swap
	Old   string // what swap replaces, and nothing else
}

// answer is what a command returns to whoever proposed it, as JSON.
type answer struct {
	Done  bool   // false where swap found another value, or none
	Found bool   // the key had a value before
	Value string // that value
}

// store is the state machine: a map that nothing but committed commands changes, so that it is the same on all nodes.
type store struct {
	mu     sync.RWMutex // requests read while the node applies
	values map[string]string
}

// Apply applies committed entries, in order. An error stops the node: to skip an entry would make it differ from the others.
func (s *store) Apply(entries []engine.Entry, results []engine.Result) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, e := range entries {
		var c command
		if err := json.Unmarshal(e.Data, &c); err != nil {
			return fmt.Errorf("entry %v is no command: %w", e.ID, err)
		}
		data, err := json.Marshal(s.apply(c))
		if err != nil {
			return err
		}
		results[i].Data = data
	}
	return nil
}

func (s *store) apply(c command) answer {
	old, found := s.values[c.Key]
	switch {
	case c.Op == "swap" && (!found || old != c.Old):
		return answer{Found: found, Value: old}
	case c.Op == "delete":
		delete(s.values, c.Key)
	default:
		s.values[c.Key] = c.Value
	}
	return answer{true, found, old}
}

func (s *store) get(key string) (value string, found bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	value, found = s.values[key]
	return value, found
}

// Snapshot copies the map, not the keys and values, and returns; the copy is written while Apply goes on. Nothing changes the
// map meanwhile: Snapshot is called where Apply is.
func (s *store) Snapshot() (engine.SnapshotSource, error) { return copied(maps.Clone(s.values)), nil }

// copied is the map as it was.
type copied map[string]string

// WriteTo writes one JSON array of key and value after the other.
func (c copied) WriteTo(w io.Writer) (written int64, err error) {
	for key, value := range c {
		pair, err := json.Marshal([2]string{key, value})
		if err != nil {
			return written, err
		}
		n, err := w.Write(pair)
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

func (c copied) Close() error { return nil }

// Restore replaces the map by what WriteTo has written.
func (s *store) Restore(r io.Reader) error {
	values := map[string]string{}
	for d := json.NewDecoder(r); ; {
		var pair [2]string
		err := d.Decode(&pair)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("pair %d: %w", len(values), err)
		}
		values[pair[0]] = pair[1]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values = values
	return nil
}
