package wal

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/millrace/millrace/codec"
)

// item is what waits for the writer: a write of a group, or a peer to be remembered, or a mark of the log itself.
type item struct {
	seq     uint64 // of its first record
	records int
	group   *Group // nil for the others
	write   codec.LogWrite
	peer    *peerWrite
	mark    kind // kindOpen
}

type peerWrite struct {
	id          codec.NodeID
	incarnation codec.Incarnation
	done        func(error)
}

// queue is what the groups have submitted and the writer has not taken. Records get their sequence here, in the order
// in which the writer will write them.
//
// Owner: none: the loops of all groups put and the writer takes, each without waiting for another; mu guards all but
// poisoned, which lets Submit see the end of the log without the lock.
type queue struct {
	mu       sync.Mutex
	items    []item
	next     uint64 // sequence of the next record
	groups   map[codec.GroupID]*Group
	peers    map[codec.NodeID]codec.Incarnation // durable ones
	moves    []move                             // what the reclaimer wants to be written again
	closing  bool
	failed   error // what the reclaimer met: the writer poisons the log with it
	err      error // what poisoned the log
	poisoned atomic.Bool
	wake     chan struct{} // holds one token while there may be something to take
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// put queues a group's write and returns the sequence of its first record, or false if the log is poisoned.
func (q *queue) put(g *Group, w *codec.LogWrite) (uint64, bool) {
	records := 0
	if w.HasVote {
		records++
	}
	if w.HasTruncate {
		records++
	}
	if !w.Frame.IsZero() {
		records++
	}
	if w.Jump != nil {
		records++
	}
	if w.Purge != nil {
		records++
	}
	q.mu.Lock()
	if q.err != nil {
		q.mu.Unlock()
		return 0, false
	}
	if q.closing {
		q.mu.Unlock()
		panic(fmt.Sprintf("BUG: group %d submits write %d to a closed log", g.id, w.Seq))
	}
	seq := q.next
	q.next += uint64(records)
	q.items = append(q.items, item{seq: seq, records: records, group: g, write: *w})
	q.mu.Unlock()
	q.signal()
	return seq, true
}

// sortedGroups returns the open groups in the order of their ids, so that a simulated run repeats itself. The queue is
// locked.
func (q *queue) sortedGroups() []*Group {
	groups := make([]*Group, 0, len(q.groups))
	for _, id := range slices.Sorted(maps.Keys(q.groups)) {
		groups = append(groups, q.groups[id])
	}
	return groups
}

// putMoves queues records to be written again; false if the log ends.
func (q *queue) putMoves(moves []move) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closing || q.err != nil {
		return false
	}
	q.moves = moves
	q.signal()
	return true
}

// fail hands an error of the reclaimer to the writer, who poisons the log with it.
func (q *queue) fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.failed = err
	q.signal()
}

// ended returns what poisoned the log, nil for nothing.
func (q *queue) ended() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

// ends tells whether the log is closing or has ended.
func (q *queue) ends() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closing || q.err != nil || q.failed != nil
}

// putOther queues what is no group's write, one record.
func (q *queue) putOther(it item) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		return q.err
	}
	if q.closing {
		return ErrClosed
	}
	it.seq, it.records = q.next, 1
	q.next++
	q.items = append(q.items, it)
	q.signal()
	return nil
}
