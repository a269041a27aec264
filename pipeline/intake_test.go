package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/millrace/millrace/codec"
)

func newTestIntake(t testing.TB, cfg IntakeConfig) *Intake {
	t.Helper()
	in, err := NewIntake(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// serve answers everything that enters, with the entry's own bytes, until the test ends.
func serve(t testing.TB, in *Intake) {
	stop, done := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(stop); <-done })
	go func() {
		defer close(done)
		next := codec.Index(1)
		for {
			select {
			case <-in.Ready():
			case <-stop:
				return
			}
			for _, b := range in.Take(nil) {
				next = echo(t, b, next)
			}
		}
	}()
}

func echo(t testing.TB, b *Batch, first codec.Index) codec.Index {
	f, err := b.Seal(1, codec.LeaderID{Term: 1, Node: 1}, first, codec.CompressionNone)
	if err != nil {
		t.Error(err)
	}
	entries, err := f.AppendEntries(nil)
	if err != nil {
		t.Error(err)
	}
	results := make([]Result, len(entries))
	for i, e := range entries {
		results[i] = Result{LogID: e.ID, Data: bytes.Clone(e.Data)}
	}
	b.Answer(results)
	return first + codec.Index(len(entries))
}

func TestEveryCallerGetsItsOwnAnswer(t *testing.T) {
	in := newTestIntake(t, IntakeConfig{FrameBytesMax: 256})
	serve(t, in)
	var wg sync.WaitGroup
	for client := range 16 {
		wg.Go(func() {
			for n := range 200 {
				want := fmt.Sprintf("%d/%d", client, n)
				r, err := in.Propose(t.Context(), []byte(want))
				if err != nil || string(r.Data) != want {
					t.Errorf("Propose(%q) = %q, %v", want, r.Data, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestBatchIsAnsweredInOrderAcrossFrames(t *testing.T) {
	in := newTestIntake(t, IntakeConfig{FrameEntriesMax: 3})
	serve(t, in)
	var datas [][]byte
	for i := range 10 {
		datas = append(datas, []byte{byte(i)})
	}
	results, err := in.ProposeBatch(t.Context(), datas)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if !bytes.Equal(r.Data, datas[i]) || r.LogID.Index != results[0].LogID.Index+codec.Index(i) {
			t.Fatalf("result %d is %v %x", i, r.LogID, r.Data)
		}
	}
	if got, err := in.ProposeBatch(t.Context(), nil); got != nil || err != nil {
		t.Fatalf("an empty batch = %v, %v", got, err)
	}
	if got, err := in.ProposeBatch(t.Context(), datas[:1]); err != nil || len(got) != 1 || got[0].Data[0] != 0 {
		t.Fatalf("a batch of one = %v, %v", got, err)
	}
}

func TestProposeCopiesItsData(t *testing.T) {
	in := newTestIntake(t, IntakeConfig{})
	data := []byte("before")
	got := make(chan Result, 1)
	if err := in.ProposeAsync(data, func(r Result, _ error) { got <- r }); err != nil {
		t.Fatal(err)
	}
	copy(data, "after!")
	echo(t, in.Take(nil)[0], 1)
	if r := <-got; string(r.Data) != "before" {
		t.Fatalf("the entry holds %q", r.Data)
	}
}

func TestBatchesCloseAtTheirLimits(t *testing.T) {
	in := newTestIntake(t, IntakeConfig{FrameBytesMax: 200, FrameEntriesMax: 4})
	ignore := func(Result, error) {}
	for range 9 {
		if err := in.ProposeAsync(make([]byte, 10), ignore); err != nil {
			t.Fatal(err)
		}
	}
	if err := in.ProposeAsync(make([]byte, 1000), ignore); err != nil {
		t.Fatal(err)
	}
	batches := in.Take(nil)
	var sizes []int
	for _, b := range batches {
		sizes = append(sizes, b.Entries())
		b.Fail(ErrStopped)
	}
	if fmt.Sprint(sizes) != "[4 4 1 1]" {
		t.Fatalf("batches of %v entries, want 4, 4, 1 and the large one alone", sizes)
	}
}

func TestFullIntakeBlocksOrIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := newTestIntake(t, IntakeConfig{BytesMax: 100})
		if err := in.ProposeAsync(make([]byte, 90), func(Result, error) {}); err != nil {
			t.Fatal(err)
		}
		if err := in.ProposeAsync(make([]byte, 20), func(Result, error) {}); !errors.Is(err, ErrBusy) {
			t.Fatalf("a full intake answered %v, want ErrBusy", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		refused := make(chan error, 1)
		go func() {
			_, err := in.Propose(ctx, make([]byte, 20))
			refused <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-refused; !errors.Is(err, context.Canceled) || isUnknown(err) {
			t.Fatalf("a caller that never got room was told %v, want its context's error and nothing unknown", err)
		}
		admitted := make(chan error, 1)
		go func() {
			_, err := in.Propose(t.Context(), make([]byte, 20))
			admitted <- err
		}()
		synctest.Wait()
		in.Take(nil)[0].Fail(ErrStopped)
		synctest.Wait()
		echo(t, in.Take(nil)[0], 1)
		if err := <-admitted; err != nil {
			t.Fatalf("the caller that waited for room: %v", err)
		}
	})
}

func TestContextEndsAfterTheProposalEntered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := newTestIntake(t, IntakeConfig{})
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan error, 1)
		go func() {
			_, err := in.Propose(ctx, []byte("x"))
			got <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-got; !isUnknown(err) || !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v, want an UnknownError with the context's error", err)
		}
		echo(t, in.Take(nil)[0], 1) // the late answer disturbs nobody
	})
}

func TestProposalAboveTheLimitIsRefused(t *testing.T) {
	in := newTestIntake(t, IntakeConfig{ProposalBytesMax: 10, BytesMax: 25})
	_, err := in.Propose(t.Context(), make([]byte, 11))
	if !errors.Is(err, ErrTooLarge) || err.Error() != "proposal of 11 bytes, limit 10: too large" {
		t.Fatalf("got %v", err)
	}
	if err := in.ProposeAsync(make([]byte, 11), func(Result, error) {}); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("got %v", err)
	}
	if _, err := in.ProposeBatch(t.Context(), [][]byte{make([]byte, 9), make([]byte, 9), make([]byte, 9)}); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("got %v", err)
	}
	if err := in.ProposeAsync(nil, nil); err == nil {
		t.Fatal("a nil function was accepted")
	}
	if len(in.Take(nil)) != 0 {
		t.Fatal("something of a refused proposal was left behind")
	}
}

func TestClosedIntakeRefusesAndWakesWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := newTestIntake(t, IntakeConfig{BytesMax: 10})
		if err := in.ProposeAsync(make([]byte, 10), func(Result, error) {}); err != nil {
			t.Fatal(err)
		}
		got := make(chan error, 1)
		go func() {
			_, err := in.Propose(t.Context(), make([]byte, 10))
			got <- err
		}()
		synctest.Wait()
		in.Close(ErrStopped)
		in.Close(errors.New("the second close counts for nothing"))
		if err := <-got; !errors.Is(err, ErrStopped) {
			t.Fatalf("got %v", err)
		}
		if _, err := in.Propose(t.Context(), nil); err != ErrStopped {
			t.Fatalf("got %v", err)
		}
		if b := in.Take(nil); len(b) != 1 {
			t.Fatalf("%d batches are left to be answered, want 1", len(b))
		}
	})
}

func TestHalfAnsweredBatchIsUnknown(t *testing.T) {
	in := newTestIntake(t, IntakeConfig{FrameEntriesMax: 1})
	refused := errors.New("refused")
	for _, fate := range []func(a, b *Batch){
		func(a, b *Batch) { echo(t, a, 1); b.Fail(refused) },
		func(a, b *Batch) { a.Fail(refused); b.Fail(&UnknownError{Cause: refused}) },
		func(a, b *Batch) { a.Fail(refused); echo(t, b, 1) },
	} {
		got := make(chan error)
		go func() {
			_, err := in.ProposeBatch(context.Background(), [][]byte{{1}, {2}})
			got <- err
		}()
		<-in.Ready()
		batches := in.Take(nil)
		fate(batches[0], batches[1])
		if err := <-got; !isUnknown(err) || !errors.Is(err, refused) {
			t.Fatalf("got %v, want an UnknownError: one of the entries may have happened", err)
		}
	}
}

func TestLostCallersLearnWhereTheirOwnEntriesStood(t *testing.T) {
	in := newTestIntake(t, IntakeConfig{})
	var got []codec.LogID
	for range 3 {
		if err := in.ProposeAsync(nil, func(_ Result, err error) {
			var unknown *UnknownError
			if errors.As(err, &unknown) && errors.Is(err, ErrStopped) {
				got = append(got, unknown.LogID)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	leader := codec.LeaderID{Term: 2, Node: 1}
	in.Take(nil)[0].Lose(codec.LogID{Leader: leader, Index: 10}, ErrStopped)
	if fmt.Sprint(got) != "[T2-N1-10 T2-N1-11 T2-N1-12]" {
		t.Fatalf("the callers were told %v", got)
	}
}

func TestIntakeConfigNamesTheBadField(t *testing.T) {
	_, err := NewIntake(IntakeConfig{FrameBytesMax: -1})
	if err == nil || err.Error() != fmt.Sprintf("intake: FrameBytesMax is -1, want 1 to %d", codec.FrameBodyMax/2) {
		t.Fatalf("got %v", err)
	}
}

// TestNoAllocationPerEntry shows that between the call and its answer only the frame's buffer and what belongs to the
// whole batch is allocated.
func TestNoAllocationPerEntry(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool allocate")
	}
	const entries = 500
	in := newTestIntake(t, IntakeConfig{})
	data := make([]byte, 128)
	answered := 0
	fn := func(Result, error) { answered++ }
	results := make([]Result, entries)
	var batches []*Batch
	round := func() {
		for range entries {
			if err := in.ProposeAsync(data, fn); err != nil {
				t.Fatal(err)
			}
		}
		batches = in.Take(batches[:0])
		for _, b := range batches {
			if _, err := b.Seal(1, codec.LeaderID{Term: 1, Node: 1}, 1, codec.CompressionNone); err != nil {
				t.Fatal(err)
			}
			b.Answer(results[:b.Entries()])
		}
	}
	round()
	if n := testing.AllocsPerRun(20, round); n > 25 {
		t.Fatalf("%v allocations for %d entries in one batch", n, entries)
	}
	if answered < entries*20 {
		t.Fatalf("%d answers", answered)
	}
}

func BenchmarkProposeAsync(b *testing.B) {
	in := newTestIntake(b, IntakeConfig{})
	data := make([]byte, 128)
	fn := func(Result, error) {}
	results := make([]Result, 256)
	var batches []*Batch
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if err := in.ProposeAsync(data, fn); err != nil {
			b.Fatal(err)
		}
		if n%256 == 255 {
			batches = in.Take(batches[:0])
			batches[0].Answer(results[:batches[0].Entries()])
		}
	}
}

func TestContextThatHadEndedProposesNothing(t *testing.T) {
	in := newTestIntake(t, IntakeConfig{})
	ended := errors.New("ended by the test")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(ended)
	_, one := in.Propose(ctx, []byte("x"))
	_, many := in.ProposeBatch(ctx, [][]byte{[]byte("x"), []byte("y")})
	_, terms := in.Submit(ctx, &Proposal{Data: []byte("x")})
	for _, err := range []error{one, many, terms} {
		if err != ended {
			t.Errorf("got %v, want the context's cause alone", err)
		}
	}
	if n := len(in.Take(nil)); n != 0 {
		t.Errorf("%d batches wait", n)
	}
}

// TestAnswerAtTheEndOfItsContextCounts: where both are there, nothing is unknown.
func TestAnswerAtTheEndOfItsContextCounts(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var pool callPool
	for range 100 { // select takes either
		c := pool.get(1, nil)
		c.answer([]Result{{Data: []byte("x")}})
		if r, err := c.waitOne(ctx); err != nil || string(r.Data) != "x" {
			t.Fatalf("got %q, %v", r.Data, err)
		}
	}
}
