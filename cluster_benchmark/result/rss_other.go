//go:build unix && !linux

package result

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// ResetPeak does nothing here: the peak is that of the process.
func ResetPeak() {}

// Peak returns the peak of resident memory in bytes since the process started.
func Peak() (uint64, error) {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		return 0, err
	}
	if runtime.GOOS == "darwin" {
		return uint64(r.Maxrss), nil // bytes there, KiB elsewhere
	}
	return uint64(r.Maxrss) << 10, nil
}
