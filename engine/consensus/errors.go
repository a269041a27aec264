package consensus

import "errors"

// ErrConfig is wrapped by the error of [New] for a [Config] whose field is out of its bounds. The caller corrects it.
var ErrConfig = errors.New("consensus config")

// ErrLogState is wrapped by the error of [New] for a log whose parts contradict each other: frames with a gap, a
// membership entry without its membership, an entry of a leader above the stored vote. The log is damaged in a way its
// checksums do not show; the node must not start.
var ErrLogState = errors.New("log state")

// ErrCommittedConflict is wrapped by [Output.Fatal] when an established leader's log contradicts an entry that is
// committed here. That can't happen while every node keeps what it promised: somewhere a durable log was lost, replaced
// or damaged, or a peer does not follow the protocol. The caller stops the node; going on could only spread it.
var ErrCommittedConflict = errors.New("leader's log contradicts a committed entry")

// ErrTermsExhausted is wrapped by [Output.Fatal] when the next campaign would need a term above the greatest one that
// is accepted from others. Only a peer that invents terms can bring a cluster there. The caller stops the node.
var ErrTermsExhausted = errors.New("no terms left")
