package target

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"

	"github.com/millrace/millrace/cluster_benchmark/load"
	"github.com/millrace/millrace/cluster_benchmark/safety"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/pipeline"
)

// Target takes puts and answers them.
type Target interface {
	load.Source
	// Counters returns what was done since the start.
	Counters() Counters
	// Settle waits until every replica has applied everything that any has in its log. It is called once no put is
	// outstanding. The error says who is behind.
	Settle(ctx context.Context) error
	// Close ends the target and returns when nothing of it runs any more. Outstanding puts are answered. The error
	// is what a node failed with.
	Close() error
	// Replicas returns the state machines, to be looked at after Close; nil where there are none.
	Replicas() []*safety.Machine
}

// Counters count since the start of a target, all nodes together.
type Counters struct {
	Frames   uint64 // batches that puts went through, counted once however many nodes they went to
	Entries  uint64 // puts in them
	WALBytes uint64 // written to logs
	WALSyncs uint64 // of logs
	// CPU (seconds) and Alloc (bytes of heap, freed ones too) were used by nodes in other processes; PeakRSS is the resident
	// memory of all of them at its peak since the target was opened, in bytes. All are 0 where nodes run in this process.
	CPU            float64
	Alloc, PeakRSS uint64
}

// Placed is a [Target] whose nodes run elsewhere.
type Placed interface {
	Target
	// Places says on a line for each node where it runs and what it is made of; none where that is this machine.
	Places() []string
}

// Sub returns what was added since an earlier reading. The peak stays what it is.
func (c Counters) Sub(before Counters) Counters {
	return Counters{
		Frames: c.Frames - before.Frames, Entries: c.Entries - before.Entries,
		WALBytes: c.WALBytes - before.WALBytes, WALSyncs: c.WALSyncs - before.WALSyncs,
		CPU: c.CPU - before.CPU, Alloc: c.Alloc - before.Alloc, PeakRSS: c.PeakRSS,
	}
}

// Open starts a target, ready to take puts. dir is an empty directory that it may use as long as it is open. The error
// names what could not be made.
func Open(ctx context.Context, name string, s setting.Scenario, dir string) (Target, error) {
	var t Target
	var err error
	switch name {
	case setting.Millrace:
		t, err = openCluster(ctx, s, dir)
	case setting.CeilingHandoff:
		t, err = openHandoff()
	case setting.CeilingDisk:
		t, err = openDisk(s.Nodes, dir)
	case setting.CeilingNet:
		t, err = openNet()
	default:
		panic("BUG: unknown target " + name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return t, nil
}

// WALBackend names the log in files that a target has with store wal, "" where it has none.
func WALBackend(name string) string {
	if name == setting.Millrace {
		return "tidwall"
	}
	return ""
}

// door is what the ceilings have in common: the engine's own intake, and one goroutine that takes from it.
type door struct {
	intake  *pipeline.Intake
	ready   chan struct{} // the intake's; others may put a token in to be looked at
	closing atomic.Bool
	done    chan struct{} // closed when the goroutine has ended
	frames  atomic.Uint64
	entries atomic.Uint64

	// Owner: the goroutine that takes.
	batches []*pipeline.Batch
	results []pipeline.Result
}

func newDoor() (*door, error) {
	d := &door{ready: make(chan struct{}, 1), done: make(chan struct{})}
	var err error
	d.intake, err = pipeline.NewIntake(pipeline.IntakeConfig{Ready: d.ready})
	return d, err
}

// take waits for a token and takes all puts there are. The yield lets clients that are about to put do so first: batches
// of hundreds instead of a handful. Once last is true the intake was closed before, so that nothing can come after.
func (d *door) take() (batches []*pipeline.Batch, last bool) {
	<-d.ready
	runtime.Gosched()
	last = d.closing.Load()
	d.batches = d.intake.Take(d.batches[:0])
	for _, b := range d.batches {
		d.frames.Add(1)
		d.entries.Add(uint64(b.Entries()))
	}
	return d.batches, last
}

// answer answers a batch with empty results.
func (d *door) answer(b *pipeline.Batch) {
	for len(d.results) < b.Entries() {
		d.results = append(d.results, pipeline.Result{})
	}
	b.Answer(d.results[:b.Entries()])
}

func (d *door) poke() {
	select {
	case d.ready <- struct{}{}:
	default:
	}
}

// shut makes the goroutine end, and returns when it has.
func (d *door) shut() {
	d.intake.Close(pipeline.ErrStopped)
	d.closing.Store(true)
	d.poke()
	<-d.done
}

// Proposer returns the intake.
func (d *door) Proposer() (load.Proposer, error) { return d.intake, nil }

// Counters counts batches as frames.
func (d *door) Counters() Counters {
	return Counters{Frames: d.frames.Load(), Entries: d.entries.Load()}
}

// Settle has nothing to wait for.
func (d *door) Settle(context.Context) error { return nil }

// Replicas returns nil.
func (d *door) Replicas() []*safety.Machine { return nil }
