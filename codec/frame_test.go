package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"
)

// checkFrameHolds fails unless f has that description and exactly these entries.
func checkFrameHolds(t *testing.T, f Frame, meta FrameMeta, entries [][]byte) {
	t.Helper()
	meta.Size = len(f.Bytes())
	if f.Meta() != meta {
		t.Errorf("frame described as %+v, want %+v", f.Meta(), meta)
	}
	got, err := f.AppendEntries(nil)
	if meta.HeaderOnly {
		if !errors.Is(err, ErrHeaderOnly) || errors.Is(err, ErrCorrupt) || got != nil || f.BodySize() != 0 {
			t.Errorf("%d entries of %d bytes from a frame without its entries, %v; want none and ErrHeaderOnly", len(got), f.BodySize(), err)
		}
		return
	}
	if err != nil {
		t.Fatalf("AppendEntries: %v", err)
	}
	if len(got) != len(entries) {
		t.Fatalf("%d entries, want %d", len(got), len(entries))
	}
	for i, e := range got {
		wantID := LogID{Leader: meta.Leader, Index: meta.First + Index(i)}
		if e.ID != wantID || e.Kind != meta.Kind || !bytes.Equal(e.Data, entries[i]) {
			t.Errorf("entry %d: %v %v %q, want %v %v %q", i, e.ID, e.Kind, e.Data, wantID, meta.Kind, entries[i])
		}
	}
}

// reseal writes the checksum that b's bytes call for, so that a test reaches the checks behind it.
func reseal(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[48:], frameChecksum(b))
	return b
}

func TestFrameRoundTrip(t *testing.T) {
	for _, s := range sampleFrames() {
		t.Run(s.name, func(t *testing.T) {
			f := s.value.seal(t)
			stream := append(bytes.Clone(f.Bytes()), "what follows"...)
			got, n, err := ReadFrame(stream)
			if err != nil || n != len(f.Bytes()) {
				t.Fatalf("ReadFrame: %d bytes, %v", n, err)
			}
			if size, err := FrameSize(stream[:FrameHeaderSize]); err != nil || size != n {
				t.Errorf("FrameSize: %d, %v; want %d", size, err, n)
			}
			if got.Checksum() != f.Checksum() || cap(got.Bytes()) != n {
				t.Errorf("frame read with checksum %08x and capacity %d, want %08x and %d", got.Checksum(), cap(got.Bytes()), f.Checksum(), n)
			}
			checkFrameHolds(t, got, s.value.meta, s.value.entries)
		})
	}
}

// TestEntriesCannotGrowIntoEachOther: an append to one entry's data must not overwrite the next.
func TestEntriesCannotGrowIntoEachOther(t *testing.T) {
	f := sampleFrames()[0].value.seal(t)
	before := bytes.Clone(f.Bytes())
	entries, err := f.AppendEntries(nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = append(entries[0].Data, "overflow"...)
	if !bytes.Equal(before, f.Bytes()) {
		t.Error("appending to an entry's data changed the frame")
	}
}

func TestAppendEntriesKeepsWhatIsThere(t *testing.T) {
	f := sampleFrames()[0].value.seal(t)
	kept := Entry{Data: []byte("kept")}
	got, err := f.AppendEntries([]Entry{kept})
	if err != nil || len(got) != 4 || string(got[0].Data) != "kept" {
		t.Fatalf("%d entries, %v; want the kept one and 3 more", len(got), err)
	}
	bad := bytes.Clone(f.Bytes())
	bad[FrameHeaderSize] = 0xff // bypasses ReadFrame, as a compressed body does
	got, err = Frame{bad}.AppendEntries([]Entry{kept})
	if !errors.Is(err, ErrCorrupt) || len(got) != 1 || string(got[0].Data) != "kept" {
		t.Errorf("%d entries, %v; want the kept one alone and ErrCorrupt", len(got), err)
	}
}

func TestZeroFrame(t *testing.T) {
	var f Frame
	if !f.IsZero() || f.Bytes() != nil || !f.Meta().IsZero() || f.BodySize() != 0 {
		t.Errorf("zero frame: IsZero %v, %d bytes, %+v", f.IsZero(), len(f.Bytes()), f.Meta())
	}
	if sealed := sampleFrames()[0].value.seal(t); sealed.IsZero() || sealed.Meta().IsZero() {
		t.Error("a sealed frame counts as zero")
	}
}

func TestFrameMetaLast(t *testing.T) {
	m := FrameMeta{Leader: LeaderID{5, 2}, First: 10, Count: 3}
	if m.Last() != 12 || m.LastID() != (LogID{LeaderID{5, 2}, 12}) {
		t.Errorf("last %d, id %v; want 12, T5-N2-12", m.Last(), m.LastID())
	}
}

func TestReadFrameShort(t *testing.T) {
	b := sampleFrames()[0].value.seal(t).Bytes()
	for n := range b {
		if _, _, err := ReadFrame(b[:n]); err != ErrShort {
			t.Fatalf("first %d of %d bytes: %v, want ErrShort", n, len(b), err)
		}
	}
}

func TestReadFrameRefuses(t *testing.T) {
	le := binary.LittleEndian
	cases := []struct {
		name   string
		sample int
		change func(b []byte) []byte
		want   error
	}{
		{"unknown version", 0, func(b []byte) []byte { b[0] = 2; return b }, ErrVersion},
		{"version zero", 0, func(b []byte) []byte { b[0] = 0; return b }, ErrVersion},
		{"huge body", 0, func(b []byte) []byte { le.PutUint32(b[4:], math.MaxUint32); return b }, ErrTooLarge},
		{"body above the limit", 0, func(b []byte) []byte { le.PutUint32(b[4:], FrameBodyMax+1); return b }, ErrTooLarge},
		{"checksum", 0, func(b []byte) []byte { b[48]++; return b }, ErrCorrupt},
		{"kind zero", 0, func(b []byte) []byte { b[1] = 0; return reseal(b) }, ErrCorrupt},
		{"unknown kind", 0, func(b []byte) []byte { b[1] = byte(EntryRestore + 1); return reseal(b) }, ErrCorrupt},
		{"unknown compression", 0, func(b []byte) []byte { b[2] = 3; return reseal(b) }, ErrCorrupt},
		{"unknown form", 0, func(b []byte) []byte { b[3] = 2; return reseal(b) }, ErrCorrupt},
		{"unknown form without a body", 6, func(b []byte) []byte { b[3] = 3; return reseal(b) }, ErrCorrupt},
		{"entries in a frame without entries", 0, func(b []byte) []byte { b[3] = 1; return reseal(b) }, ErrCorrupt},
		{"a byte in a frame without entries", 6, func(b []byte) []byte {
			le.PutUint32(b[4:], 1)
			return reseal(append(b, 0))
		}, ErrCorrupt},
		{"unpacked size of a frame without entries", 6, func(b []byte) []byte { le.PutUint32(b[8:], 3); return reseal(b) }, ErrCorrupt},
		{"compressed frame without entries", 6, func(b []byte) []byte { b[2] = byte(CompressionS2); return reseal(b) }, ErrCorrupt},
		{"blank without entries", 6, func(b []byte) []byte {
			b[1] = byte(EntryBlank)
			le.PutUint32(b[12:], 1)
			return reseal(b)
		}, ErrCorrupt},
		{"membership without entries", 6, func(b []byte) []byte {
			b[1] = byte(EntryMembership)
			le.PutUint32(b[12:], 1)
			return reseal(b)
		}, ErrCorrupt},
		{"no entries left out", 6, func(b []byte) []byte { le.PutUint32(b[12:], 0); return reseal(b) }, ErrCorrupt},
		{"too many entries left out", 6, func(b []byte) []byte { le.PutUint32(b[12:], FrameEntriesMax+1); return reseal(b) }, ErrCorrupt},
		{"entries left out from index zero", 6, func(b []byte) []byte { le.PutUint64(b[40:], 0); return reseal(b) }, ErrCorrupt},
		{"entries left out run over", 6, func(b []byte) []byte { le.PutUint64(b[40:], math.MaxUint64-1); return reseal(b) }, ErrCorrupt},
		{"entries promised where none are left out", 6, func(b []byte) []byte { b[3] = 0; return reseal(b) }, ErrCorrupt},
		{"reserved word", 0, func(b []byte) []byte { b[55] = 1; return b }, ErrCorrupt},
		{"no entries", 0, func(b []byte) []byte { le.PutUint32(b[12:], 0); return reseal(b) }, ErrCorrupt},
		{"too many entries", 0, func(b []byte) []byte { le.PutUint32(b[12:], FrameEntriesMax+1); return reseal(b) }, ErrCorrupt},
		{"more entries than bytes", 0, func(b []byte) []byte { le.PutUint32(b[12:], 300); return reseal(b) }, ErrCorrupt},
		{"more entries than there are", 0, func(b []byte) []byte { le.PutUint32(b[12:], 4); return reseal(b) }, ErrCorrupt},
		{"fewer entries than there are", 0, func(b []byte) []byte { le.PutUint32(b[12:], 2); return reseal(b) }, ErrCorrupt},
		{"index zero", 0, func(b []byte) []byte { le.PutUint64(b[40:], 0); return reseal(b) }, ErrCorrupt},
		{"index runs over", 0, func(b []byte) []byte { le.PutUint64(b[40:], math.MaxUint64-1); return reseal(b) }, ErrCorrupt},
		{"unpacked size differs", 0, func(b []byte) []byte { le.PutUint32(b[8:], 4); return reseal(b) }, ErrCorrupt},
		{"unpacked size above the limit", 3, func(b []byte) []byte { le.PutUint32(b[8:], FrameBodyMax+1); return reseal(b) }, ErrTooLarge},
		{"compressed but not smaller", 3, func(b []byte) []byte { le.PutUint32(b[8:], uint32(len(b)-FrameHeaderSize)); return reseal(b) }, ErrCorrupt},
		{"length not in shortest form", 0, func(b []byte) []byte {
			b = append(b[:FrameHeaderSize], 0x80, 0x00)
			le.PutUint32(b[4:], 2)
			le.PutUint32(b[8:], 2)
			le.PutUint32(b[12:], 1)
			return reseal(b)
		}, ErrCorrupt},
		{"two blanks", 1, func(b []byte) []byte {
			b = append(b, 0)
			le.PutUint32(b[4:], 2)
			le.PutUint32(b[8:], 2)
			le.PutUint32(b[12:], 2)
			return reseal(b)
		}, ErrCorrupt},
		{"blank with content", 1, func(b []byte) []byte {
			b = append(b[:FrameHeaderSize], 1, 'x')
			le.PutUint32(b[4:], 2)
			le.PutUint32(b[8:], 2)
			return reseal(b)
		}, ErrCorrupt},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := c.change(bytes.Clone(sampleFrames()[c.sample].value.seal(t).Bytes()))
			f, n, err := ReadFrame(b)
			if !errors.Is(err, c.want) || n != 0 || !f.IsZero() {
				t.Errorf("ReadFrame: %d bytes, %v; want %v and nothing read", n, err, c.want)
			}
		})
	}
}

func TestLastPossibleIndex(t *testing.T) {
	s := frameSpec{meta: FrameMeta{First: math.MaxUint64, Count: 1, Kind: EntryNormal}, entries: [][]byte{{1}}}
	f := s.seal(t)
	if _, _, err := ReadFrame(f.Bytes()); err != nil {
		t.Errorf("frame at the greatest index refused: %v", err)
	}
}

func TestSealFrameLimits(t *testing.T) {
	m := FrameMeta{First: 1, Count: 1, Kind: EntryNormal}
	if _, err := SealFrame(make([]byte, FrameHeaderSize+FrameBodyMax+1), m, CompressionNone); !errors.Is(err, ErrTooLarge) {
		t.Errorf("body above the limit: %v, want ErrTooLarge", err)
	}
	m.Count = FrameEntriesMax + 1
	if _, err := SealFrame(make([]byte, FrameHeaderSize+FrameEntriesMax+1), m, CompressionNone); !errors.Is(err, ErrTooLarge) {
		t.Errorf("entries above the limit: %v, want ErrTooLarge", err)
	}
	m.Count = FrameEntriesMax
	f, err := SealFrame(make([]byte, FrameHeaderSize+FrameEntriesMax), m, CompressionNone)
	if err != nil {
		t.Fatalf("%d entries: %v", FrameEntriesMax, err)
	}
	if _, _, err := ReadFrame(f.Bytes()); err != nil {
		t.Errorf("frame of %d entries refused: %v", FrameEntriesMax, err)
	}
}

// mustPanic fails unless f panics with a message that starts with "BUG: ".
func mustPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if s, ok := recover().(string); !ok || !strings.HasPrefix(s, "BUG: ") {
			t.Errorf("%s: recovered %q, want a panic that starts with %q", what, s, "BUG: ")
		}
	}()
	f()
}

func TestSealFrameBugs(t *testing.T) {
	good := FrameMeta{First: 1, Count: 1, Kind: EntryNormal}
	for _, c := range []struct {
		name string
		size int
		edit func(*FrameMeta)
	}{
		{"no room for the header", FrameHeaderSize - 1, func(*FrameMeta) {}},
		{"fewer bytes than entries", FrameHeaderSize + 1, func(m *FrameMeta) { m.Count = 2 }},
		{"no entries", FrameHeaderSize + 1, func(m *FrameMeta) { m.Count = 0 }},
		{"no kind", FrameHeaderSize + 1, func(m *FrameMeta) { m.Kind = 0 }},
		{"index zero", FrameHeaderSize + 1, func(m *FrameMeta) { m.First = 0 }},
		{"two blanks", FrameHeaderSize + 2, func(m *FrameMeta) { m.Kind, m.Count = EntryBlank, 2 }},
		{"entries in a frame without entries", FrameHeaderSize + 1, func(m *FrameMeta) { m.HeaderOnly = true }},
	} {
		m := good
		c.edit(&m)
		mustPanic(t, c.name, func() { _, _ = SealFrame(make([]byte, c.size), m, CompressionNone) })
	}
	mustPanic(t, "unknown compression", func() { _, _ = SealFrame(make([]byte, FrameHeaderSize+1), good, compressionEnd) })
}

func TestCutFrame(t *testing.T) {
	for _, c := range []Compression{CompressionNone, CompressionS2, CompressionZstd} {
		entries := compressibleEntries(20)
		meta := FrameMeta{Group: 3, Leader: LeaderID{4, 1}, First: 100, Count: 20, Kind: EntryNormal}
		f := frameSpec{meta, entries, c}.seal(t)
		for _, r := range [][2]Index{{100, 119}, {100, 100}, {119, 119}, {105, 110}, {100, 110}, {110, 119}} {
			cut, err := CutFrame(f, r[0], r[1])
			if err != nil {
				t.Fatalf("%v: cut %d..%d: %v", c, r[0], r[1], err)
			}
			want := meta
			want.First, want.Count = r[0], uint32(r[1]-r[0])+1
			checkFrameHolds(t, cut, want, entries[r[0]-100:r[1]-99])
			if _, _, err := ReadFrame(cut.Bytes()); err != nil || cut.Compression() != CompressionNone {
				t.Errorf("%v: cut %d..%d reads as %v, %v", c, r[0], r[1], cut.Compression(), err)
			}
		}
		for _, r := range [][2]Index{{99, 110}, {100, 120}, {110, 109}} {
			mustPanic(t, "cut outside the frame", func() { _, _ = CutFrame(f, r[0], r[1]) })
		}
	}
}

// A frame without its entries is 56 bytes, whatever size its description claims; each piece of it is one too.
func TestHeaderFrame(t *testing.T) {
	m := FrameMeta{Group: 3, Leader: LeaderID{4, 1}, First: 100, Count: 20, Kind: EntryNormal, Size: 12345}
	f := HeaderFrame(m)
	m.HeaderOnly, m.Size = true, FrameHeaderSize
	if f.Meta() != m || len(f.Bytes()) != FrameHeaderSize || f.BodySize() != 0 || f.Compression() != CompressionNone {
		t.Fatalf("made %+v of %d bytes with a body of %d (%v), want %+v", f.Meta(), len(f.Bytes()), f.BodySize(), f.Compression(), m)
	}
	if got, n, err := ReadFrame(append(bytes.Clone(f.Bytes()), "what follows"...)); err != nil || n != FrameHeaderSize || got.Meta() != m {
		t.Fatalf("read %+v, %d bytes, %v; want %+v", got.Meta(), n, err, m)
	}
	if _, err := f.AppendEntries(nil); err == nil || !strings.Contains(err.Error(), "20 entries up to T4-N1-119") {
		t.Errorf("its entries: %v, want an error that names how many there were and the last", err)
	}
	kept := []Entry{{Kind: EntryNormal}}
	if got, err := f.AppendEntries(kept); len(got) != 1 || !errors.Is(err, ErrHeaderOnly) {
		t.Errorf("%d entries, %v; want the kept one alone and ErrHeaderOnly", len(got), err)
	}
	for _, r := range [][2]Index{{100, 119}, {100, 100}, {119, 119}, {105, 110}} {
		cut, err := CutFrame(f, r[0], r[1])
		if err != nil {
			t.Fatalf("cut %d..%d: %v", r[0], r[1], err)
		}
		want := m
		want.First, want.Count = r[0], uint32(r[1]-r[0])+1
		checkFrameHolds(t, cut, want, nil)
		if _, _, err := ReadFrame(cut.Bytes()); err != nil {
			t.Errorf("cut %d..%d reads with %v", r[0], r[1], err)
		}
	}
	for _, r := range [][2]Index{{99, 110}, {100, 120}, {110, 109}} {
		mustPanic(t, "cut outside the frame", func() { _, _ = CutFrame(f, r[0], r[1]) })
	}
	for name, edit := range map[string]func(*FrameMeta){
		"blank":            func(m *FrameMeta) { m.Kind, m.Count = EntryBlank, 1 },
		"membership":       func(m *FrameMeta) { m.Kind, m.Count = EntryMembership, 1 },
		"no kind":          func(m *FrameMeta) { m.Kind = 0 },
		"no entries":       func(m *FrameMeta) { m.Count = 0 },
		"too many entries": func(m *FrameMeta) { m.Count = FrameEntriesMax + 1 },
		"index zero":       func(m *FrameMeta) { m.First = 0 },
		"index runs over":  func(m *FrameMeta) { m.First = math.MaxUint64 },
	} {
		bad := m
		edit(&bad)
		mustPanic(t, name, func() { HeaderFrame(bad) })
	}
}

func TestCutFrameCorrupt(t *testing.T) {
	b := bytes.Clone(sampleFrames()[3].value.seal(t).Bytes())
	b[FrameHeaderSize] ^= 0x7f // the unpacked size that the body claims
	f, _, err := ReadFrame(reseal(b))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := CutFrame(f, 100, 100); !errors.Is(err, ErrCorrupt) {
		t.Errorf("cut of a damaged body: %v, want ErrCorrupt", err)
	}
}

func TestChecksum(t *testing.T) {
	// The check value of CRC-32C (Castagnoli) for "123456789", as catalogues of CRC parameters give it.
	if got := Checksum([]byte("123456789")); got != 0xe3069283 {
		t.Errorf("Checksum = %08x, want e3069283", got)
	}
	if got := UpdateChecksum(Checksum([]byte("1234")), []byte("56789")); got != 0xe3069283 {
		t.Errorf("UpdateChecksum = %08x, want e3069283", got)
	}
}
