package show

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/setting"
)

// events says what was done to clusters, and what it cost: with several rounds each in a line, and the medians.
func events(w io.Writer, results []result.Result) {
	for _, g := range result.Groups(results) {
		kinds := result.Kinds(g.Rounds)
		if len(kinds) == 0 {
			continue
		}
		fmt.Fprintf(w, "%s:\n", scenarioOf(&g.Rounds[0]))
		for i := range g.Rounds {
			round := ""
			if len(g.Rounds) > 1 {
				round = fmt.Sprintf("round %d, ", g.Rounds[i].Round)
			}
			for j := range g.Rounds[i].Events {
				e := &g.Rounds[i].Events[j]
				fmt.Fprintf(w, "    %sat %.1f s: %s\n", round, e.At, Event(e))
				if text := Stretches(e); text != "" && round == "" {
					fmt.Fprintf(w, "        put/s: %s\n", text)
				}
			}
		}
		for _, kind := range kinds {
			if len(g.Rounds) > 1 {
				fmt.Fprintf(w, "    medians, %s: %s\n", kind, medians(g.Rounds, kind))
			}
		}
	}
}

// milliseconds shows some.
func milliseconds(v float64) string { return latency(1e3 * v) }

// Event says what was done to a cluster, and what became of it.
func Event(e *result.Event) string {
	switch e.Kind {
	case setting.EventSnapshot:
		return fmt.Sprintf("every node took a snapshot, %d MiB in all, in %s", e.Bytes>>20, milliseconds(e.Took))
	case result.Learner:
		text := fmt.Sprintf("node %d joined as a learner", e.Node)
		if e.Installed > 0 {
			text += fmt.Sprintf("; it was sent a snapshot of %d MiB, which was its state after %s", e.Bytes>>20, milliseconds(e.Installed))
		}
		if e.Recovery > 0 {
			return text + ", and had caught up after " + milliseconds(e.Recovery)
		}
		return text + "; it had not caught up when the measured time was over"
	case setting.EventSlowFollower:
		text := fmt.Sprintf("the disk of node %d was slow for %s: %s answered late, up to %s behind the leader", e.Node,
			milliseconds(e.Took), plural(e.Held, "sync"), entries(e.Behind))
		if e.Recovery > 0 {
			return text + "; it had caught up " + milliseconds(e.Recovery) + " later"
		}
		return text + "; it had not caught up when the measured time was over"
	case setting.EventLeaderKill:
		text := fmt.Sprintf("node %d, the leader, was killed; ", e.Node)
		if e.Recovery == 0 {
			return text + "no put was acknowledged any more in the measured time"
		}
		text += fmt.Sprintf("the next put was acknowledged %s later", milliseconds(e.Recovery))
		if e.Rejoined > 0 {
			return text + "; started again, it had applied all after " + milliseconds(e.Rejoined)
		}
		return text + "; started again, it had not applied all when the measured time was over"
	}
	return e.Kind
}

// Stretches says what was answered before, during and after an event, "" where the series does not tell.
func Stretches(e *result.Event) string {
	var words []string
	for _, s := range []struct {
		of   *result.Stretch
		when string
	}{{e.Before, "before"}, {e.During, "meanwhile"}, {e.After, "after"}} {
		switch {
		case s.of == nil:
		case s.of.P99 == 0:
			words = append(words, "0 "+s.when)
		default:
			words = append(words, fmt.Sprintf("%s %s (p99 %s)", count(s.of.PutPerS), s.when, latency(s.of.P99)))
		}
	}
	return strings.Join(words, ", ")
}

// medians says what events of a kind cost, over all rounds.
func medians(rounds []result.Result, kind string) string {
	var recoveries []float64
	var stretches [3][2][]float64 // before, during, after: put/s, p99
	for i := range rounds {
		for _, e := range rounds[i].Events {
			if e.Kind != kind {
				continue
			}
			if e.Recovery > 0 {
				recoveries = append(recoveries, e.Recovery)
			}
			for j, s := range []*result.Stretch{e.Before, e.During, e.After} {
				if s != nil {
					stretches[j][0], stretches[j][1] = append(stretches[j][0], s.PutPerS), append(stretches[j][1], s.P99)
				}
			}
		}
	}
	var parts []string
	if len(recoveries) > 0 {
		parts = append(parts, fmt.Sprintf("recovery %s (%s to %s)", milliseconds(result.Median(recoveries)),
			milliseconds(slices.Min(recoveries)), milliseconds(slices.Max(recoveries))))
	}
	var typical result.Event
	for j, s := range []**result.Stretch{&typical.Before, &typical.During, &typical.After} {
		if len(stretches[j][0]) > 0 {
			*s = &result.Stretch{PutPerS: result.Median(stretches[j][0]), P99: result.Median(stretches[j][1])}
		}
	}
	if text := Stretches(&typical); text != "" {
		parts = append(parts, "put/s "+text)
	}
	return strings.Join(parts, "; ")
}

func entries(n uint64) string {
	if n == 1 {
		return "1 entry"
	}
	return count(float64(n)) + " entries"
}
