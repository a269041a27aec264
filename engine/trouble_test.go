package engine

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
	"github.com/millrace/millrace/wal/vfs"
)

// blob is a state machine that holds the last entry, with functions that get in its way.
type blob struct {
	mu    sync.Mutex
	state []byte

	apply func(Entry) error
	read  func()       // after each piece of a state that is restored
	close func() error // of a captured state
}

func (b *blob) Apply(entries []Entry, _ []Result) error {
	for _, e := range entries {
		if b.apply != nil {
			if err := b.apply(e); err != nil {
				return err
			}
		}
		b.mu.Lock()
		b.state = slices.Clone(e.Data)
		b.mu.Unlock()
	}
	return nil
}

func (b *blob) get() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state
}

type blobSource struct {
	*bytes.Buffer
	close func() error
}

func (s blobSource) Close() error {
	if s.close != nil {
		return s.close()
	}
	return nil
}

func (b *blob) Snapshot() (SnapshotSource, error) {
	return blobSource{bytes.NewBuffer(slices.Clone(b.get())), b.close}, nil
}

func (b *blob) Restore(r io.Reader) error {
	var all []byte
	for piece := make([]byte, 32<<10); ; {
		n, err := r.Read(piece)
		all = append(all, piece[:n]...)
		if b.read != nil {
			b.read()
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return errors.New("what a state machine makes of an error")
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state = all
	return nil
}

// sole opens a node in a directory, the only one of its cluster, and waits until it leads.
func sole(t *testing.T, dir string, sm StateMachine, adjust func(*Config)) *Raft {
	t.Helper()
	cfg := Config{
		NodeID: 1, ClusterID: "sole", Dir: dir, Listen: "127.0.0.1:0",
		ElectionTimeoutMin: 50 * time.Millisecond, ElectionTimeoutMax: 100 * time.Millisecond, HeartbeatInterval: 10 * time.Millisecond,
	}
	if adjust != nil {
		adjust(&cfg)
	}
	r, err := Open(cfg, sm)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() }) // its test has looked at what matters of it
	err = r.Initialize(t.Context(), codec.NewMembership(codec.SeveralLeadersPerTerm, codec.Node{ID: 1, Address: r.Addr()}))
	if err != nil && !errors.Is(err, ErrInitialized) {
		t.Fatal(err)
	}
	if _, err := r.WaitLeader(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

func put(t *testing.T, r *Raft, data []byte) {
	t.Helper()
	if _, err := r.Propose(t.Context(), data); err != nil {
		t.Fatal(err)
	}
}

func snapshotFiles(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, snapshotFolder, "*", "*.snapshot"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestRestoreOfACutSource: a source that breaks off has not ended, also where it says so as io.ReadFull says it.
func TestRestoreOfACutSource(t *testing.T) {
	sm := &blob{}
	r := sole(t, t.TempDir(), sm, nil)
	put(t, r, []byte("as it was"))
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	for n := range 200_000 {
		fmt.Fprintln(w, n*n)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	cut, err := gzip.NewReader(bytes.NewReader(zipped.Bytes()[:zipped.Len()/2]))
	if err != nil {
		t.Fatal(err)
	}
	for name, source := range map[string]io.Reader{
		"a cut gzip":      cut,
		"unexpected EOF":  io.MultiReader(strings.NewReader("half"), iotest.ErrReader(io.ErrUnexpectedEOF)),
		"nothing at all":  iotest.ErrReader(io.ErrUnexpectedEOF),
		"no progress":     readerFunc(func([]byte) (int, error) { return 0, nil }),
		"an error beside": iotest.DataErrReader(io.MultiReader(strings.NewReader("half"), iotest.ErrReader(io.ErrUnexpectedEOF))),
	} {
		if at, err := r.Restore(t.Context(), source); !errors.Is(err, ErrRestoreGivenUp) {
			t.Errorf("%s: %v, %v, want that it is given up", name, at, err)
		}
	}
	if got := sm.get(); string(got) != "as it was" {
		t.Errorf("the state is %.20q", got)
	}
	if _, err := r.Restore(t.Context(), iotest.DataErrReader(iotest.OneByteReader(strings.NewReader("new")))); err != nil || string(sm.get()) != "new" {
		t.Errorf("%q, %v", sm.get(), err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// TestPanicOfACapturedState: where it is closed, too, it costs that snapshot alone.
func TestPanicOfACapturedState(t *testing.T) {
	sm := &blob{close: func() error { panic("close") }}
	r := sole(t, t.TempDir(), sm, nil)
	put(t, r, []byte("x"))
	var failed *StateMachineError
	if _, err := r.Trigger().Snapshot(t.Context()); !errors.As(err, &failed) || !strings.Contains(err.Error(), "panic in Close: close") {
		t.Errorf("%v, want a StateMachineError with the panic", err)
	}
	put(t, r, []byte("y"))
}

// panicking is an on-disk state machine whose disk is gone.
type panicking struct{ blob }

func (*panicking) Applied() (codec.LogID, error) { panic("no disk") }
func (*panicking) Sync() (codec.LogID, error)    { panic("no disk") }

// TestPanicOfApplied is an error of Open, after which the directory can be opened.
func TestPanicOfApplied(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{NodeID: 1, ClusterID: "sole", Dir: dir, Listen: "127.0.0.1:0"}
	var failed *StateMachineError
	if _, err := Open(cfg, &panicking{}); !errors.As(err, &failed) || failed.Call != "Applied" {
		t.Fatalf("%v, want a StateMachineError of Applied", err)
	}
	put(t, sole(t, dir, &blob{}, nil), []byte("x"))
}

// TestFullDiskOfARestore: what is only on its way harms nobody; a node that has no room for a state that is complete stops,
// and goes on when there is.
func TestFullDiskOfARestore(t *testing.T) {
	var full atomic.Bool
	disk := vfs.NewFault(vfs.NewMem())
	disk.InjectIf(vfs.OpWrite, full.Load, vfs.Fail, syscall.ENOSPC)
	dir := t.TempDir()
	onDisk := func(c *Config) { c.SnapshotFS, c.SnapshotDir = disk, "/snapshots" }
	sm := &blob{}
	r := sole(t, dir, sm, onDisk)
	put(t, r, []byte("old"))
	full.Store(true)
	half := io.MultiReader(bytes.NewReader(make([]byte, 2*restorePartBytes)), iotest.ErrReader(io.ErrUnexpectedEOF))
	if _, err := r.Restore(t.Context(), half); !errors.Is(err, ErrRestoreGivenUp) {
		t.Fatal(err)
	}
	put(t, r, []byte("between"))
	if disk.Injected() == 0 {
		t.Fatal("nothing met the full disk")
	}
	if _, err := r.Restore(t.Context(), bytes.NewReader(make([]byte, 2*restorePartBytes))); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v, want that there is no space", err)
	}
	if err := r.Close(); !errors.Is(err, syscall.ENOSPC) || string(sm.get()) != "between" {
		t.Errorf("Close: %v, the state is %.20q", err, sm.get())
	}
	full.Store(false)
	sm = &blob{}
	put(t, sole(t, dir, sm, onDisk), []byte("behind"))
	if got := string(sm.get()); got != "behind" {
		t.Errorf("the state is %.20q", got)
	}
}

// TestIntervalDuringARestore: the loop has no deadline of a snapshot that can't be taken.
func TestIntervalDuringARestore(t *testing.T) {
	r := sole(t, t.TempDir(), &blob{}, func(c *Config) { c.Snapshot.Interval = time.Millisecond })
	put(t, r, []byte("x"))
	more, source := make(chan struct{}), make(chan struct{})
	restored := make(chan error, 1)
	go func() {
		_, err := r.Restore(t.Context(), io.MultiReader(bytes.NewReader(make([]byte, restorePartBytes)), readerFunc(func([]byte) (int, error) {
			close(source)
			<-more
			return 0, io.EOF
		})))
		restored <- err
	}()
	<-source
	until(t, "the loop to know that a state comes", func() bool {
		var collects bool
		var at consensus.Instant
		reply := make(chan struct{})
		r.box.post(func(m *mail) {
			m.asks = append(m.asks, func(l *loop) {
				collects, at = l.keeper.collects(), l.keeper.takeDeadline()
				close(reply)
			})
		})
		<-reply
		if collects && at != consensus.Never {
			t.Errorf("deadline %v", at)
		}
		return collects
	})
	close(more)
	if err := <-restored; err != nil {
		t.Error(err)
	}
	until(t, "a snapshot behind it", func() bool { return r.Metrics().Snapshots.Newest.Index == r.Metrics().Applied })
}

// TestExportOfARottenSnapshot takes another one: the state is well.
func TestExportOfARottenSnapshot(t *testing.T) {
	dir, to := t.TempDir(), t.TempDir()
	r := sole(t, dir, &blob{}, nil)
	put(t, r, bytes.Repeat([]byte("x"), 10_000))
	if _, err := r.Trigger().Snapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	rot(t, snapshotFiles(t, dir)[0])
	at, err := r.Export(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	e, err := OpenExport(to)
	if err != nil {
		t.Fatal(err)
	}
	if state, err := io.ReadAll(e); err != nil || len(state) != 10_000 || at != e.Info().Base.ID {
		t.Errorf("%v, %d bytes, %v", at, len(state), err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// TestNodeAloneWithoutAnIntactSnapshot says so at once, since nobody can help it.
func TestNodeAloneWithoutAnIntactSnapshot(t *testing.T) {
	dir := t.TempDir()
	few := func(c *Config) { c.SegmentBytes, c.Keep, c.SnapshotsKept = 4096, LogKeep{Entries: -1}, 1 }
	r := sole(t, dir, &blob{}, few)
	for range 20 {
		put(t, r, make([]byte, 1000))
	}
	if _, err := r.Trigger().Snapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, "a purge", func() bool { return r.Metrics().Snapshots.Purged.Index > 10 })
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	rot(t, snapshotFiles(t, dir)[0])
	cfg := Config{NodeID: 1, ClusterID: "sole", Dir: dir, Listen: "127.0.0.1:0"}
	few(&cfg)
	if _, err := Open(cfg, &blob{}); !errors.Is(err, codec.ErrCorrupt) || !strings.Contains(err.Error(), "no intact snapshot reaches there") {
		t.Fatalf("%v, want what is missing", err)
	}
}

// TestFailureOfApplyDuringClose is what Close and Err return.
func TestFailureOfApplyDuringClose(t *testing.T) {
	bad := errors.New("bad entry")
	reached, hold := make(chan struct{}), make(chan struct{})
	sm := &blob{apply: func(e Entry) error {
		if string(e.Data) != "bad" {
			return nil
		}
		close(reached)
		<-hold
		return bad
	}}
	r := sole(t, t.TempDir(), sm, func(c *Config) { c.CloseTimeout = time.Millisecond })
	put(t, r, []byte("good"))
	proposed, closed := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := r.Propose(t.Context(), []byte("bad"))
		proposed <- err
	}()
	<-reached
	go func() { closed <- r.Close() }()
	until(t, "the node to close its intake and mailbox", func() bool { return r.last.Load() != nil })
	close(hold)
	if err := <-proposed; !errors.Is(err, bad) {
		t.Errorf("Propose: %v", err)
	}
	if err := <-closed; !errors.Is(err, bad) || !errors.Is(r.Err(), bad) {
		t.Errorf("Close: %v, Err: %v", err, r.Err())
	}
}

// TestCloseDuringARestore waits for no more than one piece, and is no failure of the state machine.
func TestCloseDuringARestore(t *testing.T) {
	dir := t.TempDir()
	r := sole(t, dir, &blob{}, nil)
	put(t, r, make([]byte, 1<<20))
	if _, err := r.Trigger().Snapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	pieces, first, ending := 0, make(chan struct{}), make(chan struct{})
	sm := &blob{read: func() {
		if pieces++; pieces == 1 {
			close(first)
			<-ending
		}
	}}
	r, err := Open(Config{NodeID: 1, ClusterID: "sole", Dir: dir, Listen: "127.0.0.1:0", CloseTimeout: time.Millisecond}, sm)
	if err != nil {
		t.Fatal(err)
	}
	<-first
	closed := make(chan error, 1)
	go func() { closed <- r.Close() }()
	<-r.loop.keeper.ending.Done()
	close(ending)
	if err := <-closed; err != nil || r.Err() != nil || pieces > 2 || len(sm.get()) > 0 {
		t.Errorf("%v, %v, %d pieces were read, want one and an end", err, r.Err(), pieces)
	}
	sm = &blob{}
	put(t, sole(t, dir, sm, nil), []byte("x"))
}

type deaf struct{}

func (deaf) Apply([]Entry, []Result) error { return nil }

// TestImportIsNotPassedOver: a state machine that can't take the state would begin another history beside it.
func TestImportIsNotPassedOver(t *testing.T) {
	export, dir := t.TempDir(), filepath.Join(t.TempDir(), "new")
	r := sole(t, t.TempDir(), &blob{}, nil)
	put(t, r, []byte("x"))
	if _, err := r.Export(t.Context(), export); err != nil {
		t.Fatal(err)
	}
	cfg := Config{NodeID: 1, ClusterID: "new", Dir: dir, Listen: "127.0.0.1:0"}
	for _, address := range []string{"", "nonsense", "127.0.0.1:0"} {
		m := codec.NewMembership(codec.SeveralLeadersPerTerm, codec.Node{ID: 1, Address: "127.0.0.1:7001"}, codec.Node{ID: 2, Address: address})
		if err := Import(cfg, export, m); !errors.Is(err, ErrMembership) {
			t.Errorf("address %q: %v, want that it is refused as Initialize would", address, err)
		}
	}
	m := codec.NewMembership(codec.SeveralLeadersPerTerm, codec.Node{ID: 1, Address: "127.0.0.1:7001"})
	if err := Import(cfg, export, m); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(cfg, deaf{}); !errors.Is(err, ErrNotSnapshotter) {
		t.Errorf("opened without a Snapshotter: %v", err)
	}
	n, err := Open(cfg, &blob{})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if _, err := n.WaitLeader(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestRestoreWithSmallProposals: what does not hold the last entry is refused before the first.
func TestRestoreWithSmallProposals(t *testing.T) {
	for limit, ok := range map[int]bool{restoreEndSize - 1: false, restoreEndSize: true} {
		sm := &blob{}
		r := sole(t, t.TempDir(), sm, func(c *Config) { c.ProposalBytesMax = limit })
		_, err := r.Restore(t.Context(), strings.NewReader(strings.Repeat("y", 100)))
		if ok && (err != nil || len(sm.get()) != 100) || !ok && !errors.Is(err, ErrTooLarge) {
			t.Errorf("limit %d: %v, %d bytes", limit, err, len(sm.get()))
		}
	}
}
