package storagetest

import (
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
)

// PatienceDefault is how long a case waits for a report or an answer before it calls it missing.
const PatienceDefault = 10 * time.Second

// LogPlace is where one log lives: a directory, a table, or nothing but memory.
type LogPlace struct {
	// Open opens the log, for the first time and again after Close or Crash. Required.
	Open func() (pipeline.Log, error)
	// Crash, where it is not nil, does to the place what a power cut does while the log is open: what the log has not
	// reported may be gone. The log that was open is not used any more, nor closed by the case; the next call is Open.
	Crash func()
	// Fail, where it is not nil, makes everything fail that would write to the place from now on, until Repair.
	Fail func()
	// Repair ends what Fail began. Required with it.
	Repair func()
}

// LogConfig says what [Log] tests.
type LogConfig struct {
	// New makes an empty place. It is called for each case. What it needs for cleaning up it leaves to t. Required.
	New func(t testing.TB) LogPlace
	// Forgets says that the log keeps nothing after Close, as one in memory does: cases that open a place again are left out,
	// but for one that demands another incarnation.
	Forgets bool
	// Patience is how long a case waits for a report or an answer. Default [PatienceDefault].
	Patience time.Duration
}

// Log tests a log: every case is a subtest of t. What a case demands is written in the package's comment.
func Log(t *testing.T, c LogConfig) {
	if c.New == nil {
		t.Fatal("storagetest: LogConfig.New is nil, want a function that makes an empty place")
	}
	for _, group := range logGroups() {
		t.Run(group.name, func(t *testing.T) {
			for _, one := range group.cases {
				t.Run(one.name, func(t *testing.T) {
					if why := c.runLog(t, one); why != "" {
						t.Skip(why)
					}
				})
			}
		})
	}
}

// need says what a case needs of a place beside Open.
type need uint8

const (
	needKeeps need = 1 << iota // what was written is there when the place is opened again
	needCrash
	needFail
	needForgets
)

type logCase struct {
	name  string
	needs need
	run   func(s *logRun)
}

type logGroup struct {
	name  string
	cases []logCase
}

func logGroups() []logGroup {
	return []logGroup{
		{"start", startCases}, {"vote", voteCases}, {"append", appendCases}, {"read", readCases}, {"truncate", truncateCases},
		{"purge", purgeCases}, {"jump", jumpCases}, {"membership", membershipCases}, {"commit", commitCases},
		{"reports", reportCases}, {"peers", peerCases}, {"close", closeCases}, {"crash", crashCases}, {"poison", poisonCases},
		{"together", togetherCases}, {"random", randomCases},
	}
}

// runLog runs a case, or returns why it does not apply.
func (c LogConfig) runLog(t testing.TB, one logCase) (why string) {
	place := c.New(t)
	switch {
	case place.Open == nil:
		t.Fatal("storagetest: LogPlace.Open is nil, want a function that opens the log")
	case place.Fail != nil && place.Repair == nil:
		t.Fatal("storagetest: LogPlace.Repair is nil, want a function that ends what Fail began")
	case one.needs&needKeeps != 0 && c.Forgets:
		return "the log forgets"
	case one.needs&needForgets != 0 && !c.Forgets:
		return "the log keeps what it is given"
	case one.needs&needCrash != 0 && place.Crash == nil:
		return "the place has no Crash"
	case one.needs&needFail != 0 && place.Fail == nil:
		return "the place has no Fail"
	}
	if c.Patience == 0 {
		c.Patience = PatienceDefault
	}
	s := &logRun{TB: t, config: c, place: place}
	s.open()
	one.run(s)
	s.end()
	return ""
}

// logRun is a case at work: the place, the log that is open, and a model of each group.
type logRun struct {
	testing.TB
	config LogConfig
	place  LogPlace
	log    pipeline.Log // nil while none is open
	groups []*group
}

func (s *logRun) open() {
	s.Helper()
	l, err := s.place.Open()
	if err != nil || l == nil {
		s.Fatalf("Open returned %v, %v", l, err)
	}
	s.log = l
}

// close closes the log without an error.
func (s *logRun) close() {
	s.Helper()
	l := s.log
	s.log = nil
	if err := l.Close(); err != nil {
		s.Fatalf("Close: %v", err)
	}
}

// crash ends the log as a power cut does.
func (s *logRun) crash() {
	s.place.Crash()
	s.log = nil
}

// end closes the log, if it is open, and says what was wrong with what the groups were told.
func (s *logRun) end() {
	s.Helper()
	if s.log != nil {
		s.close()
	}
	for _, g := range s.groups {
		g.reports.check(s)
	}
}

// reopen opens the place again and checks that every group is as its model.
func (s *logRun) reopen() {
	s.Helper()
	s.open()
	for _, g := range s.groups {
		g.checkState(g.openAgain())
		g.check()
	}
}

// restart is close and reopen.
func (s *logRun) restart() {
	s.Helper()
	s.close()
	s.reopen()
}

// restartIfKept is restart where the log does not forget.
func (s *logRun) restartIfKept() {
	s.Helper()
	if !s.config.Forgets {
		s.restart()
	}
}

// answers collects what a callback is told. The callback never blocks, however often it is called.
type answers[T any] struct {
	what string
	c    chan T // one more than are expected, so that too many show
}

func expect[T any](what string, n int) answers[T] { return answers[T]{what, make(chan T, n+1)} }

func (a answers[T]) put(v T) {
	select {
	case a.c <- v:
	default:
	}
}

// next returns the next answer, or fails.
func (a answers[T]) next(s *logRun) (v T) {
	s.Helper()
	timer := time.NewTimer(s.config.Patience)
	defer timer.Stop()
	select {
	case v = <-a.c:
	case <-timer.C:
		s.Fatalf("%s: done is not called after %v", a.what, s.config.Patience)
	}
	return v
}

// only returns the one answer, or fails.
func (a answers[T]) only(s *logRun) (v T) {
	s.Helper()
	v = a.next(s)
	if len(a.c) > 0 {
		s.Fatalf("%s: done is called twice", a.what)
	}
	return v
}

// remember remembers a peer and returns what done was told.
func (s *logRun) remember(id codec.NodeID, incarnation codec.Incarnation) error {
	s.Helper()
	told := expect[error]("RememberPeer", 1)
	s.log.RememberPeer(id, incarnation, told.put)
	return told.only(s)
}
