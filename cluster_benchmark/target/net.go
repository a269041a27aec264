package target

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync/atomic"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
)

// trip sends everything that waits over a TCP connection to another goroutine and answers it when that has answered:
// one round trip at a time, plain connections, nothing parsed.
type trip struct {
	*door
	near, far net.Conn
	echoed    chan struct{} // closed when the other goroutine has ended
	failure   atomic.Pointer[error]

	// Owner: the goroutine that takes.
	buffers net.Buffers
	header  [8]byte
}

func openNet() (*trip, error) {
	d, err := newDoor()
	if err != nil {
		return nil, err
	}
	near, far, err := dialLoopback()
	if err != nil {
		return nil, err
	}
	t := &trip{door: d, near: near, far: far, echoed: make(chan struct{})}
	go t.echo()
	go t.run()
	return t, nil
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

func (t *trip) run() {
	defer close(t.done)
	for {
		batches, last := t.take()
		if len(batches) > 0 {
			t.send(batches)
		}
		if last {
			return
		}
	}
}

func (t *trip) send(batches []*pipeline.Batch) {
	err := t.roundTrip(batches)
	if err != nil {
		t.failure.CompareAndSwap(nil, &err)
	}
	for _, b := range batches {
		if err != nil {
			b.Fail(err)
			continue
		}
		t.answer(b)
	}
}

// roundTrip writes the length of all frames and the frames, and reads one byte.
func (t *trip) roundTrip(batches []*pipeline.Batch) error {
	if p := t.failure.Load(); p != nil {
		return *p
	}
	t.buffers = append(t.buffers[:0], t.header[:])
	total := 0
	for _, b := range batches {
		f, err := b.Seal(1, codec.LeaderID{Term: 1, Node: 1}, 1, codec.CompressionNone)
		if err != nil {
			return err
		}
		total += len(f.Bytes())
		t.buffers = append(t.buffers, f.Bytes())
	}
	binary.LittleEndian.PutUint64(t.header[:], uint64(total))
	out := t.buffers
	if _, err := out.WriteTo(t.near); err != nil {
		return err
	}
	var answer [1]byte
	_, err := io.ReadFull(t.near, answer[:])
	return err
}

// echo reads what comes and answers each message with one byte, until the connection is closed.
func (t *trip) echo() {
	defer close(t.echoed)
	buf := make([]byte, 256<<10)
	for {
		if _, err := io.ReadFull(t.far, buf[:8]); err != nil {
			return
		}
		for left := binary.LittleEndian.Uint64(buf); left > 0; {
			n, err := t.far.Read(buf[:min(left, uint64(len(buf)))])
			if err != nil {
				return
			}
			left -= uint64(n)
		}
		if _, err := t.far.Write([]byte{1}); err != nil {
			return
		}
	}
}

// Close answers what waits and ends both goroutines.
func (t *trip) Close() error {
	t.shut()
	err := t.near.Close()
	<-t.echoed
	if p := t.failure.Load(); p != nil {
		err = errors.Join(err, *p)
	}
	return errors.Join(err, t.far.Close())
}
