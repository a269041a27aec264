package moving

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
)

// setup is how a child is to be opened.
type setup struct {
	ID      codec.NodeID
	Dir     string
	Rate    int
	Learner codec.NodeID // its id, in the child that leads
	Clients int
	Files   bool // the large part of the state is in a file
}

// command is a line to a child, reply the line it answers with.
type command struct {
	Do      string
	Members []codec.Node // of "initialize"
	Node    codec.Node   // of "add"
	Bytes   int64        // of "grow"
	For     time.Duration
}

type reply struct {
	Err     string
	Address string
	Digest  digest
	Index   codec.Index
	Metrics engine.SnapshotMetrics
	Puts    uint64 // of the load since it began
	RSS     int64  // greatest resident set since the last "mark", in bytes
}

// member is a node in a child process.
type member struct {
	setup setup
	sm    *archive
	node  *engine.Raft
	load  *load
	rss   *watch
}

// child runs a node and does what the lines on its standard input say, until that ends.
func child(arg string) error {
	var m member
	if err := json.Unmarshal([]byte(arg), &m.setup); err != nil {
		return err
	}
	var err error
	dir := ""
	if m.setup.Files {
		dir = filepath.Join(m.setup.Dir, "state")
	}
	if m.sm, err = newArchive(dir); err != nil {
		return err
	}
	cfg := engine.Config{
		NodeID: m.setup.ID, ClusterID: "moving", Dir: filepath.Join(m.setup.Dir, "node"), Listen: "127.0.0.1:0",
		ElectionTimeoutMin: 5 * time.Second, ElectionTimeoutMax: 10 * time.Second, SnapshotBytesPerSecond: m.setup.Rate,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo})),
		Keep:   engine.LogKeep{Entries: -1},
	}
	cfg.Switches.NoElections = m.setup.ID != 1
	if m.node, err = engine.Open(cfg, m.sm); err != nil {
		return err
	}
	m.rss = newWatch()
	in, out := bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	for in.Scan() {
		var c command
		if err := json.Unmarshal(in.Bytes(), &c); err != nil {
			return err
		}
		r, err := m.obey(&c)
		if err != nil {
			r.Err = err.Error()
		}
		if err := out.Encode(r); err != nil {
			return err
		}
	}
	m.rss.stop()
	if m.load != nil {
		m.load.stop()
	}
	if err := m.node.Close(); err != nil {
		return err
	}
	return m.sm.close()
}

func (m *member) obey(c *command) (r reply, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	switch c.Do {
	case "address":
		r.Address = m.node.Addr()
	case "initialize":
		if err = m.node.Initialize(ctx, codec.NewMembership(codec.OneLeaderPerTerm, c.Members...)); err == nil {
			_, err = m.node.WaitLeader(ctx)
		}
	case "grow":
		_, err = m.node.Propose(ctx, growEntry(c.Bytes))
	case "snapshot":
		var at codec.LogID
		at, err = m.node.Trigger().Snapshot(ctx)
		r.Index = at.Index
	case "load":
		m.load = newLoad(m.node, m.setup.Clients)
	case "stop":
		m.load.stop()
		m.load = nil
		_, err = m.node.Propose(ctx, putEntry(nil, 0, nil)) // behind what its clients have left
	case "look":
	case "mark":
		m.rss.mark()
	case "add":
		_, err = m.node.ChangeMembership(ctx, engine.AddLearner(c.Node))
	case "caught up":
		err = m.node.WaitCaughtUp(ctx, m.setup.Learner)
	case "digest":
		r.Digest, err = m.sm.digest()
	default:
		err = fmt.Errorf("unknown command %q", c.Do)
	}
	all := m.node.Metrics()
	r.Metrics, r.Index, r.RSS = all.Snapshots, all.Applied, m.rss.greatest()
	if m.load != nil {
		r.Puts = m.load.puts.Load()
	}
	return r, err
}

// load is clients that put one after the other.
type load struct {
	puts   atomic.Uint64
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func newLoad(node *engine.Raft, clients int) *load {
	l := &load{}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	for c := range clients {
		l.wg.Go(func() {
			value, buf := bytes.Repeat([]byte{'v'}, 119), []byte(nil)
			for n := uint64(0); l.ctx.Err() == nil; n++ {
				buf = putEntry(buf[:0], uint64(c)<<8|n%16, strconv.AppendUint(value[:100], n, 10))
				if _, err := node.Propose(l.ctx, buf); err != nil {
					continue
				}
				l.puts.Add(1)
			}
		})
	}
	return l
}

func (l *load) stop() {
	l.cancel()
	l.wg.Wait()
}

// watch looks at this process's resident set.
type watch struct {
	most atomic.Int64
	end  chan struct{}
	done chan struct{}
}

func newWatch() *watch {
	w := &watch{end: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			w.most.Store(max(w.most.Load(), resident()))
			select {
			case <-tick.C:
			case <-w.end:
				return
			}
		}
	}()
	return w
}

func (w *watch) mark()           { w.most.Store(resident()) }
func (w *watch) greatest() int64 { return w.most.Load() }
func (w *watch) stop()           { close(w.end); <-w.done }

// resident returns the resident set in bytes, 0 where the system does not tell.
func resident() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(b), &size, &pages); err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
