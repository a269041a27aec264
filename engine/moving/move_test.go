package moving

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
)

// process is a node in a process of its own.
//
// Owner: the test's goroutine.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  *os.File
	answer *bufio.Reader
	stderr bytes.Buffer
	node   codec.Node
}

func start(t *testing.T, s setup) *process {
	t.Helper()
	arg, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{os.Args[0], childFlag, string(arg)}
	if s.ID == s.Learner && *niceFlag != 0 {
		args = append([]string{"nice", "-n", fmt.Sprint(*niceFlag)}, args...)
	}
	p := &process{t: t, cmd: exec.Command(args[0], args[1:]...)}
	in, stdin, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin, p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = stdin, in, stdout, &p.stderr
	p.answer = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	stdout.Close()
	t.Cleanup(func() {
		stdin.Close()
		if err := p.cmd.Wait(); err != nil {
			t.Errorf("node %d: %v\n%s", s.ID, err, p.stderr.Bytes())
		}
		out.Close()
	})
	p.node = codec.Node{ID: s.ID}
	p.node.Address = p.do(command{Do: "address"}).Address
	return p
}

// do has the child obey a command.
func (p *process) do(c command) reply {
	p.t.Helper()
	b, err := json.Marshal(c)
	if err == nil {
		_, err = p.stdin.Write(append(b, '\n'))
	}
	if err != nil {
		p.t.Fatal(err)
	}
	line, err := p.answer.ReadBytes('\n')
	if err != nil {
		p.t.Fatalf("node %d answers %q with %v", p.node.ID, c.Do, err)
	}
	var r reply
	if err := json.Unmarshal(line, &r); err != nil {
		p.t.Fatalf("node %d answers %q: %v", p.node.ID, line, err)
	}
	if r.Err != "" {
		p.t.Fatalf("node %d: %s: %s", p.node.ID, c.Do, r.Err)
	}
	return r
}

// until waits for what the node has of snapshots.
func (p *process) until(ok func(*engine.SnapshotMetrics) bool) {
	p.t.Helper()
	for {
		if m := p.do(command{Do: "look"}).Metrics; ok(&m) {
			return
		}
		pause(50 * time.Millisecond)
	}
}

// measured is the load over a time.
type measured struct {
	perSecond float64
	rss       int64
}

// measure lets the load run while fn does.
func (p *process) measure(fn func()) measured {
	p.t.Helper()
	p.do(command{Do: "mark"})
	began, before := time.Now(), p.do(command{Do: "look"}).Puts
	fn()
	after := p.do(command{Do: "look"})
	return measured{float64(after.Puts-before) / time.Since(began).Seconds(), after.RSS}
}

// Targets of the measured form.
const (
	secondsMax  = 180
	ratioMin    = 0.8
	residentMax = 256 << 20
)

// TestMoveToALearner moves a state to a new node while the leader is under load.
func TestMoveToALearner(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the resident set is read from /proc")
	}
	size, alone, dir := *mibFlag<<20, time.Duration(*secondsFlag)*time.Second, *directoryArg
	if judged := size > 0; !judged {
		size, alone = 64<<20, time.Second
	}
	if dir == "" {
		dir = t.TempDir()
	}
	var nodes []*process
	var members []codec.Node
	for id := codec.NodeID(1); id <= 4; id++ {
		p := start(t, setup{ID: id, Dir: filepath.Join(dir, fmt.Sprint(id)), Rate: *rateFlag, Learner: 4, Clients: *clientsFlag, Files: *filesFlag})
		nodes = append(nodes, p)
		if id < 4 {
			members = append(members, p.node)
		}
	}
	leader, learner := nodes[0], nodes[3]
	leader.do(command{Do: "initialize", Members: members})
	leader.do(command{Do: "grow", Bytes: size})
	took := time.Now()
	for _, p := range nodes[:3] {
		p.do(command{Do: "snapshot"})
	}
	t.Logf("three snapshots of %d MiB taken one after the other in %.1f s", size>>20, time.Since(took).Seconds())

	leader.do(command{Do: "load"})
	leader.measure(func() { pause(alone / 3) })
	before := leader.measure(func() { pause(alone) })
	t.Logf("alone: %.0f put/s, resident set up to %d MiB", before.perSecond, before.rss>>20)
	began, phase, puts := time.Now(), time.Now(), leader.do(command{Do: "look"}).Puts
	note := func(what string) {
		now := leader.do(command{Do: "look"}).Puts
		t.Logf("%s after %.1f s, at %.0f put/s", what, time.Since(began).Seconds(), float64(now-puts)/time.Since(phase).Seconds())
		phase, puts = time.Now(), now
	}
	during := leader.measure(func() {
		leader.do(command{Do: "add", Node: learner.node})
		learner.until(func(m *engine.SnapshotMetrics) bool { return m.Installed > 0 })
		note("received")
		learner.until(func(m *engine.SnapshotMetrics) bool { return !m.Installing })
		note("restored")
		leader.do(command{Do: "caught up"})
		note("caught up")
	})
	seconds := time.Since(began).Seconds()
	for target := leader.do(command{Do: "stop"}).Index; learner.do(command{Do: "look"}).Index < target; {
		pause(10 * time.Millisecond)
	}
	m := learner.do(command{Do: "look"}).Metrics
	ratio, grown := during.perSecond/before.perSecond, during.rss-before.rss
	t.Logf("moving: %d MiB in %.1f s, %.0f put/s, ratio %.2f, resident set up to %d MiB, %+d MiB; %d MiB came, %d MiB in the file",
		size>>20, seconds, during.perSecond, ratio, during.rss>>20, grown>>20, m.Receiving.Moved>>20, m.Receiving.Bytes>>20)
	if a, b := leader.do(command{Do: "digest"}).Digest, learner.do(command{Do: "digest"}).Digest; a != b || a.Bytes != size || a.Puts == 0 {
		t.Fatalf("the leader holds %+v, the learner %+v", a, b)
	}
	if grown > residentMax {
		t.Errorf("the leader's resident set grew by %d MiB, want at most %d", grown>>20, residentMax>>20)
	}
	if *mibFlag > 0 && (seconds > secondsMax || ratio < ratioMin) {
		t.Errorf("%.1f s at a ratio of %.2f, want at most %d s and at least %.2f", seconds, ratio, secondsMax, ratioMin)
	}
}

// pause lets the load run. It is what is measured.
func pause(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
}
