package engine

import (
	"errors"
	"fmt"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
)

// ErrBusy is what calls that do not wait return when a bound is reached. Nothing was proposed; try again later.
var ErrBusy = pipeline.ErrBusy

// ErrStopped is wrapped by what is returned after [Raft.Close], or after the node stopped itself (see [Raft.Err]).
var ErrStopped = pipeline.ErrStopped

// ErrTooLarge is wrapped when a proposal exceeds [Config.ProposalBytesMax]. Nothing was proposed.
var ErrTooLarge = pipeline.ErrTooLarge

// ErrInitialized is returned by [Raft.Initialize] on a node that already holds a log or a vote: it belongs to a cluster.
var ErrInitialized = errors.New("already initialized")

// errLostLeadership is the cause in the [UnknownError] of proposals that a leader had accepted and not committed when it
// lost its office. The caller asks the next leader what became of them.
var errLostLeadership = errors.New("this node lost its leadership")

// UnknownError is the answer to a proposal whose fate is not known.
type UnknownError = pipeline.UnknownError

// StateMachineError is what stops a node whose state machine failed.
type StateMachineError = pipeline.StateMachineError

// NotLeaderError is the answer of a node that does not lead. Nothing was proposed; ask the leader.
type NotLeaderError struct {
	// Node is the node that was asked.
	Node codec.NodeID
	// Leader is the leader it knows of, with its address; the zero Node when it knows none.
	Leader codec.Node
}

// Error names the node and the leader.
func (e *NotLeaderError) Error() string {
	if e.Leader.ID == 0 {
		return fmt.Sprintf("node %d is not the leader and knows none", e.Node)
	}
	return fmt.Sprintf("node %d is not the leader; node %d at %q is", e.Node, e.Leader.ID, e.Leader.Address)
}

// ConfigError says which field of a [Config] can't be used, with its value and what was expected.
type ConfigError struct {
	Field string
	Value any
	Want  string
}

// Error returns the field, the value and what is wanted.
func (e *ConfigError) Error() string {
	return fmt.Sprintf("config: %s is %v, want %s", e.Field, e.Value, e.Want)
}

// IncarnationError refuses a peer that claims a node id which another data directory has used before. A node that lost
// its data may have forgotten votes and acknowledgements; it must come back under a new id.
type IncarnationError struct {
	Node      codec.NodeID
	Seen, Got codec.Incarnation
}

// Error names both incarnations.
func (e *IncarnationError) Error() string {
	return fmt.Sprintf("node %d comes with incarnation %v, seen before with %v: its data directory is another one", e.Node, e.Got, e.Seen)
}
