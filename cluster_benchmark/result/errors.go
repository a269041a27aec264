package result

import "fmt"

// FormatError says that a file is not a result of this suite. [ReadFile] returns it; the caller shows it to who named
// the file.
type FormatError struct {
	File    string
	Line    int // 0 where the file as a whole is meant
	Problem string
}

// Error returns "file:line: problem".
func (e *FormatError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Problem)
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Problem)
}
