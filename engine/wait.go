package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/codec"
)

// Condition is what [Raft.Wait] waits for.
type Condition struct {
	// What completes the sentence "waiting for ..." in errors.
	What string
	// Holds looks at a node's metrics, on the waiter's goroutine. It must not change them.
	Holds func(Metrics) bool
}

// Wait returns as soon as the condition holds on this node, with the metrics in which it does. It looks whenever the node has
// done something, so a condition on what changes by time alone may be seen late; see [Watch]. Errors: the context's, or what
// wraps [ErrStopped] where the node has ended and the condition does not hold in its last metrics; both say what was waited
// for, and come with the newest metrics that were seen. An [ArgumentError] for a condition without a function.
func (r *Raft) Wait(ctx context.Context, c Condition) (Metrics, error) {
	var seen Metrics
	if c.Holds == nil {
		return seen, &ArgumentError{"Wait", "a condition without Holds", "a function there"}
	}
	holds := false
	err := r.follow(ctx, func(m Metrics) bool {
		seen, holds = m, c.Holds(m)
		return !holds
	})
	if holds {
		return seen, nil
	}
	return seen, fmt.Errorf("waiting for %s: %w", c.What, err)
}

// When is a condition of the caller's own.
func When(what string, holds func(Metrics) bool) Condition { return Condition{what, holds} }

// All holds when each of them does.
func All(conditions ...Condition) Condition {
	if slices.ContainsFunc(conditions, lame) {
		return Condition{What: joined(conditions, " and ")}
	}
	return Condition{joined(conditions, " and "), func(m Metrics) bool {
		return !slices.ContainsFunc(conditions, func(c Condition) bool { return !c.Holds(m) })
	}}
}

// Any holds when one of them does.
func Any(conditions ...Condition) Condition {
	if slices.ContainsFunc(conditions, lame) {
		return Condition{What: joined(conditions, " or ")}
	}
	return Condition{joined(conditions, " or "), func(m Metrics) bool {
		return slices.ContainsFunc(conditions, func(c Condition) bool { return c.Holds(m) })
	}}
}

// lame reports whether a condition has no function, and with it those that are made of it.
func lame(c Condition) bool { return c.Holds == nil }

func joined(conditions []Condition, word string) string {
	var whats []string
	for _, c := range conditions {
		whats = append(whats, c.What)
	}
	return strings.Join(whats, word)
}

// HasLeader holds on a node that knows of a leader.
func HasLeader() Condition {
	return Condition{"a leader", func(m Metrics) bool { return m.Leader != 0 }}
}

// LeaderIs holds on a node that takes that one for the leader.
func LeaderIs(id codec.NodeID) Condition {
	return Condition{fmt.Sprintf("node %d to lead", id), func(m Metrics) bool { return m.Leader == id }}
}

// RoleIs holds on a node in that role.
func RoleIs(role Role) Condition {
	return Condition{fmt.Sprintf("the role %v", role), func(m Metrics) bool { return m.Role == role }}
}

// TermAtLeast holds on a node that has given or followed a vote of that term or a later one.
func TermAtLeast(term codec.Term) Condition {
	return Condition{fmt.Sprintf("term %d", term), func(m Metrics) bool { return m.Term >= term }}
}

// Established holds on a leader whose first entry is committed: it knows of everything that was committed before it, and has
// been answered by a write quorum.
func Established() Condition {
	return Condition{"this node to lead with an entry of its own committed", func(m Metrics) bool { return m.Established }}
}

// QuorumWithin holds on a leader that a write quorum has answered something that was sent no longer ago than that.
func QuorumWithin(age time.Duration) Condition {
	return Condition{fmt.Sprintf("an answer of a write quorum within %v", age), func(m Metrics) bool {
		return m.Established && m.QuorumAge <= age
	}}
}

// LastAtLeast holds on a node whose log reaches that index, durable or not.
func LastAtLeast(index codec.Index) Condition {
	return Condition{fmt.Sprintf("the log to reach index %d", index), func(m Metrics) bool { return m.Last.Index >= index }}
}

// FlushedAtLeast holds on a node whose log is durable up to that index.
func FlushedAtLeast(index codec.Index) Condition {
	return Condition{fmt.Sprintf("index %d to be flushed", index), func(m Metrics) bool { return m.Flushed.Index >= index }}
}

// CommittedAtLeast holds on a node that knows everything up to that index to be committed.
func CommittedAtLeast(index codec.Index) Condition {
	return Condition{fmt.Sprintf("index %d to be committed", index), func(m Metrics) bool { return m.Commit >= index }}
}

// AppliedAtLeast holds on a node whose state machine has everything up to that index.
func AppliedAtLeast(index codec.Index) Condition {
	return Condition{fmt.Sprintf("index %d to be applied", index), func(m Metrics) bool { return m.Applied >= index }}
}

// SnapshotAtLeast holds on a node with a snapshot of everything up to that index.
func SnapshotAtLeast(index codec.Index) Condition {
	return Condition{fmt.Sprintf("a snapshot up to index %d", index), func(m Metrics) bool { return m.Snapshot.Index >= index }}
}

// PurgedAtLeast holds on a node whose log begins behind that index.
func PurgedAtLeast(index codec.Index) Condition {
	return Condition{fmt.Sprintf("index %d to be purged", index), func(m Metrics) bool { return m.Purged.Index >= index }}
}

// MembershipHas holds on a node by whose membership all of these belong to the cluster, as voters or learners.
func MembershipHas(ids ...codec.NodeID) Condition {
	ids = slices.Clone(ids)
	return Condition{fmt.Sprintf("nodes %v to be members", ids), func(m Metrics) bool {
		return !slices.ContainsFunc(ids, func(id codec.NodeID) bool {
			_, member := m.Membership.Node(id)
			return !member
		})
	}}
}

// VotersAre holds on a node that knows a membership to be committed in which exactly these are the voters.
func VotersAre(ids ...codec.NodeID) Condition {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	return Condition{fmt.Sprintf("nodes %v to be the voters", ids), func(m Metrics) bool {
		var voters []codec.NodeID
		for _, n := range m.Membership.Nodes {
			if m.Membership.IsVoter(n.ID) {
				voters = append(voters, n.ID)
			}
		}
		return m.Membership.Committed && slices.Equal(voters, ids)
	}}
}
