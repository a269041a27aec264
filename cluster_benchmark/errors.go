package main

import (
	"errors"
	"fmt"
	"strings"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130 // 128 + SIGINT, as shells say it; SIGTERM is taken the same way
)

// usageError says that what was asked for can't be done as it was written. Any command returns it; main prints it and
// exits with 2. Its text is one line that names the flag or argument, the value and what it takes.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// errNoPath is returned for an empty path by a flag that takes one; the flag's name and what it takes are added by
// [flagError].
var errNoPath = errors.New("empty path")

// errNoPercent is returned by a flag for what is not a percentage; the flag's name and what it takes are added by
// [flagError].
var errNoPercent = errors.New("no percentage")

// errNoBaseline is returned by a flag for what can't be the name of a baseline; the flag's name and what it takes are added
// by [flagError].
var errNoBaseline = errors.New("no name")

// errInterrupted is returned by a run that ctrl-C or SIGTERM ended early, after its results were written, when nothing
// else is wrong with it. main exits with 130.
var errInterrupted = errors.New("interrupted")

// unusableError says that figures of a run can't be used: a safety check that failed or could not be made, no put in the
// measured time, or an exceeded ceiling. A run returns it, after its results were written and shown; main prints it and
// exits with 1.
type unusableError struct {
	problem string // the first one, on a line
	file    string // that holds the results
}

func (e *unusableError) Error() string {
	return fmt.Sprintf("the figures can't be used: %s; results: %s", e.problem, e.file)
}

// worseError says that a comparison found figures worse than allowed, or such that can't be used. The command compare
// returns it with --fail-above, after it has shown the comparison; main exits with 1.
type worseError struct {
	limit float64 // percent
	lines []string
}

func (e *worseError) Error() string {
	return fmt.Sprintf("worse than A by more than %g %%, or not to be used:\n    %s", e.limit, strings.Join(e.lines, "\n    "))
}

// absentError says that some measurements gave no result, although the others went on. The command peers returns it, after
// what was measured was written and shown; main exits with 1.
type absentError struct {
	failed []absence // at least one
	file   string
}

func (e *absentError) Error() string {
	noun := "measurements"
	if len(e.failed) == 1 {
		noun = "measurement"
	}
	return fmt.Sprintf("%d %s failed, the first: %v; results: %s", len(e.failed), noun, &e.failed[0], e.file)
}

// nothingError says that no target could be measured in any scenario. A run returns it; main exits with 1.
type nothingError struct{ first string }

func (e *nothingError) Error() string { return "nothing was measured: " + e.first }

// servedError is what a measurement for another process ended with. The command measure returns it; main exits with the
// code that package peer gives it.
type servedError struct{ error }

// Unwrap returns the error of package peer.
func (e *servedError) Unwrap() error { return e.error }

// errNoProgram is wrapped by [findProgram] when the program around another library is not there. The library is left out,
// with the reason.
var errNoProgram = errors.New("no program")
