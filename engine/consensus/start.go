package consensus

import (
	"fmt"

	"github.com/millrace/millrace/codec"
)

// open takes over what the log holds, and the snapshot beside it, checking that the parts agree.
func (c *Core) open(st *codec.LogState) error {
	if err := c.openBase(&st.Base); err != nil {
		return err
	}
	if err := c.openFrames(st); err != nil {
		return err
	}
	if c.log.last.Leader.Compare(st.Vote.Leader) > 0 {
		return fmt.Errorf("%w: last entry %v above the vote %v", ErrLogState, c.log.last, st.Vote)
	}
	c.log.flushed = c.log.last.Index
	return c.openSnapshot(st)
}

// openBase takes over where the log begins.
func (c *Core) openBase(b *codec.LogBase) error {
	if err := checkBase(b); err != nil {
		return fmt.Errorf("%w: %w", ErrLogState, err)
	}
	if !b.ID.IsZero() {
		c.log.begin(cloneBase(b))
	}
	return nil
}

// checkBase says what is wrong with a base by itself.
func checkBase(b *codec.LogBase) error {
	switch id := b.ID; {
	case id.Index > indexMax || id.Leader.Term > termMax:
		return fmt.Errorf("log base %v, want at most term %d and index %d", id, termMax, indexMax)
	case id.Index > 1 && id.Leader.Term == 0:
		return fmt.Errorf("log base %v has no leader, want one for any entry but the first", id)
	}
	return b.Validate()
}

func cloneBase(b *codec.LogBase) *codec.LogBase {
	own := *b
	own.Membership.Membership = b.Membership.Membership.Clone()
	return &own
}

// openFrames takes over what the log holds behind its base.
func (c *Core) openFrames(st *codec.LogState) error {
	memberships := st.Memberships
	for i := range st.Frames {
		f := &st.Frames[i]
		switch {
		case f.Group != c.cfg.Group:
			return fmt.Errorf("%w: frame %v of group %d, want group %d", ErrLogState, f.LastID(), f.Group, c.cfg.Group)
		case f.First != c.log.last.Index+1:
			return fmt.Errorf("%w: frame from index %d after %v", ErrLogState, f.First, c.log.last)
		case !plausible(f) || f.Leader.Compare(c.log.last.Leader) < 0:
			return fmt.Errorf("%w: frame of %d %v entries (%d bytes) up to %v after %v",
				ErrLogState, f.Count, f.Kind, f.Size, f.LastID(), c.log.last)
		}
		c.log.restore(f)
		if f.Kind != codec.EntryMembership {
			continue
		}
		if len(memberships) == 0 || memberships[0].ID != f.LastID() {
			return fmt.Errorf("%w: no membership for the membership entry %v", ErrLogState, f.LastID())
		}
		m := memberships[0].Membership.Clone()
		if err := m.Validate(); err != nil {
			return fmt.Errorf("%w: entry %v: %w", ErrLogState, f.LastID(), err)
		}
		c.log.memberships = append(c.log.memberships, memberRecord{id: f.LastID(), membership: &m})
		memberships = memberships[1:]
	}
	if len(memberships) > 0 {
		return fmt.Errorf("%w: no membership entry at %v", ErrLogState, memberships[0].ID)
	}
	return nil
}

// openSnapshot takes over the snapshot that the node starts from. It may be one that had come from a leader just before
// the last life ended, and that the log has not been replaced by yet.
func (c *Core) openSnapshot(st *codec.LogState) error {
	b := &st.Snapshot
	if err := checkBase(b); err != nil {
		return fmt.Errorf("%w: snapshot: %w", ErrLogState, err)
	}
	held := c.log.holds(b.ID)
	switch {
	case b.ID.IsZero():
		return nil
	case b.ID.Index < c.log.base.Index:
		return fmt.Errorf("%w: snapshot of %v, want one at or beyond the log's base %v, or none", ErrLogState, b.ID, c.log.base)
	case !held && b.ID.Index <= c.committedAt(st):
		have, _ := c.log.idAt(b.ID.Index)
		return fmt.Errorf("%w: snapshot of %v, the log has %v there, which is committed", ErrLogState, b.ID, have)
	case !held:
		c.jump = cloneBase(b)
	}
	c.snapshot = b.ID
	return nil
}

// committedAt returns up to which entry the log that a node starts with is committed: as it was saved, and at least its base
// and the snapshot that it holds the last entry of. A saved commit may lie beyond the log.
func (c *Core) committedAt(st *codec.LogState) codec.Index {
	commit := max(c.log.base.Index, min(st.Commit, c.log.last.Index))
	if c.log.holds(st.Snapshot.ID) {
		commit = max(commit, st.Snapshot.ID.Index)
	}
	return commit
}

// jumpAtStart replaces the log by the snapshot that the node starts from. The last life ended after the snapshot was
// complete and before the log was replaced. What it holds is committed, so nothing that was acknowledged is lost: a
// log that does not hold its last entry holds nothing behind it that could be committed.
func (c *Core) jumpAtStart() {
	base := c.jump
	c.jump = nil
	c.raiseVote(base.ID.Leader)
	c.jumpTo(base)
}
