package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/millrace/millrace/cluster_benchmark/load"
	"github.com/millrace/millrace/cluster_benchmark/setting"
)

func ownCommand() Command {
	self, err := os.Executable()
	if err != nil {
		panic("BUG: a test without a binary: " + err.Error())
	}
	return Command{Path: self, Args: []string{beChild}}
}

func openProcesses(t *testing.T, s setting.Scenario) *processes {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	p, err := OpenProcesses(ctx, s, t.TempDir(), ownCommand())
	if err != nil {
		t.Fatal(err)
	}
	return p.(*processes)
}

// alive reports whether a process runs; one that has ended and that nobody has waited for does not.
func alive(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return syscall.Kill(pid, 0) == nil && !errors.Is(err, os.ErrNotExist)
	}
	return !strings.Contains(string(status), "State:\tZ")
}

// TestProcesses: every store and way to put, and no process is left.
func TestProcesses(t *testing.T) {
	for _, store := range []string{setting.StoreMemory, setting.StoreWAL} {
		s := scenario(3, 16, 32, store)
		s.Inflight = 4
		p := openProcesses(t, s)
		pids := p.PIDs()
		r := startLoad(t, p, s)
		r.more()
		v, m, err := r.finish()
		proven(t, v, err)
		if m.Errors > 0 || len(pids) != 3 || pids[0] == os.Getpid() || p.Places() != nil {
			t.Errorf("%d errors, first %v; processes %v", m.Errors, m.FirstError, pids)
		}
		for _, pid := range pids {
			if alive(pid) {
				t.Errorf("process %d is left", pid)
			}
		}
	}
}

// TestKilledProcess: a node that is killed does not end the run, nor hide what the others can prove.
func TestKilledProcess(t *testing.T) {
	s := scenario(3, 16, 32, setting.StoreWAL)
	p := openProcesses(t, s)
	r := startLoad(t, p, s)
	r.more()
	leader, err := p.leader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(p.PIDs()[leader-1], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.more()
	v, _, err := r.finish()
	if v.OK || len(v.Reasons) > 0 || err == nil || !strings.Contains(err.Error(), fmt.Sprintf("node %d, process %d, ended with signal: killed", leader, p.PIDs()[leader-1])) {
		t.Errorf("%+v, %v, want it not proven, and who was killed", v, err)
	}
	for i, applied := range v.Applied {
		if killed := i+1 == int(leader); killed != (applied == 0) || !killed && applied < v.Acknowledged {
			t.Errorf("node %d applied %d of %d", i+1, applied, v.Acknowledged)
		}
	}
}

// TestMajorityKilled: when too few nodes are left the clients end at once, in words.
func TestMajorityKilled(t *testing.T) {
	s := scenario(3, 8, 32, setting.StoreMemory)
	p := openProcesses(t, s)
	r := startLoad(t, p, s)
	r.more()
	for _, c := range p.children[:2] {
		if err := c.process.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-c.ended
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if !r.Drain(ctx) {
		t.Fatal("clients go on")
	}
	if _, err := p.Proposer(); !errors.Is(err, load.ErrGone) || !strings.Contains(err.Error(), "1 of 3 node processes run, too few to elect a leader") {
		t.Errorf("%v, want ErrGone", err)
	}
	v, _, err := r.finish()
	if v.OK || err == nil || !strings.Contains(err.Error(), "ended with signal: killed") {
		t.Errorf("%+v, %v", v, err)
	}
}

// TestProcessThatCannotStart: why is said, and nothing is left.
func TestProcessThatCannotStart(t *testing.T) {
	s := scenario(3, 1, 32, setting.StoreWAL)
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenProcesses(t.Context(), s, file, ownCommand()); err == nil || !strings.Contains(err.Error(), "node 1 did not start") || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("below a file: %v", err)
	}
	if _, err := OpenProcesses(t.Context(), s, t.TempDir(), Command{Path: "/no/such/program"}); err == nil || !strings.Contains(err.Error(), "start the process of node 1") {
		t.Errorf("no program: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := OpenProcesses(ctx, s, t.TempDir(), ownCommand()); !errors.Is(err, context.Canceled) {
		t.Errorf("ended before it began: %v", err)
	}
}

// startAndWait starts nodes, says which processes they are, and waits until it is killed.
func startAndWait(dir string) {
	target, err := OpenProcesses(context.Background(), scenario(3, 1, 32, setting.StoreMemory), dir, ownCommand())
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(strings.Trim(fmt.Sprint(target.(*processes).PIDs()), "[]"))
	select {}
}

// TestOrphans: nodes end with the process that started them, also where that had no chance to end them.
func TestOrphans(t *testing.T) {
	parent := exec.Command(ownCommand().Path, beParent, t.TempDir())
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = parent.Process.Kill() }()
	line, _ := bufio.NewReader(out).ReadString('\n')
	var pids [3]int
	if _, err := fmt.Sscan(line, &pids[0], &pids[1], &pids[2]); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // killed
	await(t, "no node is left", func() bool { return !alive(pids[0]) && !alive(pids[1]) && !alive(pids[2]) })
}
