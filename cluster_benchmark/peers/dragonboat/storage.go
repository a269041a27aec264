package main

import (
	"strings"
	"sync/atomic"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/plugin/tan"
	"github.com/lni/vfs"

	"github.com/millrace/millrace/cluster_benchmark/setting"
)

// logEngine is one of the library's ways to keep its log in files.
type logEngine string

const (
	tanLog    logEngine = "tan"
	pebbleLog logEngine = "pebble"
)

// tanBuffer is the size in bytes of the buffers into which tan encodes what it writes at once; it makes larger ones as needed.
// The library's default, 128 MiB, is for memtables, and tan takes sixteen of them per node: 6 GiB that are never used
// would keep the garbage collector from running at all.
const tanBuffer = 4 << 20

// equip gives a node its log: in files, or in files of the library's file system in memory.
func (l logEngine) equip(c *config.NodeHostConfig, store string, counts *counts) {
	c.Expert.LogDB = config.GetDefaultLogDBConfig()
	c.Expert.LogDB.Shards = 1 // there is one group
	switch {
	case store == setting.StoreMemory:
		c.Expert.FS = vfs.NewMem()
	case l == tanLog:
		c.Expert.FS = countingFS{vfs.Default, counts}
	}
	if l == tanLog {
		c.Expert.LogDB.KVWriteBufferSize = tanBuffer
		c.Expert.LogDBFactory = tan.Factory
	}
}

// counts count what is written to logs.
type counts struct{ bytes, syncs atomic.Uint64 }

// countingFS is the system's files, with those counted that tan creates for its log.
type countingFS struct {
	vfs.FS
	counts *counts
}

// tanLogSuffix is how the names of tan's log files end.
const tanLogSuffix = ".log"

// Create creates a file.
func (c countingFS) Create(name string) (vfs.File, error) {
	file, err := c.FS.Create(name)
	if err != nil || !strings.HasSuffix(name, tanLogSuffix) {
		return file, err
	}
	return countedFile{file, c.counts}, nil
}

type countedFile struct {
	vfs.File
	counts *counts
}

// Write writes, and counts bytes.
func (c countedFile) Write(data []byte) (int, error) {
	n, err := c.File.Write(data)
	c.counts.bytes.Add(uint64(n))
	return n, err
}

// Sync syncs, and counts it.
func (c countedFile) Sync() error {
	c.counts.syncs.Add(1)
	return c.File.Sync()
}
