package pipeline

import (
	"io"

	"github.com/millrace/millrace/codec"
)

// StateMachine is what a group's committed entries are applied to. Apply gets them in index order, what callers proposed
// only, in batches; results has the same length, with the log ids filled in, and Apply sets the rest. Entries and results
// belong to the caller and may not be kept; the entries' data may not be changed. An error stops the node with that
// error; no entry is ever skipped or applied twice by one run of a node.
type StateMachine interface {
	Apply(entries []Entry, results []Result) error
}

// Snapshotter is a [StateMachine] whose state can be taken and given. Without it a node never purges its log, and a peer
// that lacks purged entries can't be helped.
type Snapshotter interface {
	StateMachine
	// Snapshot captures the state after the last Apply and returns at once; what it returns is written while Apply goes on,
	// and Restore, [Adopter].Adopt and further calls of Snapshot come. It and Restore are called where Apply is, never beside it.
	Snapshot() (SnapshotSource, error)
	// Restore replaces the state by what a SnapshotSource of this type of state machine has written. It reads r to its end.
	// After an error the state is not used any more, and the node stops.
	Restore(r io.Reader) error
}

// SnapshotSource is a captured state. It stays as it was captured until Close, whatever becomes of the state machine's own:
// entries are applied meanwhile, another state may be restored or adopted, and other states captured and written.
type SnapshotSource interface {
	// WriteTo writes the state, on a goroutine of its own, beside every call of the state machine. An error of w comes back unchanged.
	WriteTo(w io.Writer) (int64, error)
	// Close frees what was captured; it is called once, after WriteTo or instead of it, on whichever goroutine.
	Close() error
}

// OnDisk is a [Snapshotter] that keeps its state on disk by itself, and with it the log id of the last entry whose effect is
// there, both changed by the same atomic writes. It is given committed entries only once they are durable in this node's
// own log, never twice in one life, and after a restart again from the entry behind Applied. Its snapshots only travel.
type OnDisk interface {
	Snapshotter
	// Applied returns the last entry whose effect is durable, zero for none. It is asked once, at start.
	Applied() (codec.LogID, error)
	// Sync makes the effect of all entries durable that Apply was given, and returns the last of them. It is called where
	// Apply is, never beside it.
	Sync() (codec.LogID, error)
}

// Adopter is an [OnDisk] that can take the state of another log. Without it a node with an on-disk state machine can't be
// made of an export, nor be given a state while it runs.
type Adopter interface {
	OnDisk
	// Adopt does as Restore, for a state of another log: what it comes with as its own log id means nothing here, and Applied
	// is at from now on, durable together with the state.
	Adopt(r io.Reader, at codec.LogID) error
}

// Collector takes the entries of kind [codec.EntryRestore]: the parts of a state that comes through the log to replace the
// state machine's. An [Applier] calls it on its goroutine.
type Collector interface {
	// Collect takes the next of these entries, which it may not keep. An error stops the node.
	Collect(e Entry) (Collected, error)
}

// Collected is what became of a part.
type Collected struct {
	// State, where the part completes a state, opens that; the [Applier] closes it. It replaces the state machine's state at
	// once, and the sessions stay as they are.
	State func() (io.ReadCloser, error)
	// Refusal is the answer to who proposed the part where it has no effect.
	Refusal error
}

// Entry is a committed entry.
type Entry = codec.Entry

// Result is the answer to a proposal.
type Result struct {
	// LogID is where the entry stands in the log.
	LogID codec.LogID
	// Data is the state machine's answer, nil if it gave none.
	Data []byte
}

// Log is a node's durable log for all of its groups. Its methods may be called from any goroutine, beside each other and beside
// those of its groups: connections remember peers while the groups' loops write.
type Log interface {
	// Incarnation returns the random identity made together with the log.
	Incarnation() codec.Incarnation
	// Peers returns the remembered incarnation of each peer.
	Peers() map[codec.NodeID]codec.Incarnation
	// RememberPeer makes a peer's incarnation durable. done is called once, from any goroutine, possibly before
	// RememberPeer returns, and must not block.
	RememberPeer(id codec.NodeID, incarnation codec.Incarnation, done func(error))
	// Group opens one group's part and returns what it holds. flushed reports progress: every write up to seq is
	// durable, or, with an error, nothing after the last report ever will be; after an error it is not called again.
	// It may be called from any goroutine, also inside Submit, and must not block.
	Group(group codec.GroupID, flushed func(seq uint64, err error)) (GroupLog, codec.LogState, error)
	// Close makes everything submitted durable, seals the log and frees it. It returns the error that poisoned the
	// log, if any.
	Close() error
}

// GroupLog is one group's part of a [Log]. Its methods are called by the group's loop alone, beside those of other groups.
type GroupLog interface {
	// Submit queues a write and returns at once. The frame and the bases are kept, unchanged, for as long as the log wants.
	Submit(w *codec.LogWrite)
	// Frame returns the frame that holds the entry at index, if it is in memory. Frames not yet durable always are.
	Frame(index codec.Index) (codec.Frame, bool)
	// ReadFrame reads the frame that holds the entry at index from wherever it is and calls done, from any goroutine,
	// possibly before ReadFrame returns. done must not block. An index the log does not hold is an error; a truncation
	// that was submitted meanwhile may be one, and then the caller asks again.
	ReadFrame(index codec.Index, done func(codec.Frame, error))
}

// Transport moves packets between nodes. Packets of one lane arrive in order; some may be lost, and then
// [codec.Link].Down is called, or the peer misses them at its end of the connection; none is altered or comes twice. To its
// peers it speaks for the node with that id and [codec.Link].Incarnation.
type Transport interface {
	// Start begins to listen and to report to link.
	Start(link codec.Link) error
	// SetPeers tells which nodes to keep connections to, and where they listen. This node itself is left out.
	SetPeers(peers []codec.Node)
	// Send queues packets, in order, each for the node it names; it never blocks. What a full or missing lane refuses
	// is reported through Link.Down, and everything behind it on that lane is refused too until that was called.
	// The slice may be reused after the call; frames are shared until sent.
	Send(lane codec.Lane, packets []codec.Packet)
	// Addr returns the address peers dial to reach this node, known once Start has returned.
	Addr() string
	// Close ends all connections and returns when nothing of the transport runs any more.
	Close() error
}
