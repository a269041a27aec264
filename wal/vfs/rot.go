package vfs

import (
	"fmt"
	"io"
	"io/fs"
)

// Flip flips the bits of mask in one byte of a file, as readers see it and on the disk: damage to what was durable. It
// returns an error that wraps [fs.ErrNotExist] for a name that is no file, and [io.EOF] for an offset beyond its end.
func (m *Mem) Flip(name string, offset int64, mask byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.node(name)
	switch {
	case n == nil || n.dir:
		return pathError("flip", name, fs.ErrNotExist)
	case offset < 0 || offset >= int64(len(n.data)):
		return pathError("flip", name, fmt.Errorf("offset %d of %d: %w", offset, len(n.data), io.EOF))
	}
	n.data[offset] ^= mask
	if offset < int64(len(n.disk)) {
		n.disk[offset] ^= mask
	}
	return nil
}
