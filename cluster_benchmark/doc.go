// Command cluster_benchmark measures clusters of this engine: it makes load, measures latency and throughput, shows
// what the machine would allow without Raft, and proves after each run that nothing acknowledged was lost.
//
//	cluster_benchmark list | run PROFILE [flags] | peers [PROFILE] [flags] | compare OLD NEW... [--fail-above PERCENT]
//	                  | report RESULT... [--html FILE] | node --config FILE
//
//	      setting                 profiles and flags -> a plan -> scenarios
//	         |
//	      runner (this package)   for each scenario, round and target
//	         |
//	      measure    open target -> warm up -> measure -> drain -> settle -> close -> check -> result
//	         |
//	      target     load      safety       result       show                peer
//	      cluster,   clients   proof        JSON lines,  table,              the same in a
//	      ceilings                          .hgrm, ...   progress, compare   process of its own
//	         |                                 |            |
//	      node       nodes elsewhere        verdict: which differences are more than noise
//
// # Promises
//
//   - Exit codes: 0 when all is well; 1 when a safety check failed or could not be made, no put was answered in the
//     measured time, an event did not happen, a target came out above its ceiling, or a run could not be made; 2 for a
//     flag, profile, key or value that can't be used, with one line that names it, before anything is measured; 130 when
//     ctrl-C or SIGTERM ended the run early and nothing else is wrong. compare --fail-above exits with 1 when something
//     got worse by more than that, or can't be used, and with 2 when there are too few rounds to tell.
//   - What a run measured is written to a new file under --out as soon as a target has ended, and written over, with the
//     ceilings' part, at the end of each round. --json gets the lines at the end of each round; with --json - standard
//     output holds them and nothing else.
//   - Targets alternate: a round measures each of them once, and each round begins with the next one.
//   - "peers" makes each measurement in a fresh process, of this program or of the one around another library. One that is
//     not there or does not support a scenario is left out with a counted line that says why; one that fails is tried once
//     more in that scenario and reported, while the others go on.
//   - With --processes each node is a process of this program, with --connect one that runs already, here or on another
//     machine (the command node). Every node is asked at the end what it has applied; one that is gone is named, what it
//     would have proven is said to be not proven, and the others are checked. No process outlives the run.
//   - Data directories lie beside the results, on the same filesystem, and are removed after each measurement.
//
// # Decisions
//
//   - GOGC is 400 for every target, set by the program and written into each result: small live heaps under a high rate
//     of short-lived frames otherwise collect hundreds of times a second, which would measure the collector's
//     default, not the engine. Ceilings run with the same.
//   - A ceiling is measured in the same way, round and scenario as what is compared with it. Exceeding
//     ceiling-handoff, or ceiling-disk with --store wal, marks a result invalid: then the ceiling is built badly.
//     ceiling-net is one round trip at a time, which an engine that overlaps them may exceed.
//
// # What is not there yet
//
// The command chaos; the flags --groups and --wal-backend; TLS and plain connections in --net; reads and events beside
// --processes and --connect. Fields of results that go with these flags hold what every run does today: one group, "tidwall".
//
// # Reading order
//
// main.go and command.go, the commands; flags.go; runner.go, a run; peers.go, one with other libraries; compare.go;
// report.go; serve.go, one measurement for another process; node_command.go, a node; output.go and
// files.go, what is written; version.go; errors.go.
package main
