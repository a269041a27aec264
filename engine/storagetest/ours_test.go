package storagetest

import (
	"crypto/rand"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/wal"
	"github.com/millrace/millrace/wal/vfs"
)

// fileLog and memoryLog make our logs a [pipeline.Log], as package engine does.
type fileLog struct{ *wal.Log }

func (l fileLog) Group(id codec.GroupID, flushed func(uint64, error)) (pipeline.GroupLog, codec.LogState, error) {
	g, state, err := l.Log.Group(id, flushed)
	if err != nil {
		return nil, state, err
	}
	return g, state, nil
}

type memoryLog struct{ *wal.Memory }

func (l memoryLog) Group(id codec.GroupID, flushed func(uint64, error)) (pipeline.GroupLog, codec.LogState, error) {
	g, state, err := l.Memory.Group(id, flushed)
	if err != nil {
		return nil, state, err
	}
	return g, state, nil
}

func logConfig(dir string) wal.Config {
	return wal.Config{Dir: dir, ClusterID: "conformance", Node: 7, SegmentBytes: 16 << 10, RecentBytesMax: 8 << 10}
}

// diskPlace is a file log on a disk in memory that can crash and fail.
type diskPlace struct {
	t       testing.TB
	mem     *vfs.Mem
	failing bool
	seed    uint64
	lost    []pipeline.Log // were open when the power went
}

func (p *diskPlace) open() (pipeline.Log, error) {
	fault := vfs.NewFault(p.mem)
	for _, op := range []vfs.Op{vfs.OpWrite, vfs.OpSync} {
		fault.InjectIf(op, func() bool { return p.failing }, vfs.Short, syscall.ENOSPC)
	}
	l, err := wal.OpenSimulation(logConfig("node"), wal.Simulation{FS: fault, Random: rand.Reader})
	if err != nil {
		return nil, err
	}
	p.lost = append(p.lost, fileLog{l})
	return fileLog{l}, nil
}

func (p *diskPlace) crash() {
	p.seed++
	p.mem = p.mem.Crash(vfs.RandomCrash(p.seed))
}

func newDiskPlace(t testing.TB) *diskPlace {
	p := &diskPlace{t: t, mem: vfs.NewMem()}
	t.Cleanup(func() { // ends the goroutines of those that crashed; what they write reaches no disk that is looked at
		for _, l := range p.lost {
			_ = l.Close()
		}
	})
	return p
}

func TestFileLog(t *testing.T) {
	Log(t, LogConfig{New: func(t testing.TB) LogPlace {
		dir := filepath.Join(t.TempDir(), "node")
		return LogPlace{Open: func() (pipeline.Log, error) {
			l, err := wal.Open(logConfig(dir))
			if err != nil {
				return nil, err
			}
			return fileLog{l}, nil
		}}
	}})
}

func newSimulatedPlace(t testing.TB) LogPlace {
	p := newDiskPlace(t)
	return LogPlace{Open: p.open, Crash: p.crash, Fail: func() { p.failing = true }, Repair: func() { p.failing = false }}
}

func TestSimulatedLog(t *testing.T) { Log(t, LogConfig{New: newSimulatedPlace}) }

func TestMemoryLog(t *testing.T) {
	Log(t, LogConfig{Forgets: true, New: func(testing.TB) LogPlace {
		return LogPlace{Open: func() (pipeline.Log, error) { return memoryLog{wal.NewMemory()}, nil }}
	}})
}
