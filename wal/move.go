package wal

import (
	"fmt"

	"github.com/millrace/millrace/codec"
)

// move is a record that counts and is to be written again at the end of the log, so that the file it stands in can go. Of a
// frame it holds the bytes; anything else is written as the book has it when its turn comes.
type move struct {
	kind  kind // of the new record
	seq   uint64
	bytes uint32 // of the old record
	group codec.GroupID
	peer  codec.NodeID
	frame codec.Frame
	last  codec.Index // last entry of the frame that still counts

	vote    codec.Vote
	crashed bool
	base    *codec.LogBase
	commit  codec.Index
	is      codec.Incarnation // of the peer
}

// move returns how a record of the log is written again, or false if it does not count.
func (b *book) move(r *record) (move, bool) {
	m := move{seq: r.seq, bytes: uint32(r.size)}
	var err error
	switch r.kind {
	case kindFrame, kindMovedFrame:
		m.kind, m.frame, m.group = kindMovedFrame, r.frame, r.frame.Meta().Group
	case kindVote, kindMovedVote:
		m.kind = kindMovedVote
		m.group, _, err = readVote(r.payload)
	case kindPurge, kindJump, kindMovedBase:
		m.kind = kindMovedBase
		m.group, _, err = readBase(r.payload)
	case kindCommit:
		m.kind = kindCommit
		m.group, _ = readIndex(r.payload)
	case kindPeer:
		m.kind = kindPeer
		m.peer, _ = readPeer(r.payload)
	default:
		return m, false
	}
	if err != nil {
		panic(fmt.Sprintf("BUG: record %d was replayed, and can't be read: %v", r.seq, err))
	}
	return m, b.fill(&m)
}

// fill completes a move with what the book has, and tells whether its record still counts.
func (b *book) fill(m *move) bool {
	g := b.groups[m.group]
	if m.kind == kindPeer {
		p := b.peers[m.peer]
		m.is = p.incarnation
		return p.at.seq == m.seq
	}
	if g == nil {
		return false
	}
	switch m.kind {
	case kindMovedFrame:
		position := g.index.find(m.frame.Meta().First)
		if position < 0 {
			return false
		}
		ref := &g.index.refs[position]
		m.last = ref.meta.Last()
		return ref.at.seq == m.seq
	case kindMovedVote:
		m.vote, m.crashed = g.vote, g.crashed
		return g.voteAt.seq == m.seq
	case kindMovedBase:
		base := g.base
		m.base = &base
		return g.baseAt.seq == m.seq
	default:
		m.commit = g.commit
		return g.commitAt.seq == m.seq
	}
}

// endings is what the writes of a batch take from a group's log. They come before what the batch writes again, and must not
// be undone by it.
type endings struct {
	voted, jumped, purged bool
	purgedTo              codec.Index
	truncated             bool
	truncatedTo           codec.Index
}

func (e *endings) add(w *codec.LogWrite) {
	e.voted = e.voted || w.HasVote
	e.jumped = e.jumped || w.Jump != nil
	if w.HasTruncate && (!e.truncated || w.Truncate < e.truncatedTo) {
		e.truncated, e.truncatedTo = true, w.Truncate
	}
	if w.Purge != nil {
		e.purged, e.purgedTo = true, w.Purge.ID.Index
	}
}

// leave tells whether a record that counts still does after the writes of its batch, and shortens a frame they cut.
func (e *endings) leave(m *move) bool {
	switch m.kind {
	case kindMovedVote:
		return !e.voted
	case kindMovedBase:
		return !e.jumped && !e.purged
	case kindMovedFrame:
		if e.truncated && m.last > e.truncatedTo {
			m.last = e.truncatedTo
		}
		first := m.frame.Meta().First
		return !e.jumped && m.last >= first && (!e.purged || m.last > e.purgedTo)
	}
	return true
}

// takeMoves takes what is to be written again and still counts behind what this batch writes. The queue is locked.
func (w *writer) takeMoves() {
	q, b := &w.log.queue, w.log.book
	w.moves, w.took, w.failed = w.moves[:0], len(q.moves) > 0, q.failed
	if len(q.moves) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range q.moves {
		if b.fill(&m) && w.leaves(&m) {
			w.moves = append(w.moves, m)
		}
	}
	q.next += uint64(len(w.moves))
	clear(q.moves)
	q.moves = nil
}

// leaves tells whether this batch leaves a record as it is.
func (w *writer) leaves(m *move) bool {
	if m.kind == kindPeer {
		for i := range w.items {
			if p := w.items[i].peer; p != nil && p.id == m.peer {
				return false
			}
		}
		return true
	}
	g := w.log.queue.groups[m.group]
	if g == nil {
		return true
	}
	if m.kind == kindCommit {
		if g.writer.commit != g.writer.commitSaved {
			w.rideAlong(g)
			return false
		}
		return true
	}
	return g.writer.batch != w.number || g.writer.ends.leave(m)
}

// encodeMoves adds what is written again to the batch. Errors wrap [codec.ErrCorrupt]: a frame that is to be cut does not
// decompress.
func (w *writer) encodeMoves() error {
	for i := range w.moves {
		m := &w.moves[i]
		switch m.kind {
		case kindMovedFrame:
			f := m.frame
			if meta := f.Meta(); meta.Last() != m.last {
				var err error
				if f, err = codec.CutFrame(f, meta.First, m.last); err != nil {
					return fmt.Errorf("cut the frame of record %d behind index %d: %w", m.seq, m.last, err)
				}
			}
			w.addFrame(kindMovedFrame, f)
			continue
		case kindMovedVote:
			w.scratch = appendMovedVote(w.scratch[:0], m.group, m.vote, m.crashed)
		case kindMovedBase:
			w.scratch = appendBase(w.scratch[:0], m.group, m.base)
		case kindCommit:
			w.scratch = appendIndex(w.scratch[:0], m.group, m.commit)
		case kindPeer:
			w.scratch = appendPeer(w.scratch[:0], m.peer, m.is)
		}
		w.add(m.kind, w.scratch)
	}
	return nil
}
