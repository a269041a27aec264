package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/codec"
)

// stageBook notes what an observer is told.
type stageBook struct {
	mu    sync.Mutex
	lines []string
}

func (b *stageBook) observe(st StageTime) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, fmt.Sprintf("%v=%v", st.Stage, st.Duration))
}

func (b *stageBook) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := strings.Join(b.lines, " ")
	b.lines = nil
	return text
}

// always follows every call.
func (b *stageBook) always() IntakeConfig {
	return IntakeConfig{Sampling: Sampling{Observe: b.observe, Interval: time.Nanosecond}}
}

// TestStagesFollowOneAnother: each begins where the one before ended, from the call to the caller, whichever way it calls.
func TestStagesFollowOneAnother(t *testing.T) {
	ways := map[string]func(*Intake, chan<- error){
		"Propose": func(in *Intake, done chan<- error) {
			_, err := in.Propose(context.Background(), []byte("x"))
			done <- err
		},
		"ProposeBatch": func(in *Intake, done chan<- error) {
			_, err := in.ProposeBatch(context.Background(), [][]byte{{1}, {2}, {3}})
			done <- err
		},
		"ProposeAsync": func(in *Intake, done chan<- error) {
			if err := in.ProposeAsync([]byte("x"), func(_ Result, err error) { done <- err }); err != nil {
				done <- err
			}
		},
		"Submit": func(in *Intake, done chan<- error) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			_, err := in.Submit(ctx, &Proposal{Data: []byte("x")})
			done <- err
		},
		"SubmitAsync": func(in *Intake, done chan<- error) {
			if err := in.SubmitAsync(&Proposal{Data: []byte("x")}, func(_ Result, err error) { done <- err }); err != nil {
				done <- err
			}
		},
	}
	for name, call := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var book stageBook
				in := newTestIntake(t, book.always())
				sm := &journal{gate: make(chan struct{})}
				a := newTestApplier(t, sm, ApplierEvents{})
				defer a.Close()
				done := make(chan error, 1)
				go call(in, done)
				time.Sleep(1 * time.Millisecond)
				b := in.Take(nil)[0]
				f, err := b.Seal(1, codec.LeaderID{Term: 1, Node: 1}, 1, codec.CompressionNone)
				if err != nil {
					t.Fatal(err)
				}
				b.Traces().Pass(StageIntake, time.Now())
				b.Traces().Tell(StageTime{Stage: StageNetwork, Duration: time.Second, Peer: 2})
				time.Sleep(2 * time.Millisecond)
				b.Traces().Pass(StageQuorum, time.Now())
				a.Push(f, b)
				time.Sleep(4 * time.Millisecond)
				sm.gate <- struct{}{}
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				if got, want := book.take(), "intake=1ms network=1s quorum=2ms apply=4ms answer=0s"; got != want {
					t.Errorf("told %q, want %q", got, want)
				}
			})
		})
	}
}

// TestIntakeStageHoldsTheWaitForRoom, which is as much of a put's latency as any other.
func TestIntakeStageHoldsTheWaitForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var book stageBook
		cfg := book.always()
		cfg.BytesMax = 1
		in := newTestIntake(t, cfg)
		done := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := in.Propose(context.Background(), []byte("x"))
				done <- err
			}()
			synctest.Wait()
		}
		time.Sleep(3 * time.Millisecond)
		first := in.Take(nil)
		synctest.Wait()
		time.Sleep(2 * time.Millisecond)
		for _, b := range append(first, in.Take(nil)...) {
			b.Traces().Pass(StageIntake, time.Now())
			b.Fail(ErrStopped)
			<-done
		}
		if got := book.take(); got != "intake=5ms intake=5ms" {
			t.Errorf("told %q, want 5 ms each: 3 of them before there was room for the second", got)
		}
	})
}

// TestPutsThatAreLostAreFollowedNoFurther: an error is no stage, and neither is what comes after one that was missed.
func TestPutsThatAreLostAreFollowedNoFurther(t *testing.T) {
	propose := func(in *Intake) chan error {
		done := make(chan error, 1)
		if err := in.ProposeAsync([]byte("x"), func(_ Result, err error) { done <- err }); err != nil {
			t.Fatal(err)
		}
		return done
	}
	var book stageBook
	in := newTestIntake(t, book.always())
	done := propose(in)
	b := in.Take(nil)[0]
	b.Traces().Pass(StageIntake, time.Now())
	b.Lose(codec.LogID{Index: 1}, ErrStopped)
	if err := <-done; !errors.As(err, new(*UnknownError)) {
		t.Error(err)
	}
	if got := book.take(); strings.Contains(got, " ") || !strings.HasPrefix(got, "intake=") {
		t.Errorf("a lost put: told %q, want intake alone", got)
	}
	done = propose(in)
	b = in.Take(nil)[0]
	b.Traces().Pass(StageIntake, time.Now())
	book.take()
	f, err := b.Seal(1, codec.LeaderID{Term: 1, Node: 1}, 1, codec.CompressionNone)
	if err != nil {
		t.Fatal(err)
	}
	a := newTestApplier(t, &journal{}, ApplierEvents{})
	defer a.Close()
	a.Push(f, b) // committed by another leader, which this node's loop did not follow
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := book.take(); got != "" {
		t.Errorf("a put whose commit was missed: told %q, want nothing", got)
	}
}

// TestBusyCallsAreNotFollowed, nor is the call that takes the place of one in its pool.
func TestBusyCallsAreNotFollowed(t *testing.T) {
	var book stageBook
	cfg := book.always()
	cfg.BytesMax = 1
	in := newTestIntake(t, cfg)
	ignore := func(Result, error) {}
	if err := in.ProposeAsync([]byte("x"), ignore); err != nil {
		t.Fatal(err)
	}
	if err := in.ProposeAsync([]byte("x"), ignore); !errors.Is(err, ErrBusy) {
		t.Fatal(err)
	}
	b := in.Take(nil)[0]
	if n := len(b.Traces()); n != 1 {
		t.Errorf("%d traces in a batch of one call", n)
	}
	b.Fail(ErrStopped)
	if got := book.take(); got != "" {
		t.Errorf("told %q of calls that went nowhere", got)
	}
}

// TestNothingIsFollowedUnlessAskedFor: neither calls nor batches carry anything then.
func TestNothingIsFollowedUnlessAskedFor(t *testing.T) {
	in := newTestIntake(t, IntakeConfig{Sampling: Sampling{Interval: time.Nanosecond}})
	for range 1000 {
		if err := in.ProposeAsync([]byte("x"), func(Result, error) {}); err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range in.Take(nil) {
		if b.Traces() != nil || slices.ContainsFunc(b.waiters, func(w waiter) bool { return w.call.trace != nil }) {
			t.Error("a call is followed")
		}
		b.Fail(ErrStopped)
	}
	if in.sample.Observe != nil || in.sample.call() != nil {
		t.Error("the sampler follows a call")
	}
}

// TestSamplingKeepsToItsInterval, within a factor of two, at whatever rate calls come, and when that has changed.
func TestSamplingKeepsToItsInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSampler(Sampling{Observe: func(StageTime) {}, Interval: time.Millisecond})
		count := func(calls int, gap time.Duration) (followed int) {
			for range calls {
				time.Sleep(gap)
				if s.call() != nil {
					followed++
				}
			}
			return followed
		}
		if n := count(100_000, 10*time.Microsecond); n < 2000 || n > 5000 {
			t.Errorf("%d calls are followed in the first second, want not many more than twice the usual 1000", n)
		}
		if n := count(100_000, 10*time.Microsecond); n < 400 || n > 2200 {
			t.Errorf("%d of 100,000 calls in a second are followed, want about 1000", n)
		}
		if n := count(3000, 2*time.Millisecond); n < 1500 {
			t.Errorf("%d of 3000 calls in 6 s are followed after there were many more, want most", n)
		}
		if n := count(1000, 2*time.Millisecond); n != 1000 {
			t.Errorf("%d of 1000 calls in 2 s are followed, want all", n)
		}
		if count(3000, 0); s.every > everyRise {
			t.Errorf("one of %d calls is followed after a burst of 3000", s.every)
		}
	})
}

// TestSamplingFavoursNoTime: calls that meet a stall, while which few come, are followed no more often than others.
func TestSamplingFavoursNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSampler(Sampling{Observe: func(StageTime) {}, Interval: time.Millisecond})
		var calls, followed [2]int // in a stall and not
		for n := range 4000 {
			stall, gap := 0, 200*time.Microsecond
			if n%20 == 0 {
				stall, gap = 1, 40*time.Millisecond
			}
			for range 50 {
				calls[stall]++
				if s.call() != nil {
					followed[stall]++
				}
				time.Sleep(gap / 50)
			}
		}
		often, stalled := float64(followed[0])/float64(calls[0]), float64(followed[1])/float64(calls[1])
		if stalled < often*0.85 || stalled > often*1.15 {
			t.Errorf("one of %.1f calls is followed, and one of %.1f in a stall", 1/often, 1/stalled)
		}
	})
}

// TestSamplingFavoursNoPlaceInABurst: calls that come together in batches are followed equally often, wherever they stand.
func TestSamplingFavoursNoPlaceInABurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const burst, parts = 64, 4
		s := newSampler(Sampling{Observe: func(StageTime) {}, Interval: time.Millisecond})
		var followed [parts]int
		for range 20_000 {
			time.Sleep(time.Millisecond)
			for i := range burst {
				if s.call() != nil {
					followed[i*parts/burst]++
				}
			}
		}
		total := 0
		for _, n := range followed {
			total += n
		}
		for part, n := range followed {
			if n < total/parts*85/100 || n > total/parts*115/100 {
				t.Errorf("part %d of %d of a burst has %d of the %d calls that are followed", part+1, parts, n, total)
			}
		}
		if total < 15_000 || total > 25_000 {
			t.Errorf("%d calls are followed in 20 s, want about 20,000", total)
		}
	})
}

func TestStageNames(t *testing.T) {
	var names []string
	for s := StageIntake; s < StageEnd; s++ {
		names = append(names, s.String())
	}
	if got, want := strings.Join(names, " "), "intake wal_write wal_sync network quorum apply answer"; got != want {
		t.Errorf("the stages are %q, want %q", got, want)
	}
	if got := Stage(0).String() + ", " + StageEnd.String(); got != "stage 0, stage 8" {
		t.Errorf("what is no stage is %q", got)
	}
}
