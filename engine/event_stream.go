package engine

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
)

// eventsMax is how many events a stream keeps for a reader that is behind.
const eventsMax = 1024

// EventStream is a subscription to a node's events, made by [Raft.Events]. Its methods may be called from any goroutine.
type EventStream struct {
	hub    *eventHub
	wanted [eventKindEnd]bool
	ready  chan struct{} // capacity 1: something is to be looked at

	// mu guards what follows. No owner would do: the loop and other goroutines of the node add what the caller takes.
	mu      sync.Mutex
	queue   []Event // oldest first, at most eventsMax
	dropped uint64
	ended   error // set when nothing more comes
}

// eventHub spreads events.
type eventHub struct {
	live atomic.Int32 // number of streams, so that nothing is made where nobody listens

	// mu guards what follows. No owner would do: callers come and go on their own goroutines.
	mu      sync.Mutex
	streams []*EventStream
	ended   error
}

// Events subscribes to events of these kinds, or of all where none is named, from now on. What happens while nobody reads is
// kept, up to 1024 events; beyond that the oldest is dropped and counted. Nothing of the node ever waits for a reader. The
// stream must be closed. Errors: an [ArgumentError] for a kind that does not exist.
func (r *Raft) Events(kinds ...EventKind) (*EventStream, error) {
	s := &EventStream{hub: &r.events, ready: make(chan struct{}, 1)}
	for _, k := range kinds {
		if k >= eventKindEnd {
			return nil, &ArgumentError{"Events", k, fmt.Sprintf("a kind below %d", eventKindEnd)}
		}
		s.wanted[k] = true
	}
	if len(kinds) == 0 {
		for k := range s.wanted {
			s.wanted[k] = true
		}
	}
	h := &r.events
	h.mu.Lock()
	defer h.mu.Unlock()
	s.ended = h.ended
	h.streams = append(h.streams, s)
	h.live.Add(1)
	return s, nil
}

// Next returns the next event as soon as there is one. Errors: the context's; what wraps [ErrStopped] when the node has ended
// and everything was read, or the stream was closed.
func (s *EventStream) Next(ctx context.Context) (Event, error) {
	for {
		e, more, err := s.take()
		if e != nil {
			if more {
				s.signal()
			}
			return e, nil
		}
		if err != nil {
			s.signal() // for others who read this stream
			return nil, err
		}
		select {
		case <-s.ready:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// All returns the events one after the other until ctx, the node or the stream ends.
func (s *EventStream) All(ctx context.Context) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		for {
			e, err := s.Next(ctx)
			if err != nil || !yield(e) {
				return
			}
		}
	}
}

// Dropped returns how many events were dropped because nobody read them in time.
func (s *EventStream) Dropped() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dropped
}

// Close ends the subscription, and every call that waits for its next event.
func (s *EventStream) Close() {
	h := s.hub
	h.mu.Lock()
	if i := slices.Index(h.streams, s); i >= 0 {
		h.streams = slices.Delete(h.streams, i, i+1)
		h.live.Add(-1)
	}
	h.mu.Unlock()
	s.end(fmt.Errorf("the stream of events was closed: %w", ErrStopped))
	s.mu.Lock()
	s.queue = nil
	s.mu.Unlock()
}

// take removes the oldest event and tells whether others are behind it, or returns why there will be none.
func (s *EventStream) take() (e Event, more bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return nil, false, s.ended
	}
	e = s.queue[0]
	s.queue = slices.Delete(s.queue, 0, 1)
	return e, len(s.queue) > 0, nil
}

func (s *EventStream) put(e Event) {
	s.mu.Lock()
	if len(s.queue) == eventsMax {
		s.queue = slices.Delete(s.queue, 0, 1)
		s.dropped++
	}
	s.queue = append(s.queue, e)
	s.mu.Unlock()
	s.signal()
}

func (s *EventStream) end(err error) {
	s.mu.Lock()
	if s.ended == nil {
		s.ended = err
	}
	s.mu.Unlock()
	s.signal()
}

func (s *EventStream) signal() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// emit gives an event to everyone who asked for its kind. Any goroutine of the node may call it.
func (h *eventHub) emit(e Event) {
	if h.live.Load() == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.streams {
		if s.wanted[e.Kind()] {
			s.put(e)
		}
	}
}

// end tells every stream that nothing more comes.
func (h *eventHub) end(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = err
	for _, s := range h.streams {
		s.end(err)
	}
}
