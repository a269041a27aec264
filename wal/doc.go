// Package wal is the durable log of a node: one log for all the Raft groups of a process, with one sync for everything
// that waits.
//
//	loop of group 1 --Submit--+                      +-- tidwall/wal --+
//	loop of group 2 --Submit--+--> queue --> writer --+                 +--> wal/00000000000000000001
//	loop of group n --Submit--+    (sequences)   |   +-- vfs.FS -------+    wal/00000000000000008123  <- tail
//	        ^                                    |                                    |
//	        +---- flushed(seq), after one sync --+                                    |
//	        +---- ReadFrame: memory, or the reader goroutine <---- offsets, checks ---+
//	                  what counts in the oldest segment, to be written again <--------+
//	                  the mark of what is gone; then the oldest segments are unlinked +
//
// A directory holds LOCK (flock: one owner), IDENTITY (format version, cluster, node, incarnation), RECLAIMED (the mark of
// what is gone, once something is) and the folder wal with the segments, named by the sequence of their first record. A
// record is an envelope (see header) around a frame, a vote, a truncation, a purge, a jump, a saved commit, a peer's
// incarnation, an opening, a seal, or something of these that was moved. Sequences count records and have nothing to do with
// Raft indexes: a group's log may go back, or jump ahead to behind a snapshot; the log never does.
//
// # What it promises
//
//   - What was reported by flushed, or by Group and Peers after Open, survives the process and the power.
//   - Order: a restart finds a prefix of the records of the node. Of a write that was not reported it may find none, all,
//     or the first records in the order vote, jump, truncation, frame, purge.
//   - Poison: after one failed write or sync nothing is acknowledged any more, ever; every group is told once. Nothing is
//     retried. Opening again repairs, and trusts no byte that a failed sync may have left in memory only: those are
//     written again before they are reported.
//   - Torn or damaged: Open verifies every byte. A bad record is a torn tail, cut and kept aside in a .broken file, unless
//     a record anywhere behind it says that it was durable; then the log is damaged, and Open refuses with file and
//     offset and changes nothing. After a clean close every record but the seal itself, and the saved commits written
//     with it, is proven durable.
//   - Replay never infers: only truncate, purge and jump records shorten a group's log. A record that is whole and can't follow is damage.
//   - Reclaim: a segment in which nothing counts any more is unlinked, oldest first; what still counts in the oldest is
//     moved, that is, written again at the end, once too much does not (see [Config].ReclaimPercent). No file goes before the
//     batch with its last moved record and the mark that names it are durable; a log that begins later than its mark says, or
//     ends before what was durable then, is damaged. A segment that comes back is removed again. However far a group lags
//     behind, the log takes about twice the space of what its groups hold, and some segments.
//   - Frames not yet durable are in memory; of the others the newest, bounded per group. A frame is never handed out with
//     entries that were truncated.
//   - A frame read from the files was checked against its CRC, its sequence and its place, and has bytes of its own.
//
// What it can't see: rot in the last batch of a log that was not sealed looks like a torn write and is cut. Sectors of
// [vfs.BlockBytes] are assumed to be written whole or to keep a prefix, and a sync to tell the truth. A file system
// that takes back synced bytes is found out only where a later record proves them.
//
// # Read in this order
//
// record.go and payload.go (bytes); book.go, index.go, segments.go and owed.go (what records add up to, where they stand and how
// much of a segment counts; no I/O); identity.go, front.go, scan.go and repair.go (opening); appender.go and tidwall.go
// (writing); queue.go, writer.go, group.go, reader.go, move.go and reclaim.go (space), log.go; memory.go is the log that
// forgets; vfs is what lies below. world_test.go is the model that the crash tests hold the log to.
//
// # Decisions
//
//   - Every opening writes a record and syncs it before Open returns. A seal must not count any more once the log can be
//     written to: the first write after an opening may be lost with the power after its frame was sent and committed
//     elsewhere, and a leader that then found a seal would lead again under the same leader id.
//   - The envelope carries the fingerprint of its log beside the chain, so that a file of another log is told from noise,
//     and bytes of a log that somebody stored as a value are never taken for records of this one.
//   - A batch's records claim as durable only what was reported before the batch, also behind a roll that synced the
//     segment before: that segment's name may still be lost.
//   - The first segment is made before the identity. An identity without it is a log that lost its files, never a new
//     one; and a log without an identity is refused.
//   - Of tidwall/wal only the appending is used. Its rolls are computed as it does them, checked against the folder,
//     and the folder is synced before anything in a new segment is reported. It reads its tail into memory at open and
//     keeps it (up to two segments); it syncs once more when it closes. The form over [vfs.FS] writes the same bytes.
//   - A cut frame's size is known only from its bytes. LogState has it, read at open; a truncation of a frame that is not
//     in memory does not tell it.
//   - A truncation during a cold read makes the read an error even if the frame was not touched: who asks knows best
//     whether it still wants it.
//   - A purge ends with a frame: no frame is cut at its front. A base carries the membership in force there, so that a
//     group's log says who belongs to it without any snapshot.
//   - The writer enters each batch, once it is durable, into the book by the same replay that reads the files at open. So
//     what may go is decided by what a restart would find, and a test compares the two.
//   - The mark is a file of its own and not a record: a log is read from its front, and must know there what the groups whose
//     frames come next held already. With the bounds of each group it says which entries are owed as moved frames; that they
//     come is checked, and nothing is inferred from their absence. Its own witness of what was durable keeps a moved record,
//     whose original is gone, from ever being cut as a torn tail.
//   - The oldest segment is always the next to go, and all that counts in it is moved, whosever it is: no group is chosen. A
//     group that lags travels round the log with the few segments it needs; one that purges has let go of its frames before.
//   - Moves ride along with the next batch and are bounded by that batch's own bytes; marks, unlinks and the reading of what
//     is moved are the reader goroutine's. So a commit waits for none of these.
//   - What is moved is decided when the writer takes its batch, behind all that was submitted before: a truncation, purge, jump
//     or vote in the same batch takes it out again, or cuts it.
//   - A moved vote carries whether a life since it was given ended without a seal: CleanClose must not be cleared by moving.
//   - A group's loop does not learn where its frames are moved: the reader asks the book.
//   - An error while reclaiming poisons the log as any other, but for a system's error of reading what is to be moved, which
//     endangers nothing; damage found there does.
//   - tidwall/wal is not told that files are gone: it appends to the newest and only remembers the names of the others. It is
//     opened anew before these add up.
//   - Sequences are given in Submit, under the queue's lock, so that a group's index belongs to its loop alone.
//
// Not there yet: a preallocating backend.
package wal
