package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
)

// gcPercent is the collector's target for every run; see doc.go.
const gcPercent = 400

func main() {
	debug.SetGCPercent(gcPercent)
	os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr))
}

// execute runs a command line and returns the exit code.
func execute(args []string, stdout, stderr io.Writer) int {
	out := &checkedWriter{to: stdout}
	root := rootCommand(out, stderr)
	root.SetArgs(args)
	err := root.Execute()
	if err == nil && out.err != nil {
		err = fmt.Errorf("standard output: %w", out.err)
	}
	code := exitCode(err)
	if code == exitFailed || code == exitUsage {
		fmt.Fprintln(stderr, err)
	}
	return code
}

// exitCode returns what a command's error means.
func exitCode(err error) int {
	var usage *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	}
	return exitFailed
}
