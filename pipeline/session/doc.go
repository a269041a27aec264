// Package session is the table by which a command of a client takes effect once, however often it is proposed (Raft thesis
// 6.3). It is part of the replicated state: every node changes it by the same entries in the same order, and it goes into
// snapshots.
//
//	client: open ------> entry 17: register ----> session 17
//	        command 1 -> entry 20: 17, serial 1, answered 0 -> new: to the state machine, its answer is kept
//	        (no answer)
//	        command 1 -> entry 31: 17, serial 1, answered 0 -> known: the answer of entry 20
//	        command 2 -> entry 35: 17, serial 2, answered 1 -> new; the answer to serial 1 is forgotten
//
// # Promises
//
//   - A command of a session takes effect at most once. A retry gets the answer that was kept, or an [AppliedError] with the
//     log id where it is not kept; never a second execution.
//   - A session that was closed, or evicted for newer ones, is unknown from then on: a command of it is an [ExpiredError] and
//     takes no effect, also one that would be a retry.
//   - The same entries in the same order make the same table, however they were cut into batches. Nothing else decides: no
//     clock, no order of a map. Which session goes when there are too many is decided by the order of the log alone, and how
//     many are too many stands in the entry that registers.
//   - A table is bounded: in sessions by what the newest registration says, in each session by [WindowMax] commands and by
//     the bytes of answers that its registration says. Where the answers exceed them, those of the lowest serials go.
//
// # Decisions
//
//   - A session's id is the index of the entry that registered it, so nobody has to make one up.
//   - Serials need not arrive in order: a client may have many commands on their way at once, of which some are lost. So each
//     command above what the client has acknowledged has a record of its own.
//   - A command is asked for with [Table.Begin] and its answer noted with [Table.Finish], so that many can be given to a
//     state machine in one call. Acknowledgements take effect at Begin, the bound on bytes at Finish; that these two commute
//     is why batches do not matter: both forget the answers of the lowest serials, so the higher bound is what counts.
//   - A state machine that keeps its state on disk is not given entries again whose effect it holds. They are begun and then
//     marked with [Table.Lose]: known to be applied, their answers are not.
//
// # Reading order
//
// entry.go, what stands in the log; table.go; encode.go, the table in a snapshot; errors.go.
package session
