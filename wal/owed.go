package wal

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/millrace/millrace/codec"
)

// bounds says which entries a group's log held at some record: those behind base up to last.
type bounds struct{ base, last codec.Index }

// owed is what is still to come of a group's log while a log is read whose front was reclaimed. What stood in that front and
// counted was written again before the front went, as moved records; so until they are met the bounds of the group's log are
// known, and its frames are not. [book.finish] holds the log to it: whatever was owed and did not come is damage.
//
// Invariant: while entries are owed, index begins behind the last of them.
type owed struct {
	to    codec.Index // last entry owed; the first stands behind base
	found []frameRef  // moved frames of them, in the order they were met; some may be there twice
	vote  bool        // a vote must come
}

// owes tells whether the frame of an entry is still to come.
func (g *groupBook) owes(i codec.Index) bool { return i > g.base.ID.Index && i <= g.owed.to }

// owe says what the reclaimed front held.
func (b *book) owe(f *front) {
	for _, e := range f.groups {
		g := b.group(e.id)
		g.base.ID.Index, g.index.base.Index = e.base, e.last
		g.owed = owed{to: e.last, vote: e.voted}
		b.front[e.id] = e.bounds
	}
	b.last = f.last
}

// payOwed takes a moved frame of entries that are owed.
func (b *book) payOwed(g *groupBook, f codec.Frame, at spot) error {
	meta := f.Meta()
	if !g.owes(meta.Last()) {
		return fmt.Errorf("moved frame of group %d from index %d to %v, %d to %d are missing: %w", g.id, meta.First, meta.LastID(),
			g.base.ID.Index+1, g.owed.to, codec.ErrCorrupt)
	}
	g.owed.found = append(g.owed.found, frameRef{meta: meta, at: at})
	b.born(at)
	return g.remember(f, meta)
}

// truncateOwed removes the entries above an index below the last one owed, and with them everything behind.
func (b *book) truncateOwed(g *groupBook, to codec.Index) error {
	kept := g.owed.found[:0]
	for _, ref := range g.owed.found {
		if ref.meta.First > to {
			b.kill(ref.at)
			continue
		}
		if ref.meta.Last() > to {
			ref.meta.Count, ref.cut = uint32(to-ref.meta.First)+1, true
		}
		kept = append(kept, ref)
	}
	g.owed.to, g.owed.found = to, kept
	g.index = index{base: codec.LogID{Index: to}}
	return nil
}

// purgeOwed removes entries up to one that is owed.
func (b *book) purgeOwed(g *groupBook, to codec.LogID) error {
	kept := g.owed.found[:0]
	for _, ref := range g.owed.found {
		switch {
		case ref.meta.Last() <= to.Index:
			b.kill(ref.at)
		case ref.meta.First <= to.Index:
			return fmt.Errorf("purge up to %v, its frame ends with %v: %w", to, ref.meta.LastID(), codec.ErrCorrupt)
		default:
			kept = append(kept, ref)
		}
	}
	g.owed.found = kept
	g.forget(to.Index)
	return nil
}

// finish ends the reading of a log: everything that was owed must have come. Errors wrap [codec.ErrCorrupt].
func (b *book) finish() error {
	for id := range b.front {
		if err := b.paid(b.group(id)); err != nil {
			return fmt.Errorf("group %d: %w", id, err)
		}
	}
	return nil
}

// paid checks that all that a group's log is owed has come, and puts its frames in order.
func (b *book) paid(g *groupBook) error {
	switch {
	case g.owed.vote && g.voteAt.seq == 0:
		return fmt.Errorf("its vote was in the records that are reclaimed, and is nowhere else: %w", codec.ErrCorrupt)
	case g.base.ID.Index > 0 && g.baseAt.seq == 0:
		return fmt.Errorf("its base, at index %d, was in the records that are reclaimed, and is nowhere else: %w", g.base.ID.Index, codec.ErrCorrupt)
	}
	byPlace := func(x, y frameRef) int {
		return cmp.Or(cmp.Compare(x.meta.First, y.meta.First), cmp.Compare(x.at.seq, y.at.seq))
	}
	slices.SortFunc(g.owed.found, byPlace)
	refs, next := make([]frameRef, 0, len(g.owed.found)+len(g.index.refs)), g.base.ID.Index+1
	for i, ref := range g.owed.found {
		if i+1 < len(g.owed.found) && g.owed.found[i+1].meta.First == ref.meta.First {
			if again := g.owed.found[i+1].meta; again.LastID() != ref.meta.LastID() || again.Kind != ref.meta.Kind {
				return fmt.Errorf("entries %d to %v, and in record %d, which moved them again, to %v: %w", ref.meta.First, ref.meta.LastID(),
					g.owed.found[i+1].at.seq, again.LastID(), codec.ErrCorrupt)
			}
			b.kill(ref.at)
			continue
		}
		if ref.meta.First != next {
			break
		}
		refs, next = append(refs, ref), ref.meta.Last()+1
	}
	if end := max(g.owed.to, g.base.ID.Index); next != end+1 {
		return fmt.Errorf("entries %d to %d were in the records that are reclaimed, and from %d on nowhere else: %w",
			g.base.ID.Index+1, g.owed.to, next, codec.ErrCorrupt)
	}
	g.index.base, g.index.refs = g.base.ID, append(refs, g.index.refs...)
	slices.SortStableFunc(g.memberships, func(x, y codec.MembershipRecord) int { return cmp.Compare(x.ID.Index, y.ID.Index) })
	g.memberships = slices.CompactFunc(g.memberships, func(x, y codec.MembershipRecord) bool { return x.ID == y.ID })
	g.owed = owed{}
	return nil
}
