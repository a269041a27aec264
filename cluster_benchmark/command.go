package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/profiles"
)

// rootCommand returns all commands. They write to the given streams alone.
func rootCommand(stdout, stderr io.Writer) *cobra.Command {
	b := build()
	root := &cobra.Command{
		Use:     "cluster_benchmark",
		Short:   "Measure clusters of the Millrace Raft engine, and what the machine allows beside them",
		Version: fmt.Sprintf("%s, commit %s, %s", b.Version, b.Commit, b.Go),
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q, want list, run, peers, compare, report or node", args[0])
			}
			return nil
		},
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(listCommand(stdout), runCommand(stdout, stderr), peersCommand(stdout, stderr),
		compareCommand(stdout), reportCommand(stdout), nodeCommand(stdout), nodeProcessCommand(stdout), measureCommand(stdout, stderr))
	return root
}

func listCommand(stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List profiles, targets, stores, networks, events and other libraries, with a line each",
		Args:  noArguments,
		RunE:  func(*cobra.Command, []string) error { return list(stdout) },
	}
}

func noArguments(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s: argument %q, want none", c.Name(), args[0])
	}
	return nil
}

func list(w io.Writer) error {
	var libraries []setting.Choice
	for _, p := range setting.Peers() {
		libraries = append(libraries, p.Choice)
	}
	fmt.Fprintln(w, "Profiles (run PROFILE; a path to a YAML file of your own works too):")
	for _, name := range profiles.Names() {
		plan, err := loadProfile(name)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "  %-20s %s\n", name, plan.About)
	}
	for _, part := range []struct {
		title   string
		choices []setting.Choice
	}{
		{"Targets (--target):", setting.Targets()},
		{"Stores (--store):", setting.Stores()},
		{"Networks (--net):", setting.Nets()},
		{"Events (--event):", setting.Events()},
		{"Other libraries (peers --peer):", libraries},
	} {
		fmt.Fprintf(w, "\n%s\n", part.title)
		for _, c := range part.choices {
			fmt.Fprintf(w, "  %-20s %s\n", c.Name, c.About)
		}
	}
	return nil
}

// loadProfile returns the plan of a profile by name, or by the path of a file.
func loadProfile(name string) (setting.Plan, error) {
	if !strings.ContainsAny(name, `/\`) && filepath.Ext(name) == "" {
		data, err := profiles.Read(name)
		if err != nil {
			return setting.Plan{}, usagef("%v, or a path to a YAML file", err)
		}
		return setting.ParseProfile(name+".yaml", name, data)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return setting.Plan{}, usagef("profile %s: %v, want a YAML file or one of %s", quoted(name), cause(err),
			strings.Join(profiles.Names(), ", "))
	}
	stem := strings.TrimSuffix(filepath.Base(name), filepath.Ext(name))
	plan, err := setting.ParseProfile(name, stem, data)
	if err != nil {
		return plan, usagef("%v", err)
	}
	return plan, nil
}

// cause returns an error of the file system without the path, which the caller names itself.
func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

func runCommand(stdout, stderr io.Writer) *cobra.Command {
	var out output
	var settings []*settingFlag
	c := &cobra.Command{
		Use:   "run PROFILE",
		Short: "Run one profile; flags override what it says",
		Long: `Run one profile; flags override what it says.

A profile is one of those that "list" shows, or a path to a YAML file. Several values separated by commas
(--clients 1,64,256) make a sweep. Each run ends in a safety check.

A client is a goroutine blocked in Propose; with --inflight N the same goroutine issues N puts and awaits them. That is a
closed loop: who waits does not put. With --rate puts become due at a rate of their own, whatever is answered, and latency
is from when a put was due: clients x inflight goroutines carry them, and where all are busy the put's clock goes on.

With --read-ratio a client's next step is by chance a read, linearizable in any case: --read says how. Reads have figures of
their own, and one that misses a put which any client had been answered before fails the safety check. Ceilings have nothing
to read and are left out, which a line says.

With --processes each node of the engine is a process of its own, and clients reach the leader over loopback, by a protocol
of the suite's that carries many puts in one message. With --connect the nodes run already, on this machine or others: see
"node". Both measure puts alone, over TCP; figures of processes are those of all of them together, but with --connect
machine and version are this one's, and the nodes' stand in the result as "places".

With --event something happens to the cluster in the measured time: all nodes take snapshots and a new one joins, which is
sent one; the disk of a follower is slow; the leader is killed and comes back. Below the table stands what was done, how long
it took, and put/s before, meanwhile and after. A run whose event did not happen has failed. Ceilings are left out, which a
line says; --processes and --connect do not have it.

Exit code: 0 when all is well; 1 when a safety check failed or could not be made, no put was answered in the measured
time, an event did not happen, a target came out above its ceiling, the generator of an open loop fell behind, or the run
could not be made; 2 for a bad flag, profile or value; 130 when ctrl-C or SIGTERM ended it early and nothing else is wrong.
What was measured is written in any case.

Every target runs with GOGC=400, which each result says.

What the profiles say, where no flag overrides it: the defaults, but for
` + profileValues() + `
Not there yet: several groups; other log backends; connections with TLS.`,
		Example: `  cluster_benchmark run quick
  cluster_benchmark run minimized --clients 1,256 --target millrace,ceiling-handoff --rounds 3
  cluster_benchmark run durable --processes
  cluster_benchmark run ./my-profile.yaml --json -`,
		Args: oneProfile,
		RunE: func(c *cobra.Command, args []string) error {
			plan, err := loadProfile(args[0])
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			if err := override(ctx, &plan, settings); err != nil {
				return err
			}
			return newRunner(plan, &out).run(ctx)
		},
	}
	settings = addSettings(c.Flags(), nil, setting.ConnectRule())
	addOutput(c, &out, stdout, stderr)
	c.Flags().Var(baselineFlag{&out.baseline}, "save-baseline",
		"save the results as a baseline of this kind of machine, profiles/baselines/KIND/NAME.jsonl below the current directory")
	return c
}

// addOutput adds the flags that say where results go.
func addOutput(c *cobra.Command, out *output, stdout, stderr io.Writer) {
	out.stdout, out.stderr = stdout, stderr
	c.Flags().SortFlags = false
	out.dir = "results"
	c.Flags().Var(&pathFlag{&out.dir, "DIR", "a directory that can be written to"}, "out",
		"a directory for results and, while it runs, data; made if missing")
	c.Flags().Var(&pathFlag{&out.json, "FILE", "a file that can be written, or - for standard output"}, "json",
		"a file to write the results to as well, or - for standard output, where then nothing else goes")
	c.Flags().Var(&pathFlag{&out.hgrm, "FILE", "a file that can be written"}, "hgrm",
		"a file for the latency histogram; with several results, one each, named by scenario before the extension")
	c.Flags().Var(&pathFlag{&out.hlog, "FILE", "a file that can be written"}, "hlog",
		"a file for the latency histograms of each interval, as an HdrHistogram log; with several results as --hgrm")
	c.Flags().Var(&pathFlag{&out.benchfmt, "FILE", "a file that can be written"}, "benchfmt",
		"a file to write the results to in the format of Go benchmarks, for benchstat")
	c.Flags().BoolVar(&out.quiet, "quiet", false, "no progress and no table")
}

// profileValues says, as flags, what a profile starts from, and for each profile of the suite what is different there.
func profileValues() string {
	defaults := setting.Defaults()
	all := profileLines("defaults", &defaults, nil)
	for _, name := range profiles.Names() {
		plan, err := loadProfile(name)
		if err != nil {
			panic("BUG: a profile of the suite can't be read: " + err.Error())
		}
		all += profileLines(name, &plan, &defaults)
	}
	return all
}

// profileLines lists the settings of a plan that differ from another's, if there is one.
func profileLines(name string, plan, from *setting.Plan) string {
	var all strings.Builder
	line := fmt.Sprintf("  %-20s", name)
	for _, r := range setting.Rules() {
		if r.ProfileOnly || from != nil && r.Text(plan) == r.Text(from) {
			continue
		}
		word := fmt.Sprintf(" --%s %s", r.Name, r.Text(plan))
		if len(line)+len(word) > 118 {
			fmt.Fprintln(&all, line)
			line = strings.Repeat(" ", 22)
		}
		line += word
	}
	fmt.Fprintln(&all, line)
	return all.String()
}

func oneProfile(c *cobra.Command, args []string) error {
	if len(args) == 1 {
		return nil
	}
	return usagef("%s: %d profiles given, want 1: %s, or a path to a YAML file", c.Name(), len(args), strings.Join(profiles.Names(), ", "))
}
