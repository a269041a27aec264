package snapshot

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

// outgoing is a snapshot that is to be sent, and its file's bytes.
type outgoing struct {
	info  Info
	state []byte
	bytes []byte
}

func offer(t testing.TB, index codec.Index, n int) outgoing {
	t.Helper()
	s := open(t, testConfig(vfs.NewVolatile()))
	o := outgoing{state: stateOf(uint64(index), n)}
	o.info = mustTake(t, s, Meta{Base: baseAt(3, index), Sessions: []byte("sessions")}, o.state)
	b, err := vfs.ReadFile(s.cfg.FS, s.path(snapshotName(o.info.ID())), nil)
	if err != nil {
		t.Fatal(err)
	}
	o.bytes = b
	return o
}

func receive(t testing.TB, s *Store, o outgoing) *Receiver {
	t.Helper()
	r, err := s.Receive(o.info.ID())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// send brings the file's bytes up to an offset, in pieces of n bytes.
func send(t testing.TB, r *Receiver, o outgoing, until int64, n int64) {
	t.Helper()
	for at := r.Offset(); at < until; at = r.Offset() {
		if err := r.Write(at, o.bytes[at:min(at+n, until)]); err != nil {
			t.Fatal(err)
		}
	}
}

func finish(t testing.TB, s *Store, r *Receiver, o outgoing) {
	t.Helper()
	info, err := r.Finish()
	if err != nil || info.ID() != o.info.ID() {
		t.Fatalf("finish: %+v, %v", info, err)
	}
	checkContent(t, s, info, []byte("sessions"), o.state)
	if got := files(t, s.cfg, partSuffix); len(got) > 0 {
		t.Errorf("parts are left: %v", got)
	}
}

// TestPiecesInOrder: what does not start where the last piece ended is refused and does no harm; nor does a piece twice (S2).
func TestPiecesInOrder(t *testing.T) {
	s, o := open(t, testConfig(vfs.NewMem())), offer(t, 9, 5000)
	r := receive(t, s, o)
	send(t, r, o, 1000, 300)
	for _, piece := range []struct{ from, to int64 }{{0, 300}, {900, 1000}, {999, 1300}, {1001, 1300}, {1300, 1600}, {o.info.Size - 1, o.info.Size}} {
		if err := r.Write(piece.from, o.bytes[piece.from:piece.to]); !errors.Is(err, ErrOffset) || r.Offset() != 1000 {
			t.Errorf("bytes %d to %d behind 1000: %v, offset %d", piece.from, piece.to, err, r.Offset())
		}
	}
	if err := r.Write(1000, append(bytes.Clone(o.bytes[1000:]), 0)); !errors.Is(err, ErrOffset) {
		t.Errorf("a piece that ends behind the file: %v", err)
	}
	if err := r.Write(1000, nil); err != nil {
		t.Errorf("an empty piece: %v", err)
	}
	if _, err := r.Finish(); !errors.Is(err, ErrIncomplete) {
		t.Errorf("finish of a part: %v", err)
	}
	send(t, r, o, o.info.Size, 300)
	last := o.info.Size - 10
	if err := r.Write(last, o.bytes[last:]); !errors.Is(err, ErrOffset) {
		t.Errorf("the last piece twice: %v", err)
	}
	finish(t, s, r, o)
	if err := r.Write(last, o.bytes[last:]); !errors.Is(err, ErrClosed) {
		t.Errorf("the last piece behind the end: %v", err)
	}
	if _, err := r.Finish(); !errors.Is(err, ErrClosed) {
		t.Errorf("second finish: %v", err)
	}
	// Offered once more: nothing is to be sent, and everything is well.
	r = receive(t, s, o)
	if err := r.Write(r.Offset(), nil); err != nil || r.Offset() != o.info.Size {
		t.Errorf("offset %d of %d, %v", r.Offset(), o.info.Size, err)
	}
	if err := r.Write(last, o.bytes[last:]); !errors.Is(err, ErrOffset) {
		t.Errorf("a piece of a snapshot that is held: %v", err)
	}
	finish(t, s, r, o)
	if err := errors.Join(r.Close(), r.Abort()); err != nil || len(s.List()) != 1 {
		t.Errorf("%v, %d snapshots", err, len(s.List()))
	}
}

// TestResume: a transfer goes on from what verifies of it, in the same life of the node and in the next.
func TestResume(t *testing.T) {
	o := offer(t, 9, 5000)
	header, _ := headerSize(o.bytes)
	for _, until := range []int64{0, 1, 39, int64(header) - 1, int64(header), 2000, 3333, o.info.Size - footerSize, o.info.Size - 1, o.info.Size} {
		cfg := testConfig(vfs.NewMem())
		s := open(t, cfg)
		r := receive(t, s, o)
		send(t, r, o, until, 300)
		if again := receive(t, s, o); again != r {
			t.Fatalf("until %d: the same offer got another receiver", until)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if err := r.Write(r.Offset(), []byte{1}); !errors.Is(err, ErrClosed) {
			t.Errorf("until %d: write after close: %v", until, err)
		}
		r = receive(t, s, o)
		at := r.Offset()
		if at > until || until-at >= ChunkBytesMin+chunkHeaderSize || until == o.info.Size && at != until {
			t.Errorf("until %d: goes on from %d", until, at)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, cfg)
		if r = receive(t, s, o); r.Offset() != at {
			t.Errorf("until %d: goes on from %d after a restart, want %d", until, r.Offset(), at)
		}
		send(t, r, o, o.info.Size, 700)
		finish(t, s, r, o)
	}
}

// TestResumeDamaged: of a part only the elements before the first damage count, and what is behind goes.
func TestResumeDamaged(t *testing.T) {
	o := offer(t, 9, 5000)
	for at := int64(0); at < o.info.Size; at += 97 {
		mem := vfs.NewMem()
		s := open(t, testConfig(mem))
		r := receive(t, s, o)
		send(t, r, o, o.info.Size, 300)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		name := s.path(partName(o.info.ID()))
		if err := mem.Flip(name, at, 4); err != nil {
			t.Fatal(err)
		}
		r = receive(t, s, o)
		if stat, err := mem.Stat(name); err != nil || r.Offset() > at || stat.Size != r.Offset() || at-r.Offset() > ChunkBytesMin+chunkHeaderSize {
			t.Errorf("damaged at %d: %d of %d bytes count, %v", at, r.Offset(), stat.Size, err)
		}
		send(t, r, o, o.info.Size, 300)
		finish(t, s, r, o)
	}
}

// TestAnotherSnapshot: a transfer of another snapshot ends the one under way, and no byte of the two meets (S2).
func TestAnotherSnapshot(t *testing.T) {
	cfg := testConfig(vfs.NewMem())
	s := open(t, cfg)
	first, second := offer(t, 9, 5000), offer(t, 10, 5000)
	old := receive(t, s, first)
	send(t, old, first, 3000, 300)
	r := receive(t, s, second)
	if r.Offset() != 0 || len(files(t, cfg, partSuffix)) != 1 {
		t.Fatalf("offset %d, parts %v", r.Offset(), files(t, cfg, partSuffix))
	}
	if err := old.Write(3000, first.bytes[3000:]); !errors.Is(err, ErrClosed) {
		t.Errorf("write to the old transfer: %v", err)
	}
	if _, err := old.Finish(); !errors.Is(err, ErrClosed) {
		t.Errorf("finish of the old transfer: %v", err)
	}
	if err := errors.Join(old.Close(), old.Abort()); err != nil {
		t.Errorf("end of the old transfer: %v", err)
	}
	send(t, r, second, 3000, 300)
	// Both files start alike, so that a piece of the first would be taken for one of the second but for what it says.
	if err := r.Write(3000, first.bytes[3000:]); !errors.Is(err, codec.ErrCorrupt) {
		t.Fatalf("bytes of another snapshot: %v", err)
	}
	if got := files(t, cfg, ""); len(got) > 0 {
		t.Fatalf("left behind: %v", got)
	}
	r = receive(t, s, second)
	send(t, r, second, 3000, 300)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// In the next life of the node: a part of one, an offer of the other.
	s = open(t, cfg)
	if r = receive(t, s, first); r.Offset() != 0 || !slices.Equal(files(t, cfg, ""), []string{partName(first.info.ID())}) {
		t.Fatalf("offset %d, files %v", r.Offset(), files(t, cfg, ""))
	}
	send(t, r, first, first.info.Size, 300)
	finish(t, s, r, first)
}

// TestOffersThatLie: a file that is not what was offered never counts, and leaves nothing.
func TestOffersThatLie(t *testing.T) {
	o := offer(t, 9, 5000)
	for name, change := range map[string]func(id *codec.SnapshotID){
		"another log id": func(id *codec.SnapshotID) { id.Log.Index++ },
		"another hash":   func(id *codec.SnapshotID) { id.Hash[31] ^= 1 },
		"a longer file":  func(id *codec.SnapshotID) { id.Size++ },
		"a shorter file": func(id *codec.SnapshotID) { id.Size -= 10 },
	} {
		s := open(t, testConfig(vfs.NewMem()))
		id := o.info.ID()
		change(&id)
		r, err := s.Receive(id)
		if err != nil {
			t.Fatal(err)
		}
		for at := int64(0); at < id.Size && err == nil; at = r.Offset() {
			err = r.Write(at, append(bytes.Clone(o.bytes), 0)[at:min(at+200, id.Size)])
		}
		if !errors.Is(err, codec.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
		if got := files(t, s.cfg, ""); len(got) > 0 || len(s.List()) > 0 {
			t.Errorf("%s: left behind %v", name, got)
		}
	}
	s := open(t, testConfig(vfs.NewMem()))
	for _, id := range []codec.SnapshotID{{Log: baseAt(3, 9).ID, Size: fileSizeMin - 1}, {Log: baseAt(3, 9).ID, Size: -1}, {Size: 1 << 20}} {
		if _, err := s.Receive(id); err == nil {
			t.Errorf("an offer of %+v was taken", id)
		}
	}
	for _, cfg := range []Config{{Cluster: "other", Group: 7}, {Cluster: "demo", Group: 8}} {
		cfg.FS, cfg.Dir = vfs.NewMem(), "dir"
		s := open(t, cfg)
		r := receive(t, s, o)
		if err := r.Write(0, o.bytes); !errors.Is(err, ErrForeign) || len(files(t, cfg, "")) > 0 {
			t.Errorf("a snapshot of another cluster or group: %v, %v", err, files(t, cfg, ""))
		}
	}
}

// TestHeldButDamaged: an offer of what is held, but has rotted, moves that aside, and the next one starts anew.
func TestHeldButDamaged(t *testing.T) {
	mem := vfs.NewMem()
	s, o := open(t, testConfig(mem)), offer(t, 9, 5000)
	r := receive(t, s, o)
	send(t, r, o, o.info.Size, 300)
	finish(t, s, r, o)
	if err := mem.Flip(s.path(snapshotName(o.info.ID())), 2000, 1); err != nil {
		t.Fatal(err)
	}
	if info, err := receive(t, s, o).Finish(); !errors.Is(err, codec.ErrCorrupt) || info.Size != 0 {
		t.Fatalf("finish: %+v, %v", info, err)
	}
	if got := files(t, s.cfg, brokenSuffix); len(got) != 1 || len(s.List()) != 0 {
		t.Fatalf("moved aside %v, listed %d", got, len(s.List()))
	}
	r = receive(t, s, o)
	send(t, r, o, o.info.Size, 300)
	finish(t, s, r, o)
}

// TestAbort removes what was received; Close keeps it, until a newer snapshot has made it useless.
func TestAbort(t *testing.T) {
	s, o := open(t, testConfig(vfs.NewMem())), offer(t, 9, 5000)
	r := receive(t, s, o)
	send(t, r, o, 3000, 300)
	if err := r.Abort(); err != nil || len(files(t, s.cfg, "")) > 0 {
		t.Fatalf("%v, left behind: %v", err, files(t, s.cfg, ""))
	}
	r = receive(t, s, o)
	send(t, r, o, 3000, 300)
	mustTake(t, s, Meta{Base: baseAt(3, 10)}, nil)
	if got := files(t, s.cfg, partSuffix); len(got) != 1 {
		t.Fatalf("parts %v while the transfer runs", got)
	}
	if err := errors.Join(r.Close(), r.Close()); err != nil {
		t.Fatal(err)
	}
	mustTake(t, s, Meta{Base: baseAt(3, 11)}, nil)
	if got := files(t, s.cfg, partSuffix); len(got) != 0 {
		t.Errorf("parts %v behind a newer snapshot", got)
	}
}

// TestConcurrentUse lets a store be used from all sides at once; the race detector and the contents are the judges.
func TestConcurrentUse(t *testing.T) {
	cfg := testConfig(vfs.NewVolatile())
	s := open(t, cfg)
	offers := []outgoing{offer(t, 50, 20_000), offer(t, 60, 20_000)}
	var wg sync.WaitGroup
	expected := func(err error) bool {
		return err == nil || errors.Is(err, ErrNotHeld) || errors.Is(err, ErrClosed) || errors.Is(err, ErrOffset) || errors.Is(err, ErrIncomplete)
	}
	for worker := range 3 {
		wg.Go(func() {
			for i := range 30 {
				index := codec.Index(2 + worker + 3*i)
				if _, err := take(s, Meta{Base: baseAt(3, index)}, stateOf(uint64(index), 3000)); err != nil {
					t.Errorf("take %d: %v", index, err)
				}
			}
		})
		wg.Go(func() {
			for range 30 {
				for _, info := range s.List() {
					_, state, err := content(s, info)
					if !expected(err) || err == nil && !bytes.Equal(state, stateOf(uint64(info.Base.ID.Index), int(info.StateBytes))) {
						t.Errorf("read %v: %v", info.Base.ID, err)
					}
				}
			}
		})
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(worker), 0))
			for range 20 {
				o := offers[r.IntN(2)]
				rec, err := s.Receive(o.info.ID())
				for at := int64(0); err == nil && rec.Offset() < o.info.Size; {
					at = rec.Offset()
					err = rec.Write(at, o.bytes[at:min(at+1500, o.info.Size)])
				}
				if err == nil {
					_, err = rec.Finish()
				}
				if !expected(err) {
					t.Errorf("receive %v: %v", o.info.Base.ID, err)
				}
			}
		})
	}
	wg.Wait()
	if got := len(s.List()); got != 2 {
		t.Errorf("%d snapshots are left, want 2", got)
	}
	if got := files(t, cfg, snapshotSuffix); len(got) != 2 {
		t.Errorf("%d files are left, want 2", len(got))
	}
}

// TestPartOfSomebodyElse: a part whose bytes are of another group, however it came there, is not gone on with.
func TestPartOfSomebodyElse(t *testing.T) {
	o := offer(t, 9, 5000)
	foreign := header{cluster: "demo", group: 8, base: o.info.Base, chunkBytes: ChunkBytesMin}
	cfg := testConfig(vfs.NewMem())
	s := open(t, cfg)
	f, err := cfg.FS.OpenFile(s.path(partName(o.info.ID())), os.O_CREATE|os.O_WRONLY, filePerm)
	if err == nil {
		_, err = f.WriteAt(foreign.append(nil), 0)
	}
	if err != nil || f.Close() != nil {
		t.Fatal(err)
	}
	s = open(t, cfg)
	r := receive(t, s, o)
	if r.Offset() != 0 {
		t.Fatalf("goes on from %d", r.Offset())
	}
	send(t, r, o, o.info.Size, 300)
	finish(t, s, r, o)
}

// heldFS is a file system whose syncs of parts tell that they have begun, and then wait.
type heldFS struct {
	vfs.FS
	begun, goOn chan struct{}
}

func (h *heldFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := h.FS.OpenFile(name, flag, perm)
	if err == nil && filepath.Ext(name) == partSuffix {
		f = heldFile{f, h}
	}
	return f, err
}

type heldFile struct {
	vfs.File
	held *heldFS
}

func (f heldFile) Sync() error {
	close(f.held.begun)
	<-f.held.goOn
	return f.File.Sync()
}

// TestNobodyWaitsForTheSyncOfWhatIsReceived: it may be of gigabytes. Snapshots are taken and read meanwhile.
func TestNobodyWaitsForTheSyncOfWhatIsReceived(t *testing.T) {
	o := offer(t, 50, 20_000)
	held := &heldFS{vfs.NewVolatile(), make(chan struct{}), make(chan struct{})}
	s := open(t, testConfig(held))
	r := receive(t, s, o)
	send(t, r, o, o.info.Size, 1500)
	finished := make(chan error, 1)
	go func() {
		_, err := r.Finish()
		finished <- err
	}()
	<-held.begun
	taken := make(chan error, 1)
	go func() {
		info, err := take(s, Meta{Base: baseAt(3, 40)}, stateOf(40, 3000))
		if err == nil {
			_, _, err = content(s, info)
		}
		taken <- err
	}()
	select {
	case err := <-taken:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("a snapshot that is taken waits for the sync of one that is received")
	}
	close(held.goOn)
	if err := <-finished; err != nil {
		t.Fatal(err)
	}
	if newest, _ := s.Newest(); newest.ID() != o.info.ID() || len(s.List()) != 2 {
		t.Errorf("the store holds %+v, want the received one and the taken one", s.List())
	}
}
