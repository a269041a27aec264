package load

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestInterval(t *testing.T) {
	for _, c := range []struct{ duration, want time.Duration }{
		{100 * time.Millisecond, 100 * time.Millisecond},
		{2 * time.Second, 100 * time.Millisecond},
		{10 * time.Second, 500 * time.Millisecond},
		{20 * time.Second, time.Second},
		{time.Hour, time.Second},
		{2 * time.Hour, 2 * time.Second},
		{24 * time.Hour, 24 * time.Second},
	} {
		if got := Interval(c.duration); got != c.want {
			t.Errorf("intervals of %v are %v, want %v", c.duration, got, c.want)
		}
		if n := c.duration / c.want; n > intervalsMax {
			t.Errorf("%v has %d intervals, want at most %d", c.duration, n, intervalsMax)
		}
	}
}

// checkSeries compares a series with what each of its intervals should say, by index; all others should say the usual.
func checkSeries(t *testing.T, m Measurement, interval time.Duration, usual Point, special map[int]Point) {
	t.Helper()
	sum := uint64(0)
	for i, p := range m.Series {
		sum += p.Ops
		want, ok := special[i]
		if !ok {
			want = usual
		}
		if end := min(time.Duration(i+1)*interval, m.Duration); p.End != end {
			t.Errorf("interval %d ends at %v, want %v", i, p.End, end)
		}
		near := func(got, want int64) bool { return about(time.Duration(got), time.Duration(want)) }
		if p.Ops != want.Ops || !near(p.P50, want.P50) || !near(p.P99, want.P99) || !near(p.Max, want.Max) {
			t.Errorf("interval %d is %+v, want %+v", i, p, want)
		}
	}
	if sum != m.Ops {
		t.Errorf("the intervals have %d puts, counted are %d", sum, m.Ops)
	}
}

// TestSeriesShowsWhen: a stall of the whole target stands in the intervals without an answer, and in the one that ends it.
func TestSeriesShowsWhen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ms, clients = time.Millisecond, 50
		s := newServer(clients, 16, func(n int) (time.Duration, error) {
			if n/clients == 350 { // at 350 ms each put takes 250 ms
				return 250 * ms, nil
			}
			return ms, nil
		})
		// Answers come half a millisecond off the bounds of intervals, so that each is within one.
		cfg := Config{Clients: clients, Inflight: 1, Batch: 1, Payload: 16, Warmup: 100*ms + ms/2, Duration: 2 * time.Second}
		m := s.check(t, Start(cfg, s))
		if len(m.Series) != 20 {
			t.Fatalf("%d intervals, want 20", len(m.Series))
		}
		one := int64(ms)
		usual := Point{Ops: clients * 100, P50: one, P99: one, Max: one}
		checkSeries(t, m, 100*ms, usual, map[int]Point{
			2: {Ops: clients * 50, P50: one, P99: one, Max: one},
			3: {},
			4: {Ops: clients * 1, P50: 250 * one, P99: 250 * one, Max: 250 * one},
		})
	})
}

// TestSeriesOfGivenIntervals: they are as long as who asks says.
func TestSeriesOfGivenIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ms = time.Millisecond
		s := newServer(2, 16, func(int) (time.Duration, error) { return ms, nil })
		m := s.check(t, Start(Config{Clients: 2, Inflight: 1, Batch: 1, Payload: 16, Warmup: ms / 2, Duration: 2 * time.Second, Interval: 500 * ms}, s))
		one := int64(ms)
		if len(m.Series) != 4 {
			t.Fatalf("%d intervals, want 4", len(m.Series))
		}
		checkSeries(t, m, 500*ms, Point{Ops: 1000, P50: one, P99: one, Max: one}, nil)
	})
}

// TestSeriesOfALateClient: what a client kept while it waited belongs to the interval of its answers, also when its shard
// has gone on. After more than 20 intervals it still counts, but not in the percentiles.
func TestSeriesOfALateClient(t *testing.T) {
	const ms = int64(time.Millisecond)
	for _, c := range []struct {
		now int // the interval that others have reached
		p50 int64
	}{{0, 9 * ms}, {1, 9 * ms}, {19, 9 * ms}, {20, ms}, {50, ms}} {
		series := newSeries(false)
		one := newShards(series, Config{})[0]
		one.add(0, []sample{{ms, 10}}, nil)
		if c.now > 0 {
			one.add(c.now, []sample{{ms, 5}}, nil)
			one.add(c.now+1, []sample{{ms, 3}}, nil) // which ends the one before
		}
		one.add(0, []sample{{9 * ms, 20}, {2 * int64(time.Hour), 1}}, nil)
		one.add(beyond, []sample{{ms, 7}}, nil)
		if total := one.finish(); total.TotalCount() != 10+8*int64(min(1, c.now))+21+7 {
			t.Errorf("at %d: %d puts in the histogram", c.now, total.TotalCount())
		}
		points := series.finish(time.Second, 60*time.Second)
		first := points[0]
		if len(points) != 60 || first.Ops != 31 || !about(time.Duration(first.P50), time.Duration(c.p50)) || !about(time.Duration(first.Max), time.Hour) {
			t.Errorf("others are at interval %d: the first is %+v, want 31 puts, p50 %v, the slowest an hour", c.now, first, time.Duration(c.p50))
		}
		if c.now > 0 && (points[c.now].Ops != 5 || !about(time.Duration(points[c.now].P99), time.Duration(ms))) {
			t.Errorf("interval %d is %+v", c.now, points[c.now])
		}
	}
}

// TestSeriesOfAStoppedRun: it ends where the measured time does.
func TestSeriesOfAStoppedRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(3, 16, always(time.Millisecond))
		r := Start(Config{Clients: 3, Inflight: 1, Batch: 1, Payload: 16, Warmup: time.Second, Duration: 10 * time.Second}, s)
		time.Sleep(time.Second + 750*time.Millisecond + 100*time.Microsecond)
		r.Stop()
		m := s.check(t, r)
		if len(m.Series) != 2 || m.Series[1].End != m.Duration || m.Series[0].Ops+m.Series[1].Ops != m.Ops {
			t.Errorf("measured for %v with %d puts, intervals are %+v", m.Duration, m.Ops, m.Series)
		}
	})
}
