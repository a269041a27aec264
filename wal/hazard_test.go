package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	tidwall "github.com/tidwall/wal"

	"github.com/millrace/millrace/codec"
)

// bare opens tidwall/wal as this package does, without anything of this package around it.
func bare(t *testing.T, dir string, segmentBytes int) *tidwall.Log {
	t.Helper()
	l, err := tidwall.Open(dir, &tidwall.Options{NoSync: true, SegmentSize: segmentBytes, SegmentCacheSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func bareWrite(t *testing.T, l *tidwall.Log, from, to uint64, size int) {
	t.Helper()
	for i := from; i <= to; i++ {
		if err := l.Write(i, bytes.Repeat([]byte{byte(i)}, size)); err != nil {
			t.Fatal(err)
		}
	}
}

// The hazards that this package closes are there: each of these fails when tidwall/wal closes it itself, and then the
// cure can be thought over. The cures are tested where they are: T1 in TestDamageEveryBitFlipped, T2 in
// TestDamageLastRecordCutAtEveryByte, T3 in TestDamageTailOfZerosOrNoise, T9 in TestDamageMiddleSegment, T12 in
// TestSecondProcessIsRefused.
func TestHazardsOfTidwall(t *testing.T) {
	first := segmentName("", 1)
	t.Run("T1 a flipped bit is served", func(t *testing.T) {
		dir := t.TempDir()
		l := bare(t, dir, 1<<20)
		bareWrite(t, l, 1, 3, 10)
		l.Close()
		b, _ := os.ReadFile(filepath.Join(dir, first))
		b[5] ^= 1
		os.WriteFile(filepath.Join(dir, first), b, filePerm)
		l = bare(t, dir, 1<<20)
		defer l.Close()
		if got, err := l.Read(1); err != nil || bytes.Equal(got, bytes.Repeat([]byte{1}, 10)) {
			t.Fatalf("%v, %v: the flip was noticed", got, err)
		}
	})
	t.Run("T2 a torn record ends it", func(t *testing.T) {
		dir := t.TempDir()
		l := bare(t, dir, 1<<20)
		bareWrite(t, l, 1, 3, 10)
		l.Close()
		os.Truncate(filepath.Join(dir, first), 30)
		if _, err := tidwall.Open(dir, nil); !errors.Is(err, tidwall.ErrCorrupt) {
			t.Fatalf("%v: it repairs by itself", err)
		}
	})
	t.Run("T3 zeros are records", func(t *testing.T) {
		dir := t.TempDir()
		l := bare(t, dir, 1<<20)
		bareWrite(t, l, 1, 3, 10)
		l.Close()
		os.Truncate(filepath.Join(dir, first), 1000)
		l = bare(t, dir, 1<<20)
		defer l.Close()
		if last, _ := l.LastIndex(); last <= 3 {
			t.Fatalf("last index %d: zeros are no records any more", last)
		}
	})
	t.Run("T9 a missing segment opens", func(t *testing.T) {
		dir := t.TempDir()
		l := bare(t, dir, 50)
		bareWrite(t, l, 1, 20, 20)
		l.Close()
		names, _ := os.ReadDir(dir)
		os.Remove(filepath.Join(dir, names[2].Name()))
		l, err := tidwall.Open(dir, &tidwall.Options{SegmentSize: 50})
		if err != nil {
			t.Fatalf("%v: it checks continuity", err)
		}
		l.Close()
	})
	t.Run("T10 the index can't jump", func(t *testing.T) {
		l := bare(t, t.TempDir(), 1<<20)
		defer l.Close()
		bareWrite(t, l, 1, 3, 10)
		if err := l.Write(10, nil); !errors.Is(err, tidwall.ErrOutOfOrder) {
			t.Fatalf("%v: it can", err)
		}
	})
	t.Run("T12 two may open it", func(t *testing.T) {
		dir := t.TempDir()
		a, b := bare(t, dir, 1<<20), bare(t, dir, 1<<20)
		a.Close()
		b.Close()
	})
}

// T10: groups have indexes of their own that go back and forth, the log's sequence does not.
func TestHazardIndexesAreTheGroupsOwn(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		l := p.mustOpen(t)
		defer func() { mustClose(t, l) }()
		a, _ := drive(t, l, 1)
		b, _ := drive(t, l, 1<<60)
		for round := range 5 {
			a.append(3, 10)
			b.append(1, 10)
			a.leader.Term++
			to := a.last() - 2
			a.must(a.submit(codec.LogWrite{HasTruncate: true, Truncate: to, Frame: a.frame(to, 1, 5+round)}))
		}
		a.check(a.read)
		b.must(b.seq)
		mustClose(t, l)
		l = p.mustOpen(t)
		for _, d := range []*driver{a, b} {
			d.checkState(d.reopen(l))
			d.check(d.read)
		}
	})
}

// T4, T8, T11: of tidwall/wal only what appends is used. Its truncations rename and unlink without a sync of the
// directory, and rewrite segments; its Read races with itself.
func TestHazardOnlyAppendsOfTidwallAreUsed(t *testing.T) {
	allowed := []string{"Open", "Options", "Binary", "Log", "Batch", // of the package
		"WriteBatch", "Sync", "Close", "LastIndex", "Write", "Clear"} // of Log and Batch
	fset := token.NewFileSet()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	imported, used := 0, 0
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		imports := slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool { return strings.Contains(i.Path.Value, "tidwall") })
		if !imports {
			continue
		}
		imported++
		ast.Inspect(file, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			from := fmt.Sprint(s.X)
			if inner, ok := s.X.(*ast.SelectorExpr); ok {
				from = inner.Sel.Name
			}
			if from == "tidwall" || from == "log" || from == "batch" && s.Sel.Name != "records" {
				used++
				if !slices.Contains(allowed, s.Sel.Name) {
					t.Errorf("%v: uses %s of tidwall/wal", fset.Position(n.Pos()), s.Sel.Name)
				}
			}
			return true
		})
	}
	if imported != 1 || used < 8 {
		t.Fatalf("%d files import tidwall/wal and use it %d times: the check looks at the wrong code", imported, used)
	}
}

// T7, W7: a segment can't be begun because a directory bears its name. The batch's fate is unknown, nothing of it is
// acknowledged, and when the directory is gone everything acknowledged is there.
func TestHazardRollFails(t *testing.T) {
	p := places(t)[0]
	l := p.mustOpen(t)
	d, _ := drive(t, l, 1)
	idle, _ := drive(t, l, 2)
	d.must(d.append(1, 100))
	told := len(d.entries)
	next := uint64(0)
	for size, seq := 0, uint64(3); next == 0; seq++ { // the opening, the entry, then the batch below
		if size += 300; size > SegmentBytesMin+2000 {
			next = seq
		}
	}
	for seq := uint64(3); seq <= next; seq++ {
		if err := os.Mkdir(segmentName(p.folder(), seq), folderPerm); err != nil {
			t.Fatal(err)
		}
	}
	blockWriter(l, func() {
		for range int(next) {
			d.append(1, 200)
		}
	})
	err := d.flushed.wait(d.seq)
	if !errors.Is(err, syscall.EISDIR) || !errors.Is(err, ErrPoisoned) {
		t.Fatalf("%v, want EISDIR", err)
	}
	if d.flushed.seq != 1 || d.flushed.errors != 1 {
		t.Fatalf("acknowledged up to %d, told %d times", d.flushed.seq, d.flushed.errors)
	}
	if err := idle.flushed.wait(1); !errors.Is(err, ErrPoisoned) {
		t.Fatalf("idle group was told %v", err)
	}
	d.g.Submit(&codec.LogWrite{Seq: d.seq + 1}) // does nothing any more
	// What was submitted afterwards can't be read. The log says why: who asks may not have been told yet.
	for index, want := range map[codec.Index]error{codec.Index(len(d.entries)) + 1: ErrPoisoned, 0: ErrNotHeld} {
		d.g.ReadFrame(index, func(_ codec.Frame, e error) { err = e })
		if !errors.Is(err, want) {
			t.Fatalf("read of index %d after the error: %v, want %v", index, err, want)
		}
	}
	if _, _, err := l.Group(3, d.flushed.flushed); !errors.Is(err, ErrPoisoned) {
		t.Fatalf("group after the error: %v", err)
	}
	l.RememberPeer(1, codec.Incarnation{}, func(e error) { err = e })
	if !errors.Is(err, ErrPoisoned) {
		t.Fatalf("peer after the error: %v", err)
	}
	if err := l.Close(); !errors.Is(err, syscall.EISDIR) {
		t.Fatalf("close: %v", err)
	}
	if d.flushed.errors != 1 {
		t.Fatalf("told %d times", d.flushed.errors)
	}
	for seq := uint64(3); seq <= next; seq++ {
		if err := os.Remove(segmentName(p.folder(), seq)); err != nil {
			t.Fatal(err)
		}
	}
	usable(t, p, d, told)
}

// T13: unfinished files are swept.
func TestHazardLeftoversAreSwept(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		session(t, p, 2, 10)
		leftovers := []string{filepath.Join(p.cfg.Dir, "IDENTITY.TEMP"), segmentName(p.folder(), 1) + ".START.TEMP", segmentName(p.folder(), 1) + ".1-1.broken.TEMP"}
		for _, name := range leftovers {
			p.write(t, name, []byte("half"))
		}
		mustClose(t, p.mustOpen(t))
		for name := range p.image(t) {
			if slices.Contains(leftovers, name) {
				t.Errorf("%s is still there", name)
			}
		}
	})
}

// The two forms write the same bytes in the same segments, for records and batches of all sizes around a segment's.
func TestAppendersWriteTheSameBytes(t *testing.T) {
	ps := places(t)
	images := make([]image, len(ps))
	for i, p := range ps {
		p.mustOpen(t).Close()
		var s *scan
		var err error
		for life := range 3 { // each opens at whatever size the tail has
			if s, err = scanLog(p.fs, p.cfg.Dir, mustIdentity(t, p)); err != nil {
				t.Fatal(err)
			}
			var a appender
			if i == 0 {
				a, err = openTidwallAppender(p.folder(), s.tailSegment(), s.last, p.cfg.SegmentBytes)
			} else {
				a, err = openFileAppender(p.fs, p.folder(), s.tailSegment(), p.cfg.SegmentBytes)
			}
			if err != nil {
				t.Fatal(err)
			}
			w := &writer{log: &Log{fingerprint: s.log}, appender: a, seq: s.last + 1, crc: s.crc, durable: s.durable}
			want := p.segments(t)
			for n := range 40 {
				w.batch.reset(w.seq)
				for r := range 1 + n%4 {
					f := makeFrame(t, 1, codec.LeaderID{Term: 1}, codec.Index(w.seq-2), codec.EntryNormal, make([]byte, (n*n*37+r*r*911+life)%5000))
					w.addRecord(kindFrame, f.Bytes(), f.Checksum())
				}
				rolled, err := a.Append(&w.batch)
				if err != nil {
					t.Fatal(err)
				}
				for _, first := range rolled {
					want = append(want, segmentName(p.folder(), first))
				}
				if got := p.segments(t); !slices.Equal(got, want) {
					t.Fatalf("%s: told of %d segments, there are %d", p.name, len(want), len(got))
				}
				if n%7 == 3 {
					if err := a.Renew(w.seq - 1); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := a.Close(); err != nil {
				t.Fatal(err)
			}
		}
		images[i] = image{}
		for name, b := range p.image(t) {
			if name = filepath.Base(name); name != identityName {
				images[i][name] = scrub(t, b)
			}
		}
	}
	if len(images[0]) < 50 {
		t.Fatalf("%d segments, want 50", len(images[0]))
	}
	if err := images[0].equal(images[1]); err != nil {
		t.Fatalf("the forms differ: %v", err)
	}
}

// scrub clears what differs between two logs: fingerprint, previous CRC, CRC.
func scrub(t *testing.T, b []byte) []byte {
	starts := recordStarts(t, b)
	for _, at := range starts[:len(starts)-1] {
		_, n := binary.Uvarint(b[at:])
		clear(b[at+n+8 : at+n+16])
		clear(b[at+n+32 : at+n+36])
	}
	return b
}
