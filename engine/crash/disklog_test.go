package crash

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/wal"
	"github.com/millrace/millrace/wal/vfs"
)

const (
	clusterID    = "crash"
	segmentBytes = 64 << 10 // small, so that segments end under load
	group        = codec.GroupID(1)
)

// memDir is the directory of a node in a file system of its own.
const memDir = "node"

// diskLog is what a node's log holds.
type diskLog struct {
	entries []codec.Entry
	state   codec.LogState
}

// simLog makes a [wal.Log] a [pipeline.Log]; only the type of Group's result differs.
type simLog struct{ *wal.Log }

func (l simLog) Group(g codec.GroupID, flushed func(uint64, error)) (pipeline.GroupLog, codec.LogState, error) {
	group, state, err := l.Log.Group(g, flushed)
	if err != nil {
		return nil, state, err
	}
	return group, state, nil
}

func memConfig(node codec.NodeID) wal.Config {
	return wal.Config{Dir: memDir, ClusterID: clusterID, Node: node, SegmentBytes: segmentBytes, RecentBytesMax: 64 << 10}
}

// readLog opens a node's log on a copy of its disk, as a restart would, and reads all of it.
func readLog(node codec.NodeID, disk *vfs.Mem) (diskLog, error) { return readLogOf(node, disk, group) }

func readLogOf(node codec.NodeID, disk *vfs.Mem, group codec.GroupID) (l diskLog, err error) {
	log, err := wal.OpenSimulation(memConfig(node), wal.Simulation{
		FS: disk.Crash(vfs.KeepAll()), Random: bytes.NewReader(make([]byte, 16)), Manual: true,
	})
	if err != nil {
		return l, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	g, state, err := log.Group(group, func(uint64, error) {})
	if err != nil {
		return l, err
	}
	l.state = state
	for _, meta := range state.Frames {
		var f codec.Frame
		g.ReadFrame(meta.First, func(got codec.Frame, e error) { f, err = got, e })
		log.Pump()
		if err != nil {
			return l, err
		}
		if l.entries, err = f.AppendEntries(l.entries); err != nil {
			return l, err
		}
	}
	return l, nil
}

// copyDir copies a node's data directory into a file system in memory.
func copyDir(dir string) (*vfs.Mem, error) {
	disk := vfs.NewMem()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		to := filepath.Join(memDir, rel)
		if d.IsDir() {
			return disk.Mkdir(to, 0)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f, err := disk.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		if _, err := f.WriteAt(b, 0); err != nil {
			return err
		}
		return f.Close()
	})
	return disk, err
}

// readDirs reads the logs in the data directories of nodes 1, 2, ...
func readDirs(dirs []string) (map[codec.NodeID]diskLog, error) {
	logs := map[codec.NodeID]diskLog{}
	for i, dir := range dirs {
		node := codec.NodeID(i + 1)
		disk, err := copyDir(dir)
		if err == nil {
			logs[node], err = readLog(node, disk)
		}
		if err != nil {
			return nil, fmt.Errorf("node %d: %w", node, err)
		}
	}
	return logs, nil
}
