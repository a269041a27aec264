// Package show puts results before people: the live line, the table of a run, and two results side by side.
//
//	[Progress]   stderr, while it works, on a terminal only and never wider than it
//	[Table]      after a run: a row per scenario and target, medians over the rounds, the part of each ceiling
//	[Peers]      after a comparison with other libraries: the same, with their parts of the engine's puts
//	[Compare]    a block per scenario that the results share: figures, spread, ratios, verdicts, what else differs, and
//	             latency by percentile as curves of letters
//
// # Promises
//
//   - Scripts read JSON; what is printed here may change.
//   - A column that would say the same in every row is said once, above the table.
//   - Everything goes to the writer that was given; nothing is written elsewhere.
//
// # Decisions
//
// Package verdict judges, this one only shows. The curves of a scenario are drawn of all its rounds together; percentiles
// lie on an axis of nines, where the slowest tenth, hundredth and thousandth of all puts get as much room as the rest.
//
// Medians are taken of each figure by itself, so that a row need not be one of the rounds.
//
// # Reading order
//
// format.go, figures as text; table.go and notes.go, what a run says; peers.go; compare.go and curve.go; progress.go; errors.go.
package show
