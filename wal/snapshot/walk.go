package snapshot

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

// element is a whole part of a file as a walk has checked it: header, chunk or footer.
type element struct {
	chunk  chunkHeader // zero for the header and the footer
	stored []byte      // of a chunk; aliases what was taken
}

// walk follows a file from its first byte, element by element, and checks each as far as the ones before it allow. Whoever
// writes, reads, receives or takes up a transfer again goes through it, so that all of them agree on what a file is.
//
// Owner: its user.
type walk struct {
	header header
	footer footer
	begun  bool // the header was taken
	ended  bool // the footer was taken
	chain  uint32
	sha    hash.Hash
	// Invariant: pos bytes were taken; of them sessions and state raw bytes stood in chunks.
	pos             int64
	chunks          int64
	sessions, state int64
	short           chunkKind // kind of a chunk that was not full, behind which none of that kind may come
}

func newWalk() walk { return walk{sha: sha256.New()} }

// size returns the size of the element that starts src: [codec.ErrShort] when more bytes are needed to tell. Nothing but
// the limits vouches for it yet.
func (w *walk) size(src []byte) (int, error) {
	switch {
	case w.ended:
		return 0, fmt.Errorf("snapshot goes on behind its footer: %w", codec.ErrCorrupt)
	case !w.begun:
		return headerSize(src)
	case len(src) == 0:
		return 0, codec.ErrShort
	case src[0] == footerMagic[0]:
		return footerSize, nil
	case len(src) < chunkHeaderSize:
		return 0, codec.ErrShort
	}
	h, err := parseChunkHeader(src, w.header.chunkBytes)
	return chunkHeaderSize + h.stored, err
}

// take checks the element that is src, all of it, and goes on behind it. An element that is refused changes nothing.
func (w *walk) take(src []byte) (e element, err error) {
	n, err := w.size(src)
	switch {
	case err == codec.ErrShort || err == nil && n != len(src):
		return element{}, fmt.Errorf("element of %d bytes, want %d: %w", len(src), n, codec.ErrCorrupt)
	case err != nil:
		return element{}, err
	case !w.begun:
		err = w.takeHeader(src)
	case src[0] == footerMagic[0]:
		err = w.takeFooter(src)
	default:
		e, err = w.takeChunk(src)
	}
	if err != nil {
		return element{}, err
	}
	w.pos += int64(len(src))
	return e, nil
}

func (w *walk) takeHeader(src []byte) error {
	h, err := parseHeader(src)
	if err != nil {
		return err
	}
	w.header, w.begun = h, true
	w.chain = binary.LittleEndian.Uint32(src[len(src)-4:])
	w.sha.Write(src)
	return nil
}

func (w *walk) takeChunk(src []byte) (element, error) {
	h, err := parseChunkHeader(src, w.header.chunkBytes)
	if err != nil {
		return element{}, err
	}
	stored := src[chunkHeaderSize:]
	if got := chainCRC(w.chain, src[:12], stored); got != h.crc {
		return element{}, fmt.Errorf("chunk checksum %08x, stored %08x: %w", got, h.crc, codec.ErrCorrupt)
	}
	switch raw := int64(h.raw); {
	case h.kind == w.short,
		h.kind == chunkSessions && (w.state > 0 || raw > w.header.sessionsBytes-w.sessions),
		h.kind == chunkState && (w.header.stateless || w.sessions != w.header.sessionsBytes):
		return element{}, fmt.Errorf("chunk of kind %d and %d bytes behind %d of %d bytes of sessions and %d of state: %w",
			h.kind, raw, w.sessions, w.header.sessionsBytes, w.state, codec.ErrCorrupt)
	case h.kind == chunkSessions:
		w.sessions += raw
	default:
		w.state += raw
	}
	if h.raw < w.header.chunkBytes {
		w.short = h.kind
	}
	w.chain = h.crc
	w.chunks++
	w.sha.Write(src)
	return element{h, stored}, nil
}

func (w *walk) takeFooter(src []byte) error {
	f, err := parseFooter(src)
	if err != nil {
		return err
	}
	if size := w.pos + footerSize; f.stateBytes != w.state || f.chunks != w.chunks || f.size != size ||
		w.sessions != w.header.sessionsBytes {
		return fmt.Errorf("snapshot of %d bytes with %d chunks, %d bytes of state and %d of sessions; its ends say %d, %d, %d and %d: %w", size,
			w.chunks, w.state, w.sessions, f.size, f.chunks, f.stateBytes, w.header.sessionsBytes, codec.ErrCorrupt)
	}
	if got := w.sum(src[:footerHashed]); got != f.hash {
		return fmt.Errorf("snapshot hash %v, stored %v: %w", got, f.hash, codec.ErrCorrupt)
	}
	w.footer, w.ended = f, true
	return nil
}

// sum returns the hash of what was taken and of a footer's first part.
func (w *walk) sum(part []byte) (out codec.SnapshotHash) {
	sha, err := w.sha.(hash.Cloner).Clone()
	if err != nil {
		panic("BUG: SHA-256 can't be cloned: " + err.Error())
	}
	sha.Write(part)
	sha.Sum(out[:0])
	return out
}

// fetch reads the next element of a file of the given size, into buf where that is large enough, without checking more than
// its size. A file that ends before the element does is damaged.
func (w *walk) fetch(f vfs.File, size int64, buf []byte) ([]byte, error) {
	n := headerFixedSize
	if w.begun {
		n = chunkHeaderSize
	}
	n = int(min(int64(n), size-w.pos))
	for {
		if buf = buf[:cap(buf)]; len(buf) < n {
			buf = make([]byte, max(n, chunkHeaderSize+w.header.chunkBytes))
		}
		if err := readFull(f, buf[:n], w.pos); err != nil {
			return nil, err
		}
		want, err := w.size(buf[:n])
		switch {
		case err == codec.ErrShort:
			return nil, fmt.Errorf("%d bytes are left, which are no whole element: %w", n, codec.ErrCorrupt)
		case err != nil:
			return nil, err
		case int64(want) > size-w.pos:
			return nil, fmt.Errorf("element of %d bytes, %d are left: %w", want, size-w.pos, codec.ErrCorrupt)
		case want <= n:
			return buf[:want], nil
		}
		n = want
	}
}

// info describes the file that was walked to its end.
func (w *walk) info() Info { return describe(&w.header, &w.footer) }

// check says whether a header belongs to this store.
func (c *Config) check(h *header) error {
	if h.cluster != c.Cluster || h.group != c.Group {
		return fmt.Errorf("snapshot of group %d of cluster %q, want group %d of cluster %q: %w",
			h.group, h.cluster, c.Group, c.Cluster, ErrForeign)
	}
	return nil
}
