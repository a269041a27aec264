// Package load is the suite's clients: goroutines that put, and what they measured. Every target is driven by it, engine
// and ceilings alike. In a closed loop they put as fast as they are answered; in an open loop puts become due at a rate of
// their own, whatever is answered, and the clients carry them.
//
// The closed loop:
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
// The open loop:
//
//	schedule: when each call is due, Poisson or constant      |  taken by a carrier that comes back and finds one due
//	                                                          |  or given to an idle carrier by the pacer, which sleeps until then
//	   due ......... issued .................. answered
//	    |-- waits for --|-- Propose, ProposeBatch --|         latency is all of it
//	        the pacer, or for one of Clients x Inflight carriers to be free
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
//   - In an open loop latency is from when a put was due. Neither a stall of the target nor a late generator can hide: what
//     becomes due meanwhile waits, and its clock goes on (Gil Tene's coordinated omission). What was due in the measured
//     time is measured, also when it is issued after its end, for as long again as was measured but at most 10 s; the rest
//     counts with what it has waited by then. It is counted among the puts per second when answered within the time. A put
//     that is refused, as by a node that does not lead any more, is put again, and its clock goes on; one whose fate is
//     unknown has failed and has no latency. A closed loop puts nothing again: there both have failed.
//   - The generator is measured too ([Generator]): how late it issued when a carrier was free, how many puts found none, how
//     many it owes at the end.
//   - Each put's fate is written into its client's [safety.Book]: acknowledged, unknown or refused.
//   - Where there are reads, each client reads or puts, one at a time, by a chance that is the same in every run. A read
//     must see every put that any client had been answered when it began; one that does not is counted ([Reads].Stale).
//     Reads have a histogram and counts of their own, by the same rules as puts; the series is of puts alone.
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
//   - wrk2 gives each connection a schedule of its own, and a slow connection delays its own requests alone; here all
//     carriers have one schedule, as callers of a program share its leader: a put waits only when every carrier is busy.
//     wrk2, as this, measures from when a request was due. HdrHistogram's RecordCorrectedValue adds the samples that a
//     stalled closed loop has missed afterwards, from the interval that they should have had: here none are missed. A test
//     compares the percentiles with what theory says for a stall, for an overload and for the queue M/D/1.
//   - Poisson arrivals are the same in every run with the same rate, so that targets and rounds get the same bursts.
//   - Go's timers are up to a millisecond late when nothing else runs; on Linux the pacer sleeps on a timer of the kernel,
//     which is 20 to 40 µs late. It looks at the schedule every 100 µs at most: a look costs about 25 µs of a processor,
//     which the target then does not have.
//   - An open loop has a goroutine for each put outstanding, not a window: each put has a latency of its own.
//   - Payloads are random bytes, different for each client, so that neither disk nor codec can compress them.
//
// # Reading order
//
// load.go, a run from start to drain; client.go, the three closed loops; arrivals.go, schedule.go, carrier.go and pause.go,
// the open one; read.go; shard.go and series.go, histograms; errors.go.
package load
