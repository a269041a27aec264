package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/cluster_benchmark/show"
)

// output is where the results of a run go. The fields of the first group are flags; open makes the files.
type output struct {
	dir      string
	json     string
	hgrm     string
	hlog     string
	benchfmt string
	baseline string
	quiet    bool
	stdout   io.Writer
	stderr   io.Writer
	// prefix goes before the profile in the file's name.
	prefix string

	file       *os.File  // under dir
	rounds     int64     // bytes of file that hold whole rounds
	written    bool      // file holds something
	histograms *files    // for hgrm
	logs       *files    // for hlog
	extra      io.Writer // for json; nil without
	extraTo    *os.File  // to be closed; nil for standard output
	benchTo    *os.File  // for benchfmt; nil without
	bench      *result.BenchWriter
}

// open makes the files, so that a path that can't be used is known before anything is measured.
func (o *output) open(plan *setting.Plan, scenarios []setting.Scenario) error {
	var err error
	if o.file, err = result.Create(o.dir, o.prefix+plan.Profile, time.Now()); err != nil {
		return usagef("--out %s: %v, want a directory that can be written to", quoted(o.dir), cause(err))
	}
	if o.histograms, err = openFiles("--hgrm", o.hgrm, result.WriteHGRM, plan, scenarios); err != nil {
		return errors.Join(err, o.close())
	}
	if o.logs, err = openFiles("--hlog", o.hlog, result.WriteHLog, plan, scenarios); err != nil {
		return errors.Join(err, o.close())
	}
	return o.openWhole()
}

// openWhole opens the files that hold the whole run, last, since that empties them.
func (o *output) openWhole() error {
	var err error
	switch o.json {
	case "":
	case "-":
		o.extra = o.stdout
	default:
		if o.extraTo, err = os.Create(o.json); err != nil {
			err = usagef("--json %s: %v, want a file that can be written, or - for standard output", quoted(o.json), cause(err))
			return errors.Join(err, o.close())
		}
		o.extra = o.extraTo
	}
	if o.benchfmt == "" {
		return nil
	}
	if o.benchTo, err = os.Create(o.benchfmt); err != nil {
		err = usagef("--benchfmt %s: %v, want a file that can be written", quoted(o.benchfmt), cause(err))
		return errors.Join(err, o.close())
	}
	o.bench = result.NewBenchWriter(o.benchTo)
	return nil
}

// keep saves a result as soon as it is there, whatever becomes of the round that it belongs to.
func (o *output) keep(s setting.Scenario, r *result.Result) error {
	logged := o.logs.write(s, r)
	for i := range r.Series {
		r.Series[i].Histogram = "" // which only the log holds
	}
	if err := result.WriteLine(o.file, r); err != nil {
		return fmt.Errorf("--out %s: %w", quoted(o.dir), err)
	}
	o.written = true
	return errors.Join(logged, o.histograms.write(s, r))
}

// round writes the results of a round, now that they are compared with its ceilings: over what keep saved of them, and to
// --json, where nothing can be taken back.
func (o *output) round(results []result.Result) error {
	var lines bytes.Buffer
	for i := range results {
		if err := result.WriteLine(&lines, &results[i]); err != nil {
			return err
		}
	}
	if _, err := o.file.WriteAt(lines.Bytes(), o.rounds); err != nil {
		return fmt.Errorf("--out %s: %w", quoted(o.dir), err)
	}
	o.rounds += int64(lines.Len())
	if _, err := o.file.Seek(o.rounds, io.SeekStart); err != nil {
		return err
	}
	if err := o.file.Truncate(o.rounds); err != nil {
		return err
	}
	if o.extra != nil {
		if _, err := o.extra.Write(lines.Bytes()); err != nil {
			return fmt.Errorf("--json %s: %w", quoted(o.json), err)
		}
	}
	if o.bench == nil {
		return nil
	}
	for i := range results {
		if err := o.bench.Write(&results[i]); err != nil {
			return fmt.Errorf("--benchfmt %s: %w", quoted(o.benchfmt), cause(err))
		}
	}
	return nil
}

// told is where people are told: not where results go.
func (o *output) told() io.Writer {
	if o.json == "-" {
		return o.stderr
	}
	return o.stdout
}

// finish shows the table and says where the files lie.
func (o *output) finish(results []result.Result, interrupted bool, table func(io.Writer, []result.Result)) {
	if o.quiet || len(results) == 0 && !interrupted {
		return
	}
	w := o.told()
	if len(results) == 0 {
		fmt.Fprintln(w, "Interrupted before anything was measured.")
		return
	}
	table(w, results)
	fmt.Fprintf(w, "Results: %s\n", o.file.Name())
	if o.extraTo != nil {
		fmt.Fprintf(w, "         %s\n", o.json)
	}
	if o.benchTo != nil {
		fmt.Fprintf(w, "Benchmarks: %s\n", o.benchfmt)
	}
	for _, name := range o.histograms.written {
		fmt.Fprintf(w, "Histogram: %s\n", name)
	}
	for _, name := range o.logs.written {
		fmt.Fprintf(w, "Histogram log: %s\n", name)
	}
}

// close closes the files; those without results are not left behind.
func (o *output) close() error {
	err := o.file.Close()
	if !o.written {
		err = errors.Join(err, os.Remove(o.file.Name()))
	}
	for _, f := range []*files{o.histograms, o.logs} {
		if f != nil {
			err = errors.Join(err, f.removeUnwritten())
		}
	}
	for _, f := range []*os.File{o.extraTo, o.benchTo} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}

// columnsUnknown is taken for the width of a terminal that does not tell.
const columnsUnknown = 80

// progress returns the live line: on a terminal, unless it is to be quiet.
func (o *output) progress() *show.Progress {
	f, ok := o.stderr.(*os.File)
	if !ok || o.quiet || !term.IsTerminal(int(f.Fd())) {
		return &show.Progress{}
	}
	return show.NewProgress(f, func() int {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 {
			return columns
		}
		return columnsUnknown
	})
}

// checkedWriter passes everything on and keeps the first error, so that nobody who prints has to look at each.
type checkedWriter struct {
	to  io.Writer
	err error
}

// Write writes, unless writing has failed before.
func (w *checkedWriter) Write(data []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.to.Write(data)
	w.err = err
	return n, err
}
