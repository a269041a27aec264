// Package snapshot keeps the snapshots of one group: files that hold a state, how it came about, and the proof that every
// byte of it is as it was written.
//
//	state machine --WriteTo--> Writer --+                        +--> Reader --Restore--> state machine
//	                                    |    +---------------+   |
//	                                    +--> | Store: newest |---+--> Raw -----pieces---> peer
//	                                    |    | first, Keep   |   |
//	peer ----------pieces----> Receiver +    +---------------+   +--> Export --> a directory of the user's
//
// # A file
//
//	+--------+----------+----------+     +-------+-------+     +--------+
//	| header | sessions | sessions | ... | state | state | ... | footer |
//	+--------+----------+----------+     +-------+-------+     +--------+
//	 magic,    chunks: kind, compression, stored and raw         sizes, SHA-256 of
//	 cluster,  size, CRC32C chained to the one before;           all before it,
//	 group,    every one but the last of its kind holds          CRC32C
//	 base      chunkBytes before compression
//
// All integers are little endian. format.go has each byte; testdata fixes them. The base is the log id of the last
// entry in the state and the newest membership up to it (see [codec.LogBase]). A stateless file has no state chunks: it is
// for a state machine that keeps its own state on disk.
//
// A snapshot's identity is its last log id, the size of its file and the hash in its footer. A transfer moves the file's
// bytes as they are, so that what a receiver has verified it may pass on.
//
// # Names in the directory
//
//	<index>-<term>-<node>-<hash>.snapshot          complete and durable
//	<index>-<term>-<node>-<size>-<hash>.part       what was received of one; at most one is kept
//	<number>.TEMP                                  unfinished, swept by Open
//	<a snapshot's>.<number>.broken                 did not verify, left for a human
//
// Files have mode 0600, directories 0700. Names are made of numbers and a hash, never of what a peer or a user called
// something.
//
// # What it promises
//
//   - A file under its final name is complete and durable, bytes and name: it is written aside, synced, renamed, and the
//     directory synced. Whatever ends the process or the power leaves the old snapshots or the old and the new one.
//   - Every flipped bit is found before a state counts: each chunk is checked before a byte of it is given, and
//     [io.EOF] comes only when the hash of the whole was right. Open checks the ends of each file, [Store.Verify] all of it.
//   - A writer, reader or receiver holds a few chunks in memory, however large the state; only sessions, which are in
//     memory anyway, are read whole. Sizes are checked before anything is allocated, and a compressed chunk can't unpack
//     to more than a chunk.
//   - An error of a writer leaves nothing behind, and what was there before unharmed. So does a full disk.
//   - A file that is read or sent stays until it is released.
//   - Pieces of a transfer come in order or are refused; pieces of two snapshots never meet in one file.
//
// # Read in this order
//
// format.go (bytes), walk.go (what a file is, element by element), names.go, store.go (opening, retention), writer.go,
// reader.go, receiver.go, export.go.
//
// # Decisions
//
//   - The checksum of a chunk goes on from the one before. A part of a transfer verifies as a prefix of one file, and
//     no chunk can be moved within it or come from another.
//   - Snapshots are ordered by what their headers say, by number. Of two of one log id the one with a state comes first.
//   - A file of another cluster, group or format version makes Open fail: somebody has mixed up directories or builds, and
//     no guess is safer than a question. Bytes that do not verify move aside. An error of the disk makes Open fail too: it may
//     pass, and to take it for damage would throw a good state away.
//   - A part that is taken up again is written again in place, chunk by chunk: a sync that failed in an earlier life may have
//     left bytes readable that are not on the disk.
//   - A file is synced each 16 MiB, so that the log's syncs on the same disk never wait for gigabytes.
package snapshot
