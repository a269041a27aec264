package netio

import (
	"errors"
	"fmt"

	"github.com/millrace/millrace/codec"
)

// pendingChunk is how much is allocated for a message that has only begun to arrive. A larger one gets twice what has
// arrived, so that a length alone, sent by whomever, never makes this node allocate what it says.
const pendingChunk = 64 << 10

// parser turns the bytes of one connection into packets, however they were cut in transit.
// Owner: the connection's event loop.
type parser struct {
	from  codec.NodeID
	lane  codec.Lane
	limit int // MessageBytesMax

	// pending holds the beginning of a message whose end has not come yet; size is that message's size in bytes, 0
	// while too little is there to tell.
	// Invariant: len(pending) < size, or size == 0.
	pending []byte
	size    int
	checked bool // the pending message's header is whole, and its checksum vouches for size

	batch    []codec.Packet // reused between calls, without bodies in it
	messages int            // delivered by the last feed
}

// feed takes the next bytes and hands over all messages that are complete with them. Nothing that it hands over or
// keeps shares memory with chunk: messages with bodies are copied into a block of their own, once. An error wraps
// [codec.ErrCorrupt], [codec.ErrTooLarge] or [codec.ErrVersion], or is errWrongLane; the messages before the bad
// one were delivered, and the parser must not be used again.
func (p *parser) feed(chunk []byte, deliver func([]codec.Packet)) error {
	p.messages = 0
	var err error
	if len(p.pending) > 0 {
		if chunk, err = p.finish(chunk); err != nil {
			return err
		}
	}
	if len(p.pending) == 0 {
		err = p.take(chunk)
	}
	if len(p.batch) > 0 {
		p.messages = len(p.batch)
		deliver(p.batch)
		clear(p.batch)
		p.batch = p.batch[:0]
	}
	return err
}

// next returns the size of the message that starts src, or codec.ErrShort.
func (p *parser) next(src []byte) (int, error) {
	size, err := codec.MessageSize(src, p.limit)
	if err != nil {
		return 0, err
	}
	kind := codec.MessageKind(src[5])
	if kind.Lane() != p.lane {
		return 0, fmt.Errorf("%v message on the %v lane: %w", kind, p.lane, errWrongLane)
	}
	return size, nil
}

// messagePrefix is the number of bytes that tell a message's size.
const messagePrefix = 6

// finish adds to the pending message what chunk has of it and returns the rest of chunk.
func (p *parser) finish(chunk []byte) ([]byte, error) {
	if p.size == 0 {
		n := min(messagePrefix-len(p.pending), len(chunk))
		p.pending = append(p.pending, chunk[:n]...)
		chunk = chunk[n:]
		size, err := p.next(p.pending)
		if errors.Is(err, codec.ErrShort) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		p.size = size
	}
	if !p.checked {
		n := min(max(0, codec.MessageHeaderSize-len(p.pending)), len(chunk))
		p.keep(chunk[:n])
		chunk = chunk[n:]
		if err := p.check(); err != nil {
			return nil, err
		}
	}
	n := min(p.size-len(p.pending), len(chunk))
	p.keep(chunk[:n])
	chunk = chunk[n:]
	if len(p.pending) < p.size {
		return nil, nil
	}
	packet, _, err := codec.ReadMessage(p.pending, p.limit)
	if err != nil {
		return nil, err
	}
	packet.Node = p.from
	p.batch = append(p.batch, packet)
	if p.size, p.checked = 0, false; packet.Body() == nil {
		p.pending = p.pending[:0]
	} else {
		p.pending = nil // the body owns it now
	}
	return chunk, nil
}

// check looks at the header of the pending message once it is whole: a damaged size must not make this node wait for, and
// swallow, what was never meant to belong to it.
func (p *parser) check() error {
	if len(p.pending) < codec.MessageHeaderSize {
		return nil
	}
	_, _, err := codec.ReadMessage(p.pending, p.limit)
	if err != nil && !errors.Is(err, codec.ErrShort) {
		return err
	}
	p.checked = true
	return nil
}

// keep appends the beginning of a message of p.size bytes to pending.
func (p *parser) keep(b []byte) {
	if need := len(p.pending) + len(b); need > cap(p.pending) {
		grown := make([]byte, len(p.pending), min(p.size, max(pendingChunk, 2*need)))
		copy(grown, p.pending)
		p.pending = grown
	}
	p.pending = append(p.pending, b...)
}

// take reads all complete messages of chunk into the batch and keeps what is left.
func (p *parser) take(chunk []byte) error {
	end, bodies := 0, false
	var err error
	for {
		var size int
		if size, err = p.next(chunk[end:]); err != nil {
			break
		}
		if len(chunk)-end < size {
			p.size = size
			break
		}
		bodies = bodies || size > codec.MessageHeaderSize
		end += size
	}
	block := chunk[:end]
	if bodies {
		block = append([]byte(nil), block...)
	}
	for len(block) > 0 {
		packet, n, err := codec.ReadMessage(block, p.limit)
		if err != nil {
			return err
		}
		packet.Node = p.from
		p.batch = append(p.batch, packet)
		block = block[n:]
	}
	switch {
	case err == nil:
		p.keep(chunk[end:])
		return p.check()
	case errors.Is(err, codec.ErrShort):
		p.pending = append(p.pending, chunk[end:]...)
	default:
		return err
	}
	return nil
}
