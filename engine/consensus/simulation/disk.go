package simulation

import (
	"math/rand/v2"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/millrace/millrace/wal/vfs"
)

// Where a node's log lies on its disk, as package wal names it.
const (
	dataFolder    = "data"
	segmentFolder = "data/wal"
	identityFile  = "data/IDENTITY"
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
	// eio lets the next sync fail, short the next write fall short, badRead the next read fail, lose and stray the next
	// write do nothing or land elsewhere.
	eio, short, badRead, lose, stray bool
	ops                              int
	name                             string // of the file that the running operation is about
	cutAt                            int    // the operation before which the power goes; 0: none
	cutHow                           vfs.Crash
	cut                              *vfs.Mem // what that left

	// damaged says that the disk does not hold what was written and synced; evident that something was made durable since,
	// so that whoever opens the log finds out. harmed counts the writes that were lost or went astray, seenHarm those of
	// them that happened before the newest group commit, and batches the group commits.
	damaged, evident bool
	harmed, seenHarm int
	harmedFiles      map[string]bool
	batches          int64
	// end is where the log ended after the newest group commit of this life, proven after the one before: every record
	// below proven is said to be durable by one behind it.
	end, proven place
}

// place is a position in the log's files.
type place struct {
	name string
	size int64
}

func newDisk(s *run) *disk { return &disk{s: s, mem: vfs.NewMem(), harmedFiles: map[string]bool{}} }

// heals notes that damage went with its file, where the log has given the file back.
func (d *disk) heals() {
	for name := range d.harmedFiles {
		if _, err := d.mem.Stat(name); err == nil {
			return
		}
	}
	if d.damaged {
		d.s.tracef("what was damaged is not there any more")
	}
	d.damaged, d.evident = false, false
	clear(d.harmedFiles)
}

// mount returns the file system for one life of the node.
func (d *disk) mount() vfs.FS {
	f := vfs.NewFault(d.mem)
	f.Before(d.before)
	f.InjectIf(vfs.OpSync, d.fails(&d.eio, ClassSyncError), vfs.Drop, syscall.EIO)
	f.InjectIf(vfs.OpSyncDir, d.fails(&d.eio, ClassSyncError), vfs.Fail, syscall.EIO)
	f.InjectIf(vfs.OpWrite, d.fails(&d.short, ClassShortWrite), vfs.Short, syscall.EIO)
	f.InjectIf(vfs.OpRead, d.fails(&d.badRead, ClassReadError), vfs.Fail, syscall.EIO)
	f.InjectIf(vfs.OpWrite, d.harms(&d.lose, ClassLostWrite), vfs.Ignore, nil)
	f.InjectIf(vfs.OpWrite, d.harms(&d.stray, ClassStrayWrite), vfs.Stray, nil)
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
	d.eio, d.short, d.badRead, d.lose, d.stray = false, false, false, false, false
	d.end, d.proven, d.batches = place{}, place{}, 0
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

// harms is fails for what does harm to the log without a word. Snapshots are harmed by a class of their own, since a node
// finds out by itself.
func (d *disk) harms(armed *bool, c Class) func() bool {
	fails := d.fails(armed, c)
	return func() bool {
		if strings.HasPrefix(d.name, snapshotFolder) || !fails() {
			return false
		}
		d.harmed++
		d.damaged, d.evident = true, false
		d.harmedFiles[d.name] = true
		return true
	}
}

func (d *disk) before(_ vfs.Op, name string) {
	d.name = name
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

// pumped notes what a pump of the log did, where damage is to come.
func (d *disk) pumped(n *node) {
	f := &d.s.faults
	if !f.on[ClassRot] && !f.on[ClassLostWrite] && !f.on[ClassStrayWrite] || n.poisoned {
		return
	}
	batches := n.log.Stats().Batches
	if batches == d.batches {
		return
	}
	d.batches = batches
	d.evident = d.evident || d.damaged && d.seenHarm == d.harmed
	d.proven, d.end, d.seenHarm = d.end, d.logEnd(), d.harmed
}

// logEnd returns where the newest segment ends.
func (d *disk) logEnd() place {
	names, err := d.mem.ReadDir(segmentFolder)
	if err != nil {
		return place{}
	}
	for i := len(names) - 1; i >= 0; i-- {
		if name := path.Join(segmentFolder, names[i]); isSegment(names[i]) {
			info, err := d.mem.Stat(name)
			if err == nil {
				return place{name, info.Size}
			}
		}
	}
	return place{}
}

func isSegment(name string) bool { return len(name) == 20 }

// rot flips a bit of what is proven to be durable and reports whether there was any.
func (d *disk) rot(r *rand.Rand) bool {
	if d.proven.size == 0 {
		return false
	}
	names, err := d.mem.ReadDir(segmentFolder)
	if err != nil {
		return false
	}
	where := []place{{identityFile, 0}}
	for _, name := range names {
		p := place{name: path.Join(segmentFolder, name)}
		if info, err := d.mem.Stat(p.name); err == nil && isSegment(name) && p.name < d.proven.name {
			p.size = info.Size
			where = append(where, p)
		}
	}
	where = append(where, d.proven, d.proven)
	p := where[r.IntN(len(where))]
	if info, err := d.mem.Stat(p.name); err == nil && p.size == 0 {
		p.size = info.Size
	}
	if p.size == 0 {
		return false
	}
	offset := r.Int64N(p.size)
	d.s.tracef("a bit of %s flips at offset %d of %d", p.name, offset, p.size)
	d.damaged, d.evident = true, true
	d.harmedFiles[p.name] = true
	return d.mem.Flip(p.name, offset, 1<<r.IntN(8)) == nil
}
