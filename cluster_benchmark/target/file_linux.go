package target

import (
	"os"

	"golang.org/x/sys/unix"
)

// allocate reserves blocks for size bytes, so that a full disk is found now.
func allocate(file *os.File, size int64) error {
	return unix.Fallocate(int(file.Fd()), 0, 0, size)
}

// syncData makes the file's bytes durable, and of its metadata only what is needed to read them.
func syncData(file *os.File) error {
	for {
		if err := unix.Fdatasync(int(file.Fd())); err != unix.EINTR {
			return err
		}
	}
}
