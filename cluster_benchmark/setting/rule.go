package setting

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Rule is one setting: its name, what it means, and how a value gets into a plan.
type Rule struct {
	// Name is the flag without its dashes. In a profile it is a key, with underscores for dashes; see [Rule.Key].
	Name string
	// About says what the setting means, for --help.
	About string
	// Wants says which values it takes, as in "integers from 1 to 15, separated by commas".
	Wants string
	// List says that several values make a sweep or a list.
	List bool
	// Switch says that the flag alone, without a value, means true.
	Switch bool
	// ProfileOnly keeps the setting out of the flags.
	ProfileOnly bool

	set  func(p *Plan, values []string) bool // false: a value is not what Wants says
	text func(p *Plan) string
}

// Text returns what a plan says, as [Rule.SetText] takes it.
func (r *Rule) Text(p *Plan) string { return r.text(p) }

// Key returns the setting's name in a profile.
func (r *Rule) Key() string { return strings.ReplaceAll(r.Name, "-", "_") }

// Set puts the values into the plan. It returns a [ValueError] when one is not what the setting wants.
func (r *Rule) Set(p *Plan, values ...string) error {
	if len(values) == 0 || len(values) > 1 && !r.List || !r.set(p, values) {
		return &ValueError{Setting: r.Name, Value: strings.Join(values, ","), Want: r.Wants}
	}
	return nil
}

// SetText is Set for a flag's text, with commas between the values of a list.
func (r *Rule) SetText(p *Plan, text string) error {
	if r.List {
		return r.Set(p, strings.Split(text, ",")...)
	}
	return r.Set(p, text)
}

// Names of the targets, in the order in which they are listed.
const (
	Millrace       = "millrace"
	CeilingHandoff = "ceiling-handoff"
	CeilingDisk    = "ceiling-disk"
	CeilingNet     = "ceiling-net"
)

// Stores and networks.
const (
	StoreMemory = "memory"
	StoreWAL    = "wal"
	NetInproc   = "inproc"
	NetTCP      = "tcp"
)

// How the puts of an open loop arrive.
const (
	ArrivalsPoisson  = "poisson"
	ArrivalsConstant = "constant"
)

// What a read must wait for, and where.
const (
	ReadLinearizable = "linearizable"
	ReadLease        = "lease"
	ReadFollower     = "follower"
)

// Reads lists how a read is made. Each is linearizable.
func Reads() []Choice {
	return []Choice{
		{ReadLinearizable, "on the leader, which asks a quorum whether it still leads; one question for all that wait"},
		{ReadLease, "on the leader, which asks nobody as long as its lease runs by the clock"},
		{ReadFollower, "on a follower, which asks the leader up to where it must have applied"},
	}
}

// What can happen to a cluster while it is under load.
const (
	EventNone         = "none"
	EventSnapshot     = "snapshot"
	EventSlowFollower = "slow-follower"
	EventLeaderKill   = "leader-kill"
)

// Events lists what can happen to a cluster while it is under load.
func Events() []Choice {
	return []Choice{
		{EventNone, "nothing"},
		{EventSnapshot, "all nodes take a snapshot, twice; at half of the measured time a new node joins, which is sent one"},
		{EventSlowFollower, "the disk of a follower answers late for half of the measured time"},
		{EventLeaderKill, "the leader is killed, and started again when another one leads"},
	}
}

// Arrivals lists how the puts of an open loop arrive.
func Arrivals() []Choice {
	return []Choice{
		{ArrivalsPoisson, "gaps with an exponential distribution, as of many callers who know nothing of each other"},
		{ArrivalsConstant, "one after the other in equal distance"},
	}
}

// Choice is one value of a setting that is chosen by name.
type Choice struct{ Name, About string }

// Targets lists what can be measured.
func Targets() []Choice {
	return []Choice{
		{Millrace, "this engine: a cluster whose nodes all run in this process"},
		{CeilingHandoff, "no Raft: each put is handed to one goroutine and answered at once"},
		{CeilingDisk, "no Raft: puts are group-committed to as many preallocated files as there are nodes, answered at a quorum"},
		{CeilingNet, "no Raft: each batch of puts makes one TCP round trip between two goroutines"},
	}
}

// Stores lists where a node keeps its log.
func Stores() []Choice {
	return []Choice{
		{StoreMemory, "the log is kept in memory; nothing survives the process"},
		{StoreWAL, "segmented write-ahead log in files, fsynced before anything is acknowledged"},
	}
}

// Nets lists how nodes talk.
func Nets() []Choice {
	return []Choice{
		{NetInproc, "within the process, no sockets"},
		{NetTCP, "TCP over loopback, served by gnet"},
	}
}

// IsCeiling reports whether a target shows what the machine allows rather than what the engine does.
func IsCeiling(target string) bool { return strings.HasPrefix(target, "ceiling-") }

// Rules returns every setting, in the order in which they are shown.
func Rules() []Rule {
	return []Rule{
		choices("target", "targets to measure, one after the other in each round", Targets(), func(p *Plan) *[]string { return &p.Targets }),
		numbers("nodes", "nodes of the cluster (files of ceiling-disk)", 1, 15, func(p *Plan) *[]int { return &p.Nodes }),
		numbers("clients", "client goroutines", 1, 65_536, func(p *Plan) *[]int { return &p.Clients }),
		numbers("inflight", "puts a client keeps outstanding: it issues so many, then awaits them", 1, 4096, func(p *Plan) *[]int { return &p.Inflight }),
		numbers("batch", "puts per call", 1, 4096, func(p *Plan) *[]int { return &p.Batch }),
		numbers("payload", "bytes per put", 0, 16<<20, func(p *Plan) *[]int { return &p.Payload }),
		numbers("rate", "puts a second that become due, answered or not, carried by clients x inflight (open loop); 0: a client puts when it has its answer", 0, 10_000_000, func(p *Plan) *[]int { return &p.Rate }),
		choice("arrivals", "how the puts of an open loop arrive", Arrivals(), func(p *Plan) *string { return &p.Arrivals }),
		parts("read-ratio", "which part of what clients do is a read beside their puts", 0, 0.999, func(p *Plan) *[]float64 { return &p.ReadRatio }),
		choices("read", "how reads are made", Reads(), func(p *Plan) *[]string { return &p.Read }),
		choices("event", "what happens to the cluster meanwhile", Events(), func(p *Plan) *[]string { return &p.Event }),
		duration("duration", "measured time per scenario, round and target", 100*time.Millisecond, func(p *Plan) *time.Duration { return &p.Duration }),
		duration("warmup", "time under load before it", 0, func(p *Plan) *time.Duration { return &p.Warmup }),
		profileOnly(duration("ceiling-duration", "measured time of a ceiling, at most duration", 100*time.Millisecond, func(p *Plan) *time.Duration { return &p.CeilingDuration })),
		profileOnly(duration("ceiling-warmup", "time under load before it, at most warmup", 0, func(p *Plan) *time.Duration { return &p.CeilingWarmup })),
		choice("store", "where each node keeps its log", Stores(), func(p *Plan) *string { return &p.Store }),
		choice("net", "how nodes talk", Nets(), func(p *Plan) *string { return &p.Net }),
		processes(),
		stages(),
		rounds(),
		profileOnly(text("about", "what the profile is for", func(p *Plan) *string { return &p.About })),
	}
}

func profileOnly(r Rule) Rule {
	r.ProfileOnly = true
	return r
}

func numbers(name, about string, low, high int, field func(*Plan) *[]int) Rule {
	return Rule{
		Name: name, About: about, List: true,
		Wants: fmt.Sprintf("different integers from %d to %d, separated by commas", low, high),
		set: func(p *Plan, values []string) bool {
			list := make([]int, 0, len(values))
			for _, v := range values {
				n, err := strconv.Atoi(v)
				if err != nil || n < low || n > high || slices.Contains(list, n) {
					return false
				}
				list = append(list, n)
			}
			*field(p) = list
			return true
		},
		text: func(p *Plan) string {
			list := make([]string, 0, len(*field(p)))
			for _, n := range *field(p) {
				list = append(list, strconv.Itoa(n))
			}
			return strings.Join(list, ",")
		},
	}
}

func parts(name, about string, low, high float64, field func(*Plan) *[]float64) Rule {
	return Rule{
		Name: name, About: about, List: true,
		Wants: fmt.Sprintf("different numbers from %g to %g, separated by commas", low, high),
		set: func(p *Plan, values []string) bool {
			list := make([]float64, 0, len(values))
			for _, v := range values {
				n, err := strconv.ParseFloat(v, 64)
				if err != nil || !(n >= low && n <= high) || slices.Contains(list, n) {
					return false
				}
				list = append(list, n)
			}
			*field(p) = list
			return true
		},
		text: func(p *Plan) string {
			list := make([]string, 0, len(*field(p)))
			for _, n := range *field(p) {
				list = append(list, strconv.FormatFloat(n, 'f', -1, 64))
			}
			return strings.Join(list, ",")
		},
	}
}

func rounds() Rule {
	return Rule{
		Name: "rounds", About: "how often everything is measured; targets alternate", Wants: "an integer from 1 to 1000",
		set: func(p *Plan, values []string) bool {
			n, err := strconv.Atoi(values[0])
			if err != nil || n < 1 || n > 1000 {
				return false
			}
			p.Rounds = n
			return true
		},
		text: func(p *Plan) string { return strconv.Itoa(p.Rounds) },
	}
}

func stages() Rule {
	return Rule{
		Name: "stages", About: "whether the engine measures where the time of its puts goes", Wants: "on or off",
		set: func(p *Plan, values []string) bool {
			p.NoStages = values[0] == "off"
			return p.NoStages || values[0] == "on"
		},
		text: func(p *Plan) string {
			if p.NoStages {
				return "off"
			}
			return "on"
		},
	}
}

// ProcessesName is that of the setting that runs each node in a process of its own.
const ProcessesName = "processes"

func processes() Rule {
	return Rule{
		Name: ProcessesName, About: "whether each node of the engine runs in a process of its own, the clients in another", Wants: "true or false", Switch: true,
		set: func(p *Plan, values []string) bool {
			p.Processes = values[0] == "true"
			return p.Processes || values[0] == "false"
		},
		text: func(p *Plan) string { return strconv.FormatBool(p.Processes) },
	}
}

// ConnectRule is the setting that measures nodes which run already. It is none of a profile's.
func ConnectRule() Rule {
	return Rule{
		Name: "connect", About: "nodes that run already (see \"node\"), each by the address at which it listens for clients",
		Wants: "different HOST:PORT, one for each node of the cluster, separated by commas", List: true,
		set: func(p *Plan, values []string) bool {
			for i, v := range values {
				host, port, err := net.SplitHostPort(v)
				if err != nil || host == "" || port == "" || slices.Contains(values[:i], v) {
					return false
				}
			}
			p.Connect = slices.Clone(values)
			return true
		},
		text: func(p *Plan) string { return strings.Join(p.Connect, ",") },
	}
}

func duration(name, about string, low time.Duration, field func(*Plan) *time.Duration) Rule {
	const high = 24 * time.Hour
	return Rule{
		Name: name, About: about, Wants: fmt.Sprintf("a time from %v to %v with its unit, as 500ms, 10s or 1m30s", low, high),
		set: func(p *Plan, values []string) bool {
			d, err := time.ParseDuration(values[0])
			if err != nil || d < low || d > high {
				return false
			}
			*field(p) = d
			return true
		},
		text: func(p *Plan) string { return field(p).String() },
	}
}

func names(from []Choice) []string {
	list := make([]string, len(from))
	for i, c := range from {
		list[i] = c.Name
	}
	return list
}

func choices(name, about string, from []Choice, field func(*Plan) *[]string) Rule {
	known := names(from)
	return Rule{
		Name: name, About: about, List: true,
		Wants: "different names out of " + strings.Join(known, ", ") + ", separated by commas",
		set: func(p *Plan, values []string) bool {
			for i, v := range values {
				if !slices.Contains(known, v) || slices.Contains(values[:i], v) {
					return false
				}
			}
			*field(p) = slices.Clone(values)
			return true
		},
		text: func(p *Plan) string { return strings.Join(*field(p), ",") },
	}
}

func choice(name, about string, from []Choice, field func(*Plan) *string) Rule {
	known := names(from)
	return Rule{
		Name: name, About: about, Wants: strings.Join(known, " or "),
		set: func(p *Plan, values []string) bool {
			*field(p) = values[0]
			return slices.Contains(known, values[0])
		},
		text: func(p *Plan) string { return *field(p) },
	}
}

func text(name, about string, field func(*Plan) *string) Rule {
	return Rule{
		Name: name, About: about, Wants: "text",
		set: func(p *Plan, values []string) bool {
			*field(p) = strings.Join(strings.Fields(values[0]), " ")
			return *field(p) != ""
		},
		text: func(p *Plan) string { return *field(p) },
	}
}
