//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd)

package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// Lock implements [FS]: without flock a directory can't be kept from a second process, so it is not opened at all.
func (OS) Lock(name string, _ fs.FileMode) (io.Closer, error) {
	return nil, fmt.Errorf("lock %s: no flock on this system: %w", name, errors.ErrUnsupported)
}
