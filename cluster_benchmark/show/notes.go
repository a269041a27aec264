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
		if r.Interrupted {
			fmt.Fprintf(w, "%s: interrupted after %.1f s\n", where(r), r.Duration)
		}
	}
	if rounds > 1 {
		fmt.Fprintf(w, "Medians over %d rounds.\n", rounds)
	}
	safe(w, results)
}

// safe says what was proven, when everything was: with an identity in each put, and without.
func safe(w io.Writer, results []result.Result) {
	var checks, puts [2]uint64
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
}

func where(r *result.Result) string {
	return fmt.Sprintf("%s, %s, %d in flight, batch %d, %d B, %s, round %d",
		r.Target, plural(uint64(r.Clients), "client"), r.Inflight, r.Batch, r.Payload, plural(uint64(r.Nodes), "node"), r.Round)
}
