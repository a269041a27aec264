package codec

import (
	"bytes"
	"fmt"
	"testing"
)

// benchSpec is a frame of count entries of size bytes, of text that compresses.
func benchSpec(count, size int, c Compression) frameSpec {
	entries := make([][]byte, count)
	for i := range entries {
		entries[i] = bytes.Repeat(fmt.Appendf(nil, "%07d ", i), size/8)
	}
	return frameSpec{FrameMeta{Group: 1, Leader: LeaderID{1, 1}, First: 2, Count: uint32(count), Kind: EntryNormal}, entries, c}
}

func BenchmarkSealFrame(b *testing.B) {
	for _, count := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("%dx128B", count), func(b *testing.B) {
			spec := benchSpec(count, 128, CompressionNone)
			size := len(spec.seal(b).Bytes())
			buf := make([]byte, FrameHeaderSize, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				out := buf
				for _, e := range spec.entries {
					out = AppendEntry(out, e)
				}
				if _, err := SealFrame(out, spec.meta, CompressionNone); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkReadFrame(b *testing.B) {
	for _, count := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("%dx128B", count), func(b *testing.B) {
			src := benchSpec(count, 128, CompressionNone).seal(b).Bytes()
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := ReadFrame(src); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendEntries(b *testing.B) {
	f := benchSpec(64, 128, CompressionNone).seal(b)
	entries := make([]Entry, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.AppendEntries(entries); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendMessage(b *testing.B) {
	m := sampleMessages(b)[0].value.Message
	buf := make([]byte, 0, MessageHeaderSize)
	b.ReportAllocs()
	for b.Loop() {
		AppendMessage(buf, &m, 0)
	}
}

func BenchmarkReadMessage(b *testing.B) {
	m := sampleMessages(b)[0].value.Message
	src := AppendMessage(nil, &m, 0)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := ReadMessage(src, 1<<20); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCompress seals, and BenchmarkUnpack decodes, a frame of 64 entries of 128 bytes of text.
func BenchmarkCompress(b *testing.B) {
	for _, c := range []Compression{CompressionS2, CompressionZstd} {
		b.Run(c.String(), func(b *testing.B) {
			spec := benchSpec(64, 128, CompressionNone)
			raw := spec.seal(b).Bytes()
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := SealFrame(raw, spec.meta, c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkUnpack(b *testing.B) {
	for _, c := range []Compression{CompressionS2, CompressionZstd} {
		b.Run(c.String(), func(b *testing.B) {
			f := benchSpec(64, 128, c).seal(b)
			if f.Compression() != c {
				b.Fatalf("stored as %v", f.Compression())
			}
			entries := make([]Entry, 0, 64)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.AppendEntries(entries); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
