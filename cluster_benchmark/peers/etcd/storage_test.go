package main

import (
	"path/filepath"
	"testing"

	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

// TestStorage: what was saved is in the WAL after a restart, and what all nodes have applied leaves memory.
func TestStorage(t *testing.T) {
	const keep, last = 10, 100
	everyone := uint64(firstIndex)
	dir := filepath.Join(t.TempDir(), "wal")
	s, err := openStorage(3, keep, dir, func() uint64 { return everyone })
	if err != nil {
		t.Fatal(err)
	}
	for i := uint64(firstIndex + 1); i <= last; i++ {
		state := raftpb.HardState{Term: 1, Commit: i}
		if err := s.save(state, []raftpb.Entry{{Term: 1, Index: i, Data: []byte{1}}}); err != nil {
			t.Fatal(err)
		}
	}
	first := func(applied uint64) uint64 {
		if err := s.compact(applied); err != nil {
			t.Fatal(err)
		}
		index, err := s.memory.FirstIndex()
		if err != nil {
			t.Fatal(err)
		}
		return index
	}
	if got := first(last); got != firstIndex+1 {
		t.Errorf("the log begins at %d while another node has applied nothing, want %d", got, firstIndex+1)
	}
	everyone = last
	if got := first(50); got != 50-keep+1 {
		t.Errorf("the log begins at %d after 50 are applied, want %d", got, 50-keep+1)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	log, err := wal.Open(zap.NewNop(), dir, walpb.Snapshot{Index: 50 - keep, Term: 1})
	if err != nil {
		t.Fatal(err)
	}
	_, state, entries, err := log.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != last-(50-keep) || len(entries[0].Data) != 1 || state.Commit != last {
		t.Errorf("%d entries behind the snapshot, commit %d; want %d and %d", len(entries), state.Commit, last-(50-keep), last)
	}
	if err := log.Close(); err != nil {
		t.Error(err)
	}
}
