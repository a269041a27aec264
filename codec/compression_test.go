package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(b)
	return b
}

func TestCompressionNames(t *testing.T) {
	for _, c := range []Compression{CompressionNone, CompressionS2, CompressionZstd} {
		if got, err := ParseCompression(c.String()); err != nil || got != c {
			t.Errorf("ParseCompression(%q) = %v, %v", c.String(), got, err)
		}
	}
	if _, err := ParseCompression("lz4"); err == nil || err.Error() != `compression "lz4", want none, s2 or zstd` {
		t.Errorf("ParseCompression(lz4): %v", err)
	}
	if got := Compression(9).String(); got != "Compression(9)" {
		t.Errorf("unknown compression prints as %q", got)
	}
}

// TestCompressOnlyWhereSmaller: text shrinks and is stored packed at its exact size; random bytes are stored as they are.
func TestCompressOnlyWhereSmaller(t *testing.T) {
	for _, c := range []Compression{CompressionS2, CompressionZstd} {
		meta := FrameMeta{First: 1, Count: 50, Kind: EntryNormal}
		text := frameSpec{meta, compressibleEntries(50), c}.seal(t)
		plain := frameSpec{meta, compressibleEntries(50), CompressionNone}.seal(t)
		if text.Compression() != c || len(text.Bytes()) >= len(plain.Bytes()) {
			t.Errorf("%v: text stored as %v in %d bytes, plain %d", c, text.Compression(), len(text.Bytes()), len(plain.Bytes()))
		}
		if cap(text.Bytes()) > len(text.Bytes())+len(text.Bytes())/4+64 {
			t.Errorf("%v: frame of %d bytes holds %d", c, len(text.Bytes()), cap(text.Bytes()))
		}
		meta.Count = 1
		for _, size := range []int{0, 1, 30, 5000} {
			spec := frameSpec{meta, [][]byte{randomBytes(size)}, c}
			random := spec.seal(t)
			spec.compression = CompressionNone
			if random.Compression() != CompressionNone || !bytes.Equal(random.Bytes(), spec.seal(t).Bytes()) {
				t.Errorf("%v: %d random bytes stored as %v in %d bytes", c, size, random.Compression(), len(random.Bytes()))
			}
		}
	}
}

// packed builds a frame around a stored body that no encoder of ours may have written.
func packed(t testing.TB, c Compression, stored []byte, raw, count uint32) Frame {
	t.Helper()
	b := make([]byte, FrameHeaderSize, FrameHeaderSize+len(stored))
	b = append(b, stored...)
	le := binary.LittleEndian
	b[0], b[1], b[2] = FrameVersion, byte(EntryNormal), byte(c)
	le.PutUint32(b[4:], uint32(len(stored)))
	le.PutUint32(b[8:], raw)
	le.PutUint32(b[12:], count)
	le.PutUint64(b[40:], 1)
	f, _, err := ReadFrame(reseal(b))
	if err != nil {
		t.Fatalf("frame of %v, %d bytes stored, %d raw: %v", c, len(stored), raw, err)
	}
	return f
}

func zstdEncode(t testing.TB, body []byte, single bool) []byte {
	t.Helper()
	e, err := zstd.NewWriter(nil, zstd.WithSingleSegment(single), zstd.WithEncoderCRC(false))
	if err != nil {
		t.Fatal(err)
	}
	return e.EncodeAll(body, nil)
}

// TestBombs: a body that unpacks to more than its frame says, whether it admits it or not, is refused without the
// memory it asks for.
func TestBombs(t *testing.T) {
	const bomb, raw = 32 << 20, 50_000
	zeros := make([]byte, bomb)
	s2Liar := append(binary.AppendUvarint(nil, raw), s2.Encode(nil, zeros)[len(binary.AppendUvarint(nil, bomb)):]...)
	zstdLiar := zstdEncode(t, zeros, true)
	if zstdLiar[4] != 2<<6|1<<5 {
		t.Fatalf("zstd frame header descriptor %02x, want a single segment with a 4-byte size", zstdLiar[4])
	}
	binary.LittleEndian.PutUint32(zstdLiar[5:], raw)
	cases := []struct {
		name   string
		c      Compression
		stored []byte
	}{
		{"s2 states its size", CompressionS2, s2.Encode(nil, zeros)},
		{"s2 lies about its size", CompressionS2, s2Liar},
		{"zstd states its size", CompressionZstd, zstdEncode(t, zeros, true)},
		{"zstd lies about its size", CompressionZstd, zstdLiar},
		{"zstd frame after frame", CompressionZstd, append(zstdEncode(t, zeros[:raw], true), zstdEncode(t, zeros, true)...)},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := packed(t, c.c, c.stored, raw, 1)
			read := func() {
				if _, err := f.AppendEntries(nil); !errors.Is(err, ErrCorrupt) {
					t.Errorf("AppendEntries: %v, want ErrCorrupt", err)
				}
			}
			read() // makes the decoder, whose own tables do not count
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			read()
			runtime.ReadMemStats(&after)
			if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
				t.Errorf("%d bytes allocated for a body that may have %d", got, raw)
			}
		})
	}
}

func TestUnpackRefuses(t *testing.T) {
	body := AppendEntry(nil, bytes.Repeat([]byte("x"), 200))
	raw := uint32(len(body))
	streamed := func() []byte { // a zstd frame that does not state its unpacked size
		var buf bytes.Buffer
		e, err := zstd.NewWriter(&buf, zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = e.Write(body[:100])
		_ = e.Flush()
		_, _ = e.Write(body[100:])
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		return buf.Bytes()
	}()
	short := body[:len(body)-1]
	cases := []struct {
		name   string
		c      Compression
		stored []byte
		raw    uint32
	}{
		{"s2 garbage", CompressionS2, bytes.Repeat([]byte{0xff}, 20), raw},
		{"s2 empty", CompressionS2, nil, raw},
		{"s2 of less", CompressionS2, s2.Encode(nil, short), raw},
		{"s2 of nothing", CompressionS2, s2.Encode(nil, nil), raw},
		{"s2 cut short", CompressionS2, s2.Encode(nil, body)[:8], raw},
		{"zstd garbage", CompressionZstd, bytes.Repeat([]byte{0xff}, 20), raw},
		{"zstd empty", CompressionZstd, nil, raw},
		{"zstd of less", CompressionZstd, zstdEncode(t, short, true), raw},
		{"zstd without size", CompressionZstd, streamed, raw},
		{"zstd cut short", CompressionZstd, zstdEncode(t, body, true)[:12], raw},
		{"zstd skippable", CompressionZstd, []byte{0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 0}, raw},
		{"entries do not fill the body", CompressionS2, s2.Encode(nil, append(bytes.Clone(body), 0)), raw + 1},
		{"entries exceed the body", CompressionS2, s2.Encode(nil, append([]byte{0xff, 0x7f}, body...)), raw + 2},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			entries, err := packed(t, c.c, c.stored, c.raw, 1).AppendEntries(nil)
			if !errors.Is(err, ErrCorrupt) || len(entries) != 0 {
				t.Errorf("%d entries, %v; want ErrCorrupt", len(entries), err)
			}
		})
	}
}

// TestUnpackOfUnknownCompression: a number that no build of this version writes is damage, not a bug.
func TestUnpackOfUnknownCompression(t *testing.T) {
	for _, c := range []Compression{CompressionNone, CompressionZstd + 1, 255} {
		if out, err := Decompress(nil, []byte("body"), c, 4); !errors.Is(err, ErrCorrupt) || out != nil {
			t.Errorf("compression %d: %q, %v; want ErrCorrupt", uint8(c), out, err)
		}
	}
}

// TestCompressConcurrently: the coders are shared by all groups and nodes of a process.
func TestCompressConcurrently(t *testing.T) {
	for worker := range 8 {
		c := []Compression{CompressionS2, CompressionZstd}[worker%2]
		t.Run(fmt.Sprintf("%v-%d", c, worker), func(t *testing.T) {
			t.Parallel()
			for round := range 20 {
				entries := compressibleEntries(1 + (worker*7+round)%40)
				meta := FrameMeta{First: 1, Count: uint32(len(entries)), Kind: EntryNormal}
				checkFrameHolds(t, frameSpec{meta, entries, c}.seal(t), meta, entries)
			}
		})
	}
}
