package load

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Bounds of a series. Short runs get intervals of a twentieth, and very long ones no more points than a chart can show.
const (
	intervalUsual = time.Second
	intervalLeast = 100 * time.Millisecond
	intervalsMin  = 20
	intervalsMax  = 3600
)

// Interval returns the length of the intervals that a measured time is looked at in: a second, or a twentieth of a time
// below 20 s, but at least 100 ms; beyond an hour as long as makes 3600 of them.
func Interval(duration time.Duration) time.Duration {
	if duration < intervalsMin*intervalUsual {
		return max(duration/intervalsMin, intervalLeast)
	}
	return max(intervalUsual, (duration+intervalsMax-1)/intervalsMax)
}

// Point is what was answered in one interval of the measured time.
type Point struct {
	End time.Duration // when it ended, since the measured time began
	Ops uint64
	// P50, P99 and Max are nanoseconds, 0 without an answer.
	P50, P99, Max int64
	// Histogram is the encoded histogram of nanoseconds where [Config].Intervals asks for it, "" without an answer.
	Histogram string
}

// beyond is the interval of all answers after the measured time.
const beyond = -1

// openMax is how many intervals keep their histogram: the last ones. All of a short run do.
const openMax = intervalsMin

// series gathers the intervals of all shards. A client brings what it kept of an interval when it is answered in a later
// one, so that something may come late.
type series struct {
	keep bool // each interval's histogram

	// mu guards all below. No owner would do: shards bring an interval each now and then.
	mu     sync.Mutex
	points []Point                         // by interval; only open ones miss their percentiles
	open   map[int]*hdrhistogram.Histogram // of the last openMax intervals
	spare  []*hdrhistogram.Histogram       // empty, to be used again
}

func newSeries(keep bool) *series {
	return &series{keep: keep, open: map[int]*hdrhistogram.Histogram{}}
}

// merge adds what a shard has of an interval.
func (s *series) merge(interval int, h *hdrhistogram.Histogram) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if into := s.at(interval, uint64(h.TotalCount()), h.Max()); into != nil {
		into.Merge(h)
	}
}

// add adds samples of an interval that their shard has left behind.
func (s *series) add(interval int, samples []sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range samples {
		if into := s.at(interval, uint64(v.puts), min(v.nanoseconds, int64(latencyMax))); into != nil {
			record(into, v)
		}
	}
}

// at counts puts into an interval and returns its histogram, nil when it is no longer open.
func (s *series) at(interval int, ops uint64, slowest int64) *hdrhistogram.Histogram {
	for len(s.points) <= interval {
		s.close(len(s.points) - openMax)
		s.points = append(s.points, Point{})
	}
	p := &s.points[interval]
	p.Ops += ops
	p.Max = max(p.Max, slowest)
	if interval < len(s.points)-openMax {
		return nil
	}
	h := s.open[interval]
	if h == nil {
		if n := len(s.spare); n > 0 {
			h, s.spare = s.spare[n-1], s.spare[:n-1]
		} else {
			h = newHistogram()
		}
		s.open[interval] = h
	}
	return h
}

// close reads the percentiles off an interval, if it is open, and gives its histogram back.
func (s *series) close(interval int) {
	h := s.open[interval]
	if h == nil {
		return
	}
	p := &s.points[interval]
	p.P50, p.P99 = h.ValueAtPercentile(50), h.ValueAtPercentile(99)
	if s.keep {
		p.Histogram = encode(h)
	}
	delete(s.open, interval)
	h.Reset()
	s.spare = append(s.spare, h)
}

// encode returns a histogram as results and logs hold it.
func encode(h *hdrhistogram.Histogram) string {
	text, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		panic("BUG: a histogram of our own can't be encoded: " + err.Error())
	}
	return string(text)
}

// finish returns the intervals of a measured time, the last of which may be shorter.
func (s *series) finish(length, duration time.Duration) []Point {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.points {
		s.close(i)
	}
	var points []Point
	for i := 0; time.Duration(i)*length < duration; i++ {
		p := Point{}
		if i < len(s.points) {
			p = s.points[i]
		}
		p.End = min(time.Duration(i+1)*length, duration)
		points = append(points, p)
	}
	return points
}
