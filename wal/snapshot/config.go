package snapshot

import (
	"fmt"
	"log/slog"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

// Defaults of [Config].
const (
	KeepDefault       = 2
	ChunkBytesDefault = 256 << 10
)

// Bounds of [Config].
const (
	KeepMax       = 1000
	ChunkBytesMin = 1 << 10
	ChunkBytesMax = 4 << 20
)

// Config holds the settings of one group's store. It is copied and validated once by [Open]; the zero value of a field
// with a default means that default.
type Config struct {
	// FS is where the files are. Default: the machine's file system. A node that keeps nothing has [vfs.NewVolatile].
	FS vfs.FS
	// Dir is the directory of the group's snapshots, made with its parents where missing. Required. It belongs to one store,
	// whose owner holds the lock of a directory above.
	Dir string
	// Cluster is the cluster's name, 1 to [codec.ClusterIDBytesMax] bytes. Required. It is written into each file, and a file
	// of another cluster is refused.
	Cluster string
	// Group is the group whose state it is. It is written into each file, and a file of another group is refused.
	Group codec.GroupID
	// Keep is the number of newest snapshots that are kept. Default 2: should the newest have rotted, the one before it
	// is there, and the log may still reach back to it. Want 1 to 1000.
	Keep int
	// Compression is how chunks are stored, where that makes them smaller. Default none: a state may be compressed already,
	// and taking a snapshot should not compete with the group for the processor.
	Compression codec.Compression
	// ChunkBytes is the number of state bytes under one checksum, in bytes, before compression. Default 256 KiB: it is what
	// a reader and a writer hold in memory, and what is lost of a transfer that is interrupted. Want 1 KiB to 4 MiB.
	ChunkBytes int
	// Logger is told about files that are moved aside or removed because they are unfinished. Default: nobody.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.FS == nil {
		c.FS = vfs.OS{}
	}
	if c.Keep == 0 {
		c.Keep = KeepDefault
	}
	if c.ChunkBytes == 0 {
		c.ChunkBytes = ChunkBytesDefault
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c *Config) validate() error {
	switch {
	case c.Dir == "":
		return fmt.Errorf("snapshot: Dir is empty, want a directory")
	case c.Cluster == "" || len(c.Cluster) > codec.ClusterIDBytesMax:
		return fmt.Errorf("snapshot: Cluster %q has %d bytes, want 1 to %d", c.Cluster, len(c.Cluster), codec.ClusterIDBytesMax)
	case c.Keep < 1 || c.Keep > KeepMax:
		return fmt.Errorf("snapshot: Keep is %d, want 1 to %d", c.Keep, KeepMax)
	case c.Compression > codec.CompressionZstd:
		return fmt.Errorf("snapshot: Compression is %v, want none, s2 or zstd", c.Compression)
	case c.ChunkBytes < ChunkBytesMin || c.ChunkBytes > ChunkBytesMax:
		return fmt.Errorf("snapshot: ChunkBytes is %d, want %d to %d", c.ChunkBytes, ChunkBytesMin, ChunkBytesMax)
	}
	return nil
}
