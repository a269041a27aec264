package show

import (
	"strings"

	"github.com/millrace/millrace/cluster_benchmark/result"
)

// Settings says what is the same for all groups, of which there is at least one, and what tells each apart, "" where nothing
// does.
func Settings(groups []result.Group) (same, apart []string) {
	same, differ := conditions(groups)
	for i := range groups {
		var words []string
		for _, c := range differ {
			if v := c.of(&groups[i].Key); v != "" {
				words = append(words, c.words(v))
			}
		}
		apart = append(apart, strings.Join(words, ", "))
	}
	return same, apart
}

// Count returns a number with commas between the thousands, rounded.
func Count(v float64) string { return count(v) }

// Microseconds returns a time given in microseconds with three significant digits and a fitting unit.
func Microseconds(us float64) string { return latency(us) }

// Significant returns three digits of a number from 0 to 1000, and whole numbers above.
func Significant(v float64) string { return significant(v) }
