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
		{result.Event{Kind: "snapshot", At: 5, Took: 500, Bytes: 192 << 20}, "    at 5.0 s: every node took a snapshot, 192 MiB in all, in 500 ms\n"},
		{result.Event{Kind: "slow-follower", At: 5, Took: 500, Node: 3, Held: 1, Behind: 1}, "    at 5.0 s: the disk of node 3 was slow for 500 ms: 1 sync answered late, up to 1 entry behind the leader\n"},
		{result.Event{Kind: "slow-follower", At: 5, Took: 500, Node: 3, Held: 99, Behind: 12_345, Recovery: 7},
			"    at 5.0 s: the disk of node 3 was slow for 500 ms: 99 syncs answered late, up to 12,345 entries behind the leader; it had caught up 7.00 ms later\n"},
		{result.Event{Kind: "leader-kill", At: 5, Took: 500, Node: 1, Recovery: 1432}, "    at 5.0 s: node 1, the leader, was killed; the next put was acknowledged 1.43 s later\n"},
		{result.Event{Kind: "leader-kill", At: 5, Took: 500, Node: 1, Recovery: 1432, Rejoined: 321},
			"    at 5.0 s: node 1, the leader, was killed; the next put was acknowledged 1.43 s later; restarted, it had applied all within 321 ms\n"},
	} {
		r := sample("millrace", 256, 1000)
		r.Event, r.Events = c.event.Kind, []result.Event{c.event}
		r.Series = []result.Interval{{End: 5, Ops: 5000, P99: 100}, {End: 6, Ops: 10, P99: 2000}}
		var out bytes.Buffer
		Table(&out, []result.Result{r})
		for _, want := range []string{c.want, "    meanwhile 10 put/s at a p99 of 2.00 ms, otherwise 1,000 put/s at 100 µs\n", ", event " + c.event.Kind} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("no %q in\n%s", want, out.String())
			}
		}
	}
}
