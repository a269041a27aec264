package consensus

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
)

var updateTraces = flag.Bool("update", false, "write the golden traces anew")

// TestTraces compares what is written, sent and committed in a few scenes, word for word, with the files in testdata.
// They are also the shortest way to see the protocol at work.
func TestTraces(t *testing.T) {
	for name, play := range map[string]func(c *testCluster, say func(string)){
		"election_and_put": func(c *testCluster, say func(string)) {
			say("three nodes start; node 1 is initialized with all of them and campaigns")
			c.startAll(codec.SeveralLeadersPerTerm)
			leader := c.elect()
			c.settle()
			say("a proposal of two entries: sent before the leader's own write, committed by a majority of flushes")
			c.propose(leader, 2)
			c.settle()
			say("the next heartbeat tells the commit")
			c.run(testHeartbeat, nil)
		},
		"leader_change": func(c *testCluster, say func(string)) {
			c.trace = nil
			c.startAll(codec.SeveralLeadersPerTerm)
			old := c.elect()
			c.run(testHeartbeat, nil)
			say(fmt.Sprintf("leader %d is cut off and appends two entries that nobody else gets", old.id))
			c.isolate(old.id)
			c.propose(old, 2)
			c.run(2*testTimeouts, func() bool { return c.leader() != old && c.leader().core.commit == c.leader().core.log.last.Index })
			say(fmt.Sprintf("leader %d has taken over; the old one comes back", c.leader().id))
			c.heal()
			c.run(3*testHeartbeat/2, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			c := newTestCluster(t, 4, 3)
			line := func(format string, args ...any) {
				fmt.Fprintf(&b, "%7.1fms  %s\n", float64(c.now)/float64(time.Millisecond), fmt.Sprintf(format, args...))
			}
			c.trace = line
			play(c, func(what string) {
				fmt.Fprintf(&b, "# %s\n", what)
				c.trace = line
			})
			path := filepath.Join("testdata", name+".txt")
			if *updateTraces {
				if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			golden, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			compareLines(t, path, strings.Split(b.String(), "\n"), strings.Split(string(golden), "\n"))
		})
	}
}

func compareLines(t *testing.T, path string, got, want []string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		g, w := "(end)", "(end)"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Fatalf("%s:%d\n got %s\nwant %s\n(-update writes the file anew)", path, i+1, g, w)
		}
	}
}
