package netio

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"

	"github.com/millrace/millrace/codec"
)

const (
	// outboundBytesMax is how much gnet may hold of a lane that the socket did not take yet. gnet itself has no limit;
	// above this the rest waits in the lane's own, bounded queue.
	outboundBytesMax = 1 << 20
	// stallRetryMin is how soon a lane whose socket was full is looked at again, and stallRetryMax how late when it
	// takes nothing. gnet sends what it holds by itself, but tells nobody when it has.
	stallRetryMin, stallRetryMax = 100 * time.Microsecond, 5 * time.Millisecond
	// drainWritesMax bounds the writes of one lane before other connections of its loop get their turn: 2 MiB, which a copy
	// takes well below a millisecond for, and a full socket ends sooner.
	drainWritesMax = 8
	// queueKeep is the number of packets whose room a lane keeps between two writes.
	queueKeep = 4096
)

// lane is the way of this node's packets to one peer: a bounded queue and, while there is one, the connection.
// Owner: shared by the goroutines that send, the event loop that writes and the lane's own goroutine (see dial.go).
// The lock stands for an owner because a send must neither wait for any of the others nor be handed over one by one;
// it is held for moving packets and for waking the loop, never during a write.
type lane struct {
	t       *TCP
	peer    codec.NodeID
	id      codec.Lane
	address string
	told    *atomic.Pointer[string] // the peer's; see there
	kick    chan struct{}           // capacity 1: something for the lane's goroutine to look at

	mu     sync.Mutex
	conn   *outConn // nil: not connected, everything is refused
	queue  []codec.Packet
	queued int  // wire bytes of queue
	unsent int  // wire bytes taken from queue that the kernel may not have yet
	woken  bool // the loop was woken and has not taken the queue since
	// refusing: a packet was refused and Link.Down not called since, so that everything behind it is refused too.
	refusing bool
	// refused: a packet was refused since the last call of Link.Down began.
	refused bool
	// stalled: the socket was full at the last write. Sends then wake nobody; the lane's goroutine looks again soon.
	stalled bool
	retry   time.Duration // how soon; grows while the socket takes nothing
	// more: the loop left some of the queue for its next turn, and the lane's goroutine has to wake it.
	more bool
}

// outConn is a dialed connection past its handshake.
// Owner: the event loop, except for the fields that say otherwise.
type outConn struct {
	lane   *lane
	remote string // the address that was dialed
	conn   gnet.Conn
	w      writer
	opened bool          // set before enrolling returns
	ending bool          // closed by us; under the lane's lock
	ended  chan struct{} // closed when the connection is gone
	err    error         // why; set before ended is closed
}

// send queues the packets, all for this lane's peer, or refuses them from the first one that does not fit.
func (l *lane) send(packets []codec.Packet) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil || l.refusing {
		cause := DropNotConnected
		if l.conn != nil {
			cause = DropFull
		}
		l.refuse(cause, len(packets))
		return
	}
	for i := range packets {
		size := wireSize(&packets[i])
		if size > l.t.cfg.MessageBytesMax {
			l.t.report.report(slog.LevelError, fmt.Sprint("too large", l.peer),
				"a message is larger than MessageBytesMax and can't be sent",
				"peer", l.peer, "lane", l.id, "bytes", size, "limit", l.t.cfg.MessageBytesMax)
			l.refuse(DropTooLarge, 1)
			l.refuse(DropFull, len(packets)-i-1)
			break
		}
		if l.queued+l.unsent+size > l.t.cfg.LaneBytesMax {
			l.t.report.report(slog.LevelWarn, fmt.Sprint("full", l.peer, l.id), "lane is full, packets are refused",
				"peer", l.peer, "lane", l.id, "bytes", l.queued+l.unsent, "limit", l.t.cfg.LaneBytesMax)
			l.refuse(DropFull, len(packets)-i)
			break
		}
		l.queue = append(l.queue, packets[i])
		l.queued += size
	}
	if !l.stalled && len(l.queue) > 0 {
		l.wake()
	}
}

// refuse counts refused packets. The lock is held.
func (l *lane) refuse(cause Cause, n int) {
	l.t.counters.count(cause, n)
	l.refusing, l.refused = true, true
	if l.conn != nil && l.drained() {
		l.signal()
	}
}

// wake makes the event loop call drain, once for all that is queued until then. The lock is held: while conn is set
// its loop runs, and waking a loop that is gone would write into whatever file has its number by now.
func (l *lane) wake() {
	if l.conn == nil || l.woken {
		return
	}
	l.woken = true
	if err := l.conn.conn.Wake(nil); err != nil {
		l.t.report.report(slog.LevelError, "wake", "event loop can't be woken", "error", err)
	}
}

// drained reports whether a lane that refuses has room again. The lock is held.
func (l *lane) drained() bool { return l.queued+l.unsent <= l.t.cfg.LaneBytesMax/2 }

// signal makes the lane's goroutine look at the lane.
func (l *lane) signal() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// drain writes what is queued, as far as the socket takes it and other connections can wait. It runs on the
// connection's event loop.
func (o *outConn) drain() {
	w := &o.w
	o.lane.mu.Lock()
	o.lane.woken = false // whatever is queued from here on and not taken below needs another wake
	o.lane.mu.Unlock()
	for range drainWritesMax {
		if o.conn.OutboundBuffered() >= outboundBytesMax || w.left == 0 && !o.take() {
			break
		}
		bytes, messages := w.fill()
		var err error
		if len(w.slices) == 1 {
			_, err = o.conn.Write(w.slices[0])
		} else {
			_, err = o.conn.Writev(w.slices)
		}
		if hook := o.lane.t.afterWrite; hook != nil {
			hook(w.join)
		}
		w.release()
		if err != nil {
			return // gnet has closed the connection, and closed was called
		}
		o.lane.t.counters.messagesOut.Add(uint64(messages))
		o.lane.t.counters.bytesOut.Add(uint64(bytes))
	}
	o.written()
}

// take moves the queue to the writer, which is through with what it had, and reports whether there was anything.
func (o *outConn) take() bool {
	l, w := o.lane, &o.w
	clear(w.packets)
	room := w.packets[:0]
	if cap(room) > queueKeep {
		room = nil
	}
	w.packets, w.next = nil, 0
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unsent = l.queued + o.conn.OutboundBuffered()
	if len(l.queue) == 0 {
		w.packets = room
		return false
	}
	w.packets, w.left = l.queue, l.queued
	l.queue, l.queued = room, 0
	return true
}

// written takes stock after a drain: what the kernel does not have yet still counts against the lane's bound.
func (o *outConn) written() {
	l := o.lane
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != o {
		return
	}
	buffered := o.conn.OutboundBuffered()
	before := l.unsent
	l.unsent = o.w.left + buffered
	l.stalled = buffered > 0
	if l.retry = min(2*l.retry, stallRetryMax); l.unsent != before || l.retry == 0 {
		l.retry = stallRetryMin
	}
	// The loop does not wake itself: it would serve nothing else meanwhile.
	l.more = !l.stalled && (o.w.left > 0 || len(l.queue) > 0 && !l.woken)
	if l.stalled || l.more || l.refusing && l.drained() {
		l.signal()
	}
}

// up puts the connection in use. It runs on its event loop.
func (l *lane) up(o *outConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o.opened = true
	l.conn = o
	l.woken, l.stalled, l.more, l.queued, l.unsent = false, false, false, 0, 0
	// What was refused while there was no connection must be known as lost before anything behind it may go.
	l.refusing = l.refused
	if l.refusing {
		l.signal()
	}
}

// closed ends the use of the connection and discards what is left for it. It runs on its event loop. It reports
// whether this node asked for the end.
func (l *lane) closed(o *outConn, err error) (asked bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == o {
		l.conn = nil
		unsent := len(l.queue) + len(o.w.packets) - o.w.next
		l.t.counters.count(DropUnsent, unsent)
		l.queue, l.queued, l.unsent = nil, 0, 0
		l.refused = l.refused || unsent > 0
	}
	o.err = err
	return o.ending
}
