package result

import (
	"runtime/metrics"

	"golang.org/x/sys/unix"
)

// Usage is what this process has used since its start.
type Usage struct {
	CPU   float64 // seconds, user and system
	Alloc uint64  // bytes of heap, freed ones too
}

// ReadUsage returns the usage up to now.
func ReadUsage() (Usage, error) {
	var u Usage
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		return u, err
	}
	u.CPU = seconds(r.Utime) + seconds(r.Stime)
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	u.Alloc = sample[0].Value.Uint64()
	return u, nil
}

func seconds(t unix.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }

// Sub returns what was used since an earlier reading.
func (u Usage) Sub(before Usage) Usage {
	return Usage{CPU: u.CPU - before.CPU, Alloc: u.Alloc - before.Alloc}
}
