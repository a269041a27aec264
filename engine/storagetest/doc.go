// Package storagetest tests what a user may bring to a node: a log, a state machine. One call from a test runs every case as
// a subtest of its own, against what Open really opens:
//
//	func TestMyLog(t *testing.T) {
//		storagetest.Log(t, storagetest.LogConfig{New: func(t testing.TB) storagetest.LogPlace {
//			dir := t.TempDir()
//			return storagetest.LogPlace{Open: func() (pipeline.Log, error) { return mylog.Open(dir) }}
//		}})
//	}
//
// What a place can do beside Open decides which cases run: those of crashes need [LogPlace].Crash, those of failing storage
// Fail and Repair. Of a state machine those run that its interfaces ask for: [pipeline.Snapshotter], [pipeline.OnDisk],
// [pipeline.Adopter]. A case that does not run is skipped and says why. example_test.go is a whole test of a state machine.
//
//	LogConfig.New --> place --Open--> log <--Submit, Frame, ReadFrame-- case
//	                    |              |                                 |
//	              Crash, Fail          +--flushed(seq)--> reports        +--> model: a plain list of entries
//
//	MachineConfig.New --> place --Open--> state machine <--Apply, Snapshot, Restore, Sync-- case
//	                        |                   |                                            |
//	                 Close, Crash         MachineConfig.State  <------- compared ------>  judge: another one, given the
//	                                                                                      same commands one by one
//
// # What each group of cases demands of a log
//
//   - start: a new log is empty, has an incarnation that is its own and stays, and keeps groups apart.
//   - vote: the newest vote is found again, whole, whatever happens to the entries.
//   - append: every kind, size and form of frame comes back with the same bytes, in order; a frame is in memory from Submit
//     until it is reported; what was submitted may be changed afterwards.
//   - read: any index finds the frame that holds it, once, from memory or from storage; nothing is found beyond the ends.
//   - truncate: everything above an index goes, at a frame's end or inside it; the truncation comes before the frame of the
//     same write.
//   - purge: everything up to a frame's end goes, the base and its membership stand in its place; the frame of the same write
//     comes before. What is left can be read, truncated and continued.
//   - jump: a base takes the place of all entries, of those beyond it too; the next one stands behind it.
//   - membership: those in the log are returned in order, those before it in the base.
//   - commit: a saved commit comes back, and is never more than what was submitted.
//   - reports: every write is reported, in order, none before it was submitted, to its own group; numbers may leap.
//   - peers: incarnations are remembered, the newest of each.
//   - close: it makes durable what waits, nothing is reported afterwards, a clean close is told from others; log and group
//     have one owner.
//   - crash: what was reported is there, what was not is a beginning of what was submitted, and the close was not clean.
//   - poison: after an error of storage every group is told once, and nothing is acknowledged any more, even if storage works
//     again.
//   - together: groups write and read, other groups are opened, and peers are remembered, all at the same time, each on a
//     goroutine of its own, and nothing is lost or mixed up; a read that a truncation or a purge overtakes brings what was there
//     or what is. Run these under the race detector too: it sees what has gone well by chance.
//   - random: a life of both groups by lot, the same each time, against the model.
//
// # What each group of cases demands of a state machine
//
//   - apply: the same commands give the same states and answers, however they are batched; entries and results are the
//     caller's again when Apply returns, answers stay as they were given.
//   - snapshot: what is written is the state as it was captured, whatever is applied or restored meanwhile; capturing changes
//     nothing, and may be given up; a writer's error comes back.
//   - restore: it replaces all there was, reads its source to the end and in any pieces, returns its error, and goes on as the
//     other does.
//   - disk: Sync returns the last entry that was given; after opening again the state is exactly that after Applied, and at
//     least what was synced; a snapshot brings with it which entry was given last, and a restored state is kept like any.
//   - power: the same when the power is cut. A restore that was not synced is done or not, nothing between.
//   - adopt: a state of another log replaces all there was; the entry it was put at counts as the last one given, and not the
//     one it came with; the log goes on behind that.
//   - adopt power: that is done or not, state and entry together.
//
// # Can each case fail?
//
// broken_log_test.go has a log in memory with over a hundred planted bugs, broken_machine_test.go a state machine with fifty.
// Each is found by the case that must find it, and there is no case that none of them fails.
//
// # Decisions
//
//   - A log must keep frames as they were submitted: the node's own account of its log is one of frames, and a frame's bytes
//     go to peers as they are.
//   - Cases compare entries, bases, memberships and votes, never bytes on a disk, and know no order of operations but that
//     of a write: a log is free to keep them as it likes.
//   - How far a saved commit lags is left open, but for one that came with a frame before a clean close.
//   - What a caller must not do (gaps, purges inside a frame) is not tried: what a log does then is its own affair.
//
// # Read in this order
//
// suite.go (what is called), group.go (the model), log_append.go, log_begin.go, log_life.go, log_together.go (the cases); machine.go,
// machine_apply.go, machine_disk.go, machine_adopt.go.
package storagetest
