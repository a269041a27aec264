// Package result is what the suite writes and reads again: one JSON object a line, one line per scenario, target and
// round, with what is needed to judge it: the conditions, the figures, the safety verdict.
//
//	run, peers ----> [Result] ----> results/<time>-<profile>.jsonl   never overwritten
//	                         \----> --json; for other tools --hgrm, --hlog, --benchfmt
//	compare, scripts <---- [ReadFile] ---- [Groups]: the rounds of one scenario, and their medians
//
// # Promises
//
//   - Fields are added, never renamed, while "schema" is 1. A file of another schema is refused.
//   - Latencies are microseconds, with the nanoseconds behind the point.
//   - "histogram" is the latency of every put, in nanoseconds: the base64 of HdrHistogram's V2 compressed encoding, which
//     its readers in every language take. "series" is the measured time in intervals of a second, in short
//     runs and beside events less.
//   - In an open loop (rate above 0) latency is from when a put was due. The histogram holds every put that was due in the
//     measured time, also those that were issued or answered after it; "ops" counts those answered within it.
//   - The knee of an open loop is the highest rate up to which 99 % of what was due is answered in the measured time, at a
//     p99 of at most 5 times the lowest of all rates.
//   - "reads" is what clients read between their puts, with a latency and "histogram" as those of the puts, by the way that
//     "read" names. Each read is looked at: one that misses a put which was acknowledged before it began fails the check.
//   - "events" is what was done to the cluster in the measured time, as "event" names it, with put/s before, during and after
//     as the series has them. A result whose event did not happen is invalid. A node that joined has its place in "applied"
//     and "state_hash", behind the others.
//   - "stages_us" is where the time of puts went, by the stages that package engine defines, of some puts chosen by chance:
//     intake, quorum, apply and answer add up to the latency; wal_write, wal_sync and network lie within quorum.
//     "stage_histograms" has their histograms as "histogram" has the latency's. A stage that a run does not have is left out.
//   - A .hgrm file is the text of HdrHistogram's percentile distribution, values in microseconds, as its plotters read it.
//     A .hlog file is an HdrHistogram log, values in nanoseconds, with an interval a line. Comments in both say what was
//     measured, with what, where and when.
//   - Go's benchmark format has a line per result: benchstat takes the rounds together and compares two files. Its
//     configuration lines tell machines apart; comments tell versions apart, so that they are compared.
//   - A ceiling carries the keys of the scenario it was measured for (nodes, store, net), although it has no such thing,
//     so that both can be matched; "safety" is null there and "wal_backend" empty.
//   - cpu_s, wal_bytes, wal_syncs and frames are what was added between two readings, one at each end of the measured
//     time; a busy machine may take either a little late, so counted_s says how far apart they were. Rates divide by it.
//   - wal_bytes and wal_syncs add up all nodes, a frame counts once. cpu_s is user and system time of the whole process,
//     clients and all nodes. alloc_bytes_per_op is bytes allocated per second by puts per second.
//   - "safety" is ok when everything was looked at and nothing is wrong. Otherwise "reasons" say what is wrong and
//     "unproven" why something could not be looked at: the run did not finish, or nothing was acknowledged.
//   - Where nodes run in processes of their own, started by the run or connected to, cpu_s, alloc_bytes_per_op and
//     max_rss_bytes add up all of these processes and that of the clients.
//   - max_rss_bytes is the peak of one scenario and round where the system lets it be reset (Linux), else of the process.
//
// # Reading order
//
// result.go, the line; stages.go, reads.go, event.go; encoding.go, histograms in it; file.go, files of lines; group.go,
// rounds and medians; knee.go; hgrm.go, benchfmt.go and conditions.go, files for other tools; build.go, machine.go and usage.go; errors.go.
package result
