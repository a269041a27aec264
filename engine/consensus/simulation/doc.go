// Package simulation runs whole clusters in one goroutine, under faults, as a function of one number. It is the judge of
// the protocol: what it runs is the real engine/consensus, the real codec (every message is encoded, every byte of it may
// be damaged, and is decoded), the real stages of pipeline (intake, commit, stream, applier, sessions), and the real log and
// snapshots of wal (records, scan, repair, segments, reclaim, reader) over files in memory. What it puts in their place is time, the network, the disk, and the
// loop of package engine, whose rounds [node] repeats step by step.
//
//	seed --> shape, faults, clients          heap of events by (virtual time, sequence)
//	                                             |
//	   clients ---> node 1 --- lanes --- network: lose, repeat, delay, cut, damage --- lanes --- node 2 ...
//	                  |                                                                  |
//	          core, stages, state machine                                                |
//	                  | tap ------> ghost: what the log must hold, and what it may       |
//	               wal.Log                        |                                    wal.Log
//	                  |                        checker: after every event                |
//	          disk: hang, fail, fill up, lose power in a write                          disk
//
// # What a run checks
//
// After every event, looking only at what it changed:
//
//   - one leader under a leader id (term, node), in one life of it; with one leader per term, one in a term;
//   - votes only grow, the durable one across lives; commit and applied never go back in a life;
//   - one log id, one entry, one past; what is committed stands at its index for ever, on every node, and in the log of
//     every leader above the one that committed it; a leader commits by counting only its own entries;
//   - a leader was elected by an election quorum of durable grants, or resumes after a clean close; what it commits, and
//     what a client is told, is durable on a write quorum of every config in force, both counted here and not by the core;
//   - memberships follow each other by the four rules, are effective as soon as they are written, and are the same
//     wherever they are committed; new voters had caught up; no witness leads, or holds what its leader may lose;
//   - a lease is kept by those who promised it; a leader without its write quorum, or with a hanging disk, or one that left,
//     ends in time; a transfer does; a leader commits what a write quorum of voters has acknowledged, waiting for nobody else;
//   - the answer to a pre-vote changes nothing, but that a learner with more log may campaign; a vote goes to nobody with a
//     shorter log; a request to campaign is obeyed with exactly the log that it names; what is on its way to a peer fits its window;
//   - no message promises more than the sender's disk holds: votes asked for and given, acks, answers under a vote;
//   - a restart finds a state that the log was in since the last report, record by record, and knows a clean close from
//     any other; incarnations are remembered; a log never refuses what only a power cut did to it;
//   - a log that is damaged is refused, never cut; what was damaged is never served;
//   - entries are applied once, in order, the same everywhere, only what a client proposed and was not refused, and behind
//     all that was acknowledged when it was proposed: of a log that answers with positions that is linearizability;
//   - a change that must be refused is refused, a sound one only for the moment;
//   - damaged bytes, and frames of kinds unknown, are never taken for a message; no message is malformed; nothing panics.
//
// Then all faults end: within fifty election timeouts there is one leader whom all members follow, one membership that is
// not transient, fresh writes succeed, logs and states are equal, every acknowledged entry is in its place, and nothing is
// pending. A suite of seeds fails, too, when some class of faults or changes struck too seldom.
//
// # How to run it
//
//	go test -timeout 0 ./engine/consensus/simulation -run Seeds -seeds 20000 -first 1000 -v
//	go test ./engine/consensus/simulation -run PlantedAreFound -planted -v
//
// A seed that fails prints the command that runs it again and one for a smaller run that fails too ([Shrink]); with
// -steps that prints every message. With -tags invariants the core checks itself in full too.
//
// Seeds run side by side, as many as -workers says or there are processors; each is one goroutine and a function of its
// number.
//
// testdata/planted holds bugs as changes of text. Each is built in with go test -overlay, and some seed must find it; the
// test says after how many.
//
// # Order of reading
//
//	run.go, shape.go          a run, its heap of events, what a seed says of its cluster
//	classes.go, faults.go     what goes wrong, how often, and where; atlas.go: which disks may be damaged at a time
//	network.go, replay.go     between the nodes; old messages that come again
//	peers.go                  whom a node takes for whom, and where it looks for him
//	disk.go, tap.go           below the nodes, and what they hand to their logs
//	life.go, node.go, propose.go, apply.go   a node from start to crash, its rounds, its state machine
//	snapshots.go, transfers.go, bring.go   what it keeps, sends to others, and is brought by hand
//	workload.go, sessions.go, reads.go   clients, and what is known of each of their entries and reads
//	admin.go, changes.go, members.go   administrators: changes of membership, transfers, commands
//	ghost.go, quorums.go      what a log must hold; quorums counted by trying
//	checker.go, check_*.go    what must hold
//	heal.go                   the end of a run
//	shrink.go, errors.go
//
// # Decisions
//
// Each class of faults draws from streams of its own, so that leaving one out changes what the others do as little as can
// be; the events that follow differ all the same.
//
// A group commit happens at one moment of virtual time, after its latency; its report arrives later. Power that goes
// meanwhile cuts it before any one of its operations on files. The directory of files is copied at that operation, and
// what the operations after it did is forgotten.
//
// Lost messages on the append lane end its connection, as they do in TCP; on the control lane they are just lost.
// Repetitions and late replays come on both lanes and outside of any connection: no transport of ours does that, but the
// core promises to stand it.
//
// The ghost takes its entries from what the stages hand to the log, not from the core, and hashes them by a function of
// its own. A message is judged against what the log has reported as durable by the time it leaves.
//
// Completeness is judged by who committed an entry, not by who proposed it: a leader that was elected before, and hears
// of nobody, may lack an older entry that a higher leader has committed since.
//
// Damage to what is durable strikes only as many nodes as a group can lose (atlas.go), counted without witnesses, and only
// bytes that a later record proves durable: a torn tail and a lost one look the same, so a node whose last write was lost
// never starts again. A node that finds its log damaged stays away for good; another one takes its place under a new id, by
// a change of membership. Nodes are wiped only where everybody knows their disk, from the membership or by having met it.
//
// In the few seeds with reversion a node comes back with an old image of its disk, by which committed entries and votes may
// be lost. There only the end of the run is judged. A node whose committed entries the leader lacks must stop by then; not
// even the end is judged where too few are left.
//
// Administrators ask for nothing that the nodes which are not lost could not survive. Operators move a node to where a
// membership has it; whoever dials tries that address and the one the node itself named last.
//
// Leaders are killed more often than others, most of all after they proposed a membership; requests to campaign linger and
// come again more often than other messages, since there are few of them.
//
// Clients read at any node, by the protocol or by the leader's lease; what a read shows must not be older than what was
// acknowledged or shown to anybody before it was asked for. Half of those who propose again do so in sessions: then an entry
// happens once, and a repetition gets the first answer. Snapshots are taken every few entries, files of the real store on
// the simulated disk; a damaged one is found out by whoever starts from it or is sent it.
//
// The log's files are smaller than anybody's, and in many seeds it writes again what counts in them as soon as anything does not.
// Nodes die, or close, more often just after that. A leader may be cut off soon after its election while clients propose much
// to it, and purges only when it hears of the next one: what that makes it cut from its log is then about to be written again.
//
// Not simulated though it exists: several groups on one log, compression changed in mid-run, state machines that keep their
// state on disk, the pace of transfers.
package simulation
