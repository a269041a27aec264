package load

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/codec"
)

// library is a server that is read, too: each read takes 2 ms and sees the state at its end, less as many entries as it
// lags behind.
type library struct {
	*server
	lag   codec.Index
	fails atomic.Int32 // so many of the next reads fail
	asked atomic.Int32 // how often a client asked where to read
	gone  error        // returned to who asks where to read
}

var errUnreadable = errors.New("unreadable")

func (l *library) Reader(client int) (Reader, error) {
	l.asked.Add(1)
	return l, l.gone
}

func (l *library) Read(context.Context) (codec.Index, error) {
	pass(2 * time.Millisecond)
	if l.fails.Add(-1) >= 0 {
		return 0, errUnreadable
	}
	last := l.machine.Last()
	return last - min(l.lag, last), nil
}

func readLoad(clients int) Config {
	return Config{Clients: clients, Inflight: 1, Batch: 1, Payload: 16, ReadRatio: 0.75, Warmup: time.Second, Duration: 10 * time.Second}
}

// TestReadsBesidePuts: three of four steps are reads, with times of their own.
func TestReadsBesidePuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &library{server: newServer(4, 16, always(10*time.Millisecond))}
		r := Start(readLoad(4), l)
		<-r.Over()
		m := l.check(t, r)
		reads := m.Reads
		// On average 3 reads of 2 ms and a put of 10 ms: 250 puts and 750 reads a second of all four.
		if m.Ops < 2300 || m.Ops > 2700 || reads.Ops < 7000 || reads.Ops > 8000 || m.Errors+reads.Errors+reads.Stale > 0 || l.asked.Load() != 4 {
			t.Errorf("%d puts, %+v", m.Ops, reads)
		}
		if p := reads.Latency; p.Min() < 1_999_000 || p.Max() > 2_002_000 || uint64(p.TotalCount()) < reads.Ops || uint64(p.TotalCount()) > reads.Ops+4 {
			t.Errorf("reads from %d to %d ns, %d of them", p.Min(), p.Max(), p.TotalCount())
		}
		if p := m.Latency; p.Min() < 9_990_000 || p.Max() > 10_010_000 {
			t.Errorf("puts from %d to %d ns", p.Min(), p.Max())
		}
	})
}

// TestStaleReads: a read that misses what any client was answered before it began is counted, and the first one told.
func TestStaleReads(t *testing.T) {
	for lag, stale := range map[codec.Index]bool{0: false, 1: true} {
		synctest.Test(t, func(t *testing.T) {
			l := &library{server: newServer(1, 16, always(10*time.Millisecond)), lag: lag}
			r := Start(readLoad(1), l)
			<-r.Over()
			m := l.check(t, r)
			if reads := m.Reads; reads.Stale > 0 != stale || strings.Contains(reads.FirstStale, "a read of client 0 got the state at index") != stale {
				t.Errorf("behind by %d: %+v", lag, reads)
			}
		})
	}
}

// TestReadsOfOtherClientsCount: what is missed need not be the reader's own put.
func TestReadsOfOtherClientsCount(t *testing.T) {
	r := &Run{}
	r.acknowledge(7)
	r.acknowledge(5)
	if got := r.acknowledged.Load(); got != 7 {
		t.Errorf("highest index is %d, want 7", got)
	}
}

// TestReadsThatFail: the client asks again where to read, and goes on; it ends when nobody is there any more.
func TestReadsThatFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &library{server: newServer(1, 16, always(10*time.Millisecond))}
		l.fails.Store(3)
		r := Start(readLoad(1), l)
		<-r.Over()
		m := l.check(t, r)
		if m.Reads.Errors != 3 || !errors.Is(m.Reads.FirstError, errUnreadable) || l.asked.Load() != 4 || m.Errors != 0 {
			t.Errorf("%+v, asked %d times", m.Reads, l.asked.Load())
		}
	})
	synctest.Test(t, func(t *testing.T) {
		l := &library{server: newServer(1, 16, always(10*time.Millisecond)), gone: ErrGone}
		r := Start(readLoad(1), l)
		<-r.Over()
		if m := l.check(t, r); m.Ops+m.Reads.Ops != 0 || !errors.Is(m.Reads.FirstError, ErrGone) {
			t.Errorf("%d puts, %+v", m.Ops, m.Reads)
		}
	})
}

// TestNoReads: who reads nothing has nothing to tell of it.
func TestNoReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(1, 16, always(10*time.Millisecond))
		r := Start(Config{Clients: 1, Inflight: 1, Batch: 1, Payload: 16, Duration: time.Second}, s)
		<-r.Over()
		if m := s.check(t, r); m.Reads != nil {
			t.Errorf("%+v", m.Reads)
		}
	})
}
