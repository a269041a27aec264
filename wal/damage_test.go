package wal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/millrace/millrace/codec"
)

// session writes a log with one batch per write and closes it, and returns what it should hold.
func session(t testing.TB, p place, writes, size int) *driver {
	t.Helper()
	l := p.mustOpen(t)
	d, _ := drive(t, l, 1)
	for range writes {
		d.must(d.append(2, size))
	}
	mustClose(t, l)
	return d
}

// unseal removes the seal, as if the process had ended without one.
func unseal(t testing.TB, p place) {
	t.Helper()
	tail := p.tail(t)
	b := p.read(t, tail)
	starts := recordStarts(t, b)
	p.write(t, tail, b[:starts[len(starts)-2]])
}

// usable opens a log that holds a model's first entries, writes one more, and reopens it.
func usable(t testing.TB, p place, model *driver, atLeast int) (held int) {
	t.Helper()
	l := p.mustOpen(t)
	state, entries := entriesOf(t, l, model.id)
	if len(entries) < atLeast || len(entries) > len(model.entries) || !sameEntries(entries, model.entries[:len(entries)]) {
		t.Fatalf("holds %d entries, want the first %d or more of %d", len(entries), atLeast, len(model.entries))
	}
	if state.CleanClose {
		t.Fatal("clean after a repair")
	}
	d := &driver{t: t, id: 2, flushed: newAwaiter(), leader: model.leader}
	d.g, _ = openGroup(t, l, 2, d.flushed.flushed)
	d.must(d.append(1, 10))
	mustClose(t, l)
	l = p.mustOpen(t)
	if state, _ := entriesOf(t, l, 2); len(state.Frames) != 1 || !state.CleanClose {
		t.Fatalf("after the repair: %+v", state)
	}
	if _, again := entriesOf(t, l, 1); !sameEntries(again, entries) {
		t.Fatal("entries changed")
	}
	mustClose(t, l)
	return len(entries)
}

// W1: the last record cut at every byte.
func TestDamageLastRecordCutAtEveryByte(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		model := session(t, p, 3, 20)
		unseal(t, p)
		before, tail := p.image(t), p.tail(t)
		whole := before[tail]
		starts := recordStarts(t, whole)
		last := starts[len(starts)-2]
		for cut := last; cut < len(whole); cut++ {
			p.restore(t, before)
			p.write(t, tail, whole[:cut])
			if held := usable(t, p, model, 4); held != 4 {
				t.Fatalf("cut at %d: %d entries held, want 4", cut, held)
			}
			broken := p.image(t).broken()
			if cut > last != (len(broken) == 1) {
				t.Fatalf("cut at %d: kept aside %d files", cut, len(broken))
			}
			for name, b := range broken {
				if !bytes.Equal(b, whole[last:cut]) {
					t.Fatalf("cut at %d: %s holds %d bytes, want the %d that were cut", cut, name, len(b), cut-last)
				}
			}
		}
	})
}

// W2, T3: a tail of zeros, ones or noise.
func TestDamageTailOfZerosOrNoise(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		model := session(t, p, 3, 20)
		original := p.image(t)
		for _, sealed := range []bool{true, false} {
			p.restore(t, original)
			if !sealed {
				unseal(t, p)
			}
			before, tail := p.image(t), p.tail(t)
			r := rand.New(rand.NewPCG(1, 2))
			for _, size := range []int{1, 2, 35, 36, 37, 512, 1 << 10, 4 << 10, 64 << 10} {
				for fill := range 3 {
					junk := make([]byte, size)
					for i := range junk {
						switch fill {
						case 1:
							junk[i] = byte(r.Uint32())
						case 2:
							junk[i] = recordVersion
						}
					}
					p.restore(t, before)
					p.write(t, tail, append(bytes.Clone(before[tail]), junk...))
					if held := usable(t, p, model, 6); held != 6 {
						t.Fatalf("%d entries held, want 6", held)
					}
				}
			}
		}
	})
}

// W3, T1: every bit of a filled segment, and of the last one with its seal, flipped in turn.
func TestDamageEveryBitFlipped(t *testing.T) {
	p := places(t)[1] // the bytes are those of the other form (see TestAppendersWriteTheSameBytes), and 60,000 opens are many
	model := session(t, p, 20, 100)
	before := p.image(t)
	segments := p.segments(t)
	if len(segments) != 2 {
		t.Fatalf("%d segments, want 2", len(segments))
	}
	step := 1
	if testing.Short() {
		step = 13
	}
	refused, sealLost := 0, 0
	for n, name := range segments {
		starts := recordStarts(t, before[name])
		b := bytes.Clone(before[name])
		for bit := 0; bit < 8*len(b); bit += step {
			b[bit/8] ^= 1 << (bit % 8)
			p.write(t, name, b)
			l, err := p.open()
			b[bit/8] ^= 1 << (bit % 8)
			if err != nil {
				if !errors.Is(err, codec.ErrCorrupt) || !strings.Contains(err.Error(), segments[n]) {
					t.Fatalf("bit %d of %s: %v, want ErrCorrupt with the file", bit, name, err)
				}
				refused++
				continue
			}
			state, entries := entriesOf(t, l, 1)
			mustClose(t, l)
			if n != 1 || bit/8 < starts[len(starts)-2] || state.CleanClose || !sameEntries(entries, model.entries) {
				t.Fatalf("bit %d of byte %d of %s accepted: clean %v, %d of %d entries", bit%8, bit/8, name,
					state.CleanClose, len(entries), len(model.entries))
			}
			sealLost++
			p.restore(t, before)
		}
		p.write(t, name, before[name])
	}
	t.Logf("flipped %d bits: %d refused as damage, %d in the seal itself, noticed as an unclean close", refused+sealLost, refused, sealLost)
	if refused == 0 || sealLost == 0 {
		t.Fatal("nothing was injected")
	}
}

// W4: a bad record followed by good ones is damage, refused without touching a byte.
func TestDamageBadRecordBeforeGoodOnes(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		session(t, p, 6, 30)
		unseal(t, p)
		before, tail := p.image(t), p.tail(t)
		starts := recordStarts(t, before[tail])
		for n, damage := range map[string]func(b []byte){
			"zeros":  func(b []byte) { clear(b) },
			"sector": func(b []byte) { clear(b[len(b)/2:]) },
			"length": func(b []byte) { b[0] ^= 0x40 },
			"data":   func(b []byte) { b[len(b)-1] ^= 1 },
		} {
			for i := range len(starts) - 3 { // the last batch proves none of itself
				p.restore(t, before)
				b := bytes.Clone(before[tail])
				damage(b[starts[i]:starts[i+1]])
				p.write(t, tail, b)
				damagedImage := p.image(t)
				_, err := p.open()
				if !errors.Is(err, codec.ErrCorrupt) || !strings.Contains(err.Error(), fmt.Sprintf("%s at offset %d", tail, starts[i])) {
					t.Fatalf("%s of record %d: %v", n, i, err)
				}
				if err := damagedImage.equal(p.image(t)); err != nil {
					t.Fatalf("%s of record %d: refused, but %v", n, i, err)
				}
			}
		}
	})
}

// A torn batch may have good records behind the bad one: none of them was acknowledged, all are cut.
func TestDamageTornInsideABatch(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		l := p.mustOpen(t)
		a, _ := drive(t, l, 1)
		a.must(a.append(2, 30))
		blockWriter(l, func() {
			for range 5 {
				a.append(1, 30)
			}
		})
		a.must(a.seq)
		mustClose(t, l)
		unseal(t, p)
		before, tail := p.image(t), p.tail(t)
		starts := recordStarts(t, before[tail])
		first := len(starts) - 6
		for i := first; i < first+5; i++ {
			p.restore(t, before)
			b := bytes.Clone(before[tail])
			clear(b[starts[i]:starts[i+1]])
			p.write(t, tail, b)
			if held := usable(t, p, a, 2); held != 2+i-first {
				t.Fatalf("%d entries held, want %d", held, 2+i-first)
			}
		}
	})
}

// blockWriter keeps the writer from reporting a first batch until put has queued a second.
func blockWriter(l *Log, put func()) {
	entered, release := make(chan struct{}), make(chan struct{})
	l.RememberPeer(1000, codec.Incarnation{1}, func(error) { close(entered); <-release })
	<-entered
	put()
	close(release)
}

// three builds a log of at least three segments and returns it as an image.
func three(t *testing.T, p place) (model *driver, before image, segments []string) {
	model = session(t, p, 30, 150)
	before, segments = p.image(t), p.segments(t)
	if len(segments) < 3 {
		t.Fatalf("%d segments, want 3", len(segments))
	}
	return model, before, segments
}

// W10, T9: a middle segment missing, short, swapped, or from another log.
func TestDamageMiddleSegment(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		_, before, segments := three(t, p)
		other := places(t)[1]
		_, otherImage, otherSegments := three(t, other)
		starts := recordStarts(t, before[segments[1]])
		for name, change := range map[string]func(){
			"missing":         func() { remove(t, p, segments[1]) },
			"first missing":   func() { remove(t, p, segments[0]) },
			"empty":           func() { p.write(t, segments[1], nil) },
			"short by bytes":  func() { p.write(t, segments[1], before[segments[1]][:starts[len(starts)-1]-3]) },
			"short by record": func() { p.write(t, segments[1], before[segments[1]][:starts[len(starts)-2]]) },
			"swapped":         func() { p.write(t, segments[1], before[segments[0]]); p.write(t, segments[0], before[segments[1]]) },
			"repeated":        func() { p.write(t, segments[1], before[segments[0]]) },
			"foreign middle":  func() { p.write(t, segments[1], otherImage[otherSegments[1]]) },
			"foreign last":    func() { p.write(t, segments[len(segments)-1], otherImage[otherSegments[len(segments)-1]]) },
			"foreign extra":   func() { p.write(t, segmentName(p.folder(), 1<<40), otherImage[otherSegments[1]]) },
			"all missing": func() {
				for _, s := range segments {
					remove(t, p, s)
				}
			},
			"identity missing": func() { remove(t, p, p.cfg.Dir+"/"+identityName) },
			"of tidwall":       func() { p.write(t, segments[1]+".START", before[segments[1]]) },
		} {
			p.restore(t, before)
			change()
			damagedImage := p.image(t)
			l, err := p.open()
			if err == nil {
				_ = l.Close()
				t.Fatalf("%s: opened", name)
			}
			if !errors.Is(err, codec.ErrCorrupt) || !strings.Contains(err.Error(), p.cfg.Dir) {
				t.Errorf("%s: %v", name, err)
			}
			if err := damagedImage.equal(p.image(t)); err != nil {
				t.Errorf("%s: refused, but %v", name, err)
			}
			p.restore(t, before)
			mustClose(t, p.mustOpen(t))
		}
	})
}

func remove(t testing.TB, p place, name string) {
	t.Helper()
	if err := p.fs.Remove(name); err != nil {
		t.Fatal(err)
	}
}

// W9: segments that a repair had moved aside come back. They are recognised by their chain and discarded.
func TestDamageOldSegmentReappears(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		l := p.mustOpen(t)
		a, _ := drive(t, l, 1)
		for range 8 {
			a.must(a.append(1, 150))
		}
		acked := len(a.entries)
		blockWriter(l, func() {
			for range 60 {
				a.append(1, 150)
			}
		})
		a.must(a.seq)
		mustClose(t, l)
		unseal(t, p)
		segments := p.segments(t)
		if len(segments) < 3 {
			t.Fatalf("%d segments", len(segments))
		}
		// The power cut took the first record of the batch: the rest of it, two segments and more, is discarded.
		old := p.image(t)
		b := bytes.Clone(old[segments[0]])
		starts := recordStarts(t, b)
		clear(b[starts[acked+2]:]) // behind the opening, the entries and the peer
		p.write(t, segments[0], b)
		if held := usable(t, p, a, acked); held != acked {
			t.Fatalf("%d entries held, want %d", held, acked)
		}
		model := &driver{t: t, id: 1, leader: a.leader, entries: a.entries[:acked]}
		// Another life fills segments of its own, with other bounds.
		l = p.mustOpen(t)
		openInto(model, l)
		model.leader.Term = 5
		for range 30 {
			model.must(model.append(1, 211))
		}
		mustClose(t, l)
		now := p.image(t)
		injected := 0
		for _, seg := range segments[1:] {
			if _, taken := now[seg]; taken {
				continue
			}
			injected++
			p.restore(t, now)
			p.write(t, seg, old[seg])
			l = p.mustOpen(t)
			if _, entries := entriesOf(t, l, 1); !sameEntries(entries, model.entries) {
				t.Fatalf("%s came back: %d entries, want %d", seg, len(entries), len(model.entries))
			}
			mustClose(t, l)
			if broken := p.image(t).broken(); len(broken) != len(now.broken())+1 {
				t.Fatalf("%s was not moved aside", seg)
			}
			mustClose(t, p.mustOpen(t))
		}
		if injected == 0 {
			t.Fatal("nothing was injected")
		}
	})
}

func openInto(d *driver, l nodeLog) codec.LogState {
	d.flushed, d.seq = newAwaiter(), 0
	g, state := openGroup(d.t, l, d.id, d.flushed.flushed)
	d.g = g
	return state
}

// A record that is whole and can't follow is damage even at the very end: a torn write does not make one.
func TestDamageReplayNeverInfers(t *testing.T) {
	frame := func(first codec.Index) func(*batch, *header) {
		f := makeFrame(t, 1, codec.LeaderID{Term: 1, Node: 7}, first, codec.EntryNormal, []byte("x"))
		return func(b *batch, h *header) { h.kind = kindFrame; b.add(h, f.Bytes(), f.Checksum()) }
	}
	small := func(k kind, payload []byte) func(*batch, *header) {
		return func(b *batch, h *header) { h.kind = k; b.add(h, payload, codec.Checksum(payload)) }
	}
	base := func(term codec.Term, i codec.Index) []byte {
		return appendBase(nil, 1, begin(codec.LogID{Leader: codec.LeaderID{Term: term, Node: 7}, Index: i}))
	}
	badBase := base(1, 6)
	badBase[8]++
	badVote := appendVote(nil, 1, codec.Vote{})
	badVote[24] = 7
	badMember := makeFrame(t, 1, codec.LeaderID{Term: 1, Node: 7}, 7, codec.EntryMembership, []byte{1, 1, 0})
	for name, c := range map[string]struct {
		add  func(*batch, *header)
		want error
	}{
		"gap":                 {frame(8), codec.ErrCorrupt},
		"overlap":             {frame(6), codec.ErrCorrupt},
		"truncate beyond":     {small(kindTruncate, appendIndex(nil, 1, 7)), codec.ErrCorrupt},
		"purge beyond":        {small(kindPurge, base(1, 7)), codec.ErrCorrupt},
		"purge inside":        {small(kindPurge, base(1, 5)), codec.ErrCorrupt},
		"purge again":         {small(kindPurge, base(1, 2)), codec.ErrCorrupt},
		"purge of another id": {small(kindPurge, base(2, 6)), codec.ErrCorrupt},
		"jump back":           {small(kindJump, base(1, 2)), codec.ErrCorrupt},
		"base cut short":      {small(kindJump, base(1, 9)[:33]), codec.ErrCorrupt},
		"base without room":   {small(kindJump, base(1, 9)[:7]), codec.ErrCorrupt},
		"base of nothing":     {small(kindJump, appendBase(nil, 1, &codec.LogBase{})), codec.ErrCorrupt},
		"base and more":       {small(kindJump, append(base(1, 9), 0)), codec.ErrCorrupt},
		"base of later days":  {small(kindPurge, badBase), codec.ErrVersion},
		"truncate below":      {small(kindTruncate, appendIndex(nil, 1, 1)), codec.ErrCorrupt},
		"vote flag":           {small(kindVote, badVote), codec.ErrCorrupt},
		"membership":          {func(b *batch, h *header) { h.kind = kindFrame; b.add(h, badMember.Bytes(), badMember.Checksum()) }, codec.ErrCorrupt},
		"unknown kind":        {small(kindEnd, []byte("news")), codec.ErrVersion},
	} {
		p := places(t)[1]
		l := p.mustOpen(t)
		d, _ := drive(t, l, 1)
		for range 3 {
			d.append(2, 20)
		}
		d.must(d.purge(2))
		mustClose(t, l)
		tail := p.tail(t)
		b := p.read(t, tail)
		s, err := scanLog(p.fs, p.cfg.Dir, mustIdentity(t, p))
		if err != nil {
			t.Fatal(err)
		}
		var extra batch
		c.add(&extra, &header{log: s.log, previous: s.crc, seq: s.last + 1, durable: s.last})
		p.write(t, tail, append(b, extra.bytes...))
		before := p.image(t)
		if _, err := p.open(); !errors.Is(err, c.want) || !strings.Contains(err.Error(), fmt.Sprintf("%s at offset %d", tail, len(b))) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if err := before.equal(p.image(t)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A record of this log, whole and with the right sequence, but of another life: as when a write went to the wrong place,
// or an old version of a sector is read back. Only the chain tells. In the middle it is damage; at the end it is cut.
func TestDamageRecordOfAnotherLife(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		model := session(t, p, 6, 30)
		unseal(t, p)
		before, tail := p.image(t), p.tail(t)
		starts := recordStarts(t, before[tail])
		for i := 1; i < len(starts)-1; i++ {
			r, err := readRecord(before[tail][starts[i]:], mustIdentity(t, p))
			if err != nil {
				t.Fatal(err)
			}
			var other batch
			h := r.header
			h.previous++
			other.add(&h, r.payload, r.frame.Checksum())
			b := bytes.Clone(before[tail])
			copy(b[starts[i]:], other.bytes)
			p.restore(t, before)
			p.write(t, tail, b)
			if last := i == len(starts)-2; last {
				usable(t, p, model, 2*(i-1))
				h := r.header // the same for one that claims less to be durable than the one before
				h.durable = 0
				other.reset(0)
				other.add(&h, r.payload, r.frame.Checksum())
				copy(b[starts[i]:], other.bytes)
				p.restore(t, before)
				p.write(t, tail, b)
				if held := usable(t, p, model, 2*(i-1)); held != 2*(i-1) {
					t.Fatalf("%d entries held, want %d", held, 2*(i-1))
				}
				continue
			}
			if _, err := p.open(); !errors.Is(err, codec.ErrCorrupt) || !strings.Contains(err.Error(), fmt.Sprintf("%s at offset %d", tail, starts[i])) {
				t.Fatalf("record %d: %v", i, err)
			}
		}
	})
}

func mustIdentity(t testing.TB, p place) uint32 {
	t.Helper()
	id, found, err := readIdentity(p.fs, &p.cfg)
	if err != nil || !found {
		t.Fatal(found, err)
	}
	return id.fingerprint()
}
