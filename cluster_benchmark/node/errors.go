package node

import (
	"errors"
	"fmt"

	"github.com/millrace/millrace/codec"
)

// VersionError says that a node speaks another version of the client protocol. Whoever connects returns it. The same build
// must run on all machines.
type VersionError struct {
	Address string
	Version uint16
}

// Error names the address and both versions.
func (e *VersionError) Error() string {
	return fmt.Sprintf("%s speaks version %d of the suite's client protocol, this program version %d: want the same build on all machines",
		e.Address, e.Version, ProtocolVersion)
}

// RefusedError is what a node said to a question that it does not serve, as when another run is using it. Its text is the
// node's.
type RefusedError struct {
	Address string
	Text    string
}

// Error names the node's address.
func (e *RefusedError) Error() string { return e.Address + ": " + e.Text }

// ClusterError says that nodes do not make up one cluster that can be measured: one is missing, given twice, or of another.
// [Describe] and [Connect] return it; the caller corrects the addresses.
type ClusterError struct{ Problem string }

// Error returns the problem.
func (e *ClusterError) Error() string { return e.Problem }

// errNoLeader is returned while the nodes elect: by Proposer, whose caller asks again a little later, and by Settle.
var errNoLeader = errors.New("no node leads")

// errRetired is why a put was not taken by a connection to a node that no longer leads. It certainly did not happen; the
// caller asks for the next leader.
var errRetired = errors.New("the node does not lead any more")

// errSilent ends a connection on which a node owes answers and sends nothing. What it owes has an unknown fate.
var errSilent = errors.New("no answer in time")

// refusedError is what a node said to puts that certainly did not happen.
type refusedError struct {
	node codec.NodeID
	text string
}

func (e *refusedError) Error() string { return e.text }

// fateError is what is known of puts whose fate is not, as the cause in a pipeline.UnknownError.
type fateError struct {
	node codec.NodeID
	text string
}

func (e *fateError) Error() string { return fmt.Sprintf("node %d: %s", e.node, e.text) }
