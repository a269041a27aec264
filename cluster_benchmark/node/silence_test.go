package node

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/millrace/millrace/pipeline"
)

// TestSilentNode: a node that owes answers and sends nothing is given up, with an unknown fate for what it owes; one that owes
// nothing may be silent for as long as it likes.
func TestSilentNode(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	served, release := make(chan error, 1), make(chan struct{})
	go func() { // greets, grants the claim, and then only listens
		served <- func() error {
			conn, err := listener.Accept()
			if err != nil {
				return err
			}
			defer conn.Close()
			if _, err := readGreeting(conn); err != nil {
				return err
			}
			if _, err := conn.Write(appendGreeting(nil, ProtocolVersion)); err != nil {
				return err
			}
			if _, err := (&reader{from: conn, max: askBytesMax}).read(); err != nil {
				return err
			}
			_, err = conn.Write(appendMessage(nil, kindReply, 0, []byte{replyGiven}))
			<-release
			return err
		}()
	}()
	const look = 20 * time.Millisecond
	s, err := openStream(t.Context(), listener.Addr().String(), 1, runA, look, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	opened := time.Now()
	await(t, "some looks found nothing owed", func() bool { return time.Since(opened) > 10*look })
	if s.retired.Load() {
		t.Error("given up although it owes nothing")
	}
	_, err = s.Propose(t.Context(), []byte("put"))
	var unknown *pipeline.UnknownError
	if !errors.As(err, &unknown) || !errors.Is(err, errSilent) {
		t.Errorf("%v, want an unknown fate, since no answer came", err)
	}
	close(release)
	if err := <-served; err != nil {
		t.Error(err)
	}
}
