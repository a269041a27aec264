package show

import (
	"fmt"
	"io"

	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/setting"
)

// events says what was done to clusters, and what it cost.
func events(w io.Writer, results []result.Result) {
	for i := range results {
		r := &results[i]
		if len(r.Events) == 0 {
			continue
		}
		fmt.Fprintf(w, "%s:\n", where(r))
		for _, e := range r.Events {
			fmt.Fprintf(w, "    %s\n", eventText(e))
		}
		if during, other, ok := r.Beside(); ok {
			fmt.Fprintf(w, "    meanwhile %s put/s at a p99 of %s, otherwise %s put/s at %s\n", count(during.PutPerS), latency(during.P99),
				count(other.PutPerS), latency(other.P99))
		}
	}
}

func eventText(e result.Event) string {
	milliseconds := func(v float64) string { return latency(1e3 * v) }
	at := fmt.Sprintf("at %.1f s: ", e.At)
	switch e.Kind {
	case setting.EventSnapshot:
		return at + fmt.Sprintf("every node took a snapshot, %d MiB in all, in %s", e.Bytes>>20, milliseconds(e.Took))
	case setting.EventSlowFollower:
		text := at + fmt.Sprintf("the disk of node %d was slow for %s: %s answered late, up to %s behind the leader", e.Node,
			milliseconds(e.Took), plural(e.Held, "sync"), entries(e.Behind))
		if e.Recovery > 0 {
			text += "; it had caught up " + milliseconds(e.Recovery) + " later"
		}
		return text
	case setting.EventLeaderKill:
		text := at + fmt.Sprintf("node %d, the leader, was killed; the next put was acknowledged %s later", e.Node, milliseconds(e.Recovery))
		if e.Rejoined > 0 {
			text += "; restarted, it had applied all within " + milliseconds(e.Rejoined)
		}
		return text
	}
	return at + e.Kind
}

func entries(n uint64) string {
	if n == 1 {
		return "1 entry"
	}
	return count(float64(n)) + " entries"
}
