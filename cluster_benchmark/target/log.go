package target

import (
	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/wal"
)

// Log is the engine's own write-ahead log, opened here so that its counts can be read.
type Log struct{ *wal.Log }

// OpenLog opens the log of a node in a directory, which it makes if it does not exist.
func OpenLog(dir, cluster string, id codec.NodeID) (*Log, error) {
	l, err := wal.Open(wal.Config{Dir: dir, ClusterID: cluster, Node: id})
	if err != nil {
		return nil, err
	}
	return &Log{l}, nil
}

// Group narrows the result's type to what [engine.Log] promises.
func (l *Log) Group(g codec.GroupID, flushed func(uint64, error)) (engine.GroupLog, codec.LogState, error) {
	group, state, err := l.Log.Group(g, flushed)
	if err != nil {
		return nil, state, err
	}
	return group, state, nil
}
