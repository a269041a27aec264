package pipeline

import (
	"errors"
	"fmt"
	"testing"

	"github.com/millrace/millrace/codec"
)

func submit(t *testing.T, in *Intake, p Proposal) {
	t.Helper()
	if err := in.SubmitAsync(&p, func(Result, error) {}); err != nil {
		t.Fatal(err)
	}
}

// TestBatchesHoldEntriesOfTheSameTerms: where the kind of the entries changes, or the leadership they depend on, a new frame
// begins, and the order stays.
func TestBatchesHoldEntriesOfTheSameTerms(t *testing.T) {
	in := newTestIntake(t, IntakeConfig{FrameEntriesMax: 3})
	lead := codec.LeaderID{Term: 7, Node: 2}
	if err := in.ProposeAsync([]byte("a"), func(Result, error) {}); err != nil {
		t.Fatal(err)
	}
	submit(t, in, Proposal{Data: []byte("b")})
	submit(t, in, Proposal{Data: []byte("c"), Kind: codec.EntrySession})
	submit(t, in, Proposal{Data: []byte("d"), Kind: codec.EntrySession, IfLeader: lead})
	submit(t, in, Proposal{Data: []byte("e"), Kind: codec.EntryNormal, IfLeader: lead})
	submit(t, in, Proposal{Data: []byte("f"), Kind: codec.EntryRestore})
	for range 4 {
		submit(t, in, Proposal{Data: []byte("g")})
	}
	want := "normal T0-N0 2, session T0-N0 1, session T7-N2 1, normal T7-N2 1, restore T0-N0 1, normal T0-N0 3, normal T0-N0 1, "
	got, data, first := "", "", codec.Index(1)
	for _, b := range in.Take(nil) {
		got += fmt.Sprintf("%v %v %d, ", b.Kind(), b.IfLeader(), b.Entries())
		kind := b.Kind()
		f, err := b.Seal(1, lead, first, codec.CompressionNone)
		if err != nil || f.Meta().Kind != kind {
			t.Fatalf("a batch of %v entries made a frame of %v, %v", kind, f.Meta().Kind, err)
		}
		entries, _ := f.AppendEntries(nil)
		for _, e := range entries {
			data += string(e.Data)
		}
		first = f.Meta().Last() + 1
		b.Fail(ErrStopped)
	}
	if got != want || data != "abcdefgggg" {
		t.Fatalf("batches %s with %s, want %s", got, data, want)
	}
	err := in.SubmitAsync(&Proposal{Kind: codec.EntryMembership}, nil)
	if err == nil || err.Error() != "proposal of a membership entry, want one that carries commands" {
		t.Fatalf("a membership was taken: %v", err)
	}
}

func TestNoticesNameTheirEntries(t *testing.T) {
	in := newTestIntake(t, IntakeConfig{FrameEntriesMax: 3})
	var got []string
	for i := range 5 {
		p := Proposal{}
		if i%2 == 0 {
			p.Committed = func(id codec.LogID) { got = append(got, fmt.Sprint(i, "=", id)) }
		}
		submit(t, in, p)
	}
	for n, b := range in.Take(nil) {
		notices, any := b.TakeNotices()
		if !any {
			t.Fatalf("nobody is to be told of batch %d", n)
		}
		if _, again := b.TakeNotices(); again {
			t.Fatal("they can be taken twice")
		}
		b.Fail(ErrStopped)
		notices.Committed(codec.LogID{Leader: codec.LeaderID{Term: 1, Node: 1}, Index: codec.Index(10 * (n + 1))})
	}
	if fmt.Sprint(got) != "[0=T1-N1-10 2=T1-N1-12 4=T1-N1-21]" {
		t.Fatalf("told %v", got)
	}
	submit(t, in, Proposal{}) // a batch that is used again
	b := in.Take(nil)[0]
	if _, any := b.TakeNotices(); any {
		t.Fatal("a batch without notices has some left from before")
	}
	b.Fail(ErrStopped)
}

func TestBusyErrorSaysWhatIsFull(t *testing.T) {
	in := newTestIntake(t, IntakeConfig{BytesMax: 100})
	submit(t, in, Proposal{Data: make([]byte, 50)})
	err := in.SubmitAsync(&Proposal{Data: make([]byte, 50)}, func(Result, error) {})
	var busy *BusyError
	if !errors.Is(err, ErrBusy) || !errors.As(err, &busy) || *busy != (BusyError{"intake", 178, 100}) ||
		err.Error() != "intake holds 178 of 100 bytes: busy" {
		t.Fatalf("got %v", err)
	}
	in.Take(nil)[0].Fail(ErrStopped)
}

// TestTermsAllocateNothing: an entry with terms costs what a plain one costs.
func TestTermsAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool allocate")
	}
	in := newTestIntake(t, IntakeConfig{})
	p := Proposal{Data: make([]byte, 100), Kind: codec.EntrySession, IfLeader: codec.LeaderID{Term: 1, Node: 1}}
	fn := func(Result, error) {}
	var batches []*Batch
	round := func() {
		for range 500 {
			if err := in.SubmitAsync(&p, fn); err != nil {
				t.Fatal(err)
			}
		}
		batches = in.Take(batches[:0])
		for _, b := range batches {
			b.Fail(ErrStopped)
		}
	}
	round()
	if n := testing.AllocsPerRun(20, round); n > 25 {
		t.Fatalf("%v allocations for 500 entries", n)
	}
}
