package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/cluster_benchmark/report"
)

func reportCommand(stdout io.Writer) *cobra.Command {
	var name string
	c := &cobra.Command{
		Use:   "report RESULT...",
		Short: "Write results as one HTML file: tables, curves, stages, settings",
		Long: `Write the results of one or more files as one HTML file that needs nothing else, no network either: summary, latency by
percentile with all runs in one chart, throughput and latency over time, the stages of a put, settings, environment, and
what the safety checks said.

The file is named as the first result, with .html, unless --html says otherwise. A report that is there is replaced; any
other file is not.

Exit code: 0; 2 for a file that is no result, or one that can't be written.`,
		Example: `  cluster_benchmark report results/sweep.jsonl
  cluster_benchmark report results/old.jsonl results/new.jsonl --html old-new.html`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > sourcesMax {
				return usagef("%s: %d result files given, want 1 to %d", c.Name(), len(args), sourcesMax)
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			to := name
			if to == "" {
				to = strings.TrimSuffix(args[0], filepath.Ext(args[0])) + ".html"
			}
			return writeReport(stdout, args, to)
		},
	}
	c.Flags().Var(&pathFlag{&name, "FILE", "a file that can be written"}, "html", "the file to write")
	return c
}

func writeReport(stdout io.Writer, files []string, name string) error {
	sources, err := readSources(files)
	if err != nil {
		return err
	}
	for i := range sources {
		sources[i].Name = filepath.Base(sources[i].Name)
	}
	old, err := os.ReadFile(name)
	switch {
	case err == nil && !bytes.HasPrefix(old, []byte(report.Mark)):
		return usagef("--html %s: there is a file that is no report, want another name", quoted(name))
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return usagef("--html %s: %v, want a file that can be written", quoted(name), cause(err))
	}
	var page bytes.Buffer
	if err := report.Write(&page, sources); err != nil {
		return fmt.Errorf("report on %s: %w", strings.Join(files, ", "), err)
	}
	if err := os.WriteFile(name, page.Bytes(), 0o644); err != nil {
		return usagef("--html %s: %v, want a file that can be written", quoted(name), cause(err))
	}
	_, err = fmt.Fprintf(stdout, "Report: %s\n", name)
	return err
}
