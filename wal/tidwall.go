package wal

import (
	"fmt"
	"os"

	tidwall "github.com/tidwall/wal"

	"github.com/millrace/millrace/wal/vfs"
)

// tidwallAppender writes through github.com/tidwall/wal. Of that package only Open, WriteBatch, Sync and Close are
// used: its truncations rename and unlink without syncing the directory, its Read races with itself, and neither
// checks what it reads. It keeps no count of its segments that one could ask for, so its rolls are computed as it does
// them and each is looked up on the disk.
//
// Owner: the writer goroutine.
type tidwallAppender struct {
	log    *tidwall.Log
	batch  *tidwall.Batch
	fsys   vfs.FS
	folder string
	roll   roll
	rolled []uint64
}

func openTidwallAppender(folder string, tail segment, last uint64, segmentBytes int) (*tidwallAppender, error) {
	info, err := os.Stat(tail.name)
	if err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	log, err := tidwall.Open(folder, &tidwall.Options{
		NoSync:           true,
		NoCopy:           true,
		SegmentSize:      segmentBytes,
		SegmentCacheSize: 1,
		LogFormat:        tidwall.Binary,
		DirPerms:         folderPerm,
		FilePerms:        filePerm,
	})
	if err != nil {
		return nil, fmt.Errorf("wal: open %s: %w", folder, err)
	}
	a := &tidwallAppender{
		log: log, batch: new(tidwall.Batch), fsys: vfs.OS{}, folder: folder,
		roll: roll{size: int(info.Size()), limit: segmentBytes},
	}
	if got, err := log.LastIndex(); err != nil || got != last {
		closeErr := a.Close()
		return nil, fmt.Errorf("wal: open %s: tidwall/wal ends at record %d (%v, %v), want %d", folder, got, err, closeErr, last)
	}
	return a, nil
}

// Append implements appender.
func (a *tidwallAppender) Append(b *batch) ([]uint64, error) {
	a.batch.Clear()
	a.rolled = a.rolled[:0]
	if a.roll.before() {
		a.begin(b.first)
	}
	for i, r := range b.records {
		seq := b.first + uint64(i)
		a.batch.Write(seq, b.bytes[r.data:r.end])
		if a.roll.after(r.end - r.start) {
			a.begin(seq + 1)
		}
	}
	if err := a.log.WriteBatch(a.batch); err != nil {
		return nil, err
	}
	if len(b.bytes) > batchBytesKept {
		a.batch = new(tidwall.Batch) // else it keeps its largest buffer for good
	}
	for _, first := range a.rolled {
		if _, err := a.fsys.Stat(segmentName(a.folder, first)); err != nil {
			return nil, fmt.Errorf("tidwall/wal did not begin the segment that was expected: %w", err)
		}
	}
	return a.rolled, nil
}

func (a *tidwallAppender) begin(first uint64) { a.roll.size, a.rolled = 0, append(a.rolled, first) }

// Sync implements appender.
func (a *tidwallAppender) Sync() error { return a.log.Sync() }

// Renew implements appender. tidwall/wal never forgets the name of a segment that it has begun, about 200 bytes each; opened
// again it knows those that are there.
func (a *tidwallAppender) Renew(last uint64) error {
	list, err := listSegments(a.fsys, a.folder)
	if err != nil {
		return err
	}
	if err := a.log.Close(); err != nil {
		return err
	}
	again, err := openTidwallAppender(a.folder, list.segments[len(list.segments)-1], last, a.roll.limit)
	if err != nil {
		return err
	}
	a.log = again.log
	return nil
}

// Close implements appender. tidwall/wal syncs once more before it closes; nothing depends on that.
func (a *tidwallAppender) Close() error { return a.log.Close() }
