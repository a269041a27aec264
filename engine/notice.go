package engine

import (
	"errors"
	"fmt"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
	"github.com/millrace/millrace/wal"
)

// emit gives an event to everyone who listens.
func (l *loop) emit(e Event) { l.raft.events.emit(e) }

// noticeStep tells listeners and the operator what the newest step changed. The leader and the membership are told where
// they are published.
func (l *loop) noticeStep(before, now *consensus.Status) {
	l.noticeElections(before, now)
	if now.Denials != before.Denials {
		l.noticeDenial(now.DeniedBy)
	}
	if now.Transferee != before.Transferee {
		if before.Transferee != 0 {
			l.emit(TransferEnded{Target: before.Transferee, Leading: now.Role == consensus.Leader})
		}
		if now.Transferee != 0 {
			l.logs.consensus.Info("handing over", "target", now.Transferee)
			l.emit(TransferStarted{Target: now.Transferee})
		}
	}
}

// noticeElections tells what became of campaigns and leaderships.
func (l *loop) noticeElections(before, now *consensus.Status) {
	if before.Role == consensus.Candidate && (now.Role != consensus.Candidate || now.Vote != before.Vote) {
		if now.Role == consensus.Leader && now.Vote.Leader == before.Vote.Leader {
			l.emit(ElectionWon{Vote: now.Vote})
		} else {
			l.logs.consensus.Debug("election lost", "vote", before.Vote)
			l.emit(ElectionLost{Vote: before.Vote})
		}
	}
	if now.Elections != before.Elections {
		l.logs.consensus.Debug("election started", "vote", now.Vote, "last", now.LastLog)
		l.emit(ElectionStarted{Vote: now.Vote})
	}
	if now.Role == before.Role {
		return
	}
	var cause error
	if before.Role == consensus.Leader {
		if cause = l.endedBy(now.Ended); cause != nil {
			l.logs.consensus.Warn("stepped down", "err", cause)
		}
		if l.lostBy = errLostLeadership; cause != nil {
			l.lostBy = fmt.Errorf("%w: %w", errLostLeadership, cause)
		}
	}
	l.emit(RoleChanged{Before: before.Role, Now: now.Role, Vote: now.Vote, Cause: cause})
}

// endedBy returns why this node stepped down by itself, nil where it did not.
func (l *loop) endedBy(e consensus.Ending) error {
	switch e {
	case consensus.EndedQuorum:
		return &QuorumError{Node: l.cfg.NodeID, Leader: l.cfg.NodeID, Waited: l.cfg.ElectionTimeoutMin}
	case consensus.EndedDisk:
		return &DiskStallError{Node: l.cfg.NodeID, Waits: l.diskWaits()}
	}
	return nil
}

// noticeDenial tells of a peer whose log lost what it had acknowledged.
func (l *loop) noticeDenial(id codec.NodeID) {
	l.peers = l.core.Peers(l.peers[:0])
	for _, p := range l.peers {
		if p.Node == id {
			l.logs.consensus.Error("peer denies holding what it had acknowledged: its disk lost durable entries, and it gets nothing more",
				"peer", id, "acknowledged", p.Match)
			l.emit(PeerLost{Peer: id, Match: p.Match})
		}
	}
}

// noticeDisk watches the disk: it has stalled when nothing of what waits was flushed for a minimum election timeout.
func (l *loop) noticeDisk() {
	waits := l.diskWaits()
	switch {
	case !l.stalled && waits >= l.cfg.ElectionTimeoutMin:
		l.stalled, l.stalledSince = true, l.now.Add(-waits)
		l.logs.consensus.Warn("disk has stalled: nothing was flushed", "for", waits)
		l.emit(DiskStalled{Waits: waits})
	case l.stalled && waits < time.Duration(l.now-l.stalledSince):
		l.stalled = false
		stalled := time.Duration(l.now - l.stalledSince)
		l.logs.consensus.Info("disk has recovered", "after", stalled)
		l.emit(DiskRecovered{Stalled: stalled})
	}
}

// diskWaits returns for how long the log has flushed nothing of what waits, 0 when nothing waits.
func (l *loop) diskWaits() time.Duration {
	if l.flushedSeq >= l.submittedSeq {
		return 0
	}
	return time.Duration(l.now - l.waitingSince)
}

// noticeDown tells of a peer to which packets may have been lost, once until it is heard again.
func (l *loop) noticeDown(id codec.NodeID) {
	if !l.unheard[id] {
		l.unheard[id] = true
		l.logs.consensus.Debug("packets to peer may have been lost", "peer", id)
		l.emit(PeerFailed{Peer: id})
	}
}

// noticeHeard tells of a peer that is heard again, or for the first time.
func (l *loop) noticeHeard(id codec.NodeID) {
	delete(l.unheard, id)
	l.logs.consensus.Debug("peer is heard", "peer", id)
	l.emit(PeerConnected{Peer: id})
}

// fail remembers what stops the node; no step is taken any more.
func (l *loop) fail(err error) {
	if l.failure != nil {
		return
	}
	l.failure = err
	log := l.logs.consensus
	var sm *StateMachineError
	switch {
	case errors.As(err, &sm):
		log = l.logs.stateMachine
	case errors.Is(err, wal.ErrPoisoned):
		log = l.cfg.logger(ComponentLog)
	}
	log.Error("node stops", "err", err)
	l.emit(NodeFailed{Cause: err})
}
