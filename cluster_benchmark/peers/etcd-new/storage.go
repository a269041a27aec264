package main

import (
	"errors"
	"io"
	"log"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

// firstIndex is the index of the snapshot that every log begins with, which carries the members.
const firstIndex = 1

// quiet is raft's logger without its notices; what it panics with is seen all the same.
var quiet = &raft.DefaultLogger{Logger: log.New(io.Discard, "", 0)}

// keepEntriesMax and keepBytes bound what stays in memory behind the last entry that every node has applied.
const (
	keepEntriesMax = 65_536
	keepBytes      = 64 << 20
)

// Old WAL files are purged as etcd does it: the last five stay.
const (
	walFilesKept = 5
	purgeEvery   = 5 * time.Second
)

// keepEntries returns how many entries of a size stay.
func keepEntries(payload int) uint64 {
	return uint64(min(keepEntriesMax, max(64, keepBytes/(payload+64))))
}

// storage is a node's log: entries in memory, from where raft reads, and etcd's WAL when it shall be durable.
//
// Owner: the node's driver.
type storage struct {
	memory   *raft.MemoryStorage
	members  *raftpb.ConfState
	everyone func() uint64 // index that all nodes have applied
	keep     uint64        // entries behind it that stay
	wal      *wal.WAL      // nil: memory only
	stop     chan struct{} // ends the purge
	purged   <-chan struct{}
	failed   <-chan error // of the purge
}

// openStorage makes a log whose first entry is taken as replaced by a snapshot that names the members. dir is where
// the WAL goes; empty for none. keep is how many entries stay in memory when older ones are dropped, and everyone tells
// the index that all nodes have applied.
func openStorage(nodes int, keep uint64, dir string, everyone func() uint64) (*storage, error) {
	s := &storage{memory: raft.NewMemoryStorage(), keep: keep, everyone: everyone, members: new(raftpb.ConfState)}
	for i := range nodes {
		s.members.Voters = append(s.members.Voters, uint64(i+1))
	}
	begin := &raftpb.SnapshotMetadata{ConfState: s.members, Index: new(uint64(firstIndex)), Term: new(uint64(1))}
	state := &raftpb.HardState{Term: new(uint64(1)), Vote: new(uint64(0)), Commit: new(uint64(firstIndex))}
	if err := s.memory.ApplySnapshot(&raftpb.Snapshot{Metadata: begin}); err != nil {
		return nil, err
	}
	if err := s.memory.SetHardState(state); err != nil || dir == "" {
		return s, err
	}
	var err error
	if s.wal, err = wal.Create(zap.NewNop(), dir, nil); err != nil {
		return nil, err
	}
	err = s.wal.SaveSnapshot(&walpb.Snapshot{Index: new(uint64(firstIndex)), Term: new(uint64(1)), ConfState: s.members})
	if err == nil {
		err = s.wal.Save(state, nil)
	}
	if err != nil {
		return nil, errors.Join(err, s.wal.Close())
	}
	s.stop = make(chan struct{})
	s.purged, s.failed = fileutil.PurgeFileWithDoneNotify(zap.NewNop(), dir, "wal", walFilesKept, purgeEvery, s.stop)
	return s, nil
}

// save makes the state and the entries durable, with one sync where there is a WAL, and then readable.
func (s *storage) save(state *raftpb.HardState, entries []*raftpb.Entry) error {
	if s.wal != nil {
		if err := s.wal.Save(state, entries); err != nil {
			return err
		}
	}
	if !raft.IsEmptyHardState(state) {
		if err := s.memory.SetHardState(state); err != nil {
			return err
		}
	}
	return s.memory.Append(entries)
}

// compact drops entries that all nodes have applied, once there are twice as many as shall be kept.
func (s *storage) compact(applied uint64) error {
	first, err := s.memory.FirstIndex()
	if err != nil {
		return err
	}
	upTo := min(applied, s.everyone())
	if upTo < first+2*s.keep {
		return nil
	}
	upTo -= s.keep
	term, err := s.memory.Term(upTo)
	if err != nil {
		return err
	}
	if err := s.memory.Compact(upTo); err != nil || s.wal == nil {
		return err
	}
	if err := s.wal.SaveSnapshot(&walpb.Snapshot{Index: new(upTo), Term: new(term), ConfState: s.members}); err != nil {
		return err
	}
	return s.wal.ReleaseLockTo(upTo)
}

func (s *storage) close() error {
	if s.wal == nil {
		return nil
	}
	close(s.stop)
	<-s.purged
	err := error(nil)
	select {
	case err = <-s.failed:
	default:
	}
	return errors.Join(err, s.wal.Close())
}

// written returns the bytes and the syncs of all WALs of this process, from the library's own metrics.
func written() (bytes, syncs uint64) {
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		return 0, 0 // a collector of another package failed; the counts are informative
	}
	for _, f := range families {
		switch f.GetName() {
		case "etcd_disk_wal_write_bytes_total":
			bytes = uint64(f.GetMetric()[0].GetGauge().GetValue())
		case "etcd_disk_wal_fsync_duration_seconds":
			syncs = f.GetMetric()[0].GetHistogram().GetSampleCount()
		}
	}
	return bytes, syncs
}
