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
	root := rootCommand(stdout, stderr)
	root.SetArgs(args)
	err := root.Execute()
	var usage *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		fmt.Fprintln(stderr, err)
		return exitUsage
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	}
	fmt.Fprintln(stderr, err)
	return exitFailed
}
