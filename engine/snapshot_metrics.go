package engine

import (
	"cmp"
	"slices"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
)

// SnapshotMetrics is what a node has of snapshots, and what of them is on its way.
type SnapshotMetrics struct {
	// Newest is the last entry in the newest snapshot, and NewestBytes the size of its file. Purged is the last entry before
	// the log's first, and LogBytes how much of the log was applied behind that, as far as this life of the node knows.
	Newest, Purged codec.LogID
	NewestBytes    int64
	LogBytes       int64
	// Wanted says that the node has lost its snapshots and waits for one of its leader's: it applies nothing until then.
	Wanted bool
	// Taking says that one is being written. Taken, Failed and Installed count since Open.
	Taking                   bool
	Taken, Failed, Installed uint64
	// Installing says that the state machine is being given a state, at start or one that came from a leader.
	Installing bool
	// RestoreBytes is the size of the state that it was given last, and RestoredBytes how much of that it has read.
	RestoreBytes, RestoredBytes int64
	// Receiving is what comes in, or came last; its Peer is 0 where nothing ever did.
	Receiving ShipmentMetrics
	// Sending is what a leader sends, by peers; those whose turn has not come yet have a zero Began.
	Sending []ShipmentMetrics
	// Dropped counts pieces that came faster than they could be written.
	Dropped uint64
}

// ShipmentMetrics tells how far a snapshot on its way has come.
type ShipmentMetrics struct {
	Peer     codec.NodeID // who sends, or is sent it
	Snapshot codec.LogID
	Began    time.Time
	Bytes    int64 // of the file
	Held     int64 // that the receiver has written
	Moved    int64 // that were sent, or came in, since Began, repeated ones included
	Again    int64 // that a sender sent again
	// BytesPerSecond is Moved over the time since Began.
	BytesPerSecond float64
}

func (m *ShipmentMetrics) rate() {
	if t := time.Since(m.Began).Seconds(); t > 0 && !m.Began.IsZero() {
		m.BytesPerSecond = float64(m.Moved) / t
	}
}

// metrics runs in the loop.
func (k *keeper) metrics(s *consensus.Status) SnapshotMetrics {
	m := SnapshotMetrics{
		Newest: s.Snapshot, NewestBytes: k.newest.Size, Purged: s.Purged, LogBytes: k.sizes.total() - k.sizes.before,
		Wanted: s.WantsSnapshot, Taking: k.take.running != nil, Taken: k.taken, Failed: k.failed,
		Installed: k.installed, Installing: k.installing, RestoreBytes: k.restoreBytes, RestoredBytes: k.restored.Load(),
	}
	if k.receiver != nil {
		in := k.receiver.Intake()
		m.Dropped = k.receiver.Dropped()
		m.Receiving = ShipmentMetrics{
			Peer: in.From, Snapshot: in.ID.Log, Began: in.Began, Bytes: in.ID.Size, Held: in.Held, Moved: in.Bytes,
		}
		m.Receiving.rate()
	}
	for id, out := range k.sends {
		sm := ShipmentMetrics{Peer: id}
		if out.sender != nil {
			p := out.sender.Progress()
			sm = ShipmentMetrics{
				Peer: id, Snapshot: out.info.Base.ID, Began: p.Began, Bytes: p.Size, Held: p.Held, Moved: p.Sent, Again: p.Again,
			}
			sm.rate()
		}
		m.Sending = append(m.Sending, sm)
	}
	slices.SortFunc(m.Sending, func(a, b ShipmentMetrics) int { return cmp.Compare(a.Peer, b.Peer) })
	return m
}
