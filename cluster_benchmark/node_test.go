package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/millrace/millrace/cluster_benchmark/result"
)

// TestRunProcesses: a run whose nodes are processes says so, counts what they use, and is compared with nothing else.
func TestRunProcesses(t *testing.T) {
	dir := t.TempDir()
	for _, store := range []string{"memory", "wal"} {
		code, stdout, stderr := try(strings.Fields("run quick --processes --target millrace,ceiling-handoff --clients 8 --inflight 4 --duration 600ms --warmup 100ms --store " +
			store + " --out " + dir + "/" + store)...)
		if code != exitOK || !strings.Contains(stdout, "a process each") || strings.Contains(stdout, " in one ") {
			t.Fatalf("exit code %d: %s\n%s", code, stderr, stdout)
		}
		results := saved(t, dir+"/"+store)
		r := &results[0]
		if len(results) != 2 || r.Target != "millrace" || !r.Processes || r.Connect || !r.OK() || len(r.Safety.Applied) != 3 || r.Errors != 0 || len(r.Places) != 0 {
			t.Fatalf("results are %+v", results)
		}
		if r.Frames == 0 || r.CPU <= 0 || r.AllocPerOp <= 0 || (r.WALSyncs > 0) != (store == "wal") || r.Stages["quorum"].P50 <= 0 {
			t.Errorf("usage is %+v", r)
		}
		other := *r
		other.Processes = false
		if groups := result.Groups([]result.Result{*r, other}); len(groups) != 2 {
			t.Errorf("results of nodes in processes and in one are taken together: %+v", groups)
		}
	}
	own := dir + "/own.yaml"
	if err := os.WriteFile(own, []byte("processes: true\nclients: 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if plan, err := loadProfile(own); err != nil || !plan.Processes {
		t.Errorf("a profile of one's own: %+v, %v", plan, err)
	}
	if code, _, stderr := try("peers", own); code != exitUsage || !strings.Contains(stderr, "has processes true, want false") {
		t.Errorf("peers: exit code %d, %s", code, stderr)
	}
}

// started is a process of the suite that a test reads the words of.
type started struct {
	t       *testing.T
	process *exec.Cmd
	mu      sync.Mutex
	said    bytes.Buffer // guarded by mu
	ended   chan struct{}
}

// Write takes what the process says.
func (s *started) Write(data []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.Write(data)
}

func (s *started) words() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.String()
}

// start starts a command in a directory. It is killed at the end of the test, if it is still there.
func start(t *testing.T, dir string, args ...string) *started {
	t.Helper()
	s := &started{t: t, process: exec.Command(args[0], args[1:]...), ended: make(chan struct{})}
	s.process.Dir, s.process.Stdout, s.process.Stderr = dir, s, s
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = s.process.Wait() // its error is the exit code
		close(s.ended)
	}()
	t.Cleanup(func() {
		_ = s.process.Process.Kill() // mostly it has ended
		<-s.ended
	})
	return s
}

// says waits until the process has said something.
func (s *started) says(words string) {
	s.t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	timeout := time.After(60 * time.Second)
	for !strings.Contains(s.words(), words) {
		select {
		case <-ticker.C:
		case <-s.ended:
			if !strings.Contains(s.words(), words) {
				s.t.Fatalf("ended without %q: %s", words, s.words())
			}
		case <-timeout:
			s.t.Fatalf("no %q within 60 s: %s", words, s.words())
		}
	}
}

// end signals the process and returns its exit code.
func (s *started) end(signal os.Signal) int {
	s.t.Helper()
	if err := s.process.Process.Signal(signal); err != nil {
		s.t.Fatal(err)
	}
	select {
	case <-s.ended:
	case <-time.After(60 * time.Second):
		s.t.Fatalf("%v does not end it: %s", signal, s.words())
	}
	return s.process.ProcessState.ExitCode()
}

// nodeConfig writes the configuration of a node and returns its path.
func nodeConfig(t *testing.T, dir string, node int, peers []string, clients, store string) string {
	t.Helper()
	text := fmt.Sprintf("cluster: test\nnode: %d\npeers: %s\nclients: %s\nstore: %s\nmembers:\n", node, peers[node-1], clients, store)
	for i, a := range peers {
		text += fmt.Sprintf("  %d: %s\n", i+1, a)
	}
	if store == "wal" {
		text += fmt.Sprintf("dir: %s/data-%d\n", dir, node)
	}
	file := filepath.Join(dir, fmt.Sprintf("node-%d.yaml", node))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// freePorts returns addresses of loopback that nobody listens on.
func freePorts(t *testing.T, n int) []string {
	t.Helper()
	var all []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		all = append(all, l.Addr().String())
	}
	return all
}

// oneResult reads the only line of results.
func oneResult(t *testing.T, stdout string) result.Result {
	t.Helper()
	var r result.Result
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatalf("%v: %s", err, stdout)
	}
	return r
}

// TestNodesByHand: three nodes started by hand, a run on them and another one, ctrl-C in the third, one that is restarted, and
// how they end.
func TestNodesByHand(t *testing.T) {
	binary := goBuild(t)
	dir := t.TempDir()
	peers, clients := freePorts(t, 3), freePorts(t, 3)
	var nodes []*started
	for i := range peers {
		nodes = append(nodes, start(t, dir, binary, "node", "--config", nodeConfig(t, dir, i+1, peers, clients[i], "wal")))
	}
	for i, n := range nodes {
		n.says(fmt.Sprintf("node %d of 3 of cluster test is ready: peers %s, clients %s, log in %s/data-%d\n", i+1, peers[i], clients[i], dir, i+1))
		n.says(" leads\n")
	}
	connect := []string{"--connect", strings.Join(clients, ","), "--clients", "8", "--warmup", "0s"}
	for _, profile := range []string{"quick", "minimized"} {
		code, stdout, stderr := runBinary(t, binary, append([]string{"run", profile, "--duration", "500ms", "--json", "-"}, connect...)...)
		if code != exitOK {
			t.Fatalf("%s: exit code %d, %s", profile, code, stderr)
		}
		r := oneResult(t, stdout)
		if !r.Connect || r.Processes || r.Target != "millrace" || r.Nodes != 3 || r.Store != "wal" || r.Net != "tcp" || r.WALBackend != "tidwall" ||
			!r.OK() || r.Ops == 0 || r.WALSyncs == 0 || len(r.Places) != 3 || !strings.Contains(r.Places[1], "node 2 at "+clients[1]) {
			t.Errorf("%s: %+v", profile, r)
		}
		if !strings.Contains(stderr, "connected nodes") {
			t.Errorf("%s: the table says nothing of where the nodes are:\n%s", profile, stderr)
		}
	}

	out := t.TempDir()
	long := append([]string{binary, "run", "quick", "--duration", "1h"}, connect...)
	interrupted := start(t, out, long...)
	awaitData(t, out)
	// Another run is refused meanwhile; once that is seen, the first has begun.
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for refused := false; !refused; <-ticker.C {
		select {
		case <-interrupted.ended: // the other one was there first, and this one was refused
			interrupted = start(t, out, long...)
		default:
		}
		_, _, stderr := runBinary(t, binary, append([]string{"run", "quick", "--duration", "100ms"}, connect...)...)
		refused = strings.Contains(stderr, "is in use by another run")
	}
	if code := interrupted.end(os.Interrupt); code != exitInterrupted {
		t.Errorf("ctrl-C: exit code %d, %s", code, interrupted.words())
	}

	if code := nodes[2].end(syscall.SIGTERM); code != exitOK || !strings.Contains(nodes[2].words(), "node 3 is closing\nnode 3 is closed\n") {
		t.Errorf("SIGTERM: exit code %d, %s", code, nodes[2].words())
	}
	nodes[2] = start(t, dir, binary, "node", "--config", dir+"/node-3.yaml")
	nodes[2].says(" leads\n")
	if code, _, stderr := runBinary(t, binary, append([]string{"run", "quick", "--duration", "300ms"}, connect...)...); code != exitOK {
		t.Errorf("after a restart: exit code %d, %s", code, stderr)
	}
	for _, n := range nodes {
		if code := n.end(os.Interrupt); code != exitOK {
			t.Errorf("ctrl-C: exit code %d, %s", code, n.words())
		}
	}
	if code, _, stderr := runBinary(t, binary, append([]string{"run", "quick"}, connect...)...); code != exitFailed || !strings.Contains(stderr, "connection refused") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("without nodes: exit code %d, %s", code, stderr)
	}
}

// childrenOf returns the processes that a process has started.
func childrenOf(pid int) []int {
	var all []int
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		data, _ := os.ReadFile(list)
		for _, field := range strings.Fields(string(data)) {
			if child, err := strconv.Atoi(field); err == nil {
				all = append(all, child)
			}
		}
	}
	return all
}

// TestNodeKilledDuringARun: the run goes on, writes what it measured and says what it could not look at. Ctrl-C as well ends with
// what was measured, and leaves no process.
func TestNodeKilledDuringARun(t *testing.T) {
	if _, err := os.Stat(fmt.Sprintf("/proc/%d/task/%d/children", os.Getpid(), os.Getpid())); err != nil {
		t.Skip("no list of a process's children under /proc: ", err)
	}
	binary := goBuild(t)
	dir := t.TempDir()
	run := start(t, dir, binary, "run", "quick", "--target", "millrace", "--processes", "--clients", "8", "--warmup", "0s", "--duration", "1h")
	var nodes []int
	await(t, filepath.Join(dir, "results", "data-*", "node-3"), func(string) bool {
		nodes = childrenOf(run.process.Process.Pid)
		return len(nodes) == 3
	})
	// Once node 1 has written some of its log, puts are made.
	await(t, filepath.Join(dir, "results", "data-*", "node-1", "*", "*"), func(string) bool { return true })
	slices.Sort(nodes)
	awaitPuts(t, dir)
	if err := syscall.Kill(nodes[1], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	awaitPuts(t, dir)
	if code := run.end(os.Interrupt); code != exitFailed {
		t.Errorf("exit code %d, want %d: %s", code, exitFailed, run.words())
	}
	for _, want := range []string{"SAFETY NOT PROVEN", fmt.Sprintf("process %d, ended with signal: killed", nodes[1]), "could not be looked at", "interrupted after"} {
		if !strings.Contains(run.words(), want) {
			t.Errorf("nothing is said of %q:\n%s", want, run.words())
		}
	}
	results := saved(t, filepath.Join(dir, "results"))
	if r := &results[0]; !r.Interrupted || r.Ops == 0 || len(r.Safety.Reasons) > 0 || len(r.Safety.Applied) != 3 {
		t.Errorf("result is %+v", r)
	}
	for _, pid := range nodes {
		if syscall.Kill(pid, 0) == nil {
			t.Errorf("process %d is left", pid)
		}
	}
}

// awaitPuts waits until the logs of a run have grown by some puts.
func awaitPuts(t *testing.T, dir string) {
	t.Helper()
	size := func() (sum int64) {
		files, _ := filepath.Glob(filepath.Join(dir, "results", "data-*", "node-*", "*", "*"))
		more, _ := filepath.Glob(filepath.Join(dir, "results", "data-*", "node-*", "*"))
		for _, f := range append(files, more...) {
			if info, err := os.Stat(f); err == nil && !info.IsDir() {
				sum += info.Size()
			}
		}
		return sum
	}
	from := size()
	await(t, filepath.Join(dir, "results", "data-*"), func(string) bool { return size() > from+64<<10 })
}
