package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace/millrace/codec"
)

// reclaimed writes a log of two groups whose first segments are gone and closes it. What group 2 holds was moved. It returns
// the groups, and for each segment that was ever there its bytes when the next was begun, and for each mark its bytes.
func reclaimed(t *testing.T, p place) (model []*driver, segments image, marks [][]byte) {
	t.Helper()
	l := p.mustOpen(t)
	busy, _ := drive(t, l, 1)
	lags, _ := drive(t, l, 2)
	lags.submit(codec.LogWrite{HasVote: true, Vote: codec.Vote{Leader: lags.leader}})
	lags.append(3, 100)
	lags.must(lags.purge(3))
	lags.append(4, 50)
	lags.must(lags.append(2, 200))
	segments = image{}
	mark := filepath.Join(p.cfg.Dir, frontName)
	for range 20_000 {
		if s := l.Stats(); s.ReclaimedSegments >= 8 && s.MovedRecords >= 3 && len(marks) >= 2 {
			break
		}
		busy.must(busy.append(1, 700))
		if n := len(busy.entries); n%3 == 0 {
			busy.must(busy.purge(busy.last() - 1))
		}
		for name, b := range present(p) {
			switch {
			case name == mark && (len(marks) == 0 || !bytes.Equal(marks[len(marks)-1], b)):
				marks = append(marks, b)
			case filepath.Dir(name) == p.folder() && len(b) >= len(segments[name]):
				segments[name] = b
			}
		}
	}
	s := l.Stats()
	mustClose(t, l)
	if s.ReclaimedSegments < 8 || s.MovedRecords < 3 || len(marks) < 2 {
		t.Fatalf("%d marks, %+v", len(marks), s)
	}
	return []*driver{busy, lags}, segments, marks
}

// present is every file that can be read: some may go at this moment.
func present(p place) image {
	out := image{}
	for _, dir := range []string{p.cfg.Dir, p.folder()} {
		names, err := p.fs.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, n := range names {
			if b, err := readAll(p, filepath.Join(dir, n)); err == nil && n != lockName {
				out[filepath.Join(dir, n)] = b
			}
		}
	}
	return out
}

func refused(t *testing.T, p place, what string, want ...string) {
	t.Helper()
	before := p.image(t)
	l, err := p.open()
	if err == nil {
		_ = l.Close()
		t.Errorf("%s: opened", what)
		return
	}
	if !errors.Is(err, codec.ErrCorrupt) && !errors.Is(err, codec.ErrVersion) {
		t.Errorf("%s: %v, want damage", what, err)
	}
	for _, part := range want {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %v, want %q", what, err, part)
		}
	}
	if err := before.equal(p.image(t)); err != nil {
		t.Errorf("%s: refused, but %v", what, err)
	}
}

func holds(t *testing.T, p place, model []*driver, clean bool) {
	t.Helper()
	l := p.mustOpen(t)
	for _, d := range model {
		state := d.reopen(l)
		d.checkState(state)
		d.check(d.read)
		if state.CleanClose != clean {
			t.Errorf("group %d: clean %v, want %v", d.id, state.CleanClose, clean)
		}
	}
	mustClose(t, l)
}

// A log that begins later than with its first record needs the mark that says so, and just that one; the file and the offset
// are told.
func TestDamageOfTheFront(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		model, _, marks := reclaimed(t, p)
		mark := filepath.Join(p.cfg.Dir, frontName)
		holds(t, p, model, true)
		before, segments := p.image(t), p.segments(t)
		restore := func() { p.restore(t, before) }
		other := places(t)[1]
		_, _, foreign := reclaimed(t, other)

		remove(t, p, mark)
		refused(t, p, "no mark", segmentName(p.folder(), 1), "offset 0", "missing")
		p.write(t, mark, marks[0])
		refused(t, p, "an older mark", "first segment behind record", "missing")
		p.write(t, mark, foreign[len(foreign)-1])
		refused(t, p, "a foreign mark", mark, "offset 0")
		p.write(t, mark, nil)
		refused(t, p, "an empty mark", mark, "offset 0")
		b := bytes.Clone(before[mark])
		b[4]++
		p.write(t, mark, b)
		refused(t, p, "a damaged mark", mark, "checksum")
		b = binary.LittleEndian.AppendUint32(b[:len(b)-4], codec.Checksum(b[:len(b)-4]))
		p.write(t, mark, b)
		refused(t, p, "a later mark", mark, "version 2")
		restore()
		remove(t, p, segments[0])
		refused(t, p, "first segment missing", segments[0], "offset 0", "missing")
		restore()
		remove(t, p, filepath.Join(p.cfg.Dir, identityName))
		for _, s := range segments {
			remove(t, p, s)
		}
		refused(t, p, "nothing but a mark", identityName)
		restore()
		holds(t, p, model, true)
	})
}

// What the mark says was durable is never cut as a torn tail: a log that ends before it is damaged, even where nothing else
// tells.
func TestDamageBelowTheMark(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		reclaimed(t, p)
		before := p.image(t)
		f, err := parseFront(before[filepath.Join(p.cfg.Dir, frontName)], mustIdentity(t, p))
		if err != nil {
			t.Fatal(err)
		}
		refusedCuts := 0
		for name, b := range before {
			if filepath.Dir(name) != p.folder() {
				continue
			}
			starts := recordStarts(t, b)
			for i, at := range starts[:len(starts)-1] {
				r, err := readRecord(b[at:], mustIdentity(t, p))
				if err != nil {
					t.Fatal(err)
				}
				if r.seq > f.durable {
					continue
				}
				// Everything from this record on is gone, but for the first byte of it.
				for other := range before {
					if filepath.Dir(other) == p.folder() && other > name {
						remove(t, p, other)
					}
				}
				for _, left := range []int{at, at + 1} {
					p.write(t, name, b[:left])
					refused(t, p, fmt.Sprintf("log ends before record %d", r.seq), name, fmt.Sprintf("at offset %d", at), frontName)
					refusedCuts++
				}
				p.restore(t, before)
				if i > 3 {
					break
				}
			}
		}
		if refusedCuts < 4 {
			t.Fatalf("%d cuts", refusedCuts)
		}
	})
}

// W9: segments that were reclaimed come back, one or all of them, whole or in part. They are removed again. A file of another
// log in their place is refused.
func TestDamageReclaimedSegmentReappears(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		model, segments, _ := reclaimed(t, p)
		holds(t, p, model, true)
		before := p.image(t)
		var gone []string
		for name := range segments {
			if _, there := before[name]; !there {
				gone = append(gone, name)
			}
		}
		if len(gone) < 4 {
			t.Fatalf("%d segments are gone", len(gone))
		}
		back := func(what string, names []string, change func([]byte) []byte) {
			t.Helper()
			p.restore(t, before)
			for _, name := range names {
				p.write(t, name, change(bytes.Clone(segments[name])))
			}
			holds(t, p, model, true)
			now := p.image(t)
			for _, name := range names {
				if _, there := now[name]; there {
					t.Errorf("%s: %s is still there", what, name)
				}
			}
			if len(now.broken()) > 0 {
				t.Errorf("%s: something was kept aside", what)
			}
		}
		whole := func(b []byte) []byte { return b }
		for _, name := range gone {
			back("one", []string{name}, whole)
		}
		back("all", gone, whole)
		back("half", gone, func(b []byte) []byte { return b[:len(b)/2] })
		back("empty", gone, func([]byte) []byte { return nil })
		back("flipped", gone, func(b []byte) []byte { b[40] ^= 1; return b })
		other := places(t)[1]
		_, foreign, _ := reclaimed(t, other)
		p.restore(t, before)
		p.write(t, gone[0], foreign[segmentName(other.folder(), 1)])
		refused(t, p, "a foreign one", gone[0], "offset 0")
	})
}

// W3: every bit of a log whose first segments are gone, the mark included, flipped in turn.
func TestDamageEveryBitOfAReclaimedLog(t *testing.T) {
	p := places(t)[1]
	model, _, _ := reclaimed(t, p)
	before := p.image(t)
	step := 5
	if testing.Short() {
		step = 61
	}
	names := append(p.segments(t), filepath.Join(p.cfg.Dir, frontName))
	flips, sealLost := 0, 0
	for _, name := range names {
		b := bytes.Clone(before[name])
		for bit := 0; bit < 8*len(b); bit += step {
			flips++
			b[bit/8] ^= 1 << (bit % 8)
			p.write(t, name, b)
			l, err := p.open()
			b[bit/8] ^= 1 << (bit % 8)
			if err != nil {
				if !errors.Is(err, codec.ErrCorrupt) || !strings.Contains(err.Error(), name) {
					t.Fatalf("bit %d of %s: %v, want ErrCorrupt with the file", bit, name, err)
				}
				continue
			}
			for _, d := range model {
				state := d.reopen(l)
				d.checkState(state)
				if state.CleanClose {
					t.Fatalf("bit %d of %s accepted", bit, name)
				}
			}
			mustClose(t, l)
			sealLost++
			p.restore(t, before)
		}
		p.write(t, name, before[name])
	}
	holds(t, p, model, true)
	if sealLost > headerSize*8+8 || flips < 200 {
		t.Fatalf("%d bits flipped, %d of them in the seal", flips, sealLost)
	}
	t.Logf("flipped %d bits, %d of them in the seal itself", flips, sealLost)
}

// A mark that is whole and does not fit its log: what it says was held in the front must be found.
func TestDamageOfAMarkThatLies(t *testing.T) {
	p := places(t)[1]
	model, _, _ := reclaimed(t, p)
	mark := filepath.Join(p.cfg.Dir, frontName)
	log := mustIdentity(t, p)
	before := p.image(t)
	lie := func(change func(f *front)) {
		f, err := parseFront(before[mark], log)
		if err != nil {
			t.Fatal(err)
		}
		change(f)
		p.write(t, mark, f.append(nil, log))
	}
	find := func(f *front, id codec.GroupID) *frontGroup {
		for i := range f.groups {
			if f.groups[i].id == id {
				return &f.groups[i]
			}
		}
		t.Fatalf("group %d is not in %+v", id, f.groups)
		return nil
	}
	for what, c := range map[string]struct {
		change func(f *front)
		want   string
	}{
		"a vote too many":      {func(f *front) { find(f, 1).voted = true }, "group 1: its vote"},
		"a vote too few":       {func(f *front) { find(f, 2).voted = false }, "moved vote"},
		"entries too many":     {func(f *front) { find(f, 2).last++ }, "entries"},
		"entries too few":      {func(f *front) { find(f, 2).last-- }, "group 2"},
		"a busy group's end":   {func(f *front) { find(f, 1).last-- }, "frame of group 1"},
		"a base too low":       {func(f *front) { find(f, 2).base-- }, "moved-base of group 2"},
		"a group too many":     {func(f *front) { f.groups = append(f.groups, frontGroup{id: 9, bounds: bounds{3, 3}}) }, "group 9: its base"},
		"a group too few":      {func(f *front) { f.groups = f.groups[:len(f.groups)-1] }, "group 2"},
		"another chain":        {func(f *front) { f.crc++ }, "follows checksum"},
		"more that is durable": {func(f *front) { f.durable = 1 << 40 }, "the log ends with record"},
	} {
		lie(c.change)
		refused(t, p, what, p.cfg.Dir, c.want)
		p.restore(t, before)
	}
	holds(t, p, model, true)
}

// A moved record that is whole and changes what the log holds is damage.
func TestDamageMovedRecordsChangeNothing(t *testing.T) {
	leader := codec.LeaderID{Term: 1, Node: 7}
	frame := func(group codec.GroupID, leader codec.LeaderID, first codec.Index, n int) func(*batch, *header) {
		f := makeFrame(t, group, leader, first, codec.EntryNormal, make([][]byte, n)...)
		return func(b *batch, h *header) { h.kind = kindMovedFrame; b.add(h, f.Bytes(), f.Checksum()) }
	}
	small := func(k kind, payload []byte) func(*batch, *header) {
		return func(b *batch, h *header) { h.kind = k; b.add(h, payload, codec.Checksum(payload)) }
	}
	base := func(group codec.GroupID, term codec.Term, i codec.Index) []byte {
		return appendBase(nil, group, &codec.LogBase{ID: codec.LogID{Leader: codec.LeaderID{Term: term, Node: 7}, Index: i}})
	}
	flagged := appendMovedVote(nil, 2, codec.Vote{Leader: leader}, true)
	flagged[25] = 2
	for _, front := range []bool{false, true} {
		p := places(t)[1]
		var last codec.Index // of group 2
		if front {
			model, _, _ := reclaimed(t, p)
			last = model[1].last()
		} else {
			l := p.mustOpen(t)
			d, _ := drive(t, l, 2)
			d.submit(codec.LogWrite{HasVote: true, Vote: codec.Vote{Leader: leader}})
			d.append(3, 10)
			d.purge(3)
			d.append(4, 0)
			last = 7
			d.must(d.append(2, 0))
			last += 2
			mustClose(t, l)
		}
		before := p.image(t)
		tail := p.tail(t)
		for what, add := range map[string]func(*batch, *header){
			"frame of an unknown group": frame(9, leader, 1, 1),
			"frame below":               frame(2, leader, 3, 1),
			"frame behind":              frame(2, leader, last+1, 1),
			"frame that is longer":      frame(2, leader, 4, 5),
			"frame that is shorter":     frame(2, leader, 4, 3),
			"frame in the middle":       frame(2, leader, 5, 3),
			"frame of another leader":   frame(2, codec.LeaderID{Term: 2, Node: 7}, 4, 4),
			"vote of an unknown group":  small(kindMovedVote, appendMovedVote(nil, 9, codec.Vote{Leader: leader}, false)),
			"another vote":              small(kindMovedVote, appendMovedVote(nil, 2, codec.Vote{Leader: leader, Committed: true}, false)),
			"vote flag":                 small(kindMovedVote, flagged),
			"another base":              small(kindMovedBase, base(2, 1, 7)),
			"another leader's base":     small(kindMovedBase, base(2, 2, 3)),
			"base of an unknown group":  small(kindMovedBase, base(9, 1, 3)),
		} {
			s, err := scanLog(p.fs, p.cfg.Dir, mustIdentity(t, p))
			if err != nil {
				t.Fatal(err)
			}
			var extra batch
			add(&extra, &header{log: s.log, previous: s.crc, seq: s.last + 1, durable: s.last})
			p.write(t, tail, append(bytes.Clone(before[tail]), extra.bytes...))
			if front { // for what is owed the mark answers
				refused(t, p, what, "damaged: file "+p.cfg.Dir)
			} else {
				refused(t, p, what, tail, fmt.Sprintf("at offset %d", len(before[tail])))
			}
			p.restore(t, before)
		}
	}
}
