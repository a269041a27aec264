package report

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/show"
	"github.com/millrace/millrace/cluster_benchmark/verdict"
)

// page is what the template shows.
type page struct {
	Title, Subtitle          string
	Sources                  []source
	Ceilings, Sums, Parts    []string // columns; stages that add up, and those within quorum
	Runs                     []run
	Events                   []happened
	Staged, Rated            bool
	Problems                 []string
	Safe                     string
	Data                     data
	PlotCSS, CSS             template.CSS
	PlotJS, JS               template.JS
	AllRounds, HasCurves     bool
	SameSettings, FirstStart string
}

// source is a file, or what there is of it to say once.
type source struct {
	Letter, Name string
	Conditions   []result.Condition
	Libraries    []library
}

// library is another library and how it is set up.
type library struct{ Target, Version, Configuration string }

// run is a row: the rounds of a scenario on a target, from one file.
type run struct {
	ID                 int
	Name, Settings     string
	PutPerS, Spread    string
	Share              float64 // of the greatest put/s, in percent
	Latency            []string
	Rate, Late         string
	Cores, Frames      string
	Ceilings           []string
	Rounds             int
	Stages             []stage
	Parts              []string
	Total              string
	State, StateReason string // "safe", "no safety check" or what is wrong
}

// stage is a part of a put's latency.
type stage struct {
	Name, Mean, P99 string
	Share           float64 // of the sum of all stages, in percent
}

// data is what charts are drawn from. Latencies are microseconds.
type data struct {
	// Axis has 1/(1-q) of each percentile that curves have a value for.
	Axis []float64 `json:"axis"`
	Runs []drawn   `json:"runs"`
}

type drawn struct {
	Name  string     `json:"name"`
	Curve []*float64 `json:"curve"` // null beyond what so many puts can tell
	T     []float64  `json:"t"`
	Ops   []float64  `json:"ops"` // a second
	P50   []*float64 `json:"p50"`
	P99   []*float64 `json:"p99"`
	Max   []*float64 `json:"max"`
	// Events are from when to when something was done to the cluster.
	Events [][2]float64 `json:"events"`
}

// curveSteps is how many points a curve has between one nine and the next; nines, how many nines there are.
const (
	curveSteps = 20
	curveNines = 7
)

func newPage(sources []verdict.Source) *page {
	p := &page{}
	p.Sums, p.Parts = result.StageNames()
	var groups []result.Group
	var letters []string
	for i, s := range sources {
		letter := ""
		if len(sources) > 1 {
			letter = string(show.Letter(i))
		}
		p.Sources = append(p.Sources, source{letter, s.Name, conditions(s.Results), libraries(s.Results)})
		for _, g := range result.Groups(s.Results) {
			groups, letters = append(groups, g), append(letters, letter)
		}
		p.problems(letter, s.Results)
	}
	p.Ceilings = ceilings(groups)
	same, apart := show.Settings(groups)
	first := &sources[0].Results[0]
	p.Title, p.SameSettings = first.Profile, strings.Join(same, ", ")
	p.Subtitle = fmt.Sprintf("%s on %s, %d cores", strings.Join(targets(groups), ", "), first.Machine.CPU, first.Machine.Cores)
	p.FirstStart = first.Started.UTC().Format("2006-01-02 15:04 UTC")
	p.Data.Axis = axis()
	for i := range groups {
		p.add(&groups[i], letters[i], apart[i])
	}
	p.finish()
	return p
}

// add puts a group into the tables and charts.
func (p *page) add(g *result.Group, letter, apart string) {
	s := g.Summary()
	r := run{ID: len(p.Runs), Name: g.Key.Target, Settings: apart, Rounds: len(g.Rounds), Share: s.PutPerS}
	if letter != "" {
		r.Name = letter + " " + r.Name
	}
	r.PutPerS, r.Spread = show.Count(s.PutPerS), spread(g)
	l := s.Latency
	for _, v := range []float64{l.Mean, l.P50, l.P90, l.P99, l.P999, l.P9999, l.Max} {
		r.Latency = append(r.Latency, show.Microseconds(v))
	}
	r.Cores, r.Frames = show.Significant(s.Cores), show.Significant(s.EntriesPerFrame)
	for _, c := range p.Ceilings {
		text := ""
		if v, ok := s.Ratios[c]; ok {
			text = show.Significant(v)
		}
		r.Ceilings = append(r.Ceilings, text)
	}
	p.stages(&r, s.Stages)
	r.State, r.StateReason = state(g)
	p.happened(&r, g)
	p.Rated = p.Rated || g.Key.Rate > 0
	p.Runs = append(p.Runs, r)
	name := r.Name
	if apart != "" {
		name += ", " + apart
	}
	p.Data.Runs = append(p.Data.Runs, draw(name, g))
}

// stages fills in how long a put took in each.
func (p *page) stages(r *run, told map[string]result.Latency) {
	sum := 0.0
	for _, name := range p.Sums {
		sum += told[name].Mean
	}
	if sum == 0 {
		return
	}
	p.Staged, r.Total = true, show.Microseconds(sum)
	for _, name := range p.Sums {
		l := told[name]
		r.Stages = append(r.Stages, stage{name, show.Microseconds(l.Mean), show.Microseconds(l.P99), 100 * l.Mean / sum})
	}
	for _, name := range p.Parts {
		text := "–"
		if l, ok := told[name]; ok {
			text = show.Microseconds(l.Mean)
		}
		r.Parts = append(r.Parts, text)
	}
}

// finish fills in what needs all runs.
func (p *page) finish() {
	most := 0.0
	for i := range p.Runs {
		most = max(most, p.Runs[i].Share)
		p.AllRounds = p.AllRounds || p.Runs[i].Rounds > 1
	}
	for i := range p.Runs {
		if most > 0 {
			p.Runs[i].Share *= 100 / most
		}
	}
	for _, d := range p.Data.Runs {
		p.HasCurves = p.HasCurves || slices.ContainsFunc(d.Curve, func(v *float64) bool { return v != nil })
	}
}

// problems names what can't be used, and counts what was proven otherwise.
func (p *page) problems(letter string, results []result.Result) {
	var puts, checks uint64
	for i := range results {
		r := &results[i]
		if text := show.Problem(r); text != "" {
			p.Problems = append(p.Problems, strings.TrimSpace(letter+" "+text))
		}
		if r.Safety != nil && r.Safety.OK {
			checks, puts = checks+1, puts+r.Safety.Acknowledged
		}
	}
	if checks > 0 {
		if p.Safe != "" {
			p.Safe += " "
		}
		p.Safe += strings.TrimSpace(fmt.Sprintf("%s %s acknowledged puts, warm-up included: all applied, once, on every replica (checks made: %d).",
			letter, show.Count(float64(puts)), checks))
	}
}

// state says in a few words whether the figures of a group can be used.
func state(g *result.Group) (word, reason string) {
	checked := false
	for i := range g.Rounds {
		r := &g.Rounds[i]
		if text := show.Problem(r); text != "" {
			return "not usable", text
		}
		checked = checked || r.Safety != nil
	}
	if !checked {
		return "no replicas", "a ceiling, or a target that has nothing to check"
	}
	return "safe", ""
}

// spread returns how far apart the rounds are, as a part of their median, "" with one.
func spread(g *result.Group) string {
	if len(g.Rounds) < 2 {
		return ""
	}
	var values []float64
	for i := range g.Rounds {
		values = append(values, g.Rounds[i].PutPerS)
	}
	low, high, median := slices.Min(values), slices.Max(values), result.Median(values)
	if median == 0 {
		return ""
	}
	return fmt.Sprintf("±%.0f %%", 50*(high-low)/median)
}

// valuesMax is how many values of a condition are listed; a run that sweeps more has them in its rows.
const valuesMax = 8

// conditions returns what the results of a file were measured with, in which order first seen, with all values of each.
func conditions(results []result.Result) []result.Condition {
	var names []string
	values := map[string][]string{}
	for i := range results {
		for _, c := range results[i].Conditions() {
			if slices.Contains([]string{"round", "target", "started", "library", "configuration"}, c.Name) {
				continue
			}
			if !slices.Contains(names, c.Name) {
				names = append(names, c.Name)
			}
			if !slices.Contains(values[c.Name], c.Value) {
				values[c.Name] = append(values[c.Name], c.Value)
			}
		}
	}
	var all []result.Condition
	for _, name := range names {
		text := strings.Join(values[name], ", ")
		if n := len(values[name]); n > valuesMax {
			text = fmt.Sprintf("%s, and %d more", strings.Join(values[name][:valuesMax], ", "), n-valuesMax)
		}
		all = append(all, result.Condition{Name: name, Value: text})
	}
	return all
}

// libraries returns what other libraries were measured, and how each is set up.
func libraries(results []result.Result) []library {
	var all []library
	for i := range results {
		r := &results[i]
		l := library{r.Target, r.Library, r.Configuration}
		if r.Library != "" && !slices.Contains(all, l) {
			all = append(all, l)
		}
	}
	return all
}

func targets(groups []result.Group) []string {
	var names []string
	for i := range groups {
		if !slices.Contains(names, groups[i].Key.Target) {
			names = append(names, groups[i].Key.Target)
		}
	}
	return names
}

// ceilings lists those that anything is compared with.
func ceilings(groups []result.Group) []string {
	var names []string
	for i := range groups {
		for _, r := range groups[i].Rounds {
			for name := range r.Ratios {
				if !slices.Contains(names, name) {
					names = append(names, name)
				}
			}
		}
	}
	slices.Sort(names)
	return names
}

func axis() []float64 {
	var all []float64
	for i := range curveNines*curveSteps + 1 {
		all = append(all, math.Pow(10, float64(i)/curveSteps))
	}
	return all
}

// draw returns what charts show of a group.
func draw(name string, g *result.Group) drawn {
	shown := middle(g)
	d := drawn{Name: name, Curve: curve(g), Events: spans(shown.Events)}
	begin := 0.0
	for _, p := range shown.Series {
		d.T = append(d.T, round(p.End, 3))
		d.Ops = append(d.Ops, round(float64(p.Ops)/max(p.End-begin, 1e-9), 0))
		begin = p.End
		for to, v := range map[*[]*float64]float64{&d.P50: p.P50, &d.P99: p.P99, &d.Max: p.Max} {
			*to = append(*to, some(v, p.Ops > 0))
		}
	}
	return d
}

// middle returns the round whose put/s is the median, or next to it.
func middle(g *result.Group) *result.Result {
	order := make([]*result.Result, len(g.Rounds))
	for i := range g.Rounds {
		order[i] = &g.Rounds[i]
	}
	slices.SortStableFunc(order, func(a, b *result.Result) int { return int(math.Copysign(1, a.PutPerS-b.PutPerS)) })
	return order[(len(order)-1)/2]
}

// curve returns the latency of all rounds together, by percentile.
func curve(g *result.Group) []*float64 {
	var all *hdrhistogram.Histogram
	for i := range g.Rounds {
		h := g.Rounds[i].Histogram
		switch {
		case h == nil || h.TotalCount() == 0:
		case all == nil:
			all = hdrhistogram.Import(h.Export())
		default:
			all.Merge(h)
		}
	}
	points := make([]*float64, curveNines*curveSteps+1)
	if all == nil {
		return points
	}
	for i, x := range axis() {
		// The fastest put of all says nothing, and would stretch the axis.
		points[i] = some(float64(all.ValueAtPercentile(100*(1-1/x)))/1e3, i > 0 && x <= float64(all.TotalCount()))
	}
	return points
}

func some(v float64, ok bool) *float64 {
	if !ok {
		return nil
	}
	v = round(v, 3)
	return &v
}

func round(v float64, digits int) float64 {
	scale := math.Pow10(digits)
	return math.Round(v*scale) / scale
}
