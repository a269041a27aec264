package result

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// ResetPeak makes the peak of resident memory start anew (proc(5), clear_refs). Where the kernel does not allow it the
// peak stays that of the process.
func ResetPeak() {
	// An error means an older kernel or a sandbox; the peak is then an upper bound, which it says it is.
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
}

// Peak returns the peak of resident memory in bytes since [ResetPeak].
func Peak() (uint64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(status) {
		if fields := bytes.Fields(line); len(fields) == 3 && string(fields[0]) == "VmHWM:" {
			kib, err := strconv.ParseUint(string(fields[1]), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/self/status has no VmHWM")
}
