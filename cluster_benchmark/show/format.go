package show

import (
	"fmt"
	"strconv"

	"github.com/millrace/millrace/cluster_benchmark/result"
)

// count returns a number with commas between the thousands, rounded.
func count(v float64) string {
	digits := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// plural returns a number with what it counts: 1 check, 2 checks.
func plural(n uint64, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return count(float64(n)) + " " + noun
}

// latency returns microseconds with three significant digits and a fitting unit.
func latency(us float64) string {
	switch {
	case us >= 1e6:
		return significant(us/1e6) + " s"
	case us >= 1e3:
		return significant(us/1e3) + " ms"
	default:
		return significant(us) + " µs"
	}
}

// significant returns three digits of a number from 0 to 1000, and whole numbers above.
func significant(v float64) string {
	decimals := 0
	switch {
	case v < 10:
		decimals = 2
	case v < 100:
		decimals = 1
	}
	return strconv.FormatFloat(v, 'f', decimals, 64)
}

// times returns a ratio, as 1.50x.
func times(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) + "x" }

// column is one of the settings that tell scenarios apart.
type column struct {
	title string
	of    func(*result.Key) string
	words func(string) string // how it is said above a table
}

func plain(words string) func(string) string {
	return func(v string) string { return v + " " + words }
}

func columns() []column {
	return []column{
		{"nodes", func(k *result.Key) string { return strconv.Itoa(k.Nodes) }, plain("nodes")},
		{"store", func(k *result.Key) string { return k.Store }, func(v string) string { return "store " + v }},
		{"net", func(k *result.Key) string { return k.Net }, func(v string) string { return "net " + v }},
		{"where", nodesAt, func(v string) string { return v }},
		{"clients", func(k *result.Key) string { return strconv.Itoa(k.Clients) }, plain("clients")},
		{"inflight", func(k *result.Key) string { return strconv.Itoa(k.Inflight) }, plain("in flight each")},
		{"batch", func(k *result.Key) string { return strconv.Itoa(k.Batch) }, func(v string) string { return "batch " + v }},
		{"payload", func(k *result.Key) string { return strconv.Itoa(k.Payload) + " B" }, func(v string) string { return "payload " + v }},
		{"due/s", func(k *result.Key) string {
			if k.Rate == 0 {
				return ""
			}
			return count(k.Rate)
		}, plain("put/s due")},
		{"arrivals", func(k *result.Key) string { return k.Arrivals }, plain("arrivals")},
		{"reads", func(k *result.Key) string {
			if k.ReadRatio == 0 {
				return ""
			}
			return strconv.FormatFloat(100*k.ReadRatio, 'f', -1, 64) + " % " + k.Read
		}, plain("reads")},
		{"event", func(k *result.Key) string { return k.Event }, func(v string) string { return "event " + v }},
	}
}

// nodesAt says where nodes ran, if not in the process of their clients.
func nodesAt(k *result.Key) string {
	switch {
	case k.Connect:
		return "connected nodes"
	case k.Processes:
		return "a process each"
	}
	return ""
}

// conditions splits the settings into those that are the same for all groups, in words, and those that differ. What none
// of them has is in neither.
func conditions(groups []result.Group) (same []string, differ []column) {
	for _, c := range columns() {
		first := c.of(&groups[0].Key)
		equal := true
		for i := range groups {
			equal = equal && c.of(&groups[i].Key) == first
		}
		switch {
		case equal && first == "":
		case equal:
			same = append(same, c.words(first))
		default:
			differ = append(differ, c)
		}
	}
	return same, differ
}

// describe says on one line what was measured with.
func describe(r *result.Result) string {
	commit := r.Commit
	if len(commit) > 12 {
		commit = commit[:12]
	}
	if r.Dirty {
		commit += ", modified"
	}
	return fmt.Sprintf("%s (%s), %s, GOGC %d, %s", r.Version, commit, r.Go, r.GOGC, machine(&r.Machine))
}

func machine(m *result.Machine) string {
	return fmt.Sprintf("%s, %s, %s, %s", m.CPU, plural(uint64(m.Cores), "core"), m.Kernel, m.Filesystem)
}
