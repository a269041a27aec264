package show

import (
	"fmt"
	"io"
	"slices"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/millrace/millrace/cluster_benchmark/result"
)

// reads prints what was read beside the puts, nothing where nothing was.
func reads(w io.Writer, groups []result.Group, differ []column) {
	if !slices.ContainsFunc(groups, func(g result.Group) bool { return g.Summary().Reads != nil }) {
		return
	}
	t := newTable(w)
	header := table.Row{"reads"}
	for _, c := range differ {
		header = append(header, c.title)
	}
	header = append(header, "read/s", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max")
	t.AppendHeader(header)
	for i := range groups {
		g := &groups[i]
		s := g.Summary().Reads
		if s == nil {
			continue
		}
		row := table.Row{g.Key.Target}
		for _, c := range differ {
			row = append(row, c.of(&g.Key))
		}
		l := s.Latency
		t.AppendRow(append(row, count(s.PerS), latency(l.Mean), latency(l.P50), latency(l.P90), latency(l.P99), latency(l.P999),
			latency(l.P9999), latency(l.Max)))
	}
	align(t, len(header))
	t.Render()
	fmt.Fprintln(w)
}
