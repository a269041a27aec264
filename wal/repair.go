package wal

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/millrace/millrace/wal/vfs"
)

// repair brings the folder into the state that the scan accepted, and makes that state's names durable: unfinished
// files are swept, and segments that were reclaimed; segments behind a torn record, and stale ones, are renamed aside; the torn bytes are copied aside and
// cut. The cut and the bytes before it become durable with the first sync of the log, which [Open]
// waits for.
//
// Bytes of the tail that no record proves durable are written again in place: a process whose sync failed may have
// left them readable but, on some systems, marked as written, so that a sync alone would not bring them to the disk.
func (s *scan) repair(folder string, logger *slog.Logger) error {
	for _, name := range s.list.temps {
		if err := s.fsys.Remove(name); err != nil {
			return fmt.Errorf("wal: sweep: %w", err)
		}
	}
	for _, i := range s.returned {
		name := s.list.segments[i].name
		if err := s.fsys.Remove(name); err != nil {
			return fmt.Errorf("wal: sweep: %w", err)
		}
		logger.Info("wal: segment was reclaimed, removed again", "file", name)
	}
	if err := s.moveAside(logger); err != nil {
		return err
	}
	if err := s.copyTorn(logger); err != nil {
		return err
	}
	tail := s.tailSegment()
	f, err := s.fsys.OpenFile(tail.name, os.O_RDWR, filePerm)
	if err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	if err = s.fsys.SyncDir(folder); err == nil {
		err = s.settle(f)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("wal: repair of %s: %w", tail.name, err)
	}
	return nil
}

// tailSegment returns the segment that the next record is appended to.
func (s *scan) tailSegment() segment { return s.list.segments[s.accepted[len(s.accepted)-1]] }

// moveAside renames the segments that are no part of the chain.
func (s *scan) moveAside(logger *slog.Logger) error {
	aside := s.stale
	if s.bad != nil {
		from := s.bad.segment
		if s.accepted[len(s.accepted)-1] == from {
			from++ // its first part is the tail
		}
		for ; from < len(s.list.segments); from++ {
			aside = append(aside, from)
		}
	}
	for _, i := range aside {
		name := s.list.segments[i].name
		kept := s.brokenName(name, 0)
		err := syncFile(s.fsys, name)
		if err == nil {
			err = s.fsys.Rename(name, kept)
		}
		if err != nil {
			return fmt.Errorf("wal: move %s aside: %w", name, err)
		}
		logger.Warn("wal: segment is no part of the log, moved aside", "file", name, "kept", kept)
	}
	return nil
}

func syncFile(fsys vfs.FS, name string) error {
	f, err := fsys.OpenFile(name, os.O_RDWR, filePerm)
	if err != nil {
		return err
	}
	err = f.Sync()
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// copyTorn keeps what stands in the tail behind the last good record.
func (s *scan) copyTorn(logger *slog.Logger) error {
	if s.bad == nil || s.accepted[len(s.accepted)-1] != s.bad.segment {
		return nil
	}
	name := s.list.segments[s.bad.segment].name
	b, err := vfs.ReadFile(s.fsys, name, s.buf)
	if err != nil {
		return fmt.Errorf("wal: repair: %w", err)
	}
	kept := s.brokenName(name, s.bad.offset)
	if err := writeAside(s.fsys, kept, b[s.bad.offset:]); err != nil {
		return err
	}
	logger.Warn("wal: torn tail cut", "file", name, "offset", s.bad.offset, "bytes", len(b)-int(s.bad.offset),
		"kept", kept, "reason", s.bad.err)
	return nil
}

// brokenName returns a name that is free.
func (s *scan) brokenName(name string, offset int64) string {
	for n := 1; ; n++ {
		kept := fmt.Sprintf("%s.%d-%d%s", name, offset, n, brokenSuffix)
		if !s.list.brokens[kept] {
			s.list.brokens[kept] = true
			return kept
		}
	}
}

// settle cuts the tail file to the chain and writes the doubtful part again.
func (s *scan) settle(f vfs.File) error {
	size, err := f.Size()
	if err != nil {
		return err
	}
	if size > s.tail.size {
		if err := f.Truncate(s.tail.size); err != nil {
			return err
		}
	}
	settled := s.tail.settled()
	if settled == s.tail.size {
		return nil
	}
	b := make([]byte, s.tail.size-settled)
	if n, err := f.ReadAt(b, settled); n < len(b) {
		return err
	}
	_, err = f.WriteAt(b, settled)
	return err
}
