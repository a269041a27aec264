package crash

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestSIGKILL kills a process that runs a cluster, again and again on the same directories: mostly under load, now and
// then while it starts, repairs or elects.
func TestSIGKILL(t *testing.T) {
	t.Parallel()
	seed := newSeed(t)
	r := rand.New(rand.NewPCG(seed, 0))
	dirs, addresses := nodeDirs(t.TempDir()), freeAddresses(t, r)
	b := newBook()
	want := rounds(20, 4)
	underLoad, early := 0, 0
	var number uint64
	for ; underLoad < want; number++ {
		if number == uint64(want)*2 {
			t.Fatalf("%d kills, but only %d with puts in flight, want %d", number, underLoad, want)
		}
		p := start(t, newLife(dirs, addresses, number, r), b)
		if r.IntN(5) == 0 {
			p.lives(t, time.Duration(r.Int64N(int64(400*time.Millisecond))))
		} else {
			p.works(t)
			p.lives(t, time.Duration(r.Int64N(int64(300*time.Millisecond))))
		}
		p.kill()
		if _, inFlight := b.counts(); p.acks > 0 && inFlight > 0 {
			underLoad++
		} else {
			early++
		}
		b.forgetOpen()
		if acked, _ := b.counts(); acked == 0 {
			continue // not even the directories may be there
		}
		logs, err := readDirs(dirs)
		if err == nil {
			err = b.promises().check(logs)
		}
		if err != nil {
			t.Fatalf("seed %d, kill %d: %v\n%s", seed, number+1, err, tail(p.stderr.Bytes()))
		}
	}
	lastLife(t, newLife(dirs, addresses, number, r), b)
	acked, _ := b.counts()
	t.Logf("%d kills under load and %d before it; %d puts acknowledged, %d answered as unknown", underLoad, early, acked, b.lost)
}
