package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/cluster_benchmark/measure"
	"github.com/millrace/millrace/cluster_benchmark/peer"
	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/cluster_benchmark/show"
)

// peersProfile is measured when no profile is named.
const peersProfile = "minimized"

func peersCommand(stdout, stderr io.Writer) *cobra.Command {
	var out output
	var settings []*settingFlag
	c := &cobra.Command{
		Use:   "peers [PROFILE]",
		Short: "Run a profile on this engine, other Raft libraries and the ceilings, alternating",
		Long: `Run a profile, by default ` + peersProfile + `, on this engine, other Raft libraries and what the machine allows without Raft:
the same workload, the same clients and the same histograms, each measurement in a fresh process, all with GOGC=400 where
they are written in Go. Rounds alternate: each measures every target once and begins with the next one.

Each library is measured by a program of its own, in the directory peers beside this one; ./bench.sh builds them before it
starts "peers". One that is not there, or does not support a scenario, is left out with a line that says why; one that
fails is reported, and the others go on. How each is configured stands below the table and in the results.

Flags override what the profile says, but for its targets: unless --target names others, they are millrace,
ceiling-handoff and, with --store wal, ceiling-disk.

Exit code: as of "run"; 1 also when a measurement failed.`,
		Example: `  cluster_benchmark peers
  cluster_benchmark peers minimized --clients 256 --rounds 6
  cluster_benchmark peers durable --clients 256 --rounds 6 --peer etcd,hashicorp`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 1 {
				return oneProfile(c, args)
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			plan, err := loadProfile(append(args, peersProfile)[0])
			if err != nil {
				return err
			}
			plan.Targets = nil
			if plan.Processes {
				return usagef("peers: profile %s has processes true, want false: every library is measured with its nodes in one process", plan.Profile)
			}
			if err := override(c.Context(), &plan, settings); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			r, err := newPeersRunner(plan, &out)
			if err != nil {
				return err
			}
			return r.run(ctx)
		},
	}
	settings = addSettings(c.Flags(), []string{setting.ProcessesName}, setting.PeerRule())
	addOutput(c, &out, stdout, stderr)
	return c
}

// absence is a measurement that gave no result.
type absence struct {
	target   string
	scenario setting.Scenario // zero: of all
	round    int
	err      error
}

func (a *absence) Error() string {
	if a.scenario == (setting.Scenario{}) {
		return fmt.Sprintf("%s: %v", a.target, a.err)
	}
	return fmt.Sprintf("%s, %d clients, round %d: %v", a.target, a.scenario.Clients, a.round, a.err)
}

// unsupported reports whether there could be no result, rather than something having failed.
func (a *absence) unsupported() bool {
	return errors.Is(a.err, peer.ErrUnsupported) || errors.Is(a.err, errNoProgram)
}

// attempts is how often a target may fail in a scenario before its other rounds are left out.
const attempts = 2

// givenUp reports whether a target is not measured in a scenario any more.
func (r *runner) givenUp(target string, s setting.Scenario) bool {
	failed := 0
	for i := range r.absent {
		if a := &r.absent[i]; a.target == target && a.scenario == s {
			if failed++; a.unsupported() {
				return true
			}
		}
	}
	return failed >= attempts
}

// failed lists what went wrong.
func (r *runner) failed() []absence {
	return slices.DeleteFunc(slices.Clone(r.absent), func(a absence) bool { return a.unsupported() })
}

// newPeersRunner returns a runner whose measurements are each made in a process of their own.
func newPeersRunner(plan setting.Plan, out *output) (*runner, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	if len(plan.Targets) == 0 {
		plan.Targets = []string{setting.Millrace, setting.CeilingHandoff}
		if plan.Store == setting.StoreWAL {
			plan.Targets = append(plan.Targets, setting.CeilingDisk)
		}
	}
	r := newRunner(plan, out)
	r.goesOn = true
	commands := map[string]peer.Command{}
	for _, name := range plan.Targets {
		commands[name] = peer.Command{Path: self, Args: []string{"measure"}}
	}
	var found []string
	for _, p := range setting.Peers() {
		if len(plan.Peers) > 0 && !slices.Contains(plan.Peers, p.Name) {
			continue
		}
		path, err := findProgram(filepath.Join(filepath.Dir(self), "peers"), p.Program)
		if err != nil {
			r.absent = append(r.absent, absence{target: p.Name, err: err})
			continue
		}
		commands[p.Name] = peer.Command{Path: path}
		found = append(found, p.Name)
	}
	r.plan.Targets = inOrder(plan.Targets, found)
	r.make = func(ctx context.Context, name string, s setting.Scenario, round int, dir string) (*result.Result, error) {
		return r.elsewhere(ctx, commands[name], name, s, round, dir)
	}
	r.table = func(w io.Writer, results []result.Result) { show.Peers(w, results, r.absences()) }
	out.prefix = "peers-"
	return r, nil
}

// inOrder puts the other libraries between the engine and the ceilings.
func inOrder(own, others []string) []string {
	isCeiling := slices.IndexFunc(own, setting.IsCeiling)
	if isCeiling < 0 {
		isCeiling = len(own)
	}
	return slices.Concat(own[:isCeiling], others, own[isCeiling:])
}

// whyExtension is that of the file in which who builds a program says why it is not there.
const whyExtension = ".why"

// findProgram returns the path of a program, or an error that wraps [errNoProgram] and says why it is not there.
func findProgram(dir, name string) (string, error) {
	path, err := filepath.Abs(filepath.Join(dir, name))
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err == nil && info.Mode().IsRegular() {
		return path, nil
	}
	why, readErr := os.ReadFile(path + whyExtension)
	switch text := strings.Join(strings.Fields(string(why)), " "); {
	case readErr == nil && text != "":
		return "", fmt.Errorf("%w: %s", errNoProgram, text)
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("%w at %s; ./bench.sh peers builds it", errNoProgram, path)
	case err != nil:
		return "", fmt.Errorf("%w: %w", errNoProgram, err)
	}
	return "", fmt.Errorf("%w: %s is no file", errNoProgram, path)
}

// elsewhere measures in another process.
func (r *runner) elsewhere(ctx context.Context, c peer.Command, name string, s setting.Scenario, round int, dir string) (*result.Result, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	warmup, duration := r.plan.Times(name)
	r.progress.Say(measure.Label(name, s, round) + "  starting")
	return c.Measure(ctx, peer.Request{
		Schema: peer.RequestSchema, Profile: r.plan.Profile, Target: name, Round: round, Scenario: s,
		Warmup: warmup.Seconds(), Duration: duration.Seconds(), Dir: dir, GOGC: measure.GCPercent,
		Intervals: r.out.hlog != "",
	}, r.progress.Say)
}

// absences says for the table what there is no result of.
func (r *runner) absences() show.Absences {
	var all show.Absences
	for i := range r.absent {
		a := &r.absent[i]
		if a.unsupported() {
			all.LeftOut = append(all.LeftOut, a.Error())
		} else {
			all.Failed = append(all.Failed, a.Error())
		}
	}
	return all
}
