package show

import (
	"bytes"
	"strings"
	"testing"

	"github.com/millrace/millrace/cluster_benchmark/result"
)

// TestEventsAreTold: what was done, what it cost, and what was answered meanwhile.
func TestEventsAreTold(t *testing.T) {
	for _, c := range []struct {
		event result.Event
		want  string
	}{
		{result.Event{Kind: "snapshot", At: 5, Took: 500, Bytes: 192 << 20}, "every node took a snapshot, 192 MiB in all, in 500 ms"},
		{result.Event{Kind: "learner", At: 5, Took: 900, Recovery: 900, Installed: 700, Node: 4, Bytes: 64 << 20},
			"node 4 joined as a learner; it was sent a snapshot of 64 MiB, which was its state after 700 ms, and had caught up after 900 ms"},
		{result.Event{Kind: "learner", At: 5, Took: 900, Node: 4}, "node 4 joined as a learner; it had not caught up when the measured time was over"},
		{result.Event{Kind: "slow-follower", At: 5, Took: 500, Node: 3, Held: 1, Behind: 1},
			"the disk of node 3 was slow for 500 ms: 1 sync answered late, up to 1 entry behind the leader; it had not caught up when the measured time was over"},
		{result.Event{Kind: "slow-follower", At: 5, Took: 500, Node: 3, Held: 99, Behind: 12_345, Recovery: 7},
			"the disk of node 3 was slow for 500 ms: 99 syncs answered late, up to 12,345 entries behind the leader; it had caught up 7.00 ms later"},
		{result.Event{Kind: "leader-kill", At: 5, Node: 1}, "node 1, the leader, was killed; no put was acknowledged any more in the measured time"},
		{result.Event{Kind: "leader-kill", At: 5, Took: 500, Node: 1, Recovery: 1432},
			"node 1, the leader, was killed; the next put was acknowledged 1.43 s later; started again, it had not applied all when the measured time was over"},
		{result.Event{Kind: "leader-kill", At: 5, Took: 500, Node: 1, Recovery: 1432, Rejoined: 321},
			"node 1, the leader, was killed; the next put was acknowledged 1.43 s later; started again, it had applied all after 321 ms"},
	} {
		r := sample("millrace", 256, 1000)
		r.Event, r.Events = c.event.Kind, []result.Event{c.event}
		e := &r.Events[0]
		e.Before, e.During, e.After = &result.Stretch{PutPerS: 1000, P99: 100}, &result.Stretch{}, &result.Stretch{PutPerS: 900, P99: 2000}
		var out bytes.Buffer
		Table(&out, []result.Result{r})
		for _, want := range []string{
			"    at 5.0 s: " + c.want + "\n        put/s: 1,000 before (p99 100 µs), 0 meanwhile, 900 after (p99 2.00 ms)\n",
			", event " + c.event.Kind,
		} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("no %q in\n%s", want, out.String())
			}
		}
		if strings.Contains(out.String(), "medians,") {
			t.Errorf("medians of one round in\n%s", out.String())
		}
	}
}

// TestUnknownFatesAreProvenToo: what a killed leader had taken is said to be there everywhere or nowhere.
func TestUnknownFatesAreProvenToo(t *testing.T) {
	r := sample("millrace", 256, 1000)
	r.Safety.Unknown = 83
	var out bytes.Buffer
	Table(&out, []result.Result{r, sample("millrace", 64, 1000)})
	if want := "\n        83 puts whose answer was lost: each applied once on every node, or on none.\n"; !strings.Contains(out.String(), want) {
		t.Errorf("no %q in\n%s", want, out.String())
	}
}

// TestEventsOfSeveralRounds: a line each, and one with the medians.
func TestEventsOfSeveralRounds(t *testing.T) {
	var results []result.Result
	for i, recovery := range []float64{1500, 1100, 1200, 0} {
		r := sample("millrace", 256, 1000)
		r.Round, r.Event = i+1, "leader-kill"
		r.Events = []result.Event{{Kind: "leader-kill", At: 5, Node: 1, Recovery: recovery, Before: &result.Stretch{PutPerS: 1000 + recovery, P99: 100}}}
		results = append(results, r)
	}
	var out bytes.Buffer
	Table(&out, append(results, sample("millrace", 256, 1000)))
	for _, want := range []string{
		"    round 2, at 5.0 s: node 1, the leader, was killed; the next put was acknowledged 1.10 s later",
		"    round 4, at 5.0 s: node 1, the leader, was killed; no put was",
		"    medians, leader-kill: recovery 1.20 s (1.10 s to 1.50 s); put/s 2,150 before (p99 100 µs)\n",
	} {
		if strings.Count(out.String(), want) != 1 {
			t.Errorf("not one %q in\n%s", want, out.String())
		}
	}
}
