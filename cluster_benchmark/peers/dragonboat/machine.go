package main

import (
	"io"
	"sync/atomic"

	"github.com/lni/dragonboat/v4/statemachine"

	"github.com/millrace/millrace/cluster_benchmark/safety"
	"github.com/millrace/millrace/codec"
)

// machine is the suite's state machine as the library's concurrent one, which takes entries in batches. Its answer to a put
// is the put's index.
//
// Owner: the library's goroutine that applies.
type machine struct {
	*safety.Machine
	batches atomic.Uint64
	puts    atomic.Uint64
	entries []codec.Entry
}

// logID names an entry as every replica does. The library tells a state machine no terms; there is one entry at each index
// in any case.
func logID(index uint64) codec.LogID {
	return codec.LogID{Leader: codec.LeaderID{Term: 1, Node: 1}, Index: codec.Index(index)}
}

// Update takes committed entries, puts all of them.
func (m *machine) Update(batch []statemachine.Entry) ([]statemachine.Entry, error) {
	m.entries = m.entries[:0]
	for i := range batch {
		e := &batch[i]
		m.entries = append(m.entries, codec.Entry{ID: logID(e.Index), Kind: codec.EntryNormal, Data: e.Cmd})
		e.Result.Value = e.Index
	}
	if err := m.Apply(m.entries, nil); err != nil {
		panic("BUG: the safety machine never fails: " + err.Error())
	}
	m.batches.Add(1)
	m.puts.Add(uint64(len(batch)))
	clear(m.entries)
	return batch, nil
}

// Lookup answers every read with nothing: that it is answered says that all that was committed before is applied.
func (m *machine) Lookup(any) (any, error) { return nil, nil }

// PrepareSnapshot lets the library drop old entries of its log. The snapshot holds nothing.
func (m *machine) PrepareSnapshot() (any, error) { return nil, nil }

// SaveSnapshot writes nothing.
func (m *machine) SaveSnapshot(any, io.Writer, statemachine.ISnapshotFileCollection, <-chan struct{}) error {
	return nil
}

// RecoverFromSnapshot refuses.
func (m *machine) RecoverFromSnapshot(io.Reader, []statemachine.SnapshotFile, <-chan struct{}) error {
	return errNoState
}

// Close has nothing to free.
func (m *machine) Close() error { return nil }
