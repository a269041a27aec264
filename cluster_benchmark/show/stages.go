package show

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/millrace/millrace/cluster_benchmark/result"
)

// stageFigures are the rows of each scenario in the table of stages. Means add up, as percentiles don't.
var stageFigures = []struct {
	title string
	of    func(result.Latency) float64
}{
	{"mean", func(l result.Latency) float64 { return l.Mean }},
	{"p99", func(l result.Latency) float64 { return l.P99 }},
}

// stages prints where the time of puts went, for the scenarios whose target told; nothing where none did.
func stages(w io.Writer, groups []result.Group, differ []column) {
	sum, parts := result.StageNames()
	t := newTable(w)
	header := table.Row{"stages"}
	for _, c := range differ {
		header = append(header, c.title)
	}
	header = append(header, "")
	for i, name := range sum {
		if i > 0 {
			name = "+ " + name
		}
		header = append(header, name)
	}
	for _, name := range parts {
		header = append(header, name)
	}
	t.AppendHeader(header)
	told := false
	for i := range groups {
		g := &groups[i]
		s := g.Summary()
		if len(s.Stages) == 0 {
			continue
		}
		told = true
		for _, f := range stageFigures {
			row := table.Row{g.Key.Target}
			for _, c := range differ {
				row = append(row, c.of(&g.Key))
			}
			row = append(row, f.title)
			for _, names := range [][]string{sum, parts} {
				for _, name := range names {
					cell := "-"
					if l, ok := s.Stages[name]; ok {
						cell = latency(f.of(l))
					}
					row = append(row, cell)
				}
			}
			t.AppendRow(row)
		}
	}
	if !told {
		return
	}
	align(t, len(header))
	t.Render()
	are := "are the latency"
	if slices.ContainsFunc(groups, func(g result.Group) bool { return nodesAt(&g.Key) != "" }) {
		are = "are the latency, without the way between client and leader where they are not one process"
	}
	fmt.Fprintf(w, "Of some puts, chosen by chance: %s %s; %s lie within quorum.\n\n",
		strings.Join(sum, " + "), are, strings.Join(parts, ", "))
}
