package consensus

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/millrace/millrace/codec"
)

// TestTraces plays the files in testdata/traces: scenes whose outcome hangs on the exact order of messages, writes and
// crashes, told in a small language (trace_commands_test.go, trace_network_test.go) and compared word for word with what
// happened. The checker of the random runs looks at every step here too. They are also the shortest way to see the
// protocol at work. -rewrite writes the outcomes anew; they are then to be read line by line.
func TestTraces(t *testing.T) {
	datadriven.Walk(t, "testdata/traces", func(t *testing.T, path string) {
		s := newStage(t)
		datadriven.RunTest(t, path, s.play)
	})
}

// stage plays one trace: a cluster in virtual time whose network and disks do what the file says. Left alone, packets
// arrive in the order in which they were sent and disks finish at once, before the next command. Nodes campaign only
// when told, unless the file says otherwise, so that nothing depends on a random timeout.
type stage struct {
	c    *testCluster
	mode codec.VoteMode
	// everyone is the configuration of every node that has none in own.
	everyone Config
	own      map[codec.NodeID]Config
	rules    []networkRule
	held     []testPacket // by rules that hold
	hidden   map[string]bool
	quiet    bool
	out      strings.Builder
	shown    Instant // time of the last line
}

func newStage(t *testing.T) *stage {
	s := &stage{
		c: newTestCluster(t, 1, 0), mode: several, everyone: testConfig(0),
		own: map[codec.NodeID]Config{}, hidden: map[string]bool{},
	}
	s.everyone.Switches.NoElections = true
	s.c.config = func(id codec.NodeID) Config {
		cfg, ok := s.own[id]
		if !ok {
			cfg = s.everyone
		}
		cfg.Node = id
		return cfg
	}
	s.c.trace = s.line
	s.c.network = s.network
	return s
}

// line adds a line about what happened, behind the time if that has moved on.
func (s *stage) line(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !s.hides(text) {
		s.say("%s", text)
	}
}

// say adds a line that a command asked for, behind the time if that has moved on.
func (s *stage) say(format string, args ...any) {
	if s.quiet {
		return
	}
	if s.c.now != s.shown {
		s.shown = s.c.now
		fmt.Fprintf(&s.out, "at %v\n", time.Duration(s.c.now).Round(ms))
	}
	fmt.Fprintf(&s.out, format+"\n", args...)
}

// hides reports whether a line holds a word that the file does not want to see.
func (s *stage) hides(text string) bool {
	for word := range strings.FieldsSeq(text) {
		if s.hidden[word] {
			return true
		}
	}
	return false
}

// play carries out the commands of one paragraph of a file, one a line, each with all that follows from it.
func (s *stage) play(t *testing.T, td *datadriven.TestData) string {
	s.c.t = t
	s.out.Reset()
	for line := range strings.SplitSeq(td.FullCmd()+"\n"+td.Input, "\n") {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			s.command(td.Pos, line)
		}
	}
	return s.out.String()
}

// syntaxError says what is wrong with a line of a trace file.
type syntaxError string

// mistake ends a command because of a mistake in the file.
func mistake(format string, args ...any) { panic(syntaxError(fmt.Sprintf(format, args...))) }

// command carries out one line.
func (s *stage) command(pos, line string) {
	s.c.t.Helper()
	defer func() {
		switch r := recover().(type) {
		case nil:
		case syntaxError:
			s.c.t.Fatalf("%s: %s: %s", pos, line, string(r))
		default:
			s.c.t.Logf("%s: %s\n%s", pos, line, s.out.String())
			panic(r)
		}
	}()
	rest, quiet := strings.CutPrefix(line, "quiet ")
	name, list, err := datadriven.ParseLine(rest)
	if err != nil {
		mistake("%v", err)
	}
	do := traceCommands[name]
	if do == nil {
		mistake("no such command")
	}
	s.quiet = quiet
	args := &arguments{list: list, used: make([]bool, len(list))}
	do(s, args)
	s.settle()
	s.quiet = false
	for i, used := range args.used {
		if !used {
			mistake("argument %s means nothing here", list[i])
		}
	}
}

// settle lets everything happen that takes no time.
func (s *stage) settle() {
	events := 0
	if s.c.run(0, func() bool { events++; return events > 50_000 }) {
		s.c.t.Fatalf("no end of messages at %v:\n%.3000s", time.Duration(s.c.now), s.out.String())
	}
}

// arguments are those of one command. What no command asks for is a mistake in the file.
type arguments struct {
	list []datadriven.CmdArg
	used []bool
}

// find returns the argument of that key, the one with a value if a bare word is the same, and notes that it means
// something.
func (a *arguments) find(key string) *datadriven.CmdArg {
	found := -1
	for i, arg := range a.list {
		if arg.Key == key && (found < 0 || len(arg.Vals) > 0) {
			found = i
		}
	}
	if found < 0 {
		return nil
	}
	a.used[found] = true
	return &a.list[found]
}

func (a *arguments) has(key string) bool { return a.find(key) != nil }

// text returns the value of a key that must be there.
func (a *arguments) text(key string) string {
	arg := a.find(key)
	if arg == nil || len(arg.Vals) != 1 {
		mistake("want %s=...", key)
	}
	return arg.Vals[0]
}

func (a *arguments) number(key string, otherwise uint64) uint64 {
	if !a.has(key) {
		return otherwise
	}
	return parseNumber(a.text(key))
}

func (a *arguments) duration(key string, otherwise time.Duration) time.Duration {
	if !a.has(key) {
		return otherwise
	}
	return parseDuration(a.text(key))
}

// isOn reads a switch: key=on or key=off.
func (a *arguments) isOn(key string, otherwise bool) bool {
	if !a.has(key) {
		return otherwise
	}
	switch a.text(key) {
	case "on":
		return true
	case "off":
		return false
	}
	mistake("%s=%s, want on or off", key, a.text(key))
	return false
}

// words returns the arguments without a value that pass the test, in order.
func (a *arguments) words(test func(string) bool) []string {
	var out []string
	for i, arg := range a.list {
		if len(arg.Vals) == 0 && test(arg.Key) {
			a.used[i] = true
			out = append(out, arg.Key)
		}
	}
	return out
}

// ids returns the node ids among the arguments.
func (a *arguments) ids() []codec.NodeID {
	var out []codec.NodeID
	for _, word := range a.words(func(w string) bool { return strings.Trim(w, "0123456789") == "" }) {
		out = append(out, codec.NodeID(parseNumber(word)))
	}
	return out
}
