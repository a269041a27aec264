package snapshot

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/millrace/millrace/codec"
)

// large is a state that is made as it is read, so that nobody holds it.
type large struct{ at, size int64 }

func (l *large) Read(p []byte) (int, error) {
	n := 0
	for ; n+8 <= len(p) && l.at < l.size; n += 8 {
		binary.LittleEndian.PutUint64(p[n:], uint64(l.at)*0x9E3779B97F4A7C15*uint64(l.at>>12&1)) // each other page is empty
		l.at += 8
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// TestLargeState takes, sends, receives and reads a state of several hundred megabytes on the machine's disk. All that is
// ever allocated for it is a few chunks, and so is therefore what is held at any time (S9).
func TestLargeState(t *testing.T) {
	size := int64(300 << 20)
	if testing.Short() {
		size = 24 << 20
	}
	dir := t.TempDir()
	config := func(name string) Config {
		return Config{Dir: filepath.Join(dir, name), Cluster: "demo", Compression: codec.CompressionS2}
	}
	from, to := open(t, config("from")), open(t, config("to"))
	warm := mustTake(t, from, Meta{Base: baseAt(1, 2)}, stateOf(1, 3000)) // makes what compressors keep for good
	if _, _, err := content(from, warm); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	w, err := from.Create(Meta{Base: baseAt(3, 9)})
	if err != nil {
		t.Fatal(err)
	}
	sum, buf := sha256.New(), make([]byte, 100_000)
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(w, sum)}, &large{size: size}, buf); err != nil {
		t.Fatal(err)
	}
	info, err := w.Commit()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := from.OpenRaw(info)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := to.Receive(info.ID())
	for at := int64(0); err == nil && at < info.Size; at = rec.Offset() {
		piece := buf[:min(int64(len(buf)), info.Size-at)]
		if _, err = raw.ReadAt(piece, at); err == nil {
			err = rec.Write(at, piece)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if info, err = rec.Finish(); err != nil || info.StateBytes != size {
		t.Fatalf("%+v, %v", info, err)
	}
	r, err := to.Open(info)
	if err != nil {
		t.Fatal(err)
	}
	got := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{got}, struct{ io.Reader }{r}, buf); err != nil || !bytes.Equal(got.Sum(nil), sum.Sum(nil)) {
		t.Fatalf("read with %v, and another hash than what was written", err)
	}
	runtime.ReadMemStats(&after)
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := raw.Close(); err != nil {
		t.Error(err)
	}
	if n, limit := after.TotalAlloc-before.TotalAlloc, uint64(24*ChunkBytesDefault); n > limit {
		t.Errorf("%d bytes allocated for a state of %d, limit %d", n, size, limit)
	}
	if info.Size >= size*9/10 {
		t.Errorf("file of %d bytes for a state of %d that compresses", info.Size, size)
	}
}
