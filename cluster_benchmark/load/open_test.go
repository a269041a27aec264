package load

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/cluster_benchmark/safety"
	"github.com/millrace/millrace/pipeline"
)

const ms = time.Millisecond

// startOpen starts an open loop whose pacer sleeps on the test's virtual clock.
func startOpen(cfg Config, source Source) *Run {
	if cfg.Inflight == 0 {
		cfg.Inflight = 1
	}
	if cfg.Batch == 0 {
		cfg.Batch = 1
	}
	if cfg.Arrivals == "" {
		cfg.Arrivals = Constant
	}
	cfg.Payload = 16
	return start(cfg, source, func() pauser { return sleeper{} })
}

// stalls makes a server that takes service for a put and answers nothing from one time after now to another.
func stalls(service, from, to time.Duration) func(int) (time.Duration, error) {
	begun := time.Now()
	return func(int) (time.Duration, error) {
		if at := time.Since(begun); at >= from && at < to {
			return to - at + service, nil
		}
		return service, nil
	}
}

func percentile(m Measurement, q float64) time.Duration {
	return time.Duration(m.Latency.ValueAtPercentile(q))
}

// near is for what a test of virtual time knows to a put or two.
func near(got, want, by time.Duration) bool { return got >= want-by && got <= want+by }

// TestStallInAnOpenLoop: a stall of a second in ten shows as theory says. With carriers enough, the puts that become due in
// it are answered at its end: a tenth of all, with latencies from nothing to a second, each as often. With one carrier
// that serves twice as fast as puts come, the queue takes another second to go: a fifth of all, again from nothing to a
// second. A closed loop, which does not put while it waits, has one slow put.
func TestStallInAnOpenLoop(t *testing.T) {
	for _, c := range []struct {
		cfg    Config
		slow   float64 // part of the puts that the stall touches
		waited uint64
	}{
		{Config{Clients: 1100, Rate: 1000}, 0.1, 0},
		{Config{Clients: 11, Inflight: 100, Rate: 1000}, 0.1, 0},
		{Config{Clients: 1, Rate: 500}, 0.2, 1000},
		{Config{Clients: 1, Rate: 5000, Batch: 10}, 0.2, 10_000}, // 500 calls a second
	} {
		t.Run(fmt.Sprintf("%+v", c.cfg), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.cfg.Warmup, c.cfg.Duration = time.Second, 10*time.Second
				s := newServer(c.cfg.Clients, 16, stalls(ms, 3*time.Second, 4*time.Second))
				m := s.check(t, startOpen(c.cfg, s))
				due := uint64(c.cfg.Rate * 10)
				if uint64(m.Latency.TotalCount()) != due || m.Generator.Offered != due || m.Generator.Unissued != 0 || m.Generator.Short != 0 {
					t.Errorf("%d puts measured, generator %+v, want all of %d", m.Latency.TotalCount(), *m.Generator, due)
				}
				for _, q := range []float64{50, 79, 82, 85, 90, 92, 95, 99, 99.9, 100} {
					want := ms
					if rest := c.slow - 1 + q/100; rest > 0 {
						want = time.Duration(rest / c.slow * float64(time.Second))
					}
					if got := percentile(m, q); !near(got, want, 6*ms) {
						t.Errorf("latency at %v %% is %v, want %v", q, got, want)
					}
				}
				if g := m.Generator; g.Waited > c.waited+20 || g.Waited+20 < c.waited {
					t.Errorf("%d puts waited for a carrier, want %d", g.Waited, c.waited)
				}
				if late := time.Duration(m.Generator.Late.Max()); late > ms {
					t.Errorf("puts were issued up to %v late, want at once", late)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		s := newServer(1, 16, stalls(ms, 3*time.Second, 4*time.Second))
		m := s.check(t, Start(Config{Clients: 1, Inflight: 1, Batch: 1, Payload: 16, Warmup: time.Second, Duration: 10 * time.Second}, s))
		if got := percentile(m, 99.9); !about(got, ms) || m.Generator != nil {
			t.Errorf("closed loop: %v at 99.9 %%, want that it hides the stall", got)
		}
	})
}

// TestRefusalsInAnOpenLoop: a put that is refused is put again, and its clock goes on from when it was due: a second without
// a leader shows as a stall of a second. One whose fate is unknown is not put again, and has failed.
func TestRefusalsInAnOpenLoop(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector does not stand so many timers")
	}
	for _, cfg := range []Config{{Clients: 1100, Rate: 1000}, {Clients: 5, Rate: 1000, Batch: 10}} {
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			unknown := 0
			s := newServer(cfg.Clients, 16, func(int) (time.Duration, error) {
				switch at := time.Since(begun); {
				case at >= 3*time.Second && at < 4*time.Second:
					return 0, errors.New("nobody leads")
				case at >= 5*time.Second && unknown < 3:
					unknown++
					return ms, &pipeline.UnknownError{Cause: errors.New("lost")}
				}
				return ms, nil
			})
			cfg.Warmup, cfg.Duration = time.Second, 10*time.Second
			m := s.check(t, startOpen(cfg, s))
			lost := 3 * max(1, cfg.Batch)
			if m.Errors != uint64(lost) || m.Latency.TotalCount() != int64(10*cfg.Rate)-int64(lost) {
				t.Errorf("%d puts failed and %d measured, want %d and all others of %v", m.Errors, m.Latency.TotalCount(), lost, 10*cfg.Rate)
			}
			for q, want := range map[float64]time.Duration{89: ms, 92: 200 * ms, 95: 500 * ms, 99: 900 * ms} {
				if got := percentile(m, q); !near(got, want, 30*ms) {
					t.Errorf("latency at %v %% is %v, want %v", q, got, want)
				}
			}
		})
	}
}

// TestStallAtTheEndOfAnOpenLoop: what becomes due in it is still issued, and measured.
func TestStallAtTheEndOfAnOpenLoop(t *testing.T) {
	for _, clients := range []int{1, 2000} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(clients, 16, stalls(ms, 4*time.Second, 6*time.Second))
			m := s.check(t, startOpen(Config{Clients: clients, Rate: 500, Duration: 5 * time.Second}, s))
			// Due within the last of five seconds, answered at six and later: 500 puts from one second to two.
			if n := m.Latency.TotalCount(); n != 2500-1 || m.Ops > 2000 || m.Ops < 1998 {
				t.Errorf("%d clients: %d puts measured, %d counted, want 2499 and 2000", clients, n, m.Ops)
			}
			for q, want := range map[float64]time.Duration{79: ms, 81: time.Second, 90: 1500 * ms, 99: 1950 * ms} {
				if clients == 1 && want > ms { // its queue goes as fast again as it came
					want = time.Second + (want-time.Second)/2 + 500*ms
				}
				if got := percentile(m, q); !near(got, want, 60*ms) {
					t.Errorf("%d clients: %v at %v %%, want %v", clients, got, q, want)
				}
			}
		})
	}
}

// TestOverload: with twice as many puts as can be served, the queue grows all the time. All are issued in the end, and the
// k-th has waited for k/2. With four times as many the rest is given up, and counts with what it has waited.
func TestOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(1, 16, always(ms))
		m := s.check(t, startOpen(Config{Clients: 1, Rate: 2000, Duration: 2 * time.Second}, s))
		if n := m.Latency.TotalCount(); n < 3998 || n > 4000 || m.Ops < 1998 || m.Ops > 2000 || m.Generator.Unissued > 1 || m.Generator.Short > 0 {
			t.Errorf("%d puts measured, %d counted, %+v, want 4000 and 2000", n, m.Ops, *m.Generator)
		}
		for _, q := range []float64{1, 25, 50, 99, 100} {
			if got, want := percentile(m, q), time.Duration(q/100*2*float64(time.Second)); !near(got, want, 5*ms) {
				t.Errorf("%v at %v %%, want %v", got, q, want)
			}
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := newServer(1, 16, always(ms))
		r := startOpen(Config{Clients: 1, Rate: 4000, Duration: time.Second}, s)
		m := s.check(t, r)
		if e := r.Elapsed(); !near(e, 2*time.Second, 2*ms) {
			t.Errorf("ended after %v, want as long again as was measured", e)
		}
		// Issued: the first half of what was due, with up to 1.5 s. Given up: the second half, after 1 to 1.5 s.
		if n := m.Latency.TotalCount(); n < 3998 || n > 4000 || m.Generator.Unissued < 1997 || m.Generator.Unissued > 2001 || m.Generator.Offered < 3999 {
			t.Errorf("%d puts measured, %+v, want 4000, half of them unissued", n, *m.Generator)
		}
		for q, want := range map[float64]time.Duration{25: 750 * ms, 75: 1312 * ms, 100: 1500 * ms} {
			if got := percentile(m, q); !near(got, want, 8*ms) {
				t.Errorf("%v at %v %%, want %v", got, q, want)
			}
		}
	})
}

// TestQueueOfPoissonArrivals: one carrier with a constant service time is the queue M/D/1. At half its capacity puts wait
// for half a service time on average (Pollaczek and Khinchine), where constant arrivals never wait.
func TestQueueOfPoissonArrivals(t *testing.T) {
	seconds, part := 1000, 30
	if testing.Short() {
		seconds, part = 50, 8
	}
	for kind, want := range map[Arrivals]time.Duration{Poisson: 15 * ms, Constant: 10 * ms} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(1, 16, always(10*ms))
			m := s.check(t, startOpen(Config{Clients: 1, Rate: 50, Arrivals: kind, Duration: time.Duration(seconds) * time.Second}, s))
			if got := time.Duration(m.Latency.Mean()); !near(got, want, want/time.Duration(part)) {
				t.Errorf("%s: mean latency is %v, want %v", kind, got, want)
			}
			if n, want := float64(m.Generator.Offered), float64(50*seconds); math.Abs(n-want) > 4*math.Sqrt(want) {
				t.Errorf("%s: %v puts were due, want about %v", kind, n, want)
			}
		})
	}
}

func TestArrivals(t *testing.T) {
	const n, rate = 200_000, 1000
	for _, kind := range []Arrivals{Poisson, Constant} {
		a, again := newArrivals(kind, rate), newArrivals(kind, rate)
		var sum, squares, long float64
		last := int64(0)
		for i := range n {
			at := a.next()
			if at != again.next() {
				t.Fatalf("%s: arrival %d differs from run to run", kind, i)
			}
			gap := float64(at-last) / float64(ms)
			sum, squares, last = sum+gap, squares+gap*gap, at
			if gap > 1.001 {
				long++
			}
		}
		mean := sum / n
		deviation := math.Sqrt(squares/n - mean*mean)
		wantDeviation, wantLong := 1.0, math.Exp(-1)
		if kind == Constant {
			wantDeviation, wantLong = 0, 0
		}
		if math.Abs(mean-1) > 0.01 || math.Abs(deviation-wantDeviation) > 0.01 || math.Abs(long/n-wantLong) > 0.01 {
			t.Errorf("%s: gaps of %.4f ± %.4f ms, %.4f of them longer than 1 ms, want 1 ± %v and %.4f", kind, mean, deviation, long/n, wantDeviation, wantLong)
		}
	}
	// Rounding never adds up: after a day of three puts a second the last is due within a microsecond of where it should be.
	a := &arrivals{gap: 1e9 / 3.0, n: 3*86_400 - 1}
	if got := a.next(); math.Abs(float64(got)-86_400e9) > 1000 {
		t.Errorf("the last put of a day is due at %d ns", got)
	}
}

// oversleeper is a pacer on a busy machine.
type oversleeper struct{ by func() time.Duration }

func (o oversleeper) pause(d time.Duration) { sleeper{}.pause(d + o.by()) }
func (oversleeper) close()                  {}

// TestLateGenerator: what the pacer sleeps too long is in the latency and is told; what it did not issue in time is owed.
func TestLateGenerator(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector does not stand so many timers")
	}
	synctest.Test(t, func(t *testing.T) {
		s := newServer(200, 16, always(0)) // no carrier comes back later and takes what is due meanwhile
		cfg := Config{Clients: 200, Inflight: 1, Batch: 1, Payload: 16, Rate: 1000, Arrivals: Constant, Duration: 10 * time.Second}
		m := s.check(t, start(cfg, s, func() pauser { return oversleeper{func() time.Duration { return 50 * ms }} }))
		late := func(q float64) time.Duration { return time.Duration(m.Generator.Late.ValueAtPercentile(q)) }
		if !near(late(50), 25*ms, 2*ms) || !near(late(99), 50*ms, ms) || !near(percentile(m, 50), 25*ms, 2*ms) || !near(percentile(m, 99), 50*ms, ms) {
			t.Errorf("late by %v and %v, latency %v and %v, want 25 and 50 ms", late(50), late(99), percentile(m, 50), percentile(m, 99))
		}
		if g := m.Generator; g.Short > 51 || g.Unissued != 0 {
			t.Errorf("%+v, want at most what is due in one pause", *g)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		s := newServer(2000, 16, always(0))
		cfg := Config{Clients: 2000, Inflight: 1, Batch: 1, Payload: 16, Rate: 1000, Arrivals: Constant, Duration: 10 * time.Second}
		m := s.check(t, start(cfg, s, func() pauser {
			return oversleeper{func() time.Duration {
				if time.Since(begun) > 9500*ms && time.Since(begun) < 10*time.Second {
					return time.Second
				}
				return 0
			}}
		}))
		if g := m.Generator; g.Short < 495 || g.Short > 501 || m.Latency.TotalCount() != 10_000-1 {
			t.Errorf("%+v, %d measured, want the puts of half a second owed, and issued", *g, m.Latency.TotalCount())
		}
	})
}

// TestOutageInAnOpenLoop: while nobody takes puts their clocks go on, and all are put in the end.
func TestOutageInAnOpenLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		s := newServer(10, 16, func(int) (time.Duration, error) {
			if at := time.Since(begun); at >= 2*time.Second && at < 3*time.Second {
				return 0, errors.New("not the leader")
			}
			return ms, nil
		})
		source := sourceFunc(func() (Proposer, error) {
			if at := time.Since(begun); at > 2*time.Second && at < 3*time.Second {
				return nil, errors.New("no leader")
			}
			return s, nil
		})
		m := s.check(t, startOpen(Config{Clients: 10, Rate: 1000, Duration: 10 * time.Second}, source))
		if m.Errors != 0 || uint64(m.Latency.TotalCount()) != m.Generator.Offered || m.FirstError == nil {
			t.Errorf("%d errors, %d measured of %+v, first refusal %v; want all measured", m.Errors, m.Latency.TotalCount(), *m.Generator, m.FirstError)
		}
		// The queue of a second goes at ten times the rate at which it grew.
		if got := percentile(m, 100); !near(got, time.Second, 10*ms) {
			t.Errorf("slowest put %v, want a second", got)
		}
		if got := percentile(m, 94); !near(got, 460*ms, 30*ms) {
			t.Errorf("at 94 %%: %v, want about 460 ms", got)
		}
	})
}

type sourceFunc func() (Proposer, error)

func (f sourceFunc) Proposer() (Proposer, error) { return f() }

// TestEndOfAnOpenLoop: it ends when it is stopped, when the target is gone, and with carriers that never come back once
// these are answered.
func TestEndOfAnOpenLoop(t *testing.T) {
	for _, c := range []struct{ after, measured time.Duration }{
		{500 * ms, 0}, {3 * time.Second, 2 * time.Second}, {time.Minute, 10 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(1, 16, always(4*ms)) // a quarter of what comes: there is a queue
			r := startOpen(Config{Clients: 1, Rate: 1000, Warmup: time.Second, Duration: 10 * time.Second}, s)
			time.AfterFunc(c.after, r.Stop)
			m := s.check(t, r)
			if m.Duration != c.measured || !near(time.Duration(m.Ops)*4*ms, c.measured, 5*ms) {
				t.Errorf("stopped after %v: measured %v with %d puts", c.after, m.Duration, m.Ops)
			}
			if early := c.after < time.Minute; early && r.Elapsed() > c.after+pauseMost+5*ms {
				t.Errorf("stopped after %v, ended after %v", c.after, r.Elapsed())
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		s := newServer(3, 16, always(ms))
		s.noProposer = fmt.Errorf("node 1 stopped: %w", ErrGone)
		r := startOpen(Config{Clients: 3, Rate: 100, Duration: 10 * time.Second}, s)
		m := s.check(t, r)
		if e := r.Elapsed(); m.Ops != 0 || e > pauseMost || m.Generator.Unissued < 999 || m.Latency.TotalCount() != 0 {
			t.Errorf("%d puts, ended after %v, %+v", m.Ops, e, *m.Generator)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := newServer(2, 16, always(time.Hour))
		r := startOpen(Config{Clients: 2, Rate: 100, Duration: time.Second}, s)
		<-r.Over()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if r.Drain(ctx) {
			t.Error("drained while puts were outstanding")
		}
		m := s.check(t, r)
		if got := percentile(m, 50); m.Latency.TotalCount() < 99 || got < 59*time.Minute {
			t.Errorf("%d measured, p50 %v, want all of 99 with an hour: two that were answered, the rest given up", m.Latency.TotalCount(), got)
		}
	})
}

// TestCarriersShareABook: all that a client has in flight is in its one book, whatever becomes of it.
func TestCarriersShareABook(t *testing.T) {
	for _, cfg := range []Config{{Clients: 3, Inflight: 20}, {Clients: 3, Inflight: 20, Batch: 7}} {
		synctest.Test(t, func(t *testing.T) {
			cfg.Rate, cfg.Arrivals, cfg.Duration = 5000, Poisson, time.Second
			s := newServer(cfg.Clients, 16, func(n int) (time.Duration, error) {
				took := time.Duration(n%13+1) * ms
				switch {
				case n%50 == 20:
					return took, errors.New("not the leader")
				case n%50 == 40:
					return took, &pipeline.UnknownError{Cause: context.DeadlineExceeded}
				}
				return took, nil
			})
			m := s.check(t, startOpen(cfg, s))
			if len(m.Books) != 3 || m.Errors == 0 || m.Ops == 0 {
				t.Errorf("%d books, %d errors, %d puts", len(m.Books), m.Errors, m.Ops)
			}
			v := safety.Check(m.Books, []*safety.Machine{s.machine}, nil)
			if v.Unknown == 0 || v.Applied[0] != v.Acknowledged+v.Unknown {
				t.Errorf("%+v", v)
			}
		})
	}
}

// TestPrecisePause: a pause is never too short, and the timer can be used again and again.
func TestPrecisePause(t *testing.T) {
	p := newPauser()
	defer p.close()
	for _, d := range []time.Duration{0, time.Microsecond, 100 * time.Microsecond, 3 * ms, -ms} {
		for range 3 {
			begun := time.Now()
			p.pause(d)
			if took := time.Since(begun); took < d {
				t.Errorf("a pause of %v took %v", d, took)
			}
		}
	}
}

// TestOpenLoopOnTheRealClock: all together on a real pacer.
func TestOpenLoopOnTheRealClock(t *testing.T) {
	s := newServer(50, 16, always(ms))
	r := Start(Config{Clients: 50, Inflight: 2, Batch: 1, Payload: 16, Rate: 2000, Arrivals: Poisson, Warmup: 100 * ms, Duration: 400 * ms}, s)
	m := s.check(t, r)
	if g := m.Generator; g.Offered < 600 || g.Offered > 1000 || uint64(m.Latency.TotalCount())+g.Unissued != g.Offered || m.Latency.Min() < int64(ms)*99/100 {
		t.Errorf("%+v, %d measured, fastest %v", *g, m.Latency.TotalCount(), time.Duration(m.Latency.Min()))
	}
}
