package netio

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/millrace/millrace/codec"
)

// N1: a peer that is silent for PeerTimeout loses its connection, by the system's own clocks; that they are set, on
// both sides and on the file the event loop uses, is what can be tested here.
func TestSilentPeersAreTimedOutByTheSystem(t *testing.T) {
	cfg := testConfig(1)
	cfg.PeerTimeout = 6 * time.Second
	a := start(t, cfg, newSink())
	cfg2 := testConfig(2)
	cfg2.PeerTimeout = 6 * time.Second
	b := start(t, cfg2, newSink())
	connect(t, a, 2, b.Addr())
	until(t, "the accepted connection", func() bool { return int(b.Stats().ConnectionsIn) == lanes })
	l := a.peer(2).lanes[codec.LaneAppend]
	l.mu.Lock()
	out := l.conn.conn.Fd()
	l.mu.Unlock()
	s := b.takeSlot(1, codec.LaneAppend)
	s.mu.Lock()
	in := s.current.conn.Fd()
	s.mu.Unlock()
	for side, fd := range map[string]int{"dialed": out, "accepted": in} {
		for name, o := range map[string][3]int{
			"keep-alive":   {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
			"idle":         {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 2},
			"interval":     {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 2},
			"probes":       {unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 2},
			"user timeout": {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 6000},
			"no delay":     {unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		} {
			if got, err := unix.GetsockoptInt(fd, o[0], o[1]); err != nil || got != o[2] {
				t.Errorf("%s: %s is %d (%v), want %d", side, name, got, err, o[2])
			}
		}
	}
}
