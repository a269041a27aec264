package target

import "errors"

// ErrUnsupported is wrapped by who opens or drives a target when that can't serve the scenario at all, as a library without a
// log in files can't serve store wal, and a ceiling no reads. The target is left out, with a line that says why.
var ErrUnsupported = errors.New("not supported")

// errNoFollower is returned by Reader when no node but the leader runs; its caller asks again a little later.
var errNoFollower = errors.New("no follower runs")

// errTooShort is returned by Play when the measured time was over before the event was.
var errTooShort = errors.New("the measured time was over before it had happened")

// errNoRecovery is returned by Play when no put was acknowledged between the kill of the leader and the end of the measured
// time.
var errNoRecovery = errors.New("no put was acknowledged any more in the measured time, want a longer one or less load")

// errNoLeader is returned while a cluster elects: by Proposer and Reader, whose caller asks again a little later, and by Play, and by Settle when
// its time ran out.
var errNoLeader = errors.New("no node leads")
