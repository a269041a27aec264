// Package pipeline holds the stages a proposal passes on its way through a node, and the hand-offs between them.
//
//	callers                       the group's loop (package engine)                      answer goroutine
//	   |  Propose                    |                                                        |
//	   v                             |                                                        |
//	[Intake] -- batches ------------>| Step -> log ids                                        |
//	   each entry is encoded         |    |                                                   |
//	   once, on its way in           |    +--> [CommitStage] --> Log: append, one sync        |
//	                                 |    |         holds back what promises the disk         |
//	                                 |    +--> [StreamStage] --> Transport: lanes to peers    |
//	                                 |              waits for frames that left memory         |
//	                                 | commit                                                 |
//	                                 +-- frames, batches ------------------------------> [Applier]
//	callers <----------------------- results, one wake each -------------------------------- StateMachine
//
// # Promises
//
//   - Every hand-off is a batch: a stage that becomes free takes all that waits. Nobody lingers.
//   - An entry's bytes are copied once, by [Intake.Propose], into the buffer that becomes the frame. From there on
//     nothing is copied, encoded or allocated per entry: what is allocated is the frame's buffer.
//   - Every proposal that entered is answered exactly once: with a result, with an error that says it certainly did not
//     happen, or with an [UnknownError].
//   - A command of a client's session is applied once, however often it stands in the log; see package session. The table of
//     sessions is part of the state: it is captured and restored with it.
//   - What [Applier.Capture] captures is the state as of exactly one entry, with membership and sessions.
//   - Everything is bounded in bytes. A full Intake blocks the caller until its context ends, or answers [ErrBusy].
//
// # Who owns what
//
// An [Intake] is shared by all callers and the loop, under one lock held for a copy of the entry. [CommitStage] and
// [StreamStage] belong to the loop. The [Applier] has the one goroutine of this package, started by [NewApplier] and
// ended by [Applier.Close]; it alone calls the state machine and the callers' functions.
//
// # Decisions
//
//   - Some calls are followed through their stages ([Stage]): calls and not batches, chosen by chance, so that what is seen is
//     what callers meet. The others pay for a count under the Intake's lock, which they hold anyway.
//   - A frame for a witness is its header alone, made from the description of the frame: it is never read from the log.
//   - [Applier.Await] puts a function into the queue of what is applied, so that "applied up to here" needs no polling. So do
//     Capture, Sync and Restore, which are exact because of it.
//   - The membership in a capture is the newest one that was applied, noted by the [Applier] as it passes: the Consensus
//     Module's is ahead of it.
//   - A capture says which entry the state machine was given last ([SessionsGiven]). One that keeps its state on disk knows no
//     entry behind that, since blank entries and retries are not given to it, and yet holds what was captured.
//   - The wait of a caller is a channel of capacity 1 that is reused with its call. A semaphore per caller is a little
//     cheaper and can't be left when a context ends.
//   - A frame is applied as a whole: one of which only the first entries are committed waits for the rest to be
//     committed or cut. Frames are written, sent and acknowledged as a whole, so that waiting is rare and short.
//   - A proposal whose leader loses office is answered at once with "unknown" although its entry may yet be committed
//     by a successor: a caller is never left hanging on a partition.
//
// # Reading order
//
// interfaces.go, what the stages are given; errors.go; call.go and batch.go, one proposal and many; intake.go; stage.go;
// commit.go; stream.go; applier.go, what waits to be applied; portion.go, how it is; capture.go; cell.go.
package pipeline
