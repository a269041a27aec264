package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

// Each target feeds its decoder the bytes as they are and once more with size and checksum mended, since random bytes
// hardly ever get past a CRC. What a decoder accepts must be what the encoder writes, byte for byte.

func FuzzReadFrame(f *testing.F) {
	for _, s := range sampleFrames() {
		f.Add(s.value.seal(f).Bytes())
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		checkFrameDecoder(t, src)
		if len(src) >= FrameHeaderSize {
			mended := bytes.Clone(src)
			mended[0] = FrameVersion
			binary.LittleEndian.PutUint32(mended[4:], uint32(len(mended)-FrameHeaderSize))
			checkFrameDecoder(t, reseal(mended))
		}
	})
}

func checkFrameDecoder(t *testing.T, src []byte) {
	fr, n, err := ReadFrame(src)
	if err != nil {
		if n != 0 || !fr.IsZero() {
			t.Fatalf("%d bytes and a frame beside error %v", n, err)
		}
		return
	}
	if n != len(fr.Bytes()) || !bytes.Equal(fr.Bytes(), src[:n]) {
		t.Fatalf("frame of %d bytes is not the first %d of its source", len(fr.Bytes()), n)
	}
	raw := binary.LittleEndian.Uint32(src[8:])
	if fr.Compression() != CompressionNone && raw > 1<<20 {
		return // a legal size; unpacking it would only make the fuzzer slow
	}
	if fr.Meta().HeaderOnly {
		checkHeaderFrame(t, fr)
		return
	}
	checkEntries(t, fr)
}

// checkHeaderFrame: a frame without its entries gives none, is what HeaderFrame makes of its description, and so is
// each piece of it.
func checkHeaderFrame(t *testing.T, fr Frame) {
	m := fr.Meta()
	if entries, err := fr.AppendEntries(nil); !errors.Is(err, ErrHeaderOnly) || entries != nil {
		t.Fatalf("%d entries of a frame without any, %v", len(entries), err)
	}
	if again := HeaderFrame(m); !bytes.Equal(again.Bytes(), fr.Bytes()) {
		t.Fatalf("encoded again as %x, was %x", again.Bytes(), fr.Bytes())
	}
	last, err := CutFrame(fr, m.Last(), m.Last())
	if want := (FrameMeta{Group: m.Group, Leader: m.Leader, First: m.Last(), Count: 1, Kind: m.Kind, Size: FrameHeaderSize, HeaderOnly: true}); err != nil || last.Meta() != want {
		t.Fatalf("last entry cut as %+v, %v; want %+v", last.Meta(), err, want)
	}
}

// checkEntries decodes a frame's entries and, where they decode, encodes them again.
func checkEntries(t *testing.T, fr Frame) {
	m := fr.Meta()
	entries, err := fr.AppendEntries(nil)
	if err != nil {
		if fr.Compression() == CompressionNone {
			t.Fatalf("ReadFrame took an uncompressed frame, AppendEntries says %v", err)
		}
		return
	}
	if len(entries) != int(m.Count) || entries[len(entries)-1].ID != m.LastID() {
		t.Fatalf("%d entries up to %v from frame %+v", len(entries), entries[len(entries)-1].ID, m)
	}
	again, err := CutFrame(fr, m.First, m.Last())
	if err != nil {
		t.Fatalf("CutFrame: %v", err)
	}
	if fr.Compression() == CompressionNone && !bytes.Equal(again.Bytes(), fr.Bytes()) {
		t.Fatalf("encoded again as %x, was %x", again.Bytes(), fr.Bytes())
	}
}

// FuzzFrameBody puts any body into a well-formed frame, so that the fuzzer works on entries and compressed bodies.
func FuzzFrameBody(f *testing.F) {
	for _, s := range sampleFrames() {
		b := s.value.seal(f).Bytes()
		f.Add(b[2], binary.LittleEndian.Uint32(b[8:]), s.value.meta.Count, b[FrameHeaderSize:])
	}
	f.Fuzz(func(t *testing.T, compression byte, raw, count uint32, body []byte) {
		const rawMax = 1 << 20
		raw %= rawMax
		b := append(make([]byte, FrameHeaderSize), body...)
		b[0], b[1], b[2] = FrameVersion, byte(EntryNormal), compression
		le := binary.LittleEndian
		le.PutUint32(b[4:], uint32(len(body)))
		le.PutUint32(b[8:], raw)
		le.PutUint32(b[12:], count)
		le.PutUint64(b[40:], 1)
		fr, _, err := ReadFrame(reseal(b))
		if err == nil {
			checkEntries(t, fr)
		}
	})
}

// FuzzCompression: what a compressed frame gives back is what was put in.
func FuzzCompression(f *testing.F) {
	f.Add([]byte("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), []byte{}, true)
	f.Add(bytes.Repeat([]byte("put "), 100), []byte("another"), false)
	f.Fuzz(func(t *testing.T, first, second []byte, s2 bool) {
		spec := frameSpec{FrameMeta{First: 9, Count: 2, Kind: EntryNormal}, [][]byte{first, second}, CompressionZstd}
		if s2 {
			spec.compression = CompressionS2
		}
		fr, _, err := ReadFrame(spec.seal(t).Bytes())
		if err != nil {
			t.Fatal(err)
		}
		checkFrameHolds(t, fr, spec.meta, spec.entries)
	})
}

func FuzzReadMessage(f *testing.F) {
	for _, s := range sampleMessages(f) {
		f.Add(wire(&s.value))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		checkMessageDecoder(t, src)
		if len(src) < MessageHeaderSize {
			return
		}
		mended := bytes.Clone(src)
		binary.LittleEndian.PutUint32(mended, uint32(len(mended)))
		mended[4] = MessageVersion
		checkMessageDecoder(t, remessage(mended))
		if body := mended[MessageHeaderSize:]; len(body) > DataHeaderSize {
			binary.LittleEndian.PutUint32(body, Checksum(body[DataHeaderSize:]))
			checkMessageDecoder(t, mended)
		}
	})
}

func checkMessageDecoder(t *testing.T, src []byte) {
	p, n, err := ReadMessage(src, 1<<20)
	if err != nil {
		if n != 0 || p.Body() != nil || p.Message != (Message{}) {
			t.Fatalf("%d bytes, %+v and a body beside error %v", n, p.Message, err)
		}
		return
	}
	if !p.Frame.IsZero() && !p.Data.IsZero() {
		t.Fatalf("%v message with a frame and data", p.Message.Kind)
	}
	if again := wire(&p); !bytes.Equal(again, src[:n]) {
		t.Fatalf("encoded again as %x, was %x", again, src[:n])
	}
}

// FuzzData: data that was read is what was sealed, and bytes with another checksum are none.
func FuzzData(f *testing.F) {
	f.Add([]byte("a piece of a snapshot"), uint32(0))
	f.Add([]byte{0}, uint32(1))
	f.Add([]byte{}, uint32(0))
	f.Fuzz(func(t *testing.T, payload []byte, damage uint32) {
		if len(payload) == 0 {
			if d, err := ReadData(make([]byte, DataHeaderSize)); !errors.Is(err, ErrCorrupt) || !d.IsZero() {
				t.Fatalf("data without a payload read as %x, %v", d.Bytes(), err)
			}
			return
		}
		sealed := sampleData(string(payload))
		b := bytes.Clone(sealed.Bytes())
		binary.LittleEndian.PutUint32(b, binary.LittleEndian.Uint32(b)^damage)
		d, err := ReadData(b)
		switch {
		case damage != 0 && (!errors.Is(err, ErrCorrupt) || !d.IsZero()):
			t.Fatalf("a checksum that is off by %08x read as %x, %v", damage, d.Bytes(), err)
		case damage == 0 && (err != nil || !bytes.Equal(d.Payload(), payload) || !bytes.Equal(d.Bytes(), sealed.Bytes())):
			t.Fatalf("read %x, %v; want %x", d.Payload(), err, payload)
		}
	})
}

func FuzzReadMembership(f *testing.F) {
	for _, s := range sampleMemberships() {
		f.Add(AppendMembership(nil, &s.value))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		m, n, err := ReadMembership(src)
		if err != nil {
			return
		}
		if err := m.Validate(); err != nil {
			t.Fatalf("read an invalid membership: %v", err)
		}
		if again := AppendMembership(nil, &m); !bytes.Equal(again, src[:n]) {
			t.Fatalf("encoded again as %x, was %x", again, src[:n])
		}
	})
}

func FuzzReadHandshake(f *testing.F) {
	for _, s := range sampleHandshakes() {
		f.Add(AppendHandshake(nil, &s.value))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		checkHandshakeDecoder(t, src)
		if len(src) >= handshakeFixedSize {
			mended := bytes.Clone(src[:min(len(src), HandshakeSizeMax)])
			copy(mended, handshakeMagic)
			rest := len(mended) - handshakeFixedSize
			mended[4], mended[5], mended[9], mended[10] = ProtocolVersion, 0, byte(min(rest, 8)), byte(max(rest-8, 0))
			checkHandshakeDecoder(t, rehandshake(mended))
		}
	})
}

func checkHandshakeDecoder(t *testing.T, src []byte) {
	h, n, err := ReadHandshake(src)
	if err != nil {
		if n != 0 || h != (Handshake{}) {
			t.Fatalf("%d bytes and %+v beside error %v", n, h, err)
		}
		return
	}
	if again := AppendHandshake(nil, &h); !bytes.Equal(again, src[:n]) {
		t.Fatalf("encoded again as %x, was %x", again, src[:n])
	}
}
