package main

import (
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/millrace/millrace/cluster_benchmark/safety"
	"github.com/millrace/millrace/codec"
)

// machine is the suite's state machine as the library's BatchingFSM. Its answer to a command is the command's term.
//
// Owner: the library's goroutine that applies.
type machine struct {
	*safety.Machine
	batches atomic.Uint64
	puts    atomic.Uint64
	entries []codec.Entry
}

// logID names an entry as every replica does: one leader per term at most, so which one it is says nothing.
func logID(term, index uint64) codec.LogID {
	return codec.LogID{Leader: codec.LeaderID{Term: codec.Term(term), Node: 1}, Index: codec.Index(index)}
}

// ApplyBatch takes committed entries; among them may be such that change members.
func (m *machine) ApplyBatch(logs []*raft.Log) []any {
	terms := make([]any, len(logs))
	m.entries = m.entries[:0]
	term, answer := uint64(0), any(nil)
	for i, l := range logs {
		if l.Term != term || answer == nil {
			term, answer = l.Term, l.Term // one value for all of a term
		}
		terms[i] = answer
		if l.Type == raft.LogCommand {
			m.entries = append(m.entries, codec.Entry{ID: logID(l.Term, l.Index), Kind: codec.EntryNormal, Data: l.Data})
		}
	}
	if err := m.Machine.Apply(m.entries, nil); err != nil {
		panic("BUG: the safety machine never fails: " + err.Error())
	}
	if len(m.entries) > 0 {
		m.batches.Add(1)
		m.puts.Add(uint64(len(m.entries)))
	}
	clear(m.entries)
	return terms
}

// Apply is ApplyBatch for one entry. The library does not call it where there is the other.
func (m *machine) Apply(l *raft.Log) any { return m.ApplyBatch([]*raft.Log{l})[0] }

// Snapshot lets the library drop old entries of its log. It holds nothing.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) { return empty{}, nil }

// Restore refuses.
func (m *machine) Restore(state io.ReadCloser) error { return errNoState }

// empty is a snapshot without state.
type empty struct{}

// Persist writes nothing.
func (empty) Persist(sink raft.SnapshotSink) error { return sink.Close() }

// Release has nothing to free.
func (empty) Release() {}
