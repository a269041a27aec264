package node

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
)

// Bounds of a connection, at the node's end.
const (
	greetTimeout = 10 * time.Second // until the client has said its version
	writeTimeout = 30 * time.Second // for a client to take what it is sent; then it is taken for dead
	owedBytesMax = 512 << 20        // of replies and answers that a client has not taken
	socketBytes  = 256 << 10        // buffer in front of a socket
)

// keepAlive finds out about clients whose machine is gone, so that they do not hold a node for ever.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}

// connection is a client's, at the node's end.
type connection struct {
	node *Node
	conn net.Conn

	// Owner: Node.mu.
	claimed bool
	run     runID

	// mu guards what follows. No owner would do: replies come from the goroutine that reads, answers from the node's, and
	// both are written by a third. It is held for a copy of an answer's bytes.
	mu     sync.Mutex
	owed   []byte
	ending bool // nothing more will be owed
	wake   chan struct{}

	pending sync.WaitGroup // frames that are not answered
	entries []codec.Entry  // Owner: the goroutine that reads
}

func newConnection(n *Node, conn net.Conn) *connection {
	return &connection{node: n, conn: conn, wake: make(chan struct{}, 1)}
}

// serve reads until the client ends the connection, or breaks the protocol, and answers all that it took.
func (c *connection) serve() {
	defer c.node.leave(c)
	if err := c.greet(); err != nil {
		_ = c.conn.Close() // nothing was taken from it
		return
	}
	var writing sync.WaitGroup
	writing.Go(c.write)
	in := &reader{from: bufio.NewReaderSize(c.conn, socketBytes), max: askBytesMax}
	for {
		m, err := in.read()
		if err != nil {
			break
		}
		if err := c.take(m); err != nil {
			break
		}
	}
	c.pending.Wait()
	c.finish()
	writing.Wait()
}

// greet exchanges versions. The client's is heard first, so that whoever comes by mistake is told nothing; one of another
// version is told ours.
func (c *connection) greet() error {
	if t, ok := c.conn.(*net.TCPConn); ok {
		if err := t.SetKeepAliveConfig(keepAlive); err != nil {
			return err
		}
	}
	if err := c.conn.SetDeadline(time.Now().Add(greetTimeout)); err != nil {
		return err
	}
	version, err := readGreeting(c.conn)
	if err != nil {
		return err
	}
	if _, err := c.conn.Write(appendGreeting(nil, ProtocolVersion)); err != nil {
		return err
	}
	if version != ProtocolVersion {
		return &VersionError{c.conn.RemoteAddr().String(), version}
	}
	return c.conn.SetDeadline(time.Time{})
}

// finish lets what is owed be written and then closes the connection.
func (c *connection) finish() {
	c.mu.Lock()
	c.ending = true
	c.mu.Unlock()
	c.poke()
}

func (c *connection) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// send queues a message for the client.
func (c *connection) send(k kind, number uint64, body []byte) {
	c.mu.Lock()
	overdue := len(c.owed) > owedBytesMax
	if !overdue && !c.ending {
		c.owed = appendMessage(c.owed, k, number, body)
	}
	c.mu.Unlock()
	if overdue {
		_ = c.conn.Close() // it takes nothing; the goroutine that reads ends it
	}
	c.poke()
}

// write writes whatever is owed, all of it at once, and closes the connection at its end.
func (c *connection) write() {
	var spare []byte
	for {
		<-c.wake
		c.mu.Lock()
		out, ending := c.owed, c.ending
		c.owed = spare[:0]
		c.mu.Unlock()
		if len(out) > 0 {
			err := c.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
			if err == nil {
				_, err = c.conn.Write(out)
			}
			if err != nil {
				_ = c.conn.Close() // the error at hand says more
			}
		}
		if spare = out; cap(spare) > bufferKeptMax {
			spare = nil
		}
		if ending {
			_ = c.conn.Close() // all was written, or nobody takes it
			return
		}
	}
}

// take serves one message. An error ends the connection: the client breaks the protocol.
func (c *connection) take(m message) error {
	switch m.kind {
	case kindPut:
		return c.put(m)
	case kindAsk:
		var q question
		if err := json.Unmarshal(m.body, &q); err != nil {
			return fmt.Errorf("%w: %w", codec.ErrCorrupt, err)
		}
		given, err := c.reply(&q)
		if err != nil {
			c.send(kindReply, m.number, append([]byte{replyRefused}, err.Error()...))
			return nil
		}
		c.send(kindReply, m.number, append([]byte{replyGiven}, given...))
		return nil
	}
	return fmt.Errorf("message of kind %d from a client: %w", m.kind, codec.ErrCorrupt)
}

// reply serves a question.
func (c *connection) reply(q *question) ([]byte, error) {
	n := c.node
	switch q.Ask {
	case askAbout:
		return json.Marshal(n.About())
	case askStanding:
		return json.Marshal(n.standing())
	case askCounters:
		counted, err := n.counted()
		if err != nil {
			return nil, err
		}
		return json.Marshal(counted)
	case askFound:
		if len(n.cfg.Members) > 0 {
			return nil, fmt.Errorf("node %d was given its members at its start", n.cfg.Node)
		}
		return nil, n.found(q.Members)
	}
	var run runID
	if n, err := hex.Decode(run[:], []byte(q.Run)[:min(len(q.Run), 2*runBytes)]); err != nil || n != runBytes || len(q.Run) != 2*runBytes {
		return nil, fmt.Errorf("run %q, want %d hexadecimal digits", q.Run, 2*runBytes)
	}
	switch q.Ask {
	case askClaim:
		if err := n.claim(c, run); err != nil {
			return nil, err
		}
		runtime.GC()
		debug.FreeOSMemory()
		result.ResetPeak()
		return nil, nil
	case askBegin:
		return nil, c.begin(run, q.Clients, q.Payload)
	case askState:
		state, ok := n.machine.state(run)
		if !ok {
			return nil, fmt.Errorf("node %d has not applied the begin of the run, or another one has begun", n.cfg.Node)
		}
		return state, nil
	}
	return nil, fmt.Errorf("unknown question %q", q.Ask)
}

// Bounds of what a run may say it is.
const (
	clientsMax = 1 << 20
	payloadMax = 16 << 20
)

// begin makes a run begin at this place of the log, on all replicas.
func (c *connection) begin(run runID, clients, payload int) error {
	if !c.holds() || c.run != run {
		return errors.New("begin of a run that has not claimed this node")
	}
	if clients < 0 || clients > clientsMax || payload < 0 || payload > payloadMax {
		return fmt.Errorf("begin with %d clients and puts of %d bytes, want up to %d and %d", clients, payload, clientsMax, payloadMax)
	}
	ctx, cancel := context.WithTimeout(context.Background(), foundTimeout)
	defer cancel()
	_, err := c.node.raft.Propose(ctx, appendBegin(nil, run, clients, payload))
	return err
}

// holds reports whether this connection has claimed the node.
func (c *connection) holds() bool {
	c.node.mu.Lock()
	defer c.node.mu.Unlock()
	return c.claimed
}

// put proposes a frame of puts. The answer is sent when the fate of all of them is known.
func (c *connection) put(m message) error {
	f, size, err := codec.ReadFrame(m.body)
	if err != nil || size != len(m.body) {
		return fmt.Errorf("frame of %d bytes in a message of %d: %w", size, len(m.body), errors.Join(err, codec.ErrCorrupt))
	}
	if meta := f.Meta(); meta.Kind != codec.EntryNormal {
		return fmt.Errorf("frame of %v entries: %w", meta.Kind, codec.ErrCorrupt)
	}
	if c.entries, err = f.AppendEntries(c.entries[:0]); err != nil {
		return err
	}
	if !c.holds() {
		return errors.New("puts of a client that has not claimed this node")
	}
	for i := range c.entries {
		if isBegin(c.entries[i].Data) {
			return errors.New("a put that looks like the begin of a run")
		}
	}
	p := newPending(c, m.number, len(c.entries))
	c.pending.Add(1)
	raft := c.node.raft
	for i := range c.entries {
		s := &p.slots[i]
		err := raft.ProposeAsync(c.entries[i].Data, s.answer)
		if errors.Is(err, engine.ErrBusy) { // waits for room, and with it the client behind this connection
			var r engine.Result
			r, err = raft.Propose(context.Background(), c.entries[i].Data)
			s.answer(r, err)
			continue
		}
		if err != nil {
			s.answer(engine.Result{}, err)
		}
	}
	return nil
}
