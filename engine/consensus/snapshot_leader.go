package consensus

import (
	"time"

	"github.com/millrace/millrace/codec"
)

// A peer whose next entry is purged is sent a snapshot in its place (thesis 5.1): the core says so, who carries it out
// moves the file. Nothing else is sent to such a peer on the append lane, and heartbeats to it name no entry. Its core
// acknowledges the snapshot's last entry like any other, on the stream that the request named; from there on the peer is
// streamed to again. A peer whose log is good but whose snapshot is damaged or lost asks for one in its answers to
// heartbeats, and is streamed to meanwhile: it may be needed for a quorum.
//
// Nobody promises that a transfer succeeds. One that is lost is asked for again, later after each loss; one that nothing
// was heard of is asked for again too, in case its end was lost, which costs nothing while it runs. Entries behind a
// snapshot under way are kept for the peer as long as it answers, and until it has caught up behind it: else a leader
// that writes faster than a snapshot travels would send one after the other. They are not kept for ever: not for a peer
// whose transfers are lost time and again.

// snapshotLossesMax is after how many lost transfers in a row entries are purged regardless of the peer.
const snapshotLossesMax = 4

// snapshotProgress is what a leader knows of a snapshot that a peer needs.
//
// Owner: the [progress] it is part of.
type snapshotProgress struct {
	// active says that the peer is to be sent one, wanted that it asked for it though its log needs none.
	active, wanted bool
	// atLeast is the index that the snapshot must reach, least what any snapshot must reach to be of use to this peer.
	atLeast, least codec.Index
	// at is when it is asked for again.
	at Instant
	// losses counts transfers that were lost since the last one that was not.
	losses int
	// behind says that the peer got one and has not caught up since.
	behind bool
}

// needSnapshot ends the stream to a peer that lacks purged entries, and asks for a snapshot.
func (c *Core) needSnapshot(p *progress) {
	p.window.broken(&c.cfg, p.inflight.n > 0)
	p.probeFrom(c.log.base.Index+1, c.newStream())
	p.state = stateSnapshot
	p.probes, p.end = 0, 0
	p.snapshot.active = true
	c.askSnapshot(p)
}

// askSnapshot asks for a snapshot to be sent. The one asked for first is kept to as long as the log still has what
// follows it, so that a transfer under way is of use. A witness needs no state: the log's own base does.
func (c *Core) askSnapshot(p *progress) {
	s := &p.snapshot
	send := SnapshotSend{To: p.node, Stream: p.stream}
	least := max(s.least, c.log.base.Index)
	switch {
	case p.witness:
		s.atLeast = c.log.base.Index
		send.MetadataOnly, send.Base = true, c.log.baseAt(c.log.base)
	case s.atLeast < least:
		s.atLeast = max(least, c.snapshot.Index)
	}
	send.AtLeast = s.atLeast
	c.out.Snapshots = append(c.out.Snapshots, send)
	s.at = c.now.Add(c.snapshotPace(s.losses))
}

// snapshotPace returns how long to wait before a snapshot is asked for again: twice as long after each loss.
func (c *Core) snapshotPace(losses int) time.Duration {
	most := 2 * c.cfg.ElectionTimeoutMax
	if losses == 0 || losses > 8 {
		return most
	}
	return min(most, c.cfg.HeartbeatInterval<<(losses-1))
}

// snapshotTimer asks again. A peer that answers nothing would get nothing, one that lost what it had acknowledged gets
// something only once that is allowed.
func (c *Core) snapshotTimer(p *progress) {
	switch {
	case c.now < p.snapshot.at:
	case c.alive(p) && (!p.lost || c.reverts(p)):
		c.askSnapshot(p)
	default:
		p.snapshot.at = c.now.Add(c.cfg.ElectionTimeoutMax)
	}
}

// alive reports whether a peer has lately answered.
func (c *Core) alive(p *progress) bool { return p.answered > c.now.Add(-c.cfg.ElectionTimeoutMax) }

// snapshotLost takes the news that a transfer ended before its end.
func (c *Core) snapshotLost(in *Input) {
	if p := c.peer(in.Peer); p != nil && p.snapshot.active {
		p.snapshot.losses++
		p.snapshot.at = c.now.Add(c.snapshotPace(p.snapshot.losses))
	}
}

// snapshotTaken notes that a peer acknowledged the snapshot's last entry, and streams behind it. Where the log has been
// purged beyond that meanwhile, a newer one is asked for.
func (c *Core) snapshotTaken(p *progress) {
	if p.match < c.log.base.Index {
		p.snapshot.at = min(p.snapshot.at, c.now.Add(c.cfg.HeartbeatInterval))
		return
	}
	p.snapshot = snapshotProgress{active: p.snapshot.wanted, wanted: p.snapshot.wanted, least: p.snapshot.least, at: p.snapshot.at, behind: true}
	p.streamOn()
}

// snapshotHeard takes what an answer to a heartbeat says of a snapshot. Only the newest answer counts: an older one may come
// after the snapshot did.
func (c *Core) snapshotHeard(p *progress, m *codec.Message) {
	s := &p.snapshot
	switch {
	case Instant(m.Stamp) < p.answered || p.witness || p.lost:
	case m.WantSnapshot:
		s.wanted, s.least = true, max(s.least, min(m.Commit, c.log.last.Index))
		if !s.active {
			s.active = true
			c.askSnapshot(p)
		}
	case s.wanted:
		s.wanted, s.least = false, 0
		if p.state != stateSnapshot {
			*s = snapshotProgress{behind: s.behind}
		}
	}
	// A peer that somebody else helped needs no snapshot any more.
	if p.state == stateSnapshot && m.Status == codec.StatusOK && m.Log.Index >= c.log.base.Index && c.log.holds(m.Log) {
		*s = snapshotProgress{active: s.wanted, wanted: s.wanted, least: s.least, at: s.at}
		c.breakStream(p, m.Log.Index+1)
	}
}

// keptFor returns from which index on entries are kept for a peer that gets a snapshot, or has got one and catches up; false
// where nothing is.
func (c *Core) keptFor(p *progress) (behind codec.Index, kept bool) {
	s := &p.snapshot
	switch {
	case !c.alive(p) || s.losses >= snapshotLossesMax:
		return 0, false
	case p.state == stateSnapshot:
		return s.atLeast, s.atLeast >= c.log.base.Index
	}
	return p.match, s.behind && p.match >= c.log.base.Index
}
