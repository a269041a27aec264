package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

// FuzzRecord: any bytes are a record or an error, never a panic; and a record that reads back is the one written.
func FuzzRecord(f *testing.F) {
	log, b := sampleRecords(f)
	for _, r := range b.records {
		f.Add(b.bytes[r.start:r.end])
	}
	f.Add(make([]byte, 100))
	f.Fuzz(func(t *testing.T, src []byte) {
		r, err := readRecord(src, log)
		if err != nil {
			if !errors.Is(err, codec.ErrCorrupt) && !errors.Is(err, codec.ErrVersion) {
				t.Fatalf("%v is neither damage nor a version", err)
			}
			return
		}
		var again batch
		crc := codec.Checksum(r.payload)
		if r.kind.framed() {
			crc = r.frame.Checksum()
		}
		h := r.header
		again.add(&h, r.payload, crc)
		if !bytes.Equal(again.bytes, src[:r.size]) {
			t.Fatalf("%x reads as a record that writes as %x", src[:r.size], again.bytes)
		}
		bk := newBook()
		bk.begin(segment{first: 1})
		if err := bk.replay(&r); err != nil && !errors.Is(err, codec.ErrCorrupt) && !errors.Is(err, codec.ErrVersion) {
			t.Fatal(err)
		}
	})
}

// FuzzFront: any bytes are a mark or an error, and a mark is written as it was read.
func FuzzFront(f *testing.F) {
	mark := front{last: 7, crc: 9, durable: 12, groups: []frontGroup{{id: 1, bounds: bounds{2, 5}, voted: true}, {id: 4}}}
	f.Add(mark.append(nil, 77), false)
	f.Add([]byte(frontMagic), true)
	f.Fuzz(func(t *testing.T, src []byte, seal bool) {
		if seal && len(src) >= 4 { // give it the checksum that it needs to get any further
			src = binary.LittleEndian.AppendUint32(src, codec.Checksum(src))
		}
		got, err := parseFront(src, 77)
		if err != nil {
			if !errors.Is(err, codec.ErrCorrupt) && !errors.Is(err, codec.ErrVersion) {
				t.Fatalf("%v is neither damage nor a version", err)
			}
			return
		}
		if again := got.append(nil, 77); !bytes.Equal(again, src) {
			t.Fatalf("%x reads as a mark that writes as %x", src, again)
		}
	})
}

// FuzzOpenDamaged: a log with bytes overwritten, cut or added opens with a part of what it held, in order, or is refused
// as damaged with its files unchanged.
func FuzzOpenDamaged(f *testing.F) {
	f.Add(uint16(40), uint16(0xFFFF), []byte{1})
	f.Add(uint16(300), uint16(300), []byte{})
	f.Add(uint16(5000), uint16(5000), make([]byte, 600))
	disk, cfg, model := damageable(f)
	f.Fuzz(func(t *testing.T, at, cut uint16, junk []byte) {
		mem := disk.Crash(vfs.KeepAll())
		p := place{fs: mem, cfg: cfg, open: func() (*Log, error) {
			return OpenSimulation(cfg, Simulation{FS: mem, Manual: true})
		}}
		segments := p.segments(t)
		name := segments[int(at>>12)%len(segments)]
		b := p.read(t, name)
		offset := int(at&0xFFF) % (len(b) + 1)
		b = append(b[:offset], append(bytes.Clone(junk), b[min(len(b), offset+len(junk)):]...)...)
		p.write(t, name, b[:min(len(b), int(cut))])
		before := p.image(t)
		l, err := p.open()
		if err != nil {
			if !errors.Is(err, codec.ErrCorrupt) && !errors.Is(err, codec.ErrVersion) {
				t.Fatalf("%v is neither damage nor a version", err)
			}
			if err := before.equal(p.image(t)); err != nil {
				t.Fatalf("refused, but %v", err)
			}
			return
		}
		g, state, err := l.Group(1, func(uint64, error) {})
		if err != nil {
			t.Fatal(err)
		}
		now, err := readState(l, g, &state)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(now.entries); n > len(model) || !sameEntries(now.entries, model[:n]) {
			t.Fatalf("%d entries that were never written", n)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if l, err = p.open(); err != nil {
			t.Fatalf("the second opening: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// damageable returns a disk with a log of several segments and the entries it holds.
func damageable(t testing.TB) (*vfs.Mem, Config, []codec.Entry) {
	t.Helper()
	mem, cfg := vfs.NewMem(), testConfig("node")
	l, err := OpenSimulation(cfg, Simulation{FS: mem, Random: bytes.NewReader(make([]byte, 16)), Manual: true})
	if err != nil {
		t.Fatal(err)
	}
	p := &promises{id: 1, term: 1, states: []groupState{{}}, at: map[uint64]int{}}
	if p.group, _, err = l.Group(1, p.flushed); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		p.append(1+i%3, 60)
		l.Pump()
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return mem.Crash(vfs.KeepAll()), cfg, p.now().entries
}

// FuzzOperations: sequences of writes, truncations, votes, reads, flushes, kills, power cuts and clean closes against a
// plain slice.
func FuzzOperations(f *testing.F) {
	f.Add([]byte{0, 3, 0, 200, 9, 0, 1, 2, 9, 0, 4, 9, 10, 1, 0, 1, 9, 0, 11, 0})
	f.Add([]byte{0, 255, 0, 255, 0, 255, 0, 255, 9, 0, 2, 7, 8, 3, 12, 3, 3, 0, 11, 0, 0, 9, 9, 0, 13, 77})
	f.Add([]byte{0, 9, 0, 77, 9, 0, 5, 5, 0, 3, 9, 0, 11, 0, 6, 6, 0, 8, 2, 4, 9, 0, 10, 1, 5, 0, 12, 3, 4, 2, 11, 0})
	f.Add([]byte{29, 1, 28, 99, 8, 7, 35, 3, 7, 15, 7, 15, 5, 1, 9, 15, 7, 15, 5, 1, 10, 1, 7, 15, 5, 2, 9, 15, 12, 8, 21, 7, 19, 1, 9, 9, 11, 0})
	f.Add([]byte{30, 200, 28, 10, 30, 200, 7, 15, 30, 200, 7, 15, 5, 1, 7, 15, 5, 1, 9, 15, 33, 2, 7, 15, 5, 0, 9, 9, 10, 0, 11, 0})
	f.Fuzz(func(t *testing.T, ops []byte) {
		if len(ops) > 400 {
			return
		}
		w := newWorldOf(3)
		if err := w.open(); err != nil {
			t.Fatal(err)
		}
		for ; len(ops) >= 2; ops = ops[2:] {
			if err := fuzzStep(t, w, ops[0], ops[1]); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.close(); err != nil {
			t.Fatal(err)
		}
		w.idle = nil
		if err := w.open(); err != nil {
			t.Fatal(err)
		}
	})
}

func fuzzStep(t *testing.T, w *world, op, arg byte) error {
	p := w.groups[codec.GroupID(op/14)%3]
	switch op %= 14; {
	case op < 8 && w.idle[p.id]:
	case op < 8:
		fuzzGroup(t, w, p, op, arg)
	case op == 8:
		w.remember(codec.NodeID(arg))
	case op == 9: // several batches
		for range arg % 16 {
			w.pump()
		}
		w.pump()
		return checkBook(w)
	default:
		return fuzzRestart(w, op, arg)
	}
	return nil
}

func fuzzGroup(t *testing.T, w *world, p *promises, op, arg byte) {
	switch op {
	case 0:
		p.append(1+int(arg)%7, int(arg)*5)
	case 1:
		p.elect(codec.Index(arg % 13))
	case 2:
		if arg > 127 {
			p.member()
			return
		}
		p.submit(codec.LogWrite{HasTruncate: true, Truncate: p.last() - min(codec.Index(len(p.now().entries)), codec.Index(arg%16))})
	case 3:
		p.submit(codec.LogWrite{HasVote: true, Vote: codec.Vote{Leader: codec.LeaderID{Term: codec.Term(arg), Node: 3}, Committed: arg > 100}})
	case 4:
		fuzzRead(t, w, p, p.now().base.ID.Index+codec.Index(arg%64)-min(p.now().base.ID.Index, 3))
	case 5:
		p.purge(codec.Index(arg % 32))
	case 6:
		p.jump(1 + codec.Index(arg%32))
	case 7: // fills segments
		for range 1 + arg%16 {
			p.append(1, 900)
			w.pump()
		}
	}
}

func fuzzRestart(w *world, op, arg byte) error {
	switch op {
	case 10: // killed
		w.mem.Kill()
	case 11:
		if err := w.close(); err != nil {
			return err
		}
	default: // power cut
		next := w.on(w.mem.Crash(vfs.RandomCrash(uint64(arg))))
		*w = *next
	}
	w.idle = map[codec.GroupID]bool{2: arg&1 != 0}
	if err := w.open(); err != nil {
		return err
	}
	return checkBook(w)
}

// fuzzRead asks for an index in memory or in the files and compares what comes with the model.
func fuzzRead(t *testing.T, w *world, p *promises, i codec.Index) {
	answered := false
	p.group.ReadFrame(i, func(f codec.Frame, err error) {
		answered = true
		if base := p.now().base.ID.Index; i <= base || i > p.last() {
			if !errors.Is(err, ErrNotHeld) {
				t.Fatalf("index %d of %d to %d: %v", i, base+1, p.last(), err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		entries, err := f.AppendEntries(nil)
		if err != nil {
			t.Fatal(err)
		}
		first := entries[0].ID.Index - p.now().base.ID.Index
		if !sameEntries(entries, p.now().entries[first-1:first-1+codec.Index(len(entries))]) {
			t.Fatalf("index %d: wrong entries", i)
		}
	})
	w.log.reader.serve()
	if !answered {
		t.Fatalf("index %d: no answer", i)
	}
}
