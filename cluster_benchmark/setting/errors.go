package setting

import "fmt"

// ValueError says that a setting can't take a value. The caller shows it to who wrote the value.
type ValueError struct {
	// Setting is the name as in a flag, without dashes.
	Setting string
	// Value is what was given.
	Value string
	// Want says what the setting takes.
	Want string
}

// Error returns one line with the setting, the value and what it takes.
func (e *ValueError) Error() string { return fmt.Sprintf("%s %q: want %s", e.Setting, e.Value, e.Want) }

// ProfileError says what is wrong with a profile and where. [ParseProfile] returns it for anything it can't use; the
// caller shows it to who wrote the file.
type ProfileError struct {
	File    string
	Line    int // 0 where the file as a whole is meant
	Problem string
}

// Error returns "file:line: problem".
func (e *ProfileError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Problem)
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Problem)
}
