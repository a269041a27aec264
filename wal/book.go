package wal

import (
	"fmt"
	"maps"

	"github.com/millrace/millrace/codec"
)

// book is what the records of a log add up to. It does no I/O: the scan feeds it record by record, and replay never
// infers; only truncate, purge and jump records shorten a group's log.
//
// Owner: the goroutine that calls Open; afterwards the log, which hands each group its part.
type book struct {
	groups map[codec.GroupID]*groupBook
	peers  map[codec.NodeID]codec.Incarnation
	sealed bool // the last record is a seal
}

type groupBook struct {
	index       index
	base        codec.LogBase // its id is index.base
	vote        codec.Vote
	commit      codec.Index
	memberships []codec.MembershipRecord // of the entries in index, ascending
	// crashed says that a life in which the vote was already written ended without a seal. Whoever writes a vote anew that
	// the log holds already, to free the place of the old record, must not let that clear it.
	crashed bool
}

func newBook() *book {
	return &book{groups: map[codec.GroupID]*groupBook{}, peers: map[codec.NodeID]codec.Incarnation{}}
}

func (b *book) group(id codec.GroupID) *groupBook {
	g := b.groups[id]
	if g == nil {
		g = &groupBook{}
		b.groups[id] = g
	}
	return g
}

// replay takes the next record. Errors wrap [codec.ErrCorrupt]: the record is whole but can't follow those before.
func (b *book) replay(r *record) error {
	before := b.sealed
	b.sealed = r.kind == kindSeal
	switch r.kind {
	case kindFrame:
		meta := r.frame.Meta()
		return b.group(meta.Group).frame(r.frame, meta, r.seq)
	case kindVote:
		id, vote, err := readVote(r.payload)
		if err != nil {
			return err
		}
		g := b.group(id)
		g.vote, g.crashed = vote, false
	case kindTruncate:
		id, to := readIndex(r.payload)
		return b.group(id).truncate(id, to)
	case kindPurge, kindJump:
		id, base, err := readBase(r.payload)
		if err != nil {
			return err
		}
		return b.group(id).rebase(r.kind, id, &base)
	case kindCommit:
		id, commit := readIndex(r.payload)
		b.group(id).commit = commit
	case kindPeer:
		id, incarnation := readPeer(r.payload)
		b.peers[id] = incarnation
	case kindOpen:
		for _, g := range b.groups {
			g.crashed = g.crashed || !before
		}
	case kindSeal:
	default:
		panic(fmt.Sprintf("BUG: replay of a record of kind %v", r.kind))
	}
	return nil
}

func (g *groupBook) frame(f codec.Frame, meta codec.FrameMeta, seq uint64) error {
	if err := g.index.appendRef(meta, seq); err != nil {
		return err
	}
	if meta.Kind != codec.EntryMembership {
		return nil
	}
	entries, err := f.AppendEntries(nil)
	if err != nil {
		return err
	}
	m, n, err := codec.ReadMembership(entries[0].Data)
	if err != nil {
		return fmt.Errorf("membership at %v: %w", entries[0].ID, err)
	}
	if n != len(entries[0].Data) {
		return fmt.Errorf("membership at %v: %d bytes after it: %w", entries[0].ID, len(entries[0].Data)-n, codec.ErrCorrupt)
	}
	g.memberships = append(g.memberships, codec.MembershipRecord{ID: entries[0].ID, Membership: m})
	return nil
}

func (g *groupBook) truncate(id codec.GroupID, to codec.Index) error {
	if last := g.index.last(); to > last || to < g.index.base.Index {
		return fmt.Errorf("truncation of group %d above index %d, its log holds %d to %d: %w", id, to, g.index.base.Index+1,
			last, codec.ErrCorrupt)
	}
	for n := len(g.memberships); n > 0 && g.memberships[n-1].ID.Index > to; n-- {
		g.memberships = g.memberships[:n-1]
	}
	return g.index.truncate(to)
}

// rebase moves where the log begins, by a purge or a jump.
func (g *groupBook) rebase(k kind, id codec.GroupID, base *codec.LogBase) error {
	change := g.index.purge
	if k == kindJump {
		change = g.index.jump
	}
	if err := change(base.ID); err != nil {
		return fmt.Errorf("group %d: %w", id, err)
	}
	n := 0
	for n < len(g.memberships) && (k == kindJump || g.memberships[n].ID.Index <= base.ID.Index) {
		n++
	}
	g.base, g.memberships = *base, behind(g.memberships, n)
	return nil
}

// state returns what a group is told when it is opened. clean says that the last life ended with a seal; that alone does
// not prove that nothing was lost since the vote was written.
func (g *groupBook) state(clean bool) codec.LogState {
	s := codec.LogState{Vote: g.vote, Base: g.base, Commit: g.commit, Memberships: g.memberships, CleanClose: clean && !g.crashed}
	if len(g.index.refs) > 0 {
		s.Frames = make([]codec.FrameMeta, len(g.index.refs))
	}
	for i := range g.index.refs {
		s.Frames[i] = g.index.refs[i].meta
	}
	return s
}

func (b *book) peersCopy() map[codec.NodeID]codec.Incarnation { return maps.Clone(b.peers) }
