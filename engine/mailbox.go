package engine

import (
	"sync"
	"sync/atomic"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
)

// mail is what waits for a group's loop, apart from proposals, which have the Intake.
type mail struct {
	packets []codec.Packet
	bytes   int                  // of the packets
	failure error                // what stops the node
	downs   []codec.NodeID       // peers whose append lane may have lost packets
	broken  []codec.NodeID       // peers whose snapshot lane may have lost packets
	trusted []codec.NodeID       // peers whose incarnation is durable
	cold    []pipeline.ColdFrame // frames read back for peers
	answers []forwardAnswer      // to other nodes' proposals
	feed    *coldFeed            // frame read back for the state machine
	asks    []func(*loop)        // run by the loop; dropped by one that has ended
	queries []chan<- Metrics     // of capacity 1; answered also by a loop that has ended
}

// coldFeed is the answer to the loop's request for a frame to apply.
type coldFeed struct {
	frame codec.Frame
	err   error
}

// mailbox collects mail from the transport's, the log's and the applier's goroutines and from callers.
type mailbox struct {
	// mu guards mail and closed. No owner would do: many goroutines leave mail and may not wait for the loop. It is
	// held for appending to a slice.
	mu      sync.Mutex
	mail    mail
	closed  bool
	dropped uint64 // packets refused because bytesMax was reached

	flushed atomic.Uint64 // Seq up to which the log is durable
	asleep  atomic.Bool   // the loop waits, or is about to after one more look at flushed

	bytesMax int           // of packets
	wake     chan struct{} // capacity 1, shared with the Intake; a token says that something waits
}

// post changes the mail under the lock and wakes the loop. After close it does nothing and returns false.
func (b *mailbox) post(change func(*mail)) bool {
	b.mu.Lock()
	closed := b.closed
	if !closed {
		change(&b.mail)
	}
	b.mu.Unlock()
	if closed {
		return false
	}
	b.signal()
	return true
}

// noteFlushed tells the loop that the log is durable up to seq. A log may call it from inside Submit, thus in the loop's
// own round: then the loop sees it in that round, and is not woken for another one.
func (b *mailbox) noteFlushed(seq uint64) {
	for old := b.flushed.Load(); seq > old; old = b.flushed.Load() {
		if b.flushed.CompareAndSwap(old, seq) {
			break
		}
	}
	if b.asleep.Load() {
		b.signal()
	}
}

// signal leaves a token for the loop.
func (b *mailbox) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// deliver takes packets as long as there is room for them.
func (b *mailbox) deliver(packets []codec.Packet) {
	b.post(func(m *mail) {
		for i := range packets {
			size := codec.MessageHeaderSize + len(packets[i].Body())
			if m.bytes > 0 && m.bytes+size > b.bytesMax {
				b.dropped += uint64(len(packets) - i)
				return
			}
			m.bytes += size
			m.packets = append(m.packets, packets[i])
		}
	})
}

// take exchanges the mail for an empty one whose slices are used again.
func (b *mailbox) take(into *mail) {
	clear(into.packets)
	clear(into.cold)
	clear(into.answers)
	clear(into.asks)
	clear(into.queries)
	empty := mail{
		packets: into.packets[:0], downs: into.downs[:0], broken: into.broken[:0], trusted: into.trusted[:0],
		cold: into.cold[:0], answers: into.answers[:0], asks: into.asks[:0], queries: into.queries[:0],
	}
	b.mu.Lock()
	*into, b.mail = b.mail, empty
	b.mu.Unlock()
}

// close refuses all further mail and returns what nobody will read: its queries must still be answered.
func (b *mailbox) close() mail {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	left := b.mail
	b.mail = mail{}
	return left
}

// waitingBytes returns the size of the packets that wait for the loop.
func (b *mailbox) waitingBytes() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mail.bytes
}

func (b *mailbox) droppedPackets() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.dropped
}
