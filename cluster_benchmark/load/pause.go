package load

import "time"

// pauser lets the pacer sleep. Precision matters: what it sleeps too long is part of every latency.
type pauser interface {
	// pause returns after about d, not before.
	pause(d time.Duration)
	close()
}

// sleeper is the runtime's own timer. Where nothing else goes on it may be a millisecond late, since Go waits for timers
// and for the network in one system call whose times are whole milliseconds.
type sleeper struct{}

func (sleeper) pause(d time.Duration) { time.Sleep(d) }
func (sleeper) close()                {}
