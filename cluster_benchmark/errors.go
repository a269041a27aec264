package main

import (
	"errors"
	"fmt"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130 // 128 + SIGINT, as shells say it
)

// usageError says that what was asked for can't be done as it was written. Any command returns it; main prints it and
// exits with 2. Its text is one line that names the flag or argument, the value and what it takes.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// errInterrupted is returned by a run that ctrl-C ended early, after its results were written. main exits with 130.
var errInterrupted = errors.New("interrupted")

// errUnusable is returned by a run whose figures can't be used: a failed safety check or an exceeded ceiling. The table
// and the results have said which; main exits with 1.
var errUnusable = errors.New("the figures can't be used")
