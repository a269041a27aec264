package wal

import (
	"encoding/binary"
	"fmt"
	"os"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

// batch is a run of encoded records, as they stand in a file.
//
// Owner: the writer goroutine.
type batch struct {
	first   uint64 // sequence of the first record
	bytes   []byte
	records []span
	frames  []codec.Frame // of the framed records, in order
}

// span is where a record stands in a batch: its length prefix from start, its envelope from data.
type span struct{ start, data, end int }

// batchBytesKept bounds the buffer that is kept from one batch to the next.
const batchBytesKept = 8 << 20

func (b *batch) reset(first uint64) {
	if cap(b.bytes) > batchBytesKept {
		b.bytes = nil
	}
	clear(b.frames)
	b.first, b.bytes, b.records, b.frames = first, b.bytes[:0], b.records[:0], b.frames[:0]
}

// add appends a record and completes h with its CRC.
func (b *batch) add(h *header, payload []byte, payloadCRC uint32) {
	h.payload = len(payload)
	start := len(b.bytes)
	b.bytes = binary.AppendUvarint(b.bytes, uint64(headerSize+len(payload)))
	data := len(b.bytes)
	var envelope [headerSize]byte
	b.bytes = append(b.bytes, envelope[:]...)
	h.put(b.bytes[data:], payloadCRC)
	b.bytes = append(b.bytes, payload...)
	b.records = append(b.records, span{start, data, len(b.bytes)})
}

// appender writes batches at the end of a log. After the first error it is only closed.
type appender interface {
	// Append writes a batch and returns the sequences at which new segments begin. The segments that it filled are
	// durable but for their names; the rest is durable after Sync.
	Append(b *batch) (rolled []uint64, err error)
	// Sync makes the bytes of the newest segment durable.
	Sync() error
	// Renew lets go of what the appender keeps of segments before the newest. last is the sequence of the last record; no
	// segment is unlinked meanwhile.
	Renew(last uint64) error
	// Close frees the files.
	Close() error
}

// roll decides where segments end, as tidwall/wal does: a segment ends with the record that reaches its size, and one
// that is found beyond it at open gets no record at all. (One that is exactly full at open gets one more.)
type roll struct {
	size  int // bytes in the newest segment
	limit int
}

func (r *roll) before() bool { return r.size > r.limit }

func (r *roll) after(bytes int) bool {
	r.size += bytes
	return r.size >= r.limit
}

// fileAppender writes the format of tidwall/wal over a [vfs.FS]: for faulty and simulated disks, and to hold the two to
// the same bytes.
//
// Owner: the writer goroutine.
type fileAppender struct {
	fsys   vfs.FS
	folder string
	file   vfs.File
	roll   roll
	rolled []uint64
}

func openFileAppender(fsys vfs.FS, folder string, tail segment, segmentBytes int) (*fileAppender, error) {
	f, err := fsys.OpenFile(tail.name, os.O_WRONLY, filePerm)
	if err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	size, err := f.Size()
	if err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	return &fileAppender{fsys: fsys, folder: folder, file: f, roll: roll{size: int(size), limit: segmentBytes}}, nil
}

// Append implements appender.
func (a *fileAppender) Append(b *batch) ([]uint64, error) {
	a.rolled = a.rolled[:0]
	if a.roll.before() {
		if err := a.cycle(b.first); err != nil {
			return nil, err
		}
	}
	mark, size := 0, a.roll.size
	for i, r := range b.records {
		if !a.roll.after(r.end - r.start) {
			continue
		}
		if err := a.write(b.bytes[mark:r.end], size); err != nil {
			return nil, err
		}
		if err := a.cycle(b.first + uint64(i) + 1); err != nil {
			return nil, err
		}
		mark, size = r.end, 0
	}
	if mark < len(b.bytes) {
		if err := a.write(b.bytes[mark:], size); err != nil {
			return nil, err
		}
	}
	return a.rolled, nil
}

func (a *fileAppender) write(b []byte, offset int) error {
	_, err := a.file.WriteAt(b, int64(offset))
	return err
}

// cycle makes the newest segment durable and begins another.
func (a *fileAppender) cycle(first uint64) error {
	if err := a.file.Sync(); err != nil {
		return err
	}
	if err := a.file.Close(); err != nil {
		return err
	}
	f, err := a.fsys.OpenFile(segmentName(a.folder, first), os.O_CREATE|os.O_RDWR|os.O_TRUNC, filePerm)
	if err != nil {
		return err
	}
	a.file, a.roll.size, a.rolled = f, 0, append(a.rolled, first)
	return nil
}

// Sync implements appender.
func (a *fileAppender) Sync() error { return a.file.Sync() }

// Renew implements appender: nothing is kept.
func (a *fileAppender) Renew(uint64) error { return nil }

// Close implements appender.
func (a *fileAppender) Close() error { return a.file.Close() }
