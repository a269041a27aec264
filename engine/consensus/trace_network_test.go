package consensus

import (
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/codec"
)

// fate is what becomes of a packet.
type fate uint8

const (
	lost fate = iota
	held
	doubled
	delayed
)

// networkRule says what becomes of the packets that match it. The newest rule that matches a packet counts.
type networkRule struct {
	pattern string // as the file wrote it, by which the rule is ended
	match   func(p *testPacket) bool
	fate    fate
	by      time.Duration
}

// packetKinds are the words for kinds of packet, as [testPacket.kind] returns them.
var packetKinds = []string{
	"pre-vote", "pre-vote-reply", "vote", "vote-reply", "append", "probe", "append-reply",
	"heartbeat", "heartbeat-reply", "transfer", "transfer-reply", "read", "read-reply",
}

// pattern reads which packets a command means: "1>2", "1>*", "*>2" or "*" (every one if there is none), and kinds.
func (a *arguments) pattern() (string, func(p *testPacket) bool) {
	links := a.words(func(w string) bool { return w == "*" || strings.Contains(w, ">") })
	kinds := a.words(func(w string) bool { return slices.Contains(packetKinds, w) })
	fits := func(want string, id codec.NodeID) bool { return want == "*" || codec.NodeID(parseNumber(want)) == id }
	return strings.Join(append(slices.Clone(links), kinds...), " "), func(p *testPacket) bool {
		on := len(links) == 0 || slices.ContainsFunc(links, func(link string) bool {
			from, to, ok := strings.Cut(link, ">")
			return !ok || fits(from, p.from) && fits(to, p.to)
		})
		return on && (len(kinds) == 0 || slices.Contains(kinds, p.kind()))
	}
}

// network takes a packet that leaves its node and does with it what the rules say.
func (s *stage) network(p testPacket) {
	for i := len(s.rules) - 1; i >= 0; i-- {
		r := &s.rules[i]
		if !r.match(&p) {
			continue
		}
		switch r.fate {
		case lost:
			s.c.note("%s (lost)", p.String())
		case held:
			s.c.note("%s (held)", p.String())
			s.held = append(s.held, p)
		case doubled:
			s.c.note("%s (twice)", p.String())
			s.c.after(0, func() { s.c.deliver(p) })
			s.c.after(0, func() { s.c.deliver(p) })
		case delayed:
			s.c.note("%s (takes %v)", p.String(), r.by)
			s.c.after(r.by, func() { s.c.deliver(p) })
		}
		return
	}
	s.c.note("%s", p.String())
	s.c.after(0, func() { s.c.deliver(p) })
}

func (s *stage) rule(a *arguments, f fate, by time.Duration) {
	pattern, match := a.pattern()
	s.rules = append(s.rules, networkRule{pattern, match, f, by})
}

// isolate cuts nodes off the rest; they reach each other.
func (s *stage) isolate(a *arguments) {
	ids := a.ids()
	s.rules = append(s.rules, networkRule{pattern: "isolate " + nodesString(ids), fate: lost, match: func(p *testPacket) bool {
		return slices.Contains(ids, p.from) != slices.Contains(ids, p.to)
	}})
}

// heal ends every rule but those that hold.
func (s *stage) heal(*arguments) {
	s.rules = slices.DeleteFunc(s.rules, func(r networkRule) bool { return r.fate != held })
}

// release ends the rules that hold what the pattern names, in the words in which they were made, and delivers all of it
// that waits.
func (s *stage) release(a *arguments) {
	pattern, match := a.pattern()
	before := len(s.rules)
	s.rules = slices.DeleteFunc(s.rules, func(r networkRule) bool { return r.fate == held && r.pattern == pattern })
	if len(s.rules) == before {
		mistake("nothing is held by %q", pattern)
	}
	for _, p := range s.take(match, 1<<30, false) {
		s.arrive(p)
	}
}

// take removes the packets held that match, at most count of them, or with keep only returns them.
func (s *stage) take(match func(p *testPacket) bool, count int, keep bool) []testPacket {
	var out, rest []testPacket
	for _, p := range s.held {
		if len(out) < count && match(&p) {
			out = append(out, p)
		} else {
			rest = append(rest, p)
		}
	}
	if len(out) == 0 {
		mistake("no such packet is held")
	}
	if !keep {
		s.held = rest
	}
	return out
}

// arrive delivers a packet that was held.
func (s *stage) arrive(p testPacket) {
	s.c.note("arrives: %s", p.String())
	s.c.deliver(p)
}

// deliverHeld delivers what is held and matches, all of it or the first count; with keep, as copies.
func (s *stage) deliverHeld(a *arguments) {
	_, match := a.pattern()
	for _, p := range s.take(match, a.count(), a.has("keep")) {
		s.arrive(p)
		s.settle()
	}
}

// loseHeld loses what is held and matches.
func (s *stage) loseHeld(a *arguments) {
	_, match := a.pattern()
	for _, p := range s.take(match, a.count(), false) {
		s.say("lost: %s", p.String())
	}
}

func (a *arguments) count() int { return int(a.number("count", 1<<30)) }

// forge delivers a message that nobody sent in this play: one from a node outside it, or of a past that is not shown.
func (s *stage) forge(a *arguments) {
	link := a.words(func(w string) bool { return strings.Contains(w, ">") })
	kind := a.words(func(w string) bool { return slices.Contains(packetKinds, w) })
	if len(link) != 1 || len(kind) != 1 {
		mistake("want one link such as 4>1 and one kind")
	}
	from, to, _ := strings.Cut(link[0], ">")
	m := codec.Message{
		Group: testGroup, Vote: parseVote(a.text("vote")), PreVote: strings.HasPrefix(kind[0], "pre-"),
		Transfer: a.has("by-transfer"), Mode: s.mode, Commit: codec.Index(a.number("commit", 0)),
		Stream: a.number("stream", 0), Stamp: int64(a.duration("stamp", time.Duration(s.c.now))),
	}
	if a.has("log") {
		m.Log = parseLogID(a.text("log"))
	}
	if a.has("mode") {
		m.Mode = parseMode(a.text("mode"))
	}
	name := strings.Replace(strings.TrimPrefix(kind[0], "pre-"), "probe", "append", 1)
	for m.Kind.String() != name {
		m.Kind++
	}
	if a.has("status") {
		name := a.text("status")
		for m.Status.String() != name {
			m.Status++
		}
	}
	s.arrive(testPacket{from: codec.NodeID(parseNumber(from)), to: codec.NodeID(parseNumber(to)), send: Send{Message: m}})
}
