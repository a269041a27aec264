package simulation

import (
	"errors"
	"io"
	"slices"
	"syscall"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
	"github.com/millrace/millrace/wal/snapshot"
)

// transfer is a snapshot on its way from a leader to a peer, piece by piece.
type transfer struct {
	to     codec.NodeID
	vote   codec.Vote // that the sender led under when it began; pieces may leave after that has ended
	stream uint64     // of the newest request of the core
	id     codec.SnapshotID
	raw    *snapshot.Raw
	base   *codec.LogBase // instead of a file, for a witness
	sent   int64          // bytes sent
	held   int64          // bytes that the peer has
	silent int            // pieces sent since the peer answered
	pieces int            // sent
}

// Bounds of a transfer. A peer that answers none of so many pieces is given up.
const (
	transferWindow    = 3
	transferSilentMax = 12
)

// shipSnapshots begins or goes on with the transfers that a step asks for.
func (n *node) shipSnapshots() {
	for _, q := range n.out.Snapshots {
		n.pipe(q.To, q.Stream) // its end is acknowledged like an append's
		n.ship(q)
	}
}

func (n *node) ship(q consensus.SnapshotSend) {
	if t := n.transfers[q.To]; t != nil {
		if t.stream = q.Stream; t.id.Log.Index >= q.AtLeast && t.vote == n.status.Vote {
			if t.held == t.id.Size { // its end was lost, or what the peer had
				t.sent = -1
				n.sendPiece(t)
			}
			return
		}
		n.endTransfer(t)
	}
	info, ok := n.snaps.store.Newest()
	switch {
	case q.MetadataOnly:
		t := &transfer{to: q.To, vote: n.status.Vote, stream: q.Stream, id: codec.SnapshotID{Log: q.Base.ID}, base: q.Base}
		n.transfers[q.To] = t
		n.sendPiece(t)
		return
	case !ok || info.Base.ID.Index < q.AtLeast:
		// One that is new enough must be taken first; the core asks again.
		n.s.tracef("node %d has no snapshot up to %d for node %d", n.id, q.AtLeast, q.To)
		if n.snaps.write == nil {
			n.snapshotNow()
		}
		n.box.lost = append(n.box.lost, q.To)
		n.wake()
		return
	}
	raw, err := n.snaps.store.OpenRaw(info)
	if err != nil {
		n.diskFailed("open its newest snapshot", err)
		n.box.lost = append(n.box.lost, q.To)
		n.wake()
		return
	}
	n.s.transfersBegun++
	n.s.tracef("node %d sends node %d its snapshot up to %v, %d bytes", n.id, q.To, info.Base.ID, info.Size)
	t := &transfer{to: q.To, vote: n.status.Vote, stream: q.Stream, id: info.ID(), raw: raw, sent: -1}
	n.transfers[q.To] = t
	n.sendPiece(t)
}

// sendPiece sends the next piece, or, at first and where the peer has been silent, asks how much it has.
func (n *node) sendPiece(t *transfer) {
	chunk := codec.SnapshotChunk{ID: t.id, Base: t.base}
	switch {
	case t.base != nil:
	case t.sent < 0:
		t.sent = t.held
		chunk.Offset = t.held
	default:
		if t.sent == t.id.Size {
			return
		}
		size := min(t.id.Size-t.sent, int64(100+n.rng.IntN(n.s.shape.pieceBytes)))
		chunk.Offset, chunk.Bytes = t.sent, make([]byte, size)
		if _, err := t.raw.ReadAt(chunk.Bytes, t.sent); err != nil {
			n.diskFailed("read a snapshot", err)
			n.giveUp(t)
			return
		}
		t.sent += size
		n.s.pieces++
	}
	t.silent++
	t.pieces++
	m := codec.Message{
		Kind: codec.MessageSnapshot, Group: group, Vote: t.vote, Mode: n.s.shape.mode, Log: t.id.Log, Stream: t.stream, Stamp: int64(n.now),
	}
	data := codec.SealData(codec.AppendSnapshotChunk(make([]byte, codec.DataHeaderSize), &chunk))
	n.streams.Send(codec.LaneSnapshot, codec.Packet{Node: t.to, Message: m, Data: data}, codec.FrameMeta{})
	life, pieces := n.life, t.pieces
	n.s.after(8*n.s.shape.delay+8*n.s.shape.flush+n.s.shape.heartbeat, func() {
		if n.life != life || n.transfers[t.to] != t || t.pieces != pieces || t.held == t.id.Size && t.silent == 0 {
			return
		}
		n.box.again = append(n.box.again, t)
		n.wake()
	})
}

// askAgain goes on with transfers whose peers are silent.
func (n *node) askAgain() {
	again := n.box.again
	n.box.again = nil
	for _, t := range again {
		switch {
		case !n.alive() || n.transfers[t.to] != t:
		case t.silent > transferSilentMax:
			n.giveUp(t)
		default:
			t.sent = -1
			n.sendPiece(t)
		}
	}
}

// giveUp ends a transfer before its end.
func (n *node) giveUp(t *transfer) {
	n.endTransfer(t)
	n.box.lost = append(n.box.lost, t.to)
	n.wake()
}

func (n *node) endTransfer(t *transfer) {
	if t.raw != nil {
		if err := t.raw.Close(); err != nil {
			n.s.violate("node %d: closing a snapshot: %v", n.id, err)
		}
	}
	delete(n.transfers, t.to)
}

// reportLost tells the core of transfers that came to nothing.
func (n *node) reportLost() {
	lost := n.box.lost
	n.box.lost = nil
	for _, id := range lost {
		n.step(consensus.Input{Kind: consensus.InputSnapshotLost, Peer: id})
	}
}

// sweepTransfers ends those that nobody needs any more, and those of a leadership that is over.
func (n *node) sweepTransfers() {
	if len(n.transfers) == 0 {
		return
	}
	needs := map[codec.NodeID]bool{}
	if n.status.Role == consensus.Leader {
		for _, p := range n.core.Peers(nil) {
			needs[p.Node] = p.Snapshot
		}
	}
	for _, o := range n.s.nodes {
		if t := n.transfers[o.id]; t != nil && (!needs[o.id] || t.vote != n.status.Vote) {
			n.endTransfer(t)
		}
	}
}

// transferReply takes a peer's word of what it has.
func (n *node) transferReply(from codec.NodeID, m *codec.Message) {
	t := n.transfers[from]
	if t == nil || m.Log != t.id.Log || m.Vote != t.vote {
		return
	}
	if m.Status == codec.StatusRefused {
		n.s.tracef("node %d refuses the snapshot of node %d", from, n.id)
		if t.raw != nil && m.Commit == codec.Index(t.id.Size) { // it is damaged
			n.suspect(t)
		}
		n.giveUp(t)
		return
	}
	t.silent = 0
	if t.base != nil {
		return
	}
	if held := int64(m.Commit); held > t.held || held < t.held && t.sent < 0 || t.sent == t.held {
		t.held = held
		if t.sent < held || t.sent == t.id.Size && held < t.id.Size {
			t.sent = held
		}
	}
	for range transferWindow {
		if t.sent < t.id.Size && n.transfers[from] == t {
			n.sendPiece(t)
		}
	}
}

// suspect looks at a snapshot that a peer found damaged, and sets it aside if it is.
func (n *node) suspect(t *transfer) {
	info := t.raw.Info()
	err := n.snaps.store.Verify(info)
	switch {
	case err == nil, errors.Is(err, snapshot.ErrNotHeld):
	case errors.Is(err, codec.ErrCorrupt):
		if !n.snaps.rotten[info.Hash] {
			n.s.violate("node %d: a snapshot that nothing harmed is damaged: %v", n.id, err)
		}
		if err := n.snaps.store.SetAside(info, err); err != nil {
			n.diskFailed("set a snapshot aside", err)
		}
		if n.snaps.write == nil {
			n.snapshotNow()
		}
	default:
		n.diskFailed("verify a snapshot", err)
	}
}

// arrival is a snapshot that is complete and durable.
type arrival struct {
	from    codec.NodeID
	message codec.Message
	base    codec.LogBase
	bare    bool // it came without a state, as a witness gets it
}

// transferPiece takes a piece of a leader's snapshot.
func (n *node) transferPiece(p *packet) {
	m := &p.Message
	if !m.Vote.Covers(n.status.Vote, n.s.shape.mode) {
		n.answerPiece(p, codec.StatusRefused, 0)
		return
	}
	chunk, err := codec.ReadSnapshotChunk(p.Data.Payload(), m.Log)
	if err != nil {
		n.s.violate("node %d: piece of a snapshot from node %d: %v", n.id, p.Node, err)
		return
	}
	if chunk.Base != nil {
		n.answerPiece(p, codec.StatusOK, 0)
		n.box.arrivals = append(n.box.arrivals, arrival{p.Node, *m, *chunk.Base, true})
		n.wake()
		return
	}
	held, err := n.takePiece(&chunk)
	if err != nil {
		n.s.tracef("node %d refuses a piece of a snapshot: %v", n.id, err)
		refused := codec.Index(0)
		switch {
		case errors.Is(err, codec.ErrCorrupt), errors.Is(err, codec.ErrVersion): // all nodes are of one build: it has rotted
			refused = codec.Index(chunk.ID.Size)
		case !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EIO):
			n.s.violate("node %d can't take a piece of a snapshot: %v", n.id, err)
		}
		n.answerPiece(p, codec.StatusRefused, int64(refused))
		return
	}
	switch {
	case held < chunk.ID.Size:
		n.answerPiece(p, codec.StatusOK, held)
	case n.snaps.write == nil: // else the sender asks again
		n.finishTransfer(p, chunk.ID)
	}
}

// takePiece writes what a piece brings that is not there yet.
func (n *node) takePiece(chunk *codec.SnapshotChunk) (held int64, err error) {
	in, err := n.snaps.store.Receive(chunk.ID)
	if err != nil {
		return 0, err
	}
	held = in.Offset()
	if end := chunk.Offset + int64(len(chunk.Bytes)); chunk.Offset <= held && end > held {
		if err := in.Write(held, chunk.Bytes[held-chunk.Offset:]); err != nil {
			return held, err
		}
	}
	return in.Offset(), nil
}

// finishTransfer makes a snapshot that has come whole durable, a while later.
func (n *node) finishTransfer(p *packet, id codec.SnapshotID) {
	life, packet := n.life, *p
	var info snapshot.Info
	n.snaps.write = func() error {
		in, err := n.snaps.store.Receive(id)
		if err == nil {
			info, err = in.Finish()
		}
		if err == nil {
			n.isDurable(info.Base.ID.Index)
		}
		return err
	}
	n.s.after(n.disk.latency(n.s.net.disk), func() {
		if n.life != life || !n.up {
			return
		}
		write := n.snaps.write
		n.snaps.write = nil
		if err := write(); err != nil {
			if errors.Is(err, snapshot.ErrIncomplete) {
				return // pieces of another one came meanwhile
			}
			if !errors.Is(err, codec.ErrCorrupt) {
				n.diskFailed("finish a snapshot that has come", err)
			}
			n.answerPiece(&packet, codec.StatusRefused, id.Size)
			return
		}
		n.s.note(33, uint64(n.id), uint64(info.Base.ID.Index))
		n.s.tracef("node %d has the snapshot of node %d up to %v", n.id, packet.Node, info.Base.ID)
		n.box.arrivals = append(n.box.arrivals, arrival{packet.Node, packet.Message, info.Base, false})
		n.answerPiece(&packet, codec.StatusOK, id.Size)
		n.wake()
	})
}

func (n *node) answerPiece(p *packet, status codec.Status, held int64) {
	m := &p.Message
	n.streams.Send(codec.LaneSnapshot, codec.Packet{Node: p.Node, Message: codec.Message{
		Kind: codec.MessageSnapshotReply, Status: status, Group: group, Vote: m.Vote, Mode: m.Mode, Log: m.Log, Commit: codec.Index(held),
		Stream: m.Stream, Stamp: m.Stamp,
	}}, codec.FrameMeta{})
}

// takeArrivals hands complete snapshots to the core.
func (n *node) takeArrivals() {
	arrivals := n.box.arrivals
	n.box.arrivals = nil
	for i := range arrivals {
		a := &arrivals[i]
		n.step(consensus.Input{Kind: consensus.InputInstall, Peer: a.from, Message: a.message, Base: &a.base, MetadataOnly: a.bare})
	}
}

// install gives the state machine the state that a step says it has from now on.
func (n *node) install(base *codec.LogBase) {
	n.s.installs++
	n.s.tracef("node %d installs the snapshot up to %v", n.id, base.ID)
	if base.ID.Index <= n.fed {
		n.s.violate("node %d installs a snapshot up to %v, having applied %d", n.id, base.ID, n.fed)
		return
	}
	for len(n.proposed) > 0 && n.proposed[0].meta.First <= base.ID.Index {
		n.loseProposal(n.proposed[0])
		n.proposed = n.proposed[1:]
	}
	n.fed = base.ID.Index
	list := n.snaps.store.List()
	i := slices.IndexFunc(list, func(info snapshot.Info) bool { return info.Base.ID == base.ID })
	if i < 0 {
		n.s.violate("node %d installs a snapshot up to %v, which it does not have", n.id, base.ID)
		return
	}
	n.restoreLater(list[i])
}

// restoreLater lets the applier replace the state by that of a snapshot, when its turn comes. Where that can't be read the
// applier applies nothing any more.
func (n *node) restoreLater(info snapshot.Info) {
	var sessions []byte
	r, err := n.snaps.store.Open(info)
	if err == nil {
		sessions = r.Sessions()
	}
	n.snaps.told = max(n.snaps.told, info.Base.ID.Index)
	n.applier.Restore(info.Base, sessions, func() (io.ReadCloser, error) { return r, err }, func(err error) {
		if err == nil {
			n.ailing = false
			n.s.check.restored(n, info.Base.ID)
		}
	})
}

// unreadableState stops a node whose state machine could not be given its state; it starts again from the file.
func (n *node) unreadableState() {
	n.s.after(time.Nanosecond, func() {
		if n.up {
			n.end(opened)
			n.startLater()
		}
	})
}
