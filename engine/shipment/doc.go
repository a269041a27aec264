// Package shipment moves the file of a snapshot from a leader to a peer that lacks entries which are purged.
//
//	leader                                                   follower
//	[Sender], a goroutine per peer                           loop: is it the leader's vote?
//	   |  reads a chunk, waits for the byte rate                |
//	   |======== MessageSnapshot: id, offset, bytes ==========> [Receiver], one goroutine per node
//	   |                                                        |  checks, writes, syncs now and then
//	   |<------- MessageSnapshotReply: bytes held --------------|
//	   |                                                        v  all there: verified, durable, named
//	   '-- ends when the leader's core has heard             Config.Complete --> loop: InputInstall
//	       from the follower's that it is installed
//
// # What it promises
//
//   - A sender holds one chunk, and what is on its way is bounded by the window: memory does not depend on the size of the
//     state. What is on its way is counted until the peer has written it, so a slow disk over there slows the sender down.
//   - All senders of a node together send no more bytes a second than their limiter allows.
//   - Nothing is sent twice but what was lost: after a break the sender asks how much the peer holds and goes on from there,
//     also where the peer was restarted, or another leader had sent the beginning. What is held is known by the identity of
//     the file (log id, size, hash), so pieces of two snapshots never meet.
//   - A receiver takes pieces only under the vote that its node follows. It queues a bounded number of bytes and drops what
//     exceeds it; the sender finds out by asking.
//   - A sender whose peer is silent ends, and so does one that is refused; neither waits busily.
//
// # In which order to read
//
// sender.go, receiver.go, errors.go.
//
// # Decisions
//
//   - Senders and receivers put their packets on the lane by themselves: a chunk never passes through the loop on its way out.
//   - What a peer acknowledges is what it has written, not what it has synced. A peer that loses power starts again from
//     what its disk has kept; that costs bytes and nothing else, for the file counts only when it is whole and durable.
//   - The reply to a question is told from late replies to pieces by its stamp. Replies and pieces of one lane are in order,
//     so when it comes, all that was sent before has arrived or is lost.
//   - A witness has no state: it is sent the base alone, in one message.
package shipment
