package shipment

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/snapshot"
)

// ReceiverConfig says where snapshots come to. All fields are required unless they say otherwise.
type ReceiverConfig struct {
	// Store takes the files; nil on a witness, which takes bases.
	Store *snapshot.Store
	// QueueBytesMax bounds the bytes of the pieces that wait to be written; one is always let in. What exceeds it is dropped.
	QueueBytesMax int
	// Send puts packets on the snapshot lane. It must not block.
	Send func([]codec.Packet)
	// Complete is told, on the receiver's goroutine, that a snapshot is complete, verified and durable, and again each time
	// that its sender asks after that. It must not block.
	Complete func(Arrival)
	// Logger is told what was refused, and why.
	Logger *slog.Logger
}

// Arrival is a snapshot that is complete, and the message that made it so.
type Arrival struct {
	Base    codec.LogBase
	Info    snapshot.Info // zero on a witness
	Peer    codec.NodeID
	Message codec.Message
}

// Receiver takes the snapshot that a node's leader sends. It keeps what it has of one until another one comes.
//
// Owner: the goroutine of run, which starts with the first piece. mu guards the queue; no owner would do, since the loop
// may not wait for a disk.
type Receiver struct {
	cfg  ReceiverConfig
	wake chan struct{} // capacity 1
	done chan struct{}

	mu       sync.Mutex
	queue    []piece
	bytes    int // of queue
	running  bool
	closed   bool
	dropped  uint64
	progress Intake

	// Owner: the goroutine.
	in       *snapshot.Receiver // being received, nil for none
	finished *snapshot.Info     // received last, and not yet followed by another
	refused  codec.SnapshotID   // of which a line was logged
}

// piece is a chunk with what its reply needs.
type piece struct {
	peer    codec.NodeID
	message codec.Message
	chunk   codec.SnapshotChunk
	vote    codec.Vote
}

// Intake tells how much of a snapshot has come.
type Intake struct {
	ID    codec.SnapshotID // zero while none is received
	From  codec.NodeID
	Began time.Time
	Held  int64 // bytes of the file
	Bytes int64 // that came in, with those that were known already
}

// NewReceiver returns a receiver that waits for its first piece.
func NewReceiver(cfg ReceiverConfig) *Receiver {
	return &Receiver{cfg: cfg, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// Take takes a piece that came under the vote which the node follows; the reply says so. One that can't be read is an error,
// and is dropped. One that would exceed the queue is dropped, and counted.
func (r *Receiver) Take(p *codec.Packet, vote codec.Vote) error {
	chunk, err := codec.ReadSnapshotChunk(p.Data.Payload(), p.Message.Log)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return nil
	case r.bytes > 0 && r.bytes+len(chunk.Bytes) > r.cfg.QueueBytesMax:
		r.dropped++
		return nil
	}
	r.bytes += len(chunk.Bytes)
	r.queue = append(r.queue, piece{p.Node, p.Message, chunk, vote})
	if !r.running {
		r.running = true
		go r.run()
	}
	r.signal()
	return nil
}

// Refuse answers a piece that came under another vote than the one this node follows.
func Refuse(p *codec.Packet, vote codec.Vote) codec.Packet {
	return reply(&piece{peer: p.Node, message: p.Message, vote: vote}, codec.StatusRefused, 0)
}

// Intake returns how much of the snapshot under way has come.
func (r *Receiver) Intake() Intake {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.progress
}

// Dropped returns how many pieces the queue had no room for.
func (r *Receiver) Dropped() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dropped
}

// Close ends the receiver and returns when nothing of it runs any more. What it has of a snapshot stays.
func (r *Receiver) Close() {
	r.mu.Lock()
	running := r.running
	r.closed, r.queue, r.bytes = true, nil, 0
	r.mu.Unlock()
	if running {
		r.signal()
		<-r.done
	}
}

func (r *Receiver) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *Receiver) run() {
	defer close(r.done)
	for {
		p, ok := r.next()
		if !ok {
			break
		}
		if p.message.Kind == 0 {
			<-r.wake
			continue
		}
		r.take(&p)
	}
	if r.in != nil {
		if err := r.in.Close(); err != nil {
			r.cfg.Logger.Warn("closing a snapshot that is not complete", "snapshot", r.in.ID().Log, "err", err)
		}
	}
}

// next returns the next piece, the zero piece where none waits, and false once the receiver is closed.
func (r *Receiver) next() (p piece, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) > 0 {
		p = r.queue[0]
		r.queue[0] = piece{}
		r.queue = r.queue[1:]
		r.bytes -= len(p.chunk.Bytes)
	}
	return p, !r.closed
}

// take writes a piece and answers it.
func (r *Receiver) take(p *piece) {
	held, err := r.write(p)
	if err != nil {
		if r.refused != p.chunk.ID {
			r.refused = p.chunk.ID
			r.cfg.Logger.Warn("snapshot refused", "from", p.peer, "snapshot", p.message.Log, "bytes", p.chunk.ID.Size, "held", held, "err", err)
		}
		// A version that this build does not know may be a number that has rotted on the sender's disk: it is to look.
		if errors.Is(err, codec.ErrCorrupt) || errors.Is(err, codec.ErrVersion) {
			held = p.chunk.ID.Size
		}
		r.cfg.Send([]codec.Packet{reply(p, codec.StatusRefused, held)})
		return
	}
	r.note(p, held)
	r.cfg.Send([]codec.Packet{reply(p, codec.StatusOK, held)})
	if held < p.chunk.ID.Size {
		return
	}
	arrival := Arrival{Peer: p.peer, Message: p.message}
	if p.chunk.Base != nil {
		arrival.Base = *p.chunk.Base
	} else {
		arrival.Base, arrival.Info = r.finished.Base, *r.finished
	}
	r.cfg.Complete(arrival)
}

// write writes a piece and returns how many bytes of its snapshot are held afterwards, be it that the piece was none of the
// next ones. When that is all of them it is finished.
func (r *Receiver) write(p *piece) (held int64, err error) {
	id := p.chunk.ID
	switch {
	case p.chunk.Base != nil && r.cfg.Store != nil:
		return 0, fmt.Errorf("it has no state, which only a witness needs none of: %w", codec.ErrCorrupt)
	case p.chunk.Base != nil:
		return 0, nil
	case r.cfg.Store == nil:
		return 0, errors.New("this node is a witness and takes no state")
	case r.finished != nil && r.finished.ID() == id:
		return id.Size, nil
	case r.in == nil || r.in.ID() != id:
		// The store ends the one before.
		if r.in, err = r.cfg.Store.Receive(id); err != nil {
			r.in = nil
			return 0, err
		}
		r.finished = nil
		r.begin(p, r.in.Offset())
	}
	held = r.in.Offset()
	if bytes := p.chunk.Bytes; p.chunk.Offset <= held && p.chunk.Offset+int64(len(bytes)) > held {
		if err := r.in.Write(held, bytes[held-p.chunk.Offset:]); err != nil {
			r.in = nil
			return held, err
		}
		held = r.in.Offset()
	}
	if held < id.Size {
		return held, nil
	}
	in := r.in
	r.in = nil
	info, err := in.Finish()
	if err == nil {
		r.finished = &info
	}
	return held, err
}

// begin notes that another snapshot is received.
func (r *Receiver) begin(p *piece, held int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.progress = Intake{ID: p.chunk.ID, From: p.peer, Began: time.Now(), Held: held}
	r.cfg.Logger.Info("snapshot begins to come in", "from", p.peer, "snapshot", p.message.Log, "bytes", p.chunk.ID.Size, "held", held)
}

// note notes how much of it is there.
func (r *Receiver) note(p *piece, held int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.progress.ID == p.chunk.ID {
		r.progress.From, r.progress.Held = p.peer, held
		r.progress.Bytes += int64(len(p.chunk.Bytes))
	}
}

// reply answers a piece.
func reply(p *piece, status codec.Status, held int64) codec.Packet {
	m := codec.Message{
		Kind: codec.MessageSnapshotReply, Status: status, Group: p.message.Group, Vote: p.vote, Mode: p.message.Mode,
		Log: p.message.Log, Commit: codec.Index(held), Stream: p.message.Stream, Stamp: p.message.Stamp,
	}
	return codec.Packet{Node: p.peer, Message: m}
}
