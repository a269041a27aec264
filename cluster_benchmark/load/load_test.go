package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/millrace/millrace/cluster_benchmark/safety"
	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server answers each put after a time of its choice, on the virtual clock, and applies what it acknowledges.
type server struct {
	mu      sync.Mutex
	puts    int // calls so far
	machine *safety.Machine
	next    codec.Index
	// takes says how long the n-th put takes, counted from 0, and how it ends.
	takes func(n int) (time.Duration, error)
	// busy makes ProposeAsync refuse.
	busy bool
	// noProposer is returned by Proposer.
	noProposer error
}

func newServer(clients, payload int, takes func(int) (time.Duration, error)) *server {
	return &server{machine: safety.NewMachine(clients, payload), takes: takes}
}

func always(d time.Duration) func(int) (time.Duration, error) {
	return func(int) (time.Duration, error) { return d, nil }
}

func (s *server) Proposer() (Proposer, error) { return s, s.noProposer }

func (s *server) admit() (time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.puts
	s.puts++
	return s.takes(n)
}

// apply applies a put, unless it failed for certain.
func (s *server) apply(data []byte, err error) pipeline.Result {
	var unknown *pipeline.UnknownError
	if err != nil && !errors.As(err, &unknown) {
		return pipeline.Result{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	id := codec.LogID{Leader: codec.LeaderID{Term: 1, Node: 1}, Index: s.next}
	if err := s.machine.Apply([]pipeline.Entry{{ID: id, Data: append([]byte(nil), data...)}}, nil); err != nil {
		panic(err)
	}
	return pipeline.Result{LogID: id}
}

// pass returns when d has passed on the virtual clock that all of these tests run on.
func pass(d time.Duration) {
	passed := make(chan struct{})
	time.AfterFunc(d, func() { close(passed) })
	<-passed
}

func (s *server) Propose(_ context.Context, data []byte) (pipeline.Result, error) {
	d, err := s.admit()
	pass(d)
	return s.apply(data, err), err
}

func (s *server) ProposeAsync(data []byte, fn func(pipeline.Result, error)) error {
	if s.busy {
		return pipeline.ErrBusy
	}
	d, err := s.admit()
	data = append([]byte(nil), data...)
	time.AfterFunc(d, func() { fn(s.apply(data, err), err) })
	return nil
}

func (s *server) ProposeBatch(ctx context.Context, datas [][]byte) ([]pipeline.Result, error) {
	d, err := s.admit()
	pass(d)
	var results []pipeline.Result
	for _, data := range datas {
		results = append(results, s.apply(data, err))
	}
	return results, err
}

// check drains the run and compares what the clients know with what the server did.
func (s *server) check(t *testing.T, r *Run) Measurement {
	t.Helper()
	if !r.Drain(context.Background()) {
		t.Fatal("clients still wait")
	}
	m := r.Measurement()
	v := safety.Check(m.Books, []*safety.Machine{s.machine}, nil)
	if len(v.Reasons) > 0 || v.OK != (v.Acknowledged > 0) {
		t.Errorf("the books are wrong: %+v", v)
	}
	return m
}

func about(got, want time.Duration) bool { return got >= want-want/500 && got <= want+want/500 }

func TestWhatCounts(t *testing.T) {
	for _, c := range []struct {
		cfg     Config
		takes   func(int) (time.Duration, error)
		ops     uint64
		latency time.Duration
	}{
		{Config{Clients: 10, Inflight: 1, Batch: 1}, always(time.Millisecond), 10 * 1000, time.Millisecond},
		{Config{Clients: 10, Inflight: 1, Batch: 4}, always(time.Millisecond), 10 * 4 * 1000, time.Millisecond},
		{Config{Clients: 10, Inflight: 4, Batch: 1}, always(4 * time.Millisecond), 10 * 4 * 250, 4 * time.Millisecond},
		// A window takes as long as its slowest put, and each of its puts counts with that.
		{Config{Clients: 1, Inflight: 4, Batch: 1}, func(n int) (time.Duration, error) {
			return time.Duration(n%4+1) * time.Millisecond, nil
		}, 4 * 250, 4 * time.Millisecond},
	} {
		for _, payload := range []int{0, 32} {
			c.cfg.Payload, c.cfg.Warmup, c.cfg.Duration = payload, 100*time.Millisecond, time.Second
			t.Run(fmt.Sprintf("%+v", c.cfg), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newServer(c.cfg.Clients, payload, c.takes)
					r := Start(c.cfg, s)
					<-r.Over()
					m := s.check(t, r)
					outstanding := uint64(c.cfg.Clients * c.cfg.Inflight * c.cfg.Batch)
					if m.Ops != c.ops || uint64(m.Latency.TotalCount()) != c.ops+outstanding || m.Duration != time.Second || m.Errors != 0 {
						t.Errorf("%d puts counted, %d measured in %v with %d errors, want %d and %d in 1s", m.Ops,
							m.Latency.TotalCount(), m.Duration, m.Errors, c.ops, c.ops+outstanding)
					}
					for _, q := range []float64{0, 50, 100} {
						if got := time.Duration(m.Latency.ValueAtPercentile(q)); !about(got, c.latency) {
							t.Errorf("latency at %v %% is %v, want %v", q, got, c.latency)
						}
					}
					if got := r.Answered(); got < m.Ops {
						t.Errorf("%d puts reported as answered, want at least %d", got, m.Ops)
					}
				})
			})
		}
	}
}

// TestAnsweredKeepsUp: who watches the rate sees the puts as they are answered, however many a client keeps in flight,
// and however rarely it gets an answer.
func TestAnsweredKeepsUp(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		took time.Duration
	}{
		{Config{Clients: 4, Inflight: 1, Batch: 1}, time.Millisecond},
		{Config{Clients: 4, Inflight: 1, Batch: 1}, 90 * time.Millisecond},
		{Config{Clients: 4, Inflight: 64, Batch: 1}, 10 * time.Millisecond},
		{Config{Clients: 4, Inflight: 1, Batch: 8}, 10 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			c.cfg.Duration = 3 * time.Second
			s := newServer(c.cfg.Clients, 0, always(c.took))
			r := Start(c.cfg, s)
			perCall := uint64(c.cfg.Clients * c.cfg.Inflight * c.cfg.Batch)
			for look := time.Second; look < c.cfg.Duration; look += 200 * time.Millisecond {
				time.Sleep(look - r.Elapsed())
				low, high := perCall*uint64((look-publishEvery-c.took)/c.took), perCall*uint64(look/c.took)
				if got := r.Answered(); got < low || got > high {
					t.Errorf("%+v: %d puts answered after %v, want %d to %d", c.cfg, got, look, low, high)
				}
			}
			s.check(t, r)
		})
	}
}

// TestStallBeyondTheEndIsSeen: a put that is not answered within the measured time does not count, but shows.
func TestStallBeyondTheEndIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(1, 16, func(n int) (time.Duration, error) {
			if n == 100 {
				return 5 * time.Second, nil
			}
			return time.Millisecond, nil
		})
		r := Start(Config{Clients: 1, Inflight: 1, Batch: 1, Payload: 16, Duration: time.Second}, s)
		m := s.check(t, r)
		if m.Ops != 100 || !about(time.Duration(m.Latency.Max()), 5*time.Second) {
			t.Errorf("%d puts, slowest %v, want 100 and 5s", m.Ops, time.Duration(m.Latency.Max()))
		}
	})
}

func TestWarmupDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(1, 16, func(n int) (time.Duration, error) {
			if n < 10 {
				return 10 * time.Millisecond, nil // until 100 ms
			}
			return time.Millisecond, nil
		})
		r := Start(Config{Clients: 1, Inflight: 1, Batch: 1, Payload: 16, Warmup: 101 * time.Millisecond, Duration: time.Second}, s)
		<-r.Warm()
		if e := r.Elapsed(); e != 101*time.Millisecond {
			t.Errorf("warm after %v", e)
		}
		m := s.check(t, r)
		if got := time.Duration(m.Latency.Max()); !about(got, time.Millisecond) || m.Books[0].Acknowledged() != m.Ops+11 {
			t.Errorf("slowest put %v, want 1ms; %d acknowledged, %d counted", got, m.Books[0].Acknowledged(), m.Ops)
		}
	})
}

func TestFailedPuts(t *testing.T) {
	errRefused := errors.New("not the leader")
	for _, cfg := range []Config{
		{Clients: 2, Inflight: 1, Batch: 1}, {Clients: 2, Inflight: 8, Batch: 1}, {Clients: 2, Inflight: 1, Batch: 3},
	} {
		cfg.Payload, cfg.Duration = 16, time.Second
		synctest.Test(t, func(t *testing.T) {
			s := newServer(cfg.Clients, cfg.Payload, func(n int) (time.Duration, error) {
				switch {
				case n%50 == 20:
					return time.Millisecond, errRefused
				case n%50 == 40:
					return time.Millisecond, &pipeline.UnknownError{Cause: context.DeadlineExceeded}
				}
				return time.Millisecond, nil
			})
			m := s.check(t, Start(cfg, s))
			if m.Errors == 0 || m.FirstError == nil || m.Ops == 0 {
				t.Errorf("%+v: %d errors, the first %v, %d puts", cfg, m.Errors, m.FirstError, m.Ops)
			}
			v := safety.Check(m.Books, []*safety.Machine{s.machine}, nil)
			if v.Unknown == 0 || v.Unknown >= m.Errors || v.Applied[0] != v.Acknowledged+v.Unknown {
				t.Errorf("%+v: %+v with %d errors, want some unknown and some refused", cfg, v, m.Errors)
			}
		})
	}
}

func TestFullIntakeIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(2, 16, always(time.Millisecond))
		s.busy = true
		m := s.check(t, Start(Config{Clients: 2, Inflight: 4, Batch: 1, Payload: 16, Duration: 100 * time.Millisecond}, s))
		if m.Errors != 0 || m.Ops == 0 {
			t.Errorf("%d puts, %d errors, want none", m.Ops, m.Errors)
		}
	})
}

func TestWithoutAProposer(t *testing.T) {
	for _, c := range []struct {
		err  error
		ends time.Duration
	}{
		{errors.New("no leader"), time.Second},
		{fmt.Errorf("node 1 stopped: %w", ErrGone), 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(3, 16, always(time.Millisecond))
			s.noProposer = c.err
			r := Start(Config{Clients: 3, Inflight: 1, Batch: 1, Payload: 16, Duration: time.Second}, s)
			m := s.check(t, r)
			if e := r.Elapsed(); m.Ops != 0 || !errors.Is(m.FirstError, c.err) || e != c.ends {
				t.Errorf("%d puts, first error %v, clients ended after %v, want 0, %v, %v", m.Ops, m.FirstError, e, c.err, c.ends)
			}
			<-r.Over()
		})
	}
}

func TestStop(t *testing.T) {
	for _, c := range []struct{ after, duration time.Duration }{
		{500 * time.Millisecond, 400 * time.Millisecond},
		{50 * time.Millisecond, 0}, // within the warm-up
		{5 * time.Second, time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(3, 16, always(time.Millisecond))
			r := Start(Config{Clients: 3, Inflight: 1, Batch: 1, Payload: 16, Warmup: 100 * time.Millisecond, Duration: time.Second}, s)
			time.Sleep(c.after)
			r.Stop()
			r.Stop()
			<-r.Over()
			m := s.check(t, r)
			if m.Duration != c.duration || (m.Ops == 0) != (c.duration == 0) {
				t.Errorf("stopped after %v: %d puts in %v, want %v", c.after, m.Ops, m.Duration, c.duration)
			}
		})
	}
}

func TestDrainGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(1, 16, always(time.Minute))
		r := Start(Config{Clients: 1, Inflight: 1, Batch: 1, Payload: 16, Duration: time.Second}, s)
		<-r.Over()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if r.Drain(ctx) {
			t.Error("drained while a put was outstanding")
		}
		s.check(t, r)
	})
}
