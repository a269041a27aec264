package crash

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"
	"time"
)

// process is a child under this test's control.
//
// Owner: the test's goroutine.
type process struct {
	cmd      *exec.Cmd
	stdin    *os.File // its end ends the child
	stderr   bytes.Buffer
	firstAck chan struct{} // closed when the child has reported its first acknowledgement
	drained  chan struct{} // closed when everything the child wrote was read
	acks     int           // reported; read it when drained is closed
}

// start starts a child that lives a life; what it reports goes into the book.
func start(t *testing.T, l life, b *book) *process {
	t.Helper()
	arg, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{firstAck: make(chan struct{}), drained: make(chan struct{})}
	p.cmd = exec.Command(os.Args[0], childFlag, "cluster", string(arg))
	p.cmd.Stderr = &p.stderr
	in, stdin, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin, p.cmd.Stdin, p.cmd.Stdout = stdin, in, stdout
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	stdout.Close()
	go p.read(out, b)
	return p
}

func (p *process) read(out *os.File, b *book) {
	defer close(p.drained)
	defer out.Close()
	buffered := bufio.NewReaderSize(out, 64<<10)
	var buf [reportBytes]byte
	for {
		if _, err := io.ReadFull(buffered, buf[:]); err != nil {
			return // the end, or a report cut in the middle by the kill
		}
		r := readReport(buf[:])
		b.merge(r)
		if r.kind == reportAcked {
			if p.acks++; p.acks == 1 {
				close(p.firstAck)
			}
		}
	}
}

// lives waits for a time while the child must live.
func (p *process) lives(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-p.drained:
		p.kill()
		t.Fatalf("the child ended by itself:\n%s", tail(p.stderr.Bytes()))
	}
}

// works waits until the child's cluster has a leader and acknowledges puts.
func (p *process) works(t *testing.T) {
	t.Helper()
	select {
	case <-p.firstAck:
		return
	case <-p.drained:
	case <-time.After(30 * time.Second):
	}
	p.kill()
	t.Fatalf("the cluster acknowledged nothing:\n%s", tail(p.stderr.Bytes()))
}

// kill sends SIGKILL, reads what the child had written, and returns when it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may be gone already
	<-p.drained
	_ = p.cmd.Wait() // tells that it was killed
	p.stdin.Close()
}

func tail(b []byte) []byte { return b[max(0, len(b)-4000):] }

// freeAddresses returns three addresses that no other program is likely to use, now or in the lives to come: ports
// below those the system gives out, and, where it has more than one, loopback addresses of our own.
func freeAddresses(t *testing.T, r *rand.Rand) []string {
	t.Helper()
	var addresses []string
	for len(addresses) < 3 {
		host := "127.0.0.1"
		if runtime.GOOS == "linux" {
			host = fmt.Sprintf("127.%d.%d.%d", 1+r.IntN(254), r.IntN(256), 1+r.IntN(254))
		}
		address := fmt.Sprintf("%s:%d", host, 10000+r.IntN(20000))
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		addresses = append(addresses, address)
	}
	return addresses
}

// lastLife opens the directories once more in this process and checks what the state machines are given.
func lastLife(t *testing.T, l life, b *book) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var errs lockedBuffer
	s, machines, err := openNodes(&l, slog.New(slog.NewTextHandler(&errs, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err == nil {
		err = finish(ctx, s, machines, b, 1+l.Number*clientsPerLife)
	}
	if closeErr := s.close(); err == nil {
		err = closeErr
	}
	if err != nil {
		t.Fatalf("last life: %v\n%s", err, errs.String())
	}
}

// lockedBuffer is a buffer that several nodes may log to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
