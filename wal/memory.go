package wal

import (
	"crypto/rand"
	"fmt"
	"maps"
	"sync"

	"github.com/millrace/millrace/codec"
)

// Memory is a log that keeps everything in memory, frees what is purged, and forgets all at Close. Writes are "durable"
// inside Submit.
//
// Owner: none; mu guards the peers and the set of groups, because connections and loops ask for them at any time.
type Memory struct {
	incarnation codec.Incarnation
	mu          sync.Mutex
	peers       map[codec.NodeID]codec.Incarnation
	groups      map[codec.GroupID]bool
	closed      bool
}

// NewMemory returns an empty log with an incarnation of its own.
func NewMemory() *Memory {
	m := &Memory{peers: map[codec.NodeID]codec.Incarnation{}, groups: map[codec.GroupID]bool{}}
	rand.Read(m.incarnation[:]) // never fails: it ends the process instead
	return m
}

// Incarnation returns the random identity of this log.
func (m *Memory) Incarnation() codec.Incarnation { return m.incarnation }

// Peers returns the remembered incarnation of each peer.
func (m *Memory) Peers() map[codec.NodeID]codec.Incarnation {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.peers)
}

// RememberPeer keeps a peer's incarnation and calls done before it returns. Errors: [ErrClosed].
func (m *Memory) RememberPeer(id codec.NodeID, incarnation codec.Incarnation, done func(error)) {
	m.mu.Lock()
	var err error
	if m.closed {
		err = fmt.Errorf("wal: peer %d: %w", id, ErrClosed)
	} else {
		m.peers[id] = incarnation
	}
	m.mu.Unlock()
	done(err)
}

// Group opens one group's part, which is empty. Errors: [ErrGroupOpen], [ErrClosed].
func (m *Memory) Group(id codec.GroupID, flushed func(seq uint64, err error)) (*MemoryGroup, codec.LogState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return nil, codec.LogState{}, fmt.Errorf("wal: group %d: %w", id, ErrClosed)
	case m.groups[id]:
		return nil, codec.LogState{}, fmt.Errorf("wal: group %d: %w", id, ErrGroupOpen)
	}
	m.groups[id] = true
	return &MemoryGroup{id: id, flushed: flushed}, codec.LogState{}, nil
}

// Close ends the log.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

// MemoryGroup is one group's part of a [Memory].
//
// Owner: the group's loop.
type MemoryGroup struct {
	id      codec.GroupID
	flushed func(seq uint64, err error)
	index   index
	lastSeq uint64
}

// Submit takes a write and reports it as flushed before it returns. A write that can't follow the group's log is a bug
// of the caller and panics.
func (g *MemoryGroup) Submit(w *codec.LogWrite) {
	meta := checkWrite(g.id, &g.index, g.lastSeq, w)
	_ = g.index.apply(w, meta, 0) // a frame that can't be cut, as its body does not decompress, is dropped, and missed by who reads it
	if w.Seq != 0 {
		g.lastSeq = w.Seq
		g.flushed(w.Seq, nil)
	}
}

// Frame returns the frame that holds the entry at an index.
func (g *MemoryGroup) Frame(i codec.Index) (codec.Frame, bool) {
	position := g.index.find(i)
	if position < 0 {
		return codec.Frame{}, false
	}
	return g.index.cached(position)
}

// ReadFrame calls done, before it returns, with the frame that holds the entry at an index, or [ErrNotHeld].
func (g *MemoryGroup) ReadFrame(i codec.Index, done func(codec.Frame, error)) {
	f, ok := g.Frame(i)
	if !ok {
		done(f, g.index.notHeld(g.id, i))
		return
	}
	done(f, nil)
}
