package show

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/setting"
)

// Absences is what a comparison has no result of, a line each with the reason.
type Absences struct {
	LeftOut []string // not there, or not able to
	Failed  []string
}

// Peers prints a comparison between libraries: a row per scenario and target, medians over the rounds, and the part of
// the engine's and the ceilings' puts. There is at least one result.
func Peers(w io.Writer, results []result.Result, absent Absences) {
	groups := result.Groups(results)
	same, differ := conditions(groups)
	first := &results[0]
	fmt.Fprintf(w, "%s: %s\n%s\n\n", first.Profile, strings.Join(same, ", "), describe(first))

	ceilings := measuredCeilings(results)
	t := newTable(w)
	header := table.Row{"target"}
	for _, c := range differ {
		header = append(header, c.title)
	}
	header = append(header, "put/s", "spread", "p50", "p99", "p99.9", "cpu/put", "of millrace")
	for _, c := range ceilings {
		header = append(header, "of "+strings.TrimPrefix(c, "ceiling-"))
	}
	t.AppendHeader(header)
	for i := range groups {
		t.AppendRow(peersRow(&groups[i], groups, differ, ceilings))
	}
	align(t, len(header))
	t.Render()
	fmt.Fprintln(w)
	libraries(w, groups)
	Absent(w, absent)
	notes(w, results)
}

// Absent says what there is no result of.
func Absent(w io.Writer, absent Absences) {
	list(w, "left out", absent.LeftOut)
	list(w, "failed", absent.Failed)
}

func peersRow(g *result.Group, all []result.Group, differ []column, ceilings []string) table.Row {
	s := g.Summary()
	row := table.Row{g.Key.Target}
	for _, c := range differ {
		row = append(row, c.of(&g.Key))
	}
	l := s.Latency
	row = append(row, count(s.PutPerS), spread(g), latency(l.P50), latency(l.P99), latency(l.P999), cpuPerPut(g), ofEngine(g, all))
	for _, c := range ceilings {
		row = append(row, part(s.Ratios, c))
	}
	return row
}

// spread says how far apart the rounds' puts per second are, as a part of their median; "" with one round.
func spread(g *result.Group) string {
	var puts []float64
	for i := range g.Rounds {
		puts = append(puts, g.Rounds[i].PutPerS)
	}
	if len(puts) < 2 {
		return ""
	}
	between := slices.Max(puts) - slices.Min(puts)
	median := result.Median(puts)
	if median == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f %%", 100*between/median)
}

// cpuPerPut returns the processor time of a put, clients and all nodes together.
func cpuPerPut(g *result.Group) string {
	var times []float64
	for i := range g.Rounds {
		if r := &g.Rounds[i]; r.PutPerS > 0 {
			times = append(times, r.Cores()/r.PutPerS*1e6)
		}
	}
	if len(times) == 0 {
		return ""
	}
	return latency(result.Median(times))
}

// ofEngine returns the median over the rounds of a target's part of the engine's puts in the same scenario and round.
func ofEngine(g *result.Group, all []result.Group) string {
	if setting.IsCeiling(g.Key.Target) {
		return ""
	}
	var parts []float64
	for i := range g.Rounds {
		r := &g.Rounds[i]
		for j := range all {
			for k := range all[j].Rounds {
				e := &all[j].Rounds[k]
				if e.Target == setting.Millrace && e.Round == r.Round && e.PutPerS > 0 && sameScenario(e.Key, r.Key) {
					parts = append(parts, r.PutPerS/e.PutPerS)
				}
			}
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return significant(result.Median(parts))
}

// sameScenario reports whether two results differ at most in what was measured, not in how.
func sameScenario(a, b result.Key) bool {
	a.Target, a.WALBackend = b.Target, b.WALBackend
	return a == b
}

// libraries says what each library is and how it is set up.
func libraries(w io.Writer, groups []result.Group) {
	var told []string
	for i := range groups {
		r := &groups[i].Rounds[0]
		if r.Library == "" || slices.Contains(told, r.Target) {
			continue
		}
		told = append(told, r.Target)
		fmt.Fprintf(w, "%s: %s", r.Target, r.Library)
		if r.Configuration != "" {
			fmt.Fprintf(w, "; %s", r.Configuration)
		}
		fmt.Fprintln(w)
	}
}

// list prints lines with their number, if there are any.
func list(w io.Writer, what string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(w, "%d %s:\n", len(lines), what)
	for _, line := range lines {
		fmt.Fprintf(w, "    %s\n", line)
	}
}
