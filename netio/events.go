package netio

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"

	"github.com/millrace/millrace/codec"
)

// inConn is an accepted connection past its handshake.
// Owner: its event loop, except for the fields that say otherwise.
type inConn struct {
	t       *TCP
	remote  string
	address string // where the peer says it listens, "" for nowhere
	slot    *slot
	parser  parser
	opened  bool        // set before enrolling returns
	conn    gnet.Conn   // under the slot's lock
	ending  atomic.Bool // closed by us
}

// events is what gnet calls. No panic leaves a callback: gnet has no recover, so that one would end the process.
type events struct {
	gnet.BuiltinEventEngine
	t *TCP
}

// OnOpen puts an enrolled connection in use.
func (e *events) OnOpen(c gnet.Conn) (out []byte, action gnet.Action) {
	defer e.t.contain("OnOpen", func() { action = gnet.Close })
	switch x := c.Context().(type) {
	case *outConn:
		e.t.counters.connectionsOut.Add(1)
		x.conn = c
		x.lane.up(x)
	case *inConn:
		e.t.counters.connectionsIn.Add(1)
		x.opened = true
		x.slot.mu.Lock()
		defer x.slot.mu.Unlock()
		x.conn = c
		if x.slot.current != x {
			return nil, gnet.Close // a newer one came before this one's loop had it
		}
	}
	return nil, gnet.None
}

// OnTraffic reads what came, or, on a dialed connection, writes what waits: that is also what a wake leads to.
func (e *events) OnTraffic(c gnet.Conn) (action gnet.Action) {
	switch x := c.Context().(type) {
	case *outConn:
		defer e.t.contain("OnTraffic", func() { action = x.close() })
		if n := c.InboundBuffered(); n > 0 {
			e.t.counters.count(StreamUnexpected, 1)
			e.t.report.report(slog.LevelWarn, x.lane.key("unexpected"), "peer sent bytes where it has nothing to say",
				"peer", x.lane.peer, "lane", x.lane.id, "bytes", n)
			return x.close()
		}
		x.drain()
	case *inConn:
		defer e.t.contain("OnTraffic", func() { action = x.close() })
		return x.read(c)
	}
	return gnet.None
}

func (o *outConn) close() gnet.Action {
	o.lane.mu.Lock()
	o.ending = true
	o.lane.mu.Unlock()
	return gnet.Close
}

func (in *inConn) close() gnet.Action {
	in.ending.Store(true)
	return gnet.Close
}

// read delivers what came in. All bytes are taken from gnet at once, so that it never buffers any: what is incomplete
// the parser keeps, within its bound.
func (in *inConn) read(c gnet.Conn) gnet.Action {
	chunk, err := c.Next(-1)
	if err != nil || len(chunk) == 0 {
		return gnet.None
	}
	return in.receive(chunk)
}

// receive delivers what chunk completes, unless a newer connection has taken this one's place.
func (in *inConn) receive(chunk []byte) gnet.Action {
	in.slot.mu.Lock()
	defer in.slot.mu.Unlock()
	if in.slot.current != in {
		return in.close()
	}
	err := in.parser.feed(chunk, in.t.link.Deliver)
	in.t.counters.messagesIn.Add(uint64(in.parser.messages))
	in.t.counters.bytesIn.Add(uint64(len(chunk)))
	if hook := in.t.afterTraffic; hook != nil {
		hook(chunk)
	}
	if err == nil {
		return gnet.None
	}
	cause := streamCause(err)
	in.t.counters.count(cause, 1)
	in.t.report.report(slog.LevelError, fmt.Sprint(cause, in.parser.from, in.parser.lane), "bad bytes from peer, connection ended",
		"peer", in.parser.from, "lane", in.parser.lane, "remote", in.remote, "cause", cause, "error", err)
	return in.close()
}

func streamCause(err error) Cause {
	switch {
	case errors.Is(err, errWrongLane):
		return StreamWrongLane
	case errors.Is(err, codec.ErrVersion):
		return StreamVersion
	case errors.Is(err, codec.ErrTooLarge):
		return StreamTooLarge
	}
	return StreamCorrupt
}

// OnClose takes a connection out of use. It is called once for each opened one, also when gnet stops.
func (e *events) OnClose(c gnet.Conn, err error) gnet.Action {
	defer e.t.contain("OnClose", func() {})
	asked := false
	switch x := c.Context().(type) {
	case *outConn:
		defer close(x.ended)
		e.t.counters.connectionsOut.Add(-1)
		asked = x.lane.closed(x, err)
	case *inConn:
		e.t.counters.connectionsIn.Add(-1)
		e.t.guests.leave(x.remote)
		e.t.leaveSlot(x)
		asked = x.ending.Load()
	}
	// gnet gives no error for what it was asked to close. If neither we nor Close asked, its loops are ending.
	if err == nil && !asked && !e.t.closing.Load() && e.t.stopped.CompareAndSwap(false, true) {
		e.t.cfg.Logger.Error("gnet's event loops have stopped by themselves; this node has no peer traffic until it is restarted",
			"node", e.t.cfg.Node)
	}
	return gnet.None
}

// OnTick is asked for only where the listen address needs the warning.
func (e *events) OnTick() (time.Duration, gnet.Action) {
	e.t.cfg.Logger.Warn("peers are neither authenticated nor encrypted, and other machines can reach this address",
		"listen", e.t.Addr())
	return time.Minute, gnet.None
}

// contain is deferred around what others' code or bytes could make panic. It keeps the process alive, counts, and
// runs then.
func (t *TCP) contain(where string, then func()) {
	if p := recover(); p != nil {
		t.counters.count(Panicked, 1)
		t.report.report(slog.LevelError, "panic "+where, "panic contained, connection ended",
			"where", where, "panic", p, "stack", string(debug.Stack()))
		then()
	}
}
