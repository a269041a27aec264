package moving

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/millrace/millrace/engine"
)

// archive is a state machine with a small table and a large body that is never changed: a new one takes its place. The body
// is in a file, or, without a directory, in memory that the garbage collector knows nothing of.
type archive struct {
	dir string

	mu     sync.Mutex
	table  map[uint64][]byte
	puts   uint64
	body   *body
	bodies int
}

// body is freed when nobody uses it any more.
type body struct {
	io.ReaderAt
	size int64
	free func() error
	mu   sync.Mutex
	uses int
}

func (b *body) use() *body {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.uses++
	return b
}

func (b *body) release() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.uses--; b.uses > 0 {
		return nil
	}
	return b.free()
}

func newArchive(dir string) (*archive, error) {
	if dir != "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	return &archive{dir: dir, table: map[uint64][]byte{}}, nil
}

// An entry is a put (key, value) or the command to grow a body of so many random bytes.
func putEntry(dst []byte, key uint64, value []byte) []byte {
	dst = append(dst, 'p')
	dst = binary.LittleEndian.AppendUint64(dst, key)
	return append(dst, value...)
}

func growEntry(size int64) []byte { return binary.LittleEndian.AppendUint64([]byte{'g'}, uint64(size)) }

// Apply implements [engine.StateMachine].
func (a *archive) Apply(entries []engine.Entry, _ []engine.Result) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range entries {
		if len(e.Data) < 9 {
			return fmt.Errorf("entry of %d bytes", len(e.Data))
		}
		n := binary.LittleEndian.Uint64(e.Data[1:])
		if e.Data[0] == 'p' {
			a.table[n] = slices.Clone(e.Data[9:])
			a.puts++
			continue
		}
		if err := a.grow(io.LimitReader(rand.NewChaCha8([32]byte{1}), int64(n)), int64(n)); err != nil {
			return err
		}
	}
	return nil
}

// grow replaces the body. The lock is held.
func (a *archive) grow(from io.Reader, size int64) error {
	a.bodies++
	build := a.inFile
	if a.dir == "" {
		build = inMemory
	}
	b, err := build(from, size)
	if err != nil {
		return err
	}
	old := a.body
	a.body = b
	if old != nil {
		return old.release()
	}
	return nil
}

func (a *archive) inFile(from io.Reader, size int64) (*body, error) {
	f, err := os.Create(filepath.Join(a.dir, fmt.Sprint("body", a.bodies)))
	if err != nil {
		return nil, err
	}
	if n, err := io.CopyBuffer(&syncingWriter{f: f}, from, make([]byte, 256<<10)); err != nil || n != size {
		return nil, fmt.Errorf("body of %d bytes, %d were written: %w", size, n, err)
	}
	return &body{ReaderAt: f, size: size, uses: 1, free: func() error { return errors.Join(f.Close(), os.Remove(f.Name())) }}, nil
}

func inMemory(from io.Reader, size int64) (*body, error) {
	if size == 0 {
		n, err := io.Copy(io.Discard, from)
		return &body{ReaderAt: bytes.NewReader(nil), uses: 1, free: func() error { return nil }}, errors.Join(err, eof(n == 0))
	}
	b, free, err := allocate(size)
	if err != nil {
		return nil, err
	}
	if _, err = io.ReadFull(from, b); err == nil {
		var n int64
		n, err = io.Copy(io.Discard, from)
		err = errors.Join(err, eof(n == 0))
	}
	return &body{ReaderAt: bytes.NewReader(b), size: size, uses: 1, free: free}, err
}

func eof(ok bool) error {
	if ok {
		return nil
	}
	return errors.New("bytes behind the body")
}

// syncingWriter syncs now and then, so that the logs on the same disk never wait for gigabytes.
type syncingWriter struct {
	f        *os.File
	unsynced int
}

func (s *syncingWriter) Write(p []byte) (int, error) {
	n, err := s.f.Write(p)
	if s.unsynced += n; err == nil && s.unsynced >= 8<<20 {
		s.unsynced, err = 0, s.f.Sync()
	}
	return n, err
}

// Snapshot implements [engine.Snapshotter].
func (a *archive) Snapshot() (engine.SnapshotSource, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := &captured{table: maps.Clone(a.table), puts: a.puts}
	if a.body != nil {
		s.body = a.body.use()
	}
	return s, nil
}

// captured is the state at a moment: puts, number of table entries, each with key, length and value, size of the body, body.
type captured struct {
	table map[uint64][]byte
	puts  uint64
	body  *body
}

// WriteTo implements [engine.SnapshotSource].
func (c *captured) WriteTo(w io.Writer) (int64, error) {
	le := binary.LittleEndian
	b := le.AppendUint64(le.AppendUint64(nil, c.puts), uint64(len(c.table)))
	for _, key := range slices.Sorted(maps.Keys(c.table)) {
		b = le.AppendUint64(b, key)
		b = le.AppendUint32(b, uint32(len(c.table[key])))
		b = append(b, c.table[key]...)
	}
	size := int64(0)
	if c.body != nil {
		size = c.body.size
	}
	b = le.AppendUint64(b, uint64(size))
	n, err := w.Write(b)
	if err != nil || size == 0 {
		return int64(n), err
	}
	m, err := io.CopyBuffer(struct{ io.Writer }{w}, io.NewSectionReader(c.body, 0, size), make([]byte, 256<<10))
	return int64(n) + m, err
}

// Close implements [engine.SnapshotSource].
func (c *captured) Close() error {
	if c.body == nil {
		return nil
	}
	return c.body.release()
}

// Restore implements [engine.Snapshotter].
func (a *archive) Restore(r io.Reader) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	le := binary.LittleEndian
	var head [16]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	a.puts, a.table = le.Uint64(head[:]), map[uint64][]byte{}
	for range le.Uint64(head[8:]) {
		if _, err := io.ReadFull(r, head[:12]); err != nil {
			return err
		}
		value := make([]byte, le.Uint32(head[8:]))
		if _, err := io.ReadFull(r, value); err != nil {
			return err
		}
		a.table[le.Uint64(head[:])] = value
	}
	if _, err := io.ReadFull(r, head[:8]); err != nil {
		return err
	}
	return a.grow(r, int64(le.Uint64(head[:])))
}

// digest is what two archives that hold the same have in common.
type digest struct {
	Puts, Table, Body uint64
	Bytes             int64
}

func (a *archive) digest() (digest, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	d := digest{Puts: a.puts}
	for _, key := range slices.Sorted(maps.Keys(a.table)) {
		sum := crc32.ChecksumIEEE(putEntry(nil, key, a.table[key]))
		d.Table = d.Table*31 + uint64(sum)
	}
	if a.body == nil {
		return d, nil
	}
	h := crc32.NewIEEE()
	n, err := io.Copy(h, io.NewSectionReader(a.body, 0, a.body.size))
	d.Body, d.Bytes = uint64(h.Sum32()), n
	return d, err
}

func (a *archive) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.body == nil {
		return nil
	}
	b := a.body
	a.body = nil
	return b.release()
}
