package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/millrace/millrace/cluster_benchmark/measure"
	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/cluster_benchmark/show"
	"github.com/millrace/millrace/cluster_benchmark/target"
)

// runner makes one run.
type runner struct {
	plan        setting.Plan
	out         *output
	progress    *show.Progress
	build       result.Build
	machine     result.Machine
	results     []result.Result
	interrupted bool // ended early
}

// run makes a run and writes its results. Errors: a usage error, when a file can't be made; [unusableError];
// what kept a target from being measured or a result from being written; [errInterrupted] when nothing else is wrong.
// All but the first leave what was measured written and shown.
func run(ctx context.Context, plan setting.Plan, out *output) error {
	scenarios, err := plan.Scenarios()
	if err != nil {
		return err
	}
	if err := out.open(&plan, scenarios); err != nil {
		return err
	}
	r := &runner{
		plan: plan, out: out, progress: out.progress(), build: build(), machine: result.ThisMachine(out.dir),
	}
	var failure error
	for _, s := range scenarios {
		for round := 1; round <= plan.Rounds && failure == nil && !r.interrupted; round++ {
			failure = r.round(ctx, s, round)
		}
	}
	r.progress.Clear()
	failure = errors.Join(failure, out.close())
	out.finish(r.results, r.interrupted)
	return r.outcome(failure)
}

// outcome returns what is to be said about a run. Figures that can't be used come first: that a run was ended early as
// well must not hide them.
func (r *runner) outcome(failure error) error {
	for i := range r.results {
		if problem := show.Problem(&r.results[i]); problem != "" {
			return errors.Join(&unusableError{problem, r.out.file.Name()}, failure)
		}
	}
	if failure == nil && r.interrupted {
		return errInterrupted
	}
	return failure
}

// round measures every target once. Each result is saved as soon as it is there, also when the next one fails, and again
// beside the ceilings when the round is over. Each round begins with another target.
func (r *runner) round(ctx context.Context, s setting.Scenario, round int) error {
	begin := len(r.results)
	var failure error
	for i := 0; i < len(r.plan.Targets) && failure == nil && !r.interrupted; i++ {
		target := r.plan.Targets[(i+round-1)%len(r.plan.Targets)]
		one, err := r.measure(ctx, target, s, round)
		if err != nil {
			failure = fmt.Errorf("%s, %d clients, round %d: %w", target, s.Clients, round, err)
		}
		if one != nil {
			r.results = append(r.results, *one)
			failure = errors.Join(failure, r.out.keep(one))
		}
	}
	// In the order of the plan, whichever came first this time.
	done := r.results[begin:]
	slices.SortFunc(done, func(a, b result.Result) int {
		return slices.Index(r.plan.Targets, a.Target) - slices.Index(r.plan.Targets, b.Target)
	})
	compareWithCeilings(done)
	r.progress.Clear() // the results may go to the same terminal
	return errors.Join(failure, r.out.round(done))
}

// measure measures one target in one round. The result is nil when nothing was measured. When ctx ends the run is
// interrupted, and what was measured until then is returned.
func (r *runner) measure(ctx context.Context, name string, s setting.Scenario, round int) (one *result.Result, err error) {
	dir, err := os.MkdirTemp(r.out.dir, "data-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	job := &measure.Job{
		Profile: r.plan.Profile, Target: name, Round: round, Scenario: s, Dir: dir, GOGC: measure.GCPercent,
		Open: func(ctx context.Context, s setting.Scenario, dir string) (target.Target, error) {
			return target.Open(ctx, name, s, dir)
		},
		Build: r.build, Machine: r.machine, Progress: r.progress,
	}
	job.Warmup, job.Duration = r.plan.Times(name)
	if s.Store == setting.StoreWAL {
		job.WALBackend = target.WALBackend(name)
	}
	one, err = job.Run(ctx)
	r.interrupted = one == nil && err == nil || one != nil && one.Interrupted
	return one, err
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
			if binding && r.Invalid == "" && r.PutPerS > ceiling.PutPerS {
				r.Invalid = fmt.Sprintf("%.0f put/s is above the %.0f put/s of %s: the ceiling is built badly, or was disturbed",
					r.PutPerS, ceiling.PutPerS, ceiling.Target)
			}
		}
	}
}
