// Package profiles holds the workload profiles that come with the suite, embedded, so that an installed binary finds
// them away from the repository.
//
//	quick.yaml      what this machine does in under a minute, with the ceilings beside it
//	minimized.yaml  openraft's published benchmark, to the letter
//	durable.yaml    many puts in flight, every one fsynced on a quorum
//	latency.yaml    one client, one put at a time
//	pipelined.yaml, batch.yaml, sweep-clients.yaml, sweep-payload.yaml
//	                one setting varied: puts in flight, puts in a call, clients, payload
//	open-loop.yaml  puts that become due at a rate, up to saturation; finds the knee
//	read-mix.yaml   reads beside puts, made in each of the ways there are
//	snapshot-under-load.yaml, slow-follower.yaml, leader-kill.yaml
//	                something happens to the cluster meanwhile, beside the same load without it
//
// # Promises
//
//   - The name of a profile is its file's name without ".yaml".
//   - Each file starts with a comment that says what it is for and how to vary it, and states every setting it relies
//     on, so that a change of a default does not change a profile.
//   - Keys and values are checked by package setting of the suite, by name and line; its test reads every file here.
//
// # Decisions
//
// Profiles are data, not Go: a user's own file, given by its path, is treated the same way. Copy one to begin.
//
// # Reading order
//
// The YAML files; profiles.go, which embeds them.
package profiles
