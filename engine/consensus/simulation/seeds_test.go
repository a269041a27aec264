package simulation

import (
	"flag"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	seedsFlag   = flag.Int("seeds", 0, "number of seeds to run; 0: as many as fit a short time")
	firstFlag   = flag.Uint64("first", 1, "first seed")
	withoutFlag = flag.String("without", "", "classes of faults to leave out, separated by commas")
	clientsFlag = flag.Int("clients", 0, "most clients; 0: as the seed says")
	eventsFlag  = flag.Int("events", 0, "most events before the faults end; 0: as the seed says")
	traceFlag   = flag.Bool("steps", false, "print every step")
	findFlag    = flag.Bool("find", false, "print each seed that fails in one line, without shrinking it, and go on")
	workersFlag = flag.Int("workers", 0, "seeds that run at the same time, each in one goroutine; 0: as many as there are processors")
)

// Seeds run by default, and with -short: about 10 and 3 seconds on two cores.
const (
	seedsDefault = 360
	seedsShort   = 120
)

// injectionsMin is how often each class is to strike in 60 seeds. A run may fall half short of that, since each change of
// what is run draws other lots, and some classes strike often in few seeds.
const injectionsMin = 20

// summary is what the runs of many seeds add up to.
type summary struct {
	began   time.Time
	seeds   int
	failed  int
	total   Result
	largest int
	given   int
}

func (s *summary) add(r *Result) {
	s.seeds++
	s.total.Events += r.Events
	s.total.Virtual += r.Virtual
	s.total.Leaders += r.Leaders
	s.total.Entries += r.Entries
	s.total.Acked += r.Acked
	s.total.Retried += r.Retried
	s.total.Twice += r.Twice
	s.total.Changes += r.Changes
	s.total.Transfers += r.Transfers
	s.total.Restores += r.Restores
	s.total.Rises += r.Rises
	s.total.Refusals += r.Refusals
	s.total.Strangers += r.Strangers
	s.total.Snapshots += r.Snapshots
	s.total.Purges += r.Purges
	s.total.Jumps += r.Jumps
	s.total.Shipped += r.Shipped
	s.total.Pieces += r.Pieces
	s.total.Installs += r.Installs
	s.total.Reads += r.Reads
	s.total.LeaseReads += r.LeaseReads
	s.total.Cuts += r.Cuts
	s.total.Moved += r.Moved
	s.total.Reclaimed += r.Reclaimed
	s.total.Sessions += r.Sessions
	s.total.Repeats += r.Repeats
	s.total.Expired += r.Expired
	if r.Given {
		s.given++
	}
	s.largest = max(s.largest, r.Events)
	for c := range ClassEnd {
		s.total.Injected[c] += r.Injected[c]
	}
	if r.Err != nil {
		s.failed++
	}
}

func (s *summary) String() string {
	took := time.Since(s.began)
	return fmt.Sprintf("%d seeds, %d failed: %d events (%d on average, at most %d), %.1f virtual hours, %.0f events/s; %d leaderships, %d entries committed, %d acknowledged",
		s.seeds, s.failed, s.total.Events, s.total.Events/max(1, s.seeds), s.largest, s.total.Virtual.Hours(),
		float64(s.total.Events)/took.Seconds(), s.total.Leaders, s.total.Entries, s.total.Acked)
}

// occurrences says what happened beside the ordinary.
func (s *summary) occurrences() string {
	t := &s.total
	return fmt.Sprintf("memberships committed %d, campaigns that leaders asked for %d, leaderships resumed %d, campaigns above a learner's vote %d, "+
		"damaged logs refused %d, connections of wiped nodes refused %d, proposals repeated %d, entries that happened twice by that %d, "+
		"runs given up since data was lost on purpose %d; "+
		"logs cut %d, records moved in them %d, files reclaimed %d; snapshots taken %d, sent %d in %d pieces, installed %d, logs purged %d, logs replaced by a snapshot %d; "+
		"reads %d, by a lease %d; sessions opened %d, commands repeated in them %d, expired %d",
		t.Changes, t.Transfers, t.Restores, t.Rises, t.Refusals, t.Strangers, t.Retried, t.Twice, s.given,
		t.Cuts, t.Moved, t.Reclaimed, t.Snapshots, t.Shipped, t.Pieces, t.Installs, t.Purges, t.Jumps, t.Reads, t.LeaseReads, t.Sessions, t.Repeats, t.Expired)
}

func (s *summary) injections() string {
	var b strings.Builder
	for c := range ClassEnd {
		fmt.Fprintf(&b, " %v %d", c, s.total.Injected[c])
	}
	return b.String()
}

// chosen returns the options that the flags ask for.
func chosen(t *testing.T, seed uint64) Options {
	o := Options{Seed: seed, ClientsMax: *clientsFlag, EventsMax: *eventsFlag}
	if *withoutFlag != "" {
		for name := range strings.SplitSeq(*withoutFlag, ",") {
			c, err := ParseClass(name)
			if err != nil {
				t.Fatal(err)
			}
			o.Without = append(o.Without, c)
		}
	}
	if *traceFlag {
		o.Trace = func(line string) { t.Log(line) }
	}
	return o
}

// outcome is what came of one seed.
type outcome struct {
	options Options
	result  Result
}

// runSeeds runs consecutive seeds, several at a time, and hands their outcomes over in order until stop says so.
func runSeeds(t *testing.T, first uint64, count int, take func(*outcome) (stop bool)) {
	workers := *workersFlag
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	if *traceFlag {
		workers = 1
	}
	options := make([]Options, count)
	for i := range options {
		options[i] = chosen(t, first+uint64(i))
	}
	// Each worker takes every workers-th seed and waits until its outcome was taken.
	done := make([]chan *outcome, workers)
	stopped := make(chan struct{})
	var running sync.WaitGroup
	for w := range workers {
		done[w] = make(chan *outcome, 8)
		running.Go(func() {
			for i := w; i < count; i += workers {
				o := &outcome{options[i], Run(options[i])}
				select {
				case done[w] <- o:
				case <-stopped:
					return
				}
			}
		})
	}
	for i := range count {
		if take(<-done[i%workers]) {
			break
		}
	}
	close(stopped)
	running.Wait()
}

// TestSeeds runs clusters under faults drawn from consecutive seeds. Flags say which; a seed that fails prints the
// command that runs it again, and that of a smaller run that fails too.
func TestSeeds(t *testing.T) {
	count := *seedsFlag
	switch {
	case count > 0:
	case raceEnabled:
		count = seedsShort / 2
	case testing.Short():
		count = seedsShort
	default:
		count = seedsDefault
	}
	s := summary{began: time.Now()}
	shown := s.began
	var failed *outcome
	runSeeds(t, *firstFlag, count, func(o *outcome) bool {
		s.add(&o.result)
		switch {
		case o.result.Err == nil:
		case *findFlag:
			t.Errorf("FAILS %d: %.300s", o.options.Seed, strings.ReplaceAll(o.result.Err.Error(), "\n", " "))
		default:
			failed = o
			return true
		}
		if time.Since(shown) > 5*time.Second {
			shown = time.Now()
			t.Log(&s)
		}
		return false
	})
	if failed != nil {
		t.Errorf("seed %d: %v\nagain: %s", failed.options.Seed, failed.result.Err, failed.options.Command())
		small, why := Shrink(failed.options)
		t.Fatalf("smaller: %s -steps\n%v", small.Command(), why.Err)
	}
	t.Log(&s)
	t.Log(s.occurrences())
	t.Log("injected:" + s.injections())
	if s.failed > 0 || s.seeds < seedsShort || *withoutFlag != "" || *eventsFlag > 0 || *findFlag {
		return
	}
	checkEnough(t, &s)
}

// checkEnough fails a run of many seeds that exercised too little.
func checkEnough(t *testing.T, s *summary) {
	for c := range ClassEnd {
		if want := injectionsMin * s.seeds / 120; s.total.Injected[c] < want {
			t.Errorf("%v struck %d times in %d seeds, want at least %d: the runs exercise too little", c, s.total.Injected[c], s.seeds, want)
		}
	}
	for _, want := range []struct {
		what          string
		have, perSeed int
	}{
		{"leaderships", s.total.Leaders, 2},
		{"acknowledged entries", s.total.Acked, 50},
		{"memberships", s.total.Changes, 1},
		{"events", s.total.Events, 9000},
	} {
		if want.have < want.perSeed*s.seeds {
			t.Errorf("%d %s in %d seeds, want %d each: the runs exercise too little", want.have, want.what, s.seeds, want.perSeed)
		}
	}
	if s.given > s.seeds/50 {
		t.Errorf("%d of %d runs were given up, want at most one in fifty", s.given, s.seeds)
	}
	for what, have := range map[string]int{"leaderships resumed": s.total.Restores, "campaigns that leaders asked for": s.total.Transfers,
		"damaged logs refused": s.total.Refusals, "connections of wiped nodes refused": s.total.Strangers, "proposals repeated": s.total.Retried,
		"snapshots installed": s.total.Installs, "logs purged": s.total.Purges, "logs replaced by a snapshot": s.total.Jumps, "reads": s.total.Reads,
		"reads by a lease": s.total.LeaseReads, "commands repeated in sessions": s.total.Repeats, "sessions expired": s.total.Expired,
		"logs cut": s.total.Cuts, "records moved": s.total.Moved / 50, "files reclaimed": s.total.Reclaimed / 10} {
		if have < s.seeds/20 {
			t.Errorf("%d %s in %d seeds, want at least %d: the runs exercise too little", have, what, s.seeds, s.seeds/20)
		}
	}
}

// TestSeedsThatFailedOnce runs seeds that showed a fault, which is mended. A change of what is run draws other lots, so that
// they may show something else by now; each fault of the core has a test of its own beside the core.
func TestSeedsThatFailedOnce(t *testing.T) {
	for seed, fault := range map[uint64]string{
		1008139:  "voters of greater priority that were dead were waited for at each timeout",
		1012228:  "a follower and a leader that lacked what it had committed went in circles",
		10016470: "a voter that lagged behind a change kept ahead of the terms of the one that could win",
		30016276: "the simulator's node, removed, was not woken when there was room for a proposal that waited",
		455:      "the simulator forgot with an old image of a disk that its newest snapshot was damaged",
		80004886: "the simulator's node went on to apply after a snapshot that it could not read",
		80005267: "a leader that waited for a snapshot was removed, and its clients got no answer",
		80009849: "reads were asked of a healthy cluster while its leader handed over",
		80018814: "a snapshot was damaged between its arrival and its installation",
		70013519: "a leader that waited for a snapshot left, and could not bring up whom it needed for that",
		70016668: "a voter that led was lost, its last entry was on a learner alone, whose vote an unfinished change made necessary",
		60006769: "the simulator's node, which campaigned, went on with a snapshot and named its new vote in it",
		90002710: "a node that had not heard that its log was poisoned applied an entry that it had cut",
		90009266: "the simulator went by a membership that was superseded after an old image of a disk had lost committed entries",
	} {
		if r := Run(Options{Seed: seed}); r.Err != nil {
			t.Errorf("seed %d (once: %s): %v", seed, fault, r.Err)
		}
	}
}
