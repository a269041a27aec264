package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/millrace/millrace/cluster_benchmark/result"
)

// baselinesDir holds the baselines, in a folder for each kind of machine. It is below the current directory, as results are:
// beside the profiles of a working copy.
var baselinesDir = filepath.Join("profiles", "baselines")

const wantsBaseline = "a name of letters, digits, dots, dashes and underscores, of which the first is a letter or digit"

var baselineName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// baselineFlag is the name of a baseline as a flag.
type baselineFlag struct{ name *string }

// String returns the name, "" without.
func (f baselineFlag) String() string {
	if f.name == nil {
		return ""
	}
	return *f.name
}

// Set takes a name that is one of a file on any system.
func (f baselineFlag) Set(text string) error {
	if !baselineName.MatchString(text) {
		return errNoBaseline
	}
	*f.name = text
	return nil
}

// Type names the value in the help.
func (baselineFlag) Type() string { return "NAME" }

// baselineFile returns where the baseline of a kind of machine is.
func baselineFile(kind, name string) string { return filepath.Join(baselinesDir, kind, name+".jsonl") }

// checkBaseline says before anything is measured that a baseline can't be made.
func checkBaseline(kind, name string) error {
	file := baselineFile(kind, name)
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return usagef("--save-baseline %s: %s is there and is not overwritten, want another name, or remove it", name, quoted(file))
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return usagef("--save-baseline %s: %v, want to write below profiles in the current directory", name, cause(err))
	}
	return nil
}

// saveBaseline writes a run's results, in one step.
func saveBaseline(kind, name string, results []result.Result) (file string, err error) {
	var lines bytes.Buffer
	for i := range results {
		if err := result.WriteLine(&lines, &results[i]); err != nil {
			return "", err
		}
	}
	file = baselineFile(kind, name)
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err == nil {
		_, err = f.Write(lines.Bytes())
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(file))
		}
	}
	if err != nil {
		return "", fmt.Errorf("--save-baseline %s: %w", name, cause(err))
	}
	return file, nil
}

// findBaseline returns the file of a baseline of the kind of machine that results were measured on.
func findBaseline(name, beside string) (string, error) {
	sources, err := readSources([]string{beside})
	if err != nil {
		return "", err
	}
	kind := sources[0].Results[0].Machine.Kind()
	file := baselineFile(kind, name)
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	others, err := filepath.Glob(baselineFile("*", name))
	if err != nil {
		return "", err
	}
	for i := range others {
		others[i] = filepath.Base(filepath.Dir(others[i]))
	}
	there := "none of that name is there"
	if len(others) > 0 {
		there = "there is one of " + strings.Join(others, ", ")
	}
	return "", usagef("--baseline %s: no %s, and %s was measured on that kind of machine; %s", name, quoted(file), quoted(beside), there)
}
