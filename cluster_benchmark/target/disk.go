package target

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
)

// diskFileBytes is the size of each preallocated file. Writing starts over at its end: the blocks stay the same, so a
// sync has no metadata to write.
const diskFileBytes = 64 << 20

// disk commits batches to several files and answers them when a majority is synced.
type disk struct {
	*door
	files  []*diskFile
	synced chan struct{} // capacity 1; a token whenever a file has got further

	// Owner: the goroutine that takes.
	seq     uint64   // of the last group of batches handed to the files
	flushed []uint64 // room for sorting
}

func openDisk(files int, dir string) (*disk, error) {
	d, err := newDoor()
	if err != nil {
		return nil, err
	}
	k := &disk{door: d, synced: make(chan struct{}, 1)}
	for i := range files {
		f, err := newDiskFile(filepath.Join(dir, fmt.Sprintf("ceiling-%d", i+1)), k.synced)
		if err != nil {
			return nil, errors.Join(err, k.closeFiles())
		}
		k.files = append(k.files, f)
	}
	go k.run()
	return k, nil
}

func (k *disk) run() {
	defer close(k.done)
	for {
		batches, last := k.take()
		if len(batches) > 0 {
			k.commit(batches)
		}
		if last {
			return
		}
	}
}

// commit hands the batches to every file, waits for a majority, and answers.
func (k *disk) commit(batches []*pipeline.Batch) {
	var frames [][]byte
	for _, b := range batches {
		f, err := b.Seal(1, codec.LeaderID{Term: 1, Node: 1}, 1, codec.CompressionNone)
		if err != nil {
			panic("BUG: the intake's limits keep a batch within a frame: " + err.Error())
		}
		frames = append(frames, f.Bytes())
	}
	k.seq++
	for _, file := range k.files {
		file.enqueue(k.seq, frames)
	}
	err := k.await(k.seq)
	for _, b := range batches {
		if err != nil {
			b.Fail(err)
			continue
		}
		k.answer(b)
	}
}

// await returns when a majority of the files holds everything up to seq, or with the error of a file that failed.
func (k *disk) await(seq uint64) error {
	for {
		k.flushed = k.flushed[:0]
		for _, file := range k.files {
			if p := file.failure.Load(); p != nil {
				return *p
			}
			k.flushed = append(k.flushed, file.flushed.Load())
		}
		slices.Sort(k.flushed)
		// Of n files, n/2+1 have got at least as far as the one at (n-1)/2 in ascending order.
		if k.flushed[(len(k.flushed)-1)/2] >= seq {
			return nil
		}
		<-k.synced
	}
}

// Counters adds what the files have written.
func (k *disk) Counters() Counters {
	c := k.door.Counters()
	for _, f := range k.files {
		c.WALBytes += f.bytes.Load()
		c.WALSyncs += f.syncs.Load()
	}
	return c
}

// Close answers what waits, ends all goroutines and removes the files.
func (k *disk) Close() error {
	k.shut()
	return k.closeFiles()
}

func (k *disk) closeFiles() error {
	var errs []error
	for _, f := range k.files {
		errs = append(errs, f.close())
	}
	return errors.Join(errs...)
}

// diskFile is one preallocated file with the goroutine that writes it.
type diskFile struct {
	file   *os.File
	synced chan<- struct{} // gets a token after each sync

	// mu guards what follows. No owner would do: it is the hand-off between the goroutine that takes and the one that
	// writes, held for an append or a swap.
	mu     sync.Mutex
	queue  [][]byte
	last   uint64 // seq of the last element
	closed bool

	wake    chan struct{} // capacity 1
	done    chan struct{} // closed when the goroutine has ended
	flushed atomic.Uint64 // seq
	bytes   atomic.Uint64
	syncs   atomic.Uint64
	failure atomic.Pointer[error]

	// Owner: the goroutine.
	offset int
	joined []byte
}

func newDiskFile(path string, synced chan<- struct{}) (*diskFile, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := preallocate(file, diskFileBytes); err != nil {
		return nil, errors.Join(fmt.Errorf("preallocate %d bytes of %s: %w", diskFileBytes, path, err), file.Close(), os.Remove(path))
	}
	f := &diskFile{file: file, synced: synced, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go f.run()
	return f, nil
}

// preallocate reserves the blocks, writes each once, and syncs.
func preallocate(file *os.File, size int) error {
	if err := allocate(file, int64(size)); err != nil {
		return err
	}
	zeros := make([]byte, 1<<20)
	for offset := 0; offset < size; offset += len(zeros) {
		if _, err := file.WriteAt(zeros[:min(len(zeros), size-offset)], int64(offset)); err != nil {
			return err
		}
	}
	return file.Sync()
}

func (f *diskFile) enqueue(seq uint64, frames [][]byte) {
	f.mu.Lock()
	f.queue = append(f.queue, frames...)
	f.last = seq
	f.mu.Unlock()
	f.signal()
}

func (f *diskFile) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *diskFile) run() {
	defer close(f.done)
	var frames [][]byte
	for {
		f.mu.Lock()
		frames, f.queue = f.queue, frames[:0]
		last, closed := f.last, f.closed
		f.mu.Unlock()
		if len(frames) == 0 {
			if closed {
				return
			}
			<-f.wake
			continue
		}
		if err := f.commit(frames); err != nil {
			f.failure.Store(&err)
			f.report()
			return
		}
		clear(frames)
		f.flushed.Store(last)
		f.report()
	}
}

func (f *diskFile) report() {
	select {
	case f.synced <- struct{}{}:
	default:
	}
}

// commit writes the frames in one piece and makes them durable with one sync.
func (f *diskFile) commit(frames [][]byte) error {
	data := frames[0]
	if len(frames) > 1 {
		f.joined = f.joined[:0]
		for _, frame := range frames {
			f.joined = append(f.joined, frame...)
		}
		data = f.joined
	}
	f.bytes.Add(uint64(len(data)))
	for len(data) > 0 {
		if f.offset+len(data) > diskFileBytes {
			f.offset = 0
		}
		n := min(len(data), diskFileBytes)
		if _, err := f.file.WriteAt(data[:n], int64(f.offset)); err != nil {
			return err
		}
		f.offset += n
		data = data[n:]
	}
	f.syncs.Add(1)
	return syncData(f.file)
}

func (f *diskFile) close() error {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.signal()
	<-f.done
	err := errors.Join(f.file.Close(), os.Remove(f.file.Name()))
	if p := f.failure.Load(); p != nil {
		err = errors.Join(*p, err)
	}
	return err
}
