package show

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/verdict"
)

// Compare prints the scenarios that all sources share, each figure side by side with its ratio to the first source's and
// whether that is more than noise, the curves of latency, and names those that are missing somewhere. The sources are
// files, or with within the targets of one.
func Compare(w io.Writer, sources []verdict.Source, within bool) error {
	identity := verdict.Same
	if within {
		identity = verdict.AnyTarget
	}
	all, some := verdict.Share(sources, identity)
	introduce(w, sources, within)
	judged := 0
	for i := range all {
		judged += block(w, &all[i], within)
	}
	missing(w, some, within)
	if len(all) == 0 {
		return ErrNothingShared
	}
	explain(w, judged)
	return nil
}

// introduce says what the letters stand for, and what is not the same for all of them.
func introduce(w io.Writer, sources []verdict.Source, within bool) {
	for i, s := range sources {
		first := &s.Results[0]
		fmt.Fprintf(w, "%c  %s\n", Letter(i), s.Name)
		switch {
		case !within:
			fmt.Fprintf(w, "   %s, %s\n", first.Started.Format("2006-01-02 15:04"), describe(first))
		case first.Library != "":
			fmt.Fprintf(w, "   %s\n", first.Library)
		}
	}
	if within {
		fmt.Fprintf(w, "%s\n", describe(&sources[0].Results[0]))
	}
	for i := 1; i < len(sources); i++ {
		for _, c := range circumstances {
			c.differs(w, i, sources[i].Results, sources[0].Results)
		}
	}
}

// explain says how verdicts were reached, if any were.
func explain(w io.Writer, judged int) {
	if judged == 0 {
		return
	}
	fmt.Fprintf(w, "\nnoise: the rounds differ among themselves by as much (Mann-Whitney U test over the rounds, p of at least 0.05).\n")
	if chance := judged / 20; chance > 0 {
		fmt.Fprintf(w, "%d figures were judged, each by itself: without any real difference about %d would look like one.\n", judged, chance)
	}
}

// Letter returns what a source is called in a comparison.
func Letter(i int) rune { return rune('A' + i) }

// scenario says what was measured on what or, with several targets, how.
func scenario(k *result.Key, within bool) string {
	var words []string
	if !within {
		words = append(words, k.Target)
	}
	for _, c := range columns() {
		if v := c.of(k); v != "" {
			words = append(words, c.words(v))
		}
	}
	return strings.Join(words, ", ")
}

// block prints one scenario and returns how many figures were judged.
func block(w io.Writer, c *verdict.Case, within bool) (judged int) {
	groups := c.Groups
	fmt.Fprintf(w, "\n%s\n", scenario(&groups[0].Key, within))
	t := newTable(w)
	header, rounds := table.Row{"", "A", "spread"}, table.Row{"rounds", len(groups[0].Rounds), ""}
	told := slices.IndexFunc(groups[1:], func(g result.Group) bool { return enough(&groups[0], &g) }) >= 0
	for i := range groups[1:] {
		header = append(header, fmt.Sprintf("%c", Letter(i+1)), "spread", fmt.Sprintf("%c / A", Letter(i+1)))
		rounds = append(rounds, len(groups[i+1].Rounds), "", "")
		if told {
			header, rounds = append(header, "verdict"), append(rounds, "")
		}
	}
	t.AppendHeader(header)
	for _, f := range verdict.Figures() {
		if !measured(&f, groups) {
			continue
		}
		row, n := figureRow(&f, groups, told)
		t.AppendRow(row)
		judged += n
	}
	t.AppendRow(rounds)
	align(t, len(header))
	t.Render()
	remarks(w, groups)
	curves(w, groups)
	return judged
}

// enough reports whether a verdict on two groups is possible.
func enough(a, b *result.Group) bool { return min(len(a.Rounds), len(b.Rounds)) >= verdict.RoundsMin }

// measured reports whether any round has a figure, which syncs of a log in memory are not.
func measured(f *verdict.Figure, groups []result.Group) bool {
	return slices.ContainsFunc(groups, func(g result.Group) bool { return slices.Max(f.Rounds(&g)) > 0 })
}

// figureRow returns one figure of all groups, and how many verdicts stand in it.
func figureRow(f *verdict.Figure, groups []result.Group, told bool) (row table.Row, judged int) {
	base := f.Rounds(&groups[0])
	first := verdict.Judge(base, base).Old
	row = table.Row{f.Name, figureText(f.Unit, first.Median), spreadText(first)}
	for i := range groups[1:] {
		v := verdict.Judge(base, f.Rounds(&groups[i+1]))
		by := ""
		if v.Old.Median > 0 {
			by = times(v.Ratio())
		}
		row = append(row, figureText(f.Unit, v.New.Median), spreadText(v.New), by)
		if !told {
			continue
		}
		word := f.Say(v.Word)
		if word != "" {
			judged++
			word += fmt.Sprintf(" p=%.3f", v.P)
		}
		row = append(row, word)
	}
	return row, judged
}

func figureText(u verdict.Unit, v float64) string {
	switch u {
	case verdict.PerSecond:
		return count(v)
	case verdict.Microseconds:
		return latency(v)
	}
	return significant(v)
}

// spreadText says how far apart the rounds are, "" with one.
func spreadText(s verdict.Side) string {
	if s.Rounds < 2 || s.Median == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f %%", 100*s.Spread())
}

// remarks says what must be known beside the figures of one scenario.
func remarks(w io.Writer, groups []result.Group) {
	var few []string
	for i := range groups {
		if i > 0 && !enough(&groups[0], &groups[i]) {
			few = append(few, fmt.Sprintf("%c %d", Letter(i), len(groups[i].Rounds)))
		}
	}
	if len(few) > 0 {
		fmt.Fprintf(w, "Too few rounds to tell a difference from noise: A %d, %s, want at least %d each.\n",
			len(groups[0].Rounds), strings.Join(few, ", "), verdict.RoundsMin)
	}
	for i := range groups {
		if problem := firstProblem(groups[i].Rounds); problem != "" {
			fmt.Fprintf(w, "%c can't be used: %s.\n", Letter(i), problem)
		}
		if n := interrupted(groups[i].Rounds); n > 0 {
			fmt.Fprintf(w, "%c: %d of %s ended before their time.\n", Letter(i), n, plural(uint64(len(groups[i].Rounds)), "round"))
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
		fmt.Fprintf(w, "%c differs in %s: %s, A %s.\n", Letter(source), c.title, b, a)
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
func missing(w io.Writer, some []verdict.Part, within bool) {
	for i := range some {
		var in []string
		for _, source := range some[i].In {
			in = append(in, string(Letter(source)))
		}
		fmt.Fprintf(w, "\nOnly in %s: %s\n", strings.Join(in, ", "), scenario(&some[i].Key, within))
	}
}

// Regressions says what a gate found, a line each.
func Regressions(worse []verdict.Regression) []string {
	var lines []string
	for i := range worse {
		r := &worse[i]
		lines = append(lines, fmt.Sprintf("%c: %s, %s: %s %s, A %s (%+.1f %%, p=%.3f)", Letter(r.Source), r.Key.Target,
			scenario(&r.Key, true), r.Figure.Name, figureText(r.Figure.Unit, r.Verdict.New.Median),
			figureText(r.Figure.Unit, r.Verdict.Old.Median), r.Percent(), r.Verdict.P))
	}
	return lines
}

// Unjudged says which scenario a gate can't judge, and why.
func Unjudged(e *verdict.TooFewError) string {
	return fmt.Sprintf("%s, %s: %v", e.Key.Target, scenario(&e.Key, true), e)
}
