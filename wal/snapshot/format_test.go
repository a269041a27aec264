package snapshot

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

// The file under testdata fixes the bytes of the format. Run with -update only for a new format version or a new sample.
var update = flag.Bool("update", false, "rewrite the golden file of this package")

type sample struct {
	name        string
	meta        Meta
	state       []byte
	compression codec.Compression
}

func samples() []sample {
	later := baseAt(0x0102030405060708, 0x1112131415161718)
	return []sample{
		{"no state, no sessions, no membership", Meta{Base: codec.LogBase{ID: later.ID}}, nil, codec.CompressionNone},
		{"state and sessions", Meta{Base: later, Sessions: stateOf(1, 1100)}, stateOf(2, 2048), codec.CompressionNone},
		{"stateless", Meta{Base: baseAt(3, 900), Sessions: []byte("sessions"), Stateless: true}, nil, codec.CompressionNone},
		{"s2", Meta{Base: baseAt(3, 900), Sessions: make([]byte, 200)}, stateOf(2, 1500), codec.CompressionS2},
		{"zstd", Meta{Base: baseAt(3, 900), Sessions: make([]byte, 200)}, stateOf(2, 1500), codec.CompressionZstd},
	}
}

// bytesOf returns the file of a sample.
func bytesOf(t testing.TB, s sample) []byte {
	t.Helper()
	cfg := testConfig(vfs.NewMem())
	cfg.Compression = s.compression
	store := open(t, cfg)
	info := mustTake(t, store, s.meta, s.state)
	b, err := vfs.ReadFile(cfg.FS, store.path(snapshotName(info.ID())), nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// readBytes reads a file that is not in a store.
func readBytes(t testing.TB, b []byte) (sessions, state []byte, info Info, err error) {
	t.Helper()
	r, err := newReader(memFile(t, b), codec.SnapshotID{})
	if err != nil {
		return nil, nil, Info{}, err
	}
	state, err = io.ReadAll(r)
	return r.Sessions(), state, r.Info(), err
}

func memFile(t testing.TB, b []byte) vfs.File {
	t.Helper()
	f, err := vfs.NewVolatile().OpenFile("file", os.O_CREATE|os.O_RDWR, filePerm)
	if err == nil {
		_, err = f.WriteAt(b, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestGolden(t *testing.T) {
	path := filepath.Join("testdata", "snapshot.golden")
	if *update {
		var sb strings.Builder
		for _, s := range samples() {
			fmt.Fprintf(&sb, "# %s\n", s.name)
			for b := bytesOf(t, s); len(b) > 0; b = b[min(48, len(b)):] {
				fmt.Fprintf(&sb, "%x\n", b[:min(48, len(b))])
			}
		}
		if err := os.WriteFile(path, []byte(sb.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, name := map[string][]byte{}, ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "# "); ok {
			name = rest
			continue
		}
		b, err := hex.DecodeString(line)
		if err != nil {
			t.Fatal(err)
		}
		want[name] = append(want[name], b...)
	}
	if len(want) != len(samples()) {
		t.Errorf("%d samples in %s, want %d", len(want), path, len(samples()))
	}
	for _, s := range samples() {
		// Another version of a compressor may write other bytes; what it once wrote must stay readable.
		if got := bytesOf(t, s); s.compression == codec.CompressionNone && !bytes.Equal(got, want[s.name]) {
			t.Errorf("%s: encoding changed\n got %x\nwant %x", s.name, got, want[s.name])
		}
		sessions, state, info, err := readBytes(t, want[s.name])
		if err != nil || !bytes.Equal(sessions, s.meta.Sessions) || !bytes.Equal(state, s.state) ||
			!reflect.DeepEqual(info.Base, s.meta.Base) || info.Stateless != s.meta.Stateless {
			t.Errorf("%s: %d bytes of sessions, %d of state, %+v, %v", s.name, len(sessions), len(state), info, err)
		}
	}
}

func damage(err error) bool {
	return errors.Is(err, codec.ErrCorrupt) || errors.Is(err, codec.ErrVersion)
}

// TestFlippedBits flips each bit of a file. Reading it never ends well, and neither does receiving it; and opening the
// store takes the file for good only where its ends are.
func TestFlippedBits(t *testing.T) {
	for _, s := range samples() {
		b := bytesOf(t, s)
		_, _, info, err := readBytes(t, b)
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		f := memFile(t, b)
		store := open(t, testConfig(vfs.NewVolatile()))
		step := 1
		if testing.Short() {
			step = 7
		}
		for bit := 0; bit < len(b)*8; bit += step {
			at, good := int64(bit/8), b[bit/8:bit/8+1]
			bad := []byte{good[0] ^ 1<<(bit%8)}
			if _, err := f.WriteAt(bad, at); err != nil {
				t.Fatal(err)
			}
			r, err := newReader(f, codec.SnapshotID{})
			if err == nil {
				_, err = io.Copy(io.Discard, r)
			}
			if !damage(err) {
				t.Fatalf("%s: flipped bit %d of byte %d read with %v", s.name, bit%8, at, err)
			}
			if err := receiveFlipped(store, info.ID(), b, int(at), bad[0]); !damage(err) && !errors.Is(err, ErrIncomplete) {
				t.Fatalf("%s: flipped bit %d of byte %d was received with %v", s.name, bit%8, at, err)
			}
			if _, err := f.WriteAt(good, at); err != nil {
				t.Fatal(err)
			}
		}
		if len(store.List()) > 0 {
			t.Errorf("%s: a damaged file is listed", s.name)
		}
	}
}

// receiveFlipped sends a file of which one byte was changed, in pieces of 100 bytes.
func receiveFlipped(store *Store, id codec.SnapshotID, b []byte, at int, bad byte) (err error) {
	r, err := store.Receive(id)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Abort()) }()
	flipped := bytes.Clone(b)
	flipped[at] = bad
	for i := 0; i < len(b); i += 100 {
		if err := r.Write(int64(i), flipped[i:min(i+100, len(b))]); err != nil {
			return err
		}
	}
	_, err = r.Finish()
	return err
}

// TestCutFiles: a file that ends early, or goes on, is damaged, whoever reads it.
func TestCutFiles(t *testing.T) {
	for _, s := range samples() {
		b := bytesOf(t, s)
		for n := range b {
			if _, _, _, err := readBytes(t, b[:n]); !errors.Is(err, codec.ErrCorrupt) {
				t.Fatalf("%s cut to %d bytes of %d: %v", s.name, n, len(b), err)
			}
		}
		for _, more := range [][]byte{{0}, b[len(b)-footerSize:], b} {
			if _, _, _, err := readBytes(t, append(bytes.Clone(b), more...)); !errors.Is(err, codec.ErrCorrupt) {
				t.Fatalf("%s and %d bytes more: %v", s.name, len(more), err)
			}
		}
	}
}

// forge writes a file whose every checksum is right, element by element, however little sense it makes.
type forge struct {
	header header
	chunks []forged
	footer func(f *footer)
}

type forged struct {
	kind        chunkKind
	compression codec.Compression
	stored      []byte
	raw         int
}

func (g *forge) bytes() []byte {
	b := g.header.append(nil)
	chain := binary.LittleEndian.Uint32(b[len(b)-4:])
	var f footer
	for _, c := range g.chunks {
		room := make([]byte, chunkHeaderSize)
		chain = chunkHeader{kind: c.kind, compression: c.compression, stored: len(c.stored), raw: c.raw}.put(room, c.stored, chain)
		b = append(append(b, room...), c.stored...)
		if f.chunks++; c.kind == chunkState {
			f.stateBytes += int64(c.raw)
		}
	}
	f.size = int64(len(b) + footerSize)
	if g.footer != nil {
		g.footer(&f)
	}
	w := newWalk()
	w.sha.Write(b)
	return f.append(b, w.sum)
}

// TestForgedFiles: what contradicts itself is refused although every checksum is right.
func TestForgedFiles(t *testing.T) {
	full, short := make([]byte, ChunkBytesMin), []byte("short")
	plain := func(kind chunkKind, b []byte) forged { return forged{kind, codec.CompressionNone, b, len(b)} }
	zeros := codec.Compress(nil, make([]byte, 900), codec.CompressionZstd)
	head := func(sessions int64, stateless bool) header {
		return header{cluster: "demo", group: 7, base: baseAt(3, 900), stateless: stateless, sessionsBytes: sessions, chunkBytes: ChunkBytesMin}
	}
	good := forge{header: head(5, false), chunks: []forged{plain(chunkSessions, short), plain(chunkState, full),
		{chunkState, codec.CompressionZstd, zeros, 900}}}
	if _, _, _, err := readBytes(t, good.bytes()); err != nil {
		t.Fatalf("a forged file without a fault: %v", err)
	}
	for name, g := range map[string]forge{
		"a chunk behind a short one":       {header: head(0, false), chunks: []forged{plain(chunkState, short), plain(chunkState, full)}},
		"sessions behind a state":          {header: head(5, false), chunks: []forged{plain(chunkState, full), plain(chunkSessions, short)}},
		"a state before all sessions":      {header: head(2000, false), chunks: []forged{plain(chunkSessions, full), plain(chunkState, short)}},
		"sessions behind a short one":      {header: head(10, false), chunks: []forged{plain(chunkSessions, short), plain(chunkSessions, short)}},
		"too many sessions":                {header: head(4, false), chunks: []forged{plain(chunkSessions, short)}},
		"too few sessions":                 {header: head(6, false), chunks: []forged{plain(chunkSessions, short)}},
		"a state in a stateless file":      {header: head(0, true), chunks: []forged{plain(chunkState, short)}},
		"a chunk beyond its limit":         {header: head(0, false), chunks: []forged{plain(chunkState, make([]byte, ChunkBytesMin+1))}},
		"an empty chunk":                   {header: head(0, false), chunks: []forged{plain(chunkState, nil)}},
		"an unknown kind":                  {header: head(0, false), chunks: []forged{plain(3, short)}},
		"an unknown compression":           {header: head(0, false), chunks: []forged{{chunkState, 3, short, 6}}},
		"a compressed chunk that is none":  {header: head(0, false), chunks: []forged{{chunkState, codec.CompressionS2, short, 6}}},
		"a compressed chunk of other size": {header: head(0, false), chunks: []forged{{chunkState, codec.CompressionZstd, zeros, 899}}},
		"a compressed chunk that grew":     {header: head(0, false), chunks: []forged{{chunkState, codec.CompressionZstd, zeros, len(zeros)}}},
		"another count of chunks":          {header: head(0, false), footer: func(f *footer) { f.chunks++ }},
		"another size of the state":        {header: head(0, false), footer: func(f *footer) { f.stateBytes++ }},
		"another size of the file":         {header: head(0, false), footer: func(f *footer) { f.size-- }},
		"a base without an entry":          {header: header{cluster: "demo", chunkBytes: ChunkBytesMin}},
		"chunks below the limit":           {header: header{cluster: "demo", base: baseAt(3, 900), chunkBytes: ChunkBytesMin - 1}},
		"chunks above the limit":           {header: header{cluster: "demo", base: baseAt(3, 900), chunkBytes: ChunkBytesMax + 1}},
		"sessions above the limit":         {header: head(SessionsBytesMax+1, false)},
		"no cluster":                       {header: header{base: baseAt(3, 900), chunkBytes: ChunkBytesMin}},
	} {
		if _, _, _, err := readBytes(t, g.bytes()); !errors.Is(err, codec.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestForgedHash: a footer whose own checksum is right, with a hash that is not that of the file.
func TestForgedHash(t *testing.T) {
	b := bytesOf(t, samples()[1])
	end := len(b) - 4
	b[end-1] ^= 1
	binary.LittleEndian.PutUint32(b[end:], codec.Checksum(b[end+4-footerSize:end]))
	if _, _, _, err := readBytes(t, b); !errors.Is(err, codec.ErrCorrupt) || !strings.Contains(err.Error(), "hash") {
		t.Error(err)
	}
}

// TestLiesAboutSizes: what a header claims is not allocated before it is there (Z1, Z8).
func TestLiesAboutSizes(t *testing.T) {
	h := header{cluster: "demo", group: 7, base: baseAt(3, 900), sessionsBytes: SessionsBytesMax, chunkBytes: ChunkBytesMin}
	manySessions := (&forge{header: h, chunks: []forged{{chunkSessions, codec.CompressionNone, make([]byte, ChunkBytesMin), ChunkBytesMin}}}).bytes()
	h.sessionsBytes = 0
	longBase := (&forge{header: h}).bytes()
	binary.LittleEndian.PutUint32(longBase[28:], codec.LogBaseBytesMax)
	longChunk := (&forge{header: h, chunks: []forged{{chunkState, codec.CompressionZstd, make([]byte, 100), ChunkBytesMin}}}).bytes()
	binary.LittleEndian.PutUint32(longChunk[len(longChunk)-footerSize-100-chunkHeaderSize+4:], 1<<32-1)
	bomb := codec.Compress(nil, make([]byte, 64<<20), codec.CompressionZstd) // states that it unpacks to 64 MiB
	if len(bomb) > ChunkBytesMax {
		t.Fatal(len(bomb))
	}
	h.chunkBytes = ChunkBytesMax
	bombed := (&forge{header: h, chunks: []forged{{chunkState, codec.CompressionZstd, bomb, ChunkBytesMax}}}).bytes()
	for name, b := range map[string][]byte{"sessions": manySessions, "base": longBase, "chunk": longChunk, "bomb": bombed} {
		f := memFile(t, b)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r, err := newReader(f, codec.SnapshotID{})
		if err == nil {
			_, err = io.Copy(io.Discard, r)
		}
		runtime.ReadMemStats(&after)
		if !errors.Is(err, codec.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
		if n, limit := after.TotalAlloc-before.TotalAlloc, uint64(ChunkBytesMax+2<<20); n > limit {
			t.Errorf("%s: %d bytes allocated for a file of %d, limit %d", name, n, len(b), limit)
		}
	}
}
