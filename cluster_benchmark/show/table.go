package show

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/setting"
)

// Table prints the results of one run, of which there is at least one: a row per scenario and target.
func Table(w io.Writer, results []result.Result) {
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
	header = append(header, "put/s", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max")
	open := openLoop(groups)
	if open {
		header = append(header, "late p99")
	}
	header = append(header, "entries/frame", "syncs/s", "cpu cores")
	for _, c := range ceilings {
		header = append(header, "of "+strings.TrimPrefix(c, "ceiling-"))
	}
	t.AppendHeader(header)
	for i := range groups {
		t.AppendRow(tableRow(&groups[i], differ, open, ceilings))
	}
	align(t, len(header))
	t.Render()
	fmt.Fprintln(w)
	reads(w, groups, differ)
	stages(w, groups, differ)
	notes(w, results)
}

// openLoop reports whether anything was measured at a given rate.
func openLoop(groups []result.Group) bool {
	return slices.ContainsFunc(groups, func(g result.Group) bool { return g.Key.Rate > 0 })
}

func tableRow(g *result.Group, differ []column, open bool, ceilings []string) table.Row {
	s := g.Summary()
	row := table.Row{g.Key.Target}
	for _, c := range differ {
		row = append(row, c.of(&g.Key))
	}
	l := s.Latency
	row = append(row, count(s.PutPerS), latency(l.Mean), latency(l.P50), latency(l.P90), latency(l.P99),
		latency(l.P999), latency(l.P9999), latency(l.Max))
	if open {
		row = append(row, late(g))
	}
	row = append(row, significant(s.EntriesPerFrame), count(s.SyncsPerS), significant(s.Cores))
	for _, c := range ceilings {
		row = append(row, part(s.Ratios, c))
	}
	return row
}

// late returns how late the puts of an open loop were issued, the median over the rounds; "" in a closed one.
func late(g *result.Group) string {
	var values []float64
	for i := range g.Rounds {
		if gen := g.Rounds[i].Generator; gen != nil {
			values = append(values, gen.Late99)
		}
	}
	if len(values) == 0 {
		return ""
	}
	return latency(result.Median(values))
}

// part returns a target's part of a ceiling, "" where it was not measured.
func part(ratios map[string]float64, ceiling string) string {
	if v, ok := ratios[ceiling]; ok {
		return significant(v)
	}
	return ""
}

// measuredCeilings lists the ceilings that anything is compared with, in the usual order.
func measuredCeilings(results []result.Result) []string {
	var list []string
	for _, c := range setting.Targets() {
		for i := range results {
			if _, ok := results[i].Ratios[c.Name]; ok {
				list = append(list, c.Name)
				break
			}
		}
	}
	return list
}

func newTable(w io.Writer) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	style := t.Style()
	style.Format.Header = text.FormatDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Options.SeparateHeader = true
	return t
}

// align puts every column but the first to the right.
func align(t table.Writer, columns int) {
	configs := make([]table.ColumnConfig, 0, columns)
	for i := 2; i <= columns; i++ {
		configs = append(configs, table.ColumnConfig{Number: i, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(configs)
}
