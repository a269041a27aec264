package wal

import (
	"fmt"
	"log/slog"

	"github.com/millrace/millrace/codec"
)

// Defaults of [Config].
const (
	SegmentBytesDefault   = 4 << 20
	RecentBytesMaxDefault = 64 << 20
	ReclaimPercentDefault = 50
)

// Bounds of [Config].
const (
	SegmentBytesMin   = 4 << 10
	SegmentBytesMax   = 1 << 30
	ReclaimPercentMin = 10
	ReclaimPercentMax = 90
)

// Config holds the settings of one log. It is copied and validated once by [Open]; the zero value of a field with a
// default means that default.
type Config struct {
	// Dir is the directory of the log, made with its parents where missing. Required. It belongs to one node, and to
	// one process at a time.
	Dir string
	// ClusterID is the cluster's name, 1 to [codec.ClusterIDBytesMax] bytes. Required. It is written into a new
	// directory, and a directory of another cluster is refused.
	ClusterID string
	// Node is this node's id, not 0. Required. A directory of another node is refused.
	Node codec.NodeID
	// SegmentBytes is the size at which a file of the log is full, in bytes; a file ends with the record that reaches it.
	// Default 4 MiB: tidwall/wal keeps the newest file in a buffer that it lets grow and copies, and reads it whole at
	// open. On two cores a put of the durable profile cost a fifth less CPU with 4 MiB than with 20 MiB, whose copies
	// leave the cache; smaller files sync the directory too often. Want 4 KiB to 1 GiB.
	SegmentBytes int
	// RecentBytesMax bounds the newest frames kept in memory for each group, in bytes; frames that are not durable yet
	// are kept beyond it. Default 64 MiB: several seconds of a busy group, so that a follower that keeps up never makes
	// the log read its files. Want 0 or more.
	RecentBytesMax int
	// ReclaimPercent is how much of the oldest file, or of all files but the newest together, may be records that do not count
	// any more (purged and truncated entries, votes and bases that were replaced) before what still counts in the oldest is
	// written again at the end and the file removed. In percent; default 50: then no more is written again than was written
	// new, and the log takes no more than about twice the space of what its groups hold, however far one of them lags behind.
	// Less takes less space and writes more. Want 10 to 90. A file in which nothing counts goes at once.
	ReclaimPercent int
	// Logger is told about repairs and about the error that poisons the log. Default: nobody.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.SegmentBytes == 0 {
		c.SegmentBytes = SegmentBytesDefault
	}
	if c.RecentBytesMax == 0 {
		c.RecentBytesMax = RecentBytesMaxDefault
	}
	if c.ReclaimPercent == 0 {
		c.ReclaimPercent = ReclaimPercentDefault
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c *Config) validate() error {
	switch {
	case c.Dir == "":
		return fmt.Errorf("wal: Dir is empty, want a directory")
	case c.ClusterID == "" || len(c.ClusterID) > codec.ClusterIDBytesMax:
		return fmt.Errorf("wal: ClusterID %q has %d bytes, want 1 to %d", c.ClusterID, len(c.ClusterID), codec.ClusterIDBytesMax)
	case c.Node == 0:
		return fmt.Errorf("wal: Node is 0, want a node id above 0")
	case c.SegmentBytes < SegmentBytesMin || c.SegmentBytes > SegmentBytesMax:
		return fmt.Errorf("wal: SegmentBytes is %d, want %d to %d", c.SegmentBytes, SegmentBytesMin, SegmentBytesMax)
	case c.RecentBytesMax < 0:
		return fmt.Errorf("wal: RecentBytesMax is %d, want 0 (the default) or more", c.RecentBytesMax)
	case c.ReclaimPercent < ReclaimPercentMin || c.ReclaimPercent > ReclaimPercentMax:
		return fmt.Errorf("wal: ReclaimPercent is %d, want %d to %d", c.ReclaimPercent, ReclaimPercentMin, ReclaimPercentMax)
	}
	return nil
}
