package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/millrace/millrace/cluster_benchmark/measure"
	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/cluster_benchmark/show"
	"github.com/millrace/millrace/cluster_benchmark/target"
)

// Target is something that can be measured.
type Target struct {
	// Name is that of a request and of the result.
	Name string
	// Library is the module path and version, as [Library] returns it, Configuration how it is set up, on a line.
	Library       string
	Configuration string
	// WALBackend names its log in files, for results with store wal.
	WALBackend string
	// Open starts it, ready to take puts; dir is an empty directory for its files. What it can't serve at all is an
	// error that wraps [ErrUnsupported].
	Open func(ctx context.Context, s setting.Scenario, dir string) (target.Target, error)
}

// Peer is what a program can measure.
type Peer struct {
	Targets []Target
	// Build says what the program is made of; by default it is what the Go toolchain says.
	Build result.Build
}

// Main is the main function of a program around another library. It does not return.
func Main(p Peer) {
	// Libraries that print would otherwise break the answer.
	answer := os.Stdout
	os.Stdout = os.Stderr
	os.Exit(p.execute(os.Args, os.Stdin, answer, os.Stderr))
}

// execute serves a request, or says what the program is to somebody who calls it by hand, and returns the exit code.
func (p Peer) execute(args []string, in io.Reader, out, words io.Writer) int {
	if len(args) > 1 {
		fmt.Fprintf(words, "%s: argument %q, want none: cluster_benchmark starts this program and sends a request to its standard input. Targets: %s\n",
			filepath.Base(args[0]), args[1], strings.Join(p.names(), ", "))
		return exitRefused
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := p.Serve(ctx, in, out, words)
	code := ExitCode(err)
	if code == exitFailed || code == exitRefused {
		fmt.Fprintln(words, oneLine(err.Error()))
	}
	return code
}

func (p Peer) names() []string {
	var names []string
	for _, t := range p.Targets {
		names = append(names, t.Name)
	}
	return names
}

// Serve reads a request, measures, and writes the result. See [ExitCode] for its errors; a result whose figures can't be
// used is written and is an error too.
func (p Peer) Serve(ctx context.Context, in io.Reader, out, words io.Writer) error {
	q, err := readRequest(in)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(p.Targets, func(t Target) bool { return t.Name == q.Target })
	if i < 0 {
		return requestf("target %q, want %s", q.Target, strings.Join(p.names(), " or "))
	}
	one, err := p.job(q, p.Targets[i], words).Run(ctx)
	if one == nil && err == nil {
		return errInterrupted
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", q.Target, err)
	}
	if one == nil {
		return err
	}
	if writeErr := result.WriteLine(out, one); writeErr != nil {
		return errors.Join(err, fmt.Errorf("write the result: %w", writeErr))
	}
	switch problem := show.Problem(one); {
	case err != nil:
		return err
	case problem != "":
		return fmt.Errorf("the figures can't be used: %s", problem)
	case one.Interrupted:
		return errInterrupted
	}
	return nil
}

func (p Peer) job(q Request, t Target, words io.Writer) *measure.Job {
	j := &measure.Job{
		Profile: q.Profile, Target: t.Name, Round: q.Round, Scenario: q.Scenario,
		Warmup: seconds(q.Warmup), Duration: seconds(q.Duration), Dir: q.Dir, GOGC: q.GOGC, Open: t.Open,
		Build: p.Build, Machine: result.ThisMachine(q.Dir), Library: t.Library, Configuration: t.Configuration,
		Intervals: q.Intervals, Progress: show.NewLines(words),
	}
	if j.Build == (result.Build{}) {
		j.Build = result.ThisBuild()
	}
	if q.Scenario.Store == setting.StoreWAL {
		j.WALBackend = t.WALBackend
	}
	return j
}

// Library returns the modules with the versions that this program was built with, as "path version", separated by
// commas.
func Library(paths ...string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return modules(info, paths...)
}

func modules(info *debug.BuildInfo, paths ...string) string {
	var list []string
	for _, path := range paths {
		text := path + " unknown version"
		for _, m := range info.Deps {
			if m.Path == path {
				text = path + " " + m.Version
				if m.Replace != nil {
					text += " => " + m.Replace.Path + " " + m.Replace.Version
				}
			}
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}
