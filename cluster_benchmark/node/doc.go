// Package node runs the engine's nodes outside of the process of their clients: as child processes of a run, or by hand, on
// as many machines as there are. Clients reach them over a protocol of the suite's own, on a listener of its own: the port for
// peers takes peers only.
//
//	the run's process                                              a node's process
//	clients -> [pipeline.Intake] -> stream ---- frames of puts ---> connection -> engine.Raft -> machine: one
//	clients <- answers ------------ stream <--- runs of log ids ---- connection <- answers       safety.Machine a run
//	            remote ------------ caller ---- questions -------> connection: where it stands, what it counted,
//	                                caller <--- replies ----------  what the machine was given
//
// # The protocol
//
// Each end begins with 8 bytes: "MLRB" and its version. The client's are heard first, and answered in any version, so that
// both ends know; a client of another version is then hung up on, and says which. Then come messages: a header of 20 bytes
// (size, kind, number, CRC32C over header and body) and a body. Questions and their replies are JSON, for what is seldom asked;
// puts are a frame of package codec, as the engine's own batches are; the answer to a frame says at which log ids all of its
// puts were applied, or that none will be, or that nobody knows. Sizes are bounded before anything is allocated.
//
// # Promises
//
//   - What waits while a connection is busy becomes one frame: a put costs no system call of its own.
//   - The client follows the leader: a refusal names it, where it is known, and all nodes are asked otherwise. A put on a
//     connection that breaks has an unknown fate; one that was not sent certainly did not happen.
//   - A node serves one run at a time, for as long as a connection of that run lasts and until all it took is answered; another
//     is refused, by the name of who is there. A run begins with an entry in the log, so that all replicas begin it at the
//     same place, and so does one that applies its log again after a restart.
//   - At the end each node says what it was given, in full: the check is the same as for nodes in one process. One that can't be
//     asked is named, and the others are checked.
//   - A child process ends when its standard input does: with who started it, however that ended. It is in a process group of
//     its own, so that ctrl-C reaches who started it alone.
//   - Without Insecure a node listens on loopback alone. Nobody who connects is authenticated, and nothing is encrypted.
//
// # Decisions
//
//   - Plain connections of package net, one goroutine that reads and one that writes at each end: with all that waits in one
//     frame there is little left for an event loop to save.
//   - The client's intake is the engine's own, and the goroutine that writes yields before it drains, as the engine's loop
//     does: clients are woken and batched as if the leader were here. Clients then do not share a scheduler with three nodes,
//     so that a run with processes may come out faster than one within a process, and is not compared with it.
//   - The node proposes the puts of a frame one by one and answers them together: the engine sees clients' puts as always. Those
//     of a frame of which only some were applied count as unknown, which is less than is known, but never wrong.
//   - A node's log is never cut, as that of a node within the clients' process: one that is used for many long runs is best
//     begun anew, with an empty directory.
//   - Reads do not go over this protocol yet.
//
// # Reading order
//
// wire.go, bytes of a message; words.go and answer.go, what they say; node.go, connection.go, pending.go and machine.go, the
// node's end; config.go; caller.go, stream.go and remote.go, the client's; child.go and processes.go; errors.go.
package node
