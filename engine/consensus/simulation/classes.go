package simulation

import (
	"fmt"
	"slices"
)

// Class is a kind of fault, or of what administrators do. Each seed switches each on or off, and draws how much of it.
type Class uint8

// The classes.
const (
	ClassLoss        Class = iota // a message is lost; on the append lane the connection ends with it
	ClassDuplicate                // a message arrives twice
	ClassReplay                   // an old message arrives again, after seconds, restarts and changes of leader
	ClassDelay                    // messages are slow, and overtake each other; links have spikes
	ClassClog                     // a link delivers nothing for a while
	ClassPartition                // some nodes don't reach others, in one direction or both
	ClassReset                    // a connection ends
	ClassCorrupt                  // a bit of a message flips
	ClassFuture                   // a frame holds entries of a kind that only a newer build knows
	ClassKill                     // a process dies, its files stay as they were seen
	ClassPowerCut                 // a node loses power, and what was not synced lives or dies by itself
	ClassAllDown                  // all nodes lose power at once
	ClassStop                     // a node stops in order
	ClassOutage                   // a node stays down for long
	ClassPause                    // a process does nothing for a while
	ClassBurst                    // all its timers fire at once when it goes on
	ClassClock                    // clocks run fast or slow
	ClassStall                    // a disk hangs
	ClassSyncError                // a sync fails, and takes its bytes with it
	ClassShortWrite               // a write fails half-way
	ClassNoSpace                  // a disk is full for a while
	ClassReadError                // a read fails
	ClassRot                      // a bit of what is durable flips
	ClassLostWrite                // a write reports success and does nothing
	ClassStrayWrite               // a write reports success and lands elsewhere
	ClassWipe                     // a node comes back under its id with an empty disk
	ClassSnapshotRot              // a bit of a node's newest snapshot flips
	ClassReversion                // a node comes back with an old image of its disk, where that is allowed

	ClassLearner   // a node is added as a learner
	ClassPromote   // learners become voters
	ClassDemote    // voters become learners
	ClassRemove    // members are removed
	ClassReplace   // voters are exchanged for learners, in one change
	ClassQuorum    // another quorum system
	ClassJoint     // a membership of two configs, to stay in
	ClassPriority  // other priorities
	ClassAddress   // a node moves
	ClassRefusable // a change that must be refused
	ClassTransfer  // the leadership is handed over
	ClassElect     // a node is told to campaign
	ClassForget    // nodes are told to forget their leader
	ClassSwitch    // elections, heartbeats or pre-votes are switched off for a while
	ClassHeartbeat // a leader is told to send heartbeats

	// ClassEnd is one past the last class.
	ClassEnd
)

var classNames = [ClassEnd]string{"loss", "duplicate", "replay", "delay", "clog", "partition", "reset", "corrupt", "future", "kill",
	"power-cut", "all-down", "stop", "outage", "pause", "burst", "clock", "stall", "sync-error", "short-write", "no-space",
	"read-error", "rot", "lost-write", "stray-write", "wipe", "snapshot-rot", "reversion",
	"learner", "promote", "demote", "remove", "replace", "quorum", "joint", "priority", "address", "refusable",
	"transfer", "elect", "forget", "switch", "heartbeat"}

// changesMembership reports whether a class stands for a kind of membership change.
func (c Class) changesMembership() bool { return c >= ClassLearner && c <= ClassRefusable }

// String returns the class's name.
func (c Class) String() string {
	if c < ClassEnd {
		return classNames[c]
	}
	return fmt.Sprintf("Class(%d)", uint8(c))
}

// ParseClass returns the class of that name.
func ParseClass(name string) (Class, error) {
	if i := slices.Index(classNames[:], name); i >= 0 {
		return Class(i), nil
	}
	return 0, fmt.Errorf("%w: fault class %q", ErrName, name)
}
