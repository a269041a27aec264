package snapshot

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

// Info describes a complete snapshot.
type Info struct {
	// Base is the log id of the last entry in the state, and the newest membership up to it.
	Base codec.LogBase
	// Size of the file in bytes, and the SHA-256 in its footer, over all that stands before.
	Size int64
	Hash codec.SnapshotHash
	// Stateless says that the file has no state: that is in a state machine which keeps its own.
	Stateless bool
	// SessionsBytes and StateBytes are the sizes before compression.
	SessionsBytes, StateBytes int64
}

// ID returns what tells this snapshot from every other.
func (i Info) ID() codec.SnapshotID {
	return codec.SnapshotID{Log: i.Base.ID, Size: i.Size, Hash: i.Hash}
}

func describe(h *header, f *footer) Info {
	return Info{Base: h.base, Size: f.size, Hash: f.hash, Stateless: h.stateless, SessionsBytes: h.sessionsBytes,
		StateBytes: f.stateBytes}
}

// compare orders snapshots from the newest to the oldest: by log id, which is the log's order, by number and not by name. Of
// two of one log id the one with a state comes first.
func (i Info) compare(o Info) int {
	if c := cmp.Compare(o.Base.ID.Index, i.Base.ID.Index); c != 0 {
		return c
	}
	if c := o.Base.ID.Compare(i.Base.ID); c != 0 {
		return c
	}
	if i.Stateless != o.Stateless {
		if i.Stateless {
			return 1
		}
		return -1
	}
	return slices.Compare(i.Hash[:], o.Hash[:])
}

// file is a complete snapshot in the store.
type file struct {
	info Info
	pins int // readers and senders; retention leaves a pinned file alone
}

// Store keeps the snapshots of one group. Its methods may be called from any goroutine.
//
// Owner: none. Snapshots are taken, sent, received and restored by different goroutines, and none of them should wait for
// another's disk: names is held while names in the directory change, with the file system calls that takes; mu guards
// the fields, is taken after names, and never held during a call.
type Store struct {
	cfg   Config
	names sync.Mutex

	mu       sync.Mutex
	files    []*file // newest first
	receiver *Receiver
	part     codec.SnapshotID // of the part file in the directory, zero for none
	temps    int              // names given to unfinished files
	closed   bool
}

// Open makes the directory where it is missing, sweeps what is unfinished, and lists the complete snapshots. Of interrupted
// transfers the newest is kept. A file whose header or footer does not verify is moved aside, with a line in the log.
// What lies between is checked when it is read, or by [Store.Verify]. Errors: a setting out of bounds; [ErrForeign]; a
// format version of another build ([codec.ErrVersion]); an error of the file system.
func Open(cfg Config) (*Store, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg}
	if err := vfs.MkdirAll(cfg.FS, cfg.Dir, folderPerm); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	names, err := cfg.FS.ReadDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	for _, name := range names {
		switch filepath.Ext(name) {
		case snapshotSuffix:
			err = s.admit(name, names)
		case partSuffix:
			err = s.admitPart(name)
		case tempSuffix:
			err = s.remove(name, "unfinished")
		}
		if err != nil {
			return nil, fmt.Errorf("snapshot: open %s: %w", s.path(name), err)
		}
	}
	s.sort()
	// Names that can be seen may not be durable yet: whoever made them may have been killed before it synced them.
	if err := cfg.FS.SyncDir(cfg.Dir); err != nil {
		return nil, fmt.Errorf("snapshot: sync directory %s: %w", cfg.Dir, err)
	}
	s.retain()
	return s, nil
}

func (s *Store) path(name string) string { return filepath.Join(s.cfg.Dir, name) }

// remove removes a file and says so.
func (s *Store) remove(name, why string) error {
	err := s.cfg.FS.Remove(s.path(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.cfg.Logger.Info("snapshot: file removed", "file", s.path(name), "reason", why)
	return nil
}

// admit lists a complete file, or moves it aside.
func (s *Store) admit(name string, taken []string) error {
	info, err := s.inspect(name)
	if err == nil && snapshotName(info.ID()) != name {
		err = fmt.Errorf("holds the snapshot that belongs to %s: %w", snapshotName(info.ID()), codec.ErrCorrupt)
	}
	if errors.Is(err, codec.ErrCorrupt) {
		return s.moveAside(name, taken, err)
	}
	if err == nil {
		s.files = append(s.files, &file{info: info})
	}
	return err
}

// inspect reads a file's header and footer.
func (s *Store) inspect(name string) (info Info, err error) {
	f, err := s.cfg.FS.OpenFile(s.path(name), readOnly, 0)
	if err != nil {
		return Info{}, err
	}
	defer f.Close()
	ends, err := readEnds(f)
	if err != nil {
		return Info{}, err
	}
	return describe(&ends.header, &ends.footer), s.cfg.check(&ends.header)
}

// moveAside gives a file that does not verify a name under which nothing looks for it.
func (s *Store) moveAside(name string, taken []string, reason error) error {
	kept := ""
	for n := 1; kept == "" || slices.Contains(taken, kept); n++ {
		kept = fmt.Sprintf("%s.%d%s", name, n, brokenSuffix)
	}
	if err := s.cfg.FS.Rename(s.path(name), s.path(kept)); err != nil {
		return err
	}
	s.cfg.Logger.Warn("snapshot: file does not verify, moved aside", "file", s.path(name), "kept", s.path(kept), "reason", reason)
	return nil
}

// admitPart keeps the newest of the unfinished transfers. Names that no transfer was given are left alone.
func (s *Store) admitPart(name string) error {
	id, ok := parsePartName(name)
	if !ok {
		return nil
	}
	old := s.part
	if old.Log.Index > id.Log.Index {
		return s.remove(name, "a newer transfer is kept")
	}
	s.part = id
	if old != (codec.SnapshotID{}) {
		return s.remove(partName(old), "a newer transfer is kept")
	}
	return nil
}

func (s *Store) sort() {
	slices.SortFunc(s.files, func(a, b *file) int { return a.info.compare(b.info) })
}

// retain removes the files beyond those to keep that nobody reads, and a part that newer snapshots have made useless. The
// caller holds names, or is alone. A removal that fails, or does not survive the power, is made up for by the next
// opening.
func (s *Store) retain() {
	s.mu.Lock()
	var gone []string
	for i := len(s.files) - 1; i >= s.cfg.Keep; i-- {
		if f := s.files[i]; f.pins == 0 {
			gone = append(gone, snapshotName(f.info.ID()))
			s.files = slices.Delete(s.files, i, i+1)
		}
	}
	if s.part.Size > 0 && s.receiver == nil && len(s.files) > 0 && s.part.Log.Index <= s.files[0].info.Base.ID.Index {
		gone = append(gone, partName(s.part))
		s.part = codec.SnapshotID{}
	}
	s.mu.Unlock()
	for _, name := range gone {
		if err := s.remove(name, "newer snapshots are kept"); err != nil {
			s.cfg.Logger.Warn("snapshot: file can't be removed", "file", s.path(name), "error", err)
		}
	}
}

// Newest returns the newest snapshot, and false for none.
func (s *Store) Newest() (Info, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.files) == 0 {
		return Info{}, false
	}
	return s.files[0].info, true
}

// List returns all snapshots, newest first.
func (s *Store) List() []Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Info, len(s.files))
	for i, f := range s.files {
		out[i] = f.info
	}
	return out
}

// find returns the file of that identity, or nil. The caller holds mu.
func (s *Store) find(id codec.SnapshotID) *file {
	for _, f := range s.files {
		if f.info.ID() == id {
			return f
		}
	}
	return nil
}

// install gives a complete and synced file its final name and makes that durable. On an error nothing is left of it.
func (s *Store) install(temp string, info Info) error {
	s.names.Lock()
	defer s.names.Unlock()
	return s.installHolding(temp, info)
}

// installHolding is install for a caller that holds names.
func (s *Store) installHolding(temp string, info Info) error {
	s.mu.Lock()
	closed, held := s.closed, s.find(info.ID()) != nil
	s.mu.Unlock()
	name, err := snapshotName(info.ID()), error(nil)
	if closed {
		err = ErrClosed
	}
	if err == nil {
		err = s.cfg.FS.Rename(s.path(temp), s.path(name))
	}
	if err != nil {
		return errors.Join(err, s.remove(temp, "unfinished"))
	}
	if err := s.cfg.FS.SyncDir(s.cfg.Dir); err != nil {
		if !held { // else the name stood for the same bytes before
			err = errors.Join(err, s.remove(name, "its name may not be durable"))
		}
		return fmt.Errorf("sync directory %s: %w", s.cfg.Dir, err)
	}
	s.mu.Lock()
	if !held {
		s.files = append(s.files, &file{info: info})
		s.sort()
	}
	s.mu.Unlock()
	s.retain()
	return nil
}

// SetAside takes a snapshot that was found damaged out of the store: its file is kept under another name. Readers and
// senders of it go on. Errors: [ErrNotHeld], those of the file system.
func (s *Store) SetAside(info Info, reason error) error {
	s.names.Lock()
	defer s.names.Unlock()
	name := snapshotName(info.ID())
	s.mu.Lock()
	f := s.find(info.ID())
	s.mu.Unlock()
	if f == nil {
		return fmt.Errorf("snapshot: %s: %w", name, ErrNotHeld)
	}
	taken, err := s.cfg.FS.ReadDir(s.cfg.Dir)
	if err == nil {
		err = s.moveAside(name, taken, reason)
	}
	if err == nil {
		s.mu.Lock()
		s.files = slices.DeleteFunc(s.files, func(o *file) bool { return o == f })
		s.mu.Unlock()
		err = s.cfg.FS.SyncDir(s.cfg.Dir)
	}
	if err != nil {
		return fmt.Errorf("snapshot: move %s aside: %w", name, err)
	}
	return nil
}

// pin keeps a file from retention until the release that it returns is called.
func (s *Store) pin(info Info) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.find(info.ID())
	switch {
	case s.closed:
		return nil, ErrClosed
	case f == nil:
		return nil, fmt.Errorf("%s: %w", strings.TrimSuffix(snapshotName(info.ID()), snapshotSuffix), ErrNotHeld)
	}
	f.pins++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		f.pins--
		again := f.pins == 0 && len(s.files) > s.cfg.Keep
		s.mu.Unlock()
		if again {
			s.names.Lock()
			s.retain()
			s.names.Unlock()
		}
	}), nil
}

// Close ends the store and the transfer under way, whose part is kept. Readers and senders end by themselves; writers that
// commit afterwards fail.
func (s *Store) Close() error {
	s.names.Lock()
	defer s.names.Unlock()
	s.mu.Lock()
	s.closed = true
	r := s.receiver
	s.receiver = nil
	s.mu.Unlock()
	if r != nil {
		return r.end(ErrClosed)
	}
	return nil
}
