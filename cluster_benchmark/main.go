package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/millrace/millrace/cluster_benchmark/peer"
)

func main() {
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
	var served *servedError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &served):
		return peer.ExitCode(served.error)
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	}
	return exitFailed
}
