package simulation

import (
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/millrace/millrace/wal/vfs"
)

// disk is one node's disk: files in memory, with the faults of the moment and the moment of a power cut.
//
// Owner: the run.
type disk struct {
	s     *run
	mem   *vfs.Mem
	fault *vfs.Fault
	busy  bool  // a pump of the log is under way
	until int64 // the disk hangs until then
	full  int64 // and has no space until then
	// eio lets the next sync fail, short the next write fall short.
	eio, short bool
	ops        int
	cutAt      int // the operation before which the power goes; 0: none
	cutHow     vfs.Crash
	cut        *vfs.Mem // what that left
}

func newDisk(s *run) *disk { return &disk{s: s, mem: vfs.NewMem()} }

// mount returns the file system for one life of the node.
func (d *disk) mount() vfs.FS {
	f := vfs.NewFault(d.mem)
	f.Before(d.before)
	f.InjectIf(vfs.OpSync, d.fails(&d.eio, ClassSyncError), vfs.Drop, syscall.EIO)
	f.InjectIf(vfs.OpSyncDir, d.fails(&d.eio, ClassSyncError), vfs.Fail, syscall.EIO)
	f.InjectIf(vfs.OpWrite, d.fails(&d.short, ClassShortWrite), vfs.Short, syscall.EIO)
	full := func() bool {
		if d.s.now >= d.full {
			return false
		}
		d.s.faults.count(ClassNoSpace)
		return true
	}
	f.InjectIf(vfs.OpWrite, full, vfs.Short, syscall.ENOSPC)
	f.InjectIf(vfs.OpCreate, full, vfs.Fail, syscall.ENOSPC)
	d.fault, d.busy, d.ops, d.cutAt, d.cut = f, false, 0, 0, nil
	d.eio, d.short = false, false
	return f
}

// fails returns a condition that holds once for each time the switch is set.
func (d *disk) fails(armed *bool, c Class) func() bool {
	return func() bool {
		if !*armed {
			return false
		}
		*armed = false
		d.s.faults.count(c)
		return true
	}
}

func (d *disk) before(vfs.Op, string) {
	if d.ops++; d.ops == d.cutAt {
		d.cut = d.mem.Crash(d.cutHow)
	}
}

// armCut lets the power go before one of the next operations.
func (d *disk) armCut(r *rand.Rand, within int) {
	d.cutAt, d.cutHow = d.ops+1+r.IntN(within), drawCut(r)
}

// drawCut says what a power cut does to what was not synced: all lost, all kept, or each block and name by itself, some
// of them torn, zero or garbage.
func drawCut(r *rand.Rand) vfs.Crash {
	c := vfs.Crash{Seed: r.Uint64(), KeepName: 0.5}
	switch p := r.Float64(); {
	case p < 0.4:
	case p < 0.6:
		c.KeepBlock, c.KeepName = 1, 1
	case p < 0.85:
		c.KeepBlock, c.TornBlock = r.Float64(), r.Float64()/2
	default:
		c.KeepBlock, c.TornBlock, c.Garbage = r.Float64(), r.Float64(), 0.5
	}
	return c
}

// latency returns how long the next group commit takes.
func (d *disk) latency(r *rand.Rand) time.Duration {
	return max(exponential(r, d.s.shape.flush), time.Duration(d.until-d.s.now), 1)
}
