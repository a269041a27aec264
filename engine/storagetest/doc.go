// Package storagetest tests what a user may bring to a node: a log. One call from a test runs every case as a subtest of its
// own, against the log's real Open:
//
//	func TestMyLog(t *testing.T) {
//		storagetest.Log(t, storagetest.LogConfig{New: func(t testing.TB) storagetest.LogPlace {
//			dir := t.TempDir()
//			return storagetest.LogPlace{Open: func() (pipeline.Log, error) { return mylog.Open(dir) }}
//		}})
//	}
//
// What a place can do beside Open decides which cases run: those of crashes need [LogPlace].Crash, those of failing storage
// Fail and Repair. A case that does not run is skipped and says why.
//
//	LogConfig.New --> place --Open--> log <--Submit, Frame, ReadFrame-- case
//	                    |              |                                 |
//	              Crash, Fail          +--flushed(seq)--> reports        +--> model: a plain list of entries
//
// # What each group of cases demands
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
//   - random: a life of both groups by lot, the same each time, against the model.
//
// # Can each case fail?
//
// broken_log_test.go has a log in memory with over a hundred planted bugs. Each is found by the case that must find it, and
// there is no case that none of them fails.
//
// # Read in this order
//
// suite.go (what is called), group.go (the model), log_append.go, log_begin.go, log_life.go (the cases).
package storagetest
