package peer

import (
	"errors"
	"fmt"

	"github.com/millrace/millrace/cluster_benchmark/target"
)

// Exit codes of a process that measures.
const (
	exitOK          = 0
	exitFailed      = 1
	exitRefused     = 2
	exitInterrupted = 130 // 128 + SIGINT, as shells say it; SIGTERM is taken the same way
)

// ErrUnsupported is [target.ErrUnsupported], for a [Target]'s Open. [Command.Measure] returns it; who compares leaves the
// target out and says why.
var ErrUnsupported = target.ErrUnsupported

// errInterrupted is returned by [Peer.Serve] when its context ended a measurement early, after its result was written, and
// nothing else is wrong.
var errInterrupted = errors.New("interrupted")

// requestError says what is wrong with a request. [Peer.Serve] returns it before anything is measured.
type requestError struct{ problem string }

func (e *requestError) Error() string { return "request: " + e.problem }

func requestf(format string, args ...any) error { return &requestError{fmt.Sprintf(format, args...)} }

// unsupportedError is [ErrUnsupported] in the words of the process that said so. [Command.Measure] returns it.
type unsupportedError struct{ why string }

func (e *unsupportedError) Error() string { return e.why }

// Unwrap returns [ErrUnsupported].
func (e *unsupportedError) Unwrap() error { return ErrUnsupported }

// failure says why a process gave no result. [Command.Measure] returns it; who compares goes on with the next target.
type failure struct{ problem string }

func (e *failure) Error() string { return e.problem }

// ExitCode returns what an error of [Peer.Serve] means.
func ExitCode(err error) int {
	var request *requestError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &request), errors.Is(err, ErrUnsupported):
		return exitRefused
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	}
	return exitFailed
}
