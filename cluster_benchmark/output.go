package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/cluster_benchmark/show"
)

// output is where the results of a run go. The fields are flags; open makes the files.
type output struct {
	dir    string
	json   string
	hgrm   string
	quiet  bool
	stdout io.Writer
	stderr io.Writer

	file    *os.File  // under dir
	extra   io.Writer // for json; nil without
	extraTo *os.File  // to be closed; nil for standard output
	single  bool      // the run makes one result
	written int
	hgrms   []string // files written
}

// open makes the files, so that a path that can't be used is known before anything is measured.
func (o *output) open(plan *setting.Plan, results int) error {
	o.single = results == 1
	if o.hgrm != "" {
		if info, err := os.Stat(filepath.Dir(o.hgrm)); err != nil || !info.IsDir() {
			return usagef("--hgrm %s: %s is no directory, want a file in one that exists", quoted(o.hgrm), quoted(filepath.Dir(o.hgrm)))
		}
	}
	var err error
	if o.file, err = result.Create(o.dir, plan.Profile, time.Now()); err != nil {
		return usagef("--out %s: %v, want a directory that can be written to", quoted(o.dir), cause(err))
	}
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
	return nil
}

// write writes one result everywhere.
func (o *output) write(r *result.Result) error {
	if err := result.WriteLine(o.file, r); err != nil {
		return err
	}
	if o.extra != nil {
		if err := result.WriteLine(o.extra, r); err != nil {
			return fmt.Errorf("--json %s: %w", quoted(o.json), err)
		}
	}
	o.written++
	if o.hgrm == "" {
		return nil
	}
	return o.writeHGRM(r)
}

func (o *output) writeHGRM(r *result.Result) error {
	name := o.hgrm
	if !o.single {
		ext := filepath.Ext(name)
		name = fmt.Sprintf("%s.%s-%dn-%dc-%di-%db-%dB-r%d%s", strings.TrimSuffix(name, ext), r.Target,
			r.Nodes, r.Clients, r.Inflight, r.Batch, r.Payload, r.Round, ext)
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	o.hgrms = append(o.hgrms, name)
	err = result.WriteHGRM(f, r.Histogram)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// finish shows the table and says where the files lie.
func (o *output) finish(results []result.Result, failure error) {
	if o.quiet || len(results) == 0 && !errors.Is(failure, errInterrupted) {
		return
	}
	w := o.stdout
	if o.json == "-" {
		w = o.stderr
	}
	if len(results) == 0 {
		fmt.Fprintln(w, "Interrupted before anything was measured.")
		return
	}
	show.Table(w, results)
	fmt.Fprintf(w, "Results: %s\n", o.file.Name())
	if o.extraTo != nil {
		fmt.Fprintf(w, "         %s\n", o.json)
	}
	for _, name := range o.hgrms {
		fmt.Fprintf(w, "Histogram: %s\n", name)
	}
}

// close closes the files; one without results is not left behind.
func (o *output) close() error {
	err := o.file.Close()
	if o.written == 0 {
		err = errors.Join(err, os.Remove(o.file.Name()))
	}
	if o.extraTo != nil {
		err = errors.Join(err, o.extraTo.Close())
	}
	return err
}

// progress returns the live line: on a terminal, unless it is to be quiet.
func (o *output) progress() *show.Progress {
	if f, ok := o.stderr.(*os.File); ok && !o.quiet && term.IsTerminal(int(f.Fd())) {
		return show.NewProgress(f)
	}
	return &show.Progress{}
}
