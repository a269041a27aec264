package session

import (
	"fmt"

	"github.com/millrace/millrace/codec"
)

// ExpiredError is the answer to a command or close of a session that the table does not hold: it was closed, evicted for
// newer ones, or never opened. The entry has no effect; whether an earlier one with the same serial had can't be told any
// more. The client opens a new session, and finds out by other means what became of its open commands.
type ExpiredError struct{ Session ID }

// Error names the session.
func (e *ExpiredError) Error() string {
	return fmt.Sprintf("session %d is not known: it was closed, or evicted for newer ones", e.Session)
}

// AppliedError is the answer to a command that took effect and whose answer can't be given: it was larger than what is
// kept, or got lost with a node that keeps its state on disk. The client must not repeat it under another serial.
type AppliedError struct {
	Session ID // 0 for a command outside of any session
	Serial  uint64
	LogID   codec.LogID // of the entry that took effect
}

// Error names the command and its entry.
func (e *AppliedError) Error() string {
	if e.Session == 0 {
		return fmt.Sprintf("the proposal was applied as %v, its answer is lost", e.LogID)
	}
	return fmt.Sprintf("command %d of session %d was applied as %v, its answer is lost", e.Serial, e.Session, e.LogID)
}

// AnsweredError is the answer to a command whose serial the client has acknowledged, with this command or a later one: it
// is a straggler, or a mistake of the client. This entry has no effect.
type AnsweredError struct {
	Session          ID
	Serial, Answered uint64 // Serial <= Answered
}

// Error names the command and what was acknowledged.
func (e *AnsweredError) Error() string {
	return fmt.Sprintf("command %d of session %d: its client has acknowledged the answers up to %d", e.Serial, e.Session, e.Answered)
}

// WindowError is the answer to a command that is too far above what the client has acknowledged. It has no effect.
type WindowError struct {
	Session          ID
	Serial, Answered uint64
}

// Error names the command, what was acknowledged, and the limit.
func (e *WindowError) Error() string {
	return fmt.Sprintf("command %d of session %d, answers acknowledged up to %d: want at most %d above", e.Serial, e.Session, e.Answered, WindowMax)
}
