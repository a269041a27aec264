package engine

import (
	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/netio"
	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/wal"
)

// fileLog and memoryLog make the package wal's logs a [pipeline.Log]; only the type of Group's result differs.
type fileLog struct{ *wal.Log }

func (l fileLog) Group(g codec.GroupID, flushed func(uint64, error)) (pipeline.GroupLog, codec.LogState, error) {
	group, state, err := l.Log.Group(g, flushed)
	if err != nil {
		return nil, state, err
	}
	return group, state, nil
}

type memoryLog struct{ *wal.Memory }

func (l memoryLog) Group(g codec.GroupID, flushed func(uint64, error)) (pipeline.GroupLog, codec.LogState, error) {
	group, state, err := l.Memory.Group(g, flushed)
	if err != nil {
		return nil, state, err
	}
	return group, state, nil
}

// MemoryLog returns a log for [Config.Log] that keeps everything in memory and forgets it at Close. A node that runs on
// it has a new incarnation at each start, and peers that knew an earlier one refuse it: it forgot what it promised.
func MemoryLog() Log { return memoryLog{wal.NewMemory()} }

func openLog(c *Config) (pipeline.Log, error) {
	l, err := wal.Open(wal.Config{
		Dir: c.Dir, ClusterID: c.ClusterID, Node: c.NodeID,
		SegmentBytes: c.SegmentBytes, RecentBytesMax: c.RecentBytesMax, Logger: c.logger(ComponentLog),
	})
	if err != nil {
		return nil, err
	}
	return fileLog{l}, nil
}

func newTransport(c *Config, incarnation codec.Incarnation) (pipeline.Transport, error) {
	// The largest message is a frame of one proposal of the largest size, a full batch, a membership, or a piece of a
	// snapshot, whose size is its sender's choice.
	message := codec.MessageHeaderSize + codec.FrameHeaderSize + 2*max(c.ProposalBytesMax, c.FrameBytesMax, 512<<10, codec.SnapshotChunkBytesMax)
	return netio.NewTCP(netio.Config{
		Node: c.NodeID, ClusterID: c.ClusterID, Incarnation: incarnation, Listen: c.Listen, Insecure: c.Insecure,
		MessageBytesMax: message, LaneBytesMax: 2*max(c.WindowBytesMax, c.SnapshotWindowBytes) + message,
		Logger: c.logger(ComponentNetwork),
	})
}
