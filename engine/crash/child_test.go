package crash

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
)

// report is what a child tells its parent of one put, 41 bytes: kind, client, serial, term, node, index.
type report struct {
	kind reportKind
	id   identity
	at   codec.LogID
}

type reportKind byte

const (
	reportAsked reportKind = 1 + iota
	reportAcked
	reportRefused
	reportUnknown
)

const reportBytes = 41

func appendReport(dst []byte, r report) []byte {
	le := binary.LittleEndian
	dst = append(dst, byte(r.kind))
	for _, v := range []uint64{r.id.client, r.id.serial, uint64(r.at.Leader.Term), uint64(r.at.Leader.Node), uint64(r.at.Index)} {
		dst = le.AppendUint64(dst, v)
	}
	return dst
}

func readReport(b []byte) report {
	le := binary.LittleEndian
	return report{
		kind: reportKind(b[0]), id: identity{le.Uint64(b[1:]), le.Uint64(b[9:])},
		at: codec.LogID{Leader: codec.LeaderID{Term: codec.Term(le.Uint64(b[17:])), Node: codec.NodeID(le.Uint64(b[25:]))}, Index: codec.Index(le.Uint64(b[33:]))},
	}
}

// pipeRecorder writes reports to a pipe: at once, but all that wait in one write. What it wrote outlives the process.
//
// Owner: none; mu guards pending, since every client reports, and a client should not wait for the pipe.
type pipeRecorder struct {
	to      io.Writer
	mu      sync.Mutex
	pending []byte
	wake    chan struct{}
}

func (p *pipeRecorder) add(r report) {
	p.mu.Lock()
	p.pending = appendReport(p.pending, r)
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *pipeRecorder) asked(id identity)                 { p.add(report{kind: reportAsked, id: id}) }
func (p *pipeRecorder) acked(id identity, at codec.LogID) { p.add(report{reportAcked, id, at}) }
func (p *pipeRecorder) refused(id identity)               { p.add(report{kind: reportRefused, id: id}) }
func (p *pipeRecorder) unknown(id identity)               { p.add(report{kind: reportUnknown, id: id}) }

// run writes until the pipe breaks.
func (p *pipeRecorder) run() error {
	var out []byte
	for range p.wake {
		p.mu.Lock()
		out, p.pending = p.pending, out[:0]
		p.mu.Unlock()
		if _, err := p.to.Write(out); err != nil {
			return err
		}
	}
	return nil
}

// life is what a child shall do. It goes in as JSON.
type life struct {
	Dirs      []string
	Addresses []string
	Number    uint64
	Seed      uint64
	Closed    int
	Windowed  int
	Window    int
}

// clientsPerLife bounds the clients of a life, so that no two lives use the same identity.
const clientsPerLife = 1000

func nodeConfig(node codec.NodeID, seed uint64) engine.Config {
	return engine.Config{
		NodeID: node, ClusterID: clusterID, Seed: seed + uint64(node),
		ElectionTimeoutMin: 100 * time.Millisecond, ElectionTimeoutMax: 200 * time.Millisecond, HeartbeatInterval: 20 * time.Millisecond,
		SegmentBytes: segmentBytes, RecentBytesMax: 64 << 10,
	}
}

// openNodes opens a cluster on its directories and makes it one where it is new.
func openNodes(l *life, logger *slog.Logger) (*seats, []*machine, error) {
	s := new(seats)
	var machines []*machine
	var members []codec.Node
	for i, dir := range l.Dirs {
		cfg := nodeConfig(codec.NodeID(i+1), l.Seed)
		cfg.Dir, cfg.Listen, cfg.Logger = dir, l.Addresses[i], logger
		cfg.Compression = codec.Compression(l.Seed % 3) // each life another one
		m := newMachine()
		n, err := engine.Open(cfg, m)
		if err != nil {
			return s, machines, fmt.Errorf("open node %d: %w", cfg.NodeID, err)
		}
		s[i].Store(n)
		machines = append(machines, m)
		members = append(members, codec.Node{ID: cfg.NodeID, Address: l.Addresses[i]})
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for i := range s {
		err := s[i].Load().Initialize(ctx, codec.NewMembership(codec.SeveralLeadersPerTerm, members...))
		if err != nil && !errors.Is(err, engine.ErrInitialized) {
			return s, machines, fmt.Errorf("initialize node %d: %w", i+1, err)
		}
	}
	return s, machines, nil
}

func (s *seats) close() (err error) {
	for i := range s {
		if n := s[i].Load(); n != nil {
			err = errors.Join(err, n.Close())
		}
	}
	return err
}

// clusterChild runs three nodes under load and reports every answer to its output, until it is killed. It ends by
// itself when its input does, so that it never outlives its parent, or when a node stops.
func clusterChild(args []string) error {
	var l life
	if err := json.Unmarshal([]byte(args[0]), &l); err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	ended := make(chan error, 4)
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		ended <- fmt.Errorf("the parent is gone (%v)", err)
	}()
	s, _, err := openNodes(&l, logger)
	if err != nil {
		return err
	}
	for i := range s {
		n := s[i].Load()
		go func() {
			<-n.Done()
			ended <- fmt.Errorf("node %d stopped: %w", n.NodeID(), n.Err())
		}()
	}
	record := &pipeRecorder{to: os.Stdout, wake: make(chan struct{}, 1)}
	go func() { ended <- record.run() }()
	clients := load{
		seats: s, record: record, closed: l.Closed, windowed: l.Windowed, window: l.Window,
		first: 1 + l.Number*clientsPerLife, seed: l.Seed, failed: func(err error) { ended <- err },
	}
	go clients.run(context.Background())
	return <-ended
}

// newLife returns what the numbered life of a cluster shall do.
func newLife(dirs, addresses []string, number uint64, r *rand.Rand) life {
	return life{
		Dirs: dirs, Addresses: addresses, Number: number, Seed: r.Uint64(),
		Closed: 1 + r.IntN(6), Windowed: 1 + r.IntN(2), Window: 1 + r.IntN(16),
	}
}

// nodeDirs returns the data directories of three nodes below a folder.
func nodeDirs(folder string) []string {
	var dirs []string
	for i := range 3 {
		dirs = append(dirs, filepath.Join(folder, fmt.Sprint("node", i+1)))
	}
	return dirs
}
