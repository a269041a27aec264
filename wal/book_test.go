package wal

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

// checkBook compares the book that the writer has kept with the one that reading the files anew gives, and with a count of
// what is live. It is for a log that nothing was submitted to since it was pumped.
func checkBook(w *world) error {
	s, err := scanLog(w.mem.Crash(vfs.KeepAll()), w.cfg.Dir, w.log.fingerprint)
	if err != nil {
		return err
	}
	if err := sameBook(w.log.book, s.book); err != nil {
		return fmt.Errorf("the log's book differs from that of its files: %w", err)
	}
	return countLive(w.log.book)
}

func sameBook(a, b *book) error {
	if a.last != b.last || a.bytes != b.bytes || a.live != b.live || a.sealed != b.sealed {
		return fmt.Errorf("record %d, %d bytes, %d live, sealed %v; %d, %d, %d, %v", a.last, a.bytes, a.live, a.sealed, b.last, b.bytes,
			b.live, b.sealed)
	}
	if !maps.Equal(a.peers, b.peers) {
		return fmt.Errorf("peers %v and %v", a.peers, b.peers)
	}
	holds := func(b *book) map[codec.GroupID]bool { // a group may be opened and hold nothing
		out := map[codec.GroupID]bool{}
		for id, g := range b.groups {
			out[id] = len(g.index.refs) > 0 || g.voteAt.seq != 0 || g.baseAt.seq != 0 || g.commitAt.seq != 0
		}
		maps.DeleteFunc(out, func(_ codec.GroupID, holds bool) bool { return !holds })
		return out
	}
	if x, y := holds(a), holds(b); !maps.Equal(x, y) {
		return fmt.Errorf("groups %v and %v", x, y)
	}
	for id := range holds(a) {
		if err := sameGroup(a.groups[id], b.groups[id]); err != nil {
			return fmt.Errorf("group %d: %w", id, err)
		}
	}
	if len(a.segments) != len(b.segments) {
		return fmt.Errorf("%d and %d segments", len(a.segments), len(b.segments))
	}
	for i, s := range a.segments {
		if err := sameSegment(s, b.segments[i]); err != nil {
			return fmt.Errorf("segment %s: %w", s.name, err)
		}
	}
	empty := func(_ codec.GroupID, held bounds) bool { return held == bounds{} }
	x, y := maps.Clone(a.front), maps.Clone(b.front)
	maps.DeleteFunc(x, empty)
	if maps.DeleteFunc(y, empty); !maps.Equal(x, y) {
		return fmt.Errorf("front %v and %v", x, y)
	}
	return nil
}

func sameGroup(a, b *groupBook) error {
	switch {
	case a.vote != b.vote || a.voteAt != b.voteAt || a.crashed != b.crashed:
		return fmt.Errorf("vote %v at %v, crashed %v; %v, %v, %v", a.vote, a.voteAt, a.crashed, b.vote, b.voteAt, b.crashed)
	case a.commit != b.commit || a.commitAt != b.commitAt:
		return fmt.Errorf("commit %v at %v; %v, %v", a.commit, a.commitAt, b.commit, b.commitAt)
	case a.baseAt != b.baseAt || !bytes.Equal(appendBase(nil, 0, &a.base), appendBase(nil, 0, &b.base)):
		return fmt.Errorf("base %v at %v; %v, %v", a.base.ID, a.baseAt, b.base.ID, b.baseAt)
	case a.index.base != a.base.ID || b.index.base != b.base.ID:
		return fmt.Errorf("base %v and index behind %v; %v, %v", a.base.ID, a.index.base, b.base.ID, b.index.base)
	}
	if !slices.EqualFunc(a.index.refs, b.index.refs, func(x, y frameRef) bool {
		return x.at == y.at && x.meta.First == y.meta.First && x.meta.LastID() == y.meta.LastID() && x.meta.Kind == y.meta.Kind
	}) {
		return fmt.Errorf("frames %v and %v", a.index.refs, b.index.refs)
	}
	if !slices.EqualFunc(a.memberships, b.memberships, func(x, y codec.MembershipRecord) bool { return x.ID == y.ID }) {
		return fmt.Errorf("memberships %v and %v", a.memberships, b.memberships)
	}
	return nil
}

func sameSegment(a, b *segmentBook) error {
	if a.segment != b.segment || a.last != b.last || a.crc != b.crc || a.bytes != b.bytes || a.live != b.live {
		return fmt.Errorf("%+v and %+v", *a, *b)
	}
	if !slices.Equal(a.ends, b.ends) {
		return fmt.Errorf("ends %v and %v", a.ends, b.ends)
	}
	return nil
}

// countLive counts what is live by what the groups hold.
func countLive(b *book) error {
	live := map[uint64]int64{}
	count := func(at spot) {
		if at.seq != 0 {
			live[b.holder(at.seq).first] += int64(at.bytes)
		}
	}
	for _, p := range b.peers {
		count(p.at)
	}
	for _, g := range b.groups {
		count(g.voteAt)
		count(g.baseAt)
		count(g.commitAt)
		for _, ref := range g.index.refs {
			count(ref.at)
		}
	}
	var all, bytes int64
	for _, s := range b.segments {
		if s.live != live[s.first] || s.live > s.bytes || s.live < 0 {
			return fmt.Errorf("segment %s has %d live bytes of %d, counted %d", s.name, s.live, s.bytes, live[s.first])
		}
		all, bytes = all+s.live, bytes+s.bytes
	}
	if b.live != all || b.bytes != bytes {
		return fmt.Errorf("%d live bytes of %d, counted %d of %d", b.live, b.bytes, all, bytes)
	}
	return nil
}

// A mark reads back as it was written, and nothing else does.
func TestFrontRoundTrip(t *testing.T) {
	f := front{last: 70, crc: 0x01020304, durable: 99, groups: []frontGroup{
		{id: 0, bounds: bounds{0, 12}, voted: true}, {id: 3, bounds: bounds{7, 7}}, {id: ^codec.GroupID(0), voted: true}}}
	b := f.append(nil, 0xABCD)
	const golden = "4d4c524601000000" + "cdab0000" + "04030201" + "4600000000000000" + "6300000000000000" + "03000000"
	if got := fmt.Sprintf("%x", b[:frontFixedSize]); got != golden {
		t.Fatalf("header %s, want %s", got, golden)
	}
	got, err := parseFront(b, 0xABCD)
	if err != nil || fmt.Sprint(*got) != fmt.Sprint(f) {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := parseFront(b, 1); err == nil {
		t.Error("mark of another log")
	}
	for i := range 8 * len(b) {
		b[i/8] ^= 1 << (i % 8)
		if _, err := parseFront(b, 0xABCD); err == nil {
			t.Errorf("bit %d flipped", i)
		}
		b[i/8] ^= 1 << (i % 8)
	}
	for i := range b {
		if _, err := parseFront(b[:i], 0xABCD); err == nil {
			t.Errorf("cut at %d", i)
		}
	}
}

// readState reads all that a group holds, by the log's own reader.
func readState(l *Log, g *Group, s *codec.LogState) (*groupState, error) {
	now := &groupState{vote: s.Vote, base: s.Base}
	for _, m := range s.Frames {
		var f codec.Frame
		var err error
		g.ReadFrame(m.First, func(got codec.Frame, e error) { f, err = got, e })
		l.reader.serve()
		if err == nil && f.Meta() != m {
			err = fmt.Errorf("group %d: frame %+v, told %+v", g.id, f.Meta(), m)
		}
		if err == nil {
			now.entries, err = f.AppendEntries(now.entries)
		}
		if err != nil {
			return nil, err
		}
	}
	var members []codec.MembershipRecord
	for _, e := range now.entries {
		if e.Kind == codec.EntryMembership {
			m, _, err := codec.ReadMembership(e.Data)
			if err != nil {
				return nil, err
			}
			members = append(members, codec.MembershipRecord{ID: e.ID, Membership: m})
		}
	}
	if !reflect.DeepEqual(s.Memberships, members) && len(s.Memberships)+len(members) > 0 {
		return nil, fmt.Errorf("group %d: told of %d memberships, holds %d: %v and %v", g.id, len(s.Memberships), len(members), s.Memberships, members)
	}
	return now, nil
}

// Of a group whose front was reclaimed, memberships come in the order of their records: the moved ones behind younger ones. A
// purge between the two forgets the older one, and a truncation the younger.
func TestMovedMembershipsAreForgotten(t *testing.T) {
	for name, c := range map[string]struct {
		add  func(b *batch, h *header)
		want []codec.Index
	}{
		"nothing": {nil, []codec.Index{10, 16}},
		"purge": {func(b *batch, h *header) {
			base := appendBase(nil, 1, &codec.LogBase{ID: codec.LogID{Leader: codec.LeaderID{Term: 1}, Index: 15}})
			h.kind = kindPurge
			b.add(h, base, codec.Checksum(base))
		}, []codec.Index{16}},
		"truncation": {func(b *batch, h *header) {
			to := appendIndex(nil, 1, 12)
			h.kind = kindTruncate
			b.add(h, to, codec.Checksum(to))
		}, []codec.Index{10}},
		"truncation of all": {func(b *batch, h *header) {
			to := appendIndex(nil, 1, 0)
			h.kind = kindTruncate
			b.add(h, to, codec.Checksum(to))
		}, nil},
	} {
		bk := newBook()
		bk.owe(&front{last: 100, durable: 200, groups: []frontGroup{{id: 1, bounds: bounds{0, 10}}}})
		bk.begin(segment{first: 101})
		var b batch
		h := header{seq: 100}
		frame := func(k kind, kindOf codec.EntryKind, first codec.Index, data ...[]byte) {
			f := makeFrame(t, 1, codec.LeaderID{Term: 1}, first, kindOf, data...)
			h.kind, h.seq = k, h.seq+1
			b.add(&h, f.Bytes(), f.Checksum())
		}
		m := codec.NewMembership(codec.SeveralLeadersPerTerm, codec.Node{ID: 7, Address: "a:1"})
		member := codec.AppendMembership(nil, &m)
		frame(kindFrame, codec.EntryNormal, 11, make([][]byte, 5)...)
		frame(kindFrame, codec.EntryMembership, 16, member)
		frame(kindMovedFrame, codec.EntryNormal, 1, make([][]byte, 9)...)
		frame(kindMovedFrame, codec.EntryMembership, 10, member)
		if c.add != nil {
			h.seq++
			c.add(&b, &h)
		}
		for _, s := range b.records {
			r, err := readRecord(b.bytes[s.start:s.end], 0)
			if err == nil {
				err = bk.replay(&r)
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if err := bk.finish(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var got []codec.Index
		for _, m := range bk.group(1).state(true).Memberships {
			got = append(got, m.ID.Index)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: memberships at %v, want %v", name, got, c.want)
		}
	}
}
