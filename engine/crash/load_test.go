package crash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
)

// machine is a state machine that knows what it was given. It refuses a put that comes twice or out of its client's
// order, which stops its node.
type machine struct {
	mu      sync.Mutex
	at      map[identity]codec.LogID
	last    map[uint64]uint64
	changed chan struct{} // closed at the next Apply
}

func newMachine() *machine {
	return &machine{at: map[identity]codec.LogID{}, last: map[uint64]uint64{}, changed: make(chan struct{})}
}

// Apply answers each put with its identity.
func (m *machine) Apply(entries []engine.Entry, results []engine.Result) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, e := range entries {
		id, err := readPut(e.Data)
		if err != nil {
			return fmt.Errorf("entry %v: %w", e.ID, err)
		}
		if id.serial <= m.last[id.client] {
			return fmt.Errorf("%v at %v comes after serial %d", id, e.ID, m.last[id.client])
		}
		m.at[id], m.last[id.client] = e.ID, id.serial
		results[i].Data = appendIdentity(nil, id)
	}
	close(m.changed)
	m.changed = make(chan struct{})
	return nil
}

// await waits until a put was applied.
func (m *machine) await(ctx context.Context, id identity) error {
	for {
		m.mu.Lock()
		changed, have := m.changed, len(m.at)
		_, ok := m.at[id]
		m.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%v was not applied, %d other puts were: %w", id, have, ctx.Err())
		}
	}
}

// awaitOr waits until a put was applied, or something else has happened.
func (m *machine) awaitOr(ctx context.Context, id identity, other <-chan struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	applied := make(chan error, 1)
	go func() { applied <- m.await(ctx, id) }()
	select {
	case err := <-applied:
		return err
	case <-other:
		cancel()
		<-applied
		return nil
	}
}

// holds checks that every acknowledged put was applied where it was acknowledged.
func (m *machine) holds(p promises) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, at := range p.ack {
		if m.at[id] != at {
			return fmt.Errorf("%w: %v, acknowledged at %v, was applied at %v", errLost, id, at, m.at[id])
		}
	}
	return nil
}

// seats are the places of the nodes, in which a node may be exchanged for its next life under load.
type seats [3]atomic.Pointer[engine.Raft]

// leader waits until a node says that it leads, and returns the first one, counted from a seat: two may say so, while
// one is cut off and has not heard of the other. It looks again and again, since the nodes to ask change meanwhile.
func (s *seats) leader(ctx context.Context, from uint64) (*engine.Raft, error) {
	for {
		for i := range uint64(len(s)) {
			if n := s[(from+i)%uint64(len(s))].Load(); n != nil {
				if l, ok := n.Leader(); ok && l.ID == n.NodeID() {
					return n, nil
				}
			}
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// load are clients that put until their context ends.
type load struct {
	seats    *seats
	record   recorder
	closed   int    // clients that wait for each answer, and repeat a put that certainly did not happen
	windowed int    // clients with window puts in flight, that repeat nothing
	window   int    // puts in flight of each windowed client
	first    uint64 // number of the first client
	seed     uint64
	failed   func(error) // a client was told something that can't be

	// pause is how long a client rests after a put, or a window of puts. It must not be 0 in a synctest bubble, where
	// time stands still, and with it heartbeats and elections, for as long as anybody works.
	pause time.Duration
}

// patience is how long a closed-loop client waits for an answer before it asks somebody else, with another put.
const patience = 500 * time.Millisecond

// retryPause is how long a client rests after an error that says that nothing happened: the node may be on its way
// down, or not know yet that it leads no more.
const retryPause = time.Millisecond

// run returns when every put was answered.
func (l *load) run(ctx context.Context) {
	var clients sync.WaitGroup
	for i := range l.closed + l.windowed {
		client := l.first + uint64(i)
		r := rand.New(rand.NewPCG(l.seed, client))
		if i < l.closed {
			clients.Go(func() { l.closedLoop(ctx, client, r) })
		} else {
			clients.Go(func() { l.windowedLoop(ctx, client, r) })
		}
	}
	clients.Wait()
}

func rest(ctx context.Context, pause time.Duration) {
	if pause == 0 {
		return
	}
	select {
	case <-time.After(pause):
	case <-ctx.Done():
	}
}

// certain reports whether an error says that nothing happened.
func certain(err error) bool {
	var unknown *engine.UnknownError
	return !errors.As(err, &unknown)
}

func (l *load) closedLoop(ctx context.Context, client uint64, r *rand.Rand) {
	var buf []byte
	from := client
	for serial := uint64(1); ctx.Err() == nil; serial++ {
		id := identity{client, serial}
		l.record.asked(id)
		for {
			n, err := l.seats.leader(ctx, from)
			if err != nil {
				l.record.refused(id)
				return
			}
			buf = appendPut(buf[:0], id, r)
			patient, cancel := context.WithTimeout(ctx, patience)
			result, err := n.Propose(patient, buf)
			cancel()
			if err == nil {
				l.answered(id, result)
				break
			}
			from++
			if !certain(err) {
				l.record.unknown(id)
				break
			}
			if ctx.Err() != nil { // a leader refuses it for that, again and again
				l.record.refused(id)
				return
			}
			rest(ctx, retryPause)
		}
		rest(ctx, l.pause)
	}
}

func (l *load) windowedLoop(ctx context.Context, client uint64, r *rand.Rand) {
	var buf []byte
	tokens := make(chan struct{}, l.window)
	for serial := uint64(1); ctx.Err() == nil; serial++ {
		tokens <- struct{}{}
		n, err := l.seats.leader(ctx, client)
		if err != nil {
			<-tokens
			break
		}
		id := identity{client, serial}
		l.record.asked(id)
		buf = appendPut(buf[:0], id, r)
		err = n.ProposeAsync(buf, func(result engine.Result, err error) {
			switch {
			case err == nil:
				l.answered(id, result)
			case certain(err):
				l.record.refused(id)
			default:
				l.record.unknown(id)
			}
			<-tokens
		})
		if err != nil {
			l.record.refused(id)
			<-tokens
			rest(ctx, retryPause)
		}
		if serial%uint64(l.window) == 0 {
			rest(ctx, l.pause)
		}
	}
	for range l.window {
		tokens <- struct{}{}
	}
}

func (l *load) answered(id identity, result engine.Result) {
	if !bytes.Equal(result.Data, appendIdentity(nil, id)) {
		l.failed(fmt.Errorf("%v was answered %x at %v, which is another put's answer", id, result.Data, result.LogID))
		return
	}
	l.record.acked(id, result.LogID)
}

// putUntil puts one identity until it is acknowledged. It gives up at an error that leaves its fate open.
func putUntil(ctx context.Context, s *seats, record recorder, id identity) error {
	record.asked(id)
	for {
		n, err := s.leader(ctx, id.serial)
		if err != nil {
			record.refused(id)
			return fmt.Errorf("%v: no leader: %w", id, err)
		}
		result, err := n.Propose(ctx, appendPut(nil, id, rand.New(rand.NewPCG(1, id.serial))))
		if err == nil {
			record.acked(id, result.LogID)
			return nil
		}
		if !certain(err) {
			record.unknown(id)
			return fmt.Errorf("%v: %w", id, err)
		}
		if ctx.Err() != nil {
			record.refused(id)
			return fmt.Errorf("%v: %w", id, err)
		}
		rest(ctx, retryPause)
	}
}

// putOne puts until one put of a new client is acknowledged, and returns that.
func putOne(ctx context.Context, s *seats, record recorder, client uint64) (last identity, err error) {
	for serial := uint64(1); ; serial++ { // an unknown fate is possible here too, when leadership moves
		last = identity{client, serial}
		if err = putUntil(ctx, s, record, last); err == nil || ctx.Err() != nil {
			return last, err
		}
	}
}

// finish proves that a cluster goes on: a last put is acknowledged and applied by every node, and every node's state
// machine was given everything that was acknowledged in any life.
func finish(ctx context.Context, s *seats, machines []*machine, b *book, client uint64) error {
	last, err := putOne(ctx, s, b, client)
	if err != nil {
		return err
	}
	for i, m := range machines {
		if err := m.await(ctx, last); err != nil {
			return fmt.Errorf("node %d: %w", i+1, err)
		}
		if err := m.holds(b.promises()); err != nil {
			return fmt.Errorf("node %d: %w", i+1, err)
		}
	}
	return nil
}
