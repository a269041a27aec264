// Package vfs is the little of a file system that a write-ahead log needs, in three forms.
//
//	wal
//	 |
//	FS, File ---- OS:    the machine's file system, and flock
//	 |
//	 +----------- Mem:   files in memory that know which of their bytes and names a power cut may take
//	 |
//	 +----------- Fault: any of them, with the n-th operation of a kind made to fail, fall short, go astray or do nothing
//
// # What it promises
//
// The forms agree on what an operation does and on errors: a missing file is [io/fs.ErrNotExist], a second lock
// [ErrLocked]. Files are read and written by offset, so that a handle has no position and may be shared.
//
// They also agree on what is durable, in the narrowest reading of POSIX: bytes and the size of a file after its Sync,
// names in a directory after the directory's SyncDir, and nothing else. Mem takes that literally: [Mem.Crash] returns
// the file system as a power cut may leave it, where each block written, each truncation and each name made, renamed
// or removed since the last sync lives or dies by itself. Real file systems keep more (most keep a rename whole); a log
// that survives Mem does not depend on it.
//
// # Read in this order
//
// vfs.go (the interface), os.go and lock_unix.go, mem.go (files and names), crash.go (power cuts), rot.go (damage to what is
// durable), fault.go.
//
// # Decisions
//
//   - Mkdir makes one directory; [MkdirAll] is a function over it, because a directory made must be synced in its
//     parent and only the caller of Mkdir knows what it made.
//   - Every fault that is injected is counted, so that a test can fail when none was.
//   - A Mem that is volatile keeps no account of what is durable and half the bytes: it is where nodes without a directory
//     keep their snapshots.
//   - Fault knows nothing of time: what hangs or is slow is simulated elsewhere.
package vfs
