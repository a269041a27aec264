// Package netio moves packets between the nodes of a cluster: over TCP ([TCP]), or inside one process ([Network]). One
// transport serves all Raft groups of a node.
//
//	node 1                                                        node 2
//	Send(append, packets)                                         Link.Deliver(packets)
//	  |                                                               ^
//	lane: bounded queue --wake--> event loop: join, write             |
//	  |   (control)  ============ connection 1 -> 2, control ===> event loop: cut, check, copy
//	  |   (append)   ============ connection 1 -> 2, append ====> event loop: the same
//	  |   (snapshot) ============ connection 1 -> 2, snapshot ==> event loop: the same
//	  |
//	lane's goroutine: dial, shake hands, dial again; Link.Down
//
//	Node 2 sends on connections of its own, the same way back.
//
// # What it promises
//
// Packets of one lane to one peer arrive in order and unaltered (every byte is under a CRC32C), or they do not arrive.
// Where some may be lost the sender's Link.Down is called, and nothing sent after the loss arrives before that call:
// a lane that refused one packet refuses all behind it. Down is called
//
//   - when a connection has ended, whatever was queued being discarded;
//   - when the first attempt to make it again has failed, and at later ones that fail if packets were refused since;
//   - when it is up again, or has half of its room again, if packets were refused since the last call. So it also
//     says: try now.
//
// Lanes do not wait for each other: a queue that is full, or a peer that does not read one lane, holds up that lane alone.
// An event loop writes 2 MiB of one lane at most before it serves its other connections.
//
// Send never blocks: it takes one lock per run of packets for the same node, and at most one wake of the event loop
// for all that is sent until the loop comes. Nothing of Link is called once Close has returned.
//
// Every queue has a bound in bytes. Going out that is Config.LaneBytesMax per peer and lane, what gnet holds and the
// kernel did not take yet included. Coming in it is one incomplete message per connection, for which never more than
// twice of what has arrived is allocated; whole messages belong to the receiver, who bounds them by the window that the
// sender keeps. A frame or data that came in lies in a block with the others of one read (64 KiB at most, or one larger
// message): who keeps one of them keeps the block.
//
// Messages that belong on another lane, damaged bytes, lengths beyond Config.MessageBytesMax and unknown versions end
// the connection they came on, are counted by [Cause] and logged once a minute per peer and cause. No panic of a
// callback leaves the transport; that connection ends.
//
// # Who may talk
//
// Before any message the two sides shake hands (codec.Handshake): cluster, both node ids, incarnation, lane; at most
// codec.HandshakeSizeMax bytes, within Config.HandshakeTimeout, and not one byte more before the answer. Both sides
// ask Link.Verify about the other. A packet's Node is what the handshake said, nothing in the message. A newer
// connection of the same peer and lane takes the older one's place, of which nothing is delivered from then on. A node
// that dialed this one, was verified and said where it listens becomes a peer while it stays connected, also if SetPeers
// did not name it: one that knows no membership yet must be able to answer a candidate, and one that lags behind a
// membership change a leader that it does not know. One that SetPeers did name is dialed there first and, where it is not
// found, at the address that its newest handshake told: a node that moved is reached before the membership says so.
//
// There is no TLS yet. A handshake proves nothing to somebody who can read another's, so the listen address must be
// loopback unless Config.Insecure is set, which is logged each minute. Raft is not made for nodes that lie: a peer that
// was let in can destroy the cluster.
//
// # In which order to read
//
//   - errors.go, config.go, stats.go: what can be said, set and counted
//   - tcp.go, learned.go: the transport and its life; the only other go statements are in listen.go
//   - lane.go, writer.go: from Send to the socket
//   - dial.go, listen.go, handshake.go: how connections come to be, and their limits
//   - events.go, parser.go: from the socket to Link.Deliver
//   - network.go: the transport inside one process
//   - log.go, sockopt_*.go: small tools
//
// # Decisions
//
// Each connection carries packets one way. With a connection per direction each side decides alone when its packets
// start anew, and neither has to agree with the other on which of two connections counts.
//
// The snapshot lane is connected all the time, as the others are, although it is seldom used: an idle connection costs
// some kernel memory and a keep-alive probe every few seconds, and one that is dialed only when a peer has fallen behind would
// fail then for the first time.
//
// gnet moves the bytes once a connection is established; listening, dialing and the handshake are plain connections of
// the standard library. gnet's own listener stops the whole engine at the first error of accept (too many open files),
// has no limits and no deadlines; and what has not shaken hands never reaches an event loop this way. So gnet is used
// as its client, which takes connections in the caller's goroutine; its engine's Register hands them to a pool of
// goroutines that outlives the engine, and is a data race under the default balancing.
//
// All of gnet's hazards that are known are dealt with here: it has no limit to what it buffers (lane.go gives it
// little, events.go leaves it nothing), no recover (events.go), no word when a full socket takes bytes again (the lane
// looks again, sooner while it makes progress), slices that are reused after each callback (parser.go copies), and a
// wake or an enrolment after its end writes into a closed file or waits for ever (Close ends all who could do that
// first). If its loops end by themselves, that is logged as an error and nothing is dialed or accepted any more.
//
// A frame or data above 2 KiB is written from where it lies, smaller ones are copied behind their header. Messages without
// either are read in place; those with one are copied once, all of one read together.
package netio
