// Package safety proves, after each run, that nothing acknowledged was lost, repeated or altered on any replica.
//
//	clients                               replicas
//	[Book]: issued, acknowledged,         [Machine]: the state machine of the benchmark; what it was
//	unknown and refused puts              given, in which order, and a hash over all of it
//	      \                                   /
//	       +----------- [Check] -------------+
//	                       |
//	                   [Verdict]: ok; or what is wrong; or what could not be proven
//
// # What is checked
//
//   - Every replica was given entries in ascending order, none twice, and all ended at the same index.
//   - acknowledged <= applied <= acknowledged + unknown, on each replica.
//   - Each acknowledged put is found by its identity (client, serial), which stands in the first 16 bytes of its
//     payload; none is there twice; none that was refused is there; none that nobody issued.
//   - The answers named the log ids at which the puts were applied: the sum of a strong mix of (log id, client, serial)
//     over all answers equals the one over all applied entries. Puts of less than 16 bytes have no room for an identity
//     and are known by their log id alone, through that sum.
//   - The hash over (log id, payload) of all that was applied is equal on all replicas.
//
// # Decisions
//
//   - Lost and not proven are told apart. When a run did not finish (puts unanswered, a node that stopped), a replica
//     that is behind another has lost nothing, but the verdict is not ok either; what no replica has, though it was
//     acknowledged, is lost. A run in which nothing was acknowledged proves nothing.
//   - What a client issued is kept as ranges of serials, not as a set: a run of any length needs a few bytes per client,
//     and telling an applied put costs one comparison.
//   - With payloads below 16 bytes an applied put of unknown fate can't be told from an acknowledged one. The verdict
//     then is that nothing is proven, which is not ok. It takes a lost leader in the middle of a run to get there.
//   - The mix and the hash are not cryptographic: they are there to find mistakes, not forgers. The chance that a
//     mistake goes unseen is 2^-64.
//
// # Reading order
//
// identity.go, what a put carries; serials.go, sets of them; book.go and machine.go, the two sides; encoding.go, a machine
// on its way from another process; state.go, one that comes out of a snapshot; check.go.
package safety
