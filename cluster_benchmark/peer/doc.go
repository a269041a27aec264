// Package peer lets the suite measure in a process of its own: another Raft library in a program that stands apart, so
// that the engine's module carries nothing of it, and this engine and the ceilings in the suite's own binary, so that all
// have the same conditions.
//
//	cluster_benchmark peers                              the program around a library, or cluster_benchmark itself
//	[Command.Measure] --- stdin: [Request], JSON ----------> [Main] or [Peer.Serve]
//	     |            <-- stderr: "> " progress, else words --   |  measure.Job on one of its [Target]s
//	     v            <-- stdout: a result line --------------   v
//	result.Result          exit code: 0, 1, 2 or 130 as "run"
//
// A program around a library is its main function:
//
//	func main() {
//		peer.Main(peer.Peer{Targets: []peer.Target{{Name: "mine", Library: peer.Library("example.org/raft"), Open: open}}})
//	}
//
// # Promises
//
//   - A request is taken as a whole or refused: an unknown field is a setting that this program would not serve.
//   - One request, one measurement, at most one line of answer. What the library itself prints goes to standard error.
//   - Exit codes: 0 when all is well; 1 when the figures can't be used, which the line says, or there are none, which
//     the last line of standard error says; 2 when the request is wrong, or asks for what the target can't serve
//     ([ErrUnsupported]); 130 when SIGINT or SIGTERM ended it early and nothing else is wrong. SIGINT may come twice.
//   - Who asks gets the result of what was asked for, or an error; a process that does not end in time is stopped.
//
// # Decisions
//
//   - A request says all: a program reads no flags, files or environment for what it measures.
//   - The answer is compared with the request, since a program in another language may read it in its own way.
//
// # Reading order
//
// request.go, what is asked; serve.go, who answers; command.go, who asks; errors.go.
package peer
