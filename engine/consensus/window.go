package consensus

import "time"

// window bounds, in bytes, what is sent to one peer and not acknowledged, as adapted to what the peer can take. It starts
// at the greatest. Where acks come late, so that what is sent only waits in queues on the way, it shrinks; where a stream
// breaks with frames in flight it is halved; where it holds the leader back and acks come in time it grows, first by what
// was acknowledged, doubling in a round trip, and beyond half of what was once too much by a part of that (the slow start
// and congestion avoidance of RFC 5681, with delay for a signal as in RFC 6817).
//
// Owner: the [Core] it is part of.
type window struct {
	// bytes is the present size. Invariant: between windowMin and Config.WindowBytesMax.
	bytes int
	// slow is the size up to which the window doubles in a round trip.
	slow int
	// limits says that since the last ack something was not sent because the window was full.
	limits bool
	// shrunkAt is when it last shrank.
	shrunkAt Instant
	// base is the shortest round trip of the present stream, 0 for none yet: what the way itself takes.
	base time.Duration
}

// windowParts is how many of the least windows make the greatest; it is also the share by which a window grows in a round
// trip beyond the slow start.
const windowParts = 64

func newWindow(cfg *Config) window {
	return window{bytes: cfg.WindowBytesMax, slow: cfg.WindowBytesMax}
}

func windowMin(cfg *Config) int { return max(1, cfg.WindowBytesMax/windowParts) }

// lateAfter is how much longer than the shortest round trip an ack may take before it is late.
func lateAfter(cfg *Config) time.Duration { return cfg.ElectionTimeoutMin / 4 }

// acknowledged adapts the window to an ack of so many bytes, the newest of which had been sent at stamp.
func (w *window) acknowledged(cfg *Config, bytes int, stamp, now Instant) {
	trip := max(1, time.Duration(now-stamp))
	if w.base == 0 || trip < w.base {
		w.base = trip
	}
	switch {
	case trip > w.base+lateAfter(cfg):
		if stamp >= w.shrunkAt { // sent since: the last shrinking was not enough
			w.bytes = max(windowMin(cfg), w.bytes-w.bytes/4)
			w.slow, w.shrunkAt = w.bytes, now
		}
	case !w.limits:
	case w.bytes < w.slow:
		w.bytes = min(cfg.WindowBytesMax, w.bytes+bytes)
	default:
		w.bytes = min(cfg.WindowBytesMax, w.bytes+max(1, bytes*windowMin(cfg)/w.bytes))
	}
	w.limits = false
}

// broken notes that a stream ended, with frames in flight or none.
func (w *window) broken(cfg *Config, inflight bool) {
	w.base = 0
	if inflight {
		w.bytes = max(windowMin(cfg), w.bytes/2)
		w.slow = w.bytes
	}
}
