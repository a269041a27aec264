package setting

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/cluster_benchmark/safety"
)

// Plan is all that a run does. Lists make a sweep.
type Plan struct {
	// Profile is the name it came from.
	Profile string
	// About says what it is for.
	About    string
	Targets  []string
	Nodes    []int
	Clients  []int
	Inflight []int
	Batch    []int
	Payload  []int // bytes
	// Rate is puts per second of an open loop; 0 is a closed loop. Arrivals is how they are spread.
	Rate     []int
	Arrivals string
	// ReadRatio is which part of what clients do is a read, Read how it is made.
	ReadRatio []float64
	Read      []string
	// Event is what happens to the cluster in the measured time.
	Event    []string
	Duration time.Duration
	Warmup   time.Duration
	// CeilingDuration and CeilingWarmup are used for ceilings where they are shorter than the two above.
	CeilingDuration time.Duration
	CeilingWarmup   time.Duration
	Store           string
	Net             string
	Rounds          int
	// Processes runs each node in a process of its own.
	Processes bool
	// Connect are the addresses at which nodes that run already listen for clients; none are started then.
	Connect []string
	// NoStages keeps the engine from measuring where the time of puts goes.
	NoStages bool
	// Peers are the other libraries that are measured beside the targets.
	Peers []string
}

// Defaults returns the plan that a profile starts from: millrace alone, three nodes, WAL over TCP, 256 clients with
// one put of 128 bytes each in a closed loop, 10 s after a warm-up of 2 s, one round.
func Defaults() Plan {
	return Plan{
		Targets: []string{Millrace},
		Nodes:   []int{3}, Clients: []int{256}, Inflight: []int{1}, Batch: []int{1}, Payload: []int{128},
		Rate: []int{0}, Arrivals: ArrivalsPoisson,
		ReadRatio: []float64{0}, Read: []string{ReadLinearizable}, Event: []string{EventNone},
		Duration: 10 * time.Second, Warmup: 2 * time.Second,
		CeilingDuration: 24 * time.Hour, CeilingWarmup: 24 * time.Hour,
		Store: StoreWAL, Net: NetTCP, Rounds: 1,
	}
}

// carriersMax bounds the goroutines that carry the puts of an open loop.
const carriersMax = 65_536

// batchBytesMax bounds what one call may carry, in bytes: the bound of the engine's intake.
const batchBytesMax = 64 << 20

// Scenario is one combination of a plan's settings: what is measured on each target and in each round. Its JSON has the
// names of a result's.
type Scenario struct {
	Nodes    int    `json:"nodes"`
	Clients  int    `json:"clients"`
	Inflight int    `json:"inflight"`
	Batch    int    `json:"batch"`
	Payload  int    `json:"payload_bytes"`
	Rate     int    `json:"rate,omitempty"`     // puts per second that become due; 0 is a closed loop
	Arrivals string `json:"arrivals,omitempty"` // with a rate
	// ReadRatio is which part of what clients do is a read, Read how it is made, with a ratio above 0.
	ReadRatio float64 `json:"read_ratio,omitempty"`
	Read      string  `json:"read,omitempty"`
	Event     string  `json:"event,omitempty"` // what happens to the cluster in the measured time; "" for nothing
	Store     string  `json:"store"`
	Net       string  `json:"net"`
	Processes bool    `json:"processes,omitempty"` // each node in a process of its own
	Connect   bool    `json:"connect,omitempty"`   // to nodes that run already
	// NoStages is no condition of a result: what the engine measures of itself costs less than can be seen.
	NoStages bool `json:"no_stages,omitempty"`
}

// Check returns a [ValueError] for a value that its setting does not take, and for a combination that can't be served.
func (s Scenario) Check() error {
	values := map[string]any{
		"nodes": s.Nodes, "clients": s.Clients, "inflight": s.Inflight, "batch": s.Batch, "payload": s.Payload,
		"rate": s.Rate, "store": s.Store, "net": s.Net,
	}
	if s.Rate != 0 {
		values["arrivals"] = s.Arrivals
	} else if s.Arrivals != "" {
		return &ValueError{Setting: "arrivals", Value: s.Arrivals, Want: "a rate beside it"}
	}
	if s.ReadRatio != 0 {
		values["read-ratio"], values["read"] = s.ReadRatio, s.Read
	} else if s.Read != "" {
		return &ValueError{Setting: "read", Value: s.Read, Want: "a read-ratio beside it"}
	}
	if s.Processes || s.Connect {
		return &ValueError{Setting: ProcessesName, Value: "true", Want: "false in a request, and no connect: the nodes of what it asks for run in one process"}
	}
	switch s.Event {
	case "":
	case EventNone:
		return &ValueError{Setting: "event", Value: s.Event, Want: "an event, or nothing at all"}
	default:
		values["event"] = s.Event
	}
	for _, r := range Rules() {
		if v, ok := values[r.Name]; ok {
			if err := r.Set(&Plan{}, fmt.Sprint(v)); err != nil {
				return err
			}
		}
	}
	return s.check()
}

// Scenarios returns every combination, the clients changing before the puts in flight, and reads and events last. It returns
// a [ValueError] for a combination that can't be served.
func (p *Plan) Scenarios() ([]Scenario, error) {
	if p.Arrivals != Defaults().Arrivals && slices.Max(p.Rate) == 0 {
		return nil, &ValueError{Setting: "arrivals", Value: p.Arrivals, Want: "a rate beside it, which is 0"}
	}
	if len(p.Read) != 1 || p.Read[0] != Defaults().Read[0] {
		if slices.Max(p.ReadRatio) == 0 {
			return nil, &ValueError{Setting: "read", Value: strings.Join(p.Read, ","), Want: "a read-ratio beside it, which is 0"}
		}
	}
	all := []Scenario{{Store: p.Store, Net: p.Net, Processes: p.Processes, Connect: len(p.Connect) > 0, NoStages: p.NoStages}}
	all = vary(all, p.Nodes, func(s *Scenario, v int) { s.Nodes = v })
	all = vary(all, p.Payload, func(s *Scenario, v int) { s.Payload = v })
	all = vary(all, p.Batch, func(s *Scenario, v int) { s.Batch = v })
	all = vary(all, p.Clients, func(s *Scenario, v int) { s.Clients = v })
	all = vary(all, p.Inflight, func(s *Scenario, v int) { s.Inflight = v })
	all = vary(all, p.Rate, func(s *Scenario, v int) {
		if s.Rate = v; v > 0 {
			s.Arrivals = p.Arrivals
		}
	})
	all = vary(all, p.ReadRatio, func(s *Scenario, v float64) { s.ReadRatio = v })
	all = vary(all, p.Read, func(s *Scenario, v string) {
		if s.ReadRatio > 0 {
			s.Read = v
		}
	})
	all = vary(all, p.Event, func(s *Scenario, v string) {
		if s.Event = v; v == EventNone {
			s.Event = ""
		}
	})
	for _, event := range p.Event {
		if least := eventDurations[event]; p.Duration < least {
			return nil, &ValueError{Setting: "duration", Value: p.Duration.String(),
				Want: fmt.Sprintf("at least %v beside event %s, which takes its time", least, event)}
		}
	}
	for _, s := range all {
		if err := s.check(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// vary returns each scenario with each of the values; one that a value makes no difference to, once.
func vary[V any](all []Scenario, values []V, set func(*Scenario, V)) []Scenario {
	var more []Scenario
	for _, s := range all {
		begin := len(more)
		for _, v := range values {
			one := s
			if set(&one, v); !slices.Contains(more[begin:], one) {
				more = append(more, one)
			}
		}
	}
	return more
}

func (s Scenario) check() error {
	if s.Inflight > 1 && s.Batch > 1 {
		return &ValueError{Setting: "batch", Value: fmt.Sprint(s.Batch),
			Want: fmt.Sprintf("1 beside inflight %d, since a batch is one call that waits", s.Inflight)}
	}
	if s.Rate > 0 && s.Clients*s.Inflight > carriersMax {
		return &ValueError{Setting: "inflight", Value: fmt.Sprint(s.Inflight),
			Want: fmt.Sprintf("at most %d beside clients %d and a rate, since each put outstanding then has a goroutine", carriersMax/s.Clients, s.Clients)}
	}
	if s.Rate > 0 && s.Rate < s.Batch {
		return &ValueError{Setting: "rate", Value: fmt.Sprint(s.Rate), Want: fmt.Sprintf("at least %d beside batch %d: a call a second", s.Batch, s.Batch)}
	}
	if err := s.checkReads(); err != nil {
		return err
	}
	if err := cmp.Or(s.checkPlace(), s.checkEvent()); err != nil {
		return err
	}
	if s.Batch*s.Payload > batchBytesMax {
		return &ValueError{Setting: "batch", Value: fmt.Sprint(s.Batch),
			Want: fmt.Sprintf("at most %d beside payload %d, since a call carries at most %d bytes",
				batchBytesMax/s.Payload, s.Payload, batchBytesMax)}
	}
	return nil
}

// checkReads looks at reads beside what they go with: one client does one thing at a time.
func (s Scenario) checkReads() error {
	if s.ReadRatio == 0 {
		return nil
	}
	for _, other := range []struct {
		name        string
		value, need int
	}{{"inflight", s.Inflight, 1}, {"batch", s.Batch, 1}, {"rate", s.Rate, 0}} {
		if other.value != other.need {
			return &ValueError{Setting: other.name, Value: fmt.Sprint(other.value),
				Want: fmt.Sprintf("%d beside read-ratio %g, since a client then reads or puts, one at a time", other.need, s.ReadRatio)}
		}
	}
	if s.Read == ReadFollower && s.Nodes < 2 {
		return &ValueError{Setting: "read", Value: s.Read, Want: "nodes 2 or more beside it: one alone has no follower"}
	}
	return nil
}

// checkPlace looks at where nodes run beside what they are then able to.
func (s Scenario) checkPlace() error {
	if !s.Processes && !s.Connect {
		return nil
	}
	beside := "processes"
	if s.Connect {
		beside = "connect"
	}
	switch {
	case s.Processes && s.Connect:
		return &ValueError{Setting: "processes", Value: "true", Want: "false beside connect, whose nodes run already"}
	case s.Net != NetTCP:
		return &ValueError{Setting: "net", Value: s.Net, Want: NetTCP + " beside " + beside + ": nodes of different processes talk over sockets"}
	case s.ReadRatio > 0:
		return &ValueError{Setting: "read-ratio", Value: fmt.Sprint(s.ReadRatio), Want: "0 beside " + beside + ": the protocol of clients in another process carries puts alone"}
	case s.Event != "":
		return &ValueError{Setting: "event", Value: s.Event, Want: EventNone + " beside " + beside + ": what happens to a node is done to it within its process"}
	}
	return nil
}

// eventDurations are the least measured times that an event can happen in: a snapshot of 64 MiB goes to a learner at 32
// MiB/s in the second half, and an election begins within 2 s.
var eventDurations = map[string]time.Duration{
	EventSnapshot: 8 * time.Second, EventSlowFollower: time.Second, EventLeaderKill: 6 * time.Second,
}

// checkEvent looks at what an event needs.
func (s Scenario) checkEvent() error {
	beside := " beside event " + s.Event
	if (s.Event == EventSlowFollower || s.Event == EventLeaderKill) && s.Nodes < 3 {
		return &ValueError{Setting: "nodes", Value: fmt.Sprint(s.Nodes), Want: "3 or more" + beside + ", since the others must be a quorum"}
	}
	if s.Event != EventLeaderKill {
		return nil
	}
	if s.Store != StoreWAL {
		return &ValueError{Setting: "store", Value: s.Store, Want: StoreWAL + beside + ", since a node that forgets its log can't come back"}
	}
	if s.Payload < safety.IdentityBytes {
		return &ValueError{Setting: "payload", Value: fmt.Sprint(s.Payload),
			Want: fmt.Sprintf("at least %d%s, since puts that lost their answer could not be told from others", safety.IdentityBytes, beside)}
	}
	return nil
}

// Times returns how long a target is warmed up and measured.
func (p *Plan) Times(target string) (warmup, duration time.Duration) {
	if IsCeiling(target) {
		return min(p.Warmup, p.CeilingWarmup), min(p.Duration, p.CeilingDuration)
	}
	return p.Warmup, p.Duration
}
