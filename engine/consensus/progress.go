package consensus

import "github.com/millrace/millrace/codec"

// progressState is how a leader sends to a peer.
type progressState uint8

const (
	// stateProbe: one empty append is out, to find where the logs match.
	stateProbe progressState = iota
	// stateStream: frames flow without waiting, inside the window.
	stateStream
	// stateSnapshot: nothing is sent; a snapshot is on its way, see snapshot_leader.go.
	stateSnapshot
)

// sentFrame is a frame sent and not acknowledged.
type sentFrame struct {
	last codec.Index
	size int
}

// progress is what a leader knows of one member. The leader's own has only a match.
//
// Owner: the [Core] it is part of.
type progress struct {
	node    codec.NodeID
	voter   bool
	witness bool
	state   progressState
	// match is the highest index known to be flushed there. Invariant: never goes back while this node leads.
	match codec.Index
	// next is the first index not sent. Invariant: match < next <= last index + 1.
	next codec.Index
	// stream numbers what is sent; a new one starts after each break. Answers to an older one are not heard.
	stream uint64
	// inflight are the frames sent on stream and not acknowledged, inflightBytes their sizes' sum.
	// Invariant: ascending, above match, below next; empty unless streaming.
	inflight      ring[sentFrame]
	inflightBytes int
	window        window
	// movedAt is when the oldest frame in flight was sent or the last ack came, whichever is later.
	movedAt Instant
	// probeOut says that a probe waits for its answer, sent at probeAt.
	probeOut bool
	probeAt  Instant
	// probes counts those that were denied since the stream broke; end is the least index known not to match, 0 for none.
	probes int
	end    codec.Index
	// answered is when the newest message that was answered had been sent, sentAt when the newest was that asks for an answer.
	answered, sentAt Instant
	// lost says that the peer denied holding the entry at match, which it had acknowledged. Its copies count for
	// nothing until it proves that it has them.
	lost bool
	// mayRevert says that the next such denial is accepted: the peer is filled up again.
	mayRevert bool
	// told is the commit that the newest request named.
	told codec.Index
	// snapshot is what is known of a snapshot that the peer needs.
	snapshot snapshotProgress
	// beat is when the newest heartbeat that was answered had been sent.
	beat Instant
	// lent is the last index that a request to campaign named, which the peer may still obey; 0 for none.
	lent codec.Index
}

// holds returns up to which index the peer's copies count.
func (p *progress) holds() codec.Index {
	if p.lost {
		return 0
	}
	return p.match
}

// roomFor reports whether the window takes a frame of that size. One frame is always let through.
func (p *progress) roomFor(size int, cfg *Config) bool {
	if p.inflight.n == 0 || p.inflight.n < cfg.WindowFramesMax && p.inflightBytes+size <= p.window.bytes {
		return true
	}
	p.window.limits = true
	return false
}

// sent notes a frame in flight.
func (p *progress) sent(f *codec.FrameMeta, now Instant) {
	if p.inflight.n == 0 {
		p.movedAt = now
	}
	p.inflight.push(sentFrame{last: f.Last(), size: f.Size})
	p.inflightBytes += f.Size
	p.next = f.Last() + 1
}

// acknowledged notes that the peer holds everything up to index and reports whether that is news.
func (p *progress) acknowledged(index codec.Index, now Instant) bool {
	news := index > p.match
	if news {
		p.match = index
		p.next = max(p.next, index+1)
		p.movedAt = now
	}
	if index >= p.match {
		p.lost = false
	}
	if p.match > p.lent {
		p.lent = 0
	}
	for p.inflight.n > 0 && p.inflight.front().last <= p.match {
		p.inflightBytes -= p.inflight.front().size
		p.inflight.popFront()
	}
	return news
}

// probeFrom ends the stream; what it has in flight is not waited for any more.
func (p *progress) probeFrom(next codec.Index, stream uint64) {
	p.state = stateProbe
	p.next = max(next, p.match+1)
	p.stream = stream
	p.inflight.clear()
	p.inflightBytes = 0
	p.probeOut = false
}

// streamOn starts to stream behind what is known to match.
func (p *progress) streamOn() {
	p.state = stateStream
	p.next = p.match + 1
	p.probeOut = false
	p.probes, p.end = 0, 0
}
