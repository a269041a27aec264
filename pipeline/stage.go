package pipeline

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/millrace/millrace/codec"
)

// Stage is a part of the way of a put through the node that takes it. Intake, quorum, apply and answer follow one another
// without a gap, from the call to the caller; the others lie beside each other within quorum, or end later where the quorum
// did not wait for them.
type Stage uint8

const (
	StageIntake   Stage = iota + 1 // from the call, before it waits for room, until its batch has its place in the log
	StageWALWrite                  // from there until this node's log has written the frame, before its sync
	StageWALSync                   // from there until the group commit is durable
	StageNetwork                   // from handing the append over for one peer until that peer's answer: the frame is durable there
	StageQuorum                    // from the end of StageIntake until the put is known to be committed
	StageApply                     // from there until the state machine has applied it
	StageAnswer                    // from there until the caller runs again, or its function is about to be called
	StageEnd                       // behind the last one
)

var stageNames = [StageEnd]string{
	StageIntake: "intake", StageWALWrite: "wal_write", StageWALSync: "wal_sync", StageNetwork: "network",
	StageQuorum: "quorum", StageApply: "apply", StageAnswer: "answer",
}

// String returns the name as results and metrics have it: "intake", "wal_write" and so on.
func (s Stage) String() string {
	if s == 0 || s >= StageEnd {
		return fmt.Sprintf("stage %d", uint8(s))
	}
	return stageNames[s]
}

// StageTime is how long one put took in one stage.
type StageTime struct {
	Stage    Stage
	Duration time.Duration
	Peer     codec.NodeID // whose answer [StageNetwork] is about; else 0
}

// Sampling says which calls are followed through the stages, and who is told. The zero value follows none.
type Sampling struct {
	// Observe gets the times of the calls that are followed, from several goroutines at once. It must not block.
	Observe func(StageTime)
	// Interval is about how much time lies between two calls that are followed, on average over a second and within a factor
	// of two, where there are more calls than that. Which ones is left to chance, each is as likely as any other. Above 0.
	Interval time.Duration
}

// Trace follows one call through its stages.
//
// Owner: as the call's batch, and at its end the caller.
type Trace struct {
	observe func(StageTime)
	next    Stage     // the one it is in, of those that follow one another
	at      time.Time // when that began
}

// Traces are those of a batch, nil mostly. They are the loop's up to the commit, then the [Applier]'s.
type Traces []*Trace

// Pass ends the stage that the traces are in and begins the one that follows. It does nothing for those that are in
// another one, because they missed a stage: a put whose leader lost its office is not followed any further.
func (ts Traces) Pass(s Stage, now time.Time) {
	for _, t := range ts {
		t.pass(s, now)
	}
}

// Tell reports a stage beside those that follow one another, once for each of the traces: every time counts for a put.
func (ts Traces) Tell(st StageTime) {
	for _, t := range ts {
		t.observe(st)
	}
}

func (t *Trace) pass(s Stage, now time.Time) {
	if t.next != s {
		return
	}
	t.observe(StageTime{Stage: s, Duration: now.Sub(t.at)})
	t.at = now
	switch s {
	case StageIntake:
		t.next = StageQuorum
	case StageQuorum:
		t.next = StageApply
	case StageApply:
		t.next = StageAnswer
	default:
		t.next = StageEnd
	}
}

// sampler chooses the calls that are followed: one in so many, each as likely as any other. That number changes only where
// the rate has, and over a time that is long beside a stall: one that followed it closely would choose more of the calls
// that meet a stall, when there are few, than of the others, and show latencies that no average caller sees.
//
// Owner: none; the lock of its [Intake] guards it.
type sampler struct {
	left   int       // calls up to the next one that is followed, itself included; more than ever come where none is
	every  int       // one call in so many, on average
	tally  int       // followed since
	since  time.Time // when the rate was looked at
	period time.Duration
	expect int // calls to be followed in a period
	Sampling
}

const (
	ratePeriod = time.Second // after which the rate is looked at
	expectMin  = 16          // calls that say something of a rate
	everyRise  = 16          // how far every may go up at once: a burst says little
	everyMax   = 1 << 20     // where it ends
)

func newSampler(s Sampling) sampler {
	if s.Observe == nil {
		return sampler{left: math.MaxInt}
	}
	period := max(ratePeriod, expectMin*s.Interval)
	return sampler{Sampling: s, every: 1, left: 1, since: time.Now(), period: period, expect: int(period / s.Interval)}
}

// call counts a call and returns its trace where it is followed.
func (s *sampler) call() *Trace {
	if s.left--; s.left > 0 {
		return nil
	}
	return s.follow()
}

func (s *sampler) follow() *Trace {
	now := time.Now()
	s.tally++
	if took := now.Sub(s.since); took >= s.period || s.tally > 2*s.expect {
		s.adapt(took)
		s.tally, s.since = 0, now
	}
	s.left = 1 + rand.IntN(2*s.every-1)
	return &Trace{observe: s.Observe, next: StageIntake, at: now}
}

// adapt sets anew how many calls go by for each that is followed, if these came more than twice as often as they should in
// the time they took, or less than half as often.
func (s *sampler) adapt(took time.Duration) {
	want := float64(s.every) * float64(s.tally) * float64(s.Interval) / float64(max(took, 1))
	if ratio := want / float64(s.every); ratio < 0.5 || ratio > 2 {
		s.every = int(max(1, min(want, float64(s.every*everyRise), everyMax)))
	}
}
