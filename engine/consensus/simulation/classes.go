package simulation

import "fmt"

// Class is a kind of fault. Each seed switches each on or off, and draws how much of it.
type Class uint8

// The classes.
const (
	ClassLoss       Class = iota // a message is lost; on the append lane the connection ends with it
	ClassDuplicate               // a message arrives twice
	ClassReplay                  // a message arrives again seconds later
	ClassDelay                   // messages are slow, and overtake each other; links have spikes
	ClassClog                    // a link delivers nothing for a while
	ClassPartition               // some nodes don't reach others, in one direction or both
	ClassReset                   // a connection ends
	ClassCorrupt                 // a bit of a message flips
	ClassKill                    // a process dies, its files stay as they were seen
	ClassPowerCut                // a node loses power, and what was not synced lives or dies by itself
	ClassAllDown                 // all nodes lose power at once
	ClassStop                    // a node stops in order
	ClassOutage                  // a node stays down for long
	ClassPause                   // a process does nothing for a while
	ClassClock                   // clocks run fast or slow
	ClassStall                   // a disk hangs
	ClassSyncError               // a sync fails, and takes its bytes with it
	ClassShortWrite              // a write fails half-way
	ClassNoSpace                 // a disk is full for a while

	// ClassEnd is one past the last class.
	ClassEnd
)

// String returns the class's name.
func (c Class) String() string {
	names := [...]string{"loss", "duplicate", "replay", "delay", "clog", "partition", "reset", "corrupt", "kill", "power-cut",
		"all-down", "stop", "outage", "pause", "clock", "stall", "sync-error", "short-write", "no-space"}
	if c < ClassEnd {
		return names[c]
	}
	return fmt.Sprintf("Class(%d)", uint8(c))
}

// ParseClass returns the class of that name.
func ParseClass(name string) (Class, error) {
	for c := range ClassEnd {
		if c.String() == name {
			return c, nil
		}
	}
	return 0, fmt.Errorf("%w: fault class %q", ErrName, name)
}
