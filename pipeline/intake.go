package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline/session"
)

// EntryOverhead is what a waiting entry costs beside its bytes, its caller included: bounds count it, so that empty
// entries are bounded too.
const EntryOverhead = 128

// IntakeConfig holds the bounds of an [Intake].
type IntakeConfig struct {
	// BytesMax bounds the bytes of entries that wait to be taken, with [EntryOverhead] for each. A call is always let
	// into an empty Intake.
	// 0 means 64 MiB: half a second of the fastest disk this was tuned on.
	BytesMax int
	// FrameBytesMax is the size in bytes at which a batch is closed and the next one begun. 0 means 1 MiB: the size
	// from which an append and sync gains nothing more.
	FrameBytesMax int
	// FrameEntriesMax closes a batch by number. 0 means 65,536.
	FrameEntriesMax int
	// ProposalBytesMax bounds one proposal in bytes. 0 means 16 MiB.
	ProposalBytesMax int
	// Ready, of capacity 1, receives a token when something waits. Nil: the Intake makes its own.
	Ready chan struct{}
	// Sampling follows some of the calls through the stages.
	Sampling Sampling
}

func (c IntakeConfig) withDefaults() (IntakeConfig, error) {
	for _, f := range []struct {
		name       string
		value      *int
		byDefault  int
		min, limit int
	}{
		{"BytesMax", &c.BytesMax, 64 << 20, 1, 1 << 40},
		{"FrameBytesMax", &c.FrameBytesMax, 1 << 20, 1, codec.FrameBodyMax / 2},
		{"FrameEntriesMax", &c.FrameEntriesMax, 65_536, 1, codec.FrameEntriesMax},
		{"ProposalBytesMax", &c.ProposalBytesMax, 16 << 20, 0, codec.FrameBodyMax / 2},
	} {
		if *f.value == 0 {
			*f.value = f.byDefault
		}
		if *f.value < f.min || *f.value > f.limit {
			return c, fmt.Errorf("%s is %d, want %d to %d", f.name, *f.value, f.min, f.limit)
		}
	}
	if c.Ready == nil {
		c.Ready = make(chan struct{}, 1)
	}
	return c, nil
}

// Proposal is what [Intake.Submit] takes: an entry with terms that a plain one does not have.
type Proposal struct {
	Data []byte
	// Kind is the entry's, one that carries commands. 0 means normal.
	Kind codec.EntryKind
	// IfLeader, when not zero, is the leadership under which alone the entry may be appended; see [Batch.IfLeader].
	IfLeader codec.LeaderID
	// Committed, when not nil, is called with the entry's log id once it is committed, before it is applied, by whoever took
	// the batch ([Batch.TakeNotices]). It is not called where the proposal ends with an error before.
	Committed func(codec.LogID)
}

// terms says which batch an entry may stand in: all of a frame's entries have the same.
type terms struct {
	kind     codec.EntryKind
	ifLeader codec.LeaderID
}

// plain are the terms of almost every entry.
var plain = terms{kind: codec.EntryNormal}

// Intake collects proposals into batches. Any goroutine may propose; one takes.
type Intake struct {
	cfg   IntakeConfig
	calls callPool
	_     [64]byte // what callers only read lies on no cache line that each of them writes

	// mu guards what follows. No owner would do: callers encode their entries themselves, so that the goroutine that
	// takes pays per batch and not per entry. It is held for one copy of the entry's bytes.
	mu     sync.Mutex
	open   *Batch // being filled; nil when the last one was closed or taken
	bytes  int    // of entries in open and closed, overhead included
	err    error  // set once no more is taken in
	called bool   // a token was put into Ready since the last Take
	sample sampler
	closed []*Batch      // full, oldest first
	hint   int           // capacity of the next batch's buffer
	space  chan struct{} // closed when something was taken; nil when nobody waits for room
}

// NewIntake returns an empty Intake. It returns an error that names the field when a bound is out of range.
func NewIntake(cfg IntakeConfig) (*Intake, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("intake: %w", err)
	}
	return &Intake{cfg: cfg, sample: newSampler(cfg.Sampling)}, nil
}

// Propose copies data into the open batch and waits for the answer. Errors: what [Batch.Fail] was given; [ErrTooLarge]
// and [ErrStopped], when nothing was proposed; a context's error alone when it ended before there was room, so that
// nothing was proposed; an [UnknownError] with the context's error when it ended later.
func (in *Intake) Propose(ctx context.Context, data []byte) (Result, error) {
	if err := in.checkSize(len(data)); err != nil {
		return Result{}, err
	}
	c := in.calls.get(1, nil)
	if err := in.enter(ctx, true, c, plain, nil, data); err != nil {
		c.release()
		return Result{}, err
	}
	return c.waitOne(ctx)
}

// Submit is [Intake.Propose] for an entry with terms.
func (in *Intake) Submit(ctx context.Context, p *Proposal) (Result, error) {
	t, err := in.checkTerms(p)
	if err != nil {
		return Result{}, err
	}
	c := in.calls.get(1, nil)
	if err := in.enter(ctx, true, c, t, p.Committed, p.Data); err != nil {
		c.release()
		return Result{}, err
	}
	return c.waitOne(ctx)
}

// SubmitAsync is [Intake.ProposeAsync] for an entry with terms.
func (in *Intake) SubmitAsync(p *Proposal, fn func(Result, error)) error {
	t, err := in.checkTerms(p)
	if err != nil {
		return err
	}
	c := in.calls.get(1, fn)
	if err := in.enter(context.Background(), false, c, t, p.Committed, p.Data); err != nil {
		c.release()
		return err
	}
	return nil
}

func (in *Intake) checkTerms(p *Proposal) (terms, error) {
	t := terms{p.Kind, p.IfLeader}
	if t.kind == 0 {
		t.kind = codec.EntryNormal
	}
	if !t.kind.Commands() {
		return t, fmt.Errorf("proposal of a %v entry, want one that carries commands", t.kind)
	}
	size := len(p.Data)
	if t.kind == codec.EntrySession {
		size = max(0, size-session.HeaderBytesMax) // what stands before a command's bytes is not its caller's
	}
	return t, in.checkSize(size)
}

// ProposeBatch proposes several entries in one call. They stand in the log in the order given, next to each other
// unless a frame's limit falls between them, and are answered together: all results, or one error. An [UnknownError]
// says that some of them may have happened. Other errors as [Intake.Propose]; a batch larger than the Intake's bound is
// [ErrTooLarge].
func (in *Intake) ProposeBatch(ctx context.Context, datas [][]byte) ([]Result, error) {
	if len(datas) == 0 {
		return nil, nil
	}
	total := 0
	for _, data := range datas {
		if err := in.checkSize(len(data)); err != nil {
			return nil, err
		}
		total += len(data)
	}
	if total > in.cfg.BytesMax {
		return nil, fmt.Errorf("batch of %d bytes, limit %d: %w", total, in.cfg.BytesMax, ErrTooLarge)
	}
	c := in.calls.get(len(datas), nil)
	if err := in.enter(ctx, true, c, plain, nil, datas...); err != nil {
		c.release()
		return nil, err
	}
	if err := c.wait(ctx); err != nil {
		return nil, err
	}
	results, err := c.results, c.err
	if len(datas) == 1 {
		results = []Result{c.one[0]}
	}
	c.release()
	if err != nil {
		return nil, err
	}
	return results, nil
}

// ProposeAsync proposes data and returns at once; fn gets the answer on the goroutine that answers and must not block.
// It may propose again. Errors: a [BusyError] when there is no room, [ErrTooLarge], [ErrStopped]; fn is then never called.
func (in *Intake) ProposeAsync(data []byte, fn func(Result, error)) error {
	if fn == nil {
		return errors.New("ProposeAsync: fn is nil, want a function")
	}
	if err := in.checkSize(len(data)); err != nil {
		return err
	}
	c := in.calls.get(1, fn)
	if err := in.enter(context.Background(), false, c, plain, nil, data); err != nil {
		c.release()
		return err
	}
	return nil
}

func (in *Intake) checkSize(size int) error {
	if size > in.cfg.ProposalBytesMax {
		return fmt.Errorf("proposal of %d bytes, limit %d: %w", size, in.cfg.ProposalBytesMax, ErrTooLarge)
	}
	return nil
}

// enter puts a call's entries into batches. Unless it may block it is a [BusyError] where there is no room.
func (in *Intake) enter(ctx context.Context, block bool, c *call, t terms, committed func(codec.LogID), datas ...[]byte) error {
	total := len(datas) * EntryOverhead
	for _, data := range datas {
		total += len(data)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	in.mu.Lock()
	c.trace = in.sample.call()
	for in.err == nil && in.bytes > 0 && in.bytes+total > in.cfg.BytesMax {
		err := error(nil)
		if block {
			err = in.awaitSpace(ctx)
		} else {
			err = &BusyError{What: "intake", Bytes: in.bytes, Limit: in.cfg.BytesMax}
		}
		if err != nil {
			in.mu.Unlock()
			return err
		}
	}
	if in.err != nil {
		err := in.err
		in.mu.Unlock()
		return err
	}
	in.encode(c, t, datas)
	if committed != nil {
		in.open.notices = append(in.open.notices, notice{in.open.entries - 1, committed})
	}
	if c.trace != nil {
		in.open.traces = append(in.open.traces, c.trace)
	}
	in.bytes += total
	first := !in.called
	in.called = true
	in.mu.Unlock()
	if first {
		select {
		case in.cfg.Ready <- struct{}{}:
		default:
		}
	}
	return nil
}

// awaitSpace is called and returns with the lock held.
func (in *Intake) awaitSpace(ctx context.Context) error {
	if in.space == nil {
		in.space = make(chan struct{})
	}
	space := in.space
	in.mu.Unlock()
	defer in.mu.Lock()
	select {
	case <-space:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// encode appends the entries to the open batch, closing it where it is full or of other terms. The lock is held.
func (in *Intake) encode(c *call, t terms, datas [][]byte) {
	waiting := 0
	if b := in.open; b != nil && b.terms != t {
		in.closed = append(in.closed, b)
		in.open = nil
	}
	for _, data := range datas {
		if b := in.open; b != nil && b.entries > 0 &&
			(len(b.buf)+len(data) > in.cfg.FrameBytesMax || b.entries >= in.cfg.FrameEntriesMax) {
			if waiting > 0 {
				b.await(c, waiting)
				waiting = 0
			}
			in.closed = append(in.closed, b)
			in.open = nil
		}
		if in.open == nil {
			in.open = newBatch(t, max(in.hint, codec.FrameHeaderSize+len(data)+8))
		}
		in.open.add(data)
		waiting++
	}
	in.open.await(c, waiting)
}

// Ready returns the channel that receives a token when something waits that the last [Intake.Take] did not see.
func (in *Intake) Ready() <-chan struct{} { return in.cfg.Ready }

// Bytes returns the size of what waits, with [EntryOverhead] for each entry.
func (in *Intake) Bytes() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.bytes
}

// Take appends every waiting batch to dst, oldest first. They belong to the caller, which answers each.
func (in *Intake) Take(dst []*Batch) []*Batch {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.called = false
	dst = append(dst, in.closed...)
	clear(in.closed)
	in.closed = in.closed[:0]
	if in.open != nil {
		dst = append(dst, in.open)
		// The next batch is likely about as large as the largest of the last few; room for it spares copies to ever
		// larger buffers.
		size := len(in.open.buf)
		in.hint = min(max(size+size/8, in.hint-in.hint/16), in.cfg.FrameBytesMax+codec.FrameHeaderSize)
		in.open = nil
	}
	in.bytes = 0
	if in.space != nil {
		close(in.space)
		in.space = nil
	}
	return dst
}

// Err returns what the intake was closed with, nil while it is open.
func (in *Intake) Err() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.err
}

// Close ends the intake: every later call, and every call that waits for room, returns err. What waits in batches is
// left to be taken. Only the first call counts.
func (in *Intake) Close(err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.err != nil {
		return
	}
	in.err = err
	if in.space != nil {
		close(in.space)
		in.space = nil
	}
}
