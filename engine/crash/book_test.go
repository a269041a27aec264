package crash

import (
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/millrace/millrace/codec"
)

// recorder is told what becomes of each put. Its methods may be called from any goroutine.
type recorder interface {
	// asked is called before a put is proposed for the first time.
	asked(identity)
	// acked is called when the put was answered with a result.
	acked(identity, codec.LogID)
	// refused is called when the put certainly did not happen and will not be tried again.
	refused(identity)
	// unknown is called when nobody can say whether it happened.
	unknown(identity)
}

// book keeps what clients were told.
//
// Owner: none; mu guards everything, because clients, the reader of a pipe and a test use it at the same time.
type book struct {
	mu      sync.Mutex
	ack     map[identity]codec.LogID
	refuse  map[identity]bool
	open    map[identity]bool // asked and not answered
	lost    int               // answered as unknown
	doubt   bool              // acknowledgements count for nothing; see distrust
	changed chan struct{}     // closed at the next acknowledgement
}

func newBook() *book {
	return &book{ack: map[identity]codec.LogID{}, refuse: map[identity]bool{}, open: map[identity]bool{}, changed: make(chan struct{})}
}

func (b *book) asked(id identity) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open[id] = true
}

func (b *book) acked(id identity, at codec.LogID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.doubt {
		return
	}
	delete(b.open, id)
	b.ack[id] = at
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *book) refused(id identity) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, id)
	b.refuse[id] = true
}

func (b *book) unknown(id identity) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, id)
	b.lost++
}

// counts returns how many puts are acknowledged, and how many wait for an answer.
func (b *book) counts() (acked, inFlight int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.ack), len(b.open)
}

// distrust makes of every acknowledgement, until forgetOpen, a put whose fate is unknown.
func (b *book) distrust() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.doubt = true
}

// forgetOpen drops the puts that wait for an answer that can't come any more: their process is gone.
func (b *book) forgetOpen() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.open)
	b.doubt = false
}

// promises is what a book has recorded up to a moment.
type promises struct {
	ack    map[identity]codec.LogID
	refuse map[identity]bool
}

func (b *book) promises() promises {
	b.mu.Lock()
	defer b.mu.Unlock()
	return promises{maps.Clone(b.ack), maps.Clone(b.refuse)}
}

// errLost marks the loss of an acknowledged put among what the checker finds.
var errLost = errors.New("an acknowledged put is lost")

// check compares what was promised with what the logs of the nodes hold.
func (p promises) check(logs map[codec.NodeID]diskLog) error {
	copies := make(map[identity]int, len(p.ack))
	sums := map[codec.LogID]uint32{}
	for node, l := range logs {
		if err := p.checkLog(l, copies, sums); err != nil {
			return fmt.Errorf("log of node %d: %w", node, err)
		}
	}
	quorum := len(logs)/2 + 1
	places := make(map[codec.LogID]identity, len(p.ack))
	for id, at := range p.ack {
		if other, ok := places[at]; ok {
			return fmt.Errorf("%v and %v were both acknowledged at %v", id, other, at)
		}
		places[at] = id
	}
	missing := 0
	var first error
	for id, at := range p.ack {
		if copies[id] < quorum {
			missing++
			first = fmt.Errorf("%v, acknowledged at %v, is in %d of %d logs (%s)", id, at, copies[id], len(logs), ends(logs))
		}
	}
	if missing > 0 {
		return fmt.Errorf("%w: %d of %d; one of them: %w", errLost, missing, len(p.ack), first)
	}
	return nil
}

// checkLog checks one log by itself and adds to copies the acknowledged puts that it holds in their places.
func (p promises) checkLog(l diskLog, copies map[identity]int, sums map[codec.LogID]uint32) error {
	seen := make(map[identity]codec.LogID, len(l.entries))
	last := map[uint64]uint64{}
	for i, e := range l.entries {
		if e.ID.Index != codec.Index(i+1) {
			return fmt.Errorf("entry %v stands at index %d", e.ID, i+1)
		}
		sum := codec.Checksum(e.Data)
		if other, ok := sums[e.ID]; ok && other != sum {
			return fmt.Errorf("entry %v differs from the one in another log", e.ID)
		}
		sums[e.ID] = sum
		if e.Kind != codec.EntryNormal {
			continue
		}
		id, err := readPut(e.Data)
		if err != nil {
			return fmt.Errorf("entry %v: %w", e.ID, err)
		}
		if at, ok := seen[id]; ok {
			return fmt.Errorf("%v stands twice, at %v and %v", id, at, e.ID)
		}
		if id.serial <= last[id.client] {
			return fmt.Errorf("%v at %v stands behind serial %d", id, e.ID, last[id.client])
		}
		if p.refuse[id] {
			return fmt.Errorf("%v stands at %v, but its client was told that it did not happen", id, e.ID)
		}
		seen[id], last[id.client] = e.ID, id.serial
		switch at, ok := p.ack[id]; {
		case ok && at == e.ID:
			copies[id]++
		case ok:
			return fmt.Errorf("%v was acknowledged at %v and stands at %v", id, at, e.ID)
		}
	}
	return nil
}

func ends(logs map[codec.NodeID]diskLog) string {
	var s []byte
	for node := codec.NodeID(1); node <= codec.NodeID(len(logs)); node++ {
		l := logs[node]
		at := codec.LogID{}
		if n := len(l.entries); n > 0 {
			at = l.entries[n-1].ID
		}
		s = fmt.Appendf(s, "log %d ends at %v; ", node, at)
	}
	return string(s[:max(len(s)-2, 0)])
}

// merge adds what another process reported.
func (b *book) merge(r report) {
	switch r.kind {
	case reportAsked:
		b.asked(r.id)
	case reportAcked:
		b.acked(r.id, r.at)
	case reportRefused:
		b.refused(r.id)
	case reportUnknown:
		b.unknown(r.id)
	}
}
