package target

import "errors"

// errNoLeader is returned while a cluster elects: by Proposer, whose caller asks again a little later, and by Settle when
// its time ran out.
var errNoLeader = errors.New("no node leads")
