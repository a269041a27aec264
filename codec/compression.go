package codec

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// Compression says how a frame's body is stored.
type Compression uint8

const (
	// CompressionNone stores the body as it is.
	CompressionNone Compression = 0
	// CompressionS2 is the S2 block format (github.com/klauspost/compress/s2): under a nanosecond a byte.
	CompressionS2 Compression = 1
	// CompressionZstd is a zstd frame: smaller and slower than S2.
	CompressionZstd Compression = 2

	compressionEnd Compression = 3
)

// String returns "none", "s2" or "zstd".
func (c Compression) String() string {
	switch c {
	case CompressionNone:
		return "none"
	case CompressionS2:
		return "s2"
	case CompressionZstd:
		return "zstd"
	}
	return fmt.Sprintf("Compression(%d)", uint8(c))
}

// ParseCompression returns the compression of that name: none, s2 or zstd.
func ParseCompression(name string) (Compression, error) {
	for c := range compressionEnd {
		if name == c.String() {
			return c, nil
		}
	}
	return 0, fmt.Errorf("compression %q, want none, s2 or zstd", name)
}

// The zstd coders keep nothing between calls, start no goroutine, and are safe for concurrent EncodeAll and DecodeAll.
// They are made on first use, since most processes never compress. A frame carries its own CRC32C, so zstd's checksum
// is left out. The single-segment form always states the unpacked size, which [Frame.body] checks before it allocates;
// and the decoder never writes past the capacity it is given.
var (
	zstdEncoder = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false),
			zstd.WithSingleSegment(true))
		if err != nil {
			panic("BUG: zstd encoder options: " + err.Error())
		}
		return e
	})
	zstdDecoder = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			panic("BUG: zstd decoder options: " + err.Error())
		}
		return d
	})
)

// compressScratch holds buffers to compress into. The result is copied out at its exact size: a log keeps frames for
// long, and what it counts as a frame's bytes must be what the frame holds in memory.
var compressScratch = sync.Pool{New: func() any { return new([]byte) }}

// compressBody returns buf with its body compressed, or buf itself where that does not make it smaller.
func compressBody(buf []byte, c Compression) ([]byte, Compression) {
	scratch := compressScratch.Get().(*[]byte)
	defer compressScratch.Put(scratch)
	body := buf[FrameHeaderSize:]
	*scratch = Compress((*scratch)[:0], body, c)
	stored := *scratch
	if len(stored) >= len(body) {
		return buf, CompressionNone
	}
	out := make([]byte, FrameHeaderSize+len(stored))
	copy(out[FrameHeaderSize:], stored)
	return out, c
}

// Compress appends src in a compressed form to dst. It may be longer than src; who keeps it keeps [CompressionNone] and src
// itself then.
func Compress(dst, src []byte, c Compression) []byte {
	switch c {
	case CompressionS2:
		n := len(dst)
		dst = slices.Grow(dst, s2.MaxEncodedLen(len(src)))
		return dst[:n+len(s2.Encode(dst[n:cap(dst)], src))]
	case CompressionZstd:
		return zstdEncoder().EncodeAll(src, dst)
	}
	panic(fmt.Sprintf("BUG: compression %d", uint8(c)))
}

// Decompress unpacks what [Compress] made of size bytes, into buf where that is large enough. The stored bytes must claim
// that very size before a buffer is made, and can't fill more than it whatever they claim. Errors wrap [ErrCorrupt], for
// an unknown compression too.
func Decompress(buf, stored []byte, c Compression, size int) ([]byte, error) {
	if c != CompressionS2 && c != CompressionZstd {
		return nil, fmt.Errorf("compression %d, want %d or %d: %w", uint8(c), CompressionS2, CompressionZstd, ErrCorrupt)
	}
	claimed, err := unpackedSize(stored, c)
	if err == nil && claimed != uint64(size) {
		err = fmt.Errorf("unpacks to %d bytes, header says %d", claimed, size)
	}
	var out []byte
	if err == nil {
		if cap(buf) < size {
			buf = make([]byte, 0, size)
		}
		out, err = unpack(buf[:0:size], stored, c)
	}
	if err == nil && len(out) != size {
		err = fmt.Errorf("unpacked to %d bytes, header says %d", len(out), size)
	}
	if err != nil {
		return nil, fmt.Errorf("%v body of %d bytes: %w: %w", c, len(stored), err, ErrCorrupt)
	}
	return out, nil
}

// body returns the frame's body, unpacked where needed into a buffer of the size the header states.
func (f Frame) body() ([]byte, error) {
	stored, c := f.b[FrameHeaderSize:], f.Compression()
	if c == CompressionNone {
		return stored, nil
	}
	out, err := Decompress(nil, stored, c, int(binary.LittleEndian.Uint32(f.b[8:])))
	if err != nil {
		return nil, fmt.Errorf("frame %v: %w", f.Meta().LastID(), err)
	}
	return out, nil
}

// unpackedSize returns the size that a compressed body claims to have had.
func unpackedSize(stored []byte, c Compression) (uint64, error) {
	switch c {
	case CompressionS2:
		n, err := s2.DecodedLen(stored)
		return uint64(n), err
	case CompressionZstd:
		var h zstd.Header
		if err := h.Decode(stored); err != nil {
			return 0, err
		}
		if !h.HasFCS || h.Skippable {
			return 0, fmt.Errorf("no unpacked size stated")
		}
		return h.FrameContentSize, nil
	}
	panic(fmt.Sprintf("BUG: compression %d", uint8(c)))
}

// unpack appends the unpacked body to dst, which has room for all of it and is never outgrown.
func unpack(dst, stored []byte, c Compression) ([]byte, error) {
	if c == CompressionS2 {
		return s2.Decode(dst, stored)
	}
	return zstdDecoder().DecodeAll(stored, dst)
}
