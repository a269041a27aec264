package snapshot

import (
	"errors"
	"fmt"
	"os"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

// syncBytes is how much is written between two syncs. Without them the last one would find gigabytes to write, and every
// sync of the write-ahead log on the same disk would wait behind it.
const syncBytes = 16 << 20

// Meta is what a snapshot holds beside the state.
type Meta struct {
	// Base is the log id of the last entry in the state, and the newest membership up to it.
	Base codec.LogBase
	// Sessions is the encoded session table, at most [SessionsBytesMax]; nil for none.
	Sessions []byte
	// Stateless makes a file without a state, for a state machine that keeps its own.
	Stateless bool
}

// Writer writes a snapshot: the state goes to Write, then Commit gives the file its name. A writer that is not committed is
// aborted.
//
// Owner: who called [Store.Create].
type Writer struct {
	store  *Store
	temp   string // name in the directory
	file   vfs.File
	header header
	footer footer
	walk   walk // has taken all that was written
	err    error

	buf      []byte // room for a chunk header, then the bytes of the chunk that fills
	packed   []byte // the same for a compressed one
	unsynced int64
}

// Create begins a snapshot. Errors: a base without an entry, sessions beyond their limit, [ErrClosed], those of the file
// system.
func (s *Store) Create(meta Meta) (*Writer, error) {
	if err := meta.validate(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.temps++
	temp, closed := fmt.Sprintf("%020d%s", s.temps, tempSuffix), s.closed
	s.mu.Unlock()
	if closed {
		return nil, fmt.Errorf("snapshot: %w", ErrClosed)
	}
	w := &Writer{store: s, temp: temp, walk: newWalk(), header: header{
		cluster: s.cfg.Cluster, group: s.cfg.Group, base: meta.Base, stateless: meta.Stateless,
		sessionsBytes: int64(len(meta.Sessions)), chunkBytes: s.cfg.ChunkBytes,
	}}
	f, err := s.cfg.FS.OpenFile(s.path(temp), os.O_CREATE|os.O_EXCL|os.O_WRONLY, filePerm)
	if err != nil {
		return nil, fmt.Errorf("snapshot: create: %w", err)
	}
	w.file = f
	w.buf = make([]byte, chunkHeaderSize, chunkHeaderSize+s.cfg.ChunkBytes)
	w.put(w.header.append(nil))
	w.fill(chunkSessions, meta.Sessions)
	w.flush(chunkSessions)
	if w.err != nil {
		return nil, w.err
	}
	return w, nil
}

func (m *Meta) validate() error {
	if err := m.Base.Validate(); err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	switch {
	case m.Base.ID.IsZero():
		return fmt.Errorf("snapshot: Base is zero, want the log id of the last entry in the state")
	case len(m.Sessions) > SessionsBytesMax:
		return fmt.Errorf("snapshot: Sessions have %d bytes, limit %d", len(m.Sessions), SessionsBytesMax)
	}
	return nil
}

// Write takes the next bytes of the state. After an error nothing is left of the file and every later call says the same.
// Errors: [ErrStateless], [ErrClosed], those of the file system.
func (w *Writer) Write(p []byte) (int, error) {
	if w.err == nil && w.header.stateless && len(p) > 0 {
		w.fail(ErrStateless)
	}
	if w.err != nil {
		return 0, w.err
	}
	w.fill(chunkState, p)
	if w.err != nil {
		return 0, w.err
	}
	w.footer.stateBytes += int64(len(p))
	return len(p), nil
}

// fill puts bytes into chunks, and writes those that are full.
func (w *Writer) fill(kind chunkKind, p []byte) {
	for len(p) > 0 && w.err == nil {
		n := min(len(p), cap(w.buf)-len(w.buf))
		w.buf = append(w.buf, p[:n]...)
		p = p[n:]
		if len(w.buf) == cap(w.buf) {
			w.flush(kind)
		}
	}
}

// flush writes what is in the chunk that fills.
func (w *Writer) flush(kind chunkKind) {
	raw := w.buf[chunkHeaderSize:]
	if len(raw) == 0 || w.err != nil {
		return
	}
	out, h := w.buf, chunkHeader{kind: kind, stored: len(raw), raw: len(raw)}
	if c := w.store.cfg.Compression; c != codec.CompressionNone {
		w.packed = codec.Compress(append(w.packed[:0], make([]byte, chunkHeaderSize)...), raw, c)
		if n := len(w.packed) - chunkHeaderSize; n < len(raw) {
			out, h.stored, h.compression = w.packed, n, c
		}
	}
	h.put(out, out[chunkHeaderSize:], w.walk.chain)
	w.put(out)
	w.footer.chunks++
	w.buf = w.buf[:chunkHeaderSize]
}

// put writes an element.
func (w *Writer) put(b []byte) {
	at := w.walk.pos
	if _, err := w.walk.take(b); err != nil {
		panic("BUG: snapshot writer: " + err.Error())
	}
	if _, err := w.file.WriteAt(b, at); err != nil {
		w.fail(err)
		return
	}
	if w.unsynced += int64(len(b)); w.unsynced >= syncBytes {
		w.unsynced = 0
		if err := w.file.Sync(); err != nil {
			w.fail(err)
		}
	}
}

// fail ends the writer and removes its file.
func (w *Writer) fail(err error) {
	w.err = fmt.Errorf("snapshot: write %v: %w", w.header.base.ID, err)
	if w.file == nil {
		return
	}
	closeErr := w.file.Close()
	w.file = nil
	w.err = errors.Join(w.err, closeErr, w.store.remove(w.temp, "unfinished"))
}

// Commit writes the end of the file, makes it durable and gives it its name. Older snapshots than are to be kept are removed.
// Where the same snapshot is held already it takes its place. After an error nothing is left of the file. Errors: that of
// an earlier Write, [ErrClosed], those of the file system.
func (w *Writer) Commit() (Info, error) {
	w.flush(chunkState)
	if w.err == nil {
		w.footer.size = w.walk.pos + footerSize
		w.put(w.footer.append(nil, w.walk.sum))
	}
	if w.err == nil {
		if err := w.file.Sync(); err != nil {
			w.fail(err)
		}
	}
	if w.err != nil {
		return Info{}, w.err
	}
	err := w.file.Close()
	w.file = nil
	if err != nil {
		err = errors.Join(err, w.store.remove(w.temp, "unfinished"))
	} else {
		err = w.store.install(w.temp, w.walk.info())
	}
	if w.err = fmt.Errorf("snapshot: commit of %v: %w", w.header.base.ID, ErrClosed); err != nil {
		w.err = fmt.Errorf("snapshot: commit of %v: %w", w.header.base.ID, err)
		return Info{}, w.err
	}
	return w.walk.info(), nil
}

// Abort removes the file. After Commit, or another Abort, it does nothing.
func (w *Writer) Abort() {
	if w.file != nil {
		w.fail(ErrClosed)
	}
}
