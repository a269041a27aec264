package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/millrace/millrace/cluster_benchmark/measure"
	"github.com/millrace/millrace/cluster_benchmark/node"
	"github.com/millrace/millrace/cluster_benchmark/peer"
	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/cluster_benchmark/show"
	"github.com/millrace/millrace/cluster_benchmark/target"
)

// runner makes one run.
type runner struct {
	plan setting.Plan
	out  *output
	// make measures one target in one round, with the help of an empty directory.
	make func(ctx context.Context, target string, s setting.Scenario, round int, dir string) (*result.Result, error)
	// table shows the results at the end.
	table    func(io.Writer, []result.Result)
	progress *show.Progress
	build    result.Build
	machine  result.Machine
	results  []result.Result
	// goesOn says that a target that fails does not end the run; absent then says which did.
	goesOn      bool
	absent      []absence
	interrupted bool // ended early
}

// newRunner returns a runner that measures in this process.
func newRunner(plan setting.Plan, out *output) *runner {
	r := &runner{plan: plan, out: out, build: build()}
	r.make = r.here
	r.table = func(w io.Writer, results []result.Result) {
		show.Table(w, results)
		show.Absent(w, r.absences())
	}
	return r
}

// run makes a run and writes its results. Errors: a usage error, when a file can't be made; [unusableError];
// [absentError]; [nothingError]; what kept a target from being measured or a result from being written; [errInterrupted] when nothing else is wrong.
// All but the first leave what was measured written and shown.
func (r *runner) run(ctx context.Context) error {
	scenarios, err := r.plan.Scenarios()
	if err != nil {
		return err
	}
	if r.machine = result.ThisMachine(r.out.dir); r.out.baseline != "" {
		if err := checkBaseline(r.machine.Kind(), r.out.baseline); err != nil {
			return err
		}
	}
	if err := r.out.open(&r.plan, scenarios); err != nil {
		return err
	}
	r.progress = r.out.progress()
	var failure error
	for _, s := range scenarios {
		for round := 1; round <= r.plan.Rounds && failure == nil && !r.interrupted; round++ {
			failure = r.round(ctx, s, round)
		}
	}
	r.progress.Clear()
	failure = errors.Join(failure, r.out.close())
	r.out.finish(r.results, r.interrupted, r.table)
	return r.saved(r.outcome(failure))
}

// saved makes a baseline of a run that nothing was wrong with, where that was asked for, and returns what was wrong.
func (r *runner) saved(outcome error) error {
	switch {
	case r.out.baseline == "":
		return outcome
	case outcome != nil:
		return errors.Join(outcome, fmt.Errorf("no baseline was saved: --save-baseline %s takes a run that nothing is wrong with", r.out.baseline))
	}
	file, err := saveBaseline(r.machine.Kind(), r.out.baseline, r.results)
	if err == nil && !r.out.quiet {
		fmt.Fprintf(r.out.told(), "Baseline: %s\n", file)
	}
	return err
}

// outcome returns what is to be said about a run. Figures that can't be used come first: that a run was ended early as
// well must not hide them.
func (r *runner) outcome(failure error) error {
	var wrong []error
	if i := slices.IndexFunc(r.results, func(one result.Result) bool { return !one.OK() }); i >= 0 {
		wrong = append(wrong, &unusableError{show.Problem(&r.results[i]), r.out.file.Name()})
	}
	if failed := r.failed(); len(failed) > 0 {
		wrong = append(wrong, &absentError{failed, r.out.file.Name()})
	}
	if len(r.results) == 0 && len(r.absent) > 0 {
		wrong = append(wrong, &nothingError{r.absent[0].Error()})
	}
	wrong = append(wrong, failure)
	if err := errors.Join(wrong...); err != nil || !r.interrupted {
		return err
	}
	return errInterrupted
}

// round measures every target once. Each result is saved as soon as it is there, also when the next one fails, and again
// beside the ceilings when the round is over. Each round begins with another target.
func (r *runner) round(ctx context.Context, s setting.Scenario, round int) error {
	begin := len(r.results)
	var failure error
	for i := 0; i < len(r.plan.Targets) && failure == nil && !r.interrupted; i++ {
		target := r.plan.Targets[(i+round-1)%len(r.plan.Targets)]
		if r.givenUp(target, s) {
			continue
		}
		one, err := r.measure(ctx, target, s, round)
		switch {
		case err == nil:
		case r.goesOn, errors.Is(err, peer.ErrUnsupported):
			r.absent = append(r.absent, absence{target, s, round, err})
		default:
			failure = fmt.Errorf("%s, %d clients, round %d: %w", target, s.Clients, round, err)
		}
		if one != nil {
			r.results = append(r.results, *one)
			failure = errors.Join(failure, r.out.keep(s, one))
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
	one, err = r.make(ctx, name, s, round, dir)
	r.interrupted = one == nil && (err == nil || ctx.Err() != nil) || one != nil && one.Interrupted
	return one, err
}

// here measures in this process.
func (r *runner) here(ctx context.Context, name string, s setting.Scenario, round int, dir string) (*result.Result, error) {
	job := &measure.Job{
		Profile: r.plan.Profile, Target: name, Round: round, Scenario: s, Dir: dir, GOGC: measure.GCPercent,
		Open: func(ctx context.Context, s setting.Scenario, dir string) (target.Target, error) {
			return openTarget(ctx, name, s, dir, r.plan.Connect)
		},
		Build: r.build, Machine: r.machine, Progress: r.progress, Intervals: r.out.hlog != "",
	}
	job.Warmup, job.Duration = r.plan.Times(name)
	if s.Store == setting.StoreWAL {
		job.WALBackend = target.WALBackend(name)
	}
	return job.Run(ctx)
}

// openTarget opens a target: with its nodes in this process, in processes of their own, or, where addresses are given, by
// connecting to nodes that run already. A ceiling has no nodes: it is here in any case.
func openTarget(ctx context.Context, name string, s setting.Scenario, dir string, addresses []string) (target.Target, error) {
	switch {
	case name == setting.Millrace && s.Connect:
		return node.Connect(ctx, s, addresses)
	case name == setting.Millrace && s.Processes:
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		return node.OpenProcesses(ctx, s, dir, node.Command{Path: self, Args: []string{nodeProcessName}})
	}
	return target.Open(ctx, name, s, dir)
}

// compareWithCeilings sets each target's part of the ceilings of the same scenario and round, and marks what is above
// one that it can't be above. At a given rate all do the same, as long as they can: there is no part.
func compareWithCeilings(round []result.Result) {
	for i := range round {
		r := &round[i]
		if setting.IsCeiling(r.Target) || r.Rate > 0 {
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
