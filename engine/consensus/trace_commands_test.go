package consensus

import (
	"strings"
	"time"

	"github.com/millrace/millrace/codec"
)

// traceCommands is the language of the trace files. Node ids stand alone; "quiet" before a command hides what comes of
// it.
var traceCommands map[string]func(s *stage, a *arguments)

func init() {
	traceCommands = map[string]func(s *stage, a *arguments){
		// Before anything runs. config [nodes]: timeout=150ms..300ms heartbeat=50ms window-frames=4 window-bytes=2000
		// stall=500ms restore=on reversion=on elections=on heartbeats=off pre-vote=off leases=100000 (the drift in millionths);
		// of all nodes if none is named.
		// log <node> vote=T2-N1+ entries=T1-N1:3,T2-N1:2 commit=3 sealed and a membership: what its disk holds.
		"config": (*stage).configure,
		"log":    (*stage).writeLog,
		// start [nodes]; initialize <node> and a membership. cluster <n> [leader=1] and, if it is not n voters, a
		// membership: all of it up to a leader that everybody follows.
		"start":      (*stage).startNodes,
		"initialize": (*stage).initializeNode,
		"cluster":    (*stage).cluster,
		// What a caller may ask of a node.
		"elect":     (*stage).elect,
		"heartbeat": (*stage).heartbeat,
		"forget":    (*stage).forget,
		"propose":   (*stage).propose,  // [count=1] [size=66] [times=1]
		"change":    (*stage).change,   // a membership, [if=T1-N1-2]
		"transfer":  (*stage).transfer, // [to=2] [timeout=150ms]
		"switch":    (*stage).switches, // as in config
		"revert":    (*stage).revert,   // peer=2
		"down":      (*stage).down,     // peer=2
		"barrier":   (*stage).barrier,
		"read":      (*stage).read, // [lease]
		// Snapshots: see trace_snapshot_test.go.
		"snapshot": (*stage).snapshot,
		"purge":    (*stage).purge,
		"carry":    (*stage).carry,
		"late":     (*stage).late,
		"drop-off": (*stage).dropOff,
		"bring":    (*stage).bring,
		"damage":   (*stage).damage,
		// Time: wait 50ms; next, up to the next deadline of any node.
		"wait": (*stage).wait,
		"next": (*stage).next,
		// Disks and lives. A stalled disk does nothing but what flush [writes=1] tells; report seq=2 tells the node of a
		// completion again, late. crash keeps none of the unflushed writes, or the first [keep=1]; close all of them, and
		// seals the log; wipe loses all.
		"stall":   (*stage).stall,
		"resume":  (*stage).resume,
		"flush":   (*stage).flushSome,
		"report":  (*stage).report,
		"crash":   (*stage).crash,
		"close":   (*stage).closeNode,
		"restart": (*stage).startNodes,
		"wipe":    (*stage).wipe,
		// The network: see trace_network_test.go.
		"drop":      func(s *stage, a *arguments) { s.rule(a, lost, 0) },
		"hold":      func(s *stage, a *arguments) { s.rule(a, held, 0) },
		"duplicate": func(s *stage, a *arguments) { s.rule(a, doubled, 0) },
		"delay":     func(s *stage, a *arguments) { s.rule(a, delayed, a.duration("by", 0)) },
		"isolate":   (*stage).isolate,
		"heal":      (*stage).heal,
		"release":   (*stage).release,
		"deliver":   (*stage).deliverHeld,
		"lose":      (*stage).loseHeld,
		"forge":     (*stage).forge,
		// Looking: status, logs, peers, membership of the named nodes, or of all. hide and show lines with given words.
		"status":     (*stage).status,
		"logs":       (*stage).logs,
		"peers":      (*stage).peers,
		"membership": (*stage).memberships,
		"hide":       func(s *stage, a *arguments) { s.hide(a, true) },
		"show":       func(s *stage, a *arguments) { s.hide(a, false) },
	}
}

func parseDuration(text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		mistake("%q, want a duration such as 50ms", text)
	}
	return d
}

// node returns a node of that id, which need not run, making the ones up to it.
func (s *stage) node(id codec.NodeID) *testNode {
	for len(s.c.nodes) < int(id) {
		s.c.nodes = append(s.c.nodes, &testNode{id: codec.NodeID(len(s.c.nodes) + 1)})
	}
	return s.c.node(id)
}

// running returns the one node that a command names.
func (s *stage) running(a *arguments) *testNode {
	ids := a.ids()
	if len(ids) != 1 {
		mistake("want one node, not %d", len(ids))
	}
	n := s.node(ids[0])
	if !n.up() {
		mistake("node %d does not run", n.id)
	}
	return n
}

// some returns the nodes that a command names, or all.
func (s *stage) some(a *arguments) []*testNode {
	var out []*testNode
	for _, id := range a.ids() {
		out = append(out, s.node(id))
	}
	if len(out) == 0 {
		return s.c.nodes
	}
	return out
}

func (s *stage) configure(a *arguments) {
	ids := a.ids()
	change := func(cfg Config) Config {
		if a.has("timeout") {
			least, most, _ := strings.Cut(a.text("timeout"), "..")
			cfg.ElectionTimeoutMin, cfg.ElectionTimeoutMax = parseDuration(least), parseDuration(most)
		}
		cfg.HeartbeatInterval = a.duration("heartbeat", cfg.HeartbeatInterval)
		cfg.WindowFramesMax = int(a.number("window-frames", uint64(cfg.WindowFramesMax)))
		cfg.WindowBytesMax = int(a.number("window-bytes", uint64(cfg.WindowBytesMax)))
		cfg.DiskStallTimeout = a.duration("stall", cfg.DiskStallTimeout)
		cfg.RestoreLeader = a.isOn("restore", cfg.RestoreLeader)
		cfg.AllowLogReversion = a.isOn("reversion", cfg.AllowLogReversion)
		cfg.Switches = a.switches(cfg.Switches)
		if drift := a.number("leases", 0); drift > 0 {
			cfg.LeaseReads, cfg.ClockDriftMax = true, int(drift)
		}
		return cfg
	}
	if len(ids) == 0 {
		s.everyone = change(s.everyone)
	}
	for _, id := range ids {
		cfg, ok := s.own[id]
		if !ok {
			cfg = s.everyone
		}
		s.own[id] = change(cfg)
	}
}

// switches reads elections=, heartbeats= and pre-vote=.
func (a *arguments) switches(now Switches) Switches {
	return Switches{
		NoElections:  !a.isOn("elections", !now.NoElections),
		NoHeartbeats: !a.isOn("heartbeats", !now.NoHeartbeats),
		NoPreVote:    !a.isOn("pre-vote", !now.NoPreVote),
	}
}

// writeLog puts a membership and one entry a frame behind it on the disks of nodes that do not run.
func (s *stage) writeLog(a *arguments) {
	m := s.parseMembership(a)
	s.mode = m.Mode
	for _, n := range s.some(a) {
		n.disk = testLog{commit: codec.Index(a.number("commit", 0)), sealed: a.has("sealed")}
		if a.has("vote") {
			n.disk.vote = parseVote(a.text("vote"))
		}
		n.disk.entries = []testEntry{{id: first, kind: codec.EntryMembership, membership: m}}
		n.disk.starts = []codec.Index{1}
		if a.has("entries") {
			for _, leader := range parseRuns(a.text("entries")) {
				index := codec.Index(len(n.disk.entries) + 1)
				e := testEntry{
					id: codec.LogID{Leader: leader, Index: index}, kind: codec.EntryNormal, data: uint64(leader.Term)<<32 + uint64(index),
				}
				if seen, ok := s.c.check.entries[e.id]; ok {
					e.kind, e.data = seen.kind, seen.data
				}
				n.disk.entries = append(n.disk.entries, e)
				n.disk.starts = append(n.disk.starts, index)
			}
		}
	}
}

func (s *stage) startNodes(a *arguments) {
	for _, n := range s.some(a) {
		if n.up() {
			mistake("node %d runs", n.id)
		}
		s.c.start(n)
		st := n.core.Status()
		s.say("%d: starts as %s", n.id, statusString(&st))
		s.settle()
	}
}

func (s *stage) initializeNode(a *arguments) {
	m := s.parseMembership(a)
	s.mode = m.Mode
	s.c.step(s.running(a), &Input{Kind: InputInitialize, Membership: m})
}

func (s *stage) cluster(a *arguments) {
	ids := a.ids()
	if len(ids) != 1 {
		mistake("want the number of nodes")
	}
	leader := s.node(codec.NodeID(a.number("leader", 1)))
	s.node(ids[0])
	if a.has("mode") {
		s.mode = parseMode(a.text("mode"))
	}
	m := testMembership(s.mode, int(ids[0]))
	if a.has("voters") {
		m = s.parseMembership(a)
	}
	before := s.quiet
	s.quiet = true
	for _, n := range s.c.nodes {
		s.c.start(n)
	}
	s.c.initialize(leader, m)
	s.settle()
	s.c.step(leader, &Input{Kind: InputElect})
	s.settle()
	s.c.step(leader, &Input{Kind: InputHeartbeat})
	s.settle()
	s.quiet = before
	for _, n := range s.c.nodes {
		st := n.core.Status()
		s.say("%d: %s", n.id, statusString(&st))
	}
}

func (s *stage) elect(a *arguments)     { s.c.step(s.running(a), &Input{Kind: InputElect}) }
func (s *stage) heartbeat(a *arguments) { s.c.step(s.running(a), &Input{Kind: InputHeartbeat}) }
func (s *stage) forget(a *arguments)    { s.c.step(s.running(a), &Input{Kind: InputForgetLeader}) }

func (s *stage) propose(a *arguments) {
	n, count := s.running(a), uint32(a.number("count", 1))
	size := int(a.number("size", uint64(codec.FrameHeaderSize+10*count)))
	for range a.number("times", 1) {
		s.c.step(n, &Input{Kind: InputPropose, Frame: codec.FrameMeta{Count: count, Size: size}})
	}
}

func (s *stage) change(a *arguments) {
	in := Input{Kind: InputChange, Membership: s.parseMembership(a)}
	if a.has("if") {
		id := parseLogID(a.text("if"))
		in.If = &id
	}
	s.c.step(s.running(a), &in)
}

func (s *stage) transfer(a *arguments) {
	s.c.step(s.running(a), &Input{
		Kind: InputTransfer, Peer: codec.NodeID(a.number("to", 0)), Timeout: a.duration("timeout", 0),
	})
}

func (s *stage) switches(a *arguments) {
	n := s.running(a)
	s.c.step(n, &Input{Kind: InputSwitch, Switches: a.switches(n.core.Status().Switches)})
}

func (s *stage) revert(a *arguments) {
	s.c.step(s.running(a), &Input{Kind: InputAllowReversion, Peer: codec.NodeID(a.number("peer", 0))})
}

func (s *stage) down(a *arguments) {
	s.c.step(s.running(a), &Input{Kind: InputPeerDown, Peer: codec.NodeID(a.number("peer", 0))})
}

func (s *stage) wait(a *arguments) {
	words := a.words(func(string) bool { return true })
	if len(words) != 1 {
		mistake("want one duration")
	}
	s.c.run(parseDuration(words[0]), nil)
}

func (s *stage) next(*arguments) {
	_, deadline := s.c.next()
	if len(s.c.events) > 0 {
		deadline = min(deadline, s.c.events[0].at)
	}
	if deadline == Never {
		mistake("nobody waits for anything")
	}
	s.c.run(time.Duration(deadline-s.c.now), nil)
}

func (s *stage) stall(a *arguments) {
	for _, n := range s.some(a) {
		n.stuck = true
	}
}

func (s *stage) resume(a *arguments) {
	for _, n := range s.some(a) {
		n.stuck = false
		s.c.flushSoon(n)
	}
}

func (s *stage) flushSome(a *arguments) {
	n := s.running(a)
	writes := int(a.number("writes", uint64(len(n.writes))))
	if writes == 0 || writes > len(n.writes) {
		mistake("%d writes wait, want to flush %d of them", len(n.writes), writes)
	}
	s.c.flush(n, n.writes[writes-1].Seq)
}

func (s *stage) report(a *arguments) {
	n, seq := s.running(a), a.number("seq", 0)
	s.c.note("%d: is told again that #%d is flushed", n.id, seq)
	s.c.step(n, &Input{Kind: InputFlushed, Seq: seq})
}

func (s *stage) crash(a *arguments) {
	n := s.running(a)
	s.c.crash(n, int(a.number("keep", 0)))
	n.stuck = false
}

func (s *stage) closeNode(a *arguments) {
	n := s.running(a)
	s.c.close(n)
	n.stuck = false
}

func (s *stage) wipe(a *arguments) {
	for _, id := range a.ids() {
		n := s.node(id)
		if n.up() {
			mistake("node %d runs", id)
		}
		n.disk, n.snapshots = testLog{}, nil
		delete(s.c.check.promised, id) // it broke its promises
	}
}

func (s *stage) status(a *arguments) {
	for _, n := range s.some(a) {
		if !n.up() {
			s.say("%d: down", n.id)
			continue
		}
		st := n.core.Status()
		s.say("%d: %s", n.id, statusString(&st))
	}
}

func (s *stage) logs(a *arguments) {
	for _, n := range s.some(a) {
		s.say("%d: log %s", n.id, logString(&n.mem))
		if n.disk.lastID() != n.mem.lastID() || n.disk.vote != n.mem.vote {
			s.say("%d: disk %s, vote %v", n.id, logString(&n.disk), n.disk.vote)
		}
	}
}

func (s *stage) peers(a *arguments) {
	for _, p := range s.running(a).core.Peers(nil) {
		s.say("%s", peerString(&p))
	}
}

func (s *stage) memberships(a *arguments) {
	for _, n := range s.some(a) {
		s.say("%d: membership of %v: %s", n.id, n.core.Status().MemberAt, membershipString(n.core.Membership()))
	}
}

func (s *stage) hide(a *arguments, on bool) {
	for _, word := range a.words(func(string) bool { return true }) {
		s.hidden[word] = on
	}
}
