package storagetest

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"testing/iotest"

	"github.com/millrace/millrace/pipeline"
)

// commands is how many a case applies, where no other number matters.
const commands = 24

var applyCases = []machineCase{
	{"two new ones are alike", func(s *machineRun) {
		if a, b := s.life().state(), s.life().state(); a != b {
			s.Fatalf("states %.200q and %.200q", a, b)
		}
	}},
	{"each command shows", func(s *machineRun) {
		for n := range commands {
			if s.want(n) == s.want(n+1) {
				s.Fatalf("command %d does not change the state %.200q", n, s.want(n))
			}
		}
	}},
	{"the same commands give the same states and answers", func(s *machineRun) {
		a, b := s.life(), s.life()
		for n := range commands {
			a.apply(1)
			b.apply(1)
			if x, y := a.state(), b.state(); x != y {
				s.Fatalf("states %.200q and %.200q after %d commands", x, y, n+1)
			}
			if !bytes.Equal(a.answers[n].copy, b.answers[n].copy) {
				s.Fatalf("answers %.80q and %.80q to command %d", a.answers[n].copy, b.answers[n].copy, n)
			}
		}
	}},
	{"batches make no difference", func(s *machineRun) {
		one := s.life()
		one.applyTo(commands)
		for _, size := range []int{2, 5, commands} {
			many := s.life()
			for many.n < commands {
				many.apply(min(size, commands-many.n))
			}
			many.check()
			for i := range commands {
				if !bytes.Equal(one.answers[i].copy, many.answers[i].copy) {
					s.Fatalf("command %d in a batch of %d is answered %.80q, alone %.80q", i, size, many.answers[i].copy,
						one.answers[i].copy)
				}
			}
		}
	}},
	{"entries stay the caller's", func(s *machineRun) { // apply overwrites what it handed over
		l := s.life()
		for l.n < commands {
			l.apply(3)
			l.check()
		}
	}},
	{"answers stay as they were given", func(s *machineRun) { // the run compares them at its end
		l := s.life()
		l.apply(commands / 2)
		l.applyTo(commands)
	}},
	{"many at once", func(s *machineRun) {
		l := s.life()
		l.apply(1000)
		l.check()
	}},
}

// errOfTest is what readers and writers of cases return.
type errOfTest struct{}

func (errOfTest) Error() string { return "storagetest: an error on purpose" }

// brokenWriter takes so many bytes.
type brokenWriter struct{ room int }

func (w *brokenWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.room)
	if w.room -= n; n < len(p) {
		return n, errOfTest{}
	}
	return n, nil
}

// writing begins to write a captured state on a goroutine of its own, as a node does. What it returns waits for the end.
func (s *machineRun) writing(source pipeline.SnapshotSource) (written func() []byte) {
	s.Helper()
	var writing sync.WaitGroup
	var state bytes.Buffer
	var err error
	begun := make(chan struct{})
	writing.Go(func() {
		close(begun)
		_, err = source.WriteTo(&state)
		err = errors.Join(err, source.Close())
	})
	<-begun
	return func() []byte {
		s.Helper()
		if writing.Wait(); err != nil {
			s.Fatalf("WriteTo and Close: %v", err)
		}
		return state.Bytes()
	}
}

var snapshotCases = []machineCase{
	{"changes nothing", func(s *machineRun) {
		l := s.life()
		for l.n < commands {
			l.apply(4)
			s.written(l.capture())
			l.check()
		}
	}},
	{"holds exactly what was captured", func(s *machineRun) { // entries are applied between capturing and writing
		l := s.life()
		l.applyTo(commands)
		source := l.capture()
		l.applyTo(2 * commands)
		to := s.life()
		to.restore(s.written(source), commands)
		to.check()
		l.check()
	}},
	{"is written while entries are applied", func(s *machineRun) {
		l := s.life()
		l.applyTo(commands)
		written := s.writing(l.capture())
		for range 20 {
			l.apply(commands)
		}
		to := s.life()
		to.restore(written(), commands)
		to.check()
	}},
	{"two at a time", func(s *machineRun) {
		l := s.life()
		l.applyTo(5)
		first := l.capture()
		l.applyTo(10)
		second := l.capture()
		l.applyTo(15)
		for _, c := range []struct {
			source pipeline.SnapshotSource
			n      int
		}{{second, 10}, {first, 5}} {
			to := s.life()
			to.restore(s.written(c.source), c.n)
			to.check()
		}
	}},
	{"outlives a restore", func(s *machineRun) { // a leader's state may come while the last one of this node is not yet written
		l := s.life()
		l.applyTo(commands)
		first := l.capture()
		l.restore(s.another(2*commands), 2*commands)
		second := l.capture()
		l.restore(s.another(5), 5)
		l.applyTo(8)
		for _, c := range []struct {
			source pipeline.SnapshotSource
			n      int
		}{{first, commands}, {second, 2 * commands}} {
			to := s.life()
			to.restore(s.written(c.source), c.n)
			to.check()
		}
		l.check()
	}},
	{"is written while states are restored", func(s *machineRun) {
		l, five, none := s.life(), s.another(5), s.another(0)
		l.applyTo(commands)
		written := s.writing(l.capture())
		for range 5 {
			l.restore(five, 5)
			l.applyTo(10)
			l.restore(none, 0)
			l.applyTo(10)
		}
		l.check()
		to := s.life()
		to.restore(written(), commands)
		to.check()
	}},
	{"can be given up", func(s *machineRun) {
		l := s.life()
		l.applyTo(5)
		for range 3 {
			if err := l.capture().Close(); err != nil {
				s.Fatalf("Close of a captured state that was not written: %v", err)
			}
			l.apply(1)
		}
		l.check()
		to := s.life()
		to.restore(s.written(l.capture()), l.n)
		to.check()
	}},
	{"a writer's error comes back", func(s *machineRun) {
		l := s.life()
		l.applyTo(commands)
		size := len(s.written(l.capture()))
		for _, room := range []int{0, size / 2, size - 1} {
			if room < 0 || room >= size {
				continue
			}
			source := l.capture()
			n, err := source.WriteTo(&brokenWriter{room})
			if !errors.Is(err, errOfTest{}) || n > int64(room) {
				s.Fatalf("WriteTo of %d bytes into room for %d returned %d, %v; want the writer's error", size, room, n, err)
			}
			if err := source.Close(); err != nil {
				s.Fatalf("Close after that: %v", err)
			}
		}
		l.apply(1)
		l.check()
	}},
	{"counts its bytes", func(s *machineRun) { // written compares
		l := s.life()
		for range 5 {
			s.written(l.capture())
			l.apply(commands)
		}
	}},
}

var restoreCases = []machineCase{
	{"round trip", func(s *machineRun) {
		for _, n := range []int{1, 2, commands} {
			l, to := s.life(), s.life()
			l.applyTo(n)
			to.restore(s.written(l.capture()), n)
			to.check()
		}
	}},
	{"an empty state", func(s *machineRun) {
		l, to := s.life(), s.life()
		to.restore(s.written(l.capture()), 0)
		to.check()
		to.applyTo(3)
		to.check()
	}},
	{"replaces what was there", func(s *machineRun) {
		l, to := s.life(), s.life()
		l.applyTo(commands)
		empty, half := s.written(s.life().capture()), s.written(l.capture())
		to.applyTo(3)
		to.restore(half, commands)
		to.check()
		to.applyTo(2 * commands)
		to.restore(half, commands) // a state that is older; nodes do not, users may
		to.check()
		to.restore(empty, 0)
		to.check()
	}},
	{"goes on as the other does", func(s *machineRun) {
		l, to := s.life(), s.life()
		l.applyTo(commands)
		to.restore(s.written(l.capture()), commands)
		for i := range commands {
			l.apply(1)
			to.apply(1)
			if !bytes.Equal(l.answers[commands+i].copy, to.answers[i].copy) {
				s.Fatalf("command %d is answered %.80q behind a restore, and %.80q without", commands+i,
					to.answers[i].copy, l.answers[commands+i].copy)
			}
		}
		to.check()
	}},
	{"from generation to generation", func(s *machineRun) {
		l := s.life()
		for range 4 {
			l.apply(5)
			to := s.life()
			to.restore(s.written(l.capture()), l.n)
			to.check()
			l = to
		}
	}},
	{"twice from one state", func(s *machineRun) {
		l, to := s.life(), s.life()
		l.applyTo(commands)
		state := s.written(l.capture())
		for range 2 {
			to.restore(state, commands)
			to.check()
		}
	}},
	{"in small pieces", func(s *machineRun) {
		l := s.life()
		l.applyTo(commands)
		state := s.written(l.capture())
		for _, slow := range []func(io.Reader) io.Reader{iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader} {
			to := s.life()
			to.restoreFrom(slow(bytes.NewReader(state)), commands)
			to.check()
		}
	}},
	{"to the end", func(s *machineRun) { // only there a reader says whether all before was whole
		l := s.life()
		for _, n := range []int{0, commands} {
			l.applyTo(n)
			r := &watched{r: bytes.NewReader(s.written(l.capture()))}
			if s.life().restoreFrom(r, n); !r.ended {
				s.Fatalf("Restore read %d bytes and did not come to the end", r.n)
			}
		}
	}},
	{"a reader's error comes back", func(s *machineRun) {
		l := s.life()
		l.applyTo(commands)
		state := s.written(l.capture())
		for _, n := range []int{0, len(state) / 2, len(state)} {
			r := io.MultiReader(bytes.NewReader(state[:n]), iotest.ErrReader(errOfTest{}))
			if err := s.life().m.(pipeline.Snapshotter).Restore(r); err == nil {
				s.Fatalf("Restore took %d of %d bytes, and then an error, for a whole state", n, len(state))
			}
		}
	}},
}

// watched knows whether its reader came to the end.
type watched struct {
	r     io.Reader
	n     int
	ended bool
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.n += n
	w.ended = w.ended || err == io.EOF
	return n, err
}
