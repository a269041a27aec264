package show

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/millrace/millrace/cluster_benchmark/result"
)

// Source is a result file that was read; it holds at least one result.
type Source struct {
	Name    string
	Results []result.Result
}

// figures are the rows of a comparison.
var figures = []struct {
	title string
	of    func(*result.Summary) float64
	text  func(float64) string
}{
	{"put/s", func(s *result.Summary) float64 { return s.PutPerS }, count},
	{"mean", func(s *result.Summary) float64 { return s.Latency.Mean }, latency},
	{"p50", func(s *result.Summary) float64 { return s.Latency.P50 }, latency},
	{"p90", func(s *result.Summary) float64 { return s.Latency.P90 }, latency},
	{"p99", func(s *result.Summary) float64 { return s.Latency.P99 }, latency},
	{"p99.9", func(s *result.Summary) float64 { return s.Latency.P999 }, latency},
	{"p99.99", func(s *result.Summary) float64 { return s.Latency.P9999 }, latency},
	{"max", func(s *result.Summary) float64 { return s.Latency.Max }, latency},
	{"entries/frame", func(s *result.Summary) float64 { return s.EntriesPerFrame }, significant},
	{"syncs/s", func(s *result.Summary) float64 { return s.SyncsPerS }, count},
	{"cpu cores", func(s *result.Summary) float64 { return s.Cores }, significant},
}

// Compare prints the scenarios that all sources share, each figure side by side with its ratio to the first source's,
// and names those that are missing somewhere.
func Compare(w io.Writer, sources []Source) error {
	var groups [][]result.Group
	for i, s := range sources {
		fmt.Fprintf(w, "%c  %s\n   %s, %s\n", letter(i), s.Name, s.Results[0].Started.Format("2006-01-02 15:04"), describe(&s.Results[0]))
		groups = append(groups, result.Groups(s.Results))
	}
	for i := 1; i < len(sources); i++ {
		for _, c := range circumstances {
			c.differs(w, i, sources[i].Results, sources[0].Results)
		}
	}
	shared := 0
	for _, first := range groups[0] {
		matching := []result.Group{first}
		for _, other := range groups[1:] {
			if i := slices.IndexFunc(other, func(g result.Group) bool { return g.Key == first.Key }); i >= 0 {
				matching = append(matching, other[i])
			}
		}
		if len(matching) == len(sources) {
			shared++
			block(w, matching)
		}
	}
	missing(w, groups)
	if shared == 0 {
		return ErrNothingShared
	}
	return nil
}

func letter(i int) rune { return rune('A' + i) }

func scenario(k *result.Key) string {
	words := []string{k.Target}
	for _, c := range columns() {
		words = append(words, c.words(c.of(k)))
	}
	return strings.Join(words, ", ")
}

// block prints one scenario.
func block(w io.Writer, groups []result.Group) {
	fmt.Fprintf(w, "\n%s\n", scenario(&groups[0].Key))
	t := newTable(w)
	header, summaries := table.Row{""}, []result.Summary{}
	for i := range groups {
		header = append(header, fmt.Sprintf("%c", letter(i)))
		summaries = append(summaries, groups[i].Summary())
	}
	for i := 1; i < len(groups); i++ {
		header = append(header, fmt.Sprintf("%c / A", letter(i)))
	}
	t.AppendHeader(header)
	for _, f := range figures {
		row := table.Row{f.title}
		base := f.of(&summaries[0])
		for i := range summaries {
			row = append(row, f.text(f.of(&summaries[i])))
		}
		for i := 1; i < len(summaries); i++ {
			cell := ""
			if base > 0 {
				cell = times(f.of(&summaries[i]) / base)
			}
			row = append(row, cell)
		}
		t.AppendRow(row)
	}
	rounds := table.Row{"rounds"}
	for i := range groups {
		rounds = append(rounds, len(groups[i].Rounds))
	}
	t.AppendRow(rounds)
	align(t, len(header))
	t.Render()
	for i := range summaries {
		if !summaries[i].OK {
			fmt.Fprintf(w, "%c can't be used: %s.\n", letter(i), firstProblem(groups[i].Rounds))
		}
		if n := interrupted(groups[i].Rounds); n > 0 {
			fmt.Fprintf(w, "%c: %d of %s ended before their time.\n", letter(i), n, plural(uint64(len(groups[i].Rounds)), "round"))
		}
	}
	for i := 1; i < len(groups); i++ {
		measuredTime.differs(w, i, groups[i].Rounds, groups[0].Rounds)
	}
}

func firstProblem(rounds []result.Result) string {
	for i := range rounds {
		if problem := Problem(&rounds[i]); problem != "" {
			return problem
		}
	}
	return ""
}

func interrupted(rounds []result.Result) int {
	n := 0
	for i := range rounds {
		if rounds[i].Interrupted {
			n++
		}
	}
	return n
}

// circumstance is something that a scenario does not name and that figures depend on.
type circumstance struct {
	title string
	of    func(*result.Result) string
}

// circumstances are those of a whole run, measuredTime that of a scenario.
var circumstances = []circumstance{
	{"GOGC", func(r *result.Result) string { return strconv.Itoa(r.GOGC) }},
	{"GOMAXPROCS", func(r *result.Result) string { return strconv.Itoa(r.GOMAXPROCS) }},
	{"Go", func(r *result.Result) string { return r.Go }},
	{"machine", func(r *result.Result) string {
		return fmt.Sprintf("%s, %.0f GiB", machine(&r.Machine), float64(r.Machine.Memory)/(1<<30))
	}},
}

var measuredTime = circumstance{"measured time", func(r *result.Result) string {
	if r.Interrupted {
		return "" // which is said anyway
	}
	return strconv.FormatFloat(r.Duration, 'g', 4, 64) + " s"
}}

// differs says so when it is not the same for some rounds of a source as for those of the first.
func (c *circumstance) differs(w io.Writer, source int, rounds, first []result.Result) {
	if a, b := c.values(first), c.values(rounds); a != b && a != "" && b != "" {
		fmt.Fprintf(w, "%c differs in %s: %s, A %s.\n", letter(source), c.title, b, a)
	}
}

// values lists what the rounds say, each once.
func (c *circumstance) values(rounds []result.Result) string {
	var list []string
	for i := range rounds {
		if v := c.of(&rounds[i]); v != "" && !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	return strings.Join(list, " and ")
}

// missing names the scenarios that are not in all sources.
func missing(w io.Writer, sources [][]result.Group) {
	var told []result.Key
	for _, groups := range sources {
		for i := range groups {
			key := groups[i].Key
			var in []string
			for j, others := range sources {
				if slices.ContainsFunc(others, func(g result.Group) bool { return g.Key == key }) {
					in = append(in, string(letter(j)))
				}
			}
			if len(in) < len(sources) && !slices.Contains(told, key) {
				told = append(told, key)
				fmt.Fprintf(w, "\nOnly in %s: %s\n", strings.Join(in, ", "), scenario(&key))
			}
		}
	}
}
