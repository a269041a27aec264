package main

import (
	"os"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metrics"
)

// cacheEntries is how many of the newest entries are read from memory instead of the WAL: several of the largest
// appends.
const cacheEntries = 16_384

// openMemory gives a node the library's stores that keep everything in memory.
func (n *node) openMemory() {
	store := raft.NewInmemStore()
	n.logs, n.stable = store, store
}

// openWAL gives a node raft-wal, with the library's cache before it. It counts into counts.
func (n *node) openWAL(dir string, counts *metrics.AtomicCollector) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	log, err := wal.Open(dir, wal.WithLogger(hclog.NewNullLogger()), wal.WithMetricsCollector(counts))
	if err != nil {
		return err
	}
	n.shut = append(n.shut, log.Close)
	n.stable = log
	n.logs, err = raft.NewLogCache(cacheEntries, log)
	return err
}
