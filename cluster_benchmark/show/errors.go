package show

import "errors"

// ErrNothingShared is returned by [Compare] when no scenario is in all sources. The caller shows it to who chose them.
var ErrNothingShared = errors.New("the results have no scenario in common: compare the same targets, clients, payload and so on")
