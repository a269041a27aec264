package simulation

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"
)

var (
	seedsFlag   = flag.Int("seeds", 0, "number of seeds to run; 0: as many as fit a short time")
	firstFlag   = flag.Uint64("first", 1, "first seed")
	withoutFlag = flag.String("without", "", "classes of faults to leave out, separated by commas")
	clientsFlag = flag.Int("clients", 0, "most clients; 0: as the seed says")
	eventsFlag  = flag.Int("events", 0, "most events before the faults end; 0: as the seed says")
	traceFlag   = flag.Bool("trace", false, "print every step")
	findFlag    = flag.Bool("find", false, "print each seed that fails in one line, without shrinking it, and go on")
)

// Seeds run by default, and with -short: about 15 and 3 seconds on two busy cores.
const (
	seedsDefault = 300
	seedsShort   = 60
)

// injectionsMin is how often each class must have struck in 60 seeds.
const injectionsMin = 20

// summary is what the runs of many seeds add up to.
type summary struct {
	began   time.Time
	seeds   int
	failed  int
	total   Result
	largest int
}

func (s *summary) add(r *Result) {
	s.seeds++
	s.total.Events += r.Events
	s.total.Virtual += r.Virtual
	s.total.Leaders += r.Leaders
	s.total.Entries += r.Entries
	s.total.Acked += r.Acked
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
	for seed := *firstFlag; seed < *firstFlag+uint64(count); seed++ {
		o := chosen(t, seed)
		r := Run(o)
		s.add(&r)
		switch {
		case r.Err == nil:
		case *findFlag:
			t.Errorf("FAILS %d: %.300s", seed, strings.ReplaceAll(r.Err.Error(), "\n", " "))
		default:
			t.Errorf("seed %d: %v\nagain: %s", seed, r.Err, o.Command())
			small, why := Shrink(o)
			t.Fatalf("smaller: %s -trace\n%v", small.Command(), why.Err)
		}
		if time.Since(shown) > 5*time.Second {
			shown = time.Now()
			t.Log(&s)
		}
	}
	t.Log(&s)
	t.Log("injected:" + s.injections())
	if s.failed > 0 || s.seeds < seedsShort || *withoutFlag != "" || *eventsFlag > 0 {
		return
	}
	for c := range ClassEnd {
		if want := injectionsMin * s.seeds / 60 / 2; s.total.Injected[c] < want {
			t.Errorf("%v struck %d times in %d seeds, want at least %d: the runs exercise too little", c, s.total.Injected[c], s.seeds, want)
		}
	}
	if s.total.Leaders < 2*s.seeds || s.total.Acked < 50*s.seeds {
		t.Errorf("%d leaderships and %d entries in %d seeds: the runs exercise too little", s.total.Leaders, s.total.Acked, s.seeds)
	}
}
