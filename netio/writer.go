package netio

import (
	"github.com/millrace/millrace/codec"
)

const (
	// joinBodyMax is the largest frame or data that is copied behind its header instead of being written from where it
	// lies: below it a copy costs less than one more slice for the system call.
	joinBodyMax = 2 << 10
	// joinBytes is the size of the buffer that headers and small bodies are joined in.
	joinBytes = 64 << 10
	// writeBytesMax bounds one write. What the socket does not take of it gnet copies into a buffer of its own.
	writeBytesMax = 256 << 10
	// writeSlicesMax bounds the slices of one write; the system's own limit is 1024.
	writeSlicesMax = 512
)

// writer turns packets into writes: headers and small bodies joined in one buffer, large ones from where they lie.
// Owner: the connection's event loop.
type writer struct {
	packets []codec.Packet // taken from the lane's queue
	next    int            // first of them that was not begun
	rest    []byte         // what is left to write of the body of packets[next-1]
	left    int            // bytes of packets[next:] and rest

	join   []byte   // reused by each write
	slices [][]byte // of join and of bodies, reused by each write
}

func wireSize(p *codec.Packet) int { return codec.MessageHeaderSize + len(p.Body()) }

// fill prepares the next write in w.slices and returns its size in bytes and the number of messages begun in it; 0
// when nothing is left.
func (w *writer) fill() (bytes, messages int) {
	if w.join == nil {
		w.join = make([]byte, 0, joinBytes)
	}
	w.join, w.slices = w.join[:0], w.slices[:0]
	joined := 0 // start of the part of join that is in no slice yet
	for bytes < writeBytesMax && len(w.slices) < writeSlicesMax-2 {
		if len(w.rest) > 0 {
			n := min(len(w.rest), writeBytesMax-bytes)
			if len(w.join) > joined {
				w.slices = append(w.slices, w.join[joined:])
				joined = len(w.join)
			}
			w.slices = append(w.slices, w.rest[:n])
			w.rest = w.rest[n:]
			bytes += n
			continue
		}
		if w.next == len(w.packets) || cap(w.join)-len(w.join) < codec.MessageHeaderSize+joinBodyMax {
			break
		}
		p := &w.packets[w.next]
		body := p.Body()
		w.join = codec.AppendMessage(w.join, &p.Message, len(body))
		bytes += codec.MessageHeaderSize
		if len(body) <= joinBodyMax {
			w.join = append(w.join, body...)
			bytes += len(body)
		} else {
			w.rest = body
		}
		w.next++
		messages++
	}
	if len(w.join) > joined {
		w.slices = append(w.slices, w.join[joined:])
	}
	w.left -= bytes
	return bytes, messages
}

// release forgets what was written, so that no body is kept alive by it.
func (w *writer) release() {
	clear(w.slices)
	w.slices = w.slices[:0]
}
