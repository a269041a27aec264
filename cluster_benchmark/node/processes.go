package node

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/millrace/millrace/cluster_benchmark/load"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/cluster_benchmark/target"
	"github.com/millrace/millrace/codec"
)

// Command is a program that calls [Child].
type Command struct {
	Path string
	Args []string
}

// child is a process that runs a node.
type child struct {
	node    codec.NodeID
	process *exec.Cmd
	stdin   io.WriteCloser // closed: the process is to end
	words   tail           // what it wrote to standard error; Owner: the process until ended
	address string         // where it listens for clients
	ended   chan struct{}  // closed when the process has ended
	failure error          // since then: how, nil for exit code 0
}

// processes is a cluster of which each node is a process that was started here.
type processes struct {
	*remote
	children []*child
}

// ready is the line that a child writes to standard output once it serves.
type ready struct {
	Clients string `json:"clients"`
}

// OpenProcesses starts a process for each node, makes them a cluster and waits for its leader. dir is an empty directory for
// their data.
func OpenProcesses(ctx context.Context, s setting.Scenario, dir string, command Command) (target.Target, error) {
	p := &processes{}
	var addresses []string
	for i := range s.Nodes {
		id := codec.NodeID(i + 1)
		cfg := Config{Cluster: "benchmark", Node: id, Peers: "127.0.0.1:0", Clients: "127.0.0.1:0", Store: s.Store}
		if s.Store == setting.StoreWAL {
			cfg.Dir = filepath.Join(dir, fmt.Sprintf("node-%d", id))
		}
		if s.NoStages {
			cfg.Stages = "off"
		}
		c, err := startChild(ctx, cfg, command)
		if err != nil {
			return nil, errors.Join(err, p.end())
		}
		p.children = append(p.children, c)
		addresses = append(addresses, c.address)
	}
	nodes, about, err := meet(ctx, addresses)
	p.remote = newRemote(nodes, about)
	p.gone = p.fewLeft
	if err == nil {
		members := map[codec.NodeID]string{}
		for _, a := range about {
			members[a.Node] = a.Peers
		}
		_, err = nodes[0].ask(ctx, question{Ask: askFound, Members: members})
	}
	if err == nil {
		err = p.begin(ctx, s)
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// startChild starts a process and waits until it serves.
func startChild(ctx context.Context, cfg Config, command Command) (*child, error) {
	c := &child{node: cfg.Node, process: exec.Command(command.Path, command.Args...), ended: make(chan struct{})}
	// A process group of its own, so that ctrl-C reaches this process alone: it measures to the end, and ends the others.
	c.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.process.Stderr = &c.words
	request, err := json.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	if c.stdin, err = c.process.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.process.Start(); err != nil {
		return nil, fmt.Errorf("start the process of node %d: %w", c.node, err)
	}
	unhook := context.AfterFunc(ctx, func() { _ = c.process.Process.Kill() })
	_, err = c.stdin.Write(append(request, '\n'))
	var first ready
	line, readErr := bufio.NewReader(out).ReadBytes('\n')
	if err == nil && readErr == nil {
		err = json.Unmarshal(line, &first)
	}
	err = errors.Join(err, readErr)
	go c.await()
	if !unhook() || err != nil {
		ended := c.stop()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("node %d did not start: %w", c.node, errors.Join(ended, err))
	}
	c.address = first.Clients
	return c, nil
}

// await notes how the process ended.
func (c *child) await() {
	err := c.process.Wait()
	if err != nil {
		c.failure = fmt.Errorf("node %d, process %d, ended with %w", c.node, c.process.Process.Pid, err)
		if last := c.words.last(); last != "" {
			c.failure = fmt.Errorf("%w: %s", c.failure, last)
		}
	}
	close(c.ended)
}

func (c *child) running() bool {
	select {
	case <-c.ended:
		return false
	default:
		return true
	}
}

// endTimeout is how long a process may take to end before it is killed.
const endTimeout = 20 * time.Second

// stop makes the process end, and returns when it has. The error is how it ended, if not as it was told to.
func (c *child) stop() error {
	err := c.stdin.Close()
	timer := time.NewTimer(endTimeout)
	defer timer.Stop()
	select {
	case <-c.ended:
		return c.failure
	case <-timer.C:
	}
	err = errors.Join(err, c.process.Process.Kill())
	<-c.ended
	return errors.Join(fmt.Errorf("node %d, process %d, did not end within %v", c.node, c.process.Process.Pid, endTimeout), err)
}

// end ends all processes, at the same time.
func (p *processes) end() error {
	errs := make([]error, len(p.children))
	var all sync.WaitGroup
	for i, c := range p.children {
		all.Go(func() { errs[i] = c.stop() })
	}
	all.Wait()
	return errors.Join(errs...)
}

// fewLeft says that too few processes run to elect a leader.
func (p *processes) fewLeft() error {
	left := 0
	for _, c := range p.children {
		if c.running() {
			left++
		}
	}
	if left <= len(p.children)/2 {
		return fmt.Errorf("%d of %d node processes run, too few to elect a leader: %w", left, len(p.children), load.ErrGone)
	}
	return nil
}

// Close asks each node what it has applied and ends all processes. A process that had ended before says how.
func (p *processes) Close() error {
	err := p.remote.Close()
	return errors.Join(p.end(), err)
}

// Places returns nothing: the nodes run here, and are of the same build.
func (p *processes) Places() []string { return nil }

// PIDs returns the process of each node.
func (p *processes) PIDs() []int {
	var list []int
	for _, c := range p.children {
		list = append(list, c.process.Process.Pid)
	}
	return list
}

// tailBytes is how much of what a process says is kept.
const tailBytes = 4 << 10

// tail keeps the end of what is written to it.
type tail struct{ kept []byte }

// Write keeps the end.
func (t *tail) Write(data []byte) (int, error) {
	t.kept = append(t.kept, data...)
	if extra := len(t.kept) - tailBytes; extra > 0 {
		t.kept = append(t.kept[:0], t.kept[extra:]...)
	}
	return len(data), nil
}

// last returns the line that says most: that of a panic, or the last one.
func (t *tail) last() string {
	lines := bytes.Split(bytes.TrimSpace(t.kept), []byte("\n"))
	for _, line := range lines {
		if text := string(line); strings.HasPrefix(text, "panic: ") || strings.HasPrefix(text, "fatal error: ") {
			return text
		}
	}
	return string(lines[len(lines)-1])
}
