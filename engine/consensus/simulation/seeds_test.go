package simulation

import (
	"flag"
	"fmt"
	"slices"
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
)

func TestOne(t *testing.T) {
	start := time.Now()
	events := 0
	var inj [ClassEnd]int
	n := max(*seedsFlag, 20)
	for seed := *firstFlag; seed < *firstFlag+uint64(n); seed++ {
		o := Options{Seed: seed, ClientsMax: *clientsFlag, EventsMax: *eventsFlag}
		for name := range strings.SplitSeq(*withoutFlag, ",") {
			if c, err := ParseClass(name); err == nil {
				o.Without = append(o.Without, c)
			}
		}
		if *traceFlag {
			o.Trace = func(l string) { fmt.Println(l) }
		}
		r := Run(o)
		events += r.Events
		for c := range ClassEnd {
			inj[c] += r.Injected[c]
		}
		if r.Err != nil {
			t.Errorf("seed %d: %v", seed, r.Err)
		} else if n <= 20 {
			t.Logf("seed %d: %+v", seed, r)
		}
	}
	t.Logf("%d events, %.0f/s, %v %v", events, float64(events)/time.Since(start).Seconds(), inj, slices.Max(inj[:]))
}
