package node

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
)

// A connection fails when its node owes answers and has sent nothing at several looks in a row, for 15 to 22 s: a disk may
// stall for seconds, after which a leader steps down and says so.
const (
	silenceLook  = 7500 * time.Millisecond
	silenceLooks = 3
)

// stream is a connection for puts, to the node that leads. What clients put goes through the engine's own intake, as if the
// leader were in this process: what waits while the connection is busy becomes one frame.
//
//	clients -> Intake -> write: seal, remember, send   ......>   the node
//	clients <- answer <- read: find by number          <......
//
// When the node does not lead any more, or the connection breaks, nothing new is taken, and what is owed is answered as far
// as anybody knows.
type stream struct {
	*pipeline.Intake
	node    codec.NodeID
	conn    net.Conn
	ready   chan struct{}
	closing atomic.Bool
	ended   sync.WaitGroup
	retired atomic.Bool
	leader  atomic.Uint64 // who leads instead, where the node said so
	// lost is told once, when nothing new is taken any more.
	lost func()
	look time.Duration // silenceLook, but for tests

	// mu guards what follows. No owner would do: one goroutine writes frames and another finds them by their answers.
	mu     sync.Mutex
	owed   map[uint64]*pipeline.Batch
	broken error // nothing can be sent any more

	// endMu is held while batches are ended: a call may lie in two of them, which must not end at the same moment.
	endMu sync.Mutex

	number uint64 // Owner: write
}

// openStream connects to a node and claims it for the run.
func openStream(ctx context.Context, address string, id codec.NodeID, run string, look time.Duration, lost func()) (*stream, error) {
	conn, err := dial(ctx, address)
	if err != nil {
		return nil, err
	}
	in := &reader{from: bufio.NewReaderSize(conn, socketBytes), max: replyBytesMax}
	if err := claimOn(conn, in, address, run); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	s := &stream{node: id, conn: conn, ready: make(chan struct{}, 1), owed: map[uint64]*pipeline.Batch{}, lost: lost, look: look}
	if s.Intake, err = pipeline.NewIntake(pipeline.IntakeConfig{Ready: s.ready}); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	s.ended.Go(s.write)
	s.ended.Go(func() { s.read(in) })
	return s, nil
}

func claimOn(conn net.Conn, in *reader, address, run string) error {
	body, err := json.Marshal(question{Ask: askClaim, Run: run})
	if err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Now().Add(askTimeout)); err != nil {
		return err
	}
	if _, err := conn.Write(appendMessage(nil, kindAsk, 0, body)); err != nil {
		return err
	}
	m, err := in.read()
	switch {
	case err != nil:
		return err
	case m.kind != kindReply || len(m.body) == 0:
		return fmt.Errorf("%s: message of kind %d, want a reply: %w", address, m.kind, codec.ErrCorrupt)
	case m.body[0] != replyGiven:
		return &RefusedError{address, string(m.body[1:])}
	}
	return conn.SetDeadline(time.Time{})
}

// write sends what waits. It yields first, so that clients that are about to put do so: large frames instead of many.
func (s *stream) write() {
	var batches []*pipeline.Batch
	var numbers []uint64
	var headers []byte
	var out net.Buffers
	for {
		<-s.ready
		runtime.Gosched()
		last := s.closing.Load()
		batches = s.Take(batches[:0])
		numbers, headers, out = numbers[:0], headers[:0], out[:0]
		for _, b := range batches {
			f, err := b.Seal(1, codec.LeaderID{Term: 1, Node: 1}, 1, codec.CompressionNone)
			if err != nil {
				s.end(b, err)
				continue
			}
			s.number++
			if err := s.owe(s.number, b); err != nil {
				s.end(b, err)
				continue
			}
			if cap(headers) < len(headers)+headerBytes {
				headers = make([]byte, 0, headerBytes*max(len(batches), 16)) // those in out keep the old ones
			}
			headers = appendHeader(headers, kindPut, s.number, f.Bytes())
			out = append(out, headers[len(headers)-headerBytes:], f.Bytes())
		}
		if len(out) > 0 {
			sent := out
			if _, err := sent.WriteTo(s.conn); err != nil {
				s.fail(err)
			}
			clear(out)
		}
		if last {
			return
		}
	}
}

// owe remembers a batch until it is answered. The error is why it can't be sent.
func (s *stream) owe(number uint64, b *pipeline.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return &refusedError{s.node, s.broken.Error()}
	}
	s.owed[number] = b
	return nil
}

func (s *stream) end(b *pipeline.Batch, err error) {
	s.endMu.Lock()
	defer s.endMu.Unlock()
	b.Fail(err)
}

// read gives out answers until the connection ends.
func (s *stream) read(in *reader) {
	var results []pipeline.Result
	silent := 0
	for {
		err := s.conn.SetReadDeadline(time.Now().Add(s.look))
		var m message
		if err == nil {
			m, err = in.read()
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if silent++; s.owes() == 0 {
				silent = 0
			}
			if silent < silenceLooks {
				continue // nothing of a message was read, since nothing was sent
			}
			err = errSilent
		}
		if err == nil {
			silent = 0
			results, err = s.answer(m, results)
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			s.fail(err)
			return
		}
	}
}

func (s *stream) owes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.owed)
}

// answer ends the batch that a message is about.
func (s *stream) answer(m message, results []pipeline.Result) ([]pipeline.Result, error) {
	s.mu.Lock()
	b := s.owed[m.number]
	delete(s.owed, m.number)
	s.mu.Unlock()
	if m.kind != kindAnswer || b == nil {
		return results, fmt.Errorf("message %d of kind %d, want the answer to a frame: %w", m.number, m.kind, codec.ErrCorrupt)
	}
	a, err := readAnswer(m.body, b.Entries(), results)
	if err != nil {
		s.end(b, &pipeline.UnknownError{Cause: err})
		return results, err
	}
	switch a.fate {
	case fateDone:
		s.endMu.Lock()
		b.Answer(a.results)
		s.endMu.Unlock()
		return a.results, nil
	case fateRefused:
		s.retire(a.leader)
		s.end(b, &refusedError{s.node, a.text})
	default:
		s.retire(a.leader)
		s.end(b, &pipeline.UnknownError{Cause: &fateError{s.node, a.text}})
	}
	return results, nil
}

// retire takes nothing new: the node does not lead, or is in trouble. Whoever leads is asked for again.
func (s *stream) retire(leader codec.NodeID) {
	if leader != 0 {
		s.leader.Store(uint64(leader))
	}
	if s.retired.CompareAndSwap(false, true) {
		s.Close(errRetired)
		s.lost()
	}
}

// fail ends the stream: what is owed has an unknown fate.
func (s *stream) fail(err error) {
	s.mu.Lock()
	if s.broken == nil {
		s.broken = fmt.Errorf("the connection to node %d broke: %w", s.node, err)
	}
	err = s.broken
	owed := s.owed
	s.owed = map[uint64]*pipeline.Batch{}
	s.mu.Unlock()
	_ = s.conn.Close() // the error at hand says more
	s.retire(0)
	for _, b := range owed {
		s.end(b, &pipeline.UnknownError{Cause: err})
	}
}

// close ends both goroutines and answers what is owed or waits.
func (s *stream) close() {
	s.retire(0)
	s.fail(net.ErrClosed)
	s.closing.Store(true)
	select {
	case s.ready <- struct{}{}:
	default:
	}
	s.ended.Wait()
}
