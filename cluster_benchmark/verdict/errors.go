package verdict

import (
	"fmt"

	"github.com/millrace/millrace/cluster_benchmark/result"
)

// TooFewError says that there are too few rounds to tell a difference from noise. [Gate] returns it; the caller shows it
// to who asked, since a gate that can't judge must not pass.
type TooFewError struct {
	Source   int // that was compared with the first one
	Key      result.Key
	Old, New int // rounds
}

// Error names the numbers and what is needed.
func (e *TooFewError) Error() string {
	return fmt.Sprintf("too few rounds to tell a difference from noise: %d and %d, want at least %d each", e.Old, e.New, RoundsMin)
}
