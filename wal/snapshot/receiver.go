package snapshot

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

// Receiver takes a snapshot's file in pieces, in order. Each element is checked as soon as it is whole, so that a
// transfer that can't become good ends early; the file counts only after [Receiver.Finish].
//
// Owner: none; mu guards everything, because the store may end a receiver that somebody still uses. It is taken after the
// store's names.
type Receiver struct {
	store *Store
	id    codec.SnapshotID
	held  *Info // the snapshot, where the store holds it already; nothing below is used then

	mu       sync.Mutex
	file     vfs.File
	err      error  // why it ended, nil while it runs
	walk     walk   // has taken the elements that are whole
	pending  []byte // what came behind them
	unsynced int64
}

// Receive begins a transfer, or goes on with one of the same snapshot from what is there of it and verifies. There
// is one at a time: one of another snapshot ends, and what it has got is removed. Where the store holds the snapshot the
// receiver has everything at once. Errors: an identity that can't be, [ErrClosed], those of the file system.
func (s *Store) Receive(id codec.SnapshotID) (*Receiver, error) {
	if id.Log.Index == 0 || id.Size < fileSizeMin {
		return nil, fmt.Errorf("snapshot: offer of %v with %d bytes, want an index above 0 and at least %d bytes", id.Log,
			id.Size, fileSizeMin)
	}
	s.names.Lock()
	defer s.names.Unlock()
	s.mu.Lock()
	closed, old, part, held := s.closed, s.receiver, s.part, s.find(id)
	s.mu.Unlock()
	switch {
	case closed:
		return nil, fmt.Errorf("snapshot: receive %v: %w", id.Log, ErrClosed)
	case held != nil:
		return &Receiver{store: s, id: id, held: &held.info}, nil
	case old != nil && old.id == id && !old.ended():
		return old, nil
	case old != nil || part.Size > 0 && part != id:
		if err := s.dropPart(old, part); err != nil {
			return nil, fmt.Errorf("snapshot: receive %v: %w", id.Log, err)
		}
	}
	r := &Receiver{store: s, id: id, walk: newWalk()}
	f, err := s.cfg.FS.OpenFile(s.path(partName(id)), os.O_CREATE|os.O_RDWR, filePerm)
	if err != nil {
		return nil, fmt.Errorf("snapshot: receive %v: %w", id.Log, err)
	}
	r.file = f
	s.mu.Lock()
	s.receiver, s.part = r, id
	s.mu.Unlock()
	if err = s.cfg.FS.SyncDir(s.cfg.Dir); err == nil { // so that what will be synced of the file can be found again
		err = r.resume()
	}
	if err != nil {
		return nil, fmt.Errorf("snapshot: receive %v: %w", id.Log, errors.Join(err, s.dropPart(r, id)))
	}
	return r, nil
}

// dropPart ends a receiver, if any, and removes a part. The caller holds names.
func (s *Store) dropPart(r *Receiver, part codec.SnapshotID) error {
	s.mu.Lock()
	s.receiver, s.part = nil, codec.SnapshotID{}
	s.mu.Unlock()
	var err error
	if r != nil {
		err = r.end(fmt.Errorf("another transfer took its place: %w", ErrClosed))
	}
	return errors.Join(err, s.remove(partName(part), "its transfer ended"))
}

// resume takes what verifies of the file that is there, and cuts the rest. The bytes are written again in place: after a sync
// that failed in an earlier life they could be read and yet never come to the disk.
func (r *Receiver) resume() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	size, err := r.file.Size()
	if err != nil {
		return err
	}
	var buf []byte
	for !r.walk.ended {
		at := r.walk.pos
		b, err := r.walk.fetch(r.file, min(size, r.id.Size), buf)
		if err == nil {
			err = r.take(b)
		}
		if errors.Is(err, codec.ErrCorrupt) || errors.Is(err, codec.ErrVersion) || errors.Is(err, ErrForeign) {
			break
		}
		if err == nil {
			err = r.put(b, at)
		}
		if err != nil {
			return err
		}
		buf = b
	}
	if size > r.walk.pos {
		return r.file.Truncate(r.walk.pos)
	}
	return nil
}

// take checks the next element against the file so far and against what was offered. One that is refused changes nothing
// that matters: the transfer ends, or goes on before it.
func (r *Receiver) take(b []byte) error {
	before := r.walk
	if _, err := r.walk.take(b); err != nil {
		return err
	}
	var err error
	switch w := &r.walk; {
	case !before.begun:
		if err = r.store.cfg.check(&w.header); err == nil && w.header.base.ID != r.id.Log {
			err = fmt.Errorf("snapshot of %v was offered as one of %v: %w", w.header.base.ID, r.id.Log, codec.ErrCorrupt)
		}
	case w.ended:
		if info := w.info(); info.ID() != r.id {
			err = fmt.Errorf("snapshot %v of %d bytes was offered as %v of %d: %w", info.Hash, info.Size, r.id.Hash,
				r.id.Size, codec.ErrCorrupt)
		}
	}
	switch {
	case err == nil:
	case !before.begun:
		r.walk = newWalk() // its hash has gone on with what was refused
	default:
		r.walk = before
	}
	return err
}

// put writes bytes to the file, and syncs it from time to time.
func (r *Receiver) put(b []byte, at int64) error {
	if _, err := r.file.WriteAt(b, at); err != nil {
		return err
	}
	if r.unsynced += int64(len(b)); r.unsynced >= syncBytes {
		r.unsynced = 0
		return r.file.Sync()
	}
	return nil
}

// Offset returns the number of bytes that it has: where the next piece must start.
func (r *Receiver) Offset() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at()
}

func (r *Receiver) at() int64 {
	if r.held != nil {
		return r.id.Size
	}
	return r.walk.pos + int64(len(r.pending))
}

// ID returns what is received.
func (r *Receiver) ID() codec.SnapshotID { return r.id }

// Write takes the next piece, of the file's bytes from offset on. A piece that starts elsewhere than at [Receiver.Offset], or
// ends beyond the file, is refused with [ErrOffset] and does no harm. After any other error the transfer has ended and its
// file is removed: [codec.ErrCorrupt] or [codec.ErrVersion] for bytes that are no snapshot, or not the one offered,
// [ErrForeign], those of the file system. [ErrClosed] says that it had ended before.
func (r *Receiver) Write(offset int64, p []byte) error {
	r.mu.Lock()
	err := r.write(offset, p)
	failed := err != nil && r.err == nil && !errors.Is(err, ErrOffset)
	if failed {
		r.err = fmt.Errorf("the transfer failed: %w", ErrClosed)
		err = errors.Join(err, r.close())
	}
	r.mu.Unlock()
	if failed {
		err = errors.Join(err, r.leave(true))
	}
	if err != nil {
		return fmt.Errorf("snapshot: receive %v: %w", r.id.Log, err)
	}
	return nil
}

func (r *Receiver) write(offset int64, p []byte) error {
	at := r.at()
	switch {
	case r.err != nil:
		return r.err
	case offset != at || int64(len(p)) > r.id.Size-at:
		return fmt.Errorf("%d bytes at offset %d, want at most %d at %d: %w", len(p), offset, r.id.Size-at, at, ErrOffset)
	case len(p) == 0:
		return nil
	}
	return r.piece(p)
}

// piece takes the next bytes.
func (r *Receiver) piece(p []byte) error {
	if err := r.put(p, r.at()); err != nil {
		return err
	}
	r.pending = append(r.pending, p...)
	rest := r.pending
	for {
		n, err := r.walk.size(rest)
		switch {
		case err == codec.ErrShort:
		case err == nil && int64(n) > r.id.Size-r.walk.pos:
			return fmt.Errorf("element of %d bytes at offset %d of %d: %w", n, r.walk.pos, r.id.Size, codec.ErrCorrupt)
		case err == nil && n <= len(rest):
			if err := r.take(rest[:n]); err != nil {
				return fmt.Errorf("at offset %d: %w", r.walk.pos, err)
			}
			if rest = rest[n:]; len(rest) > 0 {
				continue
			}
		case err != nil:
			return fmt.Errorf("at offset %d: %w", r.walk.pos, err)
		}
		r.pending = r.pending[:copy(r.pending, rest)]
		return nil
	}
}

// Finish makes the whole file durable under its final name and returns what it describes: only now it counts. Older
// snapshots than are to be kept are removed. Errors: [ErrIncomplete], which does no harm; any other ends the transfer:
// [ErrClosed], those of the file system, [codec.ErrCorrupt] where a snapshot that is held already does not verify, which
// is then moved aside.
func (r *Receiver) Finish() (Info, error) {
	if r.held != nil {
		return r.finishHeld()
	}
	s, synced := r.store, r.sync()
	s.names.Lock()
	defer s.names.Unlock()
	r.mu.Lock()
	err, ended := r.err, r.walk.ended
	if err == nil && ended {
		r.err = fmt.Errorf("finished: %w", ErrClosed)
		err = errors.Join(synced, r.close())
	}
	r.mu.Unlock()
	if err == nil && !ended {
		return Info{}, fmt.Errorf("snapshot: %d of %d bytes received: %w", r.Offset(), r.id.Size, ErrIncomplete)
	}
	s.mu.Lock()
	mine := s.receiver == r
	if mine {
		s.receiver, s.part = nil, codec.SnapshotID{}
	}
	s.mu.Unlock()
	info := r.walk.info()
	if err == nil {
		err = s.installHolding(partName(r.id), info)
	} else if mine {
		err = errors.Join(err, s.remove(partName(r.id), "its transfer ended"))
	}
	if err != nil {
		return Info{}, fmt.Errorf("snapshot: receive %v: %w", r.id.Log, err)
	}
	return info, nil
}

// sync makes what is received durable once that is all. It is called without names: a snapshot that is ready to get its name
// must not wait for so much.
func (r *Receiver) sync() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil || !r.walk.ended {
		return nil
	}
	return r.file.Sync()
}

func (r *Receiver) finishHeld() (Info, error) {
	err := r.store.Verify(*r.held)
	if errors.Is(err, codec.ErrCorrupt) {
		err = errors.Join(err, r.store.SetAside(*r.held, err))
	}
	if err != nil {
		return Info{}, err
	}
	return *r.held, nil
}

// Close ends the transfer and keeps what was received, so that another Receive may go on from it.
func (r *Receiver) Close() error { return r.leave(false) }

// Abort ends the transfer and removes what was received.
func (r *Receiver) Abort() error { return r.leave(true) }

// leave ends a receiver. Where it is not the store's any more nothing is removed: the name may be another's.
func (r *Receiver) leave(remove bool) error {
	if r.held != nil {
		return nil
	}
	s := r.store
	s.names.Lock()
	defer s.names.Unlock()
	s.mu.Lock()
	mine := s.receiver == r
	if mine {
		s.receiver = nil
	}
	s.mu.Unlock()
	if mine && remove {
		return s.dropPart(r, r.id)
	}
	return r.end(ErrClosed)
}

func (r *Receiver) ended() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err != nil
}

// end closes the file and keeps it. A receiver ends once.
func (r *Receiver) end(why error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = why
	}
	return r.close()
}

func (r *Receiver) close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file, r.pending = nil, nil
	return err
}
