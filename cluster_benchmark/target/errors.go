package target

import "errors"

// ErrUnsupported is wrapped by who opens or drives a target when that can't serve the scenario at all, as a library without a
// log in files can't serve store wal, and a ceiling no reads. The target is left out, with a line that says why.
var ErrUnsupported = errors.New("not supported")

// errNoFollower is returned by Reader when no node but the leader runs; its caller asks again a little later.
var errNoFollower = errors.New("no follower runs")

// ErrOver is wrapped by what Play returns when the measured time was over before something had happened, which takes a
// longer one, or less load.
var ErrOver = errors.New("the measured time was over before")

// errNoLeader is returned while a cluster elects: by Proposer and Reader, whose caller asks again a little later, by Play,
// and by Settle when its time ran out.
var errNoLeader = errors.New("no node leads")
