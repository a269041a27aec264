package load

import "errors"

// ErrGone is wrapped by [Source.Proposer] when no put can ever be taken again. Clients then end before their time.
var ErrGone = errors.New("target is gone")
