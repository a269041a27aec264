package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/cluster_benchmark/show"
)

// runner makes one run.
type runner struct {
	plan     setting.Plan
	out      *output
	progress *show.Progress
	build    result.Build
	machine  result.Machine
	results  []result.Result
}

// run makes a run and writes its results. Errors: a usage error, when a file can't be made; [errInterrupted];
// [errUnusable]; what kept a target from being measured. All but the first leave what was measured written.
func run(ctx context.Context, plan setting.Plan, out *output) (err error) {
	scenarios, err := plan.Scenarios()
	if err != nil {
		return err
	}
	if err := out.open(&plan, len(scenarios)*plan.Rounds*len(plan.Targets)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.close()) }()
	r := &runner{
		plan: plan, out: out, progress: out.progress(), build: build(), machine: result.ThisMachine(out.dir),
	}
	for _, s := range scenarios {
		for round := 1; round <= plan.Rounds && err == nil; round++ {
			err = r.round(ctx, s, round)
		}
	}
	r.progress.Clear()
	out.finish(r.results, err)
	if err == nil && slices.ContainsFunc(r.results, func(r result.Result) bool { return !r.OK() }) {
		err = errUnusable
	}
	return err
}

// round measures every target once and writes what was measured, also when one of them fails. Each round begins with
// another target.
func (r *runner) round(ctx context.Context, s setting.Scenario, round int) error {
	var done []result.Result
	var failure error
	for i := range r.plan.Targets {
		target := r.plan.Targets[(i+round-1)%len(r.plan.Targets)]
		one, err := r.measure(ctx, target, s, round)
		if one != nil {
			done = append(done, *one)
		}
		if err != nil {
			failure = err
			if !errors.Is(err, errInterrupted) {
				failure = fmt.Errorf("%s, %d clients, round %d: %w", target, s.Clients, round, err)
			}
			break
		}
	}
	// In the order of the plan, whichever came first this time.
	slices.SortFunc(done, func(a, b result.Result) int {
		return slices.Index(r.plan.Targets, a.Target) - slices.Index(r.plan.Targets, b.Target)
	})
	compareWithCeilings(done)
	for i := range done {
		if err := r.out.write(&done[i]); err != nil {
			return errors.Join(failure, err)
		}
	}
	r.results = append(r.results, done...)
	return failure
}

// compareWithCeilings sets each target's part of the ceilings of the same scenario and round, and marks what is above
// one that it can't be above.
func compareWithCeilings(round []result.Result) {
	for i := range round {
		r := &round[i]
		if setting.IsCeiling(r.Target) {
			continue
		}
		for _, ceiling := range round {
			if !setting.IsCeiling(ceiling.Target) || ceiling.PutPerS == 0 {
				continue
			}
			if r.Ratios == nil {
				r.Ratios = map[string]float64{}
			}
			r.Ratios[ceiling.Target] = r.PutPerS / ceiling.PutPerS
			binding := ceiling.Target == setting.CeilingHandoff ||
				ceiling.Target == setting.CeilingDisk && r.Store == setting.StoreWAL
			if binding && r.PutPerS > ceiling.PutPerS {
				r.Invalid = fmt.Sprintf("%.0f put/s is above the %.0f put/s of %s: the ceiling is built badly, or was disturbed",
					r.PutPerS, ceiling.PutPerS, ceiling.Target)
			}
		}
	}
}
