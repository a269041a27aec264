package load

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	// overrunMax bounds how long after the measured time puts are still issued that were due within it. It is less than
	// what a measurement waits for its answers.
	overrunMax = 10 * time.Second
	// pauseLeast is the least time between two looks of the pacer at its schedule. A look costs about 25 µs of a
	// processor, and takes at most a quarter of one.
	pauseLeast = 100 * time.Microsecond
	// pauseMost is how long a pacer may take to see that the run was stopped.
	pauseMost = 20 * time.Millisecond
	// wokenMax is how many carriers the pacer wakes between two visits to the schedule.
	wokenMax = 64
)

// schedule is when the calls of an open loop are due, and the carriers that wait for them. A call is taken by a carrier
// that comes back when one is due already, or given to an idle carrier by the pacer.
type schedule struct {
	run   *Run
	batch uint64 // puts per call

	// mu guards all below. No owner would do: at saturation each carrier takes its next call as soon as it has the
	// answer to the last one, and a goroutine in between would be the bottleneck of what is measured.
	mu       sync.Mutex
	arrivals *arrivals
	due      int64     // of the next call, on the run's clock
	idle     []*client // carriers that wait, the last one to be woken first
	// freeSince is when idle was last empty. Meaningless while it is empty.
	freeSince int64
	carriers  int  // that have not ended
	over      bool // nothing is taken any more
	stuck     bool // the pacer waits for a carrier to become idle
	free      chan struct{}
	offered   uint64 // puts due in the measured time and taken
	waited    uint64 // of these: that found every carrier busy
	unissued  uint64 // puts due in the measured time and never taken
	owed      uint64 // of the unissued: that were given up although a carrier was idle
	given     int64  // when the rest was given up; 0 when there is no rest, or it was not waited for to the end
}

func newSchedule(r *Run, carriers int) *schedule {
	s := &schedule{
		run: r, batch: uint64(r.cfg.Batch), carriers: carriers, free: make(chan struct{}, 1),
		arrivals: newArrivals(r.cfg.Arrivals, r.cfg.Rate/float64(r.cfg.Batch)),
	}
	s.due = s.arrivals.next()
	return s
}

// call is one that a carrier was given.
type call struct {
	due int64
	// free is since when it could have been issued: when it was due, or when a carrier became idle if that was later.
	free int64
}

// take returns the next call as soon as it is due, and false when there is none any more.
func (s *schedule) take(c *client) (call, bool) {
	s.mu.Lock()
	now := s.run.now()
	if s.ended(now) {
		s.mu.Unlock()
		return call{}, false
	}
	if s.due <= now {
		k := s.pop()
		if len(s.idle) == 0 {
			k.free = now
			if k.due >= s.run.warmEnd && k.due < now {
				s.waited += s.batch
			}
		}
		s.mu.Unlock()
		return k, true
	}
	if len(s.idle) == 0 {
		s.freeSince = now
	}
	s.idle = append(s.idle, c)
	s.unstick()
	s.mu.Unlock()
	k, ok := <-c.calls
	return k, ok
}

// pop takes the call that is due.
func (s *schedule) pop() call {
	k := call{s.due, max(s.due, s.freeSince)}
	if k.due >= s.run.warmEnd {
		s.offered += s.batch
	}
	s.due = s.arrivals.next()
	return k
}

func (s *schedule) unstick() {
	if s.stuck {
		s.stuck = false
		s.free <- struct{}{} // capacity 1, and only one waits
	}
}

// leave says that a carrier has ended.
func (s *schedule) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.carriers--; s.carriers == 0 {
		s.end(false)
	}
}

// ended reports whether nothing is to be taken any more: all that was due is, or it is given up.
func (s *schedule) ended(now int64) bool {
	switch {
	case s.over:
	case s.due >= s.run.end.Load():
		s.end(false)
	case now >= s.run.giveUp():
		s.end(!s.run.early())
	}
	return s.over
}

// end lets nothing be taken any more. waited says that what is left was waited for as long as there is patience.
func (s *schedule) end(waited bool) {
	if s.over {
		return
	}
	s.over = true
	end := s.run.end.Load()
	if from := max(s.due, s.run.warmEnd); from < end {
		s.unissued = uint64(float64(end-from)/s.arrivals.gap+0.5) * s.batch
		if waited {
			s.given = s.run.now()
		}
		if len(s.idle) > 0 {
			s.owed = s.unissued
		}
	}
	for _, c := range s.idle {
		close(c.calls)
	}
	s.idle = nil
	s.unstick()
}

// pace gives calls to idle carriers as they become due, until there are none any more.
func (s *schedule) pace(p pauser) {
	defer p.close()
	var woken []*client
	s.mu.Lock()
	defer s.mu.Unlock()
	for looked := int64(0); ; {
		now := s.run.now()
		if s.ended(now) {
			return
		}
		for s.due <= now && len(s.idle) > 0 && len(woken) < wokenMax && s.due < s.run.end.Load() {
			last := len(s.idle) - 1
			c := s.idle[last]
			s.idle[last] = nil
			s.idle = s.idle[:last]
			c.given = s.pop()
			woken = append(woken, c)
		}
		wait := s.due <= now && len(s.idle) == 0
		s.stuck = wait
		full := len(woken) == wokenMax
		due := s.due
		s.mu.Unlock()
		for i, c := range woken {
			c.calls <- c.given // capacity 1, and it waits
			woken[i] = nil
		}
		woken = woken[:0]
		switch {
		case wait:
			<-s.free
		case !full:
			p.pause(time.Duration(min(max(due-now, pauseLeast.Nanoseconds()-(now-looked)), pauseMost.Nanoseconds())))
			looked = s.run.now()
		}
		s.mu.Lock()
	}
}

// rest records what was given up with the time that it had waited by then: too little, but not nothing.
func (s *schedule) rest(h *hdrhistogram.Histogram) {
	if s.given == 0 {
		return
	}
	const steps = 1000
	end, from := s.run.end.Load(), max(s.due, s.run.warmEnd)
	for i := range uint64(steps) {
		puts := s.unissued*(i+1)/steps - s.unissued*i/steps
		at := from + int64(float64(end-from)*(float64(i)+0.5)/steps)
		if puts > 0 {
			record(h, sample{s.given - at, int64(puts)})
		}
	}
}
