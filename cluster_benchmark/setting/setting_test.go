package setting

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/profiles"
)

func rule(t *testing.T, name string) *Rule {
	t.Helper()
	rules := Rules()
	i := slices.IndexFunc(rules, func(r Rule) bool { return r.Name == name })
	if i < 0 {
		t.Fatalf("no rule %q", name)
	}
	return &rules[i]
}

func TestRulesTakeAndRefuse(t *testing.T) {
	for _, c := range []struct {
		name    string
		take    []string
		refuse  []string
		mention string // in the error
	}{
		{"target", []string{"millrace", "ceiling-net,millrace"}, []string{"", "raft", "millrace,", "millrace,millrace", "Millrace"}, "ceiling-handoff"},
		{"nodes", []string{"1", "15", "1,3,5"}, []string{"0", "16", "-1", "3,3", "3,,5", "three", "3.0", " 3"}, "1 to 15"},
		{"clients", []string{"1", "65536", "1,64,256"}, []string{"0", "65537", "1e3"}, "1 to 65536"},
		{"inflight", []string{"1", "4096"}, []string{"0", "4097"}, "1 to 4096"},
		{"batch", []string{"1", "4096"}, []string{"0", "4097"}, "1 to 4096"},
		{"payload", []string{"0", "16777216", "0,128"}, []string{"-1", "16777217", "128B"}, "0 to 16777216"},
		{"rate", []string{"0", "10000000", "0,10000"}, []string{"-1", "10000001", "1e3", "0.5"}, "0 to 10000000"},
		{"arrivals", []string{"poisson", "constant"}, []string{"", "uniform", "poisson,constant"}, "poisson or constant"},
		{"read-ratio", []string{"0", "0.999", "0,0.5,0.90"}, []string{"", "1", "-0.1", "NaN", "50%", "0.5,0.50"}, "0 to 0.999"},
		{"read", []string{"lease", "linearizable,lease,follower"}, []string{"", "stale", "lease,lease"}, "linearizable, lease, follower"},
		{"event", []string{"none", "none,snapshot", "slow-follower,leader-kill"}, []string{"", "fire", "snapshot,snapshot"}, "none, snapshot, slow-follower, leader-kill"},
		{"duration", []string{"100ms", "24h"}, []string{"99ms", "25h", "10", "-1s", "ten", "1s,2s"}, "100ms to 24h"},
		{"warmup", []string{"0s", "1m30s"}, []string{"-1s", "5", "25h"}, "0s to 24h"},
		{"store", []string{"memory", "wal"}, []string{"", "disk", "wal,memory"}, "memory or wal"},
		{"net", []string{"inproc", "tcp"}, []string{"udp", "TCP"}, "inproc or tcp"},
		{"stages", []string{"off"}, []string{"", "true", "on,off"}, "on or off"},
		{"rounds", []string{"1", "1000"}, []string{"0", "1001", "1,2", "x"}, "1 to 1000"},
	} {
		r := rule(t, c.name)
		for _, text := range c.take {
			var p Plan
			if err := r.SetText(&p, text); err != nil {
				t.Errorf("%s %q: %v", c.name, text, err)
				continue
			}
			// Only text of zero value leaves an empty plan as it was.
			if reflect.DeepEqual(p, Plan{}) && text != "0s" {
				t.Errorf("%s %q changes nothing", c.name, text)
			}
		}
		for _, text := range c.refuse {
			var p Plan
			err := r.SetText(&p, text)
			var value *ValueError
			if !errors.As(err, &value) || value.Setting != c.name || value.Value != text || !strings.Contains(value.Want, c.mention) {
				t.Errorf("%s %q: error %v, want a ValueError that mentions %q", c.name, text, err, c.mention)
			}
		}
	}
}

func TestScenariosAreEveryCombination(t *testing.T) {
	p := Defaults()
	p.Nodes, p.Clients, p.Inflight, p.Payload = []int{1, 3}, []int{64, 256}, []int{1, 16}, []int{0, 128}
	all, err := p.Scenarios()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[Scenario]bool{}
	for _, s := range all {
		seen[s] = true
	}
	if len(all) != 16 || len(seen) != 16 {
		t.Errorf("%d scenarios, %d different ones, want 16", len(all), len(seen))
	}
	if all[0] != (Scenario{Nodes: 1, Clients: 64, Inflight: 1, Batch: 1, Store: StoreWAL, Net: NetTCP}) || all[1].Inflight != 16 || all[2].Clients != 256 {
		t.Errorf("order is %+v", all[:3])
	}
}

// TestRatesAreScenarios: an open loop is a scenario of its own, whose puts arrive in some way; in a closed loop they don't.
func TestRatesAreScenarios(t *testing.T) {
	p := Defaults()
	p.Rate, p.Clients, p.Arrivals = []int{0, 5000, 10_000}, []int{8, 16}, ArrivalsConstant
	all, err := p.Scenarios()
	if err != nil || len(all) != 6 {
		t.Fatalf("%d scenarios, %v, want 6", len(all), err)
	}
	for i, want := range []Scenario{{Clients: 8}, {Clients: 8, Rate: 5000, Arrivals: "constant"}, {Clients: 8, Rate: 10_000, Arrivals: "constant"}, {Clients: 16}} {
		if s := all[i]; s.Clients != want.Clients || s.Rate != want.Rate || s.Arrivals != want.Arrivals || s.Check() != nil {
			t.Errorf("scenario %d is %+v, %v, want %+v", i, s, s.Check(), want)
		}
	}
}

// TestReadsAreScenarios: each way to read is one, and where nothing is read there is one alone.
func TestReadsAreScenarios(t *testing.T) {
	p := Defaults()
	p.ReadRatio, p.Read = []float64{0, 0.5}, []string{ReadLease, ReadFollower}
	all, err := p.Scenarios()
	if err != nil || len(all) != 3 {
		t.Fatalf("%+v, %v, want 3", all, err)
	}
	for i, want := range []Scenario{{}, {ReadRatio: 0.5, Read: ReadLease}, {ReadRatio: 0.5, Read: ReadFollower}} {
		if s := all[i]; s.ReadRatio != want.ReadRatio || s.Read != want.Read || s.Check() != nil {
			t.Errorf("scenario %d is %+v, %v, want %+v", i, s, s.Check(), want)
		}
	}
	all[1].Read = "stale"
	if all[1].Check() == nil {
		t.Error("an unknown way to read is taken")
	}
}

// TestEventsAreScenarios: each is one, beside one without.
func TestEventsAreScenarios(t *testing.T) {
	p := Defaults()
	p.Event = []string{EventNone, EventSnapshot, EventSlowFollower, EventLeaderKill}
	all, err := p.Scenarios()
	if err != nil || len(all) != 4 {
		t.Fatalf("%+v, %v, want 4", all, err)
	}
	for i, want := range []string{"", EventSnapshot, EventSlowFollower, EventLeaderKill} {
		if all[i].Event != want || all[i].Check() != nil {
			t.Errorf("scenario %d is %+v, %v, want event %q", i, all[i], all[i].Check(), want)
		}
	}
	all[1].Event = "fire"
	if all[1].Check() == nil {
		t.Error("an unknown event is taken")
	}
}

func TestCombinationsThatNothingCanServe(t *testing.T) {
	for _, c := range []struct {
		change func(*Plan)
		want   string
	}{
		{func(p *Plan) { p.Inflight, p.Batch = []int{1, 16}, []int{1, 4} }, `batch "4": want 1 beside inflight 16, since a batch is one call that waits`},
		{func(p *Plan) { p.Arrivals = ArrivalsConstant }, `arrivals "constant": want a rate beside it, which is 0`},
		{func(p *Plan) { p.Rate, p.Clients, p.Inflight = []int{0, 1000}, []int{4096}, []int{1, 64} }, `inflight "64": want at most 16 beside clients 4096 and a rate, since each put outstanding then has a goroutine`},
		{func(p *Plan) { p.Read = []string{ReadLinearizable, ReadLease} }, `read "linearizable,lease": want a read-ratio beside it, which is 0`},
		{func(p *Plan) { p.ReadRatio, p.Inflight = []float64{0.5}, []int{4} }, `inflight "4": want 1 beside read-ratio 0.5, since a client then reads or puts, one at a time`},
		{func(p *Plan) { p.ReadRatio, p.Batch = []float64{0.5}, []int{4} }, `batch "4": want 1 beside read-ratio 0.5, since a client then reads or puts, one at a time`},
		{func(p *Plan) { p.ReadRatio, p.Rate = []float64{0.5}, []int{9} }, `rate "9": want 0 beside read-ratio 0.5, since a client then reads or puts, one at a time`},
		{func(p *Plan) { p.ReadRatio, p.Read, p.Nodes = []float64{0.5}, []string{ReadFollower}, []int{1} }, `read "follower": want nodes 2 or more beside it: one alone has no follower`},
		{func(p *Plan) { p.Event, p.Nodes = []string{EventSlowFollower}, []int{2} }, `nodes "2": want 3 or more beside event slow-follower, since the others must be a quorum`},
		{func(p *Plan) { p.Event, p.Nodes = []string{EventNone, EventLeaderKill}, []int{3, 1} }, `nodes "1": want 3 or more beside event leader-kill, since the others must be a quorum`},
		{func(p *Plan) { p.Event, p.Store = []string{EventLeaderKill}, StoreMemory }, `store "memory": want wal beside event leader-kill, since a node that forgets its log can't come back`},
		{func(p *Plan) { p.Event, p.Payload = []string{EventLeaderKill}, []int{15} }, `payload "15": want at least 16 beside event leader-kill, since puts that lost their answer could not be told from others`},
		{func(p *Plan) { p.Event, p.Duration = []string{EventLeaderKill}, 5*time.Second }, `duration "5s": want at least 6s beside event leader-kill, which takes its time`},
		{func(p *Plan) { p.Event, p.Duration = []string{EventNone, EventSnapshot}, 7*time.Second }, `duration "7s": want at least 8s beside event snapshot, which takes its time`},
		{func(p *Plan) { p.Event, p.Processes = []string{EventNone, EventSnapshot}, true }, `event "snapshot": want none beside processes: what happens to a node is done to it within its process`},
		{func(p *Plan) { p.Event, p.Connect = []string{EventSlowFollower}, []string{"a:1"} }, `event "slow-follower": want none beside connect: what happens to a node is done to it within its process`},
		{func(p *Plan) { p.Rate, p.Batch = []int{99}, []int{100} }, `rate "99": want at least 100 beside batch 100: a call a second`},
		{func(p *Plan) { p.Batch, p.Payload = []int{4096}, []int{1 << 20} }, `batch "4096": want at most 64 beside payload 1048576, since a call carries at most 67108864 bytes`},
	} {
		p := Defaults()
		c.change(&p)
		if _, err := p.Scenarios(); err == nil || err.Error() != c.want {
			t.Errorf("error %v, want %s", err, c.want)
		}
	}
}

// TestScenarioIsChecked: one that did not come from a plan is held to the same rules.
func TestScenarioIsChecked(t *testing.T) {
	p := Defaults()
	all, err := p.Scenarios()
	if err != nil || all[0].Check() != nil {
		t.Fatalf("%v, %v", err, all[0].Check())
	}
	for setting, change := range map[string]func(*Scenario){
		"rate":       func(s *Scenario) { s.Rate, s.Arrivals = -1, ArrivalsPoisson },
		"arrivals":   func(s *Scenario) { s.Arrivals = ArrivalsConstant },
		"read-ratio": func(s *Scenario) { s.ReadRatio, s.Read = 1, ReadLease },
		"read":       func(s *Scenario) { s.Read = ReadLease },
		"event":      func(s *Scenario) { s.Event = EventNone },
		"nodes":      func(s *Scenario) { s.Nodes = 0 },
		"clients":    func(s *Scenario) { s.Clients = 1 << 20 },
		"inflight":   func(s *Scenario) { s.Inflight = -1 },
		"batch":      func(s *Scenario) { s.Batch, s.Inflight = 2, 2 },
		"payload":    func(s *Scenario) { s.Payload = 1 << 30 },
		"store":      func(s *Scenario) { s.Store = "floppy" },
		"net":        func(s *Scenario) { s.Net = "" },
	} {
		s := all[0]
		change(&s)
		var value *ValueError
		if err := s.Check(); !errors.As(err, &value) || value.Setting != setting {
			t.Errorf("%+v: %v, want an error of %s", s, err, setting)
		}
	}
}

func TestCeilingsRunNoLongerThanTheEngine(t *testing.T) {
	p := Defaults()
	p.Warmup, p.Duration, p.CeilingWarmup, p.CeilingDuration = 2*time.Second, 10*time.Second, time.Second, 4*time.Second
	if w, d := p.Times(CeilingDisk); w != time.Second || d != 4*time.Second {
		t.Errorf("ceiling is warmed up %v and measured %v, want 1s and 4s", w, d)
	}
	p.Warmup, p.Duration = 0, time.Second
	if w, d := p.Times(CeilingDisk); w != 0 || d != time.Second {
		t.Errorf("ceiling is warmed up %v and measured %v, want 0s and 1s", w, d)
	}
}

func TestProfilesOfTheSuite(t *testing.T) {
	plans := map[string]Plan{}
	for _, name := range profiles.Names() {
		data, err := profiles.Read(name)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := ParseProfile(name+".yaml", name, data)
		if err != nil {
			t.Fatal(err)
		}
		if plan.About == "" || plan.Profile != name || !strings.HasPrefix(string(data), "# ") {
			t.Errorf("%s says nothing about itself: %+v", name, plan)
		}
		plans[name] = plan
	}
	quick := plans["quick"]
	total := time.Duration(0)
	for _, target := range quick.Targets {
		warmup, duration := quick.Times(target)
		total += warmup + duration
	}
	if scenarios, err := quick.Scenarios(); err != nil || len(scenarios) != 1 || quick.Rounds != 1 || total > 45*time.Second {
		t.Errorf("quick loads the machine for %v, want a whole run under a minute", total)
	}
	if len(quick.Targets) != 4 || quick.Duration != 10*time.Second || !slices.Equal(quick.Clients, []int{256}) || !slices.Equal(quick.Payload, []int{128}) {
		t.Errorf("quick is %+v", quick)
	}
	m := plans["minimized"]
	if m.Store != StoreMemory || m.Net != NetInproc || !slices.Equal(m.Payload, []int{0}) || !slices.Equal(m.Inflight, []int{1}) ||
		!slices.Equal(m.Clients, []int{1, 64, 256, 1024, 4096}) || !slices.Equal(m.Nodes, []int{3}) {
		t.Errorf("minimized is %+v", m)
	}
	d := plans["durable"]
	if d.Store != StoreWAL || d.Net != NetTCP || !slices.Equal(d.Inflight, []int{16}) || !slices.Equal(d.Clients, []int{256}) {
		t.Errorf("durable is %+v", d)
	}
}

func TestProfileValues(t *testing.T) {
	p, err := ParseProfile("own.yaml", "own", []byte(`
about: >
  two lines
  of text
target: [millrace, "ceiling-disk"]
clients:
  - 1
  - 64
payload: 0
duration: 1m30s
store: memory
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Defaults()
	want.Profile, want.About, want.Targets, want.Clients, want.Payload = "own", "two lines of text", []string{Millrace, CeilingDisk}, []int{1, 64}, []int{0}
	want.Duration, want.Store = 90*time.Second, StoreMemory
	if !reflect.DeepEqual(p, want) {
		t.Errorf("plan is %+v\nwant    %+v", p, want)
	}
}

func TestByteOrderMark(t *testing.T) {
	p, err := ParseProfile("own.yaml", "own", []byte("\ufeffnodes: 5\n"))
	if err != nil || !slices.Equal(p.Nodes, []int{5}) {
		t.Errorf("plan is %+v, %v, want 5 nodes", p, err)
	}
	_, err = ParseProfile("own.yaml", "own", []byte("nodes: 5\n\ufeffclients: 1\n"))
	if err == nil || !strings.Contains(err.Error(), "own.yaml:2: unknown key") {
		t.Errorf("a mark in the middle: %v, want it refused", err)
	}
}

// TestTextIsWhatWasSet: every setting's text, set on another plan, makes the same plan.
func TestTextIsWhatWasSet(t *testing.T) {
	for _, name := range profiles.Names() {
		data, err := profiles.Read(name)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := ParseProfile(name+".yaml", name, data)
		if err != nil {
			t.Fatal(err)
		}
		again := Plan{Profile: name}
		for _, r := range Rules() {
			if err := r.SetText(&again, r.Text(&plan)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if !reflect.DeepEqual(again, plan) {
			t.Errorf("plan is %+v\nagain   %+v", plan, again)
		}
	}
}

func TestProfileErrorsNameTheLine(t *testing.T) {
	known := "target, nodes, clients, inflight, batch, payload, rate, arrivals, read_ratio, read, event, duration, warmup, ceiling_duration, ceiling_warmup, store, net, processes, stages, rounds, about"
	for _, c := range []struct{ yaml, want string }{
		{"nodes: 3\ncleints: 4\n", `p.yaml:2: unknown key "cleints", known: ` + known},
		{"nodes: 3\nceiling-duration: 4s\n", `p.yaml:2: unknown key "ceiling-duration", known: ` + known},
		{"nodes: 3\n\n# a comment\nnodes: 5\n", `p.yaml:4: key "nodes" again, first in line 1`},
		{"net: tcp\nclients: [1, 0]\n", "p.yaml:2: clients: [1, 0], want different integers from 1 to 65536, separated by commas"},
		{"net: tcp\nclients: many\n", "p.yaml:2: clients: many, want different integers from 1 to 65536, separated by commas"},
		{"clients:\n", "p.yaml:1: clients: no value, want different integers from 1 to 65536, separated by commas"},
		{"clients: {a: 1}\n", "p.yaml:1: clients: {a: 1}, want different integers from 1 to 65536, separated by commas"},
		{"clients: []\n", "p.yaml:1: clients: [], want different integers from 1 to 65536, separated by commas"},
		{"rounds: [1, 2]\n", "p.yaml:1: rounds: [1, 2], want an integer from 1 to 1000"},
		{"duration: 10\n", "p.yaml:1: duration: 10, want a time from 100ms to 24h0m0s with its unit, as 500ms, 10s or 1m30s"},
		{"store: floppy\n", "p.yaml:1: store: floppy, want memory or wal"},
		{"- nodes: 3\n", "p.yaml:1: want a mapping of settings: " + known},
		{"nodes: 3\n---\nnodes: 5\n", "p.yaml: 2 YAML documents, want 1"},
		{"", "p.yaml: 0 YAML documents, want 1"},
		{"inflight: 2\nbatch: 2\n", `p.yaml: batch "2": want 1 beside inflight 2, since a batch is one call that waits`},
	} {
		_, err := ParseProfile("p.yaml", "p", []byte(c.yaml))
		var profile *ProfileError
		if !errors.As(err, &profile) || err.Error() != c.want {
			t.Errorf("%q:\n got %v\nwant %s", c.yaml, err, c.want)
		}
	}
	_, err := ParseProfile("p.yaml", "p", []byte("nodes: [1, 2\nclients: 3\n"))
	if err == nil || !strings.HasPrefix(err.Error(), "p.yaml:") || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "not YAML") {
		t.Errorf("broken YAML: %v, want one line with file and line", err)
	}
}
