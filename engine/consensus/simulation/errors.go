package simulation

import "errors"

// ErrViolation is wrapped by [Result].Err when a run broke a promise. It is a bug of the code that was run, or of the
// simulator; the seed shows it again.
var ErrViolation = errors.New("promise broken")

// ErrName is wrapped by [ParseClass] for a name that no class has. The caller corrects it.
var ErrName = errors.New("unknown name")

// errDown is what an administrator hears of a node that is not there, or ended before it had done what it was asked for.
var errDown = errors.New("node is down")

// errRefused is what a client hears whose proposal was not taken.
var errRefused = errors.New("not taken")
