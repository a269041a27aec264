package pipeline

import (
	"runtime"
	"sync/atomic"

	"github.com/millrace/millrace/codec"
)

// logIDCell publishes a log id from one goroutine to any, without a lock for either and without allocating.
type logIDCell struct {
	changes           atomic.Uint64 // odd while the fields are being changed
	term, node, index atomic.Uint64
}

func (c *logIDCell) store(id codec.LogID) {
	c.changes.Add(1)
	c.term.Store(uint64(id.Leader.Term))
	c.node.Store(uint64(id.Leader.Node))
	c.index.Store(uint64(id.Index))
	c.changes.Add(1)
}

func (c *logIDCell) load() codec.LogID {
	for {
		before := c.changes.Load()
		leader := codec.LeaderID{Term: codec.Term(c.term.Load()), Node: codec.NodeID(c.node.Load())}
		id := codec.LogID{Leader: leader, Index: codec.Index(c.index.Load())}
		if before%2 == 0 && c.changes.Load() == before {
			return id
		}
		runtime.Gosched()
	}
}
