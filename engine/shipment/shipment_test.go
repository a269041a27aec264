package shipment

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/snapshot"
	"github.com/millrace/millrace/wal/vfs"
)

const (
	leader, follower = codec.NodeID(1), codec.NodeID(2)
	chunkBytes       = 4 << 10
	windowBytes      = 4 * chunkBytes
)

var (
	vote   = codec.Vote{Leader: codec.LeaderID{Term: 3, Node: leader}, Committed: true}
	atStep = codec.LogID{Leader: vote.Leader, Index: 100}
)

// side is a node's store.
type side struct {
	fs    *vfs.Mem
	store *snapshot.Store
}

func openSide(t *testing.T, fs *vfs.Mem) *side {
	t.Helper()
	store, err := snapshot.Open(snapshot.Config{FS: fs, Dir: "/snapshot", Cluster: "test", Group: 1, ChunkBytes: 2 << 10})
	if err != nil {
		t.Fatal(err)
	}
	return &side{fs, store}
}

// take makes a snapshot with a state of so many random bytes.
func (s *side) take(t *testing.T, at codec.LogID, size int, seed uint64) (snapshot.Info, []byte) {
	t.Helper()
	w, err := s.store.Create(snapshot.Meta{Base: codec.LogBase{ID: at}})
	if err != nil {
		t.Fatal(err)
	}
	state := make([]byte, size)
	rng := rand.New(rand.NewPCG(seed, 0))
	for i := range state {
		state[i] = byte(rng.Uint32())
	}
	if _, err := w.Write(state); err != nil {
		t.Fatal(err)
	}
	info, err := w.Commit()
	if err != nil {
		t.Fatal(err)
	}
	return info, state
}

// holds checks that the newest snapshot of a store is the one that was sent.
func (s *side) holds(t *testing.T, info snapshot.Info, state []byte) {
	t.Helper()
	got, ok := s.store.Newest()
	if !ok || got.ID() != info.ID() {
		t.Fatalf("the newest snapshot is %+v, %v, want %+v", got, ok, info)
	}
	r, err := s.store.Open(got)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b, err := io.ReadAll(r); err != nil || !bytes.Equal(b, state) {
		t.Fatalf("%d bytes of state, %v, want the %d that were sent", len(b), err, len(state))
	}
}

// link carries packets between a sender and a receiver. It decides over each what becomes of it.
type link struct {
	t        *testing.T
	mu       sync.Mutex
	sender   *Sender
	receiver *Receiver
	toPeer   func(c *codec.SnapshotChunk) bool // nil: all go
	inFlight int64                             // greatest number of bytes that were sent beyond what was said to be held
	sent     int64                             // offset behind the last chunk that was sent
	asked    int
	done     chan Arrival
	ended    chan error
}

func newLink(t *testing.T) *link {
	return &link{t: t, done: make(chan Arrival, 100), ended: make(chan error, 1)}
}

func (l *link) down(packets []codec.Packet) {
	for i := range packets {
		p := packets[i]
		chunk, err := codec.ReadSnapshotChunk(p.Data.Payload(), p.Message.Log)
		if err != nil {
			l.t.Error(err)
		}
		l.mu.Lock()
		if len(chunk.Bytes) == 0 {
			l.asked++
		}
		l.sent = max(l.sent, chunk.Offset+int64(len(chunk.Bytes)))
		if l.sender != nil {
			l.inFlight = max(l.inFlight, l.sent-l.sender.Progress().Held)
		}
		receiver, pass := l.receiver, l.toPeer == nil || l.toPeer(&chunk)
		l.mu.Unlock()
		if p.Node = leader; pass && receiver != nil {
			if err := receiver.Take(&p, vote); err != nil {
				l.t.Error(err)
			}
		}
	}
}

func (l *link) up(packets []codec.Packet) {
	for i := range packets {
		l.mu.Lock()
		sender := l.sender
		l.mu.Unlock()
		if sender != nil {
			sender.Reply(&packets[i].Message)
		}
	}
}

func (l *link) receive(s *side, queue int) *Receiver {
	r := NewReceiver(ReceiverConfig{
		Store: s.store, QueueBytesMax: queue, Send: l.up, Logger: slog.New(slog.NewTextHandler(l.t.Output(), nil)),
		Complete: func(a Arrival) { l.done <- a },
	})
	l.mu.Lock()
	l.receiver = r
	l.mu.Unlock()
	return r
}

func (l *link) send(s *side, info snapshot.Info, limit *rate.Limiter) *Sender {
	l.t.Helper()
	cfg := senderConfig(l, info.ID())
	cfg.Open, cfg.Limit = func() (File, error) { return s.store.OpenRaw(info) }, limit
	return l.start(cfg)
}

func (l *link) start(cfg SenderConfig) *Sender {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sender = NewSender(cfg, 7)
	return l.sender
}

func senderConfig(l *link, id codec.SnapshotID) SenderConfig {
	return SenderConfig{
		Peer:   follower,
		Header: codec.Message{Kind: codec.MessageSnapshot, Group: 1, Vote: vote, Log: id.Log, Mode: codec.SeveralLeadersPerTerm},
		ID:     id, ChunkBytes: chunkBytes, WindowBytes: windowBytes, RetryMin: 50 * time.Millisecond, RetryMax: time.Second,
		SilenceMax: 20 * time.Second, Send: l.down, Ended: func(err error) { l.ended <- err },
	}
}

func (s *Sender) end() {
	s.Stop()
	s.Wait()
}

func TestSnapshotArrivesWhole(t *testing.T) {
	for _, size := range []int{0, 1, chunkBytes, 100_000, 300_001} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from, to, l := openSide(t, vfs.NewMem()), openSide(t, vfs.NewMem()), newLink(t)
				info, state := from.take(t, atStep, size, 1)
				r := l.receive(to, 1<<20)
				s := l.send(from, info, nil)
				a := <-l.done
				to.holds(t, info, state)
				s.SetStream(8) // for what it asks from now on
				if a.Base.ID != atStep || a.Info.ID() != info.ID() || s.Vote() != vote || a.Peer != leader || a.Message.Stream != 7 || a.Message.Vote != vote {
					t.Fatalf("arrived: %+v", a)
				}
				synctest.Wait()
				p, in := s.Progress(), r.Intake()
				if p.Again != 0 || p.Sent != info.Size || p.Held != info.Size || in.Held != info.Size || in.Bytes != info.Size || in.From != leader {
					t.Fatalf("sender %+v, receiver %+v, want %d bytes once", p, in, info.Size)
				}
				if a = <-l.done; a.Message.Stream != 8 {
					t.Fatalf("asked on stream %d, want 8", a.Message.Stream)
				}
				<-l.done // the sender goes on asking until it is stopped: the leader may not have heard
				s.end()
				r.Close()
				if l.inFlight > windowBytes {
					t.Fatalf("%d bytes on their way, window %d", l.inFlight, windowBytes)
				}
			})
		})
	}
}

func TestByteRateIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to, l := openSide(t, vfs.NewMem()), openSide(t, vfs.NewMem()), newLink(t)
		info, _ := from.take(t, atStep, 640<<10, 1)
		r := l.receive(to, 1<<20)
		began := time.Now()
		s := l.send(from, info, rate.NewLimiter(64<<10, chunkBytes))
		<-l.done
		if took := time.Since(began); took < 9*time.Second || took > 12*time.Second {
			t.Fatalf("%d bytes at 65536 a second took %v", info.Size, took)
		}
		s.end()
		r.Close()
	})
}

// TestBreakResendsOnlyWhatWasLost breaks the lane in the middle: what was on its way is lost and its sender is told.
func TestBreakResendsOnlyWhatWasLost(t *testing.T) {
	for _, told := range []bool{true, false} {
		t.Run(fmt.Sprintf("told=%v", told), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from, to, l := openSide(t, vfs.NewMem()), openSide(t, vfs.NewMem()), newLink(t)
				info, state := from.take(t, atStep, 200<<10, 1)
				r := l.receive(to, 1<<20)
				lost := 0
				l.toPeer = func(c *codec.SnapshotChunk) bool {
					if c.Offset < 100<<10 || lost >= windowBytes {
						return true
					}
					lost += len(c.Bytes)
					return false
				}
				began := time.Now()
				s := l.send(from, info, rate.NewLimiter(1<<20, chunkBytes))
				if told {
					time.Sleep(150 * time.Millisecond)
					s.Broken()
				}
				<-l.done
				to.holds(t, info, state)
				if p := s.Progress(); p.Again == 0 || p.Again > windowBytes+chunkBytes {
					t.Fatalf("%d bytes were sent again, want at most a window", p.Again)
				}
				if took := time.Since(began); told && took > 500*time.Millisecond || took > 3*time.Second {
					t.Fatalf("it took %v", took)
				}
				s.end()
				r.Close()
			})
		})
	}
}

// TestRestartedReceiverGoesOn ends the receiver in the middle and opens its store again, as a node does that restarts.
func TestRestartedReceiverGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to, l := openSide(t, vfs.NewMem()), openSide(t, vfs.NewMem()), newLink(t)
		info, state := from.take(t, atStep, 400<<10, 1)
		r := l.receive(to, 1<<20)
		s := l.send(from, info, rate.NewLimiter(100<<10, chunkBytes))
		time.Sleep(2 * time.Second)
		r.Close()
		if err := to.store.Close(); err != nil {
			t.Fatal(err)
		}
		held := s.Progress().Held
		r = l.receive(openSide(t, to.fs), 1<<20)
		<-l.done
		openSide(t, to.fs).holds(t, info, state)
		if p := s.Progress(); held < 100<<10 || p.Again > windowBytes+2*chunkBytes || p.Again == 0 {
			t.Fatalf("%+v after a restart at %d, want that little was sent again", p, held)
		}
		s.end()
		r.Close()
	})
}

// TestOtherLeaderGoesOn: what one leader sent is not sent again by another that has the same file.
func TestOtherLeaderGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to, l := openSide(t, vfs.NewMem()), openSide(t, vfs.NewMem()), newLink(t)
		info, state := from.take(t, atStep, 400<<10, 1)
		r := l.receive(to, 1<<20)
		first := l.send(from, info, rate.NewLimiter(100<<10, chunkBytes))
		time.Sleep(2 * time.Second)
		first.end()
		held := first.Progress().Held
		second := l.send(from, info, nil)
		<-l.done
		to.holds(t, info, state)
		if p := second.Progress(); p.Again != 0 || p.Sent > info.Size-held {
			t.Fatalf("%+v after %d bytes were held", p, held)
		}
		second.end()
		r.Close()
	})
}

// TestPiecesOfTwoSnapshotsDoNotMix sends two files by turns.
func TestPiecesOfTwoSnapshotsDoNotMix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to, l := openSide(t, vfs.NewMem()), openSide(t, vfs.NewMem()), newLink(t)
		info, _ := from.take(t, atStep, 100<<10, 1)
		other, state := from.take(t, atStep, 100<<10, 2) // of the same log id
		r := l.receive(to, 1<<20)
		first := l.send(from, info, rate.NewLimiter(100<<10, chunkBytes))
		time.Sleep(500 * time.Millisecond)
		second := l.send(from, other, nil)
		<-l.done
		to.holds(t, other, state)
		first.end()
		second.end()
		r.Close()
	})
}

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to, l := openSide(t, vfs.NewMem()), openSide(t, vfs.NewMem()), newLink(t)
		info, state := from.take(t, atStep, 300<<10, 1)
		r := l.receive(to, chunkBytes+1) // less than the window
		s := l.send(from, info, nil)
		<-l.done
		to.holds(t, info, state)
		t.Logf("%d pieces had no room", r.Dropped())
		s.end()
		r.Close()
	})
}

func TestSilentPeerEndsTheSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, l := openSide(t, vfs.NewMem()), newLink(t)
		info, _ := from.take(t, atStep, 100<<10, 1)
		s := l.send(from, info, nil)
		for range 100 {
			s.Broken() // a lane that refuses everything must not make it busy
		}
		if err := <-l.ended; !errors.Is(err, ErrSilent) {
			t.Fatalf("ended with %v, want %v", err, ErrSilent)
		}
		if l.asked > 40 {
			t.Fatalf("asked %d times in 20 s", l.asked)
		}
		s.Wait()
	})
}

func TestRefusalEndsTheSender(t *testing.T) {
	greater := codec.Vote{Leader: codec.LeaderID{Term: 4, Node: 3}, Committed: true}
	lower := codec.Vote{Leader: codec.LeaderID{Term: 2, Node: 3}, Committed: true}
	for _, c := range []struct {
		name  string
		reply codec.Message
		want  error
	}{
		{"by a peer of another leader", codec.Message{Status: codec.StatusRefused, Vote: greater}, ErrSuperseded},
		{"by a peer with a full disk", codec.Message{Status: codec.StatusRefused, Vote: vote}, ErrRefused},
		{"as damaged", codec.Message{Status: codec.StatusRefused, Vote: vote, Commit: 1 << 40}, ErrDamaged},
		{"by a peer that does not follow yet", codec.Message{Status: codec.StatusRefused, Vote: lower}, ErrSilent},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from, l := openSide(t, vfs.NewMem()), newLink(t)
				info, _ := from.take(t, atStep, 100<<10, 1)
				s := l.send(from, info, nil)
				other := c.reply
				other.Log = codec.LogID{Leader: vote.Leader, Index: 99}
				s.Reply(&other) // about another snapshot
				synctest.Wait()
				c.reply.Log = atStep
				s.Reply(&c.reply)
				if err := <-l.ended; !errors.Is(err, c.want) {
					t.Fatalf("ended with %v, want %v", err, c.want)
				}
				s.Wait()
			})
		})
	}
}

// TestDamagedFileIsRefused: the sender's file has rotted since it was listed, in its state, or in the number that says which
// version of the format it is of. The sender hears that its own copy is to be looked at.
func TestDamagedFileIsRefused(t *testing.T) {
	for _, at := range []int64{50_000, 4, 5} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from, to, l := openSide(t, vfs.NewMem()), openSide(t, vfs.NewMem()), newLink(t)
				info, _ := from.take(t, atStep, 100<<10, 1)
				r := l.receive(to, 1<<20)
				cfg := senderConfig(l, info.ID())
				cfg.Open = func() (File, error) {
					file, err := from.store.OpenRaw(info)
					return rotten{file, at}, err
				}
				s := l.start(cfg)
				if err := <-l.ended; !errors.Is(err, ErrDamaged) {
					t.Fatalf("ended with %v, want %v", err, ErrDamaged)
				}
				if _, ok := to.store.Newest(); ok {
					t.Fatal("it was taken")
				}
				s.Wait()
				r.Close()
			})
		})
	}
}

// rotten is a file with a damaged byte.
type rotten struct {
	*snapshot.Raw
	damaged int64
}

func (r rotten) ReadAt(p []byte, at int64) (int, error) {
	n, err := r.Raw.ReadAt(p, at)
	if at <= r.damaged && r.damaged < at+int64(n) {
		p[r.damaged-at] ^= 1
	}
	return n, err
}

// TestFullDiskIsRefused: nothing is left of what came, and the next attempt may go well.
func TestFullDiskIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, l := openSide(t, vfs.NewMem()), newLink(t)
		info, state := from.take(t, atStep, 100<<10, 1)
		mem := vfs.NewMem()
		disk := vfs.NewFault(mem)
		store, err := snapshot.Open(snapshot.Config{FS: disk, Dir: "/snapshot", Cluster: "test", Group: 1, ChunkBytes: 2 << 10})
		if err != nil {
			t.Fatal(err)
		}
		to := &side{mem, store}
		r := l.receive(to, 1<<20)
		var full atomic.Bool
		full.Store(true)
		disk.InjectIf(vfs.OpWrite, full.Load, vfs.Fail, syscall.ENOSPC)
		s := l.send(from, info, nil)
		if err := <-l.ended; !errors.Is(err, ErrRefused) || errors.Is(err, ErrDamaged) {
			t.Fatalf("ended with %v, want %v", err, ErrRefused)
		}
		s.Wait()
		full.Store(false)
		s = l.send(from, info, nil)
		<-l.done
		to.holds(t, info, state)
		s.end()
		r.Close()
	})
}
