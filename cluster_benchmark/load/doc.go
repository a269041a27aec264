// Package load is the suite's client loop: goroutines that put as fast as they are answered, and what they measured.
// Every target is driven by it, engine and ceilings alike.
//
//	client goroutine (one of Clients)
//	   |  issue: serial into the payload, clock
//	   |----------------> Proposer.Propose / ProposeAsync x Inflight / ProposeBatch of Batch
//	   |<---------------- answered, woken
//	   |  clock; latency into a small buffer
//	   +--- every 32 calls ---> one of a few shards: HdrHistogram; merged at the end
//	   +--- every 50 ms    ---> the shard's count of answered puts, for who watches
//
//	|---- warm-up ----|------------- measured -------------|-- drain --|
//	                  answered here: counted               what is outstanding is awaited
//
// # Promises
//
//   - Latency is the client's: from the moment before it issues to the moment its goroutine runs again with the answer.
//     A put's clock starts when the one before was answered, so that nothing between two puts goes unmeasured.
//   - Puts count when answered within the measured time. Every put answered after the warm-up is in the histogram, also
//     those that were still outstanding at the end: a stall that reaches beyond the end is seen. The histogram may
//     therefore hold a few more puts than were counted, at most Clients x Inflight x Batch.
//   - The measured time is also looked at in intervals ([Interval]); their puts add up to those counted. A put belongs to
//     the interval in which it was answered. What a client brings more than 20 intervals late, since it was not answered
//     for so long, counts there and in the maximum, but no longer in the percentiles.
//   - Each put's fate is written into its client's [safety.Book]: acknowledged, unknown or refused.
//   - No goroutine is left when [Run.Drain] has returned true.
//
// # Decisions
//
//   - One clock reading per call, not two, by time.Since: it reads the monotonic clock alone and costs half of
//     time.Now. Measured: 35 ns against 65 ns.
//   - With Inflight above 1 a client issues that many, then sleeps until the last of them was answered: one wake and one
//     clock reading per window. Each put of a window counts with the time of the whole window, which is never less than
//     its own: no put is shown faster than it was.
//   - A histogram per client would take a gigabyte for 4096 clients; shards behind a lock, visited once in 32 calls, cost
//     less than the cache misses. What clients write while they run lies in the shards, away from what all of them
//     read at every put.
//   - Puts carry a context without an end, as a caller without a deadline would. What is not answered after the run
//     is answered when its target is closed.
//   - A sample is recorded once, into the histogram of its interval; intervals are merged into that of the whole time. The
//     series then costs a merge per interval and shard, not a second record per put.
//   - Payloads are random bytes, different for each client, so that neither disk nor codec can compress them.
//
// # Reading order
//
// load.go, a run from start to drain; client.go, the three loops; shard.go and series.go, histograms; errors.go.
package load
