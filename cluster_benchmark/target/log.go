package target

import (
	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/wal"
)

// countedLog is the engine's own write-ahead log, opened here so that its counts can be read.
type countedLog struct{ *wal.Log }

func openLog(dir string, id codec.NodeID) (countedLog, error) {
	l, err := wal.Open(wal.Config{Dir: dir, ClusterID: clusterID, Node: id})
	return countedLog{l}, err
}

// Group narrows the result's type to what [engine.Log] promises.
func (l countedLog) Group(g codec.GroupID, flushed func(uint64, error)) (engine.GroupLog, codec.LogState, error) {
	group, state, err := l.Log.Group(g, flushed)
	if err != nil {
		return nil, state, err
	}
	return group, state, nil
}
