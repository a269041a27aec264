package storagetest

import (
	"bytes"
	"io"
	"testing/iotest"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
)

// adopted is what a life has taken of another log: as many commands, all of which stand at one place of its own log. Before
// that it had applied so many.
type adopted struct {
	n, before int
	at        codec.LogID
}

// id is the log id of the i-th command in the log of this life. Behind what it adopted the log goes on from there.
func (l *life) id(i int) codec.LogID {
	switch {
	case l.adopted.n == 0:
		return idOf(i)
	case i < l.adopted.n:
		return l.adopted.at
	}
	id := idOf(i)
	id.Index += l.adopted.at.Index - idOf(l.adopted.n-1).Index
	id.Leader.Term += l.adopted.at.Leader.Term
	return id
}

// numberOf returns how many commands the life holds when the last entry with an effect is id. Where that is none of this
// life's since it adopted a state, it holds what it held before.
func (l *life) numberOf(id codec.LogID) int {
	l.s.Helper()
	if l.adopted.n == 0 {
		return l.s.numberOf(id)
	}
	for i := l.adopted.n - 1; i < l.n; i++ {
		if l.id(i) == id {
			return i + 1
		}
	}
	n, before := l.s.numberOf(id), l.adopted.before
	if n > before {
		l.s.Fatalf("Applied is %v behind Adopt at %v, want that, or one of the %d commands before", id, l.adopted.at, before)
	}
	l.adopted = adopted{}
	return n
}

// adopt gives a life the state after n commands as one with another log has written it.
func (l *life) adopt(state []byte, n int, at codec.LogID) {
	l.s.Helper()
	l.adoptFrom(bytes.NewReader(state), n, at)
}

func (l *life) adoptFrom(r io.Reader, n int, at codec.LogID) {
	l.s.Helper()
	if err := l.m.(pipeline.Adopter).Adopt(r, at); err != nil {
		l.s.Fatalf("Adopt at %v: %v", at, err)
	}
	before := l.n
	if l.adopted.n > 0 {
		before = 0
	}
	l.n, l.adopted = n, adopted{n, before, at}
}

// another returns the state after so many commands of another log.
func (s *machineRun) another(n int) []byte {
	s.Helper()
	l := s.life()
	l.applyTo(n)
	return s.written(l.capture())
}

// places are where a state of another log may come to stand: in front of a log that is made of it, without a leader; at an
// entry of a log that runs. Some are in front of where the other log was, some are behind it.
var places = []codec.LogID{
	{Index: 5}, {Index: 1 << 40},
	{Leader: codec.LeaderID{Term: 1, Node: 9}, Index: 12}, {Leader: codec.LeaderID{Term: 1 << 40, Node: 9}, Index: 1 << 50},
}

var adoptCases = []machineCase{
	{"the state is there, and stands where it was put", func(s *machineRun) {
		state := s.another(commands)
		for _, at := range places {
			to := s.life()
			to.adopt(state, commands, at)
			to.check()
			to.sync()
			to.restart(commands)
			to.sync()
		}
	}},
	{"in place of what was there", func(s *machineRun) {
		small, large := s.another(2), s.another(commands)
		to := s.life()
		to.applyTo(7) // idOf(7) is in front of places[2]
		to.sync()
		to.adopt(large, commands, places[2])
		to.check()
		to.adopt(small, 2, places[3])
		to.check()
		to.sync()
		to.restart(2)
	}},
	{"it goes on behind that", func(s *machineRun) {
		for _, at := range places {
			to := s.life()
			to.adopt(s.another(10), 10, at)
			to.replay(15)
			to.sync()
			to.applyTo(18)
			to.restart(15)
			to.replay(commands)
			to.sync()
			to.restart(commands)
		}
	}},
	{"a snapshot says where it stands", func(s *machineRun) { // in the log that both have now
		for _, at := range places {
			l, to := s.life(), s.life()
			l.adopt(s.another(10), 10, at)
			to.restore(s.written(l.capture()), 10)
			to.adopted = l.adopted
			to.check()
			to.sync()
			to.restart(10)
		}
	}},
	{"a captured state outlives it", func(s *machineRun) {
		l, to := s.life(), s.life()
		l.applyTo(commands)
		source := l.capture()
		l.adopt(s.another(5), 5, places[1])
		l.applyTo(7)
		l.sync()
		to.restore(s.written(source), commands)
		to.check()
		l.check()
	}},
	{"to the end", func(s *machineRun) {
		for _, slow := range []func(io.Reader) io.Reader{iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader} {
			r := &watched{r: slow(bytes.NewReader(s.another(commands)))}
			to := s.life()
			if to.adoptFrom(r, commands, places[0]); !r.ended {
				s.Fatalf("Adopt read %d bytes and did not come to the end", r.n)
			}
			to.check()
		}
	}},
	{"a reader's error comes back", func(s *machineRun) {
		state := s.another(commands)
		for _, n := range []int{0, len(state) / 2, len(state)} {
			r := io.MultiReader(bytes.NewReader(state[:n]), iotest.ErrReader(errOfTest{}))
			if err := s.life().m.(pipeline.Adopter).Adopt(r, places[0]); err == nil {
				s.Fatalf("Adopt took %d of %d bytes, and then an error, for a whole state", n, len(state))
			}
		}
	}},
}

var adoptPowerCases = []machineCase{
	{"it is done or not", func(s *machineRun) { // the state is the old one or the new one, and Applied says which
		state := s.another(commands)
		for _, at := range places {
			to := s.life()
			to.applyTo(3) // idOf(3) is in front of all places
			to.sync()
			to.adopt(state, commands, at)
			if to.cut(3); to.n != 3 && to.n != commands {
				s.Fatalf("%d commands are held, want 3 or %d", to.n, commands)
			}
			to.replay(commands + 3)
		}
	}},
	{"what was synced is there", func(s *machineRun) {
		to := s.life()
		to.adopt(s.another(10), 10, places[1])
		to.sync()
		to.cut(10)
		to.applyTo(15)
		to.sync()
		to.applyTo(18)
		to.cut(15)
	}},
}
