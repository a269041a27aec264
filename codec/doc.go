// Package codec holds the words of the protocol and their bytes: terms, votes, log ids, entries, memberships, messages,
// handshakes, and the forms in which they are stored and sent. Every other package imports it; it imports none of them.
//
// # Three layers of bytes
//
// A batch of entries is encoded once, by the leader that proposed it. What differs per peer or per node is put in front
// of those bytes, never into them:
//
//	                 one leader, one batch, encoded once, checked once
//	                +---------------------------------------------+
//	                | frame: what was proposed, by whom, where    |   [Frame]
//	                | version kind compression sizes count group  |
//	                | leader(term,node) first index CRC32C | body |
//	                +---------------------------------------------+
//	                   |  the same bytes        |  the same bytes
//	                   v  go to every peer      v  go into every log
//	+-----------------------------+        +-----------------------------+
//	| message: what this peer is  |        | envelope: where this node's |
//	| to make of it               |        | log stands                  |
//	| vote, previous log id,      |        | kind, sequence, durable     |
//	| commit, stream, stamp, CRC  |        | sequence, length, chained   |
//	+-----------------------------+        | CRC                         |
//	  [Message], written here              +-----------------------------+
//	                                         written by package wal
//
// The three in words:
//
//   - The frame is immutable. It states which leader proposed its entries and the index of the first; the entries carry
//     neither index nor term, since their position gives them. A blank and a membership entry each have a frame of their
//     own. A follower checks the CRC once and stores the bytes as they came; only where a log was cut inside a frame
//     does [CutFrame] encode entries anew. A witness gets and keeps the header alone ([HeaderFrame]).
//   - The message is the append header, and the form of every other message between peers. All that differs from peer
//     to peer or from moment to moment stands in it: the sender's vote, the log id before the frame, the commit index,
//     the stream, the send stamp. Answers echo stream and stamp, so that a late answer is known for what it is.
//     Snapshots and forwarded proposals are no frames; their bytes stand behind the message as [Data].
//   - The envelope belongs to one node's log and is described in package wal.
//
// The buffer that becomes a frame is allocated with [FrameHeaderSize] bytes of room, entries are appended behind it with
// [AppendEntry], and [SealFrame] writes the header into the room: nothing is copied. Data is made the same way
// ([DataHeaderSize], [SealData]).
//
// A [Membership] is the content of a membership entry. A [Handshake] opens each connection and names its protocol
// version, cluster, nodes, incarnation and lane.
//
// # What it promises
//
//   - One value, one encoding. What a decoder accepts, the encoder would have written byte for byte; compressed bodies
//     are the exception, since another version of the compressor may write others.
//   - Each format starts with its version (a message right after its size, a handshake after its magic). An unknown one
//     is refused with [ErrVersion], never skipped.
//   - A decoder never panics, and checks each length against its limit and against what is there before it allocates.
//     A compressed body is unpacked into a buffer of the size its frame states, never more, and only where the body
//     claims the same size.
//   - Any one flipped bit in a frame, message, data or handshake is found: everything is under a CRC32C or must be zero. A
//     membership has no checksum of its own; the frame around it has.
//   - Encoding and parsing a frame, message or data allocates nothing beyond the caller's buffer. Compressing, unpacking and
//     reading a membership or a handshake do allocate: they are seldom, or the price of the option.
//   - What a decoder returns aliases its input where the doc comment says so, and shares nothing with it elsewhere.
//   - An encoder given a value that no decoder would accept panics: that is a bug of ours, found where it is made
//     rather than on the peer. Limits that depend on a caller's data are errors.
//
// All integers are little endian. The golden files in testdata fix every format; a change of one is a new version.
//
// # Reading order
//
//	types.go        Term, Index, LeaderID, LogID, Vote and the two orders of votes, Entry
//	frame.go        the frame: layout, sealing, reading, cutting
//	message.go      the messages between peers: what each field means in each kind, layout
//	data.go         what follows a message that is no frame
//	membership.go   voter configs, nodes, what they are to become
//	quorum.go       the four kinds of quorum system, in form
//	handshake.go    the opening of a connection, lanes, verdicts
//	compression.go  s2 and zstd bodies, and how they stay bounded
//	base.go         where a log begins, with the membership in force there
//	chunk.go        pieces of snapshots, as messages bring them
//	forward.go      proposals on their way to the leader, and why it refuses them
//	exchange.go     the structs that pipeline, wal and netio hand to each other
//	reader.go       a small cursor for the formats of variable layout
//	errors.go       the ways in which bytes fail to be a value
//
// # Decisions
//
//   - Fixed-size headers with fixed offsets, written by hand: a frame's description is read in a few loads, and a header
//     is written in place. Variable-length integers only where sizes vary: entries and memberships.
//   - Compression is kept only where it makes the body smaller, and then copied out at its exact size, because logs hold
//     frames in memory and count their bytes.
//   - The message's CRC covers its header alone; frame and data have their own. A reader can trust the size in a header
//     before the body has arrived.
//   - The last four bytes of a frame's and a message's header are zero and outside the checksum. They keep what follows
//     aligned to eight bytes, and a decoder refuses them otherwise.
//   - A frame's body may hold 64 MiB. A batch is far smaller in practice; the limit is what a decoder must be ready to
//     allocate, and for a compressed frame that may be far more than arrived.
package codec
