// Package setting says what a run can be told: the settings with their names, ranges and defaults, the profiles that
// bundle them, and the scenarios a run consists of.
//
//	profile (YAML) --ParseProfile--> Plan <--flags of "run"        one table of rules checks both
//	                                  |
//	                                  v Scenarios
//	     nodes x payload x batch x clients x inflight x rate x reads x events: each measured on every target, in every round
//
// # Promises
//
//   - A value is checked by the same [Rule] wherever it comes from, and the error names what was expected.
//   - A profile's unknown key, repeated key or bad value is an error with file and line; nothing is ignored.
//   - A [Plan] that passed [Plan.Check] can be run: combinations that no target can serve were refused.
//
// # Decisions
//
//   - Lists make a sweep: every combination is a scenario. A sweep of puts in flight and puts per call together is
//     refused where both are above 1, since a batch is one call that waits.
//   - Where nodes run (processes, connect) is a condition like any other: results of one kind are not compared with those of
//     another. What can be done there is less, and refused in words: puts over TCP alone, to nodes that nothing happens to.
//   - Ceilings may run shorter than the engine (ceiling_duration): they are steady within a second, and a quick run
//     should stay quick. They never run longer than the duration itself.
//
// # Reading order
//
// rule.go, the table; peer.go, other libraries; plan.go, what a run does; profile.go, YAML into a plan; errors.go.
package setting
