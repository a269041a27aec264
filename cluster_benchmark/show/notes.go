package show

import (
	"fmt"
	"io"
	"strings"

	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/safety"
)

// finding is something that keeps figures from being used.
type finding struct {
	title string
	lines []string
}

// findings says why the figures of a result can't be used, the worst first; nothing when they can.
func findings(r *result.Result) []finding {
	var all []finding
	if s := r.Safety; s != nil && !s.OK {
		if len(s.Reasons) > 0 {
			all = append(all, finding{"SAFETY CHECK FAILED", s.Reasons})
		}
		if len(s.Unproven) > 0 || len(s.Reasons) == 0 {
			all = append(all, finding{"SAFETY NOT PROVEN", s.Unproven})
		}
	}
	if r.Invalid != "" {
		all = append(all, finding{"INVALID", []string{r.Invalid}})
	}
	return all
}

// Problem says on one line why the figures of a result can't be used, the worst first; "" when they can.
func Problem(r *result.Result) string {
	all := findings(r)
	if len(all) == 0 {
		return ""
	}
	words := []string{all[0].title, where(r)}
	if lines := all[0].lines; len(lines) > 0 {
		words = append(words, lines[0])
	}
	return strings.Join(words, ": ")
}

// notes says what must be known beside the figures: what makes them useless first.
func notes(w io.Writer, results []result.Result) {
	rounds := 0
	for i := range results {
		rounds = max(rounds, results[i].Round)
		for _, f := range findings(&results[i]) {
			fmt.Fprintf(w, "%s: %s\n", f.title, where(&results[i]))
			for _, line := range f.lines {
				fmt.Fprintf(w, "    %s\n", line)
			}
		}
	}
	for i := range results {
		r := &results[i]
		if r.Errors > 0 {
			fmt.Fprintf(w, "%s: %s failed, the first with: %s\n", where(r), plural(r.Errors, "put"), r.FirstError)
		}
		if r.Reads != nil && r.Reads.Errors > 0 {
			fmt.Fprintf(w, "%s: %s failed, the first with: %s\n", where(r), plural(r.Reads.Errors, "read"), r.Reads.FirstError)
		}
		if r.Interrupted {
			fmt.Fprintf(w, "%s: interrupted after %.1f s\n", where(r), r.Duration)
		}
	}
	generated(w, results)
	knees(w, results)
	events(w, results)
	if rounds > 1 {
		fmt.Fprintf(w, "Medians over %d rounds.\n", rounds)
	}
	safe(w, results)
}

// generated says what became of the puts of open loops, where not all went as it should: what kept them waiting is in
// their latency. Each thing is said once, with the scenarios that it is true of.
func generated(w io.Writer, results []result.Result) {
	var waited, unissued, behind []string
	for i := range results {
		r := &results[i]
		g := r.Generator
		if g == nil || g.Offered == 0 {
			continue
		}
		of := func(list *[]string, format string, args ...any) {
			*list = append(*list, fmt.Sprintf("%s, %s, %s/s: ", r.Target, plural(uint64(r.Clients), "client"), count(r.Rate))+fmt.Sprintf(format, args...))
		}
		if part := float64(g.Waited) / float64(g.Offered); part >= waitedNoted {
			of(&waited, "%.0f %%", 100*part)
		}
		if g.Unissued > 0 && !r.Interrupted {
			of(&unissued, "%s", count(float64(g.Unissued)))
		}
		if g.Late99 > lateNoted*r.Latency.P99 {
			of(&behind, "%s of %s", latency(g.Late99), latency(r.Latency.P99))
		}
	}
	for _, note := range []struct {
		what string
		of   []string
	}{
		{"Puts that found every client busy and waited: the target was saturated, or there are too few clients", waited},
		{"Puts never issued; their latency holds what they had waited by then, and would be greater", unissued},
		{"The generator's own part of the latency, at p99, is a good one; something else keeps this machine busy, or the target does", behind},
	} {
		if len(note.of) > 0 {
			fmt.Fprintf(w, "%s:\n    %s\n", note.what, strings.Join(note.of, "\n    "))
		}
	}
}

// knees says up to which rate each target kept up, where there are rates enough to tell.
func knees(w io.Writer, results []result.Result) {
	for _, k := range result.Knees(result.Groups(results)) {
		switch {
		case k.Rate == 0:
			fmt.Fprintf(w, "Knee: %s, below %s/s, the lowest rate: %.1f %% answered in time.\n", k.Key.Target, count(k.Next), 100*k.Answered)
		case k.Next == 0:
			fmt.Fprintf(w, "Knee: %s, not reached at %s/s, the highest rate.\n", k.Key.Target, count(k.Rate))
		default:
			fmt.Fprintf(w, "Knee: %s, %s/s; at %s/s %.1f %% are answered in time and p99 is %s times its lowest.\n", k.Key.Target,
				count(k.Rate), count(k.Next), 100*k.Answered, significant(k.Times))
		}
	}
}

// Parts of all puts that found no client, and of the latency at the 99th percentile that is the generator's, from which on
// it is said.
const (
	waitedNoted = 0.01
	lateNoted   = 0.25
)

// safe says what was proven, when everything was: with an identity in each put, and without.
func safe(w io.Writer, results []result.Result) {
	var checks, puts [2]uint64
	var read, unknown uint64
	for i := range results {
		r := &results[i]
		if r.Safety == nil {
			continue
		}
		if !r.Safety.OK {
			return
		}
		kind := 0
		if r.Payload < safety.IdentityBytes {
			kind = 1
		}
		checks[kind]++
		puts[kind] += r.Safety.Acknowledged
		unknown += r.Safety.Unknown
		if r.Reads != nil {
			read += r.Reads.Ops
		}
	}
	for kind, proven := range []string{
		"each found once on every node by its identity, with equal hashes",
		fmt.Sprintf("too small for an identity (below %d bytes): on every node as many applied, in ascending order, "+
			"at the log ids that the answers named, with equal hashes", safety.IdentityBytes),
	} {
		if checks[kind] > 0 {
			fmt.Fprintf(w, "Safety: %s acknowledged puts, warm-up included, %s (%s).\n",
				count(float64(puts[kind])), proven, plural(checks[kind], "check"))
		}
	}
	if unknown > 0 {
		fmt.Fprintf(w, "        %s whose answer was lost: each applied once on every node, or on none.\n", plural(unknown, "put"))
	}
	if read > 0 {
		fmt.Fprintf(w, "        %s: none missed a put that any client had been answered before it began.\n", plural(read, "read"))
	}
}

// where says which measurement a result is of.
func where(r *result.Result) string { return fmt.Sprintf("%s, round %d", scenarioOf(r), r.Round) }

// scenarioOf says what was measured on what.
func scenarioOf(r *result.Result) string {
	rate := ""
	if r.Rate > 0 {
		rate = fmt.Sprintf(", %s put/s due", count(r.Rate))
	}
	if r.ReadRatio > 0 {
		rate += fmt.Sprintf(", %g %% %s reads", 100*r.ReadRatio, r.Read)
	}
	if r.Event != "" {
		rate += ", event " + r.Event
	}
	return fmt.Sprintf("%s, %s, %d in flight, batch %d, %d B%s, %s",
		r.Target, plural(uint64(r.Clients), "client"), r.Inflight, r.Batch, r.Payload, rate, plural(uint64(r.Nodes), "node"))
}
