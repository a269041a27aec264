package wal

import (
	"fmt"
	"slices"
	"sync"

	"github.com/millrace/millrace/codec"
)

// book is what the durable records of a log add up to, and where those stand that still count. It does no I/O: the scan
// feeds it record by record, later the writer each batch that became durable, by the same [book.replay]. Replay never
// infers; only truncate, purge and jump records shorten a group's log.
//
// Owner: the goroutine that calls Open; afterwards the writer alone changes it. mu, because the reader and the reclaimer look
// up where records stand while the writer goes on, and groups are opened at any time.
type book struct {
	mu       sync.Mutex
	groups   map[codec.GroupID]*groupBook
	peers    map[codec.NodeID]peerBook
	sealed   bool           // the last record is a seal
	last     uint64         // sequence of the last record
	segments []*segmentBook // ascending; the last one is the tail
	bytes    int64          // of all segments
	live     int64          // of those, the bytes of records that count

	// front says what each group's log held where the first segment begins; what is not in it held nothing.
	front map[codec.GroupID]bounds
}

// spot is where the record that holds something stands; the zero spot is none.
type spot struct {
	seq   uint64
	bytes uint32 // of the record in the file
}

type peerBook struct {
	incarnation codec.Incarnation
	at          spot
}

// groupBook is a group's part of the book.
//
// Invariant, but while a log is read whose front was reclaimed (see owed.go): index.base is base.ID, and the sequences in index
// are those of records that are in the files.
type groupBook struct {
	id          codec.GroupID
	index       index
	base        codec.LogBase
	baseAt      spot
	vote        codec.Vote
	voteAt      spot
	commit      codec.Index
	commitAt    spot
	memberships []codec.MembershipRecord // of the entries in index, ascending
	// crashed says that a life in which the vote was already written ended without a seal. Whoever writes a vote anew that
	// the log holds already, to free the place of the old record, must not let that clear it.
	crashed bool
	touched uint64 // first sequence of the newest segment that changed the bounds of index
	owed    owed
}

func newBook() *book {
	return &book{groups: map[codec.GroupID]*groupBook{}, peers: map[codec.NodeID]peerBook{}, front: map[codec.GroupID]bounds{}}
}

func (b *book) group(id codec.GroupID) *groupBook {
	g := b.groups[id]
	if g == nil {
		g = &groupBook{id: id}
		b.groups[id] = g
	}
	return g
}

// replay takes the next record. Errors wrap [codec.ErrCorrupt] or [codec.ErrVersion]: the record is whole but can't follow
// those before.
func (b *book) replay(r *record) error {
	before := b.sealed
	b.sealed, b.last = r.kind == kindSeal, r.seq
	b.tail().add(r)
	b.bytes += int64(r.size)
	at := spot{r.seq, uint32(r.size)}
	switch r.kind {
	case kindFrame:
		return b.frame(r.frame, at)
	case kindMovedFrame:
		return b.movedFrame(r.frame, at)
	case kindVote:
		id, vote, err := readVote(r.payload)
		if err != nil {
			return err
		}
		g := b.group(id)
		g.vote, g.crashed = vote, false
		b.replace(&g.voteAt, at)
	case kindMovedVote:
		return b.movedVote(r.payload, at)
	case kindTruncate:
		id, to := readIndex(r.payload)
		return b.truncate(b.group(id), to)
	case kindPurge, kindJump, kindMovedBase:
		id, base, err := readBase(r.payload)
		if err != nil {
			return err
		}
		return b.rebase(r.kind, b.group(id), &base, at)
	case kindCommit:
		id, commit := readIndex(r.payload)
		g := b.group(id)
		g.commit = commit
		b.replace(&g.commitAt, at)
	case kindPeer:
		id, incarnation := readPeer(r.payload)
		old := b.peers[id].at
		b.replace(&old, at)
		b.peers[id] = peerBook{incarnation, at}
	case kindOpen:
		for _, g := range b.groups {
			g.crashed = g.crashed || g.voteAt.seq != 0 && !before
		}
	case kindSeal:
	default:
		panic(fmt.Sprintf("BUG: replay of a record of kind %v", r.kind))
	}
	return nil
}

// replace says that a record counts, and the one at old, if any, no longer does.
func (b *book) replace(old *spot, at spot) {
	b.kill(*old)
	b.born(at)
	*old = at
}

func (b *book) frame(f codec.Frame, at spot) error {
	meta := f.Meta()
	g := b.group(meta.Group)
	if err := g.index.appendRef(meta, at); err != nil {
		return err
	}
	b.born(at)
	b.touch(g)
	return g.remember(f, meta)
}

// remember adds the membership that a frame holds.
func (g *groupBook) remember(f codec.Frame, meta codec.FrameMeta) error {
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

// movedFrame takes a frame of the log that was written again: all that its group's log holds of it, no more and no less.
func (b *book) movedFrame(f codec.Frame, at spot) error {
	meta := f.Meta()
	g := b.group(meta.Group)
	if g.owes(meta.First) {
		return b.payOwed(g, f, at)
	}
	position := g.index.find(meta.First)
	if position < 0 {
		return fmt.Errorf("moved frame of group %d at index %d, the log holds %d to %d: %w", g.id, meta.First,
			g.index.base.Index+1, g.index.last(), codec.ErrCorrupt)
	}
	ref := &g.index.refs[position]
	if m := ref.meta; m.First != meta.First || m.LastID() != meta.LastID() || m.Kind != meta.Kind || m.HeaderOnly != meta.HeaderOnly {
		return fmt.Errorf("moved frame of group %d from index %d to %v, the log holds one from %d to %v: %w", g.id, meta.First,
			meta.LastID(), m.First, m.LastID(), codec.ErrCorrupt)
	}
	b.replace(&ref.at, at)
	ref.meta, ref.cut = meta, false
	return nil
}

// movedVote takes a vote that the log holds already. Where the front of the log is gone, it may be the first time that it is
// seen.
func (b *book) movedVote(payload []byte, at spot) error {
	id, vote, crashed, err := readMovedVote(payload)
	if err != nil {
		return err
	}
	g := b.group(id)
	if vote != g.vote && (g.voteAt.seq != 0 || !g.owed.vote) {
		return fmt.Errorf("moved vote %v of group %d, the log holds %v: %w", vote, id, g.vote, codec.ErrCorrupt)
	}
	g.vote, g.crashed = vote, g.crashed || crashed
	b.replace(&g.voteAt, at)
	return nil
}

func (b *book) truncate(g *groupBook, to codec.Index) error {
	if last := g.index.last(); to > last || to < g.base.ID.Index {
		return fmt.Errorf("truncation of group %d above index %d, its log holds %d to %d: %w", g.id, to, g.base.ID.Index+1,
			last, codec.ErrCorrupt)
	}
	g.memberships = slices.DeleteFunc(g.memberships, func(m codec.MembershipRecord) bool { return m.ID.Index > to })
	for n := len(g.index.refs); n > 0 && g.index.refs[n-1].meta.First > to; n-- {
		b.kill(g.index.refs[n-1].at)
	}
	b.touch(g)
	if g.owes(to + 1) {
		return b.truncateOwed(g, to)
	}
	return g.index.truncate(to)
}

// rebase moves where a group's log begins, by a purge or a jump, or repeats where it begins.
func (b *book) rebase(k kind, g *groupBook, base *codec.LogBase, at spot) (err error) {
	to := base.ID
	known := g.base.ID == to || g.baseAt.seq == 0 && g.base.ID.Index == to.Index
	if k == kindMovedBase && !known || k != kindMovedBase && to.Index <= g.base.ID.Index {
		return fmt.Errorf("%v of group %d to %v, its log begins behind %v: %w", k, g.id, to, g.base.ID, codec.ErrCorrupt)
	}
	switch k {
	case kindPurge:
		err = b.purge(g, to)
	case kindJump:
		b.killAll(g.index.refs)
		b.killAll(g.owed.found)
		g.index, g.owed.to, g.owed.found, g.memberships = index{base: to}, 0, nil, nil
	}
	if err != nil {
		return fmt.Errorf("group %d: %w", g.id, err)
	}
	if k != kindMovedBase {
		b.touch(g)
	}
	g.base = *base
	b.replace(&g.baseAt, at)
	return nil
}

func (b *book) purge(g *groupBook, to codec.LogID) error {
	if g.owes(to.Index) {
		return b.purgeOwed(g, to)
	}
	refs := g.index.refs
	if err := g.index.purge(to); err != nil {
		return err
	}
	b.killAll(refs[:len(refs)-len(g.index.refs)])
	b.killAll(g.owed.found)
	g.owed.to, g.owed.found = 0, nil
	g.forget(to.Index)
	return nil
}

// forget drops the memberships up to an index. While a log is read they stand in the order of their records: moved ones come
// behind younger ones.
func (g *groupBook) forget(to codec.Index) {
	g.memberships = slices.DeleteFunc(g.memberships, func(m codec.MembershipRecord) bool { return m.ID.Index <= to })
}

func (b *book) killAll(refs []frameRef) {
	for i := range refs {
		b.kill(refs[i].at)
	}
}

// state returns what a group is told when it is opened. clean says that the last life ended with a seal; that alone does
// not prove that nothing was lost since the vote was written.
func (g *groupBook) state(clean bool) codec.LogState {
	s := codec.LogState{Vote: g.vote, Base: g.base, Commit: g.commit, Memberships: slices.Clone(g.memberships),
		CleanClose: clean && !g.crashed}
	if len(g.index.refs) > 0 {
		s.Frames = make([]codec.FrameMeta, len(g.index.refs))
	}
	for i := range g.index.refs {
		s.Frames[i] = g.index.refs[i].meta
	}
	return s
}

// find returns where the frame stands that a group's loop knows by its description; false if it does not count any more.
func (b *book) find(id codec.GroupID, meta codec.FrameMeta) (seq uint64, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.groups[id]
	if g == nil {
		return 0, false
	}
	position := g.index.find(meta.First)
	if position < 0 {
		return 0, false
	}
	ref := &g.index.refs[position]
	return ref.at.seq, ref.meta.First == meta.First && ref.meta.Leader == meta.Leader
}

func (b *book) peersCopy() map[codec.NodeID]codec.Incarnation {
	peers := make(map[codec.NodeID]codec.Incarnation, len(b.peers))
	for id, p := range b.peers {
		peers[id] = p.incarnation
	}
	return peers
}
