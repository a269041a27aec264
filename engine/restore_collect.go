package engine

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/wal/vfs"
)

// spoolName is the file in the snapshots' directory that the parts of a state are collected in. The store sweeps one that
// is left over: the parts are in the log, and come again.
const spoolName = "restore.TEMP"

// collector puts together the states that come through the log. Whether a part counts depends on the entries before it
// alone, so it is the same on every node: a state is given up by the next begin, by a part that does not follow, and by a
// leadership that follows that of its begin, whose entries can't be mixed with it any more.
//
// Owner: the applier's goroutine, but for open and completed.
type collector struct {
	fs      vfs.FS
	dir     string
	changed func() // called when open changed; it must not block

	// open is the state that is being collected, nil for none. Anybody may read it.
	open atomic.Pointer[collecting]
	// completed is the index of the last entry that completed a state. Anybody may read it.
	completed atomic.Uint64
	file      vfs.File // of open, or of what was complete last
	broken    error    // why the parts of open could not be kept: of no harm unless it is completed
	hash      hash.Hash
}

// collecting is a state of which the beginning came. Only the applier's goroutine looks at what is below the line.
type collecting struct {
	token  restoreToken
	leader codec.LeaderID // of all its entries

	parts, size uint64
}

// Collect implements [pipeline.Collector].
func (c *collector) Collect(raw Entry) (pipeline.Collected, error) {
	e, err := readRestoreEntry(raw.Data)
	if err != nil {
		return pipeline.Collected{}, err
	}
	if e.step == restoreBegin {
		return pipeline.Collected{}, c.begin(&e, raw.ID.Leader)
	}
	open := c.open.Load()
	switch {
	case open == nil || open.token != e.token || open.leader != raw.ID.Leader:
		return pipeline.Collected{Refusal: ErrRestoreGivenUp}, nil
	case e.step == restoreDrop:
		return pipeline.Collected{}, c.drop()
	case e.step == restorePart && e.part == open.parts:
		return pipeline.Collected{}, c.add(open, e.bytes)
	case e.step == restorePart:
		err := fmt.Errorf("part %d came where part %d was to come: %w", e.part, open.parts, ErrRestoreGivenUp)
		return pipeline.Collected{Refusal: err}, c.drop()
	}
	if sum := codec.SnapshotHash(c.hash.Sum(nil)); e.part != open.parts || e.size != open.size || e.hash != sum {
		err := fmt.Errorf("%w: %d parts, %d bytes, hash %v were announced, %d, %d, %v came",
			ErrRestoreMismatch, e.part, e.size, e.hash, open.parts, open.size, sum)
		return pipeline.Collected{Refusal: err}, c.drop()
	}
	c.completed.Store(uint64(raw.ID.Index))
	c.set(nil)
	if broken := c.broken; broken != nil {
		return pipeline.Collected{}, fmt.Errorf("state of %d bytes could not be collected: %w", open.size, errors.Join(broken, c.drop()))
	}
	size := int64(open.size)
	return pipeline.Collected{State: func() (io.ReadCloser, error) {
		return &spoolReader{io.NewSectionReader(c.file, 0, size), c}, nil
	}}, nil
}

// begin makes room for a state. One that is not complete is given up.
func (c *collector) begin(e *restoreEntry, leader codec.LeaderID) error {
	if err := c.drop(); err != nil {
		return err
	}
	c.file, c.broken = c.fs.OpenFile(filepath.Join(c.dir, spoolName), os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if c.broken != nil {
		c.file = nil
	}
	c.hash = sha256.New()
	c.set(&collecting{token: e.token, leader: leader})
	return nil
}

// add keeps a part. Where the disk can't, what was kept is freed, and the rest only counted: a state that is on its way has
// no effect yet, and may never have one.
func (c *collector) add(open *collecting, b []byte) error {
	var err error
	if c.broken == nil {
		if _, c.broken = c.file.WriteAt(b, int64(open.size)); c.broken != nil {
			err = c.free()
		}
	}
	c.hash.Write(b)
	open.parts++
	open.size += uint64(len(b))
	return err
}

// drop gives up what is collected, and frees the disk, also of a state that was complete and not asked for: an on-disk
// state machine may hold it from an earlier life.
func (c *collector) drop() error {
	if c.open.Load() != nil {
		c.set(nil)
	}
	c.hash, c.broken = nil, nil
	return c.free()
}

// free removes the file.
func (c *collector) free() error {
	if c.file == nil {
		return nil
	}
	err := c.file.Close()
	c.file = nil
	return errors.Join(err, c.fs.Remove(filepath.Join(c.dir, spoolName)))
}

// spoolReader reads a state that is complete. It is gone when the reader is closed.
type spoolReader struct {
	io.Reader
	c *collector
}

func (s *spoolReader) Close() error { return s.c.drop() }

// blocks reports whether a state is collected at an entry of the given leadership, so that no snapshot may be taken there:
// who started from that would lack its beginning. One of an earlier leadership is given up.
func (c *collector) blocks(leader codec.LeaderID) (bool, error) {
	open := c.open.Load()
	if open == nil || open.leader == leader {
		return open != nil, nil
	}
	return false, c.drop()
}

func (c *collector) set(open *collecting) {
	c.open.Store(open)
	c.changed()
}
