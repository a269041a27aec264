package shipment

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/millrace/millrace/codec"
)

// SenderConfig says what is sent to whom and how. All fields are required unless they say otherwise.
type SenderConfig struct {
	Peer codec.NodeID
	// Header is what every message carries: kind, group, vote, mode, log id of the snapshot. Stream and Stamp are the
	// sender's business.
	Header codec.Message
	// ID is the snapshot's identity, and Open opens its bytes, on the sender's goroutine, which also closes them.
	ID   codec.SnapshotID
	Open func() (File, error)
	// Base, when not nil, is sent instead of a file, to a witness; ID has only its log id then, and Open is nil.
	Base *codec.LogBase
	// ChunkBytes is how many bytes go in a message, at most [codec.SnapshotChunkBytesMax].
	ChunkBytes int
	// WindowBytes bounds the bytes that are sent and that the peer has not written yet, at least ChunkBytes.
	WindowBytes int
	// Limit is shared by the senders of a node. Its burst must be at least ChunkBytes. Nil: no limit.
	Limit *rate.Limiter
	// RetryMin and RetryMax bound the time between two questions how much the peer holds: asked at the beginning, after a
	// break, and when nothing was heard for RetryMax of what is on its way.
	RetryMin, RetryMax time.Duration
	// SilenceMax is how long the peer may leave everything unanswered.
	SilenceMax time.Duration
	// Send puts packets on the snapshot lane. It must not block.
	Send func([]codec.Packet)
	// Ended is called once, from the sender's goroutine, unless [Sender.Stop] ended it: why it can't go on.
	Ended func(error)
}

// File is the bytes of a snapshot.
type File interface {
	io.ReaderAt
	io.Closer
}

// Sender sends one snapshot to one peer.
//
// Owner: the goroutine of run. mu guards what the loop tells it and what anybody may ask; no owner would do, since the
// loop may not wait for a disk.
type Sender struct {
	cfg    SenderConfig
	ctx    context.Context // ends with Stop
	cancel context.CancelFunc
	wake   chan struct{} // capacity 1
	done   chan struct{}

	mu       sync.Mutex
	stream   uint64
	broken   bool  // the lane may have lost something
	replied  bool  // since the goroutine last looked
	held     int64 // by the newest reply
	stamp    int64 // of the newest reply
	refusal  error
	progress Progress

	// Owner: the goroutine.
	file     File
	now      time.Time
	sent     int64     // offset of the next chunk
	asking   bool      // the next thing to learn is how much the peer holds
	asked    int64     // stamp of the newest question, 0 for none
	nextAsk  time.Time // when to ask again
	retry    time.Duration
	stamps   int64
	heard    time.Time // the newest reply, or the beginning
	waiting  time.Time // since when nothing was heard of what is on its way; zero while nothing is
	furthest int64     // greatest offset that was ever sent
}

// Progress tells how far a shipment has come.
type Progress struct {
	Began time.Time
	Size  int64 // of the file
	Held  int64 // by the peer, as far as it has said
	Sent  int64 // bytes of the file that were sent, repeated ones included
	Again int64 // bytes that were sent again
}

// NewSender starts to send under a stream number.
func NewSender(cfg SenderConfig, stream uint64) *Sender {
	s := &Sender{cfg: cfg, stream: stream, wake: make(chan struct{}, 1), done: make(chan struct{}), asking: true, retry: cfg.RetryMin}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.now = time.Now()
	s.heard = s.now
	s.progress = Progress{Began: s.now, Size: cfg.ID.Size}
	go s.run()
	return s
}

// SetStream makes later messages carry another stream number.
func (s *Sender) SetStream(stream uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stream = stream
}

// Broken tells that packets on the peer's snapshot lane may be lost.
func (s *Sender) Broken() {
	s.mu.Lock()
	s.broken = true
	s.mu.Unlock()
	s.signal()
}

// Reply takes a reply of the peer. One that is about another snapshot is dropped.
func (s *Sender) Reply(m *codec.Message) {
	if m.Log != s.cfg.Header.Log {
		return
	}
	s.mu.Lock()
	switch {
	case m.Status == codec.StatusOK:
		s.replied = true
		s.held, s.stamp = min(int64(m.Commit), s.cfg.ID.Size), m.Stamp
		s.progress.Held = s.held
	case m.Vote.Leader.Compare(s.cfg.Header.Vote.Leader) > 0:
		s.refusal = fmt.Errorf("%w: %v", ErrSuperseded, m.Vote)
	case m.Vote != s.cfg.Header.Vote: // it does not follow this leader yet
	case int64(m.Commit) >= s.cfg.ID.Size && s.cfg.Base == nil:
		s.refusal = fmt.Errorf("%w: %w", ErrRefused, ErrDamaged)
	default:
		s.refusal = fmt.Errorf("%w at %d of %d bytes", ErrRefused, m.Commit, s.cfg.ID.Size)
	}
	s.mu.Unlock()
	s.signal()
}

// Progress returns how far it has come.
func (s *Sender) Progress() Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.progress
}

// Vote returns the vote that it is sent under.
func (s *Sender) Vote() codec.Vote { return s.cfg.Header.Vote }

// Stop ends the sender and returns at once; [SenderConfig.Ended] is not called any more, or is being called.
func (s *Sender) Stop() { s.cancel() }

// Wait returns when nothing of the sender runs any more.
func (s *Sender) Wait() { <-s.done }

func (s *Sender) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Sender) run() {
	defer close(s.done)
	err := s.ship()
	if s.ctx.Err() == nil {
		s.cfg.Ended(err)
	}
}

// ship opens the file, sends it, and closes it.
func (s *Sender) ship() error {
	if s.cfg.Base != nil {
		return s.send()
	}
	var err error
	if s.file, err = s.cfg.Open(); err != nil {
		return err
	}
	err = s.send()
	if closing := s.file.Close(); err == nil {
		err = closing
	}
	return err
}

// send sends until it can't go on, or is stopped. When all is sent it goes on asking now and then: the peer may have lost
// something, or not have told its leader's core yet that it has installed the snapshot.
func (s *Sender) send() error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for s.ctx.Err() == nil {
		s.now = time.Now()
		if err := s.listen(); err != nil {
			return err
		}
		wait := s.ask()
		if !s.asking && s.sent < s.cfg.ID.Size && s.sent-s.heldNow() < int64(s.cfg.WindowBytes) {
			if err := s.chunk(); err != nil {
				return err
			}
			continue
		}
		timer.Reset(wait)
		select {
		case <-s.wake:
		case <-timer.C:
		case <-s.ctx.Done():
		}
	}
	return nil
}

func (s *Sender) heldNow() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}

// listen takes what the loop has left.
func (s *Sender) listen() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refusal != nil {
		return s.refusal
	}
	if s.replied {
		s.replied = false
		s.heard, s.waiting, s.retry = s.now, time.Time{}, s.cfg.RetryMin
		switch {
		case s.stamp == s.asked: // so all that was sent before is written, or lost
			s.asked, s.asking, s.sent = 0, false, s.held
		case !s.asking && s.sent > s.held:
			s.waiting = s.now
		}
		s.sent = max(s.sent, s.held)
		s.nextAsk = s.now.Add(s.cfg.RetryMax)
	}
	if s.broken {
		s.broken = false
		if !s.asking {
			s.asking, s.nextAsk = true, s.now.Add(s.cfg.RetryMin)
		}
	}
	if !s.waiting.IsZero() && s.now.Sub(s.waiting) > s.cfg.SilenceMax {
		return fmt.Errorf("%w, since %v", ErrSilent, s.now.Sub(s.heard).Round(time.Millisecond))
	}
	return nil
}

// ask asks how much the peer holds, if it is time, and returns how long nothing needs to be asked.
func (s *Sender) ask() time.Duration {
	if wait := s.nextAsk.Sub(s.now); wait > 0 {
		return wait
	}
	s.asking = s.cfg.Base == nil
	s.stamps++
	s.asked = s.stamps
	chunk := codec.SnapshotChunk{ID: s.cfg.ID, Base: s.cfg.Base}
	s.put(codec.AppendSnapshotChunk(make([]byte, codec.DataHeaderSize), &chunk))
	s.nextAsk = s.now.Add(s.retry)
	s.retry = min(2*s.retry, s.cfg.RetryMax)
	return s.nextAsk.Sub(s.now)
}

// chunk sends the next chunk, as soon as the limit allows.
func (s *Sender) chunk() error {
	n := int(min(int64(s.cfg.ChunkBytes), s.cfg.ID.Size-s.sent))
	if s.cfg.Limit != nil {
		if err := s.cfg.Limit.WaitN(s.ctx, n); err != nil {
			return err // it was stopped
		}
	}
	const head = codec.DataHeaderSize + codec.SnapshotChunkHeaderSize
	buf := codec.AppendSnapshotChunk(make([]byte, codec.DataHeaderSize, head+n), &codec.SnapshotChunk{ID: s.cfg.ID, Offset: s.sent})
	buf = buf[:head+n]
	if read, err := s.file.ReadAt(buf[head:], s.sent); read < n {
		return fmt.Errorf("reading %d bytes at %d of snapshot %v: %w", n, s.sent, s.cfg.ID.Log, err)
	}
	s.now = time.Now()
	s.stamps++
	s.put(buf)
	s.sent += int64(n)
	s.mu.Lock()
	s.progress.Sent += int64(n)
	s.progress.Again += min(int64(n), max(0, s.furthest-(s.sent-int64(n))))
	s.mu.Unlock()
	s.furthest = max(s.furthest, s.sent)
	s.nextAsk = s.now.Add(s.cfg.RetryMax)
	return nil
}

// put sends a message with a body.
func (s *Sender) put(body []byte) {
	m := s.cfg.Header
	s.mu.Lock()
	m.Stream = s.stream
	s.mu.Unlock()
	m.Stamp = s.stamps
	if s.waiting.IsZero() {
		s.waiting = s.now
	}
	s.cfg.Send([]codec.Packet{{Node: s.cfg.Peer, Message: m, Data: codec.SealData(body)}})
}
