package codec

import (
	"encoding/binary"
	"fmt"
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
	for _, c := range []Compression{CompressionNone, CompressionS2, CompressionZstd} {
		if name == c.String() {
			return c, nil
		}
	}
	return 0, fmt.Errorf("compression %q, want none, s2 or zstd", name)
}

// The zstd coders keep no state between calls, start no goroutine at concurrency 1, and are safe for concurrent
// EncodeAll and DecodeAll. The decoder never writes past the capacity it is given, so a body that unpacks to more than
// its header says is an error and not an allocation.
var (
	zstdEncoder = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
		if err != nil {
			panic("BUG: zstd encoder options: " + err.Error())
		}
		return e
	})
	zstdDecoder = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			panic("BUG: zstd decoder options: " + err.Error())
		}
		return d
	})
)

// compressBody returns buf with its body compressed, or buf itself where that does not make it smaller.
func compressBody(buf []byte, c Compression) ([]byte, Compression) {
	body := buf[FrameHeaderSize:]
	var out []byte
	switch c {
	case CompressionS2:
		out = make([]byte, FrameHeaderSize+s2.MaxEncodedLen(len(body)))
		out = out[:FrameHeaderSize+len(s2.Encode(out[FrameHeaderSize:], body))]
	case CompressionZstd:
		out = make([]byte, FrameHeaderSize, FrameHeaderSize+len(body))
		out = zstdEncoder().EncodeAll(body, out)
	default:
		panic(fmt.Sprintf("BUG: compression %d", c))
	}
	if len(out) >= len(buf) {
		return buf, CompressionNone
	}
	return out, c
}

// body returns the frame's body, decompressed where needed into a buffer of the size the header states.
func (f Frame) body() ([]byte, error) {
	stored := f.b[FrameHeaderSize:]
	raw := int(binary.LittleEndian.Uint32(f.b[8:]))
	var out []byte
	var err error
	switch f.Compression() {
	case CompressionNone:
		return stored, nil
	case CompressionS2:
		var n int
		if n, err = s2.DecodedLen(stored); err == nil && n == raw {
			out, err = s2.Decode(make([]byte, 0, raw), stored)
		}
	case CompressionZstd:
		out, err = zstdDecoder().DecodeAll(stored, make([]byte, 0, raw))
	}
	if err != nil {
		return nil, fmt.Errorf("frame body (%v): %v: %w", f.Compression(), err, ErrCorrupt)
	}
	if len(out) != raw {
		return nil, fmt.Errorf("frame body (%v) of %d bytes says %d: %w", f.Compression(), len(out), raw, ErrCorrupt)
	}
	return out, nil
}
