package node

import (
	"bytes"
	"encoding/binary"
	"sync"

	"github.com/millrace/millrace/cluster_benchmark/safety"
	"github.com/millrace/millrace/pipeline"
)

// beginMagic opens the entry with which a run begins. No put can be taken for one: the first 8 bytes of a put that is as long
// are the number of its client, which is small.
var beginMagic = [8]byte{'r', 'u', 'n', 1, 0xff, 0xff, 0xff, 0xff}

// runBytes is the size of a run's id, beginBytes that of the entry: magic, run, clients and payload (4 bytes each).
const (
	runBytes   = 16
	beginBytes = 8 + runBytes + 4 + 4
)

// runID tells runs apart.
type runID [runBytes]byte

func appendBegin(dst []byte, run runID, clients, payload int) []byte {
	dst = append(dst, beginMagic[:]...)
	dst = append(dst, run[:]...)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(clients))
	return binary.LittleEndian.AppendUint32(dst, uint32(payload))
}

func isBegin(data []byte) bool {
	return len(data) == beginBytes && bytes.HasPrefix(data, beginMagic[:])
}

// machine is a node's state machine: one of package safety for each run, one after the other. A run begins with an entry, so
// that every replica begins it at the same place of the log, also when it applies the log again after a restart.
type machine struct {
	// mu guards what follows. No owner would do: the node's answer goroutine applies for as long as the node runs, and the
	// state is asked for by connections. It is held for a batch.
	mu      sync.Mutex
	run     runID
	current *safety.Machine
}

func newMachine() *machine { return &machine{current: safety.NewMachine(0, 0)} }

// Apply gives each run its entries.
func (m *machine) Apply(entries []pipeline.Entry, results []pipeline.Result) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	from := 0
	for i := range entries {
		if data := entries[i].Data; isBegin(data) {
			copy(m.run[:], data[len(beginMagic):])
			le := binary.LittleEndian
			m.current = safety.NewMachine(int(le.Uint32(data[beginBytes-8:])), int(le.Uint32(data[beginBytes-4:])))
			from = i + 1 // what stood before is of a run that nobody asks for any more
		}
	}
	return m.current.Apply(entries[from:], results[from:])
}

// state returns what a run has applied, false where another one is the last that began.
func (m *machine) state(run runID) ([]byte, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.run != run {
		return nil, false
	}
	return m.current.Append(nil), true
}

var _ pipeline.StateMachine = (*machine)(nil)
