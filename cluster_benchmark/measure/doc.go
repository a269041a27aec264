// Package measure makes one measurement: a target, a scenario, a round. It is what the suite's command, the processes it
// starts and the programs around other libraries have in common, so that all are measured in the same way.
//
//	[Job.Run]:  open target -> warm up -> measure -> drain -> settle -> close -> check -> [result.Result]
//	                             |-- load.Run, clients --|              |-- safety.Check --|
//
// # Promises
//
//   - What was measured is returned whatever happens after it: a target that does not finish, a replica that fell behind
//     or lost something are said in the result.
//   - A measurement that is ended early returns what it measured until then.
//   - Before each measurement memory is given back to the system and the peak of resident memory begins anew, so that
//     one measurement does not show in the next one's figures.
//   - Opening, draining, settling and what closing leaves unanswered are waited for at most half a minute each.
//
// # Decisions
//
// What is used (processor time, memory, syncs) is read at both ends of the measured time, by a goroutine that a busy
// machine may delay; the result says how far apart the readings were, and rates divide by that.
//
// # Reading order
//
// measure.go, from top to bottom; read.go; event.go.
package measure
