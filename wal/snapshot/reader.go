package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

const readOnly = os.O_RDONLY

// ends are the header and the footer of a file.
type ends struct {
	header header
	footer footer
}

// readFull reads len(p) bytes at an offset. A file that ends before is damaged.
func readFull(f vfs.File, p []byte, offset int64) error {
	n, err := f.ReadAt(p, offset)
	switch {
	case n == len(p):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return fmt.Errorf("file ends %d bytes behind offset %d, want %d: %w", n, offset, len(p), codec.ErrCorrupt)
	}
	return err
}

// damagedVersion reports whether a header, of which b is the fixed part, is one of this version but for the version number.
func damagedVersion(f vfs.File, b []byte) bool {
	ours := bytes.Clone(b)
	binary.LittleEndian.PutUint16(ours[4:], formatVersion)
	n, err := headerSize(ours)
	if err != nil {
		return false
	}
	whole := make([]byte, n)
	if readFull(f, whole, 0) != nil {
		return false
	}
	copy(whole, ours)
	_, err = parseHeader(whole)
	return err == nil
}

// readEnds reads and checks header and footer. A file that is not as long as its footer says is damaged.
func readEnds(f vfs.File) (ends, error) {
	size, err := f.Size()
	if err != nil {
		return ends{}, err
	}
	b := make([]byte, headerFixedSize)
	if err := readFull(f, b, 0); err != nil {
		return ends{}, err
	}
	n, err := headerSize(b)
	if errors.Is(err, codec.ErrVersion) && damagedVersion(f, b) {
		err = fmt.Errorf("header of version %d with the version number damaged: %w", formatVersion, codec.ErrCorrupt)
	}
	if err != nil {
		return ends{}, err
	}
	if int64(n) > size-footerSize {
		return ends{}, fmt.Errorf("file of %d bytes with a header of %d: %w", size, n, codec.ErrCorrupt)
	}
	var e ends
	b = make([]byte, n)
	if err = readFull(f, b, 0); err == nil {
		e.header, err = parseHeader(b)
	}
	if err == nil {
		b = b[:footerSize] // a header is longer
		err = readFull(f, b, size-footerSize)
	}
	if err == nil {
		e.footer, err = parseFooter(b)
	}
	if err == nil && e.footer.size != size {
		err = fmt.Errorf("file of %d bytes, its footer says %d: %w", size, e.footer.size, codec.ErrCorrupt)
	}
	if err != nil {
		return ends{}, err
	}
	return e, nil
}

// Reader reads a snapshot: its sessions at once, its state through Read, each chunk checked before a byte of it is given, and
// at the end the hash of the whole. Only [io.EOF] says that the state was all good: a state machine that got another error is
// not to be used.
//
// Owner: who opened it.
type Reader struct {
	file     vfs.File
	release  func()
	info     Info
	cluster  string
	group    codec.GroupID
	walk     walk
	sessions []byte
	ready    []byte // of the state, checked and not yet given
	err      error  // once ready is used up

	buf, unpacked []byte // reused
}

// Open opens a snapshot for reading. It is kept until Close, even if newer ones come. Errors: [ErrNotHeld], [ErrClosed],
// [codec.ErrCorrupt], those of the file system.
func (s *Store) Open(info Info) (*Reader, error) {
	f, release, err := s.openPinned(info)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	r, err := newReader(f, info.ID())
	if err != nil {
		release()
		return nil, fmt.Errorf("snapshot: read %s: %w", s.path(snapshotName(info.ID())), errors.Join(err, f.Close()))
	}
	r.release = release
	return r, nil
}

func (s *Store) openPinned(info Info) (vfs.File, func(), error) {
	release, err := s.pin(info)
	if err != nil {
		return nil, nil, err
	}
	f, err := s.cfg.FS.OpenFile(s.path(snapshotName(info.ID())), readOnly, 0)
	if err != nil {
		release()
		return nil, nil, err
	}
	return f, release, nil
}

// newReader reads a file up to its state. want is the snapshot that it must be; zero for any.
func newReader(f vfs.File, want codec.SnapshotID) (*Reader, error) {
	e, err := readEnds(f)
	if err != nil {
		return nil, err
	}
	r := &Reader{file: f, info: describe(&e.header, &e.footer), cluster: e.header.cluster, group: e.header.group, walk: newWalk()}
	if want != (codec.SnapshotID{}) && r.info.ID() != want {
		return nil, fmt.Errorf("file holds snapshot %v, want %v: %w", r.info.ID(), want, codec.ErrCorrupt)
	}
	for r.err == nil && (!r.walk.begun || r.walk.sessions < e.header.sessionsBytes) {
		r.next()
	}
	if r.err != nil {
		return nil, r.err
	}
	return r, nil
}

// next checks the next element of the file.
func (r *Reader) next() {
	var e element
	b, err := r.walk.fetch(r.file, r.info.Size, r.buf)
	if err == nil {
		r.buf = b
		e, err = r.walk.take(b)
	}
	switch {
	case err != nil:
		r.err = fmt.Errorf("at offset %d: %w", r.walk.pos, err)
	case r.walk.ended:
		r.err = io.EOF
	case e.chunk.kind == 0: // the header
	default:
		raw := e.stored
		if c := e.chunk.compression; c != codec.CompressionNone {
			if raw, err = codec.Decompress(r.unpacked, raw, c, e.chunk.raw); err != nil {
				r.err = fmt.Errorf("chunk before offset %d: %w", r.walk.pos, err)
				return
			}
			r.unpacked = raw
		}
		if e.chunk.kind == chunkSessions {
			r.sessions = append(r.sessions, raw...)
		} else {
			r.ready = raw
		}
	}
}

// Info describes the snapshot.
func (r *Reader) Info() Info { return r.info }

// Cluster returns the cluster and the group that the snapshot was taken in.
func (r *Reader) Cluster() (string, codec.GroupID) { return r.cluster, r.group }

// Sessions returns the encoded session table, nil for none.
func (r *Reader) Sessions() []byte { return r.sessions }

// Read gives the next bytes of the state. Errors: [io.EOF] once the whole file was found good, [codec.ErrCorrupt],
// [ErrClosed], those of the file system.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(r.ready) == 0 && r.err == nil {
		r.next()
	}
	if len(r.ready) == 0 {
		if r.err == io.EOF {
			return 0, io.EOF
		}
		return 0, fmt.Errorf("snapshot: read %v: %w", r.info.Base.ID, r.err)
	}
	n := copy(p, r.ready)
	r.ready = r.ready[n:]
	return n, nil
}

// Close frees the file.
func (r *Reader) Close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file, r.ready, r.err = nil, nil, ErrClosed
	if r.release != nil {
		r.release()
	}
	return err
}

// Verify reads a whole snapshot and returns what is wrong with it. Errors: as [Store.Open] and [Reader.Read].
func (s *Store) Verify(info Info) error {
	r, err := s.Open(info)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return errors.Join(err, r.Close())
}

// Raw gives the bytes of a snapshot's file to who sends them; it may be used from several goroutines. The bytes are not
// checked: the receiver does that.
type Raw struct {
	info    Info
	file    vfs.File
	release func()
}

// OpenRaw opens a snapshot for sending. It is kept until Close, even if newer ones come. Errors: [ErrNotHeld],
// [ErrClosed], those of the file system.
func (s *Store) OpenRaw(info Info) (*Raw, error) {
	f, release, err := s.openPinned(info)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	return &Raw{info, f, release}, nil
}

// Info describes the snapshot.
func (r *Raw) Info() Info { return r.info }

// ReadAt implements [io.ReaderAt].
func (r *Raw) ReadAt(p []byte, offset int64) (int, error) { return r.file.ReadAt(p, offset) }

// Close frees the file. It is called once.
func (r *Raw) Close() error {
	err := r.file.Close()
	r.release()
	return err
}
