package storagetest

import (
	"errors"
	"maps"
	"runtime"
	"sync"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
)

// lockedLog lets many goroutines call a toyLog. Its own bugs are those of logs that know of locks, and hold them too short; none
// is a race that the detector sees.
type lockedLog struct {
	mu sync.Mutex
	*toyLog
	frame codec.Frame // of the newest write, whichever group's
	calls int         // that rested
}

func (l *lockedLog) Peers() map[codec.NodeID]codec.Incarnation {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.toyLog.Peers()
}

func (l *lockedLog) RememberPeer(id codec.NodeID, incarnation codec.Incarnation, done func(error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.disk.is("two that remember a peer at once lose one") {
		peers := maps.Clone(l.disk.peers)
		l.rest()
		peers[id] = incarnation
		l.disk.peers = peers
	}
	l.toyLog.RememberPeer(id, incarnation, done)
}

// rest lets another goroutine have the lock, and waits a while for one that wants it.
func (l *lockedLog) rest() {
	l.calls++
	for before, i := l.calls, 0; i < 1000 && l.calls == before; i++ {
		l.mu.Unlock()
		runtime.Gosched()
		l.mu.Lock()
	}
}

func (l *lockedLog) Group(id codec.GroupID, flushed func(uint64, error)) (pipeline.GroupLog, codec.LogState, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g, state, err := l.toyLog.Group(id, flushed)
	if err != nil {
		return nil, state, err
	}
	return &lockedGroup{log: l, toyGroup: g.(*toyGroup)}, state, nil
}

func (l *lockedLog) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.toyLog.Close()
}

// lockedGroup is one group of a lockedLog.
type lockedGroup struct {
	log *lockedLog
	*toyGroup
	owed []func() // reads that the next write answers
}

func (g *lockedGroup) Submit(w *codec.LogWrite) {
	l := g.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.disk.is("groups share a buffer") {
		l.frame = w.Frame
		l.rest()
		own := *w
		own.Frame, w = l.frame, &own
	}
	g.toyGroup.Submit(w)
	if l.disk.is("a truncation forgets the reads before it") && w.HasTruncate {
		g.owed = nil
	}
	for _, read := range g.owed {
		read()
	}
	g.owed = nil
}

func (g *lockedGroup) Frame(i codec.Index) (codec.Frame, bool) {
	g.log.mu.Lock()
	defer g.log.mu.Unlock()
	return g.toyGroup.Frame(i)
}

func (g *lockedGroup) ReadFrame(i codec.Index, done func(codec.Frame, error)) {
	g.log.mu.Lock()
	defer g.log.mu.Unlock()
	at := g.find(i)
	switch {
	case at < 0:
		g.toyGroup.ReadFrame(i, done)
	case g.log.disk.is("a truncation forgets the reads before it"):
		g.owed = append(g.owed, func() { g.toyGroup.ReadFrame(i, done) })
	case g.log.disk.is("a read looks for its place before the writes, and there after them"):
		g.owed = append(g.owed, func() {
			if at >= len(g.frames) {
				done(codec.Frame{}, errors.New("it is gone"))
				return
			}
			done(g.frames[at], nil)
		})
	default:
		g.toyGroup.ReadFrame(i, done)
	}
}
