package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/show"
	"github.com/millrace/millrace/cluster_benchmark/verdict"
)

// sourcesMax is how many results can be told apart by a letter.
const sourcesMax = 26

// percentFlag is a percentage as a flag, which may be absent.
type percentFlag struct {
	value float64
	set   bool
}

// String returns the percentage, "" without.
func (f *percentFlag) String() string {
	if !f.set {
		return ""
	}
	return strconv.FormatFloat(f.value, 'g', -1, 64)
}

const wantsPercent = "a number from 0 to 1000"

// Set takes a number from 0 to 1000.
func (f *percentFlag) Set(text string) error {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(v) || v < 0 || v > 1000 {
		return errNoPercent
	}
	f.value, f.set = v, true
	return nil
}

// Type names the value in the help.
func (f *percentFlag) Type() string { return "PERCENT" }

// comparison is what the command compare is asked for.
type comparison struct {
	failAbove percentFlag
	baseline  string // stands before the files
}

func compareCommand(stdout io.Writer) *cobra.Command {
	var asked comparison
	c := &cobra.Command{
		Use:   "compare OLD NEW... | compare --baseline NAME NEW... | compare RESULT",
		Short: "Put results side by side: ratios, verdicts, curves",
		Long: `Put two or more results side by side, or the targets within one: for each scenario that they share the medians over
the rounds, how far the rounds are apart, the ratio of each to the first, whether that is more than noise, and latency by
percentile as curves.

A verdict takes at least ` + strconv.Itoa(verdict.RoundsMin) + ` rounds on each side (run with --rounds): "better" and "worse" where a Mann-Whitney U test over
the rounds finds a difference at a level of 5 %, else "noise". Two runs also differ by what the machine did meanwhile.

Exit code: 0; 1 with --fail-above when put/s dropped or p99 rose by more than that and by more than noise would, or when
figures can't be used, each of which is then named on standard error; 2 for a file that is no result, when no scenario is
shared, or when --fail-above finds too few rounds to tell.`,
		Example: `  cluster_benchmark compare results/old.jsonl results/new.jsonl
  cluster_benchmark compare --fail-above 5 results/old.jsonl results/new.jsonl
  cluster_benchmark compare --baseline durable results/new.jsonl`,
		Args: func(c *cobra.Command, args []string) error {
			if asked.baseline != "" && (len(args) < 1 || len(args) >= sourcesMax) {
				return usagef("%s: %d result files given beside --baseline %s, want 1 to %d", c.Name(), len(args), asked.baseline, sourcesMax-1)
			}
			if len(args) < 1 || len(args) > sourcesMax {
				return usagef("%s: %d result files given, want 1 with several targets, or 2 to %d", c.Name(), len(args), sourcesMax)
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error { return asked.run(stdout, args) },
	}
	c.Flags().SortFlags = false
	c.Flags().Var(&asked.failAbove, "fail-above",
		"exit with 1 when put/s dropped, or p99 rose, by more than so many percent, and by more than noise would")
	c.Flags().Var(baselineFlag{&asked.baseline}, "baseline",
		"compare with what \"run --save-baseline NAME\" has saved on that kind of machine, below the current directory")
	return c
}

func (asked *comparison) run(w io.Writer, files []string) error {
	if asked.baseline != "" {
		file, err := findBaseline(asked.baseline, files[0])
		if err != nil {
			return err
		}
		files = append([]string{file}, files...)
	}
	sources, err := readSources(files)
	if err != nil {
		return err
	}
	within := len(sources) == 1
	identity := verdict.Same
	if within {
		name := sources[0].Name
		if sources = verdict.Targets(sources[0].Results); len(sources) < 2 {
			return usagef("compare: %s holds one target, %s: nothing to compare it with, want another file", quoted(name), sources[0].Name)
		}
		identity = verdict.AnyTarget
	}
	if err := show.Compare(w, sources, within); err != nil {
		return usagef("compare: %v", err)
	}
	if !asked.failAbove.set {
		return nil
	}
	cases, _ := verdict.Share(sources, identity)
	return gate(cases, asked.failAbove.value)
}

// gate returns a [worseError] that names all that is worse than the first source by more than so many percent.
func gate(cases []verdict.Case, percent float64) error {
	var lines []string
	for i := range cases {
		if source, r := cases[i].Unusable(); r != nil {
			lines = append(lines, fmt.Sprintf("%c: %s", show.Letter(source), show.Problem(r)))
		}
	}
	worse, err := verdict.Gate(cases, percent)
	var few *verdict.TooFewError
	if errors.As(err, &few) {
		return usagef("--fail-above %g: %s", percent, show.Unjudged(few))
	}
	if lines = append(lines, show.Regressions(worse)...); len(lines) > 0 {
		return &worseError{percent, lines}
	}
	return err
}

// readSources reads files of results. Errors are usage errors.
func readSources(files []string) ([]verdict.Source, error) {
	var sources []verdict.Source
	for _, name := range files {
		results, err := result.ReadFile(name)
		if err != nil {
			var format *result.FormatError
			if errors.As(err, &format) {
				return nil, usagef("%v", err)
			}
			return nil, usagef("%s: %v, want a file of results", quoted(name), cause(err))
		}
		sources = append(sources, verdict.Source{Name: name, Results: results})
	}
	return sources, nil
}
