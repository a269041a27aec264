package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// network takes the messages of one node to the others.
type network interface {
	// send takes note of the messages and returns at once. What they point to must not change any more.
	send(messages []*raftpb.Message)
}

// direct delivers within the process.
type direct struct{ nodes []*node }

func (d direct) send(messages []*raftpb.Message) {
	for _, m := range messages {
		d.nodes[m.GetTo()-1].deliver(m)
	}
}

// linkBuffer is the size of each side's buffer in bytes.
const linkBuffer = 256 << 10

// mesh is a connection for every pair of nodes and direction, over loopback.
type mesh struct {
	links   []*link
	readers sync.WaitGroup
	mu      sync.Mutex
	failure error // the first one before the end
	closing bool
}

// sender is what one node sends by.
type sender struct{ to []*link } // by node, nil for itself

func (s sender) send(messages []*raftpb.Message) {
	for _, m := range messages {
		s.to[m.GetTo()-1].put(m)
	}
}

// openMesh connects all nodes with each other and gives each its sender.
func openMesh(nodes []*node) (*mesh, error) {
	m := &mesh{}
	for _, from := range nodes {
		s := sender{to: make([]*link, len(nodes))}
		for j, to := range nodes {
			if from == to {
				continue
			}
			near, far, err := dialLoopback()
			if err != nil {
				return nil, errors.Join(fmt.Errorf("connect node %d with node %d: %w", from.id, to.id, err), m.close())
			}
			l := &link{conn: near, far: far, ready: make(chan struct{}, 1), done: make(chan struct{})}
			m.links = append(m.links, l)
			s.to[j] = l
			go func() { m.ended(l.write()); close(l.done) }()
			m.readers.Go(func() { m.ended(read(far, to)) })
		}
		from.net = s
	}
	return m, nil
}

// dialLoopback returns both ends of a connection.
func dialLoopback() (near, far net.Conn, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer listener.Close()
	if near, err = net.Dial("tcp", listener.Addr().String()); err != nil {
		return nil, nil, err
	}
	if far, err = listener.Accept(); err != nil {
		return nil, nil, errors.Join(err, near.Close())
	}
	return near, far, nil
}

// ended takes note of why one end of a connection stopped.
func (m *mesh) ended(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil && !m.closing && m.failure == nil {
		m.failure = err
	}
}

// close ends all connections. The error is what broke one of them before.
func (m *mesh) close() error {
	m.mu.Lock()
	m.closing = true
	m.mu.Unlock()
	var errs []error
	for _, l := range m.links {
		errs = append(errs, l.close())
	}
	m.readers.Wait()
	return errors.Join(append(errs, m.failure)...)
}

// link is one connection, used in one direction, with the goroutine that writes it.
type link struct {
	conn, far net.Conn
	ready     chan struct{} // capacity 1
	done      chan struct{}

	mu     sync.Mutex
	queue  []*raftpb.Message
	closed bool
}

func (l *link) put(m *raftpb.Message) {
	l.mu.Lock()
	l.queue = append(l.queue, m)
	l.mu.Unlock()
	l.poke()
}

func (l *link) poke() {
	select {
	case l.ready <- struct{}{}:
	default:
	}
}

// write sends what is queued, each message with its length before it, and flushes when nothing waits any more.
func (l *link) write() error {
	w := bufio.NewWriterSize(l.conn, linkBuffer)
	var messages []*raftpb.Message
	var buf []byte
	var marshal proto.MarshalOptions
	for range l.ready {
		l.mu.Lock()
		messages, l.queue = l.queue, messages[:0]
		closed := l.closed
		l.mu.Unlock()
		if closed {
			return nil
		}
		for i := range messages {
			var err error
			if buf, err = marshal.MarshalAppend(append(buf[:0], 0, 0, 0, 0), messages[i]); err != nil {
				return err
			}
			binary.LittleEndian.PutUint32(buf, uint32(len(buf)-4))
			if _, err := w.Write(buf); err != nil {
				return err
			}
		}
		clear(messages)
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// read delivers what comes until the connection ends.
func read(conn net.Conn, to *node) error {
	r := bufio.NewReaderSize(conn, linkBuffer)
	var header [4]byte
	var buf []byte
	for {
		if _, err := io.ReadFull(r, header[:]); err != nil {
			return err
		}
		size := int(binary.LittleEndian.Uint32(header[:]))
		if cap(buf) < size {
			buf = make([]byte, 2*size)
		}
		buf = buf[:size]
		if _, err := io.ReadFull(r, buf); err != nil {
			return err
		}
		m := new(raftpb.Message)
		if err := proto.Unmarshal(buf, m); err != nil { // it copies what it keeps
			return err
		}
		to.deliver(m)
	}
}

func (l *link) close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.poke()
	err := errors.Join(l.conn.Close(), l.far.Close())
	<-l.done
	return err
}
