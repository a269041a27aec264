// Package moving holds the tests of states that are larger than what a node may use of memory, and the measurement of one
// that moves to a new node under load. It has no code of its own beside them.
//
//	test process                     child processes, one a node
//	   |  commands, a line each  --> leader: 3 voters' puts, 128 bytes, closed loop; its resident set
//	   |  <-- answers                followers
//	   '                             learner: empty, gets the snapshot, then the log behind it
//
// The state machine (machine_test.go) keeps a small table of puts and a large body, in memory or in a file: a captured state is
// a copy of the table and a reference to the body, so that it costs as little as that of a state machine over immutable
// parts.
//
// # What is measured
//
//	go test ./engine/moving -run Move -moving.mib 2048 -v
//
// -moving.clients says how many clients put, one put at a time each, -moving.rate how fast a snapshot may travel,
// -moving.files keeps the body in a file where it is in memory otherwise, -moving.nice gives the learner's process the
// niceness that it would not need on a machine of its own.
//
// The leader has a snapshot and has purged its log. First the load runs alone, then a learner is added. Until that has
// applied what the leader has, the leader's put/s are compared with those before, and its resident set with its
// greatest before. All nodes share the processors and the disk of one machine: on machines of their own the leader would
// pay for its own end alone. Without the flag a small state is moved, and what must hold for it is checked.
//
// stream_test.go holds a node to a memory budget that the state exceeds, in this process and without load.
package moving
