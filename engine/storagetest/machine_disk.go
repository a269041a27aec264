package storagetest

import (
	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
)

func (l *life) disk() pipeline.OnDisk { return l.m.(pipeline.OnDisk) }

// sync makes what was applied durable.
func (l *life) sync() {
	l.s.Helper()
	want := codec.LogID{}
	if l.n > 0 {
		want = l.id(l.n - 1)
	}
	if got, err := l.disk().Sync(); err != nil || got != want {
		l.s.Fatalf("Sync returned %v, %v, want %v, the last entry it was given", got, err, want)
	}
}

// openAgain opens the place, asks what is held, and checks that the state is exactly that.
func (l *life) openAgain() {
	l.s.Helper()
	l.open()
	id, err := l.disk().Applied()
	if err != nil {
		l.s.Fatalf("Applied: %v", err)
	}
	l.n = l.numberOf(id)
	l.check()
}

// restart closes and opens the place. At least n commands must be held, and no more than were applied.
func (l *life) restart(n int) {
	l.s.Helper()
	applied := l.n
	l.close()
	l.openAgain()
	l.held(n, applied)
}

// cut is restart with a power cut in the place of closing.
func (l *life) cut(n int) {
	l.s.Helper()
	applied := l.n
	l.place.Crash()
	l.m = nil
	l.openAgain()
	l.held(n, applied)
}

func (l *life) held(least, most int) {
	l.s.Helper()
	if l.n < least || l.n > most {
		l.s.Fatalf("%d commands are held, want %d to %d", l.n, least, most)
	}
}

// replay applies what a life lacks of n commands, and compares the answers with those of one that lacks nothing.
func (l *life) replay(n int) {
	l.s.Helper()
	whole, from := l.s.life(), l.n
	whole.applyTo(n)
	l.answers = nil
	l.applyTo(n)
	l.check()
	for i, a := range l.answers {
		if want := whole.answers[from+i].copy; string(a.copy) != string(want) {
			l.s.Fatalf("command %d is answered %.80q behind a restart, want %.80q", from+i, a.copy, want)
		}
	}
}

var diskCases = []machineCase{
	{"a new one holds nothing", func(s *machineRun) {
		l := s.life()
		if id, err := l.disk().Applied(); err != nil || !id.IsZero() {
			s.Fatalf("Applied returned %v, %v, want zero", id, err)
		}
		l.sync()
		l.restart(0)
	}},
	{"Sync returns the last entry it was given", func(s *machineRun) {
		l := s.life()
		for l.n < commands {
			l.apply(3)
			l.sync()
			l.sync()
		}
	}},
	{"what was synced is there", func(s *machineRun) {
		l := s.life()
		l.apply(commands)
		l.sync()
		l.restart(commands)
		l.restart(commands)
	}},
	{"what was not is a beginning of it", func(s *machineRun) {
		l := s.life()
		for _, n := range []int{3, 9, 15} {
			l.applyTo(n)
			l.sync()
			l.applyTo(n + 4)
			l.restart(n)
		}
	}},
	{"it goes on behind what it holds", func(s *machineRun) {
		l := s.life()
		l.applyTo(10)
		l.sync()
		l.applyTo(15)
		l.restart(10)
		l.replay(commands)
		l.sync()
		l.restart(commands)
	}},
	{"a snapshot says what it was given", func(s *machineRun) { // synced or not
		l, to := s.life(), s.life()
		l.applyTo(5)
		l.sync()
		l.applyTo(11)
		to.restore(s.written(l.capture()), 11)
		to.check()
		to.sync()
		to.restart(11)
		to.replay(commands)
	}},
	{"a restored state is there", func(s *machineRun) {
		l, to := s.life(), s.life()
		l.applyTo(commands)
		to.applyTo(3)
		to.sync()
		to.restore(s.written(l.capture()), commands)
		to.apply(1)
		to.sync()
		to.restart(commands + 1)
	}},
	{"a captured state outlives a restore", func(s *machineRun) { // which is synced before the captured state is written
		l, to := s.life(), s.life()
		l.applyTo(commands)
		l.sync()
		source := l.capture()
		l.restore(s.another(5), 5)
		l.applyTo(7)
		l.sync()
		to.restore(s.written(source), commands)
		to.check()
		to.sync()
		to.restart(commands)
		l.restart(7)
	}},
	{"a captured state outlives the ones after it", func(s *machineRun) {
		l, to := s.life(), s.life()
		l.applyTo(5)
		source := l.capture()
		l.applyTo(10)
		l.sync()
		to.restore(s.written(source), 5)
		to.check()
		to.sync()
	}},
}

var powerCases = []machineCase{
	{"what was synced is there", func(s *machineRun) {
		l := s.life()
		for n := 3; n < commands; n += 3 {
			l.applyTo(n)
			l.sync()
			l.cut(n)
		}
	}},
	{"what was not is a beginning of it", func(s *machineRun) {
		l := s.life()
		for _, n := range []int{3, 9, 15} {
			l.applyTo(n)
			l.sync()
			l.applyTo(n + 4)
			l.cut(n)
			l.replay(n + 4)
		}
	}},
	{"nothing was ever synced", func(s *machineRun) {
		l := s.life()
		l.applyTo(5)
		l.cut(0)
		l.replay(commands)
	}},
	{"a restore is done or not", func(s *machineRun) { // the state is the old one or the new one, and Applied says which
		l, to := s.life(), s.life()
		l.applyTo(commands)
		to.applyTo(5)
		to.sync()
		to.restore(s.written(l.capture()), commands)
		if to.cut(5); to.n != 5 && to.n != commands {
			s.Fatalf("%d commands are held, want 5 or %d", to.n, commands)
		}
		to.replay(commands + 3)
	}},
	{"a restored state is there", func(s *machineRun) {
		l, to := s.life(), s.life()
		l.applyTo(commands)
		to.restore(s.written(l.capture()), commands)
		to.sync()
		to.cut(commands)
	}},
}
