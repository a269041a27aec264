package wal

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

// Log is a node's durable log for all of its groups. Its methods may be called from any goroutine.
//
// Owner: each part names its own; the fields here are set by Open and not changed.
type Log struct {
	cfg         Config
	fsys        vfs.FS
	lock        io.Closer
	identity    identity
	fingerprint uint32
	book        *book
	clean       bool
	queue       queue
	writer      writer
	reader      reader
	reclaimer   reclaimer
	unlinking   sync.Mutex    // held while files go, and while tidwall/wal looks at the folder, which it does name by name
	durable     atomic.Uint64 // stored by the writer, loaded by the groups
	counters    counters
	manual      bool
	writerDone  chan struct{}
	readerDone  chan struct{}
	closeOnce   sync.Once
	closeErr    error
}

type counters struct {
	syncs, dirSyncs, batches, records, bytesWritten, recentBytes, coldReads atomic.Int64
	moved, movedBytes, reclaimed, reclaimedBytes                            atomic.Int64
}

// Stats are counts since the log was opened, and sizes now.
type Stats struct {
	Batches      int64 // group commits
	Syncs        int64 // syncs of a file: one a batch, and one for each segment a batch filled
	DirSyncs     int64 // syncs of the folder because a segment was begun
	Records      int64 // records written
	BytesWritten int64 // bytes of them in the files
	Segments     int64 // files of the log now
	LiveBytes    int64 // bytes in them of records that count: frames in the groups' logs, votes, and what else is newest of its kind
	DeadBytes    int64 // bytes in them of records that don't
	RecentBytes  int64 // frames in memory now, all groups
	ColdReads    int64 // frames read from the files

	MovedRecords      int64 // records written again so that an old file could go
	MovedBytes        int64 // bytes of them in the files
	ReclaimedSegments int64 // files whose space came back
	ReclaimedBytes    int64 // bytes that were in them
}

// Simulation is what a log stands on when it is not the machine.
type Simulation struct {
	// FS holds the log. Segments have the same bytes as those of [Open].
	FS vfs.FS
	// Random gives the incarnation of a new directory: 16 bytes.
	Random io.Reader
	// Manual starts no goroutine: nothing is written or read until the caller calls [Log.Pump].
	Manual bool
	// SegmentBytes and ReclaimPercent, when not 0, take the place of the [Config]'s, and may be less than that allows: a short
	// run goes round the log many times then.
	SegmentBytes, ReclaimPercent int
}

// Open opens the log in a directory, making both where they are missing. It verifies every byte: a torn tail is cut,
// and kept aside; damage is an error that wraps [codec.ErrCorrupt] with file and offset, and changes nothing. Other
// errors: [vfs.ErrLocked] if the directory is open already, [ErrIdentity], [codec.ErrVersion] for what a newer build
// wrote, an invalid configuration, or the operating system's.
func Open(cfg Config) (*Log, error) {
	return open(cfg, Simulation{FS: vfs.OS{}, Random: rand.Reader}, func(s *scan, c *Config) (appender, error) {
		a, err := openTidwallAppender(segmentFolderOf(c), s.tailSegment(), s.last, c.SegmentBytes)
		if err != nil {
			return nil, err
		}
		return a, nil
	})
}

// OpenSimulation is [Open] on what the caller brings.
func OpenSimulation(cfg Config, on Simulation) (*Log, error) {
	return open(cfg, on, func(s *scan, c *Config) (appender, error) {
		a, err := openFileAppender(on.FS, segmentFolderOf(c), s.tailSegment(), c.SegmentBytes)
		if err != nil {
			return nil, err
		}
		return a, nil
	})
}

func open(cfg Config, on Simulation, openAppender func(*scan, *Config) (appender, error)) (l *Log, err error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if on.SegmentBytes != 0 {
		cfg.SegmentBytes = on.SegmentBytes
	}
	if on.ReclaimPercent != 0 {
		cfg.ReclaimPercent = on.ReclaimPercent
	}
	l = &Log{cfg: cfg, fsys: on.FS, manual: on.Manual,
		writerDone: make(chan struct{}), readerDone: make(chan struct{})}
	if err := vfs.MkdirAll(on.FS, cfg.Dir, folderPerm); err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	if l.lock, err = on.FS.Lock(filepath.Join(cfg.Dir, lockName), filePerm); err != nil {
		return nil, fmt.Errorf("wal: directory %s: %w", cfg.Dir, err)
	}
	s, err := l.load(on.Random)
	if err == nil {
		l.writer.appender, err = openAppender(s, &cfg)
	}
	if err == nil {
		err = l.begin(s)
	}
	if err != nil {
		return nil, errors.Join(err, l.release())
	}
	if !l.manual {
		go l.writeLoop()
		go l.reader.loop()
		l.reader.signal()
	}
	return l, nil
}

// load makes or checks the identity, reads the log and repairs it.
func (l *Log) load(random io.Reader) (*scan, error) {
	id, found, err := readIdentity(l.fsys, &l.cfg)
	if err == nil && !found {
		id, err = createIdentity(l.fsys, &l.cfg, random)
	}
	if err != nil {
		return nil, err
	}
	l.identity, l.fingerprint = id, id.fingerprint()
	folder := segmentFolderOf(&l.cfg)
	s, err := scanLog(l.fsys, l.cfg.Dir, l.fingerprint)
	if err != nil {
		return nil, err
	}
	if found {
		if err := s.repair(folder, l.cfg.Logger); err != nil {
			return nil, err
		}
	}
	if err := l.sweep(); err != nil {
		return nil, err
	}
	return s, nil
}

// sweep removes what is unfinished and makes the names in the directory durable: the identity's, if it is new or whoever
// made it was killed before it could, and that of the mark of what was reclaimed.
func (l *Log) sweep() error {
	for _, name := range []string{identityName, frontName} {
		temp := filepath.Join(l.cfg.Dir, name+tempSuffix)
		if _, err := l.fsys.Stat(temp); err == nil {
			if err := l.fsys.Remove(temp); err != nil {
				return fmt.Errorf("wal: sweep: %w", err)
			}
		}
	}
	if err := l.fsys.SyncDir(l.cfg.Dir); err != nil {
		return fmt.Errorf("wal: sync directory %s: %w", l.cfg.Dir, err)
	}
	return nil
}

// begin readies the parts and writes the log's first record of this life, durable before anybody can use the log: a
// seal is thereby no longer the last record, and what was read is on the disk for certain.
func (l *Log) begin(s *scan) error {
	l.book, l.clean = s.book, s.book.sealed && s.bad == nil && len(s.stale) == 0
	l.queue = queue{next: s.last + 1, groups: map[codec.GroupID]*Group{}, peers: s.book.peersCopy(), wake: make(chan struct{}, 1)}
	l.reader = reader{log: l, wake: make(chan struct{}, 1), chunk: make([]byte, scanChunkBytes)}
	l.reclaimer = reclaimer{log: l}
	l.writer = writer{log: l, appender: l.writer.appender, seq: s.last + 1, crc: s.crc, durable: s.durable}
	if err := l.sizeCuts(); err != nil {
		return err
	}
	if err := l.queue.putOther(item{mark: kindOpen}); err != nil {
		return err
	}
	<-l.queue.wake
	l.writer.take()
	if !l.writer.write() {
		return l.queue.err
	}
	return nil
}

// sizeCuts finds the size of the frames that a truncation fell into: it shows only in the bytes.
func (l *Log) sizeCuts() error {
	for _, id := range slices.Sorted(maps.Keys(l.book.groups)) {
		g := l.book.groups[id]
		for i := range g.index.refs {
			ref := &g.index.refs[i]
			if !ref.cut {
				continue
			}
			f, err := l.reader.read(id, ref)
			if err != nil {
				return err
			}
			ref.meta, ref.cut = f.Meta(), false
		}
	}
	l.counters.coldReads.Store(0)
	return nil
}

// Incarnation returns the random identity made together with the directory.
func (l *Log) Incarnation() codec.Incarnation { return l.identity.incarnation }

// Peers returns the remembered incarnation of each peer.
func (l *Log) Peers() map[codec.NodeID]codec.Incarnation {
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	return maps.Clone(l.queue.peers)
}

// RememberPeer makes a peer's incarnation durable. done is called once, from the writer or from here, and must not
// block. Errors: [ErrPoisoned], [ErrClosed].
func (l *Log) RememberPeer(id codec.NodeID, incarnation codec.Incarnation, done func(error)) {
	if err := l.queue.putOther(item{peer: &peerWrite{id, incarnation, done}}); err != nil {
		done(err)
	}
}

// Group opens one group's part and returns what the log holds of it. flushed is called, from the writer, with the
// newest write that is durable; after an error of the disk once with that error, and then never again. It must not
// block. Errors: [ErrGroupOpen], [ErrPoisoned], [ErrClosed].
func (l *Log) Group(id codec.GroupID, flushed func(seq uint64, err error)) (*Group, codec.LogState, error) {
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	switch {
	case l.queue.err != nil:
		return nil, codec.LogState{}, l.queue.err
	case l.queue.closing:
		return nil, codec.LogState{}, fmt.Errorf("wal: group %d: %w", id, ErrClosed)
	case l.queue.groups[id] != nil:
		return nil, codec.LogState{}, fmt.Errorf("wal: group %d: %w", id, ErrGroupOpen)
	}
	l.book.mu.Lock()
	defer l.book.mu.Unlock()
	held := l.book.group(id)
	g := &Group{log: l, id: id, flushed: flushed, index: index{base: held.base.ID, refs: slices.Clone(held.index.refs)}}
	g.writer.commit, g.writer.commitSaved = held.commit, held.commit
	l.queue.groups[id] = g
	return g, held.state(l.clean), nil
}

// Stats returns the log's counts.
func (l *Log) Stats() Stats {
	l.book.mu.Lock()
	segments, live, bytes := len(l.book.segments), l.book.live, l.book.bytes
	l.book.mu.Unlock()
	c := &l.counters
	return Stats{
		Batches: c.batches.Load(), Syncs: c.syncs.Load(), DirSyncs: c.dirSyncs.Load(), Records: c.records.Load(),
		BytesWritten: c.bytesWritten.Load(), Segments: int64(segments), LiveBytes: live, DeadBytes: bytes - live,
		RecentBytes: c.recentBytes.Load(), ColdReads: c.coldReads.Load(),
		MovedRecords: c.moved.Load(), MovedBytes: c.movedBytes.Load(),
		ReclaimedSegments: c.reclaimed.Load(), ReclaimedBytes: c.reclaimedBytes.Load(),
	}
}

// Pump does what the goroutines of a log opened with [Simulation.Manual] would do now: one batch, if anything is
// queued, all reads that wait, and one step of reclaiming. It tells whether there was anything.
func (l *Log) Pump() (worked bool) {
	if !l.manual {
		panic("BUG: Pump of a log that runs by itself")
	}
	select {
	case <-l.queue.wake:
		if !l.queue.poisoned.Load() {
			l.writer.take()
			l.writer.write()
		}
		worked = true
	default:
	}
	worked = l.reader.serve() || worked
	return l.reclaimer.step() || worked
}

// Close makes everything submitted durable, seals the log, and returns when nothing of it runs any more and its
// directory is free. It returns the error that poisoned the log, if any; a poisoned log is not sealed.
func (l *Log) Close() error {
	l.closeOnce.Do(func() {
		l.queue.mu.Lock()
		l.queue.closing = true
		l.queue.mu.Unlock()
		l.queue.signal()
		l.reader.stop()
		if l.manual {
			l.closeManual()
		} else {
			<-l.writerDone
			<-l.readerDone
		}
		released := l.release()
		l.queue.mu.Lock()
		l.closeErr = l.queue.err
		if l.closeErr == nil {
			l.closeErr = l.queue.failed
		}
		l.queue.mu.Unlock()
		if l.closeErr == nil {
			l.closeErr = released
		}
	})
	return l.closeErr
}

func (l *Log) closeManual() {
	if !l.queue.poisoned.Load() {
		l.writer.take()
		if l.writer.write() {
			l.writer.seal()
		}
	}
	l.reader.serve()
}

// release frees the files and the directory.
func (l *Log) release() error {
	l.reader.close()
	l.reclaimer.close()
	var err error
	if l.writer.appender != nil {
		err = l.writer.appender.Close()
	}
	return errors.Join(err, l.lock.Close())
}
