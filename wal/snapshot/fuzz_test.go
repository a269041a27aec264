package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

// FuzzHeader: any bytes are a header or an error; what is read is what would be written.
func FuzzHeader(f *testing.F) {
	for _, s := range samples() {
		b := bytesOf(f, s)
		n, err := headerSize(b)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[:n])
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		checkHeader(t, src)
		if len(src) > headerFixedSize+4 {
			mended := bytes.Clone(src)
			le, end := binary.LittleEndian, len(src)-4
			copy(mended, headerMagic)
			le.PutUint16(mended[4:], formatVersion)
			mended[32] = mended[32]%codec.ClusterIDBytesMax + 1
			le.PutUint32(mended[28:], uint32(max(end-headerFixedSize-int(mended[32]), 0)))
			le.PutUint32(mended[end:], codec.Checksum(mended[:end]))
			checkHeader(t, mended)
		}
	})
}

func checkHeader(t *testing.T, src []byte) {
	h, err := parseHeader(src)
	if err != nil {
		if !damage(err) {
			t.Fatal(err)
		}
		return
	}
	if again := h.append(nil); !bytes.Equal(again, src) {
		t.Fatalf("encoded again as %x, was %x", again, src)
	}
}

// FuzzFooter: any bytes are a footer or an error; what is read is what would be written.
func FuzzFooter(f *testing.F) {
	for _, s := range samples() {
		b := bytesOf(f, s)
		f.Add(b[len(b)-footerSize:])
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		checkFooter(t, src)
		if len(src) == footerSize {
			mended := bytes.Clone(src)
			copy(mended, footerMagic)
			binary.LittleEndian.PutUint32(mended[footerSize-4:], codec.Checksum(mended[:footerSize-4]))
			checkFooter(t, mended)
		}
	})
}

func checkFooter(t *testing.T, src []byte) {
	g, err := parseFooter(src)
	if err != nil {
		if !damage(err) {
			t.Fatal(err)
		}
		return
	}
	hash := g.hash
	if again := g.append(nil, func([]byte) codec.SnapshotHash { return hash }); !bytes.Equal(again, src) {
		t.Fatalf("encoded again as %x, was %x", again, src)
	}
}

// FuzzChunks: files of any two chunks with every checksum right are read or refused, and give as many bytes as they say.
func FuzzChunks(f *testing.F) {
	zstd := codec.Compress(nil, make([]byte, 900), codec.CompressionZstd)
	s2 := codec.Compress(nil, make([]byte, ChunkBytesMin), codec.CompressionS2)
	f.Add(byte(2), byte(2), uint32(900), zstd, byte(2), byte(0), uint32(3), []byte("abc"), uint16(0))
	f.Add(byte(1), byte(0), uint32(4), []byte("abcd"), byte(2), byte(1), uint32(ChunkBytesMin), s2, uint16(4))
	f.Fuzz(func(t *testing.T, kind1, c1 byte, raw1 uint32, b1 []byte, kind2, c2 byte, raw2 uint32, b2 []byte, sessions uint16) {
		h := header{cluster: "demo", group: 7, base: baseAt(3, 900), sessionsBytes: int64(sessions), chunkBytes: ChunkBytesMin}
		g := forge{header: h, chunks: []forged{
			{chunkKind(kind1), codec.Compression(c1), b1, int(raw1)}, {chunkKind(kind2), codec.Compression(c2), b2, int(raw2)}}}
		got, state, info, err := readBytes(t, g.bytes())
		if err != nil {
			if !damage(err) {
				t.Fatal(err)
			}
			return
		}
		if int64(len(got)) != info.SessionsBytes || int64(len(state)) != info.StateBytes || len(got) != int(sessions) {
			t.Fatalf("%d bytes of sessions and %d of state; the file says %d and %d", len(got), len(state), info.SessionsBytes, info.StateBytes)
		}
	})
}

// FuzzFile: any bytes are a snapshot or an error, for who reads them as for who receives them in pieces; and both agree.
func FuzzFile(f *testing.F) {
	for _, s := range samples() {
		f.Add(bytesOf(f, s), uint16(100))
	}
	f.Fuzz(func(t *testing.T, src []byte, piece uint16) {
		_, _, info, err := readBytes(t, src)
		if err != nil && !damage(err) {
			t.Fatal(err)
		}
		id := codec.SnapshotID{Log: codec.LogID{Index: 1}, Size: int64(len(src))}
		if err == nil {
			id = info.ID()
		} else if len(src) < fileSizeMin {
			return
		}
		store := open(t, testConfig(vfs.NewVolatile()))
		r, openErr := store.Receive(id)
		if openErr != nil {
			t.Fatal(openErr)
		}
		var writeErr error
		for i, n := 0, int(piece)+1; i < len(src) && writeErr == nil; i += n {
			writeErr = r.Write(int64(i), src[i:min(i+n, len(src))])
		}
		if writeErr == nil {
			_, writeErr = r.Finish()
		}
		if err != nil && writeErr == nil {
			t.Fatalf("received, but can't be read: %v", err)
		}
		if err == nil && writeErr != nil && !errors.Is(writeErr, ErrForeign) {
			t.Fatalf("can be read, but not received: %v", writeErr)
		}
	})
}
