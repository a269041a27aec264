package wal

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

// front is the mark of what was reclaimed: which records are gone, and what the next one may build on. It is made durable,
// in a file of its own, after all that counted in those records was written again and before their files are unlinked. A log
// that begins later than with its first record is accepted only with it.
//
// Layout, little endian: magic "MLRF", version (2), reserved zero (2), log (4), CRC of the last record (4), last (8),
// durable (8), number of groups (4), for each of them, ascending, group (8), base (8), last (8) and whether it has a vote (1),
// CRC32C of all before.
type front struct {
	last    uint64 // sequence of the last record that is gone
	crc     uint32 // of that record
	durable uint64 // highest sequence that was durable when the mark was made: what was written again stands below it
	groups  []frontGroup
}

// frontGroup says what a group's log held at the last record that is gone.
type frontGroup struct {
	id codec.GroupID
	bounds
	voted bool // a vote was durable when the mark was made
}

const (
	frontMagic     = "MLRF"
	frontVersion   = 1
	frontFixedSize = 36
	frontGroupSize = 25
)

func (f *front) append(dst []byte, log uint32) []byte {
	le := binary.LittleEndian
	start := len(dst)
	dst = append(dst, frontMagic...)
	dst = le.AppendUint16(dst, frontVersion)
	dst = append(dst, 0, 0)
	dst = le.AppendUint32(dst, log)
	dst = le.AppendUint32(dst, f.crc)
	dst = le.AppendUint64(dst, f.last)
	dst = le.AppendUint64(dst, f.durable)
	dst = le.AppendUint32(dst, uint32(len(f.groups)))
	for _, g := range f.groups {
		dst = le.AppendUint64(dst, uint64(g.id))
		dst = le.AppendUint64(dst, uint64(g.base))
		dst = le.AppendUint64(dst, uint64(g.last))
		dst = append(dst, flag(g.voted))
	}
	return le.AppendUint32(dst, codec.Checksum(dst[start:]))
}

func flag(on bool) byte {
	if on {
		return 1
	}
	return 0
}

// parseFront reads what append wrote, all of b.
func parseFront(b []byte, log uint32) (*front, error) {
	if len(b) < frontFixedSize+4 || string(b[:4]) != frontMagic {
		return nil, fmt.Errorf("%d bytes that are no mark of what was reclaimed: %w", len(b), codec.ErrCorrupt)
	}
	le := binary.LittleEndian
	end := len(b) - 4
	if got, want := codec.Checksum(b[:end]), le.Uint32(b[end:]); got != want {
		return nil, fmt.Errorf("checksum %08x, stored %08x: %w", got, want, codec.ErrCorrupt)
	}
	if v := le.Uint16(b[4:]); v != frontVersion {
		return nil, fmt.Errorf("mark of version %d, want %d: %w", v, frontVersion, codec.ErrVersion)
	}
	if got := le.Uint32(b[8:]); got != log {
		return nil, fmt.Errorf("mark of log %08x, want log %08x: %w: %w", got, log, errForeign, codec.ErrCorrupt)
	}
	f := &front{crc: le.Uint32(b[12:]), last: le.Uint64(b[16:]), durable: le.Uint64(b[24:])}
	n := uint64(le.Uint32(b[32:]))
	if n*frontGroupSize != uint64(end-frontFixedSize) || b[6] != 0 || b[7] != 0 || f.last == 0 || f.durable <= f.last {
		return nil, fmt.Errorf("mark of %d groups in %d bytes, reserved %d and %d, up to record %d when %d was durable: %w", n, len(b),
			b[6], b[7], f.last, f.durable, codec.ErrCorrupt)
	}
	for b = b[frontFixedSize:end]; len(b) > 0; b = b[frontGroupSize:] {
		g := frontGroup{id: codec.GroupID(le.Uint64(b)), voted: b[24] == 1,
			bounds: bounds{base: codec.Index(le.Uint64(b[8:])), last: codec.Index(le.Uint64(b[16:]))}}
		if g.last < g.base || b[24] > 1 || len(f.groups) > 0 && f.groups[len(f.groups)-1].id >= g.id {
			return nil, fmt.Errorf("group %d of the mark holds %d to %d, vote flag %d: %w", g.id, g.base+1, g.last, b[24], codec.ErrCorrupt)
		}
		f.groups = append(f.groups, g)
	}
	return f, nil
}

// readFront returns the mark in a directory, or one of nothing where there is none.
func readFront(fsys vfs.FS, dir string, log uint32) (*front, error) {
	name := filepath.Join(dir, frontName)
	b, err := vfs.ReadFile(fsys, name, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return &front{crc: log}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("wal: read %s: %w", name, err)
	}
	f, err := parseFront(b, log)
	if err != nil {
		return nil, damaged(name, 0, err)
	}
	return f, nil
}

// write makes the mark durable in place of the one before.
func (f *front) write(fsys vfs.FS, dir string, log uint32) error {
	slices.SortFunc(f.groups, func(x, y frontGroup) int { return cmp.Compare(x.id, y.id) })
	if err := writeAside(fsys, filepath.Join(dir, frontName), f.append(nil, log)); err != nil {
		return err
	}
	if err := fsys.SyncDir(dir); err != nil {
		return fmt.Errorf("wal: sync directory %s: %w", dir, err)
	}
	return nil
}

// frontBehind returns the mark of the first n segments, of which nothing counts any more; its groups are in no order.
func (b *book) frontBehind(n int) *front {
	last := b.segments[n-1]
	f := &front{last: last.last, crc: last.crc, durable: b.last}
	at := map[codec.GroupID]bounds{}
	for _, s := range b.segments[:n] {
		for _, e := range s.ends {
			at[e.id] = e.bounds
		}
	}
	for id, g := range b.groups {
		held, changed := at[id]
		if !changed {
			held = b.front[id]
		}
		if voted := g.voteAt.seq != 0; voted || held != (bounds{}) {
			f.groups = append(f.groups, frontGroup{id, held, voted})
		}
	}
	return f
}
