package engine

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
	"github.com/millrace/millrace/engine/shipment"
	"github.com/millrace/millrace/wal/snapshot"
)

const (
	// shipRetryMin and shipRetryMax bound the wait between two questions of a sender how much its peer holds.
	shipRetryMin, shipRetryMax = 50 * time.Millisecond, time.Second
	// shipSilenceMax is how long a peer may answer nothing before its sender gives up. The core asks for another one when the
	// peer is heard again.
	shipSilenceMax = 30 * time.Second
	// progressInterval is how often the log is told how far a snapshot has come.
	progressInterval = 10 * time.Second
	// sendRetryMin and sendRetryMax bound the wait before a peer is sent another snapshot after one that failed.
	sendRetryMin, sendRetryMax = 200 * time.Millisecond, 30 * time.Second
)

// sending is what a leader does for a peer that lacks entries which are purged.
//
// Owner: the loop.
type sending struct {
	to      consensus.SnapshotSend // as the core asked last
	asked   consensus.Instant      // since when it waits for its turn
	sender  *shipment.Sender       // nil while it waits for its turn, for a snapshot, or for time to pass
	info    snapshot.Info          // what is sent
	retry   consensus.Instant      // not before
	backoff time.Duration
	alive   bool              // the peer has lately answered something
	told    consensus.Instant // when the log was last told how far it has come
}

func (s *sending) stop() {
	if s.sender != nil {
		s.sender.Stop()
		s.sender = nil
	}
}

// send puts packets of the senders and the receiver on the snapshot lane. They call it on their own goroutines.
func (k *keeper) send(packets []codec.Packet) { k.l.transport.Send(codec.LaneSnapshot, packets) }

// wish takes what the core asks to be sent.
func (k *keeper) wish(w consensus.SnapshotSend) {
	s := k.sends[w.To]
	if s == nil {
		s = &sending{asked: k.l.now}
		k.sends[w.To] = s
	}
	s.to = w
	if s.sender == nil {
		return
	}
	if s.info.Base.ID.Index < w.AtLeast || w.MetadataOnly != (s.info.Size == 0) || s.sender.Vote() != k.l.status.Vote {
		s.stop()
		return
	}
	s.sender.SetStream(w.Stream)
}

// sendRound ends the sendings that nobody needs any more and begins with those that can be.
func (k *keeper) sendRound() {
	if len(k.sends) == 0 {
		return
	}
	if k.l.peers = k.l.peers[:0]; k.l.status.Role == consensus.Leader {
		k.l.peers = k.l.core.Peers(k.l.peers)
	}
	ended := false
	for id, s := range k.sends {
		i := slices.IndexFunc(k.l.peers, func(p consensus.PeerStatus) bool { return p.Node == id })
		switch {
		case i < 0 || !k.l.peers[i].Snapshot:
			k.sent(id, s)
			ended = true
			continue
		case s.sender != nil && s.sender.Vote() != k.l.status.Vote:
			s.stop()
		}
		s.alive = k.l.peers[i].LastAnswer.Add(k.l.cfg.ElectionTimeoutMax) > k.l.now
		k.tellProgress(id, s)
	}
	if ended {
		k.purge() // what was kept for them
	}
	k.startSending()
}

// sent forgets a peer that needs no snapshot any more.
func (k *keeper) sent(id codec.NodeID, s *sending) {
	if s.sender != nil {
		p := s.sender.Progress()
		k.l.logs.snapshots.Info("snapshot sending ends", "peer", id, "snapshot", s.info.Base.ID, "bytes", p.Size, "held", p.Held, "sent", p.Sent,
			"again", p.Again, "seconds", time.Since(p.Began).Seconds())
		k.l.emit(SnapshotSendEnded{Peer: id, Snapshot: s.info.Base.ID})
	}
	s.stop()
	delete(k.sends, id)
}

// tellProgress puts a line into the log now and then.
func (k *keeper) tellProgress(id codec.NodeID, s *sending) {
	if s.sender == nil || k.l.now < s.told.Add(progressInterval) {
		return
	}
	s.told = k.l.now
	p := s.sender.Progress()
	k.l.logs.snapshots.Info("snapshot on its way", "peer", id, "snapshot", s.info.Base.ID, "bytes", p.Size, "held", p.Held)
}

// startSending gives those who wait longest their turn. Who does not answer would only take it from others.
func (k *keeper) startSending() {
	running := 0
	var waiting []*sending
	for _, s := range k.sends {
		switch {
		case s.sender != nil:
			running++
		case k.l.now >= s.retry && s.alive:
			waiting = append(waiting, s)
		}
	}
	slices.SortFunc(waiting, func(a, b *sending) int {
		return cmp.Or(cmp.Compare(a.asked, b.asked), cmp.Compare(a.to.To, b.to.To))
	})
	for _, s := range waiting {
		info, ok := k.sendable(s)
		if !ok {
			continue // takeRound takes one
		}
		if running >= k.l.cfg.SnapshotsSentMax {
			return
		}
		running++
		k.startSender(s, info)
	}
}

// sendable returns what can be sent to a peer now. A witness needs no state, and so no file.
func (k *keeper) sendable(s *sending) (snapshot.Info, bool) {
	if s.to.MetadataOnly {
		return snapshot.Info{Base: *s.to.Base}, true
	}
	return k.find(s.to.AtLeast, true)
}

// sendWants reports whether a peer needs a snapshot that is not there yet.
func (k *keeper) sendWants() bool {
	for _, s := range k.sends {
		if s.sender == nil && k.l.now >= s.retry && s.alive {
			if _, ok := k.sendable(s); !ok {
				return true
			}
		}
	}
	return false
}

// startSender begins to send a snapshot.
func (k *keeper) startSender(s *sending, info snapshot.Info) {
	cfg := k.l.cfg
	header := codec.Message{Kind: codec.MessageSnapshot, Group: theGroup, Vote: k.l.status.Vote, Log: info.Base.ID}
	if m := k.l.core.Membership(); m != nil {
		header.Mode = m.Mode
	}
	s.info = info
	to := s.to.To
	var sender *shipment.Sender
	sc := shipment.SenderConfig{
		Peer: to, Header: header, ID: info.ID(), ChunkBytes: cfg.SnapshotChunkBytes, WindowBytes: cfg.SnapshotWindowBytes,
		Limit: k.limit, RetryMin: shipRetryMin, RetryMax: shipRetryMax, SilenceMax: shipSilenceMax, Send: k.send,
		Open:  func() (shipment.File, error) { return k.store.OpenRaw(info) },
		Ended: func(err error) { k.post(func(k *keeper) { k.lost(to, info, err) }) },
	}
	if s.to.MetadataOnly {
		sc.ID, sc.Base, sc.Open = codec.SnapshotID{Log: info.Base.ID}, &info.Base, nil
	}
	sender = shipment.NewSender(sc, s.to.Stream)
	s.sender, s.told = sender, k.l.now
	k.jobs.Go(sender.Wait) // it ends as soon as it has read its chunk; the loop's end waits for it
	k.l.logs.snapshots.Info("snapshot sending begins", "peer", to, "snapshot", info.Base.ID, "bytes", info.Size)
	k.l.emit(SnapshotSendStarted{Peer: to, Snapshot: info.Base.ID, Bytes: info.Size})
}

// lost notes that a sender has ended before its time. The core decides when the peer is sent another one.
func (k *keeper) lost(to codec.NodeID, info snapshot.Info, err error) {
	s := k.sends[to]
	if s == nil || s.sender == nil || s.info.ID() != info.ID() {
		return // it was stopped meanwhile
	}
	k.l.logs.snapshots.Warn("snapshot sending failed", "peer", to, "snapshot", info.Base.ID, "held", s.sender.Progress().Held, "err", err)
	k.l.emit(SnapshotSendEnded{Peer: to, Snapshot: info.Base.ID, Cause: err})
	s.stop()
	s.backoff = min(max(2*s.backoff, sendRetryMin), sendRetryMax)
	s.retry = k.l.now.Add(s.backoff)
	s.asked = k.l.now // others first
	if errors.Is(err, shipment.ErrDamaged) || errors.Is(err, codec.ErrCorrupt) {
		k.suspect(info)
	}
	k.l.step(consensus.Input{Kind: consensus.InputSnapshotLost, Peer: to})
}

// suspect looks whether a snapshot that a peer could not verify is damaged here. If it is, another one is sent.
func (k *keeper) suspect(info snapshot.Info) {
	k.jobs.Go(func() {
		err := k.store.Verify(info)
		what := "snapshot could not be verified"
		if errors.Is(err, codec.ErrCorrupt) {
			what = "snapshot is damaged, and not sent any more"
			err = errors.Join(err, k.store.SetAside(info, err))
		}
		if err != nil {
			k.post(func(k *keeper) { k.l.logs.snapshots.Error(what, "entry", info.Base.ID, "err", err) })
		}
	})
}

// replied takes a peer's reply to a piece.
func (k *keeper) replied(p *codec.Packet) {
	if s := k.sends[p.Node]; s != nil && s.sender != nil {
		s.sender.Reply(&p.Message)
	}
}

// broken notes that packets to a peer on the snapshot lane may be lost. What a receiver has answered may be among them,
// and its sender asks again by itself.
func (k *keeper) broken(peer codec.NodeID) {
	if s := k.sends[peer]; s != nil && s.sender != nil {
		s.sender.Broken()
	}
}

// sendDeadline returns when sendRound must be called at the latest.
func (k *keeper) sendDeadline() consensus.Instant {
	at := consensus.Never
	for _, s := range k.sends {
		if s.sender == nil && s.retry > k.l.now {
			at = min(at, s.retry)
		}
	}
	return at
}
